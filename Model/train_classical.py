"""Train the classical methods on FER+ and compare them with the network: models and results for notebooks 13 to 17.

    pip install -r requirements.txt
    python Model/train_classical.py --data DIR

DIR holds ferplus_train.npz and ferplus_valid.npz, as Model/prepare.py writes them. The script writes small models and
valid.json into Model/classical/ (another folder: --out). It takes a few minutes on two cores that are otherwise idle.
The same data and seed give the same models and results, except for the milliseconds. The network is measured in the
same run and on the same faces, so run this again when the network changes.

A face of the validation split counts if one of the eight expressions has more than half of its votes (the paper's
majority rule, arXiv 1608.01041). If a method does not find the face, its answer counts as wrong. With 2 and 3 classes,
only faces of those classes are used, for training too. Of the network's scores, only those of these classes are compared.
"""
import argparse
import functools
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC, LinearSVC

import helpers
from helpers import EMOTIONS, Image, PathLike
from Model import classical
from Model.adapt import largest_box
from Model.classical import ModelArrays, Rows
from Model.evaluate import predict_probabilities
from Model.ferplus import load_majority, load_split, soft_targets

SEED = 0
TRAIN_FACES = 6000       # training faces of the SVMs and the nearest-neighbour methods
BASIS_FACES = 1500       # of them, for the eigenfaces
N_EIGENFACES = 80
CV2_FACES = 300          # of them, for cv2.face, whose training time grows with the cube of this
RBF_FACES = 4000         # of them, for the RBF SVM, whose training time grows with the square of this
HOG_COMPONENTS = 64      # principal components of the HOG features, for the RBF SVM
LANDMARK_FACES = 3000    # of them, for the landmarks
SWEEP_FACES = (2000, 1000)               # training and held-out faces of the HOG sweep, all from the training split
SWEEP = [(cell_size, n_bins) for cell_size in (6, 8, 12, 16) for n_bins in (4, 9, 18)]
SAMPLE_FACES = (1500, 800)               # training and validation faces whose features go into sample.npz
SMILE_SCALE_FACTORS = (1.05, 1.1, 1.3)
TIMED_FACES = 60
WARM_UP_FACES = 5
STILLS = ("grace_hopper", "astronaut", "obama", "clip_sad", "clip_doubtful", "clip_happy")
LINEAR_C = {"eigen": 0.01, "fisher": 0.1, "lbp": 0.0003, "hog": 0.001, "measures": 0.1, "points": 0.01}

Labels = npt.NDArray[np.integer]


# ---------------------------------------------------------------- training

def linear_svm(rows: Rows, labels: Labels, C: float) -> ModelArrays:
    """Train a linear SVM, one class against the rest.

    Parameters
    ----------
    rows : numpy.ndarray
        float32 (N, D), features.
    labels : numpy.ndarray
        int (N,), indices into EMOTIONS.
    C : float
        Inverse of the regularisation strength, as in scikit-learn.

    Returns
    -------
    dict of {str: numpy.ndarray}
        The arrays that `classical.decision_function` takes. The score of a class without a face is -inf.
    """
    centre, spread = rows.mean(0), rows.std(0) + 1e-6
    svm = LinearSVC(C=C, max_iter=300, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)      # 300 iterations are close enough
        svm.fit((rows - centre) / spread, labels)
    return {"centre": centre.astype(np.float32), "spread": spread.astype(np.float32),
            **_columns(svm.classes_, svm.coef_, svm.intercept_)}


