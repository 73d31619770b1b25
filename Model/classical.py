"""What came before deep networks, one small function a step: cascades, eigenfaces, LBP, HOG, landmarks, SVMs.

    import sys; sys.path.append("Model")
    import classical
    classical.label("HOG + linear SVM", helpers.crop_face(image, box))      # "Happy"

Model/train_classical.py trains all of it and writes the models and the figures into Model/classical/; notebooks
13 to 17 build it up. A face is what helpers.crop_face returns, uint8 (H, W, 3), BGR, or a grey (H, W). Whatever
is measured comes out as float32 rows, one a face. Sources:

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
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import helpers  # noqa: E402
from helpers import EMOTIONS  # noqa: E402

FOLDER = Path(__file__).resolve().parent / "classical"
SIDE = 48                # pixels: the side of the FER+ faces, to which every face is brought
SMILE_SIDE = 144         # pixels of the face in which the cascade looks for a smile; its own window is 36 x 18
GRID = 6                 # LBP histograms across a face, and down
LANDMARK_SIDE = 96       # pixels of the face in which dlib's detector looks; the smallest face it finds has about 80
LANDMARK_MARGIN = 24     # the border goes on by so many pixels: the detector wants to see past the face
USUAL_BOX = (0.04, 0.12, 0.96, 0.99)    # left, top, right, bottom of dlib's box in a FER+ face, as shares of its side
CLASS_SETS = {2: (0, 1), 3: (0, 1, 2), 8: tuple(range(8))}      # columns of EMOTIONS: the 2 and 3 most frequent, all
HAPPY = EMOTIONS.index("Happy")


# ---------------------------------------------------------------- faces and pixels

def grey_face(face, side=SIDE):
    """A face as grey square, uint8 (side, side). Raises what helpers.to_bgr raises."""
    grey = cv2.cvtColor(helpers.to_bgr(face), cv2.COLOR_BGR2GRAY)
    shrinks = max(grey.shape) > side
    return cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def pixels(faces):
    """Grey faces (N, 48, 48) as rows of equalised pixels, float32 (N, 2304), 0..255.

    Equalised: each face is stretched so that all greys occur equally often; light and camera then matter less.
    """
    return np.float32([cv2.equalizeHist(face).ravel() for face in _checked(faces)])


def _checked(faces):
    faces = np.asarray(faces)
    if faces.ndim != 3 or faces.shape[1:] != (SIDE, SIDE) or faces.dtype != np.uint8:
        raise ValueError(f"grey faces are uint8 (N, {SIDE}, {SIDE}), not {faces.dtype} {faces.shape}: "
                         "call grey_face on each, and stack them")
    return faces


# ---------------------------------------------------------------- cascades

@functools.lru_cache
def cascade(name):
    """One of OpenCV's own Haar cascades: "face", "smile" or "eye". Raises ValueError for another name."""
    files = {"face": "frontalface_default", "smile": "smile", "eye": "eye"}
    if name not in files:
        raise ValueError(f"no cascade is called {name!r}: choose 'face', 'smile' or 'eye'")
    return cv2.CascadeClassifier(cv2.data.haarcascades + f"haarcascade_{files[name]}.xml")


