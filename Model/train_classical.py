"""Train what came before deep networks on FER+, and measure it beside the network: models and figures for notebooks 13-17.

    pip install -r requirements.txt
    python Model/train_classical.py --data DIR

DIR holds ferplus_train.npz and ferplus_valid.npz, as Model/prepare.py writes them. Writes small models and valid.json
into Model/classical/ (another folder: --out). A few minutes on two cores that have nothing else to do. Same data and
same seed: same models and figures, but for the milliseconds. The network is measured in the same run, on the same
faces, so run this again when the network changes.

A face of the validation split counts where one of the eight expressions holds over half of its votes (the paper's
majority rule, arXiv 1608.01041). Where a method sees no face, it is wrong. With 2 and 3 classes only the faces of
those classes are asked about, and the method is trained on those; of the network only those scores are looked at.
"""
import argparse
import json
import time
import warnings
from pathlib import Path

import classical
import cv2
import numpy as np
from evaluate import predict
from ferplus import load_majority, load_split, soft_targets
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC, LinearSVC

import helpers
from helpers import EMOTIONS

SEED = 0
FACES = 6000             # training faces that the SVMs and the nearest-neighbour methods learn from
BASIS_FACES = 1500       # of them, for the eigenfaces
EIGENFACES = 80
CV2_FACES = 300          # of them, for cv2.face: its time for training grows with the third power of this
RBF_FACES = 4000         # of them, for the RBF SVM; its time grows with the second power
HOG_NUMBERS = 64         # what the RBF SVM sees of a HOG, after a PCA
LANDMARK_FACES = 3000    # of them, for the landmarks
SWEEP_FACES = (2000, 1000)               # training and held-out faces of the HOG sweep, all from the training split
SWEEP = [(cell, bins) for cell in (6, 8, 12, 16) for bins in (4, 9, 18)]
SAMPLE_FACES = (1500, 800)               # training and validation faces whose numbers go into sample.npz
SMILE_FACTORS = (1.05, 1.1, 1.3)
TIMED_FACES = 60
STILLS = ("grace_hopper", "astronaut", "obama", "clip_sad", "clip_doubtful", "clip_happy")
MEDIA = Path(__file__).resolve().parent.parent / "Media"
LINEAR_C = {"eigen": 0.01, "fisher": 0.1, "lbp": 0.0003, "hog": 0.001, "measures": 0.1, "points": 0.01}


# ---------------------------------------------------------------- training

def linear_svm(rows, labels, strength, balanced=False):
    """A linear SVM, one class against the rest, as the arrays that classical.scores takes; weights (D, 8).

    A class that has no face gets the score -inf: it is never said.
    """
    centre, spread = rows.mean(0), rows.std(0) + 1e-6
    svm = LinearSVC(C=strength, max_iter=300, random_state=SEED, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)      # 300 rounds are near enough
        svm.fit((rows - centre) / spread, labels)
    return {"centre": np.float32(centre), "spread": np.float32(spread), **_columns(svm.classes_, svm.coef_, svm.intercept_)}


def rbf_svm(rows, labels, strength=3.0, gamma=0.5):
    """An RBF SVM, one class against the rest, as the arrays that classical.scores takes."""
    spread = np.full(rows.shape[1], rows.std())
    centre, classes = rows.mean(0), np.unique(labels)
    rows = np.float16((rows - centre) / spread)                  # as they are stored
    weights, bias = np.zeros((len(classes), len(rows))), np.zeros(len(classes))
    for number, one in enumerate(classes):
        svm = SVC(C=strength, gamma=gamma / rows.shape[1]).fit(np.float32(rows), labels == one)
        weights[number, svm.support_], bias[number] = svm.dual_coef_[0], svm.intercept_[0]
    used = np.abs(weights).sum(0) > 0
    return {"centre": np.float32(centre), "spread": np.float32(spread), "vectors": rows[used],
            "gamma": np.float32(gamma / rows.shape[1]), **_columns(classes, weights[:, used], bias)}


