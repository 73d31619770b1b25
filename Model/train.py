"""Train the project's own expression network on FER+ and write it as ONNX.

    pip install -r requirements.txt -r Model/requirements.txt
    python Model/train.py --data DIR            # DIR holds ferplus_train.npz and ferplus_valid.npz

Writes Model/emotion-ferplus-small.onnx (--out) after the last epoch, and a checkpoint and a log in
Model/runs/ (--run) after each. Stopped half-way? The same command goes on from the last checkpoint.
The same seed on the same machine and number of threads gives the same network.

The recipe, in one paragraph: a residual network of 1.9 million parameters; the votes of the ten taggers
as soft targets (cross-entropy with a distribution, Barsoum et al. 2016, arXiv 1608.01041); faces shifted,
turned, scaled, mirrored, dimmed and partly hidden at random; SGD with Nesterov momentum, its rate falling
along a cosine twice, the second time from a lower peak and with milder changes (warm restart, Loshchilov
and Hutter 2017, arXiv 1608.03983). The last weights or their moving average ship: what does better on valid.
"""
import argparse
import copy
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ferplus import EMOTIONS, load_majority, load_split, soft_targets  # noqa: E402

from helpers import preprocess  # noqa: E402  ferplus put the project's folder on the path

HERE = Path(__file__).resolve().parent
SIDE = 64                      # pixels; the interface of emotion-ferplus-8.onnx
INPUT, OUTPUT = "Input3", "Plus692_Output_0"    # its input and output names

CYCLES = ((24, 0.1, 1.0), (12, 0.05, 0.7))   # epochs, peak learning rate, strength of the changes below
BATCH = 128
WARM_UP = 1.0                  # epochs, at the start of each cycle
WEIGHT_DECAY = 5e-4            # on convolution and linear weights only
DROPOUT = 0.3                  # before the last layer
EMA_DECAY = 0.998              # per step: an average over about the last two epochs

