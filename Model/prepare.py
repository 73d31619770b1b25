"""Build the arrays that train.py and evaluate.py read, from the two public tables or from your own pictures.

    python Model/prepare.py --fer2013 fer2013.csv --ferplus fer2013new.csv --out DIR
    python Model/prepare.py --pictures MINE --aside OTHERS --arrays DIR --out BOTH

fer2013.csv    faces of the ICML 2013 challenge, from Kaggle ("Challenges in Representation Learning:
               Facial Expression Recognition"): columns emotion, pixels (48x48 numbers), Usage.
fer2013new.csv votes of FER+, from the GitHub repository microsoft/FERPlus: columns Usage, Image name,
               neutral ... NF (ten counts).

The first command writes ferplus_train.npz, ferplus_valid.npz and ferplus_test.npz (the parts Training, PublicTest and
PrivateTest) to DIR, and prints how many rows were left out and why. It takes about a minute.

The two tables correspond row by row. Some rows of FER+ have no image name, because the image is not a face. Those rows
are left out, but they still count: if you join only the rows with a name, every later face gets the votes of a
different one. The image names are numbered (fer0000000.png, ...), so the script can tell when a row is missing or duplicated, and
stops at the first one that does not fit.

The second command is for your own pictures: MINE/Happy/*.jpg, MINE/Sad/*.jpg, ... for training, and a folder OTHERS of
the same kind for validation. OTHERS must show people who are not in MINE; otherwise you measure how well the network
remembers faces. The largest face of each picture is cropped as in helpers.py, and counts as ten votes for the
expression of its subfolder. With --arrays, the training split is DIR/ferplus_train.npz followed by your faces. Without
--aside, DIR/ferplus_valid.npz becomes the validation split.
"""
import argparse
import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from checks import expand_home, save_atomically
from helpers import PathLike
from Model.adapt import load_labelled_faces
from Model.ferplus import load_split

SPLITS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
CSV_VOTE_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
FACE_SIZE = 48
FAR_AWAY = 100        # numbers: an image name this far from its neighbours' may be a copy of another row's

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.str_]]    # images, votes, names
Row = dict[str, str]


# ---------------------------------------------------------------- from the public tables

def read_rows(path: PathLike, columns: Sequence[str]) -> list[Row]:
    """Read a CSV file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    columns : sequence of str
        The columns it must have.

    Returns
    -------
    list of dict
        One dict per row.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If a column is missing.
    """
    path = expand_home(path)
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path.resolve()}")
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{path.name} lacks the columns {missing}; it has {reader.fieldnames}: "
                             "are the two tables swapped?")
        return list(reader)


def read_pixels(text: str, row: int) -> npt.NDArray[np.uint8]:
    """Convert the text of a cell to a face.

    Parameters
    ----------
    text : str
        2304 numbers of 0..255, separated by spaces.
    row : int
        The row, for the error message.

    Returns
    -------
    numpy.ndarray
        uint8 (48, 48).

    Raises
    ------
    ValueError
        If these are not 2304 such numbers.
    """
    try:
        pixels = np.array(text.split(), int)
    except ValueError:
        raise ValueError(f"fer2013 row {row}: pixels are not whole numbers") from None
    if pixels.size != FACE_SIZE * FACE_SIZE or pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(f"fer2013 row {row}: expected {FACE_SIZE * FACE_SIZE} pixels of 0..255, got {pixels.size}")
    return pixels.astype(np.uint8).reshape(FACE_SIZE, FACE_SIZE)