def _columns(classes, weights, bias):
    """One column of weights per expression, whichever classes there were."""
    if len(classes) == 2 and len(weights) == 1:                  # scikit-learn gives one row for two classes
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    all_weights = np.zeros((weights.shape[1], len(EMOTIONS)), np.float32)
    all_bias = np.full(len(EMOTIONS), -np.inf, np.float32)
    all_weights[:, classes], all_bias[classes] = weights.T, bias
    return {"weights": all_weights, "bias": all_bias}


# ---------------------------------------------------------------- measuring

def figures(labels, guesses, classes=8):
    """Accuracy, mean recall and recall per class of guesses (N,) 0..7, -1 where no face was seen."""
    names = [EMOTIONS[number] for number in classical.CLASS_SETS[classes]]
    recall = {name: float((guesses[labels == EMOTIONS.index(name)] == EMOTIONS.index(name)).mean())
              for name in names if (labels == EMOTIONS.index(name)).any()}
    return {"accuracy": float((guesses == labels).mean()), "mean_recall": float(np.mean(list(recall.values()))),
            "recall": recall, "faces": len(labels)}


def hits(smiles, found):
    """Precision, recall and F1 of found (N,) bool against smiles (N,) bool; precision is None where nothing is found."""
    right = int((smiles & found).sum())
    precision, recall = right / found.sum() if found.any() else None, right / smiles.sum()
    return {"precision": precision and float(precision), "recall": float(recall),
            "f1": float(2 * right / (smiles.sum() + found.sum()))}


def best_rule(measured, smiles):
    """The thresholds (width, lift) of smiles_by_rule with the best F1 on measured faces (N, 2)."""
    tries = [(hits(smiles, (measured[:, 0] > width) & (measured[:, 1] > lift))["f1"], float(width), float(lift))
             for width in np.arange(0.7, 1.25, 0.025).round(3) for lift in np.arange(-0.2, 0.2, 0.02).round(3)]
    return max(tries)[1:]


def milliseconds(step, faces):
    """Median time of a step on one face, in milliseconds, after five that warm up."""
    took = []
    for face in list(faces[:5]) + list(faces[:TIMED_FACES]):
        began = time.perf_counter()
        step(face)
        took.append(time.perf_counter() - began)
    return round(float(np.median(took[5:]) * 1000), 3)


