"""Measure an expression network on FER+ as readers use it: through OpenCV and helpers.py.

    python Model/evaluate.py --data DIR --split valid Model/emotion-ferplus-small.onnx
    python Model/evaluate.py --data DIR --split valid --json Model/valid.json Model/emotion-ferplus-small.onnx

DIR holds ferplus_<split>.npz, as Model/prepare.py writes it. The script prints a report in about 20 seconds; --json
also writes it as JSON, with the bins of the reliability diagram. --robustness adds the accuracy on faces that are
shifted, scaled and squashed, as the boxes of detectors are, and takes a few minutes more. --keep FILE.npz writes what
notebooks 11 and 12 need instead of the faces: all votes, and for each face the scores of six views and the features
before the last layer. The results are the same on every run, except for the milliseconds. Those are measured for one
face, alternating with a network of the original's architecture.

A face counts if one of the eight expressions has more than half of its votes, after single votes are dropped: the "majority"
rule of Barsoum et al. 2016, arXiv 1608.01041. The expected calibration error (ECE) is that of Guo et al. 2017, arXiv
1706.04599: the difference between the probability of the label and the fraction of correct labels, averaged over 15
bins.
"""
import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx

import helpers
from checks import expand_home
from helpers import EMOTIONS, Image, PathLike
from Model.adapt import extract_features
from Model.damage import CORRUPTIONS, corrupt
from Model.ferplus import duplicates_of, load_majority, load_split
from Model.vgg13 import build_vgg13

BATCH_SIZE = 64    # faces per forward pass; the results do not depend on it
TIMED_FACES = 100  # single faces that are timed, after WARM_UP_FACES that are not
WARM_UP_FACES = 20
ECE_BINS = 15
TRANSFORMS = {     # what --robustness does to each face; 0 and 1 leave it unchanged
    "shift": (-0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2),     # fraction of its side, to the right and down
    "scale": (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4),                  # above 1: the face fills more of the crop
    "squash": (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4),                 # above 1: wider than it is
}
VIEWS = {          # of each face, for --keep: shift in pixels of the 64 x 64 face to the right and down; mirrored?
    "plain": (0, 0, False), "mirror": (0, 0, True),
    "left": (-3, 0, False), "right": (3, 0, False), "up": (0, -3, False), "down": (0, 3, False),
}


# ---------------------------------------------------------------- predictions

def predict_scores(net: cv2.dnn.Net, faces: npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]],
                   ) -> npt.NDArray[np.float32]:
    """Run the network on preprocessed faces, in batches.

    Parameters
    ----------
    net : cv2.dnn.Net
        From `helpers.load_network`.
    faces : numpy.ndarray or list of numpy.ndarray
        N faces, at least one, as for `helpers.forward`.

    Returns
    -------
    numpy.ndarray
        float32 (N, 8), scores before softmax.
    """
    return np.concatenate([helpers.forward(net, faces[i:i + BATCH_SIZE]) for i in range(0, len(faces), BATCH_SIZE)])


def predict_probabilities(net: cv2.dnn.Net, images: Sequence[Image] | Image) -> npt.NDArray[np.float64]:
    """Preprocess cropped faces and run the network on them.

    Parameters
    ----------
    net : cv2.dnn.Net
        From `helpers.load_network`.
    images : sequence of numpy.ndarray
        N faces, at least one, as for `helpers.preprocess`.

    Returns
    -------
    numpy.ndarray
        float64 (N, 8); a row sums to 1.
    """
    return helpers.softmax(predict_scores(net, [helpers.preprocess(image) for image in images]))


def milliseconds_per_face(nets: Sequence[cv2.dnn.Net], image: Image) -> list[float]:
    """Time networks on one face, alternately, so that a slow moment of the computer affects all of them.

    Parameters
    ----------
    nets : sequence of cv2.dnn.Net
        From `helpers.load_network`.
    image : numpy.ndarray
        A face, as for `helpers.preprocess`.

    Returns
    -------
    list of float
        The median time of one forward pass of each network, in milliseconds.
    """
    blob = helpers.preprocess(image)
    times: list[list[float]] = [[] for _ in nets]
    for _ in range(WARM_UP_FACES + TIMED_FACES):
        for net, taken in zip(nets, times):
            began = time.perf_counter()
            helpers.forward(net, blob)
            taken.append(time.perf_counter() - began)
    return [float(np.median(taken[WARM_UP_FACES:]) * 1000) for taken in times]


