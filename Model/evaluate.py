"""Measure an expression network on FER+ the way readers use it: through OpenCV and helpers.py.

    python Model/evaluate.py --data DIR --split valid Model/emotion-ferplus-small.onnx
    python Model/evaluate.py --data DIR --split valid --json Model/valid.json Model/emotion-ferplus-small.onnx

DIR holds ferplus_<split>.npz, as Model/prepare.py writes it. Prints a report; --json writes the same as
JSON, with the bins of the reliability diagram. About 20 seconds. --robustness adds the accuracy on faces that are
shifted, scaled and squashed, as detectors' boxes do it: some minutes more. --keep FILE.npz writes what notebooks
11 and 12 work on without the faces: all votes, and for each face the scores of six views and the features before
the last layer. The figures are the same on each run, but for the milliseconds: one face through the network, and
through one of the original's architecture, in turns.

A face counts where one of the eight emotions holds over half of its votes, single votes left out: the
"majority" rule of Barsoum et al. 2016, arXiv 1608.01041. The calibration error (ECE) is that of Guo et al. 2017,
arXiv 1706.04599: how far the probability of the label is from the share of labels that are right, over 15 bins.
"""
import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent))
from adapt import features_of  # noqa: E402
from ferplus import EMOTIONS, load_majority, load_split  # noqa: E402
from vgg13 import build_vgg13  # noqa: E402

import helpers  # noqa: E402  ferplus put the project's folder on the path

BATCH = 64         # faces a forward pass while counting; the result does not depend on it
TIMED_FACES = 100  # single faces timed, after 20 that warm up
BINS = 15          # of the calibration error
CHANGES = {        # what --robustness does to each face; 0 and 1 are the face as it is
    "shift": (-0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2),     # share of its side, to the right and down
    "scale": (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4),                  # above 1: the face fills more of the crop
    "squash": (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4),                 # above 1: broader than it is
}


VIEWS = {          # of each face, for --keep: pixels of the 64 x 64 face to the right, down; mirrored?
    "plain": (0, 0, False), "mirror": (0, 0, True),
    "left": (-3, 0, False), "right": (3, 0, False), "up": (0, -3, False), "down": (0, 3, False),
}


def scores_of(net, faces):
    """(N, 8) scores of N preprocessed faces, as helpers.forward takes them, in batches."""
    return np.concatenate([helpers.forward(net, faces[i:i + BATCH]) for i in range(0, len(faces), BATCH)])


def predict(net, images):
    """(N, 8) probabilities of N grey faces (N, h, w) uint8."""
    blobs = [helpers.preprocess(image) for image in images]
    return helpers.softmax(scores_of(net, blobs))


def milliseconds_per_face(nets, image):
    """Median time of one preprocessed face through each network, in milliseconds, taken in turns."""
    blob, times = helpers.preprocess(image), [[] for _ in nets]
    for _ in range(TIMED_FACES + 20):
        for net, taken in zip(nets, times):
            began = time.perf_counter()
            helpers.forward(net, blob)
            taken.append(time.perf_counter() - began)
    return [float(np.median(taken[20:]) * 1000) for taken in times]


def vgg13():
    """A network of the original's architecture, with random weights: only good for its time."""
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(build_vgg13(), Path(folder) / "vgg13.onnx")
        return helpers.load_network(Path(folder) / "vgg13.onnx")


def changed(image, kind, amount):
    """A face (h, w) uint8 shifted, scaled or squashed about its centre; the border pixels go on outside."""
    side = image.shape[0]
    across, down = {"scale": (amount, amount), "squash": (amount, 1.0)}.get(kind, (1.0, 1.0))
    move = amount * side if kind == "shift" else 0.0
    middle = (side - 1) / 2
    matrix = np.float64([[across, 0, middle - across * middle + move], [0, down, middle - down * middle + move]])
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def robustness(net, images, labels):
    """{kind: {amount: accuracy}} on faces changed as CHANGES says."""
    return {kind: {str(amount): float((predict(net, [changed(image, kind, amount) for image in images]).argmax(1)
                                       == labels).mean()) for amount in amounts}
            for kind, amounts in CHANGES.items()}


def bad_camera(image):
    """A face (h, w) uint8 as a badly placed camera might see it: a third too broad, off centre, half as bright."""
    return (changed(changed(image, "squash", 1.3), "shift", 0.1) * 0.5).astype(np.uint8)


def seen_from(faces, right, down, mirror):
    """(N, 1, 64, 64) network input moved by so many pixels, the border going on, and mirrored or not."""
    moved = np.pad(faces, [(0, 0), (0, 0), (4, 4), (4, 4)], mode="edge")
    side = faces.shape[-1]
    moved = moved[..., 4 - down:4 - down + side, 4 - right:4 - right + side]
    return np.ascontiguousarray(moved[..., ::-1] if mirror else moved)