def rbf_svm(rows: Rows, labels: Labels, *, C: float = 3.0, gamma: float = 0.5) -> ModelArrays:
    """Train an RBF SVM, one class against the rest.

    Parameters
    ----------
    rows, labels, C
        As for `linear_svm`.
    gamma : float
        The kernel is ``exp(-gamma / D * squared distance)``, with features of standard deviation 1.

    Returns
    -------
    dict of {str: numpy.ndarray}
        As `linear_svm`, with ``vectors`` and ``gamma``.
    """
    spread = np.full(rows.shape[1], rows.std())
    centre, classes = rows.mean(0), np.unique(labels)
    vectors = ((rows - centre) / spread).astype(np.float16)      # as they are stored
    weights, bias = np.zeros((len(classes), len(vectors))), np.zeros(len(classes))
    for index, one in enumerate(classes):
        svm = SVC(C=C, gamma=gamma / vectors.shape[1]).fit(vectors.astype(np.float32), labels == one)
        weights[index, svm.support_], bias[index] = svm.dual_coef_[0], svm.intercept_[0]
    used = np.abs(weights).sum(0) > 0
    return {"centre": centre.astype(np.float32), "spread": spread.astype(np.float32), "vectors": vectors[used],
            "gamma": np.float32(gamma / vectors.shape[1]), **_columns(classes, weights[:, used], bias)}


def _columns(classes: Labels, weights: npt.NDArray[np.floating], bias: npt.NDArray[np.floating]) -> ModelArrays:
    """Arrange weights and bias in one column per expression, whichever classes there are."""
    if len(classes) == 2 and len(weights) == 1:                  # for two classes scikit-learn returns a single row
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    all_weights = np.zeros((weights.shape[1], len(EMOTIONS)), np.float32)
    all_bias = np.full(len(EMOTIONS), -np.inf, np.float32)
    all_weights[:, classes], all_bias[classes] = weights.T, bias
    return {"weights": all_weights, "bias": all_bias}


# ---------------------------------------------------------------- measuring

def metrics(labels: Labels, predicted: Labels, *, classes: int = 8) -> dict[str, Any]:
    """Compute accuracy, mean recall and the recall of each class.

    Parameters
    ----------
    labels, predicted : numpy.ndarray
        int (N,), indices into EMOTIONS; a prediction is -1 where no face was found.
    classes : {2, 3, 8}
        A key of `classical.CLASS_SETS`.

    Returns
    -------
    dict
        ``accuracy``, ``mean_recall``, ``recall`` by expression, and ``faces``, their number.
    """
    recall = {EMOTIONS[index]: float((predicted[labels == index] == index).mean())
              for index in classical.CLASS_SETS[classes] if (labels == index).any()}
    return {"accuracy": float((predicted == labels).mean()), "mean_recall": float(np.mean(list(recall.values()))),
            "recall": recall, "faces": len(labels)}


