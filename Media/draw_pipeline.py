"""Draw Media/pipeline.webp, the README's cheat sheet: each step on a real picture, with its function, shape and pitfall.

    python Media/draw_pipeline.py
"""
from collections.abc import Sequence

import cv2
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import onnx
from matplotlib.axes import Axes

import helpers
from helpers import Image

BLUE, RED, GREY = "#1f5f99", "#a03000", "#555555"


def feature_map_shapes() -> list[tuple[int, int]]:
    """(channels, height) after each convolution of the project's network, without the shortcuts."""
    model = onnx.shape_inference.infer_shapes(onnx.load(helpers.MODEL_PATH))
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.value_info}
    return [(shapes[node.output[0]][1], shapes[node.output[0]][2]) for node in model.graph.node
            if node.op_type == "Conv" and "shortcut" not in node.name]


def draw_picture(axis: Axes, image: Image) -> None:
    """Show a BGR image."""
    axis.imshow(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def draw_network(axis: Axes) -> None:
    """One bar per feature map: its height is that of the map, its width shows the number of channels."""
    left = 0.0
    for channels, height in [(1, helpers.INPUT_SIZE)] + feature_map_shapes():
        width = max(channels / 4, 4)
        axis.bar(left, height, width, bottom=-height / 2, align="edge", color="orange" if channels == 1 else BLUE)
        left += width + 6


def draw_bars(axis: Axes, values: Sequence[float], form: str) -> None:
    """One horizontal bar per expression, with its name on the left and its value at the end."""
    lowest, highest = min(0, *values), max(values)
    unit = highest - lowest
    axis.barh(range(len(values)), values, color=BLUE)
    axis.set(xlim=(lowest - unit * (0.95 if lowest else 0.55), highest + unit * 0.35))
    for index, (name, value) in enumerate(zip(helpers.EMOTIONS, values)):
        axis.text(0, index, name, transform=axis.get_yaxis_transform(), va="center", fontsize=12)
        axis.text(value, index, f" {value:{form}} ", va="center", ha="left" if value >= 0 else "right", fontsize=11)
    axis.invert_yaxis()


def dimensions(array: npt.NDArray[np.generic]) -> str:
    """The shape of an array as text."""
    return " × ".join(map(str, array.shape))


def main() -> None:
    """Run the script."""
    plt.switch_backend("agg")          # draws without a window
    image = helpers.read_image(helpers.ROOT / "Media" / "grace_hopper.jpg")
    helpers.init_emotion()
    face = helpers.detect_emotions(image)[0]
    x, y, w, h = face["box"]
    crop = helpers.crop_face(image, face["box"])
    blob = helpers.preprocess(crop)
    scores = helpers.forward(helpers.load_network(), blob)

    steps = [
        ("1  load_network", 2, "an ONNX file  →  a network", "a downloaded web page: refused", draw_network),
        ("read_image", 3, f"{dimensions(image)}, uint8, BGR", "blue comes first: show() converts",
         lambda a: draw_picture(a, image)),
        ("2  detect_faces", 3, f"x {x}, y {y}, w {w}, h {h}", "no face: an empty list",
         lambda a: draw_picture(a, helpers.draw(image, [{"box": face["box"]}]))),
        ("3  crop_face", 4, f"{dimensions(crop)}: a square", "outside, edge pixels are replicated",
         lambda a: draw_picture(a, crop)),
        ("4  preprocess", 4, f"{dimensions(blob)}, float32, 0 to 255", "grey, and not divided by 255",
         lambda a: a.imshow(blob[0, 0], cmap="gray", vmin=0, vmax=255)),
        ("5  forward", 5, f"{dimensions(scores)} scores, in this order", "a wall gets scores, too",
         lambda a: draw_bars(a, scores[0].tolist(), ".1f")),
        ("6  softmax, argmax", 5, f"sum 1; the largest: {face['label']}",
         f"softmax once; “?” below {helpers.LABEL_THRESHOLD}",
         lambda a: draw_bars(a, list(face["emotions"].values()), ".0%")),
        ("7  draw", 6, "box and label, on a copy", "how she looks, not what she feels",
         lambda a: draw_picture(a, helpers.draw(image, [face]))),
    ]
    figure, axes = plt.subplots(2, 4, figsize=(15, 9.6))
    figure.subplots_adjust(left=0.025, right=0.985, top=0.865, bottom=0.165, wspace=0.16, hspace=0.62)
    for axis, (name, notebook, what, pitfall, show) in zip(axes.flat, steps):
        (left, bottom), (_, top) = axis.get_position().get_points()
        show(axis)
        axis.set_axis_off()
        axis.set_anchor("W")
        figure.text(left, top + 0.022, name, fontsize=16, fontweight="bold", color=BLUE)
        figure.text(left + 0.222, top + 0.022, f"notebook {notebook}", fontsize=10.5, color=GREY, ha="right")
        figure.text(left, bottom - 0.035, what, fontsize=13)
        figure.text(left, bottom - 0.065, "! " + pitfall, fontsize=13, color=RED)
    figure.text(0.025, 0.95, "From a photo to a label", fontsize=21, fontweight="bold")
    figure.text(0.025, 0.03, "init_emotion() is step 1, once.     detect_emotions(image) is steps 2 to 6 and returns the "
                "data.     emotion(image) is steps 2 to 7 and shows the picture.", fontsize=14, color=GREY)
    out = helpers.ROOT / "Media" / "pipeline.webp"
    figure.savefig(out, dpi=110, facecolor="white", pil_kwargs={"quality": 88})
    print(f"{out.name}: {out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
