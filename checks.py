"""Argument checks, each written once: one sentence says what is wrong with a value and what to do about it.

helpers.py, video, webcam and batch call these first, so that validation does not obscure the code of the lesson. This file
imports nothing else from the project.
"""
import contextlib
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_FOLDER = Path(__file__).resolve().parent
LOADED_CODE: dict[str, str] = {}      # digests of the files of this project, as Python imports them now
for _path in (*_FOLDER.glob("[!.]*.py"), *_FOLDER.glob("video/[!.]*.py")):
    with contextlib.suppress(OSError):
        LOADED_CODE[_path.relative_to(_FOLDER).as_posix()] = hashlib.blake2b(_path.read_bytes(), digest_size=16).hexdigest()
PART_PREFIX = ".part-"      # the names of files that are still being written begin with this
KNOWN_NETWORKS = {     # SHA-256 of the networks with these names; one changed byte can turn Happy into Anger
    "emotion-ferplus-small.onnx": "67f4c7b621d07315105d2b0e4928b6a02fc31bc7e32ec4c1721e7e7783b97d4e",
    "emotion-ferplus-8.onnx": "a2a2ba6a335a3b29c21acb6272f962bd3d47f84952aaffa03b60986e04efa61c",
}


def type_name(thing: object) -> str:
    """Name the type of a value for use in a sentence: "None", "a list".

    Examples
    --------
    >>> type_name([])
    'a list'
    """
    name = type(thing).__name__
    return "None" if thing is None else f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


# ---------------------------------------------------------------- numbers

def is_number(value: object) -> bool:
    """Tell whether a value is a real number, from Python or NumPy; True and False are not.

    Examples
    --------
    >>> is_number(0.5), is_number(np.float32(1)), is_number(True), is_number("1")
    (True, True, False, False)
    """
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_number(name: str, value: Any, wanted: str, *, low: float = -math.inf, high: float = math.inf,
                 above: float = -math.inf) -> float:
    """Check that a value is a finite number within a range.

    Parameters
    ----------
    name : str
        The caller's name for the value; the message begins with it.
    value : object
        What was given.
    wanted : str
        What to give instead; the message ends with it.
    low, high : float
        The smallest and the largest number allowed.
    above : float
        The number has to be larger than this.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If the value is not such a number.

    Examples
    --------
    >>> check_number("padding", 2, "a fraction of the box from -0.25 to 1", low=-0.25, high=1)
    Traceback (most recent call last):
        ...
    ValueError: padding is 2: give a fraction of the box from -0.25 to 1
    """
    if not is_number(value) or not math.isfinite(value) or not low <= value <= high or not value > above:
        raise ValueError(f"{name} is {value!r}: give {wanted}")
    return float(value)


def check_whole(name: str, value: Any, wanted: str, *, low: int, high: float = math.inf) -> int:
    """Check that a value is a whole number within a range, as `check_number` does.

    Returns
    -------
    int
        The number.

    Raises
    ------
    ValueError
        If the value is not such a number.
    """
    if not is_number(value) or isinstance(value, (float, np.floating)) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}: give {wanted}")
    return int(value)


def check_timestamp(seconds: Any) -> float:
    """Check a frame's time in seconds: a finite number.

    Raises
    ------
    ValueError
        If it is not.
    """
    return float(check_number("seconds", seconds, "the time of the frame in seconds, as a number"))


def check_callable(name: str, value: Any) -> None:
    """Check a callback of (frame, seconds) that returns faces.

    Raises
    ------
    TypeError
        If the value can't be called.
    """
    if not callable(value):
        raise TypeError(f"{name} is {value!r}: give a function of (frame, seconds) that returns faces, such as "
                        "video.ExpressionTracker().update")


# ---------------------------------------------------------------- pictures, boxes, faces

def check_image(image: Any) -> np.ndarray[Any, Any]:
    """Check a picture array: an integer type with values 0..255 and a usual shape.

    Parameters
    ----------
    image : object
        Allowed are NumPy arrays (H, W), (H, W, 1), (H, W, 3) and (H, W, 4) of any integer type.

    Returns
    -------
    numpy.ndarray
        The same array.

    Raises
    ------
    TypeError
        If it is not an array, or holds bool or float values.
    ValueError
        If its shape or its values are not allowed.
    """
    if isinstance(image, (str, os.PathLike)):
        raise TypeError(f"this function needs a picture, not a path: try read_image({str(image)!r})")
    if not isinstance(image, np.ndarray):
        raise TypeError(f"a picture is a NumPy array (H, W, 3), not {type_name(image)}: "
                        "read_image makes one from a file. Give one picture at a time")
    if image.dtype == bool or image.dtype.kind not in "ui":
        raise TypeError(f"a picture has uint8 pixels 0..255, not {image.dtype}: for values 0..1 "
                        "use (image * 255).round().astype('uint8')")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"the shape of a picture is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {image.shape}")
    if image.size == 0:
        raise ValueError(f"the picture is empty: its shape is {image.shape}")
    if image.dtype != np.uint8 and (image.min() < 0 or image.max() > 255):
        raise ValueError(f"{image.dtype} pixels from {image.min()} to {image.max()} do not fit 0..255: "
                         "divide by the value of white, such as 4095 for 12 bits or 65535 for 16: "
                         "(image / 4095 * 255).round().astype('uint8')")
    return image


