"""Model/classical.py and train_classical.py: committed models give the committed labels, and training works end to end."""
import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from conftest import ROOT, run_main

import helpers
from Model import classical, ferplus, train_classical

RESULTS = json.loads((ROOT / "Model" / "classical" / "valid.json").read_text(encoding="utf-8"))
STILLS = tuple(RESULTS["stills"])


@pytest.fixture(scope="module")
def faces():
    images = {name: helpers.read_image(ROOT / "Media" / f"{name}.jpg") for name in STILLS}
    return {name: helpers.crop_face(image, helpers.detect_faces(image)[0]["box"]) for name, image in images.items()}


@pytest.fixture(scope="module")
def grey(faces):
    return np.stack([classical.grey_face(face) for face in faces.values()])


# ------------------------------------------------------------------ what is committed

@pytest.mark.parametrize("method", classical.METHODS)
def test_committed_models_give_the_committed_labels(method, faces):
    assert {name: classical.classify(method, face) for name, face in faces.items()} == {
        name: RESULTS["stills"][name][method] for name in STILLS}


def test_the_smile_cascade_gives_the_committed_counts(faces):
    assert {name: classical.smile_neighbours(face) for name, face in faces.items()} == RESULTS["smile_cascade"]["stills"]


def test_results_are_consistent():
    methods = RESULTS["methods"]
    others = {"Network", "Eigenfaces, nearest", "Fisherfaces, nearest", "LBP, nearest"}
    assert set(classical.METHODS) | others == set(methods)
    counts = RESULTS["counts"]
    for name, row in methods.items():
        for classes, part in row["classes"].items():
            names = [helpers.EMOTIONS[i] for i in classical.CLASS_SETS[int(classes)]]
            assert list(part["recall"]) == names and part["faces"] == sum(counts[n] for n in names)
            right = sum(part["recall"][n] * counts[n] for n in names)
            assert part["accuracy"] == pytest.approx(right / part["faces"]), name
            assert part["mean_recall"] == pytest.approx(np.mean(list(part["recall"].values())))
        assert (row["failure_rate"] > 0) == name.startswith("Landmark")
        assert row["classes"]["8"]["accuracy"] <= 1 - row["failure_rate"]
    assert RESULTS["methods"]["Network"]["file"] == helpers.MODEL_PATH.name


def test_committed_files_are_small_and_as_measured():
    files = list((ROOT / "Model" / "classical").glob("*.npz"))
    assert {file.stem for file in files} == {*classical.METHODS.values(), "sample"}
    assert sum(file.stat().st_size for file in files) == RESULTS["total_bytes"] < 5_000_000
    for method, name in classical.METHODS.items():
        assert RESULTS["methods"][method]["bytes"] == (ROOT / "Model" / "classical" / f"{name}.npz").stat().st_size


def test_no_face_is_in_the_committed_files():
    """Single faces only as HOG, Fisherface coefficients and geometric features: nothing as long as an image."""
    sample = classical.load_model("sample")
    for name, array in sample.items():
        assert array.ndim == 1 or array.shape[1] in (900, 7, len(classical.GEOMETRIC_FEATURES)), name


# ------------------------------------------------------------------ the steps

def test_one_count_answers_for_every_min_neighbors(faces):
    for face in faces.values():
        half = classical.grey_face(face, size=classical.SMILE_FACE_SIZE)[classical.SMILE_FACE_SIZE // 2:]
        count = classical.smile_neighbours(face)
        for n in (1, 5, 20, 60):
            assert (len(classical.cascade("smile").detectMultiScale(half, 1.1, n)) > 0) == (count > n)


def test_three_threads_count_the_same_neighbours(faces):
    crops = list(faces.values()) * 8
    expected = [classical.smile_neighbours(face) for face in faces.values()] * 8
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(classical.smile_neighbours, crops)) == expected


@pytest.mark.parametrize("count", [12, 60])      # fewer faces than pixels, and more
def test_eigenfaces_are_the_directions_of_opencv(count):
    rows = np.float32(np.random.default_rng(0).normal(size=(count, 40)) * np.arange(1, 41))
    mean, basis = classical.eigenfaces(rows, 5)
    theirs, vectors = cv2.PCACompute(rows, mean=None, maxComponents=5)
    assert np.allclose(mean, theirs[0], atol=1e-4)
    assert np.allclose(np.abs((basis * vectors).sum(1)), 1, atol=1e-3)