class Run:
    """The faces, what has been measured on them so far, and the folder into which it goes."""

    def __init__(self, data, out, faces=FACES):
        self.out, self.began = Path(out), time.perf_counter()
        self.out.mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng(SEED)
        images, labels = load_majority(data, "train")
        chosen = order.permutation(len(images))[:faces]
        self.train, self.train_labels, self.all_faces = images[chosen], labels[chosen], len(images)
        self.with_votes = int(soft_targets(load_split(data, "train")[1])[1].sum())       # what the network learns from
        self.valid, self.labels = load_majority(data, "valid")
        self.stills = [(name, self.still(name)) for name in STILLS]
        self.result = {"faces": len(self.labels), "trained_on": len(self.train), "training_split": self.all_faces,
                       "counts": {name: int((self.labels == i).sum()) for i, name in enumerate(EMOTIONS)},
                       "always_the_most_frequent": {}, "methods": {}, "stills": {name: {} for name in STILLS},
                       "seed": SEED, "opencv": cv2.__version__, "threads": cv2.getNumThreads()}
        for count, numbers in classical.CLASS_SETS.items():
            inside = self.labels[np.isin(self.labels, numbers)]
            self.result["always_the_most_frequent"][str(count)] = float(np.bincount(inside).max() / len(inside))

    @staticmethod
    def still(name):
        image = helpers.read_image(MEDIA / f"{name}.jpg")
        face = max(helpers.detect_faces(image), key=lambda found: found["box"][2] * found["box"][3])
        return helpers.crop_face(image, face["box"])

    def say(self, text):
        print(f"{time.perf_counter() - self.began:6.0f} s  {text}", flush=True)

    def write(self):
        (self.out / "valid.json").write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")

    def save(self, name, **arrays):
        np.savez_compressed(self.out / f"{name}.npz", **arrays)
        classical.load.cache_clear()
        return (self.out / f"{name}.npz").stat().st_size

    def subset(self, classes, labels):
        return np.isin(labels, classical.CLASS_SETS[classes])

    def add(self, name, guess, step, size, still_labels, needs=0, trained_on=None):
        """One row of the table. guess(classes) gives the guesses (N,) on the validation faces of these classes."""
        row = {"classes": {}, "ms_per_face": milliseconds(step, self.valid) if step else None, "bytes": size,
               "needs_bytes": needs, "trained_on": trained_on or len(self.train)}
        for classes in classical.CLASS_SETS:
            guesses = guess(classes)
            row["classes"][str(classes)] = figures(self.labels[self.subset(classes, self.labels)], guesses, classes)
        row["failure_rate"] = float((guesses < 0).mean())
        row["smile"] = hits(self.labels == classical.HAPPY, guesses == classical.HAPPY)
        self.result["methods"][name] = row
        for (still, _), label in zip(self.stills, still_labels):
            self.result["stills"][still][name] = label
        self.say(f"{name:26} " + "  ".join(f"{c}: {row['classes'][str(c)]['accuracy']:.1%}" for c in classical.CLASS_SETS))
        self.write()

    def add_svm(self, name, rows, valid, size_and_save, fit=linear_svm, strength=None, train_labels=None, seen=None,
                needs=0, detect=True):
        """Train on all, 3 and 2 classes, measure each, and save the one for all eight."""
        train_labels = self.train_labels if train_labels is None else train_labels
        seen = np.ones(len(self.labels), bool) if seen is None else seen
        models = {}
        for classes in classical.CLASS_SETS:
            inside = self.subset(classes, train_labels)
            models[classes] = fit(rows[inside], train_labels[inside], *([strength] if strength else []))

        def guess(classes):
            guesses = np.full(len(self.labels), -1)
            guesses[seen] = classical.scores(models[classes], valid).argmax(1)
            return guesses[self.subset(classes, self.labels)]

        size = size_and_save(models[8])
        file = classical.METHODS[name]

        def step(face):
            found, there = classical.features(file, face[None], detect)
            return classical.scores(models[8], found).argmax(1) if there[0] else None
        labels = []
        for _, face in self.stills:
            found, there = classical.features(file, classical.grey_face(face)[None])
            labels.append(EMOTIONS[int(classical.scores(models[8], found).argmax())] if there[0] else None)
        self.add(name, guess, step, size, labels, needs, len(rows))


# ---------------------------------------------------------------- one part per notebook

def smile_cascade(run):
    """Notebook 13: precision and recall of the smile cascade against the majority Happy, over minNeighbors."""
    smiles = run.labels == classical.HAPPY
    part = run.result["smile_cascade"] = {"happy": int(smiles.sum()), "curves": {}, "ms_per_face": {}}
    for factor in SMILE_FACTORS:
        counts = np.array([classical.smile_neighbours(face, factor) for face in run.valid])
        steps = [*range(20), *range(20, 100, 5), *range(100, 601, 20)]
        part["curves"][str(factor)] = [{"min_neighbors": n, **hits(smiles, counts > n)} for n in steps]
        part["ms_per_face"][str(factor)] = milliseconds(lambda face: classical.smile_neighbours(face, factor), run.valid)
        best = max(part["curves"][str(factor)], key=lambda point: point["f1"])
        run.say(f"smile cascade, scaleFactor {factor}: F1 {best['f1']:.2f} at minNeighbors {best['min_neighbors']}")
    file = Path(cv2.data.haarcascades) / "haarcascade_smile.xml"
    part["bytes"] = file.stat().st_size
    part["stills"] = {name: classical.smile_neighbours(face) for name, face in run.stills}
    run.write()