def check_box(box: Any) -> tuple[float, float, float, float]:
    """Check a box (x, y, w, h): four finite numbers, width and height above 0.

    Returns
    -------
    tuple of float
        x, y, w, h.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> check_box([10, 20, 30, 40])
    (10.0, 20.0, 30.0, 40.0)
    """
    try:
        x, y, w, h = (float(v) for v in (() if isinstance(box, (str, bytes)) else box))
    except (TypeError, ValueError):
        raise ValueError(f"a box is four numbers x, y, w, h, not {box!r}") from None
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise ValueError(f"box {box} has no area: width and height must be above 0")
    return x, y, w, h


def check_faces(faces: Any, wish: str = "draw needs a list of faces") -> list[Any]:
    """Check a list of faces. Only this function defines what a valid face is.

    A face is a dict with a ``box`` of four finite numbers, width and height above 0. If it has a ``label`` that is
    not None, ``emotions`` holds the probability of that label. All values of ``emotions`` are finite numbers.

    Parameters
    ----------
    faces : object
        What was given: a list or tuple of dicts, as `helpers.detect_emotions` returns it.
    wish : str
        Who needs what, such as "predict must return a list of faces"; the message begins with it.

    Returns
    -------
    list of dict
        The same faces.

    Raises
    ------
    TypeError
        If `faces` is not a list or tuple of dicts.
    ValueError
        If one of the faces breaks the rule.
    """
    if not isinstance(faces, (list, tuple)) or not all(isinstance(face, dict) for face in faces):
        raise TypeError(f"{wish}, as detect_emotions returns it: one dict with a box per face, not {str(faces)[:200]}")
    for face in faces:
        try:
            check_box(face.get("box"))
            emotions = face.get("emotions")
            wrong = emotions is not None and not all(is_number(p) and math.isfinite(p) for p in emotions.values())
            if wrong or face.get("label") is not None and face["label"] not in (emotions or {}):
                raise ValueError
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"{wish}, but {str(face)[:200]} is not a valid face: a face has a box of four numbers, and "
                             "if it has a label, emotions contains the probability of that label") from None
    return list(faces)


# ---------------------------------------------------------------- the network's file and input

def check_network_bytes(path: Path, data: npt.NDArray[np.uint8]) -> None:
    """Reject a Git LFS pointer, a web page and a damaged copy of a known network.

    Raises
    ------
    ValueError
        If they are a Git LFS pointer or a web page, or if a file named in KNOWN_NETWORKS has a different digest.
    """
    start = data[:64].tobytes().lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a Git LFS pointer of {len(data)} bytes, not the network: run 'git lfs pull'")
    if start.startswith(b"<"):
        raise ValueError(f"{path} is a web page of {len(data)} bytes, not the network: download the file itself")
    digest = KNOWN_NETWORKS.get(path.name)
    if digest and hashlib.sha256(data.tobytes()).hexdigest() != digest:
        raise ValueError(f"{path} is incomplete, damaged, or not the network of that name (its SHA-256 does not begin with "
                         f"{digest[:8]}): copy or download it again. If it is your own network, give it a different file name")


def check_network_shapes(path: Path, net: cv2.dnn.Net, size: int, classes: int | None) -> None:
    """Check that a network takes float32 (1, 1, size, size) and returns one score per class; None allows any number.

    Raises
    ------
    ValueError
        If its input or output has a different shape.
    """
    try:
        net.setInput(np.zeros((1, 1, size, size), np.float32))
        count = net.forward().size
    except cv2.error:
        raise ValueError(f"{path} does not accept an input of (1, 1, {size}, {size}): it is a different network") from None
    if classes is not None and count != classes:
        raise ValueError(f"{path} returns {count} scores, but there are {classes} expressions: it is a different network, or "
                         "one with classes of its own, for Model/adapt.py's classify_custom")