def first_misplaced_row(names: Sequence[str]) -> int | None:
    """Find the first row of FER+ that does not fit the rows before it, by the numbers in the image names.

    Parameters
    ----------
    names : sequence of str
        The column "Image name", one entry per row: ``ferNNNNNNN.png``, or empty.

    Returns
    -------
    int or None
        The row, counted from 1. A row before it is missing, or it is duplicated or in the wrong place. None if all names fit.

    Notes
    -----
    The number is not simply that of the row. Names count up from 0, but only some of the rows without a name use up a
    number, so the numbers may skip as many values as there are such rows in between. In addition, the published table
    gives a few rows the name of another row far away: fer0006953.png, for example, also stands between fer0005264.png and
    fer0005265.png. Such a row counts like one without a name.

    Examples
    --------
    >>> first_misplaced_row(["fer0000000.png", "", "fer0000001.png", "", "fer0000003.png"]) is None
    True
    >>> first_misplaced_row(["fer0000000.png", "fer0000002.png", "fer0000003.png"])
    2
    """
    times = Counter(names)
    last, skipped = -1, 0            # the last number, and the rows since then that may or may not have used one up
    for row, name in enumerate(names, start=1):
        match = re.fullmatch(r"fer(\d{7})\.png", name)
        number = int(match[1]) if match else -1
        if last < number <= last + 1 + skipped:
            last, skipped = number, 0
        elif not name or (match and times[name] > 1 and abs(number - last) > FAR_AWAY):
            skipped += 1
        else:
            return row
    return None


def join_tables(faces: Sequence[Row], votes: Sequence[Row]) -> tuple[dict[str, Arrays], dict[str, int]]:
    """Join the two tables row by row.

    Parameters
    ----------
    faces : sequence of dict
        Rows of fer2013.csv.
    votes : sequence of dict
        Rows of fer2013new.csv.

    Returns
    -------
    arrays : dict of {str: tuple of numpy.ndarray}
        images, votes and names of each split.
    left_out : dict of {str: int}
        How many rows were left out, by reason.

    Raises
    ------
    ValueError
        If the tables have different lengths, if a row belongs to different parts, if an image name does not fit its row,
        or if a row can't be read.
    """
    if len(faces) != len(votes):
        raise ValueError(f"the tables do not belong together: {len(faces)} faces, {len(votes)} rows of votes")
    parts: dict[str, tuple[list[Any], list[Any], list[str]]] = {split: ([], [], []) for split in SPLITS.values()}
    left_out = {"no image name": 0, "no picture": 0}
    image_names = [(vote["Image name"] or "").strip() for vote in votes]
    misplaced = first_misplaced_row(image_names)
    for row, (face, vote, name) in enumerate(zip(faces, votes, image_names), start=1):
        if face["Usage"] != vote["Usage"] or face["Usage"] not in SPLITS:
            raise ValueError(f"row {row} is {face['Usage']!r} in fer2013 and {vote['Usage']!r} in FER+: "
                             "the tables do not belong together")
        if row == misplaced:
            raise ValueError(f"FER+ row {row} has the image name {name!r}, which does not fit the rows before it: a row is "
                             "missing, duplicated or in the wrong place, so faces would get the votes of other faces. "
                             "Download fer2013new.csv again")
        if not name:
            left_out["no image name"] += 1
            continue
        if not (face["pixels"] or "").strip():
            left_out["no picture"] += 1
            continue
        images, counts, names = parts[SPLITS[face["Usage"]]]
        images.append(read_pixels(face["pixels"], row))
        try:
            counts.append([int(vote[column]) for column in CSV_VOTE_COLUMNS])
        except (TypeError, ValueError):
            raise ValueError(f"FER+ row {row}: votes are not whole numbers") from None
        names.append(name)
    arrays = {split: (np.array(images, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE),
                      np.array(counts, np.uint8).reshape(-1, len(CSV_VOTE_COLUMNS)), np.array(names, str))
              for split, (images, counts, names) in parts.items()}
    return arrays, left_out


# ---------------------------------------------------------------- from your own pictures