def load_vgg13() -> cv2.dnn.Net:
    """Build and load a network of the original's architecture with random weights, for timing only.

    Returns
    -------
    cv2.dnn.Net
        The network.
    """
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(build_vgg13(), Path(folder) / "vgg13.onnx")
        return helpers.load_network(Path(folder) / "vgg13.onnx")


# ---------------------------------------------------------------- changed faces

def transform(image: npt.NDArray[np.uint8], kind: str, amount: float) -> Image:
    """Shift, scale or squash a face about its centre; edge pixels are replicated.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (S, S), grey.
    kind : {"shift", "scale", "squash"}
        Which transform.
    amount : float
        As in TRANSFORMS.

    Returns
    -------
    numpy.ndarray
        uint8 (S, S).
    """
    side = image.shape[0]
    across, down = {"scale": (amount, amount), "squash": (amount, 1.0)}.get(kind, (1.0, 1.0))
    move = amount * side if kind == "shift" else 0.0
    centre = (side - 1) / 2
    matrix = np.array([[across, 0, centre - across * centre + move], [0, down, centre - down * centre + move]])
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def robustness(net: cv2.dnn.Net, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer],
               ) -> dict[str, dict[str, float]]:
    """Measure the accuracy on transformed faces.

    Parameters
    ----------
    net : cv2.dnn.Net
        From `helpers.load_network`.
    images : numpy.ndarray
        uint8 (N, S, S), grey.
    labels : numpy.ndarray
        int (N,), indices into EMOTIONS.

    Returns
    -------
    dict of {str: dict of {str: float}}
        The accuracy, 0..1, for each kind and amount of TRANSFORMS.
    """
    return {kind: {str(amount): float((predict_probabilities(net, [transform(image, kind, amount) for image in images])
                                       .argmax(1) == labels).mean()) for amount in amounts}
            for kind, amounts in TRANSFORMS.items()}


def corruptions(net: cv2.dnn.Net, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer],
                ) -> dict[str, dict[str, float]]:
    """Measure the network on faces damaged as cameras do, see damage.CORRUPTIONS.

    Parameters
    ----------
    net : cv2.dnn.Net
        From `helpers.load_network`.
    images : numpy.ndarray
        uint8 (N, 48, 48), grey.
    labels : numpy.ndarray
        int (N,), indices into EMOTIONS.

    Returns
    -------
    dict of {str: dict of {str: float}}
        For each corruption, and for their "mean": ``accuracy``, ``neutral`` (the fraction of the faces that the network
        calls Neutral) and ``ece`` (the calibration error), all 0..1.
    """
    found = {}
    for name in CORRUPTIONS:
        probabilities = predict_probabilities(net, corrupt(images, name))
        guesses = probabilities.argmax(1)
        found[name] = {"accuracy": float((guesses == labels).mean()), "neutral": float((guesses == 0).mean()),
                       "ece": calibration(labels, probabilities)["ece"]}
    found["mean"] = {key: float(np.mean([figures[key] for figures in found.values()])) for key in ("accuracy", "neutral", "ece")}
    return found


