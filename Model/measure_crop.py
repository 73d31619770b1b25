"""Which crop of a detector's box suits the network best? Measured on FER+ faces in a larger canvas.

    python Model/measure_crop.py --data DIR --json Model/crop.json Model/emotion-ferplus-small.onnx

Each face with a majority label is enlarged, pasted into a grey canvas twice its size, found by ssd, cropped in
several ways and labelled. A face that is not found counts as wrong in every way but the first, which takes
the FER+ crop as it is. Also tells where the detector's box lies in the FER+ crop. Then every --every-th face again
with each of the four detectors: padding, the box squashed to a square, and the square moved. About ten minutes.
"""
import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from adapt import largest_box  # noqa: E402
from evaluate import predict  # noqa: E402
from ferplus import load_majority  # noqa: E402

import helpers  # noqa: E402

SIDE = 160                               # pixels of the pasted face
MARGIN = SIDE // 2                       # grey all round it
PADDINGS = (-0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3)
ALL_PADDINGS = (-0.25, -0.2, -0.15) + PADDINGS + (0.4,)       # for the four detectors: their boxes differ in size
SHIFTS = (0.0, 0.05, 0.1, 0.15, 0.2)     # share of the box's longer side, to the left, right, up and down
DETECTORS = ("ssd", "haar", "hog", "cnn")


def canvas_of(face):
    """A FER+ face (48, 48) in the middle of a grey picture (320, 320, 3), BGR."""
    large = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(cv2.copyMakeBorder(large, *[MARGIN] * 4, cv2.BORDER_CONSTANT, value=128), cv2.COLOR_GRAY2BGR)


def box_plus_three(canvas, box):
    """The box with 3 pixels more on each side, whatever its proportions."""
    x, y, w, h = box
    return canvas[max(y - 3, 0):y + h + 3, max(x - 3, 0):x + w + 3]


def moved(box, right, down):
    """The box moved by shares of its longer side."""
    x, y, w, h = box
    return [round(x + right * max(w, h)), round(y + down * max(w, h)), w, h]


def one_detector(net, canvases, labels, detector):
    """Shares of the faces that get the right label from this detector's boxes, cropped in several ways."""
    boxes = [helpers.detect_faces(canvas, detector) for canvas in canvases]
    found = [number for number, faces in enumerate(boxes) if faces]
    pairs = [(canvases[number], largest_box(boxes[number])) for number in found]

    def accuracy(crops):
        return round(float((predict(net, crops).argmax(1) == labels[found]).sum() / len(labels)), 4)

    def crops(padding=helpers.PADDING, right=0.0, down=0.0):
        return [helpers.crop_face(canvas, moved(box, right, down), padding) for canvas, box in pairs]

    shift = {}
    for amount in SHIFTS:
        ways = [(amount, 0), (-amount, 0), (0, amount), (0, -amount)]
        shift[str(amount)] = round(float(np.mean([accuracy(crops(right=r, down=d)) for r, d in ways])), 4)
    return {"found": len(found),
            "box": accuracy([canvas[max(y, 0):y + h, max(x, 0):x + w] for canvas, (x, y, w, h) in pairs]),
            "padding": {str(padding): accuracy(crops(padding)) for padding in ALL_PADDINGS}, "shift": shift}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="ONNX file with the interface of emotion-ferplus-8.onnx")
    parser.add_argument("--data", required=True, help="folder with ferplus_<split>.npz")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--every", type=int, default=4, help="every so many-th face for the four detectors")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    net = helpers.load_network(args.model)
    images, labels = load_majority(args.data, args.split)

    canvases, boxes, found = [], [], []
    for number, image in enumerate(images):
        canvas = canvas_of(image)
        faces = helpers.detect_faces(canvas)
        if faces:
            canvases.append(canvas)
            boxes.append(largest_box(faces))
            found.append(number)

    def accuracy(crops):
        right = predict(net, crops).argmax(1) == labels[found]
        return round(float(right.sum() / len(labels)), 4)

    shares = {"FER+ crop, no detector": round(float((predict(net, images).argmax(1) == labels).mean()), 4),
              "box + 3 pixels, squashed": accuracy([box_plus_three(c, b) for c, b in zip(canvases, boxes)])}
    for padding in PADDINGS:
        crops = [helpers.crop_face(canvas, box, padding) for canvas, box in zip(canvases, boxes)]
        shares[f"square, padding {padding:+.2f}"] = accuracy(crops)
    x, y, w, h = (np.array(boxes).T - [[MARGIN], [MARGIN], [0], [0]]) / SIDE
    result = {"model": Path(args.model).name, "split": args.split, "faces": len(labels), "found": len(found),
              "accuracy": shares,
              "ssd_box_in_ferplus_crop": {
                  "centre_x": round(float(np.median(x + w / 2)), 2), "centre_y": round(float(np.median(y + h / 2)), 2),
                  "width": round(float(np.median(w)), 2), "height": round(float(np.median(h)), 2)}}
    some, names = [canvas_of(image) for image in images[::args.every]], labels[::args.every]
    result["detectors"] = {"faces": len(some), **{detector: one_detector(net, some, names, detector)
                                                  for detector in DETECTORS}}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