def test_fisherfaces_separate_what_eigenfaces_do_not():
    """The classes differ along a direction of small variance; the one of large variance does not separate them."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    rows = np.float32(np.stack([rng.normal(0, 50, 200), labels * 4 + rng.normal(0, 1, 200), *rng.normal(0, 1, (4, 200))], 1))
    mean, basis = classical.eigenfaces(rows, 5)
    fisher = classical.fisherfaces(rows, labels, mean, basis)
    coefficients = classical.project(rows, mean, fisher)[:, 0]
    assert fisher.shape == (1, 6)
    assert abs(np.corrcoef(coefficients, labels)[0, 1]) > 0.85 > 0.3 > abs(np.corrcoef(rows[:, 0], labels)[0, 1])


def test_nearest_neighbour():
    gallery, rows = np.float32([[0, 0], [10, 0], [0, 10]]), np.float32([[1, 1], [9, 2], [2, 30]])
    assert classical.nearest_neighbour(rows, gallery, np.array([5, 6, 7])).tolist() == [5, 6, 7]


def test_lbp_sees_order_not_light(grey):
    patch = np.uint8([[9, 9, 1], [9, 5, 1], [9, 1, 1]])
    assert classical.lbp_codes(patch).tolist() == [[0b11000011 & 0xff]]
    assert (classical.lbp_codes(grey[0] // 2 * 2) == classical.lbp_codes(grey[0] // 2)).all()
    rows = classical.lbp_histograms(grey)
    assert rows.shape == (len(grey), 36 * 59) and np.allclose((rows ** 2).sum(1), 36, atol=1e-3)


@pytest.mark.parametrize("cell, bins, length", [(8, 9, 900), (6, 4, 784), (12, 9, 324), (16, 18, 288)])
def test_hog_length(cell, bins, length, grey):
    rows = classical.hog(grey, cell_size=cell, n_bins=bins)
    assert rows.shape == (len(grey), length) and 0 <= rows.min() <= rows.max() <= 1


def test_geometric_features_do_not_change_with_size_position_and_tilt(faces):
    points = classical.landmarks(faces["clip_happy"])
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    before, after = classical.geometric_features(points), classical.geometric_features(7 * points @ turn + [3, -2])
    assert list(before) == list(classical.GEOMETRIC_FEATURES)
    assert after == pytest.approx(before, abs=1e-3)


def test_a_smile_in_numbers(faces):
    happy, sad = (classical.geometric_features(classical.landmarks(faces[name])) for name in ("clip_happy", "clip_sad"))
    assert happy["mouth_opening"] > sad["mouth_opening"] + 0.1 and happy["lip_height"] > sad["lip_height"] + 0.1


def test_no_face_is_an_answer():
    wall = np.full((48, 48), 128, np.uint8)
    assert classical.landmarks(wall) is None
    assert classical.classify("Landmark points + SVM", wall) is None
    assert classical.landmarks(wall, detect=False).shape == (68, 2)
    rows, seen = classical.extract_features("measures", np.stack([wall, wall]))
    assert rows.shape == (0, 9) and seen.tolist() == [False, False]


def test_rbf_scores_are_those_of_scikit_learn():
    from sklearn.svm import SVC
    rows = np.random.default_rng(0).normal(size=(90, 4))
    labels = (rows[:, 0] ** 2 + rows[:, 1] > 0.5).astype(int) + (rows[:, 2] > 1)
    model = train_classical.rbf_svm(rows, labels)
    theirs = SVC(C=3.0, gamma=0.5 / 4).fit(np.float16((rows - rows.mean(0)) / rows.std()), labels == 1)
    assert np.allclose(classical.decision_function(model, rows)[:, 1],
                       theirs.decision_function(np.float16((rows - rows.mean(0)) / rows.std())), atol=0.02)
    assert np.isneginf(classical.decision_function(model, rows)[:, 3:]).all()     # classes without a face


# ------------------------------------------------------------------ bad input, one sentence each

@pytest.mark.parametrize("call, sentence", [
    (lambda: classical.cascade("nose"), "choose 'face', 'smile' or 'eye'"),
    (lambda: classical.smile_neighbours(np.zeros((9, 9), np.uint8), scale_factor=1.0), "give 1.05 or more"),
    (lambda: classical.equalised_pixels(np.zeros((2, 64, 64), np.uint8)), "call grey_face on each"),
    (lambda: classical.hog(np.zeros((1, 48, 48), np.uint8), cell_size=5), "cells of 4, 6, 8, 12 or 16"),
    (lambda: classical.hog(np.zeros((1, 48, 48), np.uint8), n_bins=1), "2 to 36"),
    (lambda: classical.hog(np.zeros((1, 48, 48), np.float32)), "not float32"),
    (lambda: classical.eigenfaces(np.zeros((5, 9), np.float32), 5), "give 1 to 4"),
    (lambda: classical.fisherfaces(np.zeros((5, 9)), np.zeros(5), 0, np.eye(3, 9)), "the same label"),
    (lambda: classical.align_landmarks(np.zeros((5, 2))), "(68, 2)"),
    (lambda: classical.align_landmarks(np.zeros((68, 2))), "not the landmarks of a face"),
    (lambda: classical.decision_function(classical.load_model("measures"), np.zeros((1, 4))), "takes features (N, 9)"),
    (lambda: classical.extract_features("cnn", np.zeros((1, 48, 48), np.uint8)), "choose from eigen"),
    (lambda: classical.classify("Tarot", np.zeros((48, 48), np.uint8)), "choose from Eigenfaces + SVM"),
    (lambda: classical.classify("HOG + linear SVM", None), "None")])
def test_wrong_input_is_named(call, sentence):
    with pytest.raises((ValueError, TypeError)) as problem:
        call()
    assert sentence in str(problem.value)


def test_a_missing_model_names_the_ones_that_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="it contains: none.*train_classical.py"):
        classical.load_model("hog", folder=tmp_path)


# ------------------------------------------------------------------ training, end to end

def write_split(folder, split, faces, labels):
    votes = np.zeros((len(labels), len(ferplus.VOTE_COLUMNS)), np.uint8)
    votes[np.arange(len(labels)), labels] = 10
    np.savez(folder / f"ferplus_{split}.npz", images=np.uint8(faces), votes=votes, names=np.arange(len(labels)).astype(str))


def drawn_faces(count, seed):
    """Synthetic faces of eight classes: a grey oval with eyes and a mouth, whose width and opening depend on the class."""
    rng, faces = np.random.default_rng(seed), []
    labels = np.arange(count) % 8
    for label in labels:
        face = np.full((48, 48), 90 + rng.integers(-20, 20), np.uint8)
        dx, dy = rng.integers(-2, 3, 2).tolist()
        cv2.ellipse(face, (24 + dx, 24 + dy), (18, 23), 0, 0, 360, 170, -1)
        for x in (17, 31):
            cv2.ellipse(face, (x + dx, 19 + dy), (4, 1 + int(label in (2, 6)) * 2), 0, 0, 360, 30, -1)
        cv2.ellipse(face, (24 + dx, 35 + dy), (4 + int(label) % 4 * 2, 1 + int(label) // 3 * 2), 0, 0, 360, 30, -1)
        faces.append(np.clip(face + rng.normal(0, 6, face.shape), 0, 255))
    return np.array(faces), labels


@pytest.mark.slow
def test_training_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(classical, "MODEL_FOLDER", classical.MODEL_FOLDER)       # the script changes it
    write_split(tmp_path, "train", *drawn_faces(160, 1))
    write_split(tmp_path, "valid", *drawn_faces(48, 2))
    done = run_main(train_classical.main, "--data", tmp_path, "--out", tmp_path / "out", "--faces", 150)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "valid.json").read_text(encoding="utf-8"))
    assert result["faces"] == 48 and result["trained_on"] == 150
    assert set(result["methods"]) == set(RESULTS["methods"])
    assert result["methods"]["HOG + linear SVM"]["classes"]["8"]["accuracy"] > 0.8      # these faces are easy
    with np.load(tmp_path / "out" / "hog.npz") as model:
        rows = classical.hog(np.uint8(drawn_faces(48, 2)[0]))
        accuracy = (classical.decision_function(dict(model), rows).argmax(1) == drawn_faces(48, 2)[1]).mean()
    assert accuracy == pytest.approx(result["methods"]["HOG + linear SVM"]["classes"]["8"]["accuracy"])


@pytest.mark.parametrize("arguments, sentence", [
    (("--data", "nowhere"), "build it from the public tables with Model/prepare.py"),
    (("--data", "nowhere", "--faces", 3), "give 50 or more"),
    (("--data", "nowhere", "--network", "nothing.onnx"), "nothing.onnx")])
def test_training_says_what_is_missing(arguments, sentence, tmp_path):
    done = run_main(train_classical.main, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2 and sentence in done.stderr


# ------------------------------------------------------------------ the metrics

def test_a_face_that_is_not_found_counts_as_wrong():
    part = train_classical.metrics(np.array([0, 0, 1, 2]), np.array([0, -1, 1, 0]), classes=3)
    assert part["accuracy"] == 0.5 and part["recall"] == {"Neutral": 0.5, "Happy": 1.0, "Surprise": 0.0}


def test_precision_recall_f1():
    part = train_classical.precision_recall_f1(np.array([True, True, False, False]), np.array([True, False, True, False]))
    assert part == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    nothing = train_classical.precision_recall_f1(np.array([True]), np.array([False]))
    assert nothing == {"precision": None, "recall": 0.0, "f1": 0.0}
