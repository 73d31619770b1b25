"""Average the weights of several runs of train.py into one network, and write it as ONNX.

    python Model/average.py --data DIR Model/runs/robust-0 Model/runs/robust-1
    python Model/average.py --data DIR Model/runs/second-0 Model/runs/second-1 old.onnx --weights 0.425 0.425 0.15

The runs have to begin with the same weights (--start) and differ by their seed: then they end in the same basin of the
loss, and their mean is better than each of them (Wortsman et al. 2022, "Model soups", arXiv 2203.05482). The normalisation
layers get the mean and variance that they meet in the new network. A small part of the network that all runs began with
gives back some of the accuracy that they lost on clear faces (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
models", arXiv 2109.01903). The averaged network is as fast as one of them. It is written to Model/runs/averaged.onnx (--out).
"""
import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from Model.ferplus import load_majority, load_split, soft_targets
from Model.train import (
    BATCH_SIZE,
    DAMAGE_SCHEDULE,
    HERE,
    ExpressionNet,
    accuracy,
    augment,
    damage_batch,
    export,
    fit_temperature,
    load_exported_weights,
    preprocess_all,
)

BATCH_NORM_BATCHES = 1000    # of training faces, from which the normalisation layers take mean and variance


def load_run(run: Path, images: npt.NDArray[np.uint8]) -> ExpressionNet:
    """Load what a run of train.py ended with.

    Parameters
    ----------
    run : pathlib.Path
        A folder with a ``checkpoint.pt`` of train.py, or an ONNX file that it wrote.
    images : numpy.ndarray
        uint8 (N, 48, 48): training faces, which the normalisation layers of an ONNX file need.

    Returns
    -------
    ExpressionNet
        With the averaged weights of the checkpoint, or those of the file.
    """
    net = ExpressionNet().to(memory_format=torch.channels_last)
    if run.suffix == ".onnx":
        load_exported_weights(net, run, torch.from_numpy(preprocess_all(images[:512])))
    else:
        net.load_state_dict(torch.load(run / "checkpoint.pt", weights_only=True)["average"])
    return net


def average_weights(nets: Sequence[ExpressionNet], *, weights: Sequence[float] | None = None) -> ExpressionNet:
    """Average the weights of several networks.

    Parameters
    ----------
    nets : sequence of ExpressionNet
        From `load_run`.
    weights : sequence of float, optional
        How much each of them counts; they are divided by their sum. By default all count the same.

    Returns
    -------
    ExpressionNet
        A new network. Its normalisation layers are still to be adapted, see `update_batch_norm`.
    """
    states = [net.state_dict() for net in nets]
    parts = np.ones(len(nets)) if weights is None else np.asarray(weights, np.float64)
    parts = (parts / parts.sum()).tolist()
    net = ExpressionNet()
    net.load_state_dict({name: sum(part * state[name].float() for part, state in zip(parts, states)).to(value.dtype)
                         for name, value in states[0].items()})
    return net.to(memory_format=torch.channels_last)


@torch.no_grad()
def update_batch_norm(net: nn.Module, faces: torch.Tensor, *, seed: int = 0) -> None:
    """Recompute the statistics of the batch normalisation on training faces.

    Parameters
    ----------
    net : torch.nn.Module
        Changed in place.
    faces : torch.Tensor
        (N, 48, 48) uint8; they are augmented and damaged as in training.
    seed : int
        Seed of all random numbers.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None           # a plain mean over all batches
    rng = torch.Generator().manual_seed(seed)
    net.train()
    for step in range(BATCH_NORM_BATCHES):
        chosen = torch.randint(len(faces), (BATCH_SIZE,), generator=rng)
        batch, damaged = damage_batch(faces[chosen], [seed, step])
        x = augment(batch, rng, magnitude=DAMAGE_SCHEDULE[2], damaged=damaged)
        net(x.contiguous(memory_format=torch.channels_last))
    net.eval()


def main() -> None:
    """Average the runs that are given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of train.py's --run, or .onnx files that it wrote")
    parser.add_argument("--weights", type=float, nargs="+", metavar="W", help="how much each of them counts; default: the same")
    parser.add_argument("--data", required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, default=HERE / "runs" / "averaged.onnx",
                        help="the ONNX file to write")
    args = parser.parse_args()
    missing = [str(run) for run in args.runs if not (run if run.suffix == ".onnx" else run / "checkpoint.pt").is_file()]
    if missing:
        parser.error(f"no checkpoint.pt in {', '.join(missing)}: give the folders that train.py --run wrote, or .onnx files")
    if args.weights and (len(args.weights) != len(args.runs) or not min(args.weights) >= 0
                         or not 0 < sum(args.weights) < math.inf):
        parser.error(f"--weights wants {len(args.runs)} numbers from 0 up, one per network, that are not all 0")
    images, votes = load_split(args.data, "train")
    valid_images, valid_labels = load_majority(args.data, "valid")
    faces, labels = torch.from_numpy(preprocess_all(valid_images)), torch.from_numpy(np.asarray(valid_labels))
    images = images[soft_targets(votes)[1]]
    nets = [load_run(run, images) for run in args.runs]
    for run, net in zip(args.runs, nets):
        print(f"{run}: {accuracy(net, faces, labels):.4f}")
    net = average_weights(nets, weights=args.weights)
    update_batch_norm(net, torch.from_numpy(images))
    print(f"their average: {accuracy(net, faces, labels):.4f}")
    temperature = fit_temperature(net, faces, labels)
    print(f"scores are divided by {temperature}")
    export(net, args.out, temperature=temperature)
    print(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