def keep(net, model, data, split, path):
    """Write what can be worked on without the faces to `path`, a compressed npz of about 3 MB.

    votes (N, 10) uint8; scores (6, N, 8) float16, the views of VIEWS in their order; features (N, F) float16 of the
    layer before the last; features_bad_camera (N, F) float16, of faces changed by bad_camera. N: all faces of a split.
    """
    images, votes = load_split(data, split)
    faces = np.concatenate([helpers.preprocess(image) for image in images])
    scores = [scores_of(net, seen_from(faces, *view)) for view in VIEWS.values()]
    bad = np.concatenate([helpers.preprocess(bad_camera(image)) for image in images])
    np.savez_compressed(path, votes=votes, scores=np.float16(scores), views=list(VIEWS),
                        features=np.float16(features_of(model, faces)),
                        features_bad_camera=np.float16(features_of(model, bad)))


def calibration(labels, probabilities):
    """{"ece": ..., "bins": [...]}: each bin with its count, mean probability of the label, and share right."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins, ece = [], 0.0
    for number in range(BINS):
        inside = place == number
        if inside.any():
            mean, share = float(sure[inside].mean()), float(right[inside].mean())
            bins.append({"from": number / BINS, "faces": int(inside.sum()), "probability": mean, "right": share})
            ece += inside.mean() * abs(mean - share)
    return {"ece": float(ece), "bins": bins}


def report(labels, probabilities):
    """Counts and shares of a labelled set: labels (N,) int 0..7, probabilities (N, 8).

    A class with no face at all has recall None and does not enter the mean; precision is None where the network
    never says the class.
    """
    guesses = probabilities.argmax(1)
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)     # rows: votes, columns: network
    np.add.at(confusion, (labels, guesses), 1)
    counts, right = confusion.sum(1), confusion.diagonal()
    recall = {name: (int(r) / int(n) if n else None) for name, r, n in zip(EMOTIONS, right, counts)}
    precision = {name: (int(r) / int(n) if n else None) for name, r, n in zip(EMOTIONS, right, confusion.sum(0))}
    known = [share for share in recall.values() if share is not None]
    return {
        "faces": int(counts.sum()),
        "accuracy": float(right.sum() / max(counts.sum(), 1)),
        "mean_recall": float(np.mean(known)) if known else None,
        "recall": recall,
        "precision": precision,
        "counts": {name: int(n) for name, n in zip(EMOTIONS, counts)},
        "confusion": confusion.tolist(),
        "calibration": calibration(labels, probabilities),
    }


def as_text(result):
    """The report as lines of text."""
    lines = [f"{result['model']} on {result['split']}: {result['faces']} faces, "
             f"accuracy {result['accuracy']:.2%}, mean recall {result['mean_recall']:.2%}, "
             f"calibration error {result['calibration']['ece']:.2%}",
             f"{result['ms_per_face']:.2f} ms per face, VGG13 {result['ms_vgg13']:.2f} ms: "
             f"{result['ms_vgg13'] / result['ms_per_face']:.1f} times as fast ({result['threads']} threads)", "",
             f"{'class':10}{'faces':>6}{'recall':>8}{'precision':>11}   confusion (row: votes, column: network)",
             " " * 38 + "".join(f"{name[:8]:>9}" for name in EMOTIONS)]
    for name, row in zip(EMOTIONS, result["confusion"]):
        recall, precision = (f"{share:.1%}" if share is not None else "-"
                             for share in (result["recall"][name], result["precision"][name]))
        lines.append(f"{name:10}{result['counts'][name]:6}{recall:>8}{precision:>11}   "
                     + "".join(f"{count:9}" for count in row))
    for kind, shares in result.get("robustness", {}).items():
        lines.append(f"{kind:10}" + "".join(f"{amount:>8}" for amount in shares))
        lines.append(" " * 10 + "".join(f"{share:8.1%}" for share in shares.values()))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="ONNX file with the interface of emotion-ferplus-8.onnx")
    parser.add_argument("--data", required=True, help="folder with ferplus_<split>.npz")
    parser.add_argument("--split", default="valid", help="train, valid or test")
    parser.add_argument("--robustness", action="store_true", help="also on shifted, scaled and squashed faces")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    parser.add_argument("--keep", type=Path, help="also write votes, scores and features to this npz file")
    args = parser.parse_args()
    try:
        net = helpers.load_network(args.model)
        images, labels = load_majority(args.data, args.split)
    except (FileNotFoundError, ValueError) as problem:
        parser.error(str(problem))
    ours, original = milliseconds_per_face([net, vgg13()], images[0])
    result = {"model": Path(args.model).name, "split": args.split, **report(labels, predict(net, images)),
              "ms_per_face": round(ours, 3), "ms_vgg13": round(original, 3), "threads": cv2.getNumThreads(),
              "opencv": cv2.__version__}
    if args.robustness:
        result["robustness"] = robustness(net, images, labels)
    print(as_text(result))
    if args.keep:
        keep(net, args.model, args.data, args.split, args.keep)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
