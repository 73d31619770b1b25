"""Train the project's own expression network on FER+ and write it as ONNX.

    pip install -r requirements.txt -r Model/requirements.txt
    python Model/train.py --data DIR --run Model/runs/alone
    python Model/train.py --data DIR --start Model/runs/alone/checkpoint.pt --teachers Model/runs/alone/network.onnx

DIR holds ferplus_train.npz and ferplus_valid.npz. The first command is enough for a good network. The second one
continues from it with teachers: any ONNX files with this interface, several of them if you have them. With --damage,
half of the faces are damaged as in damage.py, so that the network copes with bad cameras.

The script writes a checkpoint and a log to Model/runs/small (--run) after every epoch, and network.onnx beside them
(--out) after the last one. The network that the project ships with is not touched. If the script is interrupted, the same
command resumes from the last checkpoint. The same seed on the same machine with the same number of threads gives the same
network.

The recipe in one paragraph: a residual network of 1.5 million parameters, which works at 48 pixels, the size of FER+
faces; the votes of the ten taggers as soft targets (cross-entropy with a distribution, Barsoum et al. 2016, arXiv
1608.01041); rare expressions repeated in every epoch; faces that are randomly shifted, rotated, scaled, mirrored,
changed in contrast and brightness and partly covered, first at a small size and later at a larger one (Tan and Le
2021, arXiv 2104.00298); SGD with Nesterov momentum and a learning rate that follows a cosine (Loshchilov and Hutter
2017, arXiv 1608.03983); then a second run with the teachers' answers mixed into the targets. Either the last weights
or their moving average are exported, whichever is better on valid. Scores are divided by one number, fitted on valid
(Guo et al. 2017, arXiv 1706.04599), and convolution weights are stored with 16 bits.
"""
import argparse
import copy
import functools
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from checks import save_atomically
from helpers import EMOTIONS, INPUT_SIZE, PathLike, forward, load_network, preprocess, softmax
from Model.damage import damage
from Model.ferplus import duplicates_of, load_majority, load_split, soft_targets

HERE = Path(__file__).resolve().parent
INPUT_DOWNSCALE = 0.75             # FER+ faces are 48 pixels wide: the network works at that size, nearly twice as fast
INPUT_NAME, OUTPUT_NAME = "Input3", "Plus692_Output_0"    # as in emotion-ferplus-8.onnx

SCHEDULE = (42, 0.05, 0.85)       # epochs, peak learning rate, magnitude of the augmentation below
TEACHER_SCHEDULE = (16, 0.015, 0.55)   # the same with --teachers
DAMAGE_SCHEDULE = (12, 4e-4, 0.5)      # the same with --damage, which uses AdamW instead of SGD
SIZES = ((0.45, 52), (1.0, INPUT_SIZE))   # until this fraction of the epochs, faces of this size: small ones are faster
TEACHER_SIZES = ((1.0, INPUT_SIZE),)
DAMAGE_SIZES = ((1.0, INPUT_SIZE),)
TEACHER_WEIGHT = 0.5           # in the targets; the rest is the taggers' votes
BATCH_SIZE = 64
REPEATS = {"Disgust": 3, "Fear": 2, "Contempt": 3}   # how often a face of a rare expression is shown per epoch
WARM_UP_EPOCHS = 1.0           # at the start, while the learning rate rises
WEIGHT_DECAY = 5e-4            # on convolution and linear weights only
DAMAGE_WEIGHT_DECAY = 0.02     # the same with --damage
DROPOUT = 0.2                  # before the last layer
EMA_DECAY = 0.999              # per step: an average over about the last two epochs

MAX_ROTATION = 10.0            # degrees to either side
MAX_SCALE = 0.18               # fraction to either side; height and width differ by up to half of it
MAX_SHIFT = 0.12               # fraction of the face's side
MAX_CONTRAST, MAX_BRIGHTNESS = 0.3, 0.2   # fraction to either side, of the contrast and of the grey range
ERASE_PROBABILITY = 0.4        # that a rectangle is covered
DAMAGE_FRACTION = 0.5          # of each batch; the rest stays as it is, so that the network still learns clear faces
FAR_ROTATION_FRACTION = 0.3    # of the damaged faces, which are rotated by up to MAX_FAR_ROTATION
MAX_FAR_ROTATION = 35.0        # degrees to either side

Images = npt.NDArray[np.uint8]          # (N, 48, 48), grey
Targets = npt.NDArray[np.float32]       # (N, 8), each row sums to 1


