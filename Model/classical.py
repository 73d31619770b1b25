"""The methods from before deep networks, one small function per step: cascades, eigenfaces, LBP, HOG, landmarks, SVMs.

    from Model import classical
    classical.classify("HOG + linear SVM", helpers.crop_face(image, box))      # "Happy"

Model/train_classical.py trains all models and writes them and their results into Model/classical/. Notebooks 13 to 17
build the methods up step by step. A face is what helpers.crop_face returns, uint8 (H, W, 3), BGR, or a grey (H, W).
Features are float32, one row per face. Sources:

cascades      P. Viola, M. Jones, "Rapid object detection using a boosted cascade of simple features", CVPR 2001
eigenfaces    M. Turk, A. Pentland, "Eigenfaces for recognition", J. Cognitive Neuroscience 3(1), 1991
Fisherfaces   P. Belhumeur, J. Hespanha, D. Kriegman, "Eigenfaces vs. Fisherfaces", PAMI 19(7), 1997
LBP           T. Ahonen, A. Hadid, M. Pietikainen, "Face description with local binary patterns", PAMI 28(12), 2006
HOG           N. Dalal, B. Triggs, "Histograms of oriented gradients for human detection", CVPR 2005
landmarks     V. Kazemi, J. Sullivan, "One millisecond face alignment with an ensemble of regression trees", CVPR 2014
eye ratio     T. Soukupova, J. Cech, "Real-time eye blink detection using facial landmarks", CVWW 2016
SVM           C. Cortes, V. Vapnik, "Support-vector networks", Machine Learning 20(3), 1995
"""
import functools
import importlib.util
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import helpers
from helpers import EMOTIONS, Image, PathLike

MODEL_FOLDER = Path(__file__).resolve().parent / "classical"
FACE_SIZE = 48           # pixels; every face is resized to the side of the FER+ faces
SMILE_FACE_SIZE = 144    # pixels of the face in which the cascade looks for a smile; the cascade's own window is 36 x 18
LBP_GRID = 6             # the face is divided into LBP_GRID x LBP_GRID cells, with one histogram each
LANDMARK_SIZE = 96       # pixels of the face in which dlib's detector looks; the smallest face it finds is about 80
LANDMARK_MARGIN = 24     # pixels added on each side, because the detector needs to see the surroundings of the face
DEFAULT_LANDMARK_BOX = (0.04, 0.12, 0.96, 0.99)   # left, top, right, bottom of dlib's box, as fractions of a FER+ face
CLASS_SETS = {2: (0, 1), 3: (0, 1, 2), 8: tuple(range(8))}      # indices into EMOTIONS: the 2 and 3 most frequent, all
HAPPY = EMOTIONS.index("Happy")

_lock = threading.Lock()   # an OpenCV cascade returns wrong answers when two threads use it at once

Rows = npt.NDArray[np.float32]
ModelArrays = dict[str, npt.NDArray[Any]]


# ---------------------------------------------------------------- faces and pixels

def grey_face(face: Image, *, size: int = FACE_SIZE) -> npt.NDArray[np.uint8]:
    """Convert a face to a grey square.

    Parameters
    ----------
    face : numpy.ndarray
        Any array that `helpers.to_bgr` accepts.
    size : int
        Side of the square in pixels.

    Returns
    -------
    numpy.ndarray
        uint8 (size, size).

    Raises
    ------
    TypeError, ValueError
        As `helpers.to_bgr`.
    """
    grey = cv2.cvtColor(helpers.to_bgr(face), cv2.COLOR_BGR2GRAY)
    shrinks = max(grey.shape) > size
    return cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def equalised_pixels(faces: npt.NDArray[np.uint8]) -> Rows:
    """Equalise the histogram of each face, and return its pixels as one row.

    After equalisation all grey values are about equally frequent, so light and camera matter less.

    Parameters
    ----------
    faces : numpy.ndarray
        uint8 (N, 48, 48), grey.

    Returns
    -------
    numpy.ndarray
        float32 (N, 2304), 0..255.

    Raises
    ------
    ValueError
        For a wrong shape or type.
    """
    return np.array([cv2.equalizeHist(face).ravel() for face in _checked(faces)], np.float32)


