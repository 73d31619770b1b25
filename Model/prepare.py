"""Build the FER+ arrays out of the two public tables.

    python Model/prepare.py --fer2013 fer2013.csv --ferplus fer2013new.csv --out DIR

fer2013.csv    faces of the ICML 2013 challenge, from Kaggle ("Challenges in Representation Learning:
               Facial Expression Recognition"): columns emotion, pixels (48x48 numbers), Usage.
fer2013new.csv votes of FER+, from the GitHub repository microsoft/FERPlus: columns Usage, Image name,
               neutral ... NF (ten counts).

Writes ferplus_train.npz, ferplus_valid.npz and ferplus_test.npz (the parts Training, PublicTest and
PrivateTest) to DIR, and prints how many rows were left out and why. About a minute.

The tables belong together row by row. Some rows of FER+ have no image name, because the picture is no
face: they are left out, but they do count as rows. Joining only the named rows shifts every later face
onto its neighbour's votes.
"""
import argparse
import csv
import os
import tempfile
from pathlib import Path

import numpy as np

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


def save(folder, split, images, votes, names):
    """Write ferplus_<split>.npz in one move, so that a half-written file never stays."""
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".npz")
    os.close(handle)
    try:
        np.savez_compressed(temporary, images=images, votes=votes, names=names)
        os.replace(temporary, folder / f"ferplus_{split}.npz")
    finally:
        Path(temporary).unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fer2013", required=True, help="path of fer2013.csv")
    parser.add_argument("--ferplus", required=True, help="path of fer2013new.csv")
    parser.add_argument("--out", required=True, help="folder to write to")
    args = parser.parse_args()
    try:
        arrays, left_out = join(read_rows(args.fer2013, ("pixels", "Usage")),
                                read_rows(args.ferplus, ("Usage", "Image name") + VOTES))
    except (FileNotFoundError, ValueError) as problem:
        parser.error(str(problem))
    for reason, count in left_out.items():
        print(f"left out, {reason}: {count}")
    for split, parts in arrays.items():
        save(args.out, split, *parts)
        print(f"ferplus_{split}.npz: {len(parts[0])} faces")


if __name__ == "__main__":
    main()