ROTATE = 10.0                  # degrees to either side
SCALE = 0.15                   # share to either side, across and down drawn apart by a third of it
SHIFT = 0.12                   # share of the face's side
CONTRAST, BRIGHTNESS = 0.3, 0.2   # share of the grey range, to either side
ERASE = 0.4                    # how often a rectangle is hidden


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut round them (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return F.relu(y + self.shortcut(x))


class ExpressionNet(nn.Module):
    """(N, 1, 64, 64) grey 0..255 in, (N, 8) scores before softmax out."""

    def __init__(self, widths=(32, 64, 128, 192), depths=(1, 2, 2, 2)):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        blocks, inside = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            for place in range(depth):
                blocks.append(Block(inside, width, 2 if stage and not place else 1))
                inside = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(DROPOUT)
        self.last = nn.Linear(inside, len(EMOTIONS))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for block in self.blocks:            # each block starts as its shortcut alone: steadier first steps
            nn.init.zeros_(block.second_norm.weight)

    def forward(self, x):
        x = (x - 127.5) / 64.0               # normalisation lives inside the graph
        x = self.blocks(self.stem(x))
        x = x.mean((2, 3))
        return self.last(self.dropout(x))


def augment(faces, rng, strength=1.0):
    """(N, 48, 48) uint8 faces to (N, 1, 64, 64) float32 in 0..255, each changed at random.

    `strength` (0..1) scales every change but the mirroring. Turning, scaling, shifting, mirroring and the
    enlargement to 64 are one bilinear lookup.
    """
    n = len(faces)

    def uniform(*shape):                     # -strength..strength
        return (torch.rand(*shape, generator=rng) * 2 - 1) * strength

    angle = uniform(n) * math.radians(ROTATE)
    across = 1 / (1 + uniform(n) * SCALE)
    down = across * (1 + uniform(n) * SCALE / 3)
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    shift = uniform(n, 2) * SHIFT * 2        # grid_sample measures the picture from -1 to 1
    matrix = torch.stack([
        torch.stack([cos * across * mirror, -sin * down, shift[:, 0]], 1),
        torch.stack([sin * across * mirror, cos * down, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix, (n, 1, SIDE, SIDE), align_corners=False)
    x = F.grid_sample(faces[:, None].float(), grid, padding_mode="border", align_corners=False)

    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) * (1 + uniform(n, 1, 1, 1) * CONTRAST) + mean + uniform(n, 1, 1, 1) * BRIGHTNESS * 255
    x = x.clamp(0, 255)

    hidden = (torch.rand(n, generator=rng) < ERASE * strength).nonzero()[:, 0].tolist()
    sizes = torch.randint(8, 29, (n, 2), generator=rng).tolist()
    corners = torch.rand(n, 2, generator=rng).tolist()
    greys = (torch.rand(n, generator=rng) * 255).tolist()
    for i in hidden:
        (h, w), (v, u) = sizes[i], corners[i]
        top, left = int(v * (SIDE - h)), int(u * (SIDE - w))
        x[i, 0, top:top + h, left:left + w] = greys[i]
    return x


@torch.no_grad()
def accuracy(net, faces, labels):
    """Share of faces (N, 1, 64, 64) whose highest score is at the label."""
    net.eval()
    guesses = torch.cat([net(part.contiguous(memory_format=torch.channels_last)).argmax(1)
                         for part in faces.split(256)])
    return (guesses == labels).float().mean().item()


def schedule(epoch, cycles):
    """(learning rate, strength) at a moment, in epochs with a fraction: up in a line, then down along half a cosine."""
    for length, peak, strength in cycles:
        if epoch < length:
            break
        epoch -= length
    warm_up = min(WARM_UP, length / 2)
    if epoch < warm_up:
        return peak * (epoch + 0.01) / warm_up, strength
    return peak * 0.5 * (1 + math.cos(math.pi * (epoch - warm_up) / (length - warm_up))), strength


def save_safely(write, path):
    """Call write(temporary name), then move the file into place: never a half-written file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    os.close(handle)
    try:
        write(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def export(net, path):
    """Write net as ONNX with the interface of emotion-ferplus-8.onnx, after OpenCV was seen to agree.

    Raises RuntimeError, and leaves `path` as it was, when OpenCV and torch differ by more than 1e-4 on
    any of five inputs, alone or in a batch of three.
    """
    net = copy.deepcopy(net).float().eval().to(memory_format=torch.contiguous_format)

    def write_checked(name):
        torch.onnx.export(net, torch.zeros(1, 1, SIDE, SIDE), name, dynamo=False, opset_version=13,
                          input_names=[INPUT], output_names=[OUTPUT],
                          dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}})
        compare_with_opencv(net, name)

    save_safely(write_checked, Path(path))


def compare_with_opencv(net, path, tolerance=1e-4):
    """Raise RuntimeError unless OpenCV's scores equal torch's: five inputs, batch 1 and batch 3."""
    rng = np.random.default_rng(0)
    faces = rng.uniform(0, 255, (5, 1, SIDE, SIDE)).astype(np.float32)
    faces[1] = 0
    faces[2] = np.linspace(0, 255, SIDE, dtype=np.float32)
    loaded = cv2.dnn.readNetFromONNX(str(path))
    with torch.no_grad():
        expected = net(torch.from_numpy(faces)).numpy()
    for batch in [faces[i:i + 1] for i in range(5)] + [faces[:3], faces[2:5]]:
        loaded.setInput(batch, INPUT)
        scores = loaded.forward(OUTPUT)
        first = next(i for i in range(5) if np.array_equal(faces[i], batch[0]))
        gap = np.abs(scores - expected[first:first + len(batch)]).max()
        if not gap <= tolerance:
            raise RuntimeError(f"OpenCV and torch differ by {gap:.2g} on a batch of {len(batch)}: not exported")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, default=HERE / "emotion-ferplus-small.onnx")
    parser.add_argument("--run", type=Path, default=HERE / "runs" / "small", help="folder of checkpoint and log")
    parser.add_argument("--epochs", type=int, help="one short cycle of so many epochs, to try things out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error("--epochs must be 1 or more")
    cycles = [list(cycle) for cycle in CYCLES] if args.epochs is None else [[args.epochs, *CYCLES[0][1:]]]
    epochs = sum(length for length, _, _ in cycles)
    if args.threads:
        torch.set_num_threads(args.threads)

    images, votes = load_split(args.data, "train")
    targets, keep = soft_targets(votes)
    faces, targets = torch.from_numpy(images[keep]), torch.from_numpy(targets[keep])
    valid_images, valid_labels = load_majority(args.data, "valid")
    valid_faces = torch.from_numpy(np.concatenate([preprocess(face) for face in valid_images]))
    valid_labels = torch.from_numpy(valid_labels)
    print(f"{len(faces)} faces to train on ({(~keep).sum()} left out: no emotion named), "
          f"{len(valid_faces)} to validate on")

    torch.manual_seed(args.seed)
    net = ExpressionNet().to(memory_format=torch.channels_last)
    average = copy.deepcopy(net).requires_grad_(False)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=cycles[0][1], momentum=0.9, nesterov=True)
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters, {torch.get_num_threads()} threads")

    checkpoint = args.run / "checkpoint.pt"
    settings = {"cycles": cycles, "seed": args.seed}
    start = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != settings:
            parser.error(f"{checkpoint} was made with {state['settings']}, not {settings}: choose another --run")
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["epoch"]
        print(f"going on after epoch {start}")

    steps_an_epoch = len(faces) // BATCH
    for epoch in range(start, epochs):
        began, total = time.perf_counter(), 0.0
        rng = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        torch.manual_seed(args.seed * 1000 + epoch)      # dropout, so that a resumed run is the same run
        order = torch.randperm(len(faces), generator=rng)
        net.train()
        for batch in tqdm(range(steps_an_epoch), desc=f"epoch {epoch + 1}/{epochs}", mininterval=5):
            rate, strength = schedule(epoch + batch / steps_an_epoch, cycles)
            chosen = order[batch * BATCH:(batch + 1) * BATCH]
            x = augment(faces[chosen], rng, strength).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(net(x), targets[chosen])
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
            with torch.no_grad():
                step = epoch * steps_an_epoch + batch
                decay = min(EMA_DECAY, (1 + step) / (10 + step))
                for mean, now in zip(average.state_dict().values(), net.state_dict().values()):
                    if mean.is_floating_point():
                        mean.lerp_(now, 1 - decay)
                    else:
                        mean.copy_(now)
        if not math.isfinite(total):
            raise RuntimeError(f"the loss is no number in epoch {epoch + 1}: the last checkpoint is kept")
        line = (f"epoch {epoch + 1}  loss {total / steps_an_epoch:.4f}  "
                f"valid {accuracy(average, valid_faces, valid_labels):.4f}  "
                f"{time.perf_counter() - began:.0f} s")
        print(line, flush=True)
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(),
                 "epoch": epoch + 1, "settings": settings}
        save_safely(lambda name: torch.save(state, name), checkpoint)
        with open(args.run / "log.txt", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    shares = {"last weights": accuracy(net, valid_faces, valid_labels),
              "averaged weights": accuracy(average, valid_faces, valid_labels)}
    best = max(shares, key=shares.get)
    print(", ".join(f"{name}: {share:.4f}" for name, share in shares.items()) + f"; the {best} ship")
    export(net if best == "last weights" else average, args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