def bad_camera(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Change a face as a badly mounted camera might: 30% too wide, off centre, half as bright.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (S, S), grey.

    Returns
    -------
    numpy.ndarray
        uint8 (S, S).
    """
    return (transform(transform(image, "squash", 1.3), "shift", 0.1) * 0.5).astype(np.uint8)


def shifted_view(faces: npt.NDArray[np.float32], right: int, down: int, mirror: bool) -> npt.NDArray[np.float32]:
    """Shift faces, and mirror them or not; edge pixels are replicated.

    Parameters
    ----------
    faces : numpy.ndarray
        float32 (N, 1, 64, 64), the network's input.
    right, down : int
        The shift in pixels, -4..4.
    mirror : bool
        Whether to swap left and right, after the shift.

    Returns
    -------
    numpy.ndarray
        float32 (N, 1, 64, 64), contiguous.
    """
    padded = np.pad(faces, [(0, 0), (0, 0), (4, 4), (4, 4)], mode="edge")
    side = faces.shape[-1]
    moved = padded[..., 4 - down:4 - down + side, 4 - right:4 - right + side]
    return np.ascontiguousarray(moved[..., ::-1] if mirror else moved)


def save_predictions(net: cv2.dnn.Net, model: PathLike, data: PathLike, split: str, path: PathLike) -> None:
    """Save what can be analysed without the faces, as a compressed npz file of about 3 MB.

    Parameters
    ----------
    net : cv2.dnn.Net
        From `helpers.load_network`.
    model : str or os.PathLike
        The file of `net`.
    data, split
        As for `ferplus.load_split`. All N faces of the split are used.
    path : str or os.PathLike
        The file to write.

    Notes
    -----
    The arrays are ``votes``, uint8 (N, 10); ``scores``, float16 (6, N, 8), and ``views``, their names, in the order of
    VIEWS; ``features``, float16 (N, F), the input of the last layer; and ``features_bad_camera``, the same of the
    faces that `bad_camera` changed.
    """
    images, votes = load_split(data, split)
    faces = np.concatenate([helpers.preprocess(image) for image in images])
    scores = [predict_scores(net, shifted_view(faces, *view)) for view in VIEWS.values()]
    bad = np.concatenate([helpers.preprocess(bad_camera(image)) for image in images])
    np.savez_compressed(path, votes=votes, scores=np.array(scores, np.float16), views=list(VIEWS),
                        features=extract_features(model, faces).astype(np.float16),
                        features_bad_camera=extract_features(model, bad).astype(np.float16))


# ---------------------------------------------------------------- the report

def calibration(labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating]) -> dict[str, Any]:
    """Compute the expected calibration error and the bins of the reliability diagram.

    Parameters
    ----------
    labels : numpy.ndarray
        int (N,), indices into EMOTIONS.
    probabilities : numpy.ndarray
        (N, 8).

    Returns
    -------
    dict
        ``ece``, 0..1, and ``bins``, a list with one dict per bin that is not empty: ``from``, its lower limit;
        ``faces``, their number; ``probability``, the mean probability of the label; ``right``, the fraction of correct
        labels.
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    indices = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    bins, ece = [], 0.0
    for index in range(ECE_BINS):
        inside = indices == index
        if inside.any():
            mean, fraction = float(confidence[inside].mean()), float(correct[inside].mean())
            bins.append({"from": index / ECE_BINS, "faces": int(inside.sum()), "probability": mean, "right": fraction})
            ece += inside.mean() * abs(mean - fraction)
    return {"ece": float(ece), "bins": bins}


def report(labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating]) -> dict[str, Any]:
    """Compute all metrics of a labelled set.

    Parameters
    ----------
    labels : numpy.ndarray
        int (N,), indices into EMOTIONS.
    probabilities : numpy.ndarray
        (N, 8).

    Returns
    -------
    dict
        ``faces``, ``accuracy``, ``mean_recall``, ``recall``, ``precision`` and ``counts`` by expression, ``confusion``
        (rows: votes, columns: network) and ``calibration``. The recall of an expression without a face is None and is
        left out of the mean; the precision of an expression that is never predicted is None.
    """
    predicted = probabilities.argmax(1)
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)     # rows: votes, columns: network
    np.add.at(confusion, (labels, predicted), 1)
    counts, correct = confusion.sum(1), confusion.diagonal()
    recall = {name: (int(c) / int(n) if n else None) for name, c, n in zip(EMOTIONS, correct, counts)}
    precision = {name: (int(c) / int(n) if n else None) for name, c, n in zip(EMOTIONS, correct, confusion.sum(0))}
    known = [fraction for fraction in recall.values() if fraction is not None]
    return {
        "faces": int(counts.sum()),
        "accuracy": float(correct.sum() / max(counts.sum(), 1)),
        "mean_recall": float(np.mean(known)) if known else None,
        "recall": recall,
        "precision": precision,
        "counts": {name: int(n) for name, n in zip(EMOTIONS, counts)},
        "confusion": confusion.tolist(),
        "calibration": calibration(labels, probabilities),
    }


