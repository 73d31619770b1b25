"""Facial expression recognition with OpenCV, one small function per step, in the order of the notebooks::

    import helpers
    helpers.init_emotion()
    helpers.emotion(helpers.read_image("Media/grace_hopper.jpg"))

Images are uint8 arrays (H, W, 3) in OpenCV's channel order BGR. A label is what most people would
call the expression in the picture. It does not say what the person feels.
"""
import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
import numpy.typing as npt

import checks
import detectors
import imagefiles

EMOTIONS = ("Neutral", "Happy", "Surprise", "Sad", "Anger", "Disgust", "Fear", "Contempt")  # the order of the scores
ROOT = Path(__file__).resolve().parent
MODEL_PATH = ROOT / "Model" / "emotion-ferplus-small.onnx"
IMAGE_SUFFIXES = imagefiles.SUFFIXES   # the file extensions that are accepted in a folder
INPUT_SIZE = 64        # pixels, the sides of the network's input
PADDING = 0.0          # fraction of the box's longer side that is added on each side of the crop
LABEL_THRESHOLD = 0.7  # a label with a lower probability gets a question mark: more than 4 in 10 such labels are wrong
FACE_THRESHOLD = 0.9   # a detection with a lower confidence also shows the confidence: it may not be a face
Image = npt.NDArray[Any]
PathLike = str | os.PathLike[str]


class Face(TypedDict, total=False):
    """One face; `detect_faces` fills in the first two keys, `classify_expressions` the next three."""

    box: list[int]               # x, y, w, h in whole pixels inside the image, origin top left
    confidence: float | None     # of the detector, 0..1; None for haar, hog and cnn, which don't return one
    label: str                   # the expression with the highest probability, one of EMOTIONS
    probability: float           # of that label, 0..1
    emotions: dict[str, float]   # the probability of each of EMOTIONS; they sum to 1
    id: int                      # on video: the number that a face keeps, see video.LabelSmoother


# ---------------------------------------------------------------- Notebook 1: read an image

def read_image(path: PathLike) -> Image:
    """Read an image file, upright, as a viewer shows it; `imagefiles.read` describes how.

    Parameters
    ----------
    path : str or os.PathLike
        JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF and every other format that Pillow or OpenCV reads. Any path will do.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 3), BGR. An `imagefiles.ImageWarning` names anything doubtful about the file.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError, MemoryError
        If it is not a path, does not exist, or is a folder, empty, damaged, not an image, or too large for the memory.
    """
    return imagefiles.read(checks.check_file(path, "picture"))


def to_bgr(image: Image) -> Image:
    """Convert an image array of any common form to the form that all steps use. The input is not changed.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, of any integer type, values 0..255. BGRA is blended onto white.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 3), BGR, contiguous.

    Raises
    ------
    TypeError, ValueError
        If it is not such an array.
    """
    image = np.ascontiguousarray(checks.check_image(image).astype(np.uint8, copy=False))
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 4:
        opacity = image[..., 3:].astype(np.float32) / 255
        return (image[..., :3] * opacity + 255 * (1 - opacity)).round().astype(np.uint8)
    return image


# ---------------------------------------------------------------- Notebook 2: load the network

def load_network(model: PathLike = MODEL_PATH, *, classes: int | None = len(EMOTIONS)) -> cv2.dnn.Net:
    """Load an ONNX file with the interface of ``emotion-ferplus-8.onnx``: (1, 1, 64, 64) in, 8 scores (`classes`) out.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        If it is not a path or does not exist, or is incomplete, damaged, a Git LFS pointer, a web page or a different network.
    """
    path = checks.check_file(model, "network")
    data = np.fromfile(path, np.uint8)
    checks.check_network_bytes(path, data)
    try:
        net = cv2.dnn.readNetFromONNX(data)
    except cv2.error:
        raise ValueError(f"{path} is not a complete ONNX file ({len(data):,} bytes): copy or download it again") from None
    checks.check_network_shapes(path, net, INPUT_SIZE, classes)
    return net


# ---------------------------------------------------------------- Notebook 3: detect faces

