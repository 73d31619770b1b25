"""Measure an expression network on FER+ the way readers use it: through OpenCV and helpers.py.

    python Model/evaluate.py --data DIR --split valid Model/emotion-ferplus-small.onnx
    python Model/evaluate.py --data DIR --split valid --json Model/valid.json Model/emotion-ferplus-small.onnx

DIR holds ferplus_<split>.npz, as Model/prepare.py writes it. Prints a report; --json writes the same as
JSON. About 15 seconds. The figures are the same on each run, but for the milliseconds.

A face counts where one of the eight emotions holds over half of its votes, single votes left out: the
"majority" rule of Barsoum et al. 2016, arXiv 1608.01041.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ferplus import EMOTIONS, load_split, majority_labels  # noqa: E402

import helpers  # noqa: E402  ferplus put the project's folder on the path

BATCH = 64         # faces a forward pass while counting; the result does not depend on it
TIMED_FACES = 300  # single faces timed, after 20 that warm up


def predict(net, images):
    """(N, 8) probabilities of N grey faces (N, h, w) uint8."""
    blobs = [helpers.preprocess(image) for image in images]
    return helpers.softmax(np.concatenate(
        [helpers.forward(net, blobs[i:i + BATCH]) for i in range(0, len(blobs), BATCH)]))


def milliseconds_per_face(net, image):
    """Median time of one preprocessed face through the network, in milliseconds."""
    blob, times = helpers.preprocess(image), []
    for _ in range(TIMED_FACES + 20):
        began = time.perf_counter()
        helpers.forward(net, blob)
        times.append(time.perf_counter() - began)
    return float(np.median(times[20:]) * 1000)


def report(labels, guesses):
    """Counts and shares of a labelled set: labels and guesses are (N,) int 0..7.

    A class with no face at all has recall None and does not enter the mean.
    """
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)     # rows: votes, columns: network
    np.add.at(confusion, (labels, guesses), 1)
    counts, right = confusion.sum(1), confusion.diagonal()
    recall = {name: (int(r) / int(n) if n else None) for name, r, n in zip(EMOTIONS, right, counts)}
    known = [share for share in recall.values() if share is not None]
    return {
        "faces": int(counts.sum()),
        "accuracy": float(right.sum() / max(counts.sum(), 1)),
        "mean_recall": float(np.mean(known)) if known else None,
        "recall": recall,
        "counts": {name: int(n) for name, n in zip(EMOTIONS, counts)},
        "confusion": confusion.tolist(),
    }


def as_text(result):
    """The report as lines of text."""
    lines = [f"{result['model']} on {result['split']}: {result['faces']} faces, "
             f"accuracy {result['accuracy']:.2%}, mean recall {result['mean_recall']:.2%}, "
             f"{result['ms_per_face']:.2f} ms per face ({result['threads']} threads)", "",
             f"{'class':10}{'faces':>6}{'recall':>8}   confusion (row: votes, column: network)",
             " " * 27 + "".join(f"{name[:8]:>9}" for name in EMOTIONS)]
    for name, row in zip(EMOTIONS, result["confusion"]):
        share = result["recall"][name]
        lines.append(f"{name:10}{result['counts'][name]:6}" + (f"{share:8.1%}" if share is not None else "       -")
                     + "   " + "".join(f"{count:9}" for count in row))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="ONNX file with the interface of emotion-ferplus-8.onnx")
    parser.add_argument("--data", required=True, help="folder with ferplus_<split>.npz")
    parser.add_argument("--split", default="valid", help="train, valid or test")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    args = parser.parse_args()
    try:
        net = helpers.load_network(args.model)
        images, votes = load_split(args.data, args.split)
    except (FileNotFoundError, ValueError) as problem:
        parser.error(str(problem))
    labels = majority_labels(votes)
    images, labels = images[labels >= 0], labels[labels >= 0]
    if len(labels) == 0:
        parser.error("no face of this split has a majority label")
    result = {"model": Path(args.model).name, "split": args.split,
              **report(labels, predict(net, images).argmax(1)),
              "ms_per_face": round(milliseconds_per_face(net, images[0]), 3), "threads": cv2.getNumThreads(),
              "opencv": cv2.__version__}
    print(as_text(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
