"""Train the project's own expression network on FER+ and write it as ONNX.

    pip install -r requirements.txt -r Model/requirements.txt
    python Model/train.py --data DIR --run Model/runs/alone --out alone.onnx
    python Model/train.py --data DIR --start Model/runs/alone/checkpoint.pt --teachers alone.onnx

DIR holds ferplus_train.npz and ferplus_valid.npz. The first command is enough for a good network; the second
goes on from it with teachers, which may be any ONNX files with this interface, several of them if you have.
Writes Model/emotion-ferplus-small.onnx (--out) after the last epoch, and a checkpoint and a log in
Model/runs/small (--run) after each. Stopped half-way? The same command goes on from the last checkpoint.
The same seed on the same machine and number of threads gives the same network.

The recipe, in one paragraph: a residual network of 1.5 million parameters that works on 48 pixels, the size of
FER+ faces; the votes of the ten taggers
as soft targets (cross-entropy with a distribution, Barsoum et al. 2016, arXiv 1608.01041); rare expressions shown
more often; faces shifted, turned, scaled, mirrored, dimmed and partly hidden at random, small at first and larger
later (Tan and Le 2021, arXiv 2104.00298); SGD with Nesterov momentum, its rate falling along a cosine (Loshchilov
and Hutter 2017, arXiv 1608.03983); then once more with the teachers' answers mixed into the targets. The last
weights or their moving average ship: what does better on valid. Scores are scaled by one number, fitted on valid
(Guo et al. 2017, arXiv 1706.04599), and convolution weights are stored with 16 bits.
"""
import argparse
import copy
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ferplus import EMOTIONS, load_majority, load_split, save_safely, soft_targets  # noqa: E402

from helpers import forward, load_network, preprocess, softmax  # noqa: E402  ferplus put the project's folder on the path

HERE = Path(__file__).resolve().parent
SIDE = 64                      # pixels; the interface of emotion-ferplus-8.onnx
SHRINK = 0.75                  # FER+ faces are 48 pixels wide: the network works at that size, nearly twice as fast
INPUT, OUTPUT = "Input3", "Plus692_Output_0"    # its input and output names

ALONE = (42, 0.05, 0.85)       # epochs, peak learning rate, strength of the changes below
TAUGHT = (16, 0.015, 0.55)     # the same, when there are teachers
TEACHERS_SHARE = 0.5           # of the targets; the rest is the taggers' votes
SIDES = ((0.45, 52), (1.0, SIDE))   # until this share of the epochs, faces of this side: small ones are quick
TAUGHT_SIDES = ((1.0, SIDE),)
BATCH = 64
RARE = {"Disgust": 3, "Fear": 2, "Contempt": 3}   # how often such a face is shown in an epoch
WARM_UP = 1.0                  # epochs, at the start of each cycle
WEIGHT_DECAY = 5e-4            # on convolution and linear weights only
DROPOUT = 0.2                  # before the last layer
EMA_DECAY = 0.999              # per step: an average over about the last two epochs

ROTATE = 10.0                  # degrees to either side
SCALE = 0.18                   # share to either side, across and down drawn apart by half of it
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

    def __init__(self, widths=(32, 64, 96, 160), depths=(1, 2, 3, 2)):
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
        x = F.interpolate(x, scale_factor=SHRINK, mode="bilinear", align_corners=False)
        x = self.blocks(self.stem(x))
        x = x.mean((2, 3))
        return self.last(self.dropout(x))