def check_columns(scores: npt.NDArray[np.float32], labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """Check that there is one label per column of scores, and return the scores.

    Raises
    ------
    ValueError
        If there are more or fewer labels.
    """
    if len(scores) and scores.shape[1] != len(labels):
        raise ValueError(f"the network returns {scores.shape[1]} scores, but there are {len(labels)} labels: give the name of "
                         "each class, in the order of the scores")
    return scores


def check_network_input(faces: Any, size: int) -> npt.NDArray[np.float32]:
    """Check the network's input; a list of faces is stacked first.

    Parameters
    ----------
    faces : object
        float32 (N, 1, size, size), grey 0..255, or a list of arrays (1, 1, size, size).
    size : int
        Pixels, the side of the network's input.

    Returns
    -------
    numpy.ndarray
        float32 (N, 1, size, size).

    Raises
    ------
    ValueError
        For a wrong shape or type, for NaN, for values outside 0..255, and for values that were divided by 255.
    """
    if isinstance(faces, (list, tuple)):
        wrong = [face for face in faces if np.shape(face)[1:] != (1, size, size)]
        if wrong:
            raise ValueError(f"the list contains {type_name(wrong[0])} of shape {np.shape(wrong[0])}, but the network takes "
                             f"float32 (1, 1, {size}, {size}): call preprocess on each face")
        faces = np.concatenate(faces) if faces else np.zeros((0, 1, size, size), np.float32)
    if not isinstance(faces, np.ndarray) or faces.shape[1:] != (1, size, size) or faces.dtype != np.float32:
        shape = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else type_name(faces)
        raise ValueError(f"the network takes float32 (N, 1, {size}, {size}), not {shape}: use preprocess")
    if len(faces) and not (faces.min() >= 0 and faces.max() <= 255):      # NaN fails both
        raise ValueError("the network takes grey values 0..255, without NaN: use preprocess")
    if len(faces) and 0 < faces.max() <= 1 and (faces % 1).any():
        raise ValueError("these grey values lie in 0..1, the network takes 0..255: don't divide by 255")
    return faces


# ---------------------------------------------------------------- files

def expand_home(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading ``~`` replaced by the home folder; in ``./~notes`` it is part of the name."""
    typed = os.fsdecode(path)
    if typed.startswith("~"):
        try:
            return Path(typed).expanduser()
        except RuntimeError:
            raise ValueError(f"{typed!r} begins with ~, but there is no such user: give the whole path") from None
    return Path(typed).absolute() if Path(typed).parts[:1] and Path(typed).parts[0].startswith("~") else Path(typed)


def check_file(path: Any, what: str) -> Path:
    """Check that a path leads to a file that is not empty.

    Parameters
    ----------
    path : object
        A str or os.PathLike; ``~`` stands for the home folder.
    what : str
        What the file should be, such as "picture".

    Returns
    -------
    pathlib.Path
        The path, with ``~`` expanded.

    Raises
    ------
    TypeError
        If it is not a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the path is empty, a web address or a folder, or the file is empty.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"this function needs the path of one {what}, not {type_name(path)}")
    if not str(path):
        raise ValueError(f"the path is empty: give the path of a {what}")
    if str(path).lower().startswith(("http:/", "https:/")) and not os.path.exists(path):
        raise ValueError(f"{path} is a web address: download the {what} first, then give its path")
    try:
        file = expand_home(path)
        file.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError) as problem:   # too long, a NUL in the name, ~ of an unknown user
        raise FileNotFoundError(f"{str(path)[:200]!r} can't be the path of a {what} ({problem})") from None
    if file.is_dir():
        raise ValueError(f"{file.absolute()} is a folder: give the path of one {what} file")
    if not file.is_file():
        here = "" if file.is_absolute() else f" (the current folder is {Path.cwd()})"
        raise FileNotFoundError(f"no {what} at {file.absolute()}{here}")
    if file.stat().st_size == 0:
        raise ValueError(f"{file.absolute()} is an empty file: copy or download the {what} again")
    return file


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Provide a temporary file to write to; it is renamed to `path` when the block ends without an error.

    So there is never a half-written file under the final name, and an old file is never lost.

    Parameters
    ----------
    path : pathlib.Path
        The final name. Its folder must exist.

    Yields
    ------
    pathlib.Path
        The temporary name, with the same suffix.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PART_PREFIX, suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)         # mkstemp makes files that nobody else can read
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save_atomically(write: Callable[[str], object], path: str | os.PathLike[str]) -> Path:
    """Call ``write(temporary name)``, then move the file into place, as `atomic_write` does. Creates the folder.

    Returns
    -------
    pathlib.Path
        Where the file is now.
    """
    target = expand_home(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as part:
        write(str(part))
    return target