def eigen_and_fisher(run):
    """Notebook 14: nearest neighbours and SVMs on eigenfaces, Fisherfaces, LBP; cv2.face on a few faces."""
    rows, valid = classical.pixels(run.train), classical.pixels(run.valid)
    stills = classical.pixels(np.stack([classical.grey_face(face) for _, face in run.stills]))
    mean, basis = classical.eigenfaces(rows[:BASIS_FACES], min(EIGENFACES, len(rows) - 1))
    basis = np.float32(np.float16(basis))                        # as it is stored
    bases = {8: basis}

    def fisher(classes):
        inside = run.subset(classes, run.train_labels)
        return np.float32(np.float16(1000 * classical.fisherfaces(rows[inside], run.train_labels[inside], mean, basis)))

    fishers = {classes: fisher(classes) for classes in classical.CLASS_SETS}
    for name, faces in (("Eigenfaces", dict.fromkeys(fishers, basis)), ("Fisherfaces", fishers)):
        numbers = {c: classical.project(rows, mean, faces[c]) for c in faces}

        def guess(classes, faces=faces, numbers=numbers):
            inside, asked = run.subset(classes, run.train_labels), run.subset(classes, run.labels)
            return classical.nearest(classical.project(valid[asked], mean, faces[classes]), numbers[classes][inside],
                                     run.train_labels[inside])
        step = lambda face: classical.nearest(classical.project(classical.pixels(face[None]), mean, faces[8]),   # noqa: E731
                                              numbers[8], run.train_labels)
        guesses = classical.nearest(classical.project(stills, mean, faces[8]), numbers[8], run.train_labels)
        run.add(f"{name}, nearest", guess, step, faces[8].nbytes + numbers[8].nbytes, [EMOTIONS[g] for g in guesses])
    for name, file, faces in (("Eigenfaces + SVM", "eigen", bases[8]), ("Fisherfaces + SVM", "fisher", fishers[8])):
        def save(model, file=file, faces=faces):
            return run.save(file, mean=mean, basis=np.float16(faces), **model)
        save({})                                                 # so that classical.features finds the faces
        run.add_svm(name, classical.project(rows, mean, faces), classical.project(valid, mean, faces), save,
                    strength=LINEAR_C[file])
    rows, valid = classical.lbp_histograms(run.train), classical.lbp_histograms(run.valid)
    stills = classical.lbp_histograms(np.stack([classical.grey_face(face) for _, face in run.stills]))

    def guess(classes):
        inside, asked = run.subset(classes, run.train_labels), run.subset(classes, run.labels)
        return classical.nearest(valid[asked], rows[inside], run.train_labels[inside])
    run.add("LBP, nearest", guess, lambda face: classical.nearest(classical.lbp_histograms(face[None]), rows, run.train_labels),
            rows.nbytes, [EMOTIONS[g] for g in classical.nearest(stills, rows, run.train_labels)])
    run.add_svm("LBP + SVM", rows, valid, lambda model: run.save("lbp", **model), strength=LINEAR_C["lbp"])


def opencv_recognisers(run):
    """Notebook 14: the three of cv2.face, trained on a few faces, with the emotion as the label."""
    part = run.result["cv2_face"] = {"trained_on": min(CV2_FACES, len(run.train)), "classes": {}, "seconds": {}}
    faces, valid = ([cv2.equalizeHist(face) for face in images] for images in (run.train[:CV2_FACES], run.valid))
    labels = run.train_labels[:CV2_FACES].astype(np.int32)
    for name, make in (("Eigenfaces", lambda: cv2.face.EigenFaceRecognizer_create(EIGENFACES)),
                       ("Fisherfaces", cv2.face.FisherFaceRecognizer_create),
                       ("LBPH", lambda: cv2.face.LBPHFaceRecognizer_create(1, 8, classical.GRID, classical.GRID))):
        part["classes"][name] = {}
        for classes in classical.CLASS_SETS:
            recogniser, began = make(), time.perf_counter()
            inside = np.flatnonzero(run.subset(classes, labels))
            recogniser.train([faces[i] for i in inside], labels[inside])
            part["seconds"][name] = round(time.perf_counter() - began, 2)
            asked = np.flatnonzero(run.subset(classes, run.labels))
            guesses = np.array([recogniser.predict(valid[i])[0] for i in asked])
            part["classes"][name][str(classes)] = figures(run.labels[asked], guesses, classes)
        run.say(f"cv2.face {name:17} " + "  ".join(f"{c}: {part['classes'][name][str(c)]['accuracy']:.1%}"
                                                   for c in classical.CLASS_SETS))
    run.write()