def detect_faces(image: Image, *, detector: str = "ssd", confidence: float = 0.5) -> list[Face]:
    """Find the faces in an image.

    Parameters
    ----------
    image : numpy.ndarray
        Any array that `to_bgr` accepts.
    detector : {"ssd", "haar", "hog", "cnn"}
        detectors.py names their sources and explains how large images are searched. hog and cnn need dlib. ssd finds
        faces of at least 30 pixels and 4% of the height; in images of less than 720 rows, or next to larger faces, 10%.
    confidence : float
        The minimum confidence of a face, above 0 and up to 1. Only ssd uses it.

    Returns
    -------
    list of Face
        One dict per face with ``box`` and ``confidence``, sorted from left to right; an empty list if there is no face.

    Raises
    ------
    ValueError, ImportError, TypeError
        For an unknown detector, an invalid confidence, or a detector without its dlib, and as `to_bgr`.
    """
    image = to_bgr(image)
    if detector not in ("ssd", "haar", "hog", "cnn"):
        raise ValueError(f"detector is {detector!r}: choose 'ssd', 'haar', 'hog' or 'cnn'")
    checks.check_number("confidence", confidence, "a minimum confidence above 0 and up to 1, such as 0.5", above=0, high=1)
    if min(image.shape[:2]) < detectors.MIN_IMAGE_SIDE:
        return []
    found = detectors.detect_with_ssd(image, confidence) if detector == "ssd" else detectors.detect_downscaled(image, detector)
    return [{"box": box, "confidence": score} for box, score in found]


# ---------------------------------------------------------------- Notebook 4: crop, grey, 64 x 64

def crop_face(image: Image, box: Sequence[float], *, padding: float = PADDING) -> Image:
    """Cut out a square around a face: centred on its box, as wide as the box's longer side, plus padding.

    Parameters
    ----------
    image : numpy.ndarray
        Any array that `to_bgr` accepts.
    box : sequence of float
        x, y, w, h in pixels; may reach outside the image, where edge pixels are replicated.
    padding : float
        Added on each side, as a fraction of the longer side, -0.25..1.

    Returns
    -------
    numpy.ndarray
        uint8 (S, S, 3), BGR, a new array.

    Raises
    ------
    ValueError, TypeError
        If the box has no area or lies outside the image, for an invalid padding, and as `to_bgr`.
    """
    image = to_bgr(image)
    height, width = image.shape[:2]
    x, y, w, h = checks.check_box(box)
    checks.check_number("padding", padding, "a fraction of the box from -0.25 to 1, such as 0.1", low=-0.25, high=1)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if left >= right or top >= bottom:
        raise ValueError(f"box {box} lies outside the picture of {width} x {height} pixels (width x height)")
    side = max(round(max(right - left, bottom - top) * (1 + 2 * padding)), 1)
    x0, y0 = round((left + right - side) / 2), round((top + bottom - side) / 2)
    inside = image[max(y0, 0):max(y0 + side, 1), max(x0, 0):max(x0 + side, 1)]
    return cv2.copyMakeBorder(inside, max(-y0, 0), max(y0 + side - height, 0), max(-x0, 0), max(x0 + side - width, 0),
                              cv2.BORDER_REPLICATE)