def smile_neighbours(face, scale_factor=1.1):
    """How many overlapping windows the smile cascade says yes to, at the best place: int, 0 and up.

    It looks at the lower half of the face. A smile counts as found at minNeighbors = n when this is above n, so
    one number answers for every n. Raises ValueError where scale_factor is not above 1.
    """
    if not scale_factor > 1:
        raise ValueError(f"scale_factor is {scale_factor!r}: each step makes the picture smaller, so give 1.05 or more")
    half = grey_face(face, SMILE_SIDE)[SMILE_SIDE // 2:]
    _, counts = cascade("smile").detectMultiScale2(half, scale_factor, 1)
    return int(max(counts, default=0))


# ---------------------------------------------------------------- eigenfaces, Fisherfaces

def eigenfaces(rows, count):
    """(mean (D,), faces (count, D)) of pixel rows (N, D): the directions in which they differ most, the best first.

    Fewer faces than pixels: the N x N products of the faces say the same as the D x D ones of the pixels, and are
    smaller. That trick is Turk's and Pentland's.
    """
    if not 0 < count < min(rows.shape):
        raise ValueError(f"{count} eigenfaces out of {len(rows)} faces of {rows.shape[1]} pixels: "
                         f"give 1 to {min(rows.shape) - 1}")
    mean = rows.mean(0, dtype=np.float64).astype(np.float32)
    apart = rows - mean
    if len(rows) < rows.shape[1]:
        _, weights = np.linalg.eigh(apart @ apart.T / len(rows))      # sorted, the smallest first
        directions = apart.T @ weights[:, ::-1][:, :count]
    else:
        _, directions = np.linalg.eigh(apart.T @ apart / len(rows))
        directions = directions[:, ::-1][:, :count]
    directions = directions.T / np.linalg.norm(directions, axis=0)[:, None]
    return mean, np.float32(directions * np.sign(directions.sum(1, keepdims=True) + 1e-12))


def fisherfaces(rows, labels, mean, basis):
    """(C - 1, D): the directions that separate the C classes of pixel rows (N, D) best, found among the eigenfaces.

    Best: the classes' means lie far apart, the faces of one class close together. mean, basis: from eigenfaces.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError("all faces have the same label: Fisherfaces need two classes to separate")
    numbers = np.float64(project(rows, mean, basis))
    numbers -= numbers.mean(0)
    count = numbers.shape[1]
    means = np.array([numbers[labels == one].mean(0) for one in classes])
    shares = [(labels == one).mean() for one in classes]
    between = sum(share * np.outer(m, m) for share, m in zip(shares, means))
    inside = numbers.T @ numbers / len(numbers) - between
    inside += 1e-3 * np.trace(inside) / count * np.eye(count)         # so that no direction has no spread at all
    root = np.linalg.inv(np.linalg.cholesky(inside))
    _, directions = np.linalg.eigh(root @ between @ root.T)
    return np.float32((root.T @ directions[:, ::-1][:, :len(classes) - 1]).T @ basis)


def project(rows, mean, basis):
    """Each pixel row as a few numbers, float32 (N, K): how much of each of the K faces is in it."""
    return np.float32((rows - mean) @ np.float32(basis).T)


def nearest(rows, gallery, labels):
    """(N,) labels of the nearest gallery rows (M, K), by Euclidean distance."""
    sizes = (gallery ** 2).sum(1)
    return np.concatenate([labels[(sizes - 2 * part @ gallery.T).argmin(1)]
                           for part in np.array_split(rows, len(rows) // 500 + 1)])


# ---------------------------------------------------------------- local binary patterns

def _pattern_table():
    """256 codes to 59 bins: 58 codes whose ring of bits changes at most twice, and all others in the last bin."""
    uniform = [code for code in range(256) if bin(code ^ (code >> 1 | (code & 1) << 7)).count("1") <= 2]
    return np.array([uniform.index(code) if code in uniform else 58 for code in range(256)], np.uint8)


PATTERN = _pattern_table()


def lbp_codes(grey):
    """Each inner pixel's pattern, uint8 (H - 2, W - 2): one bit for each of 8 neighbours that is as bright or brighter."""
    h, w = grey.shape
    ring = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    bits = [(grey[y:y + h - 2, x:x + w - 2] >= grey[1:-1, 1:-1]).astype(np.uint8) << bit for bit, (y, x) in enumerate(ring)]
    return np.bitwise_or.reduce(bits)


def lbp_histograms(faces):
    """Grey faces (N, 48, 48) as float32 (N, GRID * GRID * 59): per cell, the root of the share of each pattern."""
    rows = []
    for face in _checked(faces):
        bins = PATTERN[lbp_codes(face)]
        cells = [cell for band in np.array_split(bins, GRID) for cell in np.array_split(band, GRID, axis=1)]
        rows.append(np.concatenate([np.bincount(cell.ravel(), minlength=59) / cell.size for cell in cells]))
    return np.sqrt(np.float32(rows))


# ---------------------------------------------------------------- histograms of oriented gradients

def hog(faces, cell=8, bins=9):
    """Grey faces (N, 48, 48) as float32 (N, L), 0..1: in each cell, how strong the edges of each direction are.

    cell : pixels of a cell's side, 4, 6, 8, 12 or 16. Blocks of 2 x 2 cells, one cell apart, are normalised together.
    bins : directions over half a turn. L = (48 / cell - 1) ** 2 * 4 * bins.
    """
    if cell not in (4, 6, 8, 12, 16):
        raise ValueError(f"cell is {cell!r}: the side of the face, {SIDE}, is cut into cells of 4, 6, 8, 12 or 16 pixels")
    if not 2 <= bins <= 36:
        raise ValueError(f"bins is {bins!r}: give the number of directions, 2 to 36")
    descriptor = cv2.HOGDescriptor((SIDE, SIDE), (2 * cell, 2 * cell), (cell, cell), (cell, cell), int(bins))
    return np.float32([descriptor.compute(face).ravel() for face in _checked(faces)])


# ---------------------------------------------------------------- landmarks

def landmarks_path():
    """Where the 68-point model lies: in the package face_recognition_models, found without importing it.

    Raises ImportError when the package is missing.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    path = spec and Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    if not path or not path.is_file():
        raise ImportError("the 68 points need the package face_recognition_models: pip install face_recognition_models==0.3.0")
    return path


@functools.lru_cache
def _dlib():
    try:
        import dlib
    except ImportError:
        raise ImportError("the 68 points need dlib: pip install dlib-bin") from None
    return dlib, dlib.get_frontal_face_detector(), dlib.shape_predictor(str(landmarks_path()))


def landmarks(face, detect=True):
    """68 points of a face, float32 (68, 2), x and y as shares of its side (0..1 inside), or None: no face seen.

    detect : True looks for the face in the crop first, as dlib wants it; False takes USUAL_BOX and never fails.
    The points are numbered as in iBUG 300-W: 0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth.
    Raises ImportError without dlib or the model.
    """
    dlib, detector, predictor = _dlib()
    large = cv2.resize(grey_face(face, max(SIDE, min(LANDMARK_SIDE, min(face.shape[:2])))), (LANDMARK_SIDE,) * 2,
                       interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, *[LANDMARK_MARGIN] * 4, cv2.BORDER_REPLICATE)
    if detect:
        boxes = detector(large)
        if not boxes:
            return None
        box = max(boxes, key=lambda found: found.area())
    else:
        box = dlib.rectangle(*[round(LANDMARK_MARGIN + share * LANDMARK_SIDE) for share in USUAL_BOX])
    points = [(point.x, point.y) for point in predictor(large, box).parts()]
    return (np.float32(points) - LANDMARK_MARGIN) / LANDMARK_SIDE


def upright(points):
    """The points turned, moved and scaled: the eyes' middles on a level line, one apart, between them (0, 0)."""
    points = np.asarray(points, np.float32)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks have the shape (68, 2), not {points.shape}")
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    across = right - left
    length = float(np.hypot(*across))
    if length == 0:
        raise ValueError("both eyes are at the same place: these are no landmarks of a face")
    cos, sin = across / length
    return (points - (left + right) / 2) @ np.float32([[cos, -sin], [sin, cos]]) / length


def measures(points):
    """{name: number} of landmarks (68, 2). Lengths are in eye distances: 1 is from the middle of one eye to the other.

    mouth_width, mouth_opening (between the lips), lip_height (outer edges), corner_lift (how far the mouth's corners
    lie above its middle), brow_raise (brow above eye), brow_gap (between the brows), nose_to_lip, lip_to_chin, and
    eye_aspect_ratio (height over width of an eye, no unit).
    """
    p = upright(points)

    def length(a, b):
        return float(np.hypot(*(p[a] - p[b])))

    def openness(first):
        return (length(first + 1, first + 5) + length(first + 2, first + 4)) / (2 * length(first, first + 3))

    return {"mouth_width": length(48, 54), "mouth_opening": length(62, 66), "lip_height": length(51, 57),
            "corner_lift": float((p[62, 1] + p[66, 1] - p[48, 1] - p[54, 1]) / 2),
            "brow_raise": float(-(p[19, 1] + p[24, 1]) / 2), "brow_gap": length(21, 22),
            "nose_to_lip": length(33, 51), "lip_to_chin": length(57, 8),
            "eye_aspect_ratio": (openness(36) + openness(42)) / 2}


MEASURES = ("mouth_width", "mouth_opening", "lip_height", "corner_lift", "brow_raise", "brow_gap", "nose_to_lip",
            "lip_to_chin", "eye_aspect_ratio")


def smiles_by_rule(measured, width=0.95, lift=-0.02):
    """The heuristic: a mouth wider than `width` whose corners lie higher than `lift`, both in eye distances."""
    return measured["mouth_width"] > width and measured["corner_lift"] > lift


# ---------------------------------------------------------------- models

METHODS = {       # what is committed: the name to its file in Model/classical/
    "Eigenfaces + SVM": "eigen", "Fisherfaces + SVM": "fisher", "LBP + SVM": "lbp", "HOG + linear SVM": "hog",
    "HOG + RBF SVM": "hog_rbf", "Landmark measures + SVM": "measures", "Landmark points + SVM": "points",
}


@functools.lru_cache
def load(name, folder=None):
    """The arrays of a model, {name: array}, from <folder>/<name>.npz. Raises FileNotFoundError when it is not there."""
    path = Path(folder or FOLDER) / f"{name}.npz"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.npz"))) or "none"
        raise FileNotFoundError(f"no {path.name} in {path.parent.resolve()} (there: {there}): "
                                "train it with Model/train_classical.py")
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays}