def _checked(faces: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Check that faces are uint8 (N, 48, 48)."""
    faces = np.asarray(faces)
    if faces.ndim != 3 or faces.shape[1:] != (FACE_SIZE, FACE_SIZE) or faces.dtype != np.uint8:
        raise ValueError(f"grey faces are uint8 (N, {FACE_SIZE}, {FACE_SIZE}), not {faces.dtype} {faces.shape}: "
                         "call grey_face on each, and stack them")
    return faces


# ---------------------------------------------------------------- cascades

@functools.lru_cache
def cascade(name: str) -> cv2.CascadeClassifier:
    """Load one of the Haar cascades that the OpenCV package ships with.

    Parameters
    ----------
    name : {"face", "smile", "eye"}
        The cascade.

    Returns
    -------
    cv2.CascadeClassifier
        The cascade. Every caller gets the same one, and only one thread at a time may use it.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    files = {"face": "frontalface_default", "smile": "smile", "eye": "eye"}
    if name not in files:
        raise ValueError(f"there is no cascade {name!r}: choose 'face', 'smile' or 'eye'")
    return cv2.CascadeClassifier(cv2.data.haarcascades + f"haarcascade_{files[name]}.xml")


def smile_neighbours(face: Image, *, scale_factor: float = 1.1) -> int:
    """Count the overlapping windows in which the smile cascade detects the same smile.

    The cascade searches the lower half of the face. It finds a smile at ``minNeighbors=n`` exactly if the count is
    above n, so a single count answers for every n.

    Parameters
    ----------
    face : numpy.ndarray
        Any array that `helpers.to_bgr` accepts.
    scale_factor : float
        Ratio between successive image sizes of the search, above 1.

    Returns
    -------
    int
        The largest count, 0 if no window is accepted.

    Raises
    ------
    ValueError
        For an invalid `scale_factor`.
    """
    if not scale_factor > 1:
        raise ValueError(f"scale_factor is {scale_factor!r}: each step makes the picture smaller, so give 1.05 or more")
    half = grey_face(face, size=SMILE_FACE_SIZE)[SMILE_FACE_SIZE // 2:]
    with _lock:
        _, counts = cascade("smile").detectMultiScale2(half, scale_factor, 1)
    return int(max(counts, default=0))


# ---------------------------------------------------------------- eigenfaces, Fisherfaces

def eigenfaces(rows: Rows, n_components: int) -> tuple[Rows, Rows]:
    """Find the principal components of faces: the directions in which they vary most.

    Parameters
    ----------
    rows : numpy.ndarray
        float32 (N, D), from `equalised_pixels`.
    n_components : int
        K, from 1 to min(N, D) - 1.

    Returns
    -------
    mean : numpy.ndarray
        float32 (D,), the mean face.
    basis : numpy.ndarray
        float32 (K, D), unit vectors, the one with the largest variance first.

    Raises
    ------
    ValueError
        For an invalid `n_components`.

    Notes
    -----
    With fewer faces than pixels, the eigenvectors follow from the N x N matrix of the products between faces, which is
    smaller than the D x D covariance matrix of the pixels (Turk and Pentland 1991).
    """
    if not 0 < n_components < min(rows.shape):
        raise ValueError(f"n_components is {n_components}: for {len(rows)} faces with {rows.shape[1]} pixels, "
                         f"give 1 to {min(rows.shape) - 1}")
    mean = rows.mean(0, dtype=np.float64).astype(np.float32)
    centred = rows - mean
    if len(rows) < rows.shape[1]:
        _, weights = np.linalg.eigh(centred @ centred.T / len(rows))      # sorted, the smallest eigenvalue first
        directions = centred.T @ weights[:, ::-1][:, :n_components]
    else:
        _, directions = np.linalg.eigh(centred.T @ centred / len(rows))
        directions = directions[:, ::-1][:, :n_components]
    directions = directions.T / np.linalg.norm(directions, axis=0)[:, None]
    return mean, (directions * np.sign(directions.sum(1, keepdims=True) + 1e-12)).astype(np.float32)


def fisherfaces(rows: Rows, labels: npt.NDArray[np.integer], mean: Rows, basis: Rows) -> Rows:
    """Find the directions that separate the classes best: linear discriminant analysis on eigenfaces.

    Along these directions, the means of the classes are far apart and the faces of each class are close together.

    Parameters
    ----------
    rows : numpy.ndarray
        float32 (N, D), from `equalised_pixels`.
    labels : numpy.ndarray
        int (N,), of C classes.
    mean, basis : numpy.ndarray
        From `eigenfaces`.

    Returns
    -------
    numpy.ndarray
        float32 (C - 1, D), the best direction first.

    Raises
    ------
    ValueError
        If all labels are the same.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError("all faces have the same label: Fisherfaces need two classes to separate")
    coefficients = project(rows, mean, basis).astype(np.float64)
    coefficients -= coefficients.mean(0)
    count = coefficients.shape[1]
    means = np.array([coefficients[labels == one].mean(0) for one in classes])
    fractions = [(labels == one).mean() for one in classes]
    between = sum(fraction * np.outer(m, m) for fraction, m in zip(fractions, means))
    within = coefficients.T @ coefficients / len(coefficients) - between
    within += 1e-3 * np.trace(within) / count * np.eye(count)         # regularisation: no direction has zero variance
    root = np.linalg.inv(np.linalg.cholesky(within))
    _, directions = np.linalg.eigh(root @ between @ root.T)
    return np.asarray((root.T @ directions[:, ::-1][:, :len(classes) - 1]).T @ basis, np.float32)


def project(rows: Rows, mean: Rows, basis: Rows) -> Rows:
    """Subtract the mean, then project rows onto a basis.

    Parameters
    ----------
    rows : numpy.ndarray
        (N, D).
    mean, basis : numpy.ndarray
        (D,) and (K, D), from `eigenfaces` or `fisherfaces`.

    Returns
    -------
    numpy.ndarray
        float32 (N, K), the coefficients.
    """
    return np.asarray((rows - mean) @ np.asarray(basis, np.float32).T, np.float32)


def nearest_neighbour(rows: Rows, gallery: Rows, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Classify rows by their nearest neighbour.

    Parameters
    ----------
    rows : numpy.ndarray
        (N, K).
    gallery : numpy.ndarray
        (M, K), the training rows.
    labels : numpy.ndarray
        (M,), their labels.

    Returns
    -------
    numpy.ndarray
        (N,): the label of the gallery row with the smallest Euclidean distance.
    """
    squares = (gallery ** 2).sum(1)
    return np.concatenate([labels[(squares - 2 * part @ gallery.T).argmin(1)]
                           for part in np.array_split(rows, len(rows) // 500 + 1)])


# ---------------------------------------------------------------- local binary patterns

def _uniform_patterns() -> npt.NDArray[np.uint8]:
    """Map the 256 codes to 59 bins: one for each of the 58 codes whose ring of bits changes at most twice, one for all others."""
    uniform = [code for code in range(256) if bin(code ^ (code >> 1 | (code & 1) << 7)).count("1") <= 2]
    return np.array([uniform.index(code) if code in uniform else 58 for code in range(256)], np.uint8)


UNIFORM_PATTERNS = _uniform_patterns()


def lbp_codes(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Compute the local binary pattern of every inner pixel.

    Parameters
    ----------
    grey : numpy.ndarray
        uint8 (H, W).

    Returns
    -------
    numpy.ndarray
        uint8 (H - 2, W - 2): one bit for each of the 8 neighbours, set if the neighbour is at least as bright as the pixel.
    """
    h, w = grey.shape
    ring = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    bits = [(grey[y:y + h - 2, x:x + w - 2] >= grey[1:-1, 1:-1]).astype(np.uint8) << bit for bit, (y, x) in enumerate(ring)]
    return np.bitwise_or.reduce(bits)


def lbp_histograms(faces: npt.NDArray[np.uint8]) -> Rows:
    """Compute the histograms of local binary patterns in a grid of cells.

    Parameters
    ----------
    faces : numpy.ndarray
        uint8 (N, 48, 48), grey.

    Returns
    -------
    numpy.ndarray
        float32 (N, LBP_GRID * LBP_GRID * 59), 0..1: per cell, the square root of the fraction of each pattern.

    Raises
    ------
    ValueError
        For a wrong shape or type.
    """
    rows = []
    for face in _checked(faces):
        bins = UNIFORM_PATTERNS[lbp_codes(face)]
        cells = [cell for band in np.array_split(bins, LBP_GRID) for cell in np.array_split(band, LBP_GRID, axis=1)]
        rows.append(np.concatenate([np.bincount(cell.ravel(), minlength=59) / cell.size for cell in cells]))
    return np.sqrt(np.array(rows, np.float32))


# ---------------------------------------------------------------- histograms of oriented gradients

def hog(faces: npt.NDArray[np.uint8], *, cell_size: int = 8, n_bins: int = 9) -> Rows:
    """Compute histograms of oriented gradients: how strong the edges of each orientation are in each cell.

    Parameters
    ----------
    faces : numpy.ndarray
        uint8 (N, 48, 48), grey.
    cell_size : {4, 6, 8, 12, 16}
        Side of a cell in pixels. Blocks of 2 x 2 cells, one cell apart, are normalised together.
    n_bins : int
        Orientations over 180 degrees, 2..36.

    Returns
    -------
    numpy.ndarray
        float32 (N, (48 / cell_size - 1) ** 2 * 4 * n_bins), 0..1.

    Raises
    ------
    ValueError
        For a wrong shape or type, cell size or number of bins.
    """
    if cell_size not in (4, 6, 8, 12, 16):
        raise ValueError(f"cell_size is {cell_size!r}: a face of {FACE_SIZE} pixels can be divided into "
                         "cells of 4, 6, 8, 12 or 16 pixels")
    if not 2 <= n_bins <= 36:
        raise ValueError(f"n_bins is {n_bins!r}: give the number of orientations, 2 to 36")
    block, cell = (2 * cell_size, 2 * cell_size), (cell_size, cell_size)
    descriptor = cv2.HOGDescriptor((FACE_SIZE, FACE_SIZE), block, cell, cell, int(n_bins))
    return np.array([np.ravel(descriptor.compute(face)) for face in _checked(faces)], np.float32)


# ---------------------------------------------------------------- landmarks

def landmarks_path() -> Path:
    """Find the file of the 68-point model in the package face_recognition_models, without importing the package.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ImportError
        If the package is missing.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    path = spec and spec.origin and Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    if not path or not path.is_file():
        raise ImportError("the 68 landmarks need the package face_recognition_models: "
                          "pip install face_recognition_models==0.3.0")
    return path


@functools.lru_cache
def _dlib() -> tuple[Any, Any, Any]:
    """Return dlib, its face detector and its 68-point predictor."""
    try:
        import dlib
    except ImportError:
        raise ImportError("the 68 landmarks need dlib: pip install dlib-bin") from None
    return dlib, dlib.get_frontal_face_detector(), dlib.shape_predictor(str(landmarks_path()))


def landmarks(face: Image, *, detect: bool = True) -> Rows | None:
    """Find the 68 landmarks of a face, numbered as in iBUG 300-W.

    0-16 are the jaw, 17-26 the brows, 27-35 the nose, 36-47 the eyes and 48-67 the mouth.

    Parameters
    ----------
    face : numpy.ndarray
        Any array that `helpers.to_bgr` accepts.
    detect : bool
        True: dlib's detector looks for the face in the crop first. False: use DEFAULT_LANDMARK_BOX, which never fails.

    Returns
    -------
    numpy.ndarray or None
        float32 (68, 2): x and y as fractions of the face's side, 0..1 inside the crop. None if no face is found.

    Raises
    ------
    ImportError
        Without dlib or the model.
    TypeError, ValueError
        As `helpers.to_bgr`.
    """
    dlib, detector, predictor = _dlib()
    size = max(FACE_SIZE, min(LANDMARK_SIZE, min(face.shape[:2])))
    large = cv2.resize(grey_face(face, size=size), (LANDMARK_SIZE,) * 2, interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, *[LANDMARK_MARGIN] * 4, cv2.BORDER_REPLICATE)
    if detect:
        boxes = detector(large)
        if not boxes:
            return None
        box = max(boxes, key=lambda found: found.area())
    else:
        box = dlib.rectangle(*[round(LANDMARK_MARGIN + fraction * LANDMARK_SIZE) for fraction in DEFAULT_LANDMARK_BOX])
    points = [(point.x, point.y) for point in predictor(large, box).parts()]
    return (np.array(points, np.float32) - LANDMARK_MARGIN) / LANDMARK_SIZE


def align_landmarks(points: npt.ArrayLike) -> Rows:
    """Rotate, shift and scale landmarks so that the eyes are level and 1 apart, with (0, 0) midway between them.

    Parameters
    ----------
    points : array_like
        (68, 2), in any unit.

    Returns
    -------
    numpy.ndarray
        float32 (68, 2), in eye distances: the distance between the centres of the eyes is 1.

    Raises
    ------
    ValueError
        For a wrong shape, or if both eyes are at the same position.
    """
    points = np.asarray(points, np.float32)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks have the shape (68, 2), not {points.shape}")
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    across = right - left
    length = float(np.hypot(*across))
    if length == 0:
        raise ValueError("both eyes are at the same position: these are not the landmarks of a face")
    cos, sin = across / length
    return (points - (left + right) / 2) @ np.array([[cos, -sin], [sin, cos]], np.float32) / length


GEOMETRIC_FEATURES = ("mouth_width", "mouth_opening", "lip_height", "corner_lift", "brow_raise", "brow_gap", "nose_to_lip",
                      "lip_to_chin", "eye_aspect_ratio")


def geometric_features(points: npt.ArrayLike) -> dict[str, float]:
    """Measure a face by its landmarks, independent of its size, position and tilt.

    Parameters
    ----------
    points : array_like
        (68, 2), from `landmarks`.

    Returns
    -------
    dict of {str: float}
        One value per name in GEOMETRIC_FEATURES. Lengths are in eye distances. mouth_opening is the gap between the
        lips, lip_height the distance between their outer edges, corner_lift how far the corners of the mouth are above its
        centre, brow_raise how far the brows are above the eyes, brow_gap the distance between the brows, and
        eye_aspect_ratio the height of an eye divided by its width.

    Raises
    ------
    ValueError
        As `align_landmarks`.
    """
    p = align_landmarks(points)

    def length(a: int, b: int) -> float:
        return float(np.hypot(*(p[a] - p[b])))

    def aspect_ratio(first: int) -> float:
        return (length(first + 1, first + 5) + length(first + 2, first + 4)) / (2 * length(first, first + 3))

    return {"mouth_width": length(48, 54), "mouth_opening": length(62, 66), "lip_height": length(51, 57),
            "corner_lift": float((p[62, 1] + p[66, 1] - p[48, 1] - p[54, 1]) / 2),
            "brow_raise": float(-(p[19, 1] + p[24, 1]) / 2), "brow_gap": length(21, 22),
            "nose_to_lip": length(33, 51), "lip_to_chin": length(57, 8),
            "eye_aspect_ratio": (aspect_ratio(36) + aspect_ratio(42)) / 2}


def is_smile(measured: Mapping[str, float], *, min_width: float = 0.95, min_lift: float = -0.02) -> bool:
    """Apply a hand-made rule: a smile is a wide mouth whose corners are lifted.

    Parameters
    ----------
    measured : dict of {str: float}
        From `geometric_features`.
    min_width, min_lift : float
        The thresholds that mouth_width and corner_lift must exceed, in eye distances.

    Returns
    -------
    bool
        Whether it is a smile.
    """
    return measured["mouth_width"] > min_width and measured["corner_lift"] > min_lift


# ---------------------------------------------------------------- models

METHODS = {       # the committed models: name of the method, and of its file in Model/classical/
    "Eigenfaces + SVM": "eigen", "Fisherfaces + SVM": "fisher", "LBP + SVM": "lbp", "HOG + linear SVM": "hog",
    "HOG + RBF SVM": "hog_rbf", "Landmark measures + SVM": "measures", "Landmark points + SVM": "points",
}


@functools.lru_cache
def load_model(name: str, *, folder: PathLike | None = None) -> ModelArrays:
    """Load the arrays of a model.

    Parameters
    ----------
    name : str
        The file's name without ``.npz``: a value of METHODS, or "sample".
    folder : str or os.PathLike, optional
        Its folder; the default is MODEL_FOLDER.

    Returns
    -------
    dict of {str: numpy.ndarray}
        The arrays by name. They are cached: don't change them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    path = Path(folder or MODEL_FOLDER) / f"{name}.npz"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.npz"))) or "none"
        raise FileNotFoundError(f"no {path.name} in {path.parent.resolve()} (it contains: {there}): "
                                "train it with Model/train_classical.py")
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays}


def decision_function(model: ModelArrays, features: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Compute the scores of a linear SVM, or of an RBF SVM if the model holds ``vectors``.

    Parameters
    ----------
    model : dict of {str: numpy.ndarray}
        From `load_model`.
    features : array_like
        (N, D), from `extract_features`.

    Returns
    -------
    numpy.ndarray
        (N, 8): one score per expression; the highest one is the label.

    Raises
    ------
    ValueError
        If D does not fit the model.

    Notes
    -----
    Linear: ``((features - centre) / spread) @ weights + bias``. RBF: the same, but with
    ``exp(-gamma * squared distance)`` to each support vector in place of the features.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or features.shape[1] != len(model["centre"]):
        raise ValueError(f"this model takes features (N, {len(model['centre'])}), not {features.shape}")
    rows = (features - model["centre"]) / model["spread"]
    if "vectors" in model:
        vectors = model["vectors"].astype(np.float32)
        squares = (rows ** 2).sum(1)[:, None] + (vectors ** 2).sum(1) - 2 * rows @ vectors.T
        rows = np.exp(-model["gamma"] * squares)
    return rows @ model["weights"] + model["bias"]


def extract_features(name: str, faces: npt.NDArray[np.uint8], *, detect: bool = True) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Compute the features that a model takes.

    Parameters
    ----------
    name : str
        A value of METHODS.
    faces : numpy.ndarray
        uint8 (N, 48, 48), grey.
    detect : bool
        As for `landmarks`.

    Returns
    -------
    rows : numpy.ndarray
        float32 (M, D), one row per face that was found.
    found : numpy.ndarray
        bool (N,). Only the two landmark models can fail to find a face.

    Raises
    ------
    ValueError
        For an unknown name, or a wrong shape or type.
    FileNotFoundError, ImportError
        As `load_model` and `landmarks`.
    """
    faces = _checked(faces)
    everywhere = np.ones(len(faces), bool)
    if name in ("eigen", "fisher"):
        model = load_model(name)
        return project(equalised_pixels(faces), model["mean"], model["basis"]), everywhere
    if name == "lbp":
        return lbp_histograms(faces), everywhere
    if name == "hog":
        return hog(faces), everywhere
    if name == "hog_rbf":
        model = load_model(name)
        return project(hog(faces), model["mean"], model["basis"]), everywhere
    if name not in ("measures", "points"):
        raise ValueError(f"there is no model {name!r}: choose from {', '.join(METHODS.values())}")
    return landmark_features(name, [landmarks(face, detect=detect) for face in faces])


def landmark_features(name: str, landmarks: Sequence[Rows | None]) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Compute the features of a landmark model.

    Parameters
    ----------
    name : {"measures", "points"}
        The model: `geometric_features`, or the aligned points themselves.
    landmarks : sequence of numpy.ndarray or None
        For each face, what the function `landmarks` returned.

    Returns
    -------
    rows : numpy.ndarray
        float32 (M, 9) or (M, 136), one row per face that was found.
    found : numpy.ndarray
        bool (N,), False where `landmarks` returned None.
    """
    found = np.array([points is not None for points in landmarks], bool)
    kept = [points for points in landmarks if points is not None]
    if name == "measures":
        rows = [np.array(list(geometric_features(points).values())) for points in kept]
    else:
        rows = [align_landmarks(points).ravel() for points in kept]
    return np.array(rows, np.float32).reshape(len(kept), len(GEOMETRIC_FEATURES) if name == "measures" else 136), found


def classify(method: str, face: Image, *, detect: bool = True) -> str | None:
    """Classify the expression of one face.

    Parameters
    ----------
    method : str
        A key of METHODS.
    face : numpy.ndarray
        Any array that `helpers.to_bgr` accepts.
    detect : bool
        As for `landmarks`.

    Returns
    -------
    str or None
        One of EMOTIONS, or None if the method finds no face.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, ImportError
        For an unknown method, and as `grey_face` and `extract_features`.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}: choose from {', '.join(METHODS)}")
    name = METHODS[method]
    rows, found = extract_features(name, grey_face(face)[None], detect=detect)
    return EMOTIONS[int(decision_function(load_model(name), rows)[0].argmax())] if found[0] else None
