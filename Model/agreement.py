"""How well do people agree with each other? Computed from the votes alone, as a baseline for a network's accuracy.

    python Model/agreement.py --data DIR --split valid          # a minute or so
    python Model/agreement.py --votes Model/valid.npz           # the same without the faces

Two figures, both by the rule that also decides which faces count for the network (`ferplus.majority_labels`):

- one against nine: leave one tagger out. If the other nine have a majority label, did the tagger choose it? This is
  computed exactly, over all taggers of all faces.
  The same is computed on the faces that count for the network, where all ten together have a majority label.
- five against five: split the ten taggers at random. If both halves have a majority label, is it the same one? The
  mean of --repeats random splits with a fixed seed.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from Model.ferplus import EMOTIONS, load_split, majority_labels

SEED = 0


def leave_one_out_agreement(votes: npt.NDArray[np.uint8]) -> dict[str, object]:
    """Compare each tagger with the majority of the other taggers of the same face.

    Parameters
    ----------
    votes : numpy.ndarray
        uint8 (N, 10), columns in the order of ferplus.VOTE_COLUMNS.

    Returns
    -------
    dict
        ``agreement``, the fraction of the votes that equal the others' label; ``recall``, the same per label of the
        others (None where there is no such face); ``mean_recall``; ``votes``, how many were compared.
    """
    agreed, compared = np.zeros(len(EMOTIONS)), np.zeros(len(EMOTIONS))
    votes = votes.astype(int)
    for choice in range(votes.shape[1]):
        others = votes.copy()
        others[:, choice] = np.maximum(others[:, choice] - 1, 0)
        labels = np.where(votes[:, choice] > 0, majority_labels(others), -1)
        for label in range(len(EMOTIONS)):
            count = votes[labels == label, choice].sum()     # number of taggers of these faces who made this choice
            compared[label] += count
            agreed[label] += count if choice == label else 0
    return _summary(agreed, compared)


def split_half_agreement(votes: npt.NDArray[np.uint8], *, repeats: int = 20) -> dict[str, object]:
    """Compare the majority of one random half of the taggers with that of the other half.

    Parameters
    ----------
    votes : numpy.ndarray
        uint8 (N, 10), columns in the order of ferplus.VOTE_COLUMNS.
    repeats : int
        Number of random splits.

    Returns
    -------
    dict
        As `leave_one_out_agreement`; ``votes`` counts pairs of halves.
    """
    rng = np.random.default_rng(SEED)
    agreed, compared = np.zeros(len(EMOTIONS)), np.zeros(len(EMOTIONS))
    votes = votes.astype(int)
    for _ in range(repeats):
        half = np.array([rng.multivariate_hypergeometric(row, row.sum() // 2) for row in votes])
        first, second = majority_labels(half), majority_labels(votes - half)
        both = (first >= 0) & (second >= 0)
        np.add.at(compared, second[both], 1)
        np.add.at(agreed, second[both & (first == second)], 1)
    return _summary(agreed, compared)


def _summary(agreed: npt.NDArray[np.float64], compared: npt.NDArray[np.float64]) -> dict[str, object]:
    recall = {name: (float(a / c) if c else None) for name, a, c in zip(EMOTIONS, agreed, compared)}
    known = [value for value in recall.values() if value is not None]
    return {"agreement": float(agreed.sum() / max(compared.sum(), 1)), "votes": int(compared.sum()),
            "mean_recall": float(np.mean(known)) if known else None, "recall": recall}


def main() -> None:
    """Print both figures for a split, and write them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", help="folder with ferplus_<split>.npz")
    where.add_argument("--votes", type=Path, help="an .npz file with the votes alone, such as Model/valid.npz")
    parser.add_argument("--split", default="valid", help="train, valid or test")
    parser.add_argument("--repeats", type=int, default=20, help="random splits of the ten taggers (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    try:
        votes = np.load(args.votes)["votes"] if args.votes else load_split(args.data, args.split)[1]
    except (OSError, KeyError, ValueError) as problem:
        parser.error(str(problem))
    counted = votes[majority_labels(votes) >= 0]
    result = {"one against nine": leave_one_out_agreement(votes), "the same, counted*": leave_one_out_agreement(counted),
              "five against five": split_half_agreement(votes, repeats=args.repeats)}
    print(f"{'':18}{'agreement':>10}{'mean recall':>13}" + "".join(f"{name:>10}" for name in EMOTIONS))
    for name, figures in result.items():
        print(f"{name:18}{figures['agreement']:10.1%}{figures['mean_recall']:13.1%}"
              + "".join(f"{'-' if value is None else format(value, '.1%'):>10}" for value in figures["recall"].values()))
    print(f"* only the {len(counted)} faces on which the network is evaluated: all ten together have a majority label")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