# ---------------------------------------------------------------- the network

class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (He et al. 2016, arXiv 1512.03385).

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after the block.
    stride : int
        2 halves width and height, 1 keeps them.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return F.relu(y + self.shortcut(x))


class ExpressionNet(nn.Module):
    """A residual network for grey faces.

    Parameters
    ----------
    widths : sequence of int
        Channels of each stage.
    depths : sequence of int
        Blocks of each stage.
    """

    def __init__(self, *, widths: Sequence[int] = (32, 64, 96, 160), depths: Sequence[int] = (1, 2, 3, 2)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        blocks, channels = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            for index in range(depth):
                blocks.append(Block(channels, width, 2 if stage and not index else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(DROPOUT)
        self.last = nn.Linear(channels, len(EMOTIONS))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for block in self.blocks:            # each block starts as its shortcut alone, which makes the first steps stable
            nn.init.zeros_(block.second_norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map faces (N, 1, 64, 64), grey 0..255, to scores before softmax, (N, 8)."""
        x = (x - 127.5) / 64.0               # the normalisation is part of the network
        x = F.interpolate(x, scale_factor=INPUT_DOWNSCALE, mode="bilinear", align_corners=False)
        x = self.blocks(self.stem(x))
        x = x.mean((2, 3))
        return self.last(self.dropout(x))


# ---------------------------------------------------------------- faces and targets

def augment(faces: torch.Tensor, rng: torch.Generator, *, magnitude: float = 1.0, size: int = INPUT_SIZE,
            damaged: torch.Tensor | None = None) -> torch.Tensor:
    """Change each face at random, and resize it.

    Rotation, scaling, shift, mirroring and resizing are a single bilinear interpolation.

    Parameters
    ----------
    faces : torch.Tensor
        uint8 (N, 48, 48).
    rng : torch.Generator
        Source of the random numbers.
    magnitude : float
        0..1, scales every change except the mirroring and the rotation of damaged faces.
    size : int
        Side of the result in pixels.
    damaged : torch.Tensor, optional
        bool (N,): True for faces that may be rotated by up to MAX_FAR_ROTATION.

    Returns
    -------
    torch.Tensor
        float32 (N, 1, size, size), 0..255.
    """
    n = len(faces)

    def uniform(*shape: int) -> torch.Tensor:      # -magnitude..magnitude
        return (torch.rand(*shape, generator=rng) * 2 - 1) * magnitude

    angle = uniform(n) * math.radians(MAX_ROTATION)
    if damaged is not None:
        far = damaged & (torch.rand(n, generator=rng) < FAR_ROTATION_FRACTION)
        angle = torch.where(far, (torch.rand(n, generator=rng) * 2 - 1) * math.radians(MAX_FAR_ROTATION), angle)
    across = 1 / (1 + uniform(n) * MAX_SCALE)
    down = across * (1 + uniform(n) * MAX_SCALE / 2)
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    shift = uniform(n, 2) * MAX_SHIFT * 2    # coordinates of grid_sample go from -1 to 1
    matrix = torch.stack([
        torch.stack([cos * across * mirror, -sin * down, shift[:, 0]], 1),
        torch.stack([sin * across * mirror, cos * down, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix, [n, 1, size, size], align_corners=False)
    x = F.grid_sample(faces[:, None].float(), grid, padding_mode="border", align_corners=False)

    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) * (1 + uniform(n, 1, 1, 1) * MAX_CONTRAST) + mean + uniform(n, 1, 1, 1) * MAX_BRIGHTNESS * 255
    x = x.clamp(0, 255)

    covered = (torch.rand(n, generator=rng) < ERASE_PROBABILITY * magnitude).nonzero()[:, 0].tolist()
    sizes = (torch.randint(8, 29, (n, 2), generator=rng) * size // INPUT_SIZE).tolist()
    corners = torch.rand(n, 2, generator=rng).tolist()
    greys = (torch.rand(n, generator=rng) * 255).tolist()
    for i in covered:
        (h, w), (v, u) = sizes[i], corners[i]
        top, left = int(v * (size - h)), int(u * (size - w))
        x[i, 0, top:top + h, left:left + w] = greys[i]
    return x


def damage_batch(faces: torch.Tensor, seed: Sequence[int], *,
                 fraction: float = DAMAGE_FRACTION) -> tuple[torch.Tensor, torch.Tensor]:
    """Damage a fraction of a batch.

    Parameters
    ----------
    faces : torch.Tensor
        uint8 (N, 48, 48).
    seed : sequence of int
        Seed of the random numbers.
    fraction : float
        The expected fraction of damaged faces, 0..1.

    Returns
    -------
    faces : torch.Tensor
        uint8 (N, 48, 48).
    damaged : torch.Tensor
        bool (N,).
    """
    rng = np.random.default_rng(seed)
    damaged = rng.random(len(faces)) < fraction
    images = faces.numpy().copy()
    for i in damaged.nonzero()[0]:
        images[i] = damage(images[i], rng)
    return torch.from_numpy(images), torch.from_numpy(damaged)


def preprocess_all(images: Images) -> npt.NDArray[np.float32]:
    """Turn faces into the network's input.

    Parameters
    ----------
    images : numpy.ndarray
        uint8 (N, 48, 48), grey.

    Returns
    -------
    numpy.ndarray
        float32 (N, 1, 64, 64), grey 0..255.
    """
    return np.concatenate([preprocess(image) for image in images])


def data_digest(*arrays: npt.NDArray[np.generic]) -> str:
    """Compute a digest of arrays, by which a resumed run recognises its data.

    Parameters
    ----------
    *arrays : numpy.ndarray
        Of any shape and type.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def distil_targets(targets: Targets, images: Images, teachers: Sequence[PathLike], *,
                   weight: float = TEACHER_WEIGHT) -> Targets:
    """Mix the targets with the mean probabilities of teachers, on the faces and on their mirror images.

    That mean is less noisy than ten votes (Hinton et al. 2015, arXiv 1503.02531).

    Parameters
    ----------
    targets : numpy.ndarray
        float32 (N, 8).
    images : numpy.ndarray
        uint8 (N, 48, 48).
    teachers : sequence of str or os.PathLike
        ONNX files with the interface of emotion-ferplus-8.onnx; OpenCV runs them.
    weight : float
        Of the teachers' answers, 0..1; the rest is the given targets.

    Returns
    -------
    numpy.ndarray
        float32 (N, 8).
    """
    taught = np.zeros(targets.shape, np.float32)
    for path in teachers:
        network = load_network(path)
        for start in tqdm(range(0, len(images), BATCH_SIZE), desc=f"teacher {Path(path).name}", mininterval=5):
            faces = preprocess_all(images[start:start + BATCH_SIZE])
            for view in (faces, np.ascontiguousarray(faces[..., ::-1])):
                taught[start:start + BATCH_SIZE] += softmax(forward(network, view))
    taught /= 2 * len(teachers)
    return ((1 - weight) * targets + weight * taught).astype(np.float32, copy=False)


# ---------------------------------------------------------------- training

@torch.no_grad()
def load_exported_weights(net: ExpressionNet, path: PathLike, faces: torch.Tensor) -> None:
    """Load the weights of an exported network into `net`.

    The export has merged each batch normalisation with the convolution before it. Here each normalisation gets the
    mean and variance of its input on `faces`, and the scale and offset that cancel them, so that the scores stay as
    they were.

    Parameters
    ----------
    net : ExpressionNet
        It is changed, and left in evaluation mode.
    path : str or os.PathLike
        An ONNX file that `export` wrote.
    faces : torch.Tensor
        float32 (N, 1, 64, 64), grey 0..255.

    Raises
    ------
    ValueError
        If the file holds a network with other layers.
    """
    graph = onnx.load(path).graph
    constants = {item.name: numpy_helper.to_array(item).astype(np.float32) for item in graph.initializer}
    convolutions = [[constants[name.removesuffix("_cast")] if name in constants else constants[name + "_half"]
                     for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]
    last = [[constants[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Gemm"]
    pairs = [(net.stem[0], net.stem[1])]
    for block in net.blocks:
        pairs += [(block.first, block.first_norm), (block.second, block.second_norm)]
        pairs += [tuple(block.shortcut)] if len(block.shortcut) else []
    if [tuple(c.weight.shape) for c, _ in pairs] != [w.shape for w, _ in convolutions] or len(last) != 1:
        raise ValueError(f"{path} holds a network with other layers: start from one that this script wrote")
    hooks = []
    for (convolution, norm), (weight, bias) in zip(pairs, convolutions):
        convolution.weight.copy_(torch.from_numpy(weight.copy()))
        hooks.append(norm.register_forward_pre_hook(functools.partial(_cancel_norm, torch.from_numpy(bias.copy()))))
    net.last.weight.copy_(torch.from_numpy(last[0][0].copy()))
    net.last.bias.copy_(torch.from_numpy(last[0][1].copy()))
    net.eval()
    net(faces.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()


def _cancel_norm(bias: torch.Tensor, norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
    """Let a normalisation layer add only `bias` to this input, although it has the input's mean and variance."""
    norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
    norm.running_var.copy_(inputs[0].var((0, 2, 3)))
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(norm.running_mean + bias)


@torch.no_grad()
def accuracy(net: nn.Module, faces: torch.Tensor, labels: torch.Tensor) -> float:
    """Compute the accuracy.

    Parameters
    ----------
    net : torch.nn.Module
        It is put into evaluation mode.
    faces : torch.Tensor
        float32 (N, 1, 64, 64), grey 0..255.
    labels : torch.Tensor
        int (N,), indices into EMOTIONS.

    Returns
    -------
    float
        The fraction of faces whose highest score is that of the label.
    """
    net.eval()
    predicted = torch.cat([net(part.contiguous(memory_format=torch.channels_last)).argmax(1)
                           for part in faces.split(256)])
    return (predicted == labels).float().mean().item()


def learning_rate(epoch: float, epochs: int, peak: float) -> float:
    """Compute the learning rate: a linear warm-up, then a half cosine.

    Parameters
    ----------
    epoch : float
        Epochs since the start, with a fraction.
    epochs : int
        Epochs in all.
    peak : float
        The highest learning rate.

    Returns
    -------
    float
        The learning rate.
    """
    warm_up = min(WARM_UP_EPOCHS, epochs / 2)
    if epoch < warm_up:
        return peak * (epoch + 0.01) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (epoch - warm_up) / (epochs - warm_up)))


@torch.no_grad()
def fit_temperature(net: nn.Module, faces: torch.Tensor, labels: torch.Tensor) -> float:
    """Find the number by which to divide the scores so that the probabilities fit the labels best.

    Parameters
    ----------
    net : torch.nn.Module
        It is put into evaluation mode.
    faces : torch.Tensor
        float32 (N, 1, 64, 64), grey 0..255.
    labels : torch.Tensor
        int (N,), indices into EMOTIONS.

    Returns
    -------
    float
        The temperature with the lowest cross-entropy, 0.3..3.
    """
    net.eval()
    scores = torch.cat([net(part) for part in faces.split(256)])
    return min((step / 100 for step in range(30, 301)),
               key=lambda temperature: F.cross_entropy(scores / temperature, labels).item())


# ---------------------------------------------------------------- export

def export(net: ExpressionNet, path: PathLike, *, temperature: float = 1.0) -> None:
    """Write a network as ONNX with the interface of emotion-ferplus-8.onnx, and compare OpenCV with torch first.

    Parameters
    ----------
    net : ExpressionNet
        It is not changed.
    path : str or os.PathLike
        The file to write.
    temperature : float
        Scores are divided by it, inside the last layer.

    Raises
    ------
    RuntimeError
        If OpenCV and torch differ by more than 1e-4 before, or 0.02 after the weights are stored with 16 bits. The
        file is left as it was.
    """
    net = copy.deepcopy(net).float().eval().to(memory_format=torch.contiguous_format)
    net.last.weight.data /= temperature
    net.last.bias.data /= temperature

    def write_and_compare(name: str) -> None:
        torch.onnx.export(net, torch.zeros(1, 1, INPUT_SIZE, INPUT_SIZE), name, dynamo=False, opset_version=13,
                          input_names=[INPUT_NAME], output_names=[OUTPUT_NAME],
                          dynamic_axes={INPUT_NAME: {0: "N"}, OUTPUT_NAME: {0: "N"}})
        compare_with_opencv(net, name)
        store_as_float16(name)
        compare_with_opencv(net, name, tolerance=0.02)

    save_atomically(write_and_compare, path)


def store_as_float16(path: PathLike) -> None:
    """Store the convolution weights of an ONNX file as float16, in half the space.

    Parameters
    ----------
    path : str or os.PathLike
        The file. It is rewritten; its new Cast nodes convert the weights to float32 again.
    """
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


def compare_with_opencv(net: nn.Module, path: PathLike, *, tolerance: float = 1e-4) -> None:
    """Compare the scores of an ONNX file in OpenCV with those of torch, on five inputs, in batches of one and three.

    Parameters
    ----------
    net : torch.nn.Module
        The network in torch.
    path : str or os.PathLike
        Its ONNX file.
    tolerance : float
        The largest difference allowed.

    Raises
    ------
    RuntimeError
        If a difference is larger.
    """
    rng = np.random.default_rng(0)
    faces = rng.uniform(0, 255, (5, 1, INPUT_SIZE, INPUT_SIZE)).astype(np.float32)
    faces[1] = 0
    faces[2] = np.linspace(0, 255, INPUT_SIZE, dtype=np.float32)
    loaded = cv2.dnn.readNetFromONNX(str(path))
    with torch.no_grad():
        expected = net(torch.from_numpy(faces)).numpy()
    for batch in [faces[i:i + 1] for i in range(5)] + [faces[:3], faces[2:5]]:
        loaded.setInput(batch, INPUT_NAME)
        scores = loaded.forward(OUTPUT_NAME)
        first = next(i for i in range(5) if np.array_equal(faces[i], batch[0]))
        difference = np.abs(scores - expected[first:first + len(batch)]).max()
        if not difference <= tolerance:
            raise RuntimeError(f"OpenCV and torch differ by {difference:.2g} on a batch of {len(batch)}: not exported")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, help="the ONNX file to write; the default is network.onnx in the folder of --run")
    parser.add_argument("--run", type=Path, default=HERE / "runs" / "small", help="folder for checkpoint and log")
    parser.add_argument("--start", type=Path, metavar="FILE", help="start from a network that this script wrote: the "
                        "averaged weights of a checkpoint.pt, or an .onnx file")
    parser.add_argument("--damage", type=float, nargs="?", const=DAMAGE_FRACTION, default=0.0, metavar="FRACTION",
                        help="damage this fraction of the faces, as bad cameras do; %(const)s if it is left out")
    parser.add_argument("--teachers", type=Path, nargs="+", metavar="ONNX", help="networks whose answers are learnt, too")
    parser.add_argument("--teacher-weight", type=float, default=TEACHER_WEIGHT, metavar="WEIGHT",
                        help="weight of the teachers' answers in the targets, from 0 to 1; default: %(default)s")
    parser.add_argument("--epochs", type=int, help="number of epochs, for experiments; the default depends on the options")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    parser.add_argument("--threads", type=int, default=0, help="number of threads; 0: as many as there are cores")
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error("--epochs must be 1 or more")
    for option, value in (("--damage", args.damage), ("--teacher-weight", args.teacher_weight)):
        if not 0 <= value <= 1:
            parser.error(f"{option} must be a fraction from 0 to 1, not {value}")
    (epochs, peak, magnitude), sizes = (TEACHER_SCHEDULE, TEACHER_SIZES) if args.teachers else (SCHEDULE, SIZES)
    if args.damage:
        (epochs, peak, magnitude), sizes = DAMAGE_SCHEDULE, DAMAGE_SIZES
    epochs = args.epochs or epochs
    out = args.out or args.run / "network.onnx"
    if args.threads:
        torch.set_num_threads(args.threads)

    try:
        images, votes = load_split(args.data, "train")
        valid_images, valid_labels = load_majority(args.data, "valid")
        duplicates = duplicates_of(images, args.data, ("valid", "test"))
    except (OSError, ValueError) as problem:
        parser.error(str(problem))
    targets, keep = soft_targets(votes)
    keep &= ~duplicates
    print(f"{duplicates.sum()} faces left out, because they are in valid or test too")
    images, targets = images[keep], targets[keep]
    top = torch.from_numpy(targets.argmax(1))
    shown = torch.cat([torch.arange(len(top))] + [
        (top == EMOTIONS.index(name)).nonzero()[:, 0].repeat(times - 1) for name, times in REPEATS.items()])
    steps_per_epoch = len(shown) // BATCH_SIZE
    if not steps_per_epoch:
        parser.error(f"{len(images)} training faces are left, too few for one batch of {BATCH_SIZE}: add more, or add "
                     "yours to the FER+ faces with prepare.py --arrays. With a few dozen faces, adapt.py works better")
    data = data_digest(images, targets, valid_images, valid_labels)
    if args.teachers:
        targets = distil_targets(targets, images, args.teachers, weight=args.teacher_weight)
    faces, targets = torch.from_numpy(images), torch.from_numpy(targets)
    valid_faces = torch.from_numpy(preprocess_all(valid_images))
    valid_labels = torch.from_numpy(valid_labels)
    print(f"{len(faces)} training faces ({(~keep).sum()} left out: duplicates, and faces without an expression), "
          f"{len(valid_faces)} validation faces")

    torch.manual_seed(args.seed)
    net = ExpressionNet().to(memory_format=torch.channels_last)
    if args.start and args.start.suffix == ".onnx":
        load_exported_weights(net, args.start, torch.from_numpy(preprocess_all(images[:512])))
        print(f"accuracy at the start: {accuracy(net, valid_faces, valid_labels):.4f}")
    elif args.start:
        net.load_state_dict(torch.load(args.start, weights_only=True)["average"])
    average = copy.deepcopy(net).requires_grad_(False)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser: torch.optim.Optimizer
    if args.damage:
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": DAMAGE_WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}], lr=peak)
    else:
        optimiser = torch.optim.SGD(
            [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
            lr=peak, momentum=0.9, nesterov=True)
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters, {torch.get_num_threads()} threads")

    checkpoint = args.run / "checkpoint.pt"
    settings = {"cycle": [epochs, peak, magnitude], "sides": [list(pair) for pair in sizes], "seed": args.seed,
                "start": str(args.start), "teachers": [str(path) for path in args.teachers or []],
                "damage": args.damage, "teacher_weight": args.teacher_weight, "data": data}
    start = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        before = state["settings"]
        if "data" not in before:
            parser.error(f"{checkpoint} is from an older version of this script, which did not record its training data, so "
                         "it can't be resumed: choose another --run")
        changed = [name for name in settings if before.get(name) != settings[name]]
        if changed:
            parser.error(f"{checkpoint} belongs to a different run: " + ", ".join(
                "the faces in --data have changed" if name == "data" else f"{name} was {before.get(name)}, now {settings[name]}"
                for name in changed) + ". Choose another --run")
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["epoch"]
        print(f"resuming after epoch {start}")

    for epoch in range(start, epochs):
        began, total = time.perf_counter(), 0.0
        rng = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        torch.manual_seed(args.seed * 1000 + epoch)      # dropout; a resumed run repeats an uninterrupted one exactly
        order = shown[torch.randperm(len(shown), generator=rng)]
        size = next(size for fraction, size in sizes if epoch < fraction * epochs)
        net.train()
        for step in tqdm(range(steps_per_epoch), desc=f"epoch {epoch + 1}/{epochs}", mininterval=5):
            rate = learning_rate(epoch + step / steps_per_epoch, epochs, peak)
            chosen = order[step * BATCH_SIZE:(step + 1) * BATCH_SIZE]
            batch, damaged = faces[chosen], None
            if args.damage:
                batch, damaged = damage_batch(batch, [args.seed, epoch, step], fraction=args.damage)
            x = augment(batch, rng, magnitude=magnitude, size=size, damaged=damaged)
            loss = F.cross_entropy(net(x.contiguous(memory_format=torch.channels_last)), targets[chosen])
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
            with torch.no_grad():
                steps = epoch * steps_per_epoch + step
                decay = min(EMA_DECAY, (1 + steps) / (10 + steps))
                for mean, now in zip(average.state_dict().values(), net.state_dict().values()):
                    if mean.is_floating_point():
                        mean.lerp_(now, 1 - decay)
                    else:
                        mean.copy_(now)
        if not math.isfinite(total):
            raise RuntimeError(f"the loss in epoch {epoch + 1} is NaN or infinite: the last checkpoint is kept")
        line = (f"epoch {epoch + 1}  loss {total / steps_per_epoch:.4f}  "
                f"valid {accuracy(average, valid_faces, valid_labels):.4f}  "
                f"{time.perf_counter() - began:.0f} s")
        print(line, flush=True)
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(),
                 "epoch": epoch + 1, "settings": settings}
        save_atomically(functools.partial(torch.save, state), checkpoint)
        with open(args.run / "log.txt", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    accuracies = {"last weights": accuracy(net, valid_faces, valid_labels),
                  "averaged weights": accuracy(average, valid_faces, valid_labels)}
    best = max(accuracies, key=lambda name: accuracies[name])
    print(", ".join(f"{name}: {value:.4f}" for name, value in accuracies.items()) + f"; exporting the {best}")
    chosen_net = net if best == "last weights" else average
    temperature = fit_temperature(chosen_net, valid_faces, valid_labels)
    print(f"scores are divided by {temperature}")
    export(chosen_net, out, temperature=temperature)
    print(f"wrote {out} ({out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
