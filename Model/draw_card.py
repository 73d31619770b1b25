"""Draw the charts of the model card from valid.json: confusion matrix, reliability diagram, robustness curves.

    python Model/draw_card.py          # reads Model/valid.json, writes Model/card.png
"""
import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from helpers import EMOTIONS

HERE = Path(__file__).resolve().parent


def draw_confusion(axes: Axes, counts: npt.ArrayLike) -> None:
    """Draw a confusion matrix, in percent of each row.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    counts : array_like
        (8, 8) numbers of faces; rows: votes, columns: network.
    """
    percent = np.array(counts) / np.maximum(np.sum(counts, 1, keepdims=True), 1) * 100
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(percent >= 0.5):
        axes.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=7,
                  color="white" if percent[row, column] > 50 else "black")
    axes.set_xticks(range(8), EMOTIONS, rotation=60)
    axes.set_yticks(range(8), EMOTIONS)
    axes.set_title("votes (rows) and network (columns), %")


def draw_reliability(axes: Axes, calibration: dict[str, Any]) -> None:
    """Draw a reliability diagram: one point per bin, whose area shows the number of faces.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    calibration : dict
        From `evaluate.calibration`.
    """
    bins = calibration["bins"]
    axes.plot([0, 1], [0, 1], color="lightgray")
    axes.scatter([b["probability"] for b in bins], [b["right"] for b in bins], s=[b["faces"] / 5 for b in bins])
    axes.set_xlabel("probability of the label")
    axes.set_ylabel("fraction of correct labels")
    axes.set_title(f"calibration error {calibration['ece']:.1%}")


def draw_robustness(axes: Axes, robustness: dict[str, dict[str, float]]) -> None:
    """Draw the accuracy over the amount of shift, scale and squash.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    robustness : dict
        From `evaluate.robustness`.
    """
    for kind, accuracies in robustness.items():
        amounts = np.array([float(amount) for amount in accuracies])
        axes.plot(amounts - (kind != "shift"), list(accuracies.values()), marker="o", markersize=3,
                  label=kind if kind == "shift" else f"{kind} - 1")
    axes.set_xlabel("amount, as a fraction of the face's side")
    axes.set_ylabel("accuracy")
    axes.legend()
    axes.set_title("faces shifted, scaled, squashed")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, default=HERE / "valid.json", help="the report of evaluate.py --robustness")
    parser.add_argument("--out", type=Path, default=HERE / "card.png", help="the image to write")
    args = parser.parse_args()
    result = json.loads(args.json.read_text(encoding="utf-8"))
    plt.switch_backend("agg")          # draws without a window
    fig, (first, second, third) = plt.subplots(1, 3, figsize=(13, 4))
    draw_confusion(first, result["confusion"])
    draw_reliability(second, result["calibration"])
    draw_robustness(third, result["robustness"])
    plt.tight_layout()
    plt.savefig(args.out, dpi=90)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
