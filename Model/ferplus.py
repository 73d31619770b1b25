"""The FER+ faces and their votes: one place for the label rules that training and evaluation share.

A split is one file, ``ferplus_<split>.npz``, as ``prepare.py`` writes it:

| array  | shape, type           | meaning                                                         |
| ------ | --------------------- | --------------------------------------------------------------- |
| images | (N, 48, 48) uint8     | tight grey face crops                                           |
| votes  | (N, 10) uint8         | how many of ten taggers chose each column of ``VOTE_COLUMNS``   |
| names  | (N,) str              | picture names of the original tables                            |

Source of the data and of the rules: E. Barsoum, C. Zhang, C. Canton Ferrer, Z. Zhang, "Training Deep
Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution", 2016, arXiv 1608.01041.
"""
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from helpers import EMOTIONS  # noqa: E402  one label list for the whole project

VOTE_COLUMNS = EMOTIONS + ("Unknown", "NotAFace")


def save_safely(write, path):
    """Call write(temporary name), then move the file into place: never a half-written file, never a lost old one.

    The folder is made if it is missing. Returns the Path.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    os.close(handle)
    try:
        write(name)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)         # mkstemp makes files that nobody else can read
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def load_split(folder, split):
    """Read ``images`` (N, 48, 48) and ``votes`` (N, 10), both uint8, of one split.

    Raises FileNotFoundError when the file is missing and ValueError when its arrays do not fit together.
    """
    path = Path(folder).expanduser() / f"ferplus_{split}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path.name} in {path.parent.resolve()}: build it from the public tables with Model/prepare.py"
        )
    with np.load(path) as arrays:
        missing = {"images", "votes"} - set(arrays)
        if missing:
            raise ValueError(f"{path} lacks {sorted(missing)}: build it again with Model/prepare.py")
        images, votes = arrays["images"], arrays["votes"]
    if images.ndim != 3 or images.shape[1:] != (48, 48) or images.dtype != np.uint8:
        raise ValueError(f"{path}: images are {images.dtype} {images.shape}, expected uint8 (N, 48, 48)")
    if votes.shape != (len(images), len(VOTE_COLUMNS)):
        raise ValueError(f"{path}: votes are {votes.shape}, expected ({len(images)}, {len(VOTE_COLUMNS)})")
    return images, votes


def drop_single_votes(votes):
    """(N, 10) votes as float32, with every lone vote set to 0: the paper counts those as slips."""
    votes = np.asarray(votes, np.float32)
    return np.where(votes > 1, votes, 0)


def majority_labels(votes):
    """(N,) int class 0..7 where one emotion holds over half of the votes that count, else -1.

    This is the paper's "majority" rule, by which results on FER+ are compared.
    """
    votes = drop_single_votes(votes)
    winner = votes.argmax(1)
    share = votes.max(1) / np.maximum(votes.sum(1), 1)
    return np.where((share > 0.5) & (winner < len(EMOTIONS)), winner, -1)


def load_majority(folder, split):
    """The faces of a split that have a majority label: images (N, 48, 48) uint8 and labels (N,) 0..7.

    Raises what load_split raises, and ValueError when there is no such face.
    """
    images, votes = load_split(folder, split)
    labels = majority_labels(votes)
    if not (labels >= 0).any():
        raise ValueError(f"no face of the split {split} in {folder} has a majority label")
    return images[labels >= 0], labels[labels >= 0]


def soft_targets(votes):
    """((N, 8) float32 targets that sum to 1, (N,) bool keep) for the paper's cross-entropy training.

    The target of a face is how its votes spread over the eight emotions. Faces that most taggers could
    not name, or did not take for a face, are left out (keep is False, their row is all zero).
    """
    votes = drop_single_votes(votes)
    keep = (votes.argmax(1) < len(EMOTIONS)) & (votes.sum(1) > 0)
    emotions = votes[:, : len(EMOTIONS)] * keep[:, None]
    return emotions / np.maximum(emotions.sum(1, keepdims=True), 1), keep
