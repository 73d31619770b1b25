"""The FER+ faces and their votes, and the label rules that training and evaluation share.

A split is one file, ``ferplus_<split>.npz``, as ``prepare.py`` writes it:

| array  | shape, type           | meaning                                                         |
| ------ | --------------------- | --------------------------------------------------------------- |
| images | (N, 48, 48) uint8     | tight grey face crops                                           |
| votes  | (N, 10) uint8         | how many of ten taggers chose each column of ``VOTE_COLUMNS``   |
| names  | (N,) str              | image names in the original tables                              |

Data and rules: E. Barsoum, C. Zhang, C. Canton Ferrer, Z. Zhang, "Training Deep Networks for Facial Expression
Recognition with Crowd-Sourced Label Distribution", 2016, arXiv 1608.01041.
"""
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from checks import expand_home
from helpers import EMOTIONS, PathLike

VOTE_COLUMNS = EMOTIONS + ("Unknown", "NotAFace")


def load_split(folder: PathLike, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read one split of FER+.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder with ``ferplus_<split>.npz``.
    split : {"train", "valid", "test"}
        Which split.

    Returns
    -------
    images : numpy.ndarray
        uint8 (N, 48, 48), grey.
    votes : numpy.ndarray
        uint8 (N, 10), columns in the order of VOTE_COLUMNS.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If an array is missing or has a wrong shape or type.
    """
    path = expand_home(folder) / f"ferplus_{split}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path.name} in {path.parent.resolve()}: build it from the public tables with Model/prepare.py"
        )
    with np.load(path) as arrays:
        missing = {"images", "votes"} - set(arrays)
        if missing:
            raise ValueError(f"{path} lacks {sorted(missing)}: build it again with Model/prepare.py")
        images, votes = arrays["images"], arrays["votes"]
    if images.ndim != 3 or images.shape[1:] != (48, 48) or images.dtype != np.uint8:
        raise ValueError(f"{path}: images are {images.dtype} {images.shape}, expected uint8 (N, 48, 48)")
    if votes.shape != (len(images), len(VOTE_COLUMNS)):
        raise ValueError(f"{path}: votes are {votes.shape}, expected ({len(images)}, {len(VOTE_COLUMNS)})")
    return images, votes


def drop_single_votes(votes: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Set every single vote to 0, because the paper treats it as noise.

    Parameters
    ----------
    votes : array_like
        (N, 10) counts.

    Returns
    -------
    numpy.ndarray
        float32 (N, 10).
    """
    counts = np.asarray(votes, np.float32)
    return np.where(counts > 1, counts, np.float32(0))


def majority_labels(votes: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Find the expression with more than half of the votes, after single votes are dropped.

    This is the paper's "majority" rule, with which results on FER+ are usually compared.

    Parameters
    ----------
    votes : array_like
        (N, 10) counts, columns in the order of VOTE_COLUMNS.

    Returns
    -------
    numpy.ndarray
        int (N,): an index into EMOTIONS, or -1 for a face without a majority.
    """
    counts = drop_single_votes(votes)
    winner = counts.argmax(1)
    fraction = counts.max(1) / np.maximum(counts.sum(1), 1)
    return np.where((fraction > 0.5) & (winner < len(EMOTIONS)), winner, -1)


def load_majority(folder: PathLike, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    """Read the faces of a split that have a majority label.

    Parameters
    ----------
    folder, split
        As for `load_split`.

    Returns
    -------
    images : numpy.ndarray
        uint8 (N, 48, 48), grey.
    labels : numpy.ndarray
        int (N,), indices into EMOTIONS.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_split`, and if no face has a majority label.
    """
    images, votes = load_split(folder, split)
    labels = majority_labels(votes)
    if not (labels >= 0).any():
        raise ValueError(f"no face of the split {split} in {folder} has a majority label")
    return images[labels >= 0], labels[labels >= 0]


def duplicates_of(images: npt.NDArray[np.uint8], folder: PathLike, splits: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Find the images that other splits contain too, pixel for pixel.

    FER+ has such duplicates: 251 of the 3,199 validation faces with a majority label are in the training split too.

    Parameters
    ----------
    images : numpy.ndarray
        uint8 (N, 48, 48).
    folder : str or os.PathLike
        The folder with the other splits.
    splits : iterable of str
        Their names. A split without a file in the folder is skipped.

    Returns
    -------
    numpy.ndarray
        bool (N,).
    """
    others = set()
    for split in splits:
        if (expand_home(folder) / f"ferplus_{split}.npz").is_file():
            others |= {image.tobytes() for image in load_split(folder, split)[0]}
    return np.array([image.tobytes() in others for image in images], bool)


def soft_targets(votes: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Turn votes into the target distributions of the paper's cross-entropy training.

    Parameters
    ----------
    votes : array_like
        (N, 10) counts, columns in the order of VOTE_COLUMNS.

    Returns
    -------
    targets : numpy.ndarray
        float32 (N, 8): the fraction of the votes for each expression; a row sums to 1.
    keep : numpy.ndarray
        bool (N,): False where most votes are for Unknown or NotAFace, or none are left. Those rows of `targets` are 0.
    """
    counts = drop_single_votes(votes)
    keep = (counts.argmax(1) < len(EMOTIONS)) & (counts.sum(1) > 0)
    emotions = counts[:, : len(EMOTIONS)] * keep[:, None]
    return emotions / np.maximum(emotions.sum(1, keepdims=True), 1), keep