def scores(model, features):
    """(N, C) scores of features (N, D): of a linear SVM, or of an RBF SVM when the model holds `vectors`.

    Linear: ((features - centre) / spread) @ weights + bias. RBF: the same, of e ** (-gamma * distance²) to each
    support vector instead of the features. Raises ValueError where D does not fit.
    """
    features = np.float32(features)
    if features.ndim != 2 or features.shape[1] != len(model["centre"]):
        raise ValueError(f"this model takes features (N, {len(model['centre'])}), not {features.shape}")
    rows = (features - model["centre"]) / model["spread"]
    if "vectors" in model:
        vectors = np.float32(model["vectors"])
        squares = (rows ** 2).sum(1)[:, None] + (vectors ** 2).sum(1) - 2 * rows @ vectors.T
        rows = np.exp(-model["gamma"] * squares)
    return rows @ model["weights"] + model["bias"]


def features(name, faces, detect=True):
    """What the model `name` (a value of METHODS) reads of grey faces (N, 48, 48): (rows (M, D), seen (N,) bool).

    M counts the faces that were seen; only the two landmark models can fail to see one.
    """
    faces = _checked(faces)
    if name in ("eigen", "fisher"):
        model = load(name)
        return project(pixels(faces), model["mean"], model["basis"]), np.ones(len(faces), bool)
    if name == "lbp":
        return lbp_histograms(faces), np.ones(len(faces), bool)
    if name in ("hog", "hog_rbf"):
        rows = hog(faces)
        return rows if name == "hog" else project(rows, load(name)["mean"], load(name)["basis"]), np.ones(len(faces), bool)
    if name not in ("measures", "points"):
        raise ValueError(f"no model is called {name!r}: choose from {', '.join(METHODS.values())}")
    return landmark_features(name, [landmarks(face, detect) for face in faces])


def landmark_features(name, found):
    """Of landmarks or None, one a face: what "measures" or "points" reads, (rows (M, D), seen (N,) bool)."""
    seen = np.array([points is not None for points in found], bool)
    kept = [points for points in found if points is not None]
    if name == "measures":
        rows = [[measures(points)[key] for key in MEASURES] for points in kept]
    else:
        rows = [upright(points).ravel() for points in kept]
    return np.float32(rows).reshape(len(kept), len(MEASURES) if name == "measures" else 136), seen


def label(method, face, detect=True):
    """The expression that a method reads in one face, one of EMOTIONS, or None where it sees no face.

    method : a key of METHODS. face : (H, W, 3), BGR, or grey (H, W). Raises ValueError for another method.
    """
    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}: choose from {', '.join(METHODS)}")
    name = METHODS[method]
    rows, seen = features(name, grey_face(face)[None], detect)
    return EMOTIONS[int(scores(load(name), rows)[0].argmax())] if seen[0] else None
