"""Measure which crop of a detector's box suits the network best, on FER+ faces in a larger canvas.

    python Model/measure_crop.py --data DIR --json Model/crop.json Model/emotion-ferplus-small.onnx

Each face with a majority label is enlarged, pasted into a grey canvas twice its size, detected by ssd, cropped in
several ways and classified. A face that is not found counts as wrong for every crop but the first one, which is the
FER+ crop itself. The script also measures where the detector's box is in the FER+ crop. Then every Nth face (--every)
is used with each of the four detectors: with different paddings, with the box squashed to a square, and with a shifted
square. This takes about ten minutes.
"""
import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import helpers
from helpers import Image
from Model.adapt import largest_box
from Model.evaluate import predict_probabilities
from Model.ferplus import load_majority

FACE_SIZE = 160                          # pixels; side of the pasted face
MARGIN = FACE_SIZE // 2                  # pixels of grey on each side of it
PADDINGS = (-0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3)
DETECTOR_PADDINGS = (-0.25, -0.2, -0.15) + PADDINGS + (0.4,)  # for the four detectors: their boxes differ in size
SHIFTS = (0.0, 0.05, 0.1, 0.15, 0.2)     # fraction of the box's longer side, to the left, right, up and down
DETECTORS = ("ssd", "haar", "hog", "cnn")


def make_canvas(face: npt.NDArray[np.uint8]) -> Image:
    """Paste a FER+ face into the middle of a grey image.

    Parameters
    ----------
    face : numpy.ndarray
        uint8 (48, 48), grey.

    Returns
    -------
    numpy.ndarray
        uint8 (320, 320, 3), BGR.
    """
    large = cv2.resize(face, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(cv2.copyMakeBorder(large, *[MARGIN] * 4, cv2.BORDER_CONSTANT, value=128), cv2.COLOR_GRAY2BGR)


def crop_padded_box(canvas: Image, box: Sequence[int], border: int) -> Image:
    """Crop a box as it is, which need not be a square.

    Parameters
    ----------
    canvas : numpy.ndarray
        uint8 (H, W, 3).
    box : sequence of int
        x, y, w, h in pixels.
    border : int
        Pixels added on each side; the part outside the canvas is dropped.

    Returns
    -------
    numpy.ndarray
        uint8 (h, w, 3), a view of the canvas.
    """
    x, y, w, h = box
    return canvas[max(y - border, 0):y + h + border, max(x - border, 0):x + w + border]


def shift_box(box: Sequence[int], right: float, down: float) -> list[int]:
    """Shift a box.

    Parameters
    ----------
    box : sequence of int
        x, y, w, h in pixels.
    right, down : float
        Fractions of the box's longer side.

    Returns
    -------
    list of int
        The shifted box.
    """
    x, y, w, h = box
    return [round(x + right * max(w, h)), round(y + down * max(w, h)), w, h]


def measure_detector(net: cv2.dnn.Net, canvases: Sequence[Image], labels: npt.NDArray[np.integer], detector: str,
                     ) -> dict[str, Any]:
    """Measure the accuracy with the boxes of one detector, cropped in several ways.

    Parameters
    ----------
    net : cv2.dnn.Net
        From `helpers.load_network`.
    canvases : sequence of numpy.ndarray
        From `make_canvas`.
    labels : numpy.ndarray
        int (N,), indices into `helpers.EMOTIONS`.
    detector : str
        As for `helpers.detect_faces`.

    Returns
    -------
    dict
        ``found``, the number of faces found, and accuracies, 0..1: ``box``, of the box squashed to a square; ``padding``
        and ``shift``, of the square crop, by amount.
    """
    boxes = [helpers.detect_faces(canvas, detector=detector) for canvas in canvases]
    found = [index for index, faces in enumerate(boxes) if faces]
    pairs = [(canvases[index], largest_box(boxes[index])) for index in found]

    def accuracy(crops: list[Image]) -> float:
        return round(float((predict_probabilities(net, crops).argmax(1) == labels[found]).sum() / len(labels)), 4)

    def crops(padding: float = helpers.PADDING, right: float = 0.0, down: float = 0.0) -> list[Image]:
        return [helpers.crop_face(canvas, shift_box(box, right, down), padding=padding) for canvas, box in pairs]

    shift = {}
    for amount in SHIFTS:
        directions = [(amount, 0), (-amount, 0), (0, amount), (0, -amount)]
        shift[str(amount)] = round(float(np.mean([accuracy(crops(right=r, down=d)) for r, d in directions])), 4)
    return {"found": len(found),
            "box": accuracy([crop_padded_box(canvas, box, 0) for canvas, box in pairs]),
            "padding": {str(padding): accuracy(crops(padding)) for padding in DETECTOR_PADDINGS}, "shift": shift}


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="ONNX file with the interface of emotion-ferplus-8.onnx")
    parser.add_argument("--data", required=True, help="folder with ferplus_<split>.npz")
    parser.add_argument("--split", default="valid", help="train, valid or test")
    parser.add_argument("--every", type=int, default=4, metavar="N", help="use every Nth face for the four detectors")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    args = parser.parse_args()
    net = helpers.load_network(args.model)
    images, labels = load_majority(args.data, args.split)

    canvases, boxes, found = [], [], []
    for index, image in enumerate(images):
        canvas = make_canvas(image)
        faces = helpers.detect_faces(canvas)
        if faces:
            canvases.append(canvas)
            boxes.append(largest_box(faces))
            found.append(index)

    def accuracy(crops: list[Image]) -> float:
        correct = predict_probabilities(net, crops).argmax(1) == labels[found]
        return round(float(correct.sum() / len(labels)), 4)

    whole = (predict_probabilities(net, images).argmax(1) == labels).mean()
    accuracies = {"FER+ crop, no detector": round(float(whole), 4),
                  "box + 3 pixels, squashed": accuracy([crop_padded_box(c, b, 3) for c, b in zip(canvases, boxes)])}
    for padding in PADDINGS:
        crops = [helpers.crop_face(canvas, box, padding=padding) for canvas, box in zip(canvases, boxes)]
        accuracies[f"square, padding {padding:+.2f}"] = accuracy(crops)
    x, y, w, h = (np.array(boxes).T - [[MARGIN], [MARGIN], [0], [0]]) / FACE_SIZE
    some, some_labels = [make_canvas(image) for image in images[::args.every]], labels[::args.every]
    result = {"model": Path(args.model).name, "split": args.split, "faces": len(labels), "found": len(found),
              "accuracy": accuracies,
              "ssd_box_in_ferplus_crop": {
                  "centre_x": round(float(np.median(x + w / 2)), 2), "centre_y": round(float(np.median(y + h / 2)), 2),
                  "width": round(float(np.median(w)), 2), "height": round(float(np.median(h)), 2)},
              "detectors": {"faces": len(some), **{detector: measure_detector(net, some, some_labels, detector)
                                                   for detector in DETECTORS}}}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