def from_pictures(folder: PathLike) -> tuple[Arrays, dict[Path, str]]:
    """Turn a folder with one subfolder of pictures per expression into arrays.

    Parameters
    ----------
    folder : str or os.PathLike
        As for `adapt.load_labelled_faces`.

    Returns
    -------
    arrays : tuple of numpy.ndarray
        images, uint8 (N, 48, 48); votes, uint8 (N, 10), with ten for the expression of the subfolder; names, str (N,).
    left_out : dict of {pathlib.Path: str}
        As `adapt.load_labelled_faces` returns it.

    Raises
    ------
    FileNotFoundError, ValueError
        As `adapt.load_labelled_faces`.
    """
    faces, labels, paths, left_out = load_labelled_faces(folder)
    images = np.stack([cv2.resize(face[0], (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA) for face in faces])
    votes = 10 * np.eye(len(CSV_VOTE_COLUMNS), dtype=np.uint8)[labels]
    return (images.round().astype(np.uint8), votes, np.array([path.name for path in paths])), left_out


def build_splits(pictures: PathLike, *, aside: PathLike | None = None, arrays: PathLike | None = None,
                 ) -> tuple[dict[str, Arrays], dict[Path, str]]:
    """Build a training and a validation split from your own pictures, and from the FER+ arrays if there are any.

    Parameters
    ----------
    pictures : str or os.PathLike
        Folder of pictures for training.
    aside : str or os.PathLike, optional
        Folder of pictures for validation. Without it, `arrays` is required.
    arrays : str or os.PathLike, optional
        Folder of FER+ arrays.

    Returns
    -------
    arrays : dict of {str: tuple of numpy.ndarray}
        images, votes and names of the splits "train" (FER+ first) and "valid".
    left_out : dict of {pathlib.Path: str}
        Pictures that were left out, and the reason.

    Raises
    ------
    FileNotFoundError, ValueError
        As `from_pictures` and `ferplus.load_split`.
    """
    train, left_out = from_pictures(pictures)
    if arrays:
        images, votes, names = (np.concatenate(pair) for pair in zip(_named_split(arrays, "train"), train))
        train = images, votes, names
    if aside:
        valid, more = from_pictures(aside)
        left_out.update(more)
    else:
        valid = _named_split(arrays, "valid")
    return {"train": train, "valid": valid}, left_out


def _named_split(folder: PathLike, split: str) -> Arrays:
    """Read a FER+ split, and name its faces "ferplus 0", "ferplus 1", ..."""
    images, votes = load_split(folder, split)
    return images, votes, np.array([f"ferplus {index}" for index in range(len(images))], str)


def save_split(folder: PathLike, split: str, arrays: Arrays) -> None:
    """Write ``ferplus_<split>.npz``, complete or not at all.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder, created if it is missing.
    split : str
        Name of the split.
    arrays : tuple of numpy.ndarray
        images, votes and names.
    """
    images, votes, names = arrays
    save_atomically(lambda name: np.savez_compressed(name, images=images, votes=votes, names=names),
                    expand_home(folder) / f"ferplus_{split}.npz")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fer2013", help="path of fer2013.csv")
    parser.add_argument("--ferplus", help="path of fer2013new.csv")
    parser.add_argument("--pictures", help="instead of the tables: folder of your own pictures, one subfolder per expression")
    parser.add_argument("--aside", help="a folder of the same kind for validation, with different people")
    parser.add_argument("--arrays", help="folder with FER+ arrays, to which your faces are added")
    parser.add_argument("--out", required=True, help="folder to write to")
    args = parser.parse_args()
    if bool(args.pictures) == bool(args.fer2013 and args.ferplus):
        parser.error("give --fer2013 and --ferplus, or --pictures")
    if args.pictures and not (args.aside or args.arrays):
        parser.error("--pictures also needs faces for validation: --aside FOLDER, or --arrays with FER+ faces")
    if args.arrays and expand_home(args.arrays).resolve() == expand_home(args.out).resolve():
        parser.error("--out is the same folder as --arrays, whose files would be lost: choose a different one")
    left_out: dict[Any, Any]
    try:
        if args.pictures:
            arrays, left_out = build_splits(args.pictures, aside=args.aside, arrays=args.arrays)
        else:
            arrays, left_out = join_tables(read_rows(args.fer2013, ("pixels", "Usage")),
                                           read_rows(args.ferplus, ("Usage", "Image name") + CSV_VOTE_COLUMNS))
    except (OSError, ValueError) as problem:
        parser.error(str(problem))
    for what, why in left_out.items():
        print(f"left out, {what}: {why}")
    for split, parts in arrays.items():
        save_split(args.out, split, parts)
        print(f"ferplus_{split}.npz: {len(parts[0])} faces")


if __name__ == "__main__":
    main()