def augment(faces, rng, strength=1.0, side=SIDE):
    """(N, 48, 48) uint8 faces to (N, 1, side, side) float32 in 0..255, each changed at random.

    `strength` (0..1) scales every change but the mirroring. Turning, scaling, shifting, mirroring and the
    change of size are one bilinear lookup.
    """
    n = len(faces)

    def uniform(*shape):                     # -strength..strength
        return (torch.rand(*shape, generator=rng) * 2 - 1) * strength

    angle = uniform(n) * math.radians(ROTATE)
    across = 1 / (1 + uniform(n) * SCALE)
    down = across * (1 + uniform(n) * SCALE / 2)
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    shift = uniform(n, 2) * SHIFT * 2        # grid_sample measures the picture from -1 to 1
    matrix = torch.stack([
        torch.stack([cos * across * mirror, -sin * down, shift[:, 0]], 1),
        torch.stack([sin * across * mirror, cos * down, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix, (n, 1, side, side), align_corners=False)
    x = F.grid_sample(faces[:, None].float(), grid, padding_mode="border", align_corners=False)

    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) * (1 + uniform(n, 1, 1, 1) * CONTRAST) + mean + uniform(n, 1, 1, 1) * BRIGHTNESS * 255
    x = x.clamp(0, 255)

    hidden = (torch.rand(n, generator=rng) < ERASE * strength).nonzero()[:, 0].tolist()
    sizes = (torch.randint(8, 29, (n, 2), generator=rng) * side // SIDE).tolist()
    corners = torch.rand(n, 2, generator=rng).tolist()
    greys = (torch.rand(n, generator=rng) * 255).tolist()
    for i in hidden:
        (h, w), (v, u) = sizes[i], corners[i]
        top, left = int(v * (side - h)), int(u * (side - w))
        x[i, 0, top:top + h, left:left + w] = greys[i]
    return x


@torch.no_grad()
def accuracy(net, faces, labels):
    """Share of faces (N, 1, 64, 64) whose highest score is at the label."""
    net.eval()
    guesses = torch.cat([net(part.contiguous(memory_format=torch.channels_last)).argmax(1)
                         for part in faces.split(256)])
    return (guesses == labels).float().mean().item()


def schedule(epoch, cycle):
    """Learning rate at a moment, in epochs with a fraction: up in a line, then down along half a cosine."""
    length, peak, _ = cycle
    warm_up = min(WARM_UP, length / 2)
    if epoch < warm_up:
        return peak * (epoch + 0.01) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (epoch - warm_up) / (length - warm_up)))


def taught_targets(targets, images, teachers):
    """Mix (N, 8) float32 targets with what the teachers see in the (N, 48, 48) uint8 faces and in their mirror images.

    Teachers are ONNX files with the interface of emotion-ferplus-8.onnx; OpenCV runs them. The mean of
    their probabilities is less noisy than ten votes (Hinton et al. 2015, arXiv 1503.02531).
    """
    seen = np.zeros(targets.shape, np.float32)
    for path in teachers:
        network = load_network(path)
        for start in tqdm(range(0, len(images), BATCH), desc=f"asking {Path(path).name}", mininterval=5):
            faces = np.concatenate([preprocess(image) for image in images[start:start + BATCH]])
            for view in (faces, np.ascontiguousarray(faces[..., ::-1])):
                seen[start:start + BATCH] += softmax(forward(network, view))
    seen /= 2 * len(teachers)
    return (1 - TEACHERS_SHARE) * targets + TEACHERS_SHARE * seen


@torch.no_grad()
def fit_temperature(net, faces, labels):
    """The number by which to divide the scores so that the probabilities fit the labels best."""
    net.eval()
    scores = torch.cat([net(part) for part in faces.split(256)])
    return min((step / 100 for step in range(30, 301)),
               key=lambda temperature: F.cross_entropy(scores / temperature, labels).item())


def export(net, path, temperature=1.0):
    """Write net as ONNX with the interface of emotion-ferplus-8.onnx, after OpenCV was seen to agree.

    Scores are divided by `temperature`, inside the last layer. Raises RuntimeError, and leaves `path` as it was,
    when OpenCV and torch differ by more than 1e-4 on any of five inputs, alone or in a batch of three
    (0.02 once the weights have 16 bits).
    """
    net = copy.deepcopy(net).float().eval().to(memory_format=torch.contiguous_format)
    net.last.weight.data /= temperature
    net.last.bias.data /= temperature

    def write_checked(name):
        torch.onnx.export(net, torch.zeros(1, 1, SIDE, SIDE), name, dynamo=False, opset_version=13,
                          input_names=[INPUT], output_names=[OUTPUT],
                          dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}})
        compare_with_opencv(net, name)
        store_half(name)
        compare_with_opencv(net, name, tolerance=0.02)

    save_safely(write_checked, Path(path))


