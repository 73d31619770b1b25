"""Draw Model/corruptions.png: one face under all corruptions, with the label of each network below it.

    python Model/draw_corruptions.py Model/emotion-ferplus-small.onnx [OTHER.onnx ...]

The face is Media/clip_sad.jpg as the detector crops it, at 48 pixels like the faces of FER+. It takes a few seconds.
"""
import argparse
from pathlib import Path

import cv2
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import helpers
from Model.damage import CORRUPTIONS, corrupt

OUT = Path(__file__).resolve().parent / "corruptions.png"
FACE_SIZE = 48         # pixels, as FER+ faces


def fer_like_face(name: str) -> helpers.Image:
    """Cut the face out of a picture in Media/: uint8 (48, 48), grey."""
    image = helpers.read_image(helpers.ROOT / "Media" / name)
    crop = helpers.crop_face(image, helpers.detect_faces(image)[0]["box"])
    return cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Draw the picture for the networks that are given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help="networks; their labels are drawn from top to bottom")
    parser.add_argument("--picture", default="clip_sad.jpg", help="a picture in Media/ (default: %(default)s)")
    args = parser.parse_args()
    face = fer_like_face(args.picture)
    views = {"as it is": face, **{name: corrupt(face[None], name)[0] for name in CORRUPTIONS}}
    figure, axes = plt.subplots(2, 6, figsize=(11, 4.6 + 0.25 * len(args.models)), layout="constrained")
    inputs = np.concatenate([helpers.preprocess(view) for view in views.values()])
    lines: list[list[str]] = [[] for _ in views]
    for model in args.models:
        for text, row in zip(lines, helpers.softmax(helpers.forward(helpers.load_network(model), inputs))):
            text.append(f"{helpers.EMOTIONS[int(row.argmax())]} {row.max():.0%}")
    for axis, (name, view), text in zip(axes.flat, views.items(), lines):
        axis.imshow(view, cmap="gray", vmin=0, vmax=255)
        axis.set(title=name, xticks=[], yticks=[], xlabel="\n".join(text))
    figure.savefig(OUT, dpi=110, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
