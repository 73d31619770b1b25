"""Draw the pictures of the model card out of valid.json: confusion matrix, reliability diagram, robustness curves.

    python Model/draw_card.py          # reads Model/valid.json, writes Model/card.png
"""
import argparse
import json
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from helpers import EMOTIONS  # noqa: E402


def draw_confusion(axes, counts):
    """Rows: votes, columns: network, in percent of a row."""
    percent = np.array(counts) / np.maximum(np.sum(counts, 1, keepdims=True), 1) * 100
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(percent >= 0.5):
        axes.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=7,
                  color="white" if percent[row, column] > 50 else "black")
    axes.set_xticks(range(8), EMOTIONS, rotation=60)
    axes.set_yticks(range(8), EMOTIONS)
    axes.set_title("votes (rows) and network (columns), %")


def draw_reliability(axes, calibration):
    """One point a bin, its area by the number of faces."""
    bins = calibration["bins"]
    axes.plot([0, 1], [0, 1], color="lightgray")
    axes.scatter([b["probability"] for b in bins], [b["right"] for b in bins], s=[b["faces"] / 5 for b in bins])
    axes.set_xlabel("probability of the label")
    axes.set_ylabel("share that is right")
    axes.set_title(f"calibration error {calibration['ece']:.1%}")


def draw_robustness(axes, robustness):
    """Accuracy against how far a face was shifted, scaled or squashed."""
    for kind, shares in robustness.items():
        amounts = np.array([float(amount) for amount in shares])
        axes.plot(amounts - (kind != "shift"), list(shares.values()), marker="o", markersize=3,
                  label=kind if kind == "shift" else f"{kind} - 1")
    axes.set_xlabel("change, share of the face's side")
    axes.set_ylabel("accuracy")
    axes.legend()
    axes.set_title("faces shifted, scaled, squashed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, default=HERE / "valid.json")
    parser.add_argument("--out", type=Path, default=HERE / "card.png")
    args = parser.parse_args()
    result = json.loads(args.json.read_text(encoding="utf-8"))
    fig, (first, second, third) = plt.subplots(1, 3, figsize=(13, 4))
    draw_confusion(first, result["confusion"])
    draw_reliability(second, result["calibration"])
    draw_robustness(third, result["robustness"])
    plt.tight_layout()
    plt.savefig(args.out, dpi=90)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