def store_half(path):
    """Store the convolution weights of an ONNX file as float16: half the size. They are cast back when it is loaded."""
    model = onnx.load(path)
    casts = []
    for item in [item for item in model.graph.initializer if len(item.dims) == 4]:
        weights = numpy_helper.to_array(item).astype(np.float16)
        model.graph.initializer.remove(item)
        model.graph.initializer.append(numpy_helper.from_array(weights, item.name + "_half"))
        casts.append(onnx.helper.make_node("Cast", [item.name + "_half"], [item.name], name=item.name + "_cast",
                                           to=onnx.TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


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
    parser.add_argument("--start", type=Path, metavar="CHECKPOINT", help="begin with the averaged weights of another run")
    parser.add_argument("--teachers", type=Path, nargs="+", metavar="ONNX", help="networks whose answers are learnt too")
    parser.add_argument("--epochs", type=int, help="another number of epochs, to try things out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error("--epochs must be 1 or more")
    cycle, sides = (TAUGHT, TAUGHT_SIDES) if args.teachers else (ALONE, SIDES)
    epochs = args.epochs or cycle[0]
    cycle = [epochs, *cycle[1:]]
    if args.threads:
        torch.set_num_threads(args.threads)

    images, votes = load_split(args.data, "train")
    targets, keep = soft_targets(votes)
    images, targets = images[keep], targets[keep]
    top = torch.from_numpy(targets.argmax(1))
    if args.teachers:
        targets = taught_targets(targets, images, args.teachers)
    faces, targets = torch.from_numpy(images), torch.from_numpy(targets)
    valid_images, valid_labels = load_majority(args.data, "valid")
    valid_faces = torch.from_numpy(np.concatenate([preprocess(face) for face in valid_images]))
    valid_labels = torch.from_numpy(valid_labels)
    print(f"{len(faces)} faces to train on ({(~keep).sum()} left out: no emotion named), "
          f"{len(valid_faces)} to validate on")

    torch.manual_seed(args.seed)
    net = ExpressionNet().to(memory_format=torch.channels_last)
    if args.start:
        net.load_state_dict(torch.load(args.start, weights_only=True)["average"])
    average = copy.deepcopy(net).requires_grad_(False)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=cycle[1], momentum=0.9, nesterov=True)
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters, {torch.get_num_threads()} threads")

    checkpoint = args.run / "checkpoint.pt"
    settings = {"cycle": cycle, "sides": [list(pair) for pair in sides], "seed": args.seed,
                "start": str(args.start), "teachers": [str(path) for path in args.teachers or []]}
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

    shown = torch.cat([torch.arange(len(faces))] + [
        (top == EMOTIONS.index(name)).nonzero()[:, 0].repeat(times - 1) for name, times in RARE.items()])
    steps_an_epoch = len(shown) // BATCH
    for epoch in range(start, epochs):
        began, total = time.perf_counter(), 0.0
        rng = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        torch.manual_seed(args.seed * 1000 + epoch)      # dropout, so that a resumed run is the same run
        order = shown[torch.randperm(len(shown), generator=rng)]
        side = next(side for share, side in sides if epoch < share * epochs)
        net.train()
        for batch in tqdm(range(steps_an_epoch), desc=f"epoch {epoch + 1}/{epochs}", mininterval=5):
            rate = schedule(epoch + batch / steps_an_epoch, cycle)
            chosen = order[batch * BATCH:(batch + 1) * BATCH]
            x = augment(faces[chosen], rng, cycle[2], side).contiguous(memory_format=torch.channels_last)
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
    chosen = net if best == "last weights" else average
    temperature = fit_temperature(chosen, valid_faces, valid_labels)
    print(f"scores divided by {temperature}")
    export(chosen, args.out, temperature)
    print(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