def preprocess(face: Image) -> npt.NDArray[np.float32]:
    """Turn a cropped face into the network's input: float32 (1, 1, 64, 64), grey 0..255.

    The network normalises its input itself, so we do not divide by 255. Raises what `to_bgr` raises.
    """
    grey = cv2.cvtColor(to_bgr(face), cv2.COLOR_BGR2GRAY)
    shrinks = max(grey.shape) > INPUT_SIZE
    grey = cv2.resize(grey, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return grey.reshape(1, 1, INPUT_SIZE, INPUT_SIZE).astype(np.float32)


# ---------------------------------------------------------------- Notebook 5: scores, softmax, label

_network_lock = threading.Lock()   # OpenCV's networks return wrong answers when two threads use one at once


def forward(net: cv2.dnn.Net, faces: npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Run the network on all faces in one pass.

    Parameters
    ----------
    net : cv2.dnn.Net
        From `load_network`. A network whose file fixes the batch size at 1 gets the faces one by one.
    faces : numpy.ndarray or list of numpy.ndarray
        float32 (N, 1, 64, 64), grey 0..255, or a list of what `preprocess` returns.

    Returns
    -------
    numpy.ndarray
        float32 (N, 8): scores before softmax, columns in the order of EMOTIONS, or one column per class of another `net`.

    Raises
    ------
    TypeError, ValueError
        If `net` is not a network, if the faces have a wrong shape or range, or if the scores contain NaN or infinity.
    """
    if not isinstance(net, cv2.dnn.Net):
        raise TypeError(f"forward needs the network that load_network returns, not {checks.type_name(net)}")
    batch = checks.check_network_input(faces, INPUT_SIZE)
    if len(batch) == 0:
        return np.zeros((0, len(EMOTIONS)), np.float32)
    with _network_lock:
        scores = None
        if len(batch) > 1:
            with contextlib.suppress(cv2.error):
                net.setInput(batch)
                scores = net.forward()
        if scores is None or len(scores) != len(batch):
            rows = []
            for face in batch:
                net.setInput(face[None])
                rows.append(net.forward().ravel())
            scores = np.array(rows)
    scores = np.asarray(scores, np.float32).reshape(len(batch), -1)
    if not np.isfinite(scores).all():
        raise ValueError("the network's scores contain NaN or infinity, so its file is damaged: load a different one")
    return scores


def softmax(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Turn scores into probabilities.

    Parameters
    ----------
    scores : array_like
        (8,) or (N, 8), any finite numbers.

    Returns
    -------
    numpy.ndarray
        float64 of the same shape, 0..1; the last axis sums to 1.

    Raises
    ------
    ValueError
        If there are no scores, or some are NaN or infinite.

    Examples
    --------
    >>> softmax([1, 2, 3]).round(2)
    array([0.09, 0.24, 0.67])
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 0 or scores.shape[-1] == 0 or not np.isfinite(scores).all():
        raise ValueError(f"softmax needs finite scores along the last axis, not {scores!r}")
    powers = np.exp(scores - scores.max(-1, keepdims=True))     # minus the maximum: exp of a large score would overflow
    return np.asarray(powers / powers.sum(-1, keepdims=True))


# ---------------------------------------------------------------- Notebook 6: draw and display

def draw(image: Image, faces: Sequence[Face]) -> Image:
    """Draw a box around each face and its label on a copy of the image.

    A label with a probability below LABEL_THRESHOLD gets a question mark. If the detector's confidence is below
    FACE_THRESHOLD, it is shown too, because the box could contain a cat. A face without a label gets only its box.

    Parameters
    ----------
    image : numpy.ndarray
        Any array that `to_bgr` accepts.
    faces : list of Face
        From `detect_emotions` or `detect_faces`; TypeError or ValueError if it is something else.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 3), BGR.
    """
    drawn = to_bgr(image).copy()
    height, width = drawn.shape[:2]
    line = max(round(min(height, width) / 250), 1)
    for face in checks.check_faces(faces):
        x, y, w, h = (int(v) for v in face["box"])
        cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), (0, 200, 255), line)
        if face.get("label") is None:
            continue
        probability = face["emotions"][face["label"]]
        text = f"{face['label']}{'?' if probability < LABEL_THRESHOLD else ''} {probability:.0%}"
        text += f" (face {found:.0%})" if (found := face.get("confidence")) is not None and found < FACE_THRESHOLD else ""
        (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1, 2)
        smallest = min(0.3, (width - 4) / text_width)           # readable, yet never wider than the image
        scale = max(min(w / text_width, min(height, width) / 400), smallest, 0.01)
        thick = max(round(scale * 2), 1)
        (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        left = max(min(x, width - text_width - 5), 0)
        bottom = y if y > text_height + below + 4 else min(y + h + text_height + below + 4, height)
        cv2.rectangle(drawn, (left, bottom - text_height - below - 4), (left + text_width + 4, bottom), (0, 200, 255), cv2.FILLED)
        cv2.putText(drawn, text, (left + 2, bottom - below - 1), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick, cv2.LINE_AA)
    return drawn


def show(image: Image, *, title: str | None = None, width: float = 6) -> None:
    """Display an image in the notebook, `width` inches wide. This is the only place where BGR becomes RGB.

    Raises ValueError for a width outside 0..100 inches, and what `to_bgr` raises.
    """
    import matplotlib.pyplot as plt  # imported here, so that importing helpers is quick
    image = cv2.cvtColor(to_bgr(image), cv2.COLOR_BGR2RGB)
    checks.check_number("width", width, "the width in inches, such as 6", above=0, high=100)
    plt.figure(figsize=(width, round(min(max(width * image.shape[0] / image.shape[1], 1), 12), 2)))
    plt.imshow(image)
    plt.axis("off")
    plt.title(title or "")
    plt.show()


# ---------------------------------------------------------------- Notebook 7: all steps in one call

_network: cv2.dnn.Net | None = None   # what init_emotion() loaded, and from where
_network_path = MODEL_PATH


def init_emotion(model: PathLike = MODEL_PATH) -> None:
    """Load the network that the functions below use; call it once. Raises what `load_network` raises."""
    global _network, _network_path
    _network, _network_path = load_network(model), checks.expand_home(model).absolute()


def classify_expressions(image: Image, faces: Sequence[Face], *, net: cv2.dnn.Net | None = None,
                         labels: Sequence[str] = EMOTIONS) -> list[Face]:
    """Add ``label``, ``probability`` and ``emotions`` to faces that `detect_faces` found: new dicts in a new list.

    A different network can be given as `net`, with the names of its classes as `labels`. Raises RuntimeError if there is
    no `net` and `init_emotion` has not been called, ValueError if `labels` don't fit, and what `crop_face` raises.
    """
    net = _network if net is None else net
    if net is None:
        raise RuntimeError("no network is loaded yet: call init_emotion() once, before the first picture")
    scores = checks.check_columns(forward(net, [preprocess(crop_face(image, face["box"])) for face in faces]), labels)
    classified: list[Face] = []
    for face, probabilities in zip(faces, softmax(scores)):
        best = int(probabilities.argmax())
        classified.append({**face, "label": labels[best], "probability": float(probabilities[best]),
                           "emotions": dict(zip(labels, probabilities.tolist()))})
    return classified


def detect_emotions(image: Image, *, detector: str = "ssd", confidence: float = 0.5) -> list[Face]:
    """Find the faces in an image and classify their expressions: one dict per face, from left to right.

    All numbers are plain Python numbers, so json.dumps accepts the result. Options and errors are those of `detect_faces` and
    `classify_expressions`.
    """
    image = to_bgr(image)
    return classify_expressions(image, detect_faces(image, detector=detector, confidence=confidence))


def top_emotion(image: Image, *, detector: str = "ssd", confidence: float = 0.5) -> tuple[str | None, float | None]:
    """Return the largest face's label and its probability; (None, None) if there is no face. Errors: as `detect_emotions`."""
    faces = detect_emotions(image, detector=detector, confidence=confidence)
    largest = max(faces, key=lambda face: face["box"][2] * face["box"][3], default=None)
    return (largest["label"], largest["probability"]) if largest else (None, None)


def emotion(image: Image, returndata: bool = False, *, detector: str = "ssd", confidence: float = 0.5) -> Image | None:
    """Label every face: show a copy of the image with boxes and labels, or return it with ``returndata=True``.

    The copy is uint8 (H, W, 3), BGR. Options and errors: see `detect_emotions`; TypeError if `returndata` is not a bool.
    """
    if not isinstance(returndata, (bool, np.bool_)):
        raise TypeError(f"returndata is {returndata!r}: give True or False, and other options by name, such as confidence=0.8")
    faces = detect_emotions(image, detector=detector, confidence=confidence)
    drawn = draw(image, faces)
    if not returndata:
        if not faces:
            print("No face found. Lower the confidence, or crop the picture: faces under a tenth of its height are often missed.")
        show(drawn, width=10 if drawn.shape[1] > 2 * drawn.shape[0] else 6)     # a wide picture is often a group
    return drawn if returndata else None