def hog_svms(run):
    """Notebook 15: linear and RBF SVM on HOG, and the sweep over cells and directions."""
    rows, valid = classical.hog(run.train), classical.hog(run.valid)
    run.add_svm("HOG + linear SVM", rows, valid, lambda model: run.save("hog", **model), strength=LINEAR_C["hog"])
    mean, basis = classical.eigenfaces(rows[:BASIS_FACES], min(HOG_NUMBERS, len(rows) - 1))
    basis = np.float32(np.float16(basis))
    run.save("hog_rbf", mean=mean, basis=np.float16(basis))
    run.add_svm("HOG + RBF SVM", classical.project(rows, mean, basis)[:RBF_FACES], classical.project(valid, mean, basis),
                lambda model: run.save("hog_rbf", mean=mean, basis=np.float16(basis), **model),
                fit=rbf_svm, train_labels=run.train_labels[:RBF_FACES])
    run.result["hog_sweep"] = []
    learn = min(SWEEP_FACES[0], len(run.train) * 2 // 3)
    check = min(SWEEP_FACES[1], len(run.train) - learn)
    for cell, bins in SWEEP:
        rows = classical.hog(run.train[:learn + check], cell, bins)
        model = linear_svm(rows[:learn], run.train_labels[:learn], LINEAR_C["hog"] * 900 / rows.shape[1])
        point = figures(run.train_labels[learn:learn + check], classical.scores(model, rows[learn:]).argmax(1))
        run.result["hog_sweep"].append({"cell": cell, "bins": bins, "length": rows.shape[1],
                                        "accuracy": point["accuracy"], "mean_recall": point["mean_recall"]})
    run.say("HOG sweep: " + "  ".join(f"{p['cell']}/{p['bins']} {p['accuracy']:.1%}" for p in run.result["hog_sweep"]))
    run.write()


def landmark_models(run):
    """Notebook 16: the rule, the rule with thresholds from training faces, and SVMs on the measures and on the points."""
    needs = classical.landmarks_path().stat().st_size
    train = [classical.landmarks(face) for face in run.train[:LANDMARK_FACES]]
    valid = [classical.landmarks(face) for face in run.valid]
    run.say("landmarks of the training and validation faces")
    rows, seen_train = classical.landmark_features("measures", train)
    measured, seen = classical.landmark_features("measures", valid)
    labels = run.train_labels[:LANDMARK_FACES][seen_train]
    for name, file in (("Landmark measures + SVM", "measures"), ("Landmark points + SVM", "points")):
        run.add_svm(name, classical.landmark_features(file, train)[0], classical.landmark_features(file, valid)[0],
                    lambda model, file=file: run.save(file, **model), strength=LINEAR_C[file], train_labels=labels,
                    seen=seen, needs=needs)
    two = [classical.MEASURES.index("mouth_width"), classical.MEASURES.index("corner_lift")]
    smiles, happy = run.labels == classical.HAPPY, labels == classical.HAPPY
    width, lift = best_rule(rows[:, two], happy)
    part = run.result["landmarks"] = {"found": int(seen.sum()), "happy_found": int(smiles[seen].sum()),
                                      "rule": [width, lift], "smile": {}, "medians": {}}

    def smile(name, found):
        everywhere = np.zeros(len(seen), bool)
        everywhere[seen] = found
        part["smile"][name] = {"all_faces": hits(smiles, everywhere), "found_faces": hits(smiles[seen], found)}
    by_hand = np.array([classical.smiles_by_rule(dict(zip(classical.MEASURES, row))) for row in measured])
    smile("rule, thresholds by hand", by_hand)
    smile("rule, thresholds from data", (measured[:, two[0]] > width) & (measured[:, two[1]] > lift))
    for name, columns in (("SVM on the same two", two), ("SVM on all nine", list(range(len(classical.MEASURES))))):
        model = linear_svm(rows[:, columns], happy.astype(int), 0.1)
        smile(name, classical.scores(model, measured[:, columns])[:, :2].argmax(1) == 1)
    for number, name in enumerate(EMOTIONS):
        inside = run.labels[seen] == number
        part["medians"][name] = ({key: round(float(v), 3) for key, v in zip(classical.MEASURES, np.median(measured[inside], 0))}
                                 if inside.any() else None)
    boxed = [classical.landmarks(face, detect=False) for face in run.valid]
    model = classical_model(run, "measures")
    guesses = classical.scores(model, classical.landmark_features("measures", boxed)[0]).argmax(1)
    part["usual_box_instead"] = figures(run.labels, guesses)
    run.say(f"landmarks: found {seen.mean():.1%}; " + "  ".join(f"{k} F1 {v['all_faces']['f1']:.2f}"
                                                                for k, v in part["smile"].items()))
    run.write()
    return rows, labels, measured, seen


def classical_model(run, name):
    return classical.load(name, run.out)


def network(run, path):
    """Notebook 17: the network, through OpenCV, on the same faces."""
    net = helpers.load_network(path)
    shares = predict(net, run.valid)

    def guess(classes):
        numbers = list(classical.CLASS_SETS[classes])
        return shares[run.subset(classes, run.labels)][:, numbers].argmax(1)
    stills = predict(net, [face for _, face in run.stills]).argmax(1)
    run.add("Network", guess, lambda face: helpers.forward(net, helpers.preprocess(face)), Path(path).stat().st_size,
            [EMOTIONS[number] for number in stills], trained_on=run.with_votes)
    run.result["methods"]["Network"]["file"] = Path(path).name
    run.write()


def sample(run, measured):
    """sample.npz: numbers of some faces, no picture, on which the notebooks train live."""
    rows, labels, valid, seen = measured
    learn, check = SAMPLE_FACES
    fisher = classical_model(run, "fisher")

    def fisher_numbers(faces):
        return np.float16(classical.project(classical.pixels(faces), fisher["mean"], fisher["basis"]))
    order = np.random.default_rng(SEED).permutation(len(run.valid))[:check]
    run.save("sample", labels=np.uint8(run.train_labels[:learn]), valid_labels=np.uint8(run.labels[order]),
             hog=np.uint8(np.round(classical.hog(run.train[:learn]) * 255)),
             valid_hog=np.uint8(np.round(classical.hog(run.valid[order]) * 255)),
             fisher=fisher_numbers(run.train[:learn]), valid_fisher=fisher_numbers(run.valid[order]),
             measures=np.float16(rows), measures_labels=np.uint8(labels), valid_measures=np.float16(valid),
             valid_measures_labels=np.uint8(run.labels[seen]), names=classical.MEASURES)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, default=classical.FOLDER, help="folder for models and figures")
    parser.add_argument("--faces", type=int, default=FACES, help=f"training faces, at random; default {FACES}")
    parser.add_argument("--network", default=helpers.MODEL, help="ONNX file of the network to compare with")
    args = parser.parse_args()
    if args.faces < 50:
        parser.error(f"--faces {args.faces}: give 50 or more")
    try:
        helpers.load_network(args.network)
        run = Run(args.data, args.out, args.faces)
        classical.landmarks_path()
    except (FileNotFoundError, ValueError, ImportError) as problem:
        parser.error(str(problem))
    classical.FOLDER = run.out
    network(run, args.network)
    hog_svms(run)
    eigen_and_fisher(run)
    sample(run, landmark_models(run))
    smile_cascade(run)
    opencv_recognisers(run)
    run.result["total_bytes"] = sum(file.stat().st_size for file in run.out.glob("*.npz"))
    run.write()
    run.say(f"written to {run.out}: {run.result['total_bytes']:,} bytes of models")


if __name__ == "__main__":
    main()