def precision_recall_f1(smiles: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Compare the smiles that were found with the true ones.

    Parameters
    ----------
    smiles : numpy.ndarray
        bool (N,), True for a smile; there must be one.
    found : numpy.ndarray
        bool (N,), True where a smile was found.

    Returns
    -------
    dict
        ``precision``, None if nothing was found; ``recall``; ``f1``.
    """
    correct = int((smiles & found).sum())
    precision, recall = correct / found.sum() if found.any() else None, correct / smiles.sum()
    return {"precision": None if precision is None else float(precision), "recall": float(recall),
            "f1": float(2 * correct / (smiles.sum() + found.sum()))}


def best_thresholds(widths: Rows, lifts: Rows, smiles: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Find the thresholds of `classical.is_smile` with the highest F1.

    Parameters
    ----------
    widths, lifts : numpy.ndarray
        (N,), mouth_width and corner_lift of each face.
    smiles : numpy.ndarray
        bool (N,), True for a smile.

    Returns
    -------
    tuple of float
        min_width, min_lift.
    """
    tries = [(precision_recall_f1(smiles, (widths > width) & (lifts > lift))["f1"], float(width), float(lift))
             for width in np.arange(0.7, 1.25, 0.025).round(3) for lift in np.arange(-0.2, 0.2, 0.02).round(3)]
    _, width, lift = max(tries)
    return width, lift


def milliseconds(step: Callable[[Image], object], faces: Sequence[Image] | Image) -> float:
    """Time a step on single faces.

    Parameters
    ----------
    step : callable
        Takes one face.
    faces : sequence of numpy.ndarray
        The faces; at most TIMED_FACES are timed, after a warm-up.

    Returns
    -------
    float
        The median in milliseconds.
    """
    times = []
    for face in [*faces[:WARM_UP_FACES], *faces[:TIMED_FACES]]:
        began = time.perf_counter()
        step(face)
        times.append(time.perf_counter() - began)
    return round(float(np.median(times[WARM_UP_FACES:]) * 1000), 3)


class Run:
    """The faces of a run, its results so far, and the folder that they are written to.

    Parameters
    ----------
    data : str or os.PathLike
        Folder with ferplus_train.npz and ferplus_valid.npz.
    out : str or os.PathLike
        Folder for models and results, created if it is missing.
    faces : int
        How many training faces to draw.

    Attributes
    ----------
    train, train_labels : numpy.ndarray
        The training faces that were drawn, uint8 (N, 48, 48), and their labels, int (N,).
    valid, labels : numpy.ndarray
        The same for all validation faces with a majority label.
    stills : list of (str, numpy.ndarray)
        Name and cropped face, BGR, of each of STILLS.
    result : dict
        What `write` saves as valid.json.

    Raises
    ------
    FileNotFoundError, ValueError
        As `ferplus.load_majority`.
    """

    def __init__(self, data: PathLike, out: PathLike, *, faces: int = TRAIN_FACES) -> None:
        self.out, self.began = Path(out), time.perf_counter()
        self.out.mkdir(parents=True, exist_ok=True)
        images, labels = load_majority(data, "train")
        chosen = np.random.default_rng(SEED).permutation(len(images))[:faces]
        self.train, self.train_labels = images[chosen], labels[chosen]
        self.with_votes = int(soft_targets(load_split(data, "train")[1])[1].sum())       # the network's training faces
        self.valid, self.labels = load_majority(data, "valid")
        self.stills = [(name, crop_still(name)) for name in STILLS]
        self.result: dict[str, Any] = {
            "faces": len(self.labels), "trained_on": len(self.train), "training_split": len(images),
            "counts": {name: int((self.labels == i).sum()) for i, name in enumerate(EMOTIONS)},
            "always_the_most_frequent": {}, "methods": {}, "stills": {name: {} for name in STILLS},
            "seed": SEED, "opencv": cv2.__version__, "threads": cv2.getNumThreads()}
        for count, indices in classical.CLASS_SETS.items():
            inside = self.labels[np.isin(self.labels, indices)]
            self.result["always_the_most_frequent"][str(count)] = float(np.bincount(inside).max() / len(inside))

    def log(self, text: str) -> None:
        """Print a line, with the seconds since the start.

        Parameters
        ----------
        text : str
            The line.
        """
        print(f"{time.perf_counter() - self.began:6.0f} s  {text}", flush=True)

    def write(self) -> None:
        """Write valid.json, with the results so far."""
        (self.out / "valid.json").write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")

    def save(self, name: str, **arrays: npt.ArrayLike) -> int:
        """Write a model.

        Parameters
        ----------
        name : str
            Name of the file, without ``.npz``.
        **arrays : array_like
            What to save in it.

        Returns
        -------
        int
            Size of the file in bytes.
        """
        np.savez_compressed(self.out / f"{name}.npz", **arrays)
        classical.load_model.cache_clear()
        return (self.out / f"{name}.npz").stat().st_size

    def grey_stills(self) -> npt.NDArray[np.uint8]:
        """Convert the stills to grey faces.

        Returns
        -------
        numpy.ndarray
            uint8 (N, 48, 48).
        """
        return np.stack([classical.grey_face(face) for _, face in self.stills])

    def class_mask(self, classes: int, labels: Labels) -> npt.NDArray[np.bool_]:
        """Find the labels that belong to a set of classes.

        Parameters
        ----------
        classes : {2, 3, 8}
            A key of `classical.CLASS_SETS`.
        labels : numpy.ndarray
            int (N,), indices into EMOTIONS.

        Returns
        -------
        numpy.ndarray
            bool (N,).
        """
        return np.isin(labels, classical.CLASS_SETS[classes])

    def add(self, name: str, predict: Callable[[int], Labels], classify_face: Callable[[Image], object], size: int,
            still_labels: Sequence[str | None], *, extra_bytes: int = 0, trained_on: int | None = None) -> None:
        """Measure a method, and add it to the results.

        Parameters
        ----------
        name : str
            Name of the method.
        predict : callable
            Given a number of classes, it returns the predictions for the validation faces of these classes.
        classify_face : callable
            The method on one face, for timing.
        size : int
            Size of the model in bytes.
        still_labels : sequence of str or None
            Its labels for the stills.
        extra_bytes : int
            Size in bytes of other files that the method needs.
        trained_on : int, optional
            Number of training faces; the default is all of `train`.
        """
        row: dict[str, Any] = {"classes": {}, "ms_per_face": milliseconds(classify_face, self.valid), "bytes": size,
                               "needs_bytes": extra_bytes, "trained_on": trained_on or len(self.train)}
        for classes in classical.CLASS_SETS:
            predicted = predict(classes)
            labels = self.labels[self.class_mask(classes, self.labels)]
            row["classes"][str(classes)] = metrics(labels, predicted, classes=classes)
        row["failure_rate"] = float((predicted < 0).mean())               # of the last class set: all eight
        row["smile"] = precision_recall_f1(self.labels == classical.HAPPY, predicted == classical.HAPPY)
        self.result["methods"][name] = row
        for (still, _), label in zip(self.stills, still_labels):
            self.result["stills"][still][name] = label
        self.log(f"{name:26} " + _accuracies(row["classes"]))
        self.write()

    def add_svm(self, name: str, rows: Rows, valid: Rows, save: Callable[[ModelArrays], int], *,
                fit: Callable[[Rows, Labels], ModelArrays], train_labels: Labels | None = None,
                found: npt.NDArray[np.bool_] | None = None, extra_bytes: int = 0) -> None:
        """Train an SVM on 2, 3 and all classes, measure each, and save the one for all eight.

        Parameters
        ----------
        name : str
            A key of `classical.METHODS`.
        rows, valid : numpy.ndarray
            float32 (N, D), features of the training and validation faces.
        save : callable
            Saves a model and returns its size in bytes.
        fit : callable
            Trains a model on (rows, labels).
        train_labels : numpy.ndarray, optional
            Labels of `rows`; the default is those of the run.
        found : numpy.ndarray, optional
            bool, which validation faces `valid` has a row for; the default is all.
        extra_bytes : int
            As for `add`.
        """
        train_labels = self.train_labels if train_labels is None else train_labels
        found = np.ones(len(self.labels), bool) if found is None else found
        models = {}
        for classes in classical.CLASS_SETS:
            inside = self.class_mask(classes, train_labels)
            models[classes] = fit(rows[inside], train_labels[inside])

        def predict(classes: int) -> Labels:
            predicted = np.full(len(self.labels), -1)
            predicted[found] = classical.decision_function(models[classes], valid).argmax(1)
            return predicted[self.class_mask(classes, self.labels)]

        size = save(models[8])
        file = classical.METHODS[name]

        def label(face: Image) -> str | None:
            features, seen = classical.extract_features(file, face[None])
            return EMOTIONS[int(classical.decision_function(models[8], features).argmax())] if seen[0] else None

        self.add(name, predict, label, size, [label(face) for face in self.grey_stills()],
                 extra_bytes=extra_bytes, trained_on=len(rows))


def crop_still(name: str) -> Image:
    """Crop the largest face of a picture in Media/.

    Parameters
    ----------
    name : str
        Name of the picture, without ``.jpg``.

    Returns
    -------
    numpy.ndarray
        uint8 (S, S, 3), BGR.
    """
    image = helpers.read_image(helpers.ROOT / "Media" / f"{name}.jpg")
    return helpers.crop_face(image, largest_box(helpers.detect_faces(image)))


def _accuracies(rows: dict[str, Any]) -> str:
    """Format the accuracies with 2, 3 and 8 classes as text."""
    return "  ".join(f"{classes}: {rows[str(classes)]['accuracy']:.1%}" for classes in classical.CLASS_SETS)


# ---------------------------------------------------------------- one part per notebook

def measure_smile_cascade(run: Run) -> None:
    """Notebook 13: compare the smile cascade with the majority label Happy, for every minNeighbors.

    Parameters
    ----------
    run : Run
        The run.
    """
    smiles = run.labels == classical.HAPPY
    part = run.result["smile_cascade"] = {"happy": int(smiles.sum()), "curves": {}, "ms_per_face": {}}
    for factor in SMILE_SCALE_FACTORS:
        step = functools.partial(classical.smile_neighbours, scale_factor=factor)
        counts = np.array([step(face) for face in run.valid])
        thresholds = [*range(20), *range(20, 100, 5), *range(100, 601, 20)]
        part["curves"][str(factor)] = [{"min_neighbors": n, **precision_recall_f1(smiles, counts > n)} for n in thresholds]
        part["ms_per_face"][str(factor)] = milliseconds(step, run.valid)
        best = max(part["curves"][str(factor)], key=lambda point: point["f1"])
        run.log(f"smile cascade, scaleFactor {factor}: F1 {best['f1']:.2f} at minNeighbors {best['min_neighbors']}")
    file = Path(cv2.data.haarcascades) / "haarcascade_smile.xml"
    part["bytes"] = file.stat().st_size
    part["stills"] = {name: classical.smile_neighbours(face) for name, face in run.stills}
    run.write()


def measure_eigenfaces_and_fisherfaces(run: Run) -> None:
    """Notebook 14: nearest neighbours and SVMs on eigenfaces and Fisherfaces.

    Parameters
    ----------
    run : Run
        The run.
    """
    rows, valid = classical.equalised_pixels(run.train), classical.equalised_pixels(run.valid)
    stills = classical.equalised_pixels(run.grey_stills())
    mean, basis = classical.eigenfaces(rows[:BASIS_FACES], min(N_EIGENFACES, len(rows) - 1))
    basis = basis.astype(np.float16).astype(np.float32)          # as it is stored

    def fisher(classes: int) -> Rows:
        inside = run.class_mask(classes, run.train_labels)
        directions = classical.fisherfaces(rows[inside], run.train_labels[inside], mean, basis)
        return (1000 * directions).astype(np.float16).astype(np.float32)

    fisher_bases = {classes: fisher(classes) for classes in classical.CLASS_SETS}
    for name, bases in (("Eigenfaces", dict.fromkeys(fisher_bases, basis)), ("Fisherfaces", fisher_bases)):
        gallery = {classes: classical.project(rows, mean, bases[classes]) for classes in bases}

        def predict(classes: int, bases: dict[int, Rows] = bases, gallery: dict[int, Rows] = gallery) -> Labels:
            inside, asked = run.class_mask(classes, run.train_labels), run.class_mask(classes, run.labels)
            return classical.nearest_neighbour(classical.project(valid[asked], mean, bases[classes]),
                                               gallery[classes][inside], run.train_labels[inside])

        def label(pixels: Rows, basis: Rows = bases[8], gallery: Rows = gallery[8]) -> Labels:
            return classical.nearest_neighbour(classical.project(pixels, mean, basis), gallery, run.train_labels)

        run.add(f"{name}, nearest", predict, lambda face, label=label: label(classical.equalised_pixels(face[None])),
                bases[8].nbytes + gallery[8].nbytes, [EMOTIONS[index] for index in label(stills)])
    for name, file, used in (("Eigenfaces + SVM", "eigen", basis), ("Fisherfaces + SVM", "fisher", fisher_bases[8])):
        save = functools.partial(run.save, file, mean=mean, basis=used.astype(np.float16))
        save()                                                   # extract_features reads the basis from this file
        run.add_svm(name, classical.project(rows, mean, used), classical.project(valid, mean, used),
                    lambda model, save=save: save(**model), fit=functools.partial(linear_svm, C=LINEAR_C[file]))


def measure_lbp(run: Run) -> None:
    """Notebook 14: nearest neighbours and an SVM on LBP histograms.

    Parameters
    ----------
    run : Run
        The run.
    """
    rows, valid = classical.lbp_histograms(run.train), classical.lbp_histograms(run.valid)

    def predict(classes: int) -> Labels:
        inside, asked = run.class_mask(classes, run.train_labels), run.class_mask(classes, run.labels)
        return classical.nearest_neighbour(valid[asked], rows[inside], run.train_labels[inside])

    def label(faces: npt.NDArray[np.uint8]) -> Labels:
        return classical.nearest_neighbour(classical.lbp_histograms(faces), rows, run.train_labels)

    run.add("LBP, nearest", predict, lambda face: label(face[None]), rows.nbytes,
            [EMOTIONS[index] for index in label(run.grey_stills())])
    run.add_svm("LBP + SVM", rows, valid, lambda model: run.save("lbp", **model),
                fit=functools.partial(linear_svm, C=LINEAR_C["lbp"]))


def measure_cv2_face(run: Run) -> None:
    """Notebook 14: the three recognisers of cv2.face, trained on a few faces, with the expression as the label.

    Parameters
    ----------
    run : Run
        The run.
    """
    part = run.result["cv2_face"] = {"trained_on": min(CV2_FACES, len(run.train)), "classes": {}, "seconds": {}}
    faces, valid = ([cv2.equalizeHist(face) for face in images] for images in (run.train[:CV2_FACES], run.valid))
    labels = run.train_labels[:CV2_FACES].astype(np.int32)
    for name, make in (("Eigenfaces", lambda: cv2.face.EigenFaceRecognizer_create(N_EIGENFACES)),
                       ("Fisherfaces", cv2.face.FisherFaceRecognizer_create),
                       ("LBPH", lambda: cv2.face.LBPHFaceRecognizer_create(1, 8, classical.LBP_GRID, classical.LBP_GRID))):
        part["classes"][name] = {}
        for classes in classical.CLASS_SETS:
            recogniser, began = make(), time.perf_counter()
            inside = np.flatnonzero(run.class_mask(classes, labels))
            recogniser.train([faces[i] for i in inside], labels[inside])
            part["seconds"][name] = round(time.perf_counter() - began, 2)
            asked = np.flatnonzero(run.class_mask(classes, run.labels))
            predicted = np.array([recogniser.predict(valid[i])[0] for i in asked])
            part["classes"][name][str(classes)] = metrics(run.labels[asked], predicted, classes=classes)
        run.log(f"cv2.face {name:17} " + _accuracies(part["classes"][name]))
    run.write()


def measure_hog_svms(run: Run) -> None:
    """Notebook 15: linear and RBF SVM on HOG, and the sweep over cell sizes and numbers of bins.

    Parameters
    ----------
    run : Run
        The run.
    """
    rows, valid = classical.hog(run.train), classical.hog(run.valid)
    run.add_svm("HOG + linear SVM", rows, valid, lambda model: run.save("hog", **model),
                fit=functools.partial(linear_svm, C=LINEAR_C["hog"]))
    mean, basis = classical.eigenfaces(rows[:BASIS_FACES], min(HOG_COMPONENTS, len(rows) - 1))
    save = functools.partial(run.save, "hog_rbf", mean=mean, basis=basis.astype(np.float16))
    basis = basis.astype(np.float16).astype(np.float32)          # as it is stored
    save()                                                       # extract_features reads the basis from this file
    run.add_svm("HOG + RBF SVM", classical.project(rows, mean, basis)[:RBF_FACES], classical.project(valid, mean, basis),
                lambda model: save(**model), fit=rbf_svm, train_labels=run.train_labels[:RBF_FACES])
    run.result["hog_sweep"] = []
    learn = min(SWEEP_FACES[0], len(run.train) * 2 // 3)
    check = min(SWEEP_FACES[1], len(run.train) - learn)
    for cell_size, n_bins in SWEEP:
        rows = classical.hog(run.train[:learn + check], cell_size=cell_size, n_bins=n_bins)
        model = linear_svm(rows[:learn], run.train_labels[:learn], LINEAR_C["hog"] * 900 / rows.shape[1])
        predicted = classical.decision_function(model, rows[learn:]).argmax(1)
        point = metrics(run.train_labels[learn:learn + check], predicted)
        run.result["hog_sweep"].append({"cell": cell_size, "bins": n_bins, "length": rows.shape[1],
                                        "accuracy": point["accuracy"], "mean_recall": point["mean_recall"]})
    run.log("HOG sweep: " + "  ".join(f"{p['cell']}/{p['bins']} {p['accuracy']:.1%}" for p in run.result["hog_sweep"]))
    run.write()


def measure_landmark_svms(run: Run) -> tuple[Rows, Labels, Rows, npt.NDArray[np.bool_]]:
    """Notebook 16: the smile rule, by hand and with thresholds from training faces, and SVMs on measures and points.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    rows : numpy.ndarray
        float32 (N, 9), geometric features of the training faces that were found.
    labels : numpy.ndarray
        int (N,), their labels.
    valid : numpy.ndarray
        float32 (M, 9), the same features of the validation faces that were found.
    found : numpy.ndarray
        bool, which validation faces these are.
    """
    extra_bytes = classical.landmarks_path().stat().st_size
    train_points = [classical.landmarks(face) for face in run.train[:LANDMARK_FACES]]
    valid_points = [classical.landmarks(face) for face in run.valid]
    run.log("landmarks of the training and validation faces")
    rows, found_train = classical.landmark_features("measures", train_points)
    valid, found = classical.landmark_features("measures", valid_points)
    labels = run.train_labels[:LANDMARK_FACES][found_train]
    for name, file in (("Landmark measures + SVM", "measures"), ("Landmark points + SVM", "points")):
        run.add_svm(name, classical.landmark_features(file, train_points)[0],
                    classical.landmark_features(file, valid_points)[0],
                    lambda model, file=file: run.save(file, **model), fit=functools.partial(linear_svm, C=LINEAR_C[file]),
                    train_labels=labels, found=found, extra_bytes=extra_bytes)
    names = classical.GEOMETRIC_FEATURES
    mouth_width, corner_lift = names.index("mouth_width"), names.index("corner_lift")
    smiles, happy = run.labels == classical.HAPPY, labels == classical.HAPPY
    min_width, min_lift = best_thresholds(rows[:, mouth_width], rows[:, corner_lift], happy)
    part = run.result["landmarks"] = {"found": int(found.sum()), "happy_found": int(smiles[found].sum()),
                                      "rule": [min_width, min_lift], "smile": {}, "medians": {}}

    def compare(name: str, predicted: npt.NDArray[np.bool_]) -> None:
        everywhere = np.zeros(len(found), bool)
        everywhere[found] = predicted
        part["smile"][name] = {"all_faces": precision_recall_f1(smiles, everywhere),
                               "found_faces": precision_recall_f1(smiles[found], predicted)}

    compare("rule, thresholds by hand", np.array([classical.is_smile(dict(zip(names, row))) for row in valid]))
    compare("rule, thresholds from data", (valid[:, mouth_width] > min_width) & (valid[:, corner_lift] > min_lift))
    for name, columns in (("SVM on the same two", [mouth_width, corner_lift]), ("SVM on all nine", list(range(len(names))))):
        model = linear_svm(rows[:, columns], happy.astype(int), 0.1)
        compare(name, classical.decision_function(model, valid[:, columns])[:, :2].argmax(1) == 1)
    for index, name in enumerate(EMOTIONS):
        inside = run.labels[found] == index
        medians = {key: round(float(v), 3) for key, v in zip(names, np.median(valid[inside], 0))} if inside.any() else None
        part["medians"][name] = medians
    boxed = [classical.landmarks(face, detect=False) for face in run.valid]
    model = classical.load_model("measures", folder=run.out)
    predicted = classical.decision_function(model, classical.landmark_features("measures", boxed)[0]).argmax(1)
    part["usual_box_instead"] = metrics(run.labels, predicted)
    run.log(f"landmarks: found {found.mean():.1%}; " + "  ".join(f"{k} F1 {v['all_faces']['f1']:.2f}"
                                                                 for k, v in part["smile"].items()))
    run.write()
    return rows, labels, valid, found


def measure_network(run: Run, path: PathLike) -> None:
    """Notebook 17: the network, through OpenCV, on the same faces.

    Parameters
    ----------
    run : Run
        The run.
    path : str or os.PathLike
        Its ONNX file.
    """
    net = helpers.load_network(path)
    probabilities = predict_probabilities(net, run.valid)

    def predict(classes: int) -> Labels:
        columns = list(classical.CLASS_SETS[classes])
        return probabilities[run.class_mask(classes, run.labels)][:, columns].argmax(1)

    stills = predict_probabilities(net, [face for _, face in run.stills]).argmax(1)
    run.add("Network", predict, lambda face: helpers.forward(net, helpers.preprocess(face)), Path(path).stat().st_size,
            [EMOTIONS[index] for index in stills], trained_on=run.with_votes)
    run.result["methods"]["Network"]["file"] = Path(path).name
    run.write()


def save_sample(run: Run, rows: Rows, labels: Labels, valid: Rows, found: npt.NDArray[np.bool_]) -> None:
    """Save sample.npz: features of some faces, but no image, on which the notebooks train live.

    Parameters
    ----------
    run : Run
        The run.
    rows, labels, valid, found
        What `measure_landmark_svms` returned.
    """
    learn, check = SAMPLE_FACES
    fisher = classical.load_model("fisher", folder=run.out)

    def fisher_features(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
        return classical.project(classical.equalised_pixels(faces), fisher["mean"], fisher["basis"]).astype(np.float16)

    def hog_features(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.round(classical.hog(faces) * 255).astype(np.uint8)

    order = np.random.default_rng(SEED).permutation(len(run.valid))[:check]
    run.save("sample", labels=run.train_labels[:learn].astype(np.uint8), valid_labels=run.labels[order].astype(np.uint8),
             hog=hog_features(run.train[:learn]), valid_hog=hog_features(run.valid[order]),
             fisher=fisher_features(run.train[:learn]), valid_fisher=fisher_features(run.valid[order]),
             measures=rows.astype(np.float16), measures_labels=labels.astype(np.uint8),
             valid_measures=valid.astype(np.float16), valid_measures_labels=run.labels[found].astype(np.uint8),
             names=classical.GEOMETRIC_FEATURES)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, default=classical.MODEL_FOLDER, help="folder for models and results")
    parser.add_argument("--faces", type=int, default=TRAIN_FACES,
                        help=f"number of training faces, drawn at random; default {TRAIN_FACES}")
    parser.add_argument("--network", default=helpers.MODEL_PATH, help="ONNX file of the network to compare with")
    args = parser.parse_args()
    if args.faces < 50:
        parser.error(f"--faces {args.faces}: give 50 or more")
    try:
        helpers.load_network(args.network)
        run = Run(args.data, args.out, faces=args.faces)
        classical.landmarks_path()
    except (FileNotFoundError, ValueError, ImportError) as problem:
        parser.error(str(problem))
    classical.MODEL_FOLDER = run.out
    measure_network(run, args.network)
    measure_hog_svms(run)
    measure_eigenfaces_and_fisherfaces(run)
    measure_lbp(run)
    save_sample(run, *measure_landmark_svms(run))
    measure_smile_cascade(run)
    measure_cv2_face(run)
    run.result["total_bytes"] = sum(file.stat().st_size for file in run.out.glob("*.npz"))
    run.write()
    run.log(f"written to {run.out}: {run.result['total_bytes']:,} bytes of models")


if __name__ == "__main__":
    main()
