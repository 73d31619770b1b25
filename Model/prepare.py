"""Build the arrays that train.py and evaluate.py read: out of the two public tables, or out of your own pictures.

    python Model/prepare.py --fer2013 fer2013.csv --ferplus fer2013new.csv --out DIR
    python Model/prepare.py --pictures MINE --aside OTHERS --arrays DIR --out BOTH

fer2013.csv    faces of the ICML 2013 challenge, from Kaggle ("Challenges in Representation Learning:
               Facial Expression Recognition"): columns emotion, pixels (48x48 numbers), Usage.
fer2013new.csv votes of FER+, from the GitHub repository microsoft/FERPlus: columns Usage, Image name,
               neutral ... NF (ten counts).

Writes ferplus_train.npz, ferplus_valid.npz and ferplus_test.npz (the parts Training, PublicTest and
PrivateTest) to DIR, and prints how many rows were left out and why. About a minute.

The tables belong together row by row. Some rows of FER+ have no image name, because the picture is no
face: they are left out, but they do count as rows. Joining only the named rows shifts every later face
onto its neighbour's votes.

The second command is for your own pictures: MINE/Happy/*.jpg, MINE/Sad/*.jpg, ... to train on, OTHERS in the
same way to validate on: pictures of people who are not in MINE, else you measure memory. The largest face of each
picture is cut out as helpers.py does it, and counts as ten votes for its subfolder. With --arrays the faces of
DIR/ferplus_train.npz come first, then yours; without --aside its ferplus_valid.npz is taken over as it is.
"""
import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from adapt import load_pictures  # noqa: E402
from ferplus import load_split, save_safely  # noqa: E402

SPLITS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
SIDE = 48


def read_rows(path, columns):
    """Rows of a CSV file as dicts; ValueError names the columns that are missing."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path.resolve()}")
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{path.name} lacks the columns {missing}; it has {reader.fieldnames}: "
                             "are the two tables swapped?")
        return list(reader)


def read_pixels(text, row):
    """48x48 uint8 out of 2304 numbers in a string."""
    try:
        pixels = np.array(text.split(), int)
    except ValueError:
        raise ValueError(f"fer2013 row {row}: pixels are no whole numbers") from None
    if pixels.size != SIDE * SIDE or pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(f"fer2013 row {row}: expected {SIDE * SIDE} pixels of 0..255, got {pixels.size}")
    return pixels.astype(np.uint8).reshape(SIDE, SIDE)


def join(faces, votes):
    """({split: (images, votes, names)}, {reason: count left out}) of the rows of both tables.

    Raises ValueError when the tables differ in length or in which part a row belongs to.
    """
    if len(faces) != len(votes):
        raise ValueError(f"the tables do not belong together: {len(faces)} faces, {len(votes)} rows of votes")
    parts = {split: ([], [], []) for split in SPLITS.values()}
    left_out = {"no image name": 0, "no picture": 0}
    for row, (face, vote) in enumerate(zip(faces, votes), start=1):
        if face["Usage"] != vote["Usage"] or face["Usage"] not in SPLITS:
            raise ValueError(f"row {row} is {face['Usage']!r} in fer2013 and {vote['Usage']!r} in FER+: "
                             "the tables do not belong together")
        name = (vote["Image name"] or "").strip()
        if not name:
            left_out["no image name"] += 1
            continue
        if not (face["pixels"] or "").strip():
            left_out["no picture"] += 1
            continue
        images, counts, names = parts[SPLITS[face["Usage"]]]
        images.append(read_pixels(face["pixels"], row))
        try:
            counts.append([int(vote[column]) for column in VOTES])
        except (TypeError, ValueError):
            raise ValueError(f"FER+ row {row}: votes are no whole numbers") from None
        names.append(name)
    arrays = {split: (np.array(images, np.uint8).reshape(-1, SIDE, SIDE),
                      np.array(counts, np.uint8).reshape(-1, len(VOTES)), np.array(names, str))
              for split, (images, counts, names) in parts.items()}
    return arrays, left_out


def from_pictures(folder):
    """(images, votes, names, left_out) of a folder with one subfolder per expression, see adapt.load_pictures.

    images (N, 48, 48) uint8, votes (N, 10) uint8 with ten for the subfolder's expression, left_out {Path: reason}.
    """
    faces, labels, paths, left_out = load_pictures(folder)
    images = np.stack([cv2.resize(face[0], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for face in faces])
    votes = 10 * np.eye(len(VOTES), dtype=np.uint8)[labels]
    return images.round().astype(np.uint8), votes, np.array([path.name for path in paths]), left_out


def own_arrays(pictures, aside=None, arrays=None):
    """({split: (images, votes, names)}, {Path: reason left out}): own pictures, after the FER+ arrays if there are any."""
    images, votes, names, left_out = from_pictures(pictures)
    parts = {"train": (images, votes, names)}
    if arrays:
        first = load_split(arrays, "train")
        known = [f"ferplus {place}" for place in range(len(first[0]))]
        parts["train"] = tuple(np.concatenate(pair) for pair in zip((*first, known), parts["train"]))
    if aside:
        *parts["valid"], more = from_pictures(aside)
        left_out.update(more)
    else:
        images, votes = load_split(arrays, "valid")
        parts["valid"] = images, votes, np.array([f"ferplus {place}" for place in range(len(images))])
    return parts, left_out


def save(folder, split, images, votes, names):
    """Write ferplus_<split>.npz in one move, so that a half-written file never stays."""
    save_safely(lambda name: np.savez_compressed(name, images=images, votes=votes, names=names),
                Path(folder).expanduser() / f"ferplus_{split}.npz")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fer2013", help="path of fer2013.csv")
    parser.add_argument("--ferplus", help="path of fer2013new.csv")
    parser.add_argument("--pictures", help="instead of the tables: folder of own pictures, a subfolder per expression")
    parser.add_argument("--aside", help="such a folder to validate on, with other people")
    parser.add_argument("--arrays", help="folder with FER+ arrays, to which the own faces are added")
    parser.add_argument("--out", required=True, help="folder to write to")
    args = parser.parse_args()
    if bool(args.pictures) == bool(args.fer2013 and args.ferplus):
        parser.error("give --fer2013 and --ferplus, or --pictures")
    if args.pictures and not (args.aside or args.arrays):
        parser.error("--pictures wants faces to validate on, too: --aside FOLDER, or --arrays with FER+ faces")
    if args.arrays and Path(args.arrays).expanduser().resolve() == Path(args.out).expanduser().resolve():
        parser.error("--out is the folder of --arrays: its files would be lost, choose another")
    try:
        if args.pictures:
            arrays, left_out = own_arrays(args.pictures, args.aside, args.arrays)
        else:
            arrays, left_out = join(read_rows(args.fer2013, ("pixels", "Usage")),
                                    read_rows(args.ferplus, ("Usage", "Image name") + VOTES))
    except (OSError, ValueError) as problem:
        parser.error(str(problem))
    for what, why in left_out.items():
        print(f"left out, {what}: {why}")
    for split, parts in arrays.items():
        save(args.out, split, *parts)
        print(f"ferplus_{split}.npz: {len(parts[0])} faces")


if __name__ == "__main__":
    main()