def format_report(result: dict[str, Any]) -> str:
    """Format a report as text.

    Parameters
    ----------
    result : dict
        What --json writes.

    Returns
    -------
    str
        Several lines.
    """
    lines = [f"{result['model']} on {result['split']}: {result['faces']} faces, "
             f"accuracy {result['accuracy']:.2%}, mean recall {result['mean_recall']:.2%}, "
             f"calibration error {result['calibration']['ece']:.2%}",
             f"{result['ms_per_face']:.2f} ms per face, VGG13 {result['ms_vgg13']:.2f} ms: "
             f"{result['ms_vgg13'] / result['ms_per_face']:.1f} times as fast ({result['threads']} threads)", "",
             f"{'class':10}{'faces':>6}{'recall':>8}{'precision':>11}   confusion (rows: votes, columns: network)",
             " " * 38 + "".join(f"{name[:8]:>9}" for name in EMOTIONS)]
    for name, row in zip(EMOTIONS, result["confusion"]):
        recall, precision = (f"{fraction:.1%}" if fraction is not None else "-"
                             for fraction in (result["recall"][name], result["precision"][name]))
        lines.append(f"{name:10}{result['counts'][name]:6}{recall:>8}{precision:>11}   "
                     + "".join(f"{count:9}" for count in row))
    if "without_duplicates" in result:
        rest = result["without_duplicates"]
        lines.append(f"{rest['accuracy']:.2%} of the {rest['faces']} faces that are not in the training split as well")
    for name, figures in result.get("corruptions", {}).items():
        lines.append(f"{name:20} accuracy {figures['accuracy']:6.1%}   called Neutral {figures['neutral']:6.1%}   "
                     f"calibration error {figures['ece']:6.1%}")
    for kind, accuracies in result.get("robustness", {}).items():
        lines.append(f"{kind:10}" + "".join(f"{amount:>8}" for amount in accuracies))
        lines.append(" " * 10 + "".join(f"{accuracy:8.1%}" for accuracy in accuracies.values()))
    return "\n".join(lines)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="ONNX file with the interface of emotion-ferplus-8.onnx")
    parser.add_argument("--data", required=True, help="folder with ferplus_<split>.npz")
    parser.add_argument("--split", default="valid", help="train, valid or test")
    parser.add_argument("--robustness", action="store_true", help="also measure on shifted, scaled and squashed faces, "
                        "and under the corruptions of damage.py")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    parser.add_argument("--keep", type=Path, help="also write votes, scores and features to this npz file")
    args = parser.parse_args()
    try:
        net = helpers.load_network(args.model)
        images, labels = load_majority(args.data, args.split)
    except (FileNotFoundError, ValueError) as problem:
        parser.error(str(problem))
    ours, original = milliseconds_per_face([net, load_vgg13()], images[0])
    probabilities = predict_probabilities(net, images)
    result = {"model": Path(args.model).name, "split": args.split, **report(labels, probabilities),
              "ms_per_face": round(ours, 3), "ms_vgg13": round(original, 3), "threads": cv2.getNumThreads(),
              "opencv": cv2.__version__}
    if args.split != "train" and (expand_home(args.data) / "ferplus_train.npz").is_file():
        new = ~duplicates_of(images, args.data, ["train"])       # some faces are in both splits, pixel for pixel
        result["without_duplicates"] = {"faces": int(new.sum()), "accuracy":
                                        float((probabilities.argmax(1) == labels)[new].mean())}
    if args.robustness:
        result["robustness"] = robustness(net, images, labels)
        result["corruptions"] = corruptions(net, images, labels)
    print(format_report(result))
    if args.keep:
        save_predictions(net, args.model, args.data, args.split, args.keep)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
