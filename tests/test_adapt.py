"""Model/adapt.py: the new last layer scores as it should, learns, and is written completely or not at all."""
import shutil

import numpy as np
import onnx
import pytest
from conftest import ROOT, run_main, write_network
from sklearn.linear_model import LogisticRegression

import helpers
from Model import adapt, evaluate, ferplus
from Model.vgg13 import build_vgg13

MODEL = ROOT / "Model" / "emotion-ferplus-small.onnx"


@pytest.fixture(scope="module")
def vgg13(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg13") / "vgg13.onnx"
    onnx.save(build_vgg13(), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for label, names in {"Happy": ["clip_happy", "astronaut", "obama"], "sad": ["clip_sad"]}.items():
        (folder / label).mkdir()
        for name in names:
            shutil.copy(ROOT / "Media" / f"{name}.jpg", folder / label)
    return folder


def some_faces(count):
    return np.random.default_rng(0).integers(0, 256, (count, 1, 64, 64)).astype(np.float32)


@pytest.mark.parametrize("which", ["ours", "vgg13"])
def test_features_times_weights_are_the_scores(which, vgg13):
    model = MODEL if which == "ours" else vgg13
    faces = some_faces(1 if which == "vgg13" else 5)
    weights, bias, _, _ = adapt.last_layer(model)
    scores = helpers.forward(helpers.load_network(model), faces)
    assert np.allclose(adapt.extract_features(model, faces) @ weights + bias, scores, atol=1e-3)


@pytest.mark.parametrize("which", ["ours", "vgg13"])
def test_a_replaced_last_layer_gives_its_own_scores(which, vgg13, tmp_path):
    model = MODEL if which == "ours" else vgg13
    weights, bias, _, _ = adapt.last_layer(model)
    adapt.replace_last_layer(model, weights[:, ::-1], bias[::-1], tmp_path / "new.onnx")
    before, after = (helpers.forward(helpers.load_network(path), some_faces(1)) for path in (model, tmp_path / "new.onnx"))
    assert np.allclose(after, before[:, ::-1], atol=1e-3)
    assert list(tmp_path.iterdir()) == [tmp_path / "new.onnx"]
    onnx.checker.check_model(str(tmp_path / "new.onnx"))
    assert adapt.last_layer(tmp_path / "new.onnx")[2] == adapt.last_layer(model)[2]     # and again


def test_the_new_layer_learns_and_never_predicts_an_absent_expression():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (8, 20))
    labels = rng.choice([1, 3, 6], 300)
    features = centres[labels] + rng.normal(0, 0.3, (300, 20))
    weights, bias = adapt.fit_last_layer(features[:200], labels[:200], C=1)
    predicted = (features[200:] @ weights + bias).argmax(1)
    assert (predicted == labels[200:]).mean() > 0.95
    others = centres[[0, 2, 4, 5, 7]] @ weights + bias
    assert set(others.argmax(1)) <= {1, 3, 6}


def test_two_expressions_are_enough_and_one_is_not():
    features = np.array([[0.0, 1], [0, 2], [5, 1], [5, 2]])
    weights, bias = adapt.fit_last_layer(features, [2, 2, 4, 4], C=10)
    assert (features @ weights + bias).argmax(1).tolist() == [2, 2, 4, 4]
    with pytest.raises(ValueError, match="two expressions"):
        adapt.fit_last_layer(features, [2, 2, 2, 2])
    with pytest.raises(ValueError, match="NaN or infinity"):
        adapt.fit_last_layer(features * np.nan, [2, 2, 4, 4])


@pytest.mark.parametrize("known", [(2, 4), (1, 3, 6)])
@pytest.mark.parametrize("C", [0.01, 10])
def test_the_probabilities_are_those_of_the_logistic_regression(known, C):
    rng = np.random.default_rng(2)
    labels = rng.choice(known, 60)
    features = rng.normal(3, 2, (60, 5)) + labels[:, None] * [0.5, 0, -0.5, 0, 0.2]
    scaled = (features - features.mean(0)) / features.std()
    expected = LogisticRegression(C=C, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    weights, bias = adapt.fit_last_layer(features, labels, C=C)
    probabilities = helpers.softmax(features @ weights + bias)
    assert np.ptp(expected, axis=0).min() > 0.02 and np.abs(probabilities[:, known] - expected).max() < 1e-3


def test_interpolated_layers_give_interpolated_scores():
    rng = np.random.default_rng(1)
    first, second = [(rng.normal(size=(5, 8)), rng.normal(size=8)) for _ in range(2)]
    x = rng.normal(size=(3, 5))
    weights, bias = adapt.interpolate(first, second, alpha=0.25)
    assert np.allclose(x @ weights + bias, 0.75 * (x @ first[0] + first[1]) + 0.25 * (x @ second[0] + second[1]))


def test_own_pictures_help_a_bad_camera():
    kept = np.load(ROOT / "Model" / "valid.npz")
    labels = ferplus.majority_labels(kept["votes"])
    known = labels >= 0
    labels, features = labels[known], kept["features_bad_camera"][known].astype(float)
    learn = np.concatenate([np.flatnonzero(labels == label)[::2][:100] for label in range(8)])
    test = np.setdiff1d(np.arange(len(labels)), learn)
    old = adapt.last_layer(MODEL)[:2]
    both = adapt.interpolate(old, adapt.fit_last_layer(features[learn], labels[learn]))
    accuracies = [((features[test] @ w + b).argmax(1) == labels[test]).mean() for w, b in (old, both)]
    assert accuracies[1] > accuracies[0] + 0.01


# ------------------------------------------------------------------ folders

def test_a_folder_of_pictures(pictures):
    faces, labels, paths, left_out = adapt.load_labelled_faces(pictures)
    assert faces.shape == (4, 1, 64, 64) and faces.dtype == np.float32 and not left_out
    assert [helpers.EMOTIONS[label] for label in labels] == ["Happy"] * 3 + ["Sad"]
    assert paths[3].name == "clip_sad.jpg"


def test_pictures_that_can_not_be_used_are_left_out_by_name(pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "own")
    (folder / "Happy" / "broken.jpg").write_bytes(b"no picture")
    helpers.cv2.imwrite(str(folder / "Happy" / "wall.png"), np.full((200, 200, 3), 128, np.uint8))
    (folder / "Happy" / "notes.heic").write_text("another format")
    (folder / ".hidden").mkdir()
    faces, _, _, left_out = adapt.load_labelled_faces(folder)
    assert len(faces) == 4
    assert {path.name: reason for path, reason in left_out.items()}["wall.png"] == "no face found"
    assert len(left_out) == 3 and "JPEG or PNG" in left_out[folder / "Happy" / "notes.heic"]
    with pytest.raises(ValueError, match="yolo"):
        adapt.load_labelled_faces(folder, detector="yolo")


def test_the_largest_face_is_used(tmp_path):
    (tmp_path / "Happy").mkdir()
    image = helpers.read_image(ROOT / "Media" / "four_people.jpg")
    helpers.cv2.imwrite(str(tmp_path / "Happy" / "four.png"), image)
    found = helpers.detect_faces(image)
    areas = [face["box"][2] * face["box"][3] for face in found]
    assert len(found) == 4 and max(areas) > 3 * min(areas)
    expected = helpers.preprocess(helpers.crop_face(image, found[int(np.argmax(areas))]["box"]))
    assert np.array_equal(adapt.load_labelled_faces(tmp_path)[0], expected)


def test_folders_that_can_not_be_used(tmp_path):
    with pytest.raises(FileNotFoundError, match="subfolder per expression"):
        adapt.load_labelled_faces(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no face in"):
        adapt.load_labelled_faces(tmp_path)
    (tmp_path / "Joy").mkdir()
    with pytest.raises(ValueError, match=r"\['Joy'\].*Neutral, Happy"):
        adapt.load_labelled_faces(tmp_path)


# ------------------------------------------------------------------ writing

def test_nothing_is_lost_when_writing_goes_wrong(tmp_path):
    weights, bias, _, _ = adapt.last_layer(MODEL)
    copy = shutil.copy(MODEL, tmp_path / "mine.onnx")
    before = copy.read_bytes()
    with pytest.raises(ValueError, match="is the network itself"):
        adapt.replace_last_layer(copy, weights, bias, copy)
    with pytest.raises(ValueError, match="has weights"):
        adapt.replace_last_layer(MODEL, weights[:5], bias, copy)
    with pytest.raises(ValueError, match="NaN or infinity"):
        adapt.replace_last_layer(MODEL, weights * np.nan, bias, copy)
    with pytest.raises(FileNotFoundError, match="make it first"):
        adapt.replace_last_layer(MODEL, weights, bias, tmp_path / "nowhere" / "x.onnx")
    with pytest.raises(ValueError, match="should end in .onnx"):
        adapt.replace_last_layer(MODEL, weights, bias, tmp_path / "notes.md")
    with pytest.raises(ValueError, match="is the network itself"):
        adapt.replace_last_layer(copy, weights, bias, MODEL)
    (tmp_path / "page.onnx").write_text("<html>")
    with pytest.raises(ValueError, match="web page"):
        adapt.last_layer(tmp_path / "page.onnx")
    assert copy.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def test_a_network_with_another_input_or_output_is_refused(tmp_path):
    write_network(tmp_path / "small.onnx", np.zeros((48 * 48, 8)), np.zeros(8), side=48)
    with pytest.raises(ValueError, match=r"small.onnx does not take an input of \(1, 1, 64, 64\)"):
        adapt.last_layer(tmp_path / "small.onnx")
    node = onnx.helper.make_node("Relu", ["a"], ["b"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 8]) for name in "ab"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:])), tmp_path / "relu.onnx")
    with pytest.raises(ValueError, match="relu.onnx returns 4096 scores, but there are 8 expressions"):
        adapt.last_layer(tmp_path / "relu.onnx")


# ------------------------------------------------------------------ every form of a last layer

def ending_in(path, *nodes, names=("", "", ""), **constants):
    """A network whose features are the face's four quarters' means, ending in `nodes`, which turn "features" into "scores"."""
    make = onnx.helper.make_node
    start = [make("AveragePool", ["Input3"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32], name=names[0]),
             make("Flatten", ["pooled"], ["features"], name=names[1])]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in (("Input3", ["N", 1, 64, 64]), ("scores", ["N", 8]))]
    arrays = [onnx.numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(start + list(nodes), "g", ends[:1], ends[1:], arrays)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7), path)
    return path


W = np.random.default_rng(3).normal(0, 0.1, (4, 8))
B = np.random.default_rng(4).normal(0, 1, 8)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("nodes, constants", [
    ([("Gemm", ["features", "w", "b"], {"alpha": 0.5, "beta": 2.0})], {"w": W, "b": B}),
    ([("Gemm", ["features", "w", "b"], {"alpha": 0.5, "beta": 2.0, "transB": 1})], {"w": W.T, "b": B}),
    ([("Gemm", ["features", "w"], {"alpha": 3.0, "transB": 1})], {"w": W.T}),
    ([("Gemm", ["features", "w", "b"], {"beta": 0.5})], {"w": W, "b": B[None]}),
    ([("MatMul", ["features", "w"], {})], {"w": W}),
    ([("MatMul", ["features", "w"], {}), ("Add", ["0", "b"], {})], {"w": W, "b": B}),
    ([("MatMul", ["features", "w"], {}), ("Add", ["b", "0"], {})], {"w": W, "b": B[None]}),
    ([("Gemm", ["features", "w", "b"], {"beta": 2.0}), ("Add", ["0", "c"], {})], {"w": W, "b": B, "c": B[::-1]})])
def test_every_linear_layer_gives_its_scores(nodes, constants, named, tmp_path):
    made = [onnx.helper.make_node(kind, inputs, ["scores" if index + 1 == len(nodes) else str(index)],
                                  name=f"last{index}" if named else "", **options)
            for index, (kind, inputs, options) in enumerate(nodes)]
    path = ending_in(tmp_path / "net.onnx", *made, names=("pool", "flat") if named else ("", ""), **constants)
    faces = some_faces(5)
    weights, bias, _, _ = adapt.last_layer(path)
    scores = helpers.forward(helpers.load_network(path), faces)
    assert np.ptp(scores) > 1 and weights.shape == (4, 8) and bias.shape == (8,)
    assert np.allclose(adapt.extract_features(path, faces) @ weights + bias, scores, atol=1e-3)
    again = adapt.replace_last_layer(path, weights[:, ::-1], bias[::-1], tmp_path / "again.onnx")
    assert np.allclose(helpers.forward(helpers.load_network(again), faces), scores[:, ::-1], atol=1e-3)


@pytest.mark.parametrize("nodes, constants", [
    ([("Gemm", ["features", "w", "b"], ["0"], {}), ("Relu", ["0"], ["scores"], {})], {"w": W, "b": B}),
    ([("MatMul", ["features", "w"], ["0"], {}), ("Softmax", ["0"], ["scores"], {})], {"w": W}),
    ([("MatMul", ["features", "w"], ["0"], {}), ("Sigmoid", ["0"], ["1"], {}), ("Add", ["1", "b"], ["scores"], {})],
     {"w": W, "b": B}),
    ([("MatMul", ["features", "w"], ["0"], {}), ("MatMul", ["features", "v"], ["1"], {}), ("Add", ["0", "1"], ["scores"], {})],
     {"w": W, "v": W}),
    ([("Gemm", ["features", "w"], ["0"], {}), ("Gemm", ["features", "v", "0"], ["scores"], {})], {"w": W, "v": W}),
    ([("MatMul", ["features", "w"], ["scores"], {})], {"w": W[None]}),
    ([("MatMul", ["features", "w"], ["0"], {}), ("Add", ["0", "0"], ["scores"], {})], {"w": W}),
    ([("Transpose", ["features"], ["0"], {"perm": [1, 0]}), ("Gemm", ["0", "w", "b"], ["scores"], {"transA": 1})],
     {"w": W, "b": B})])
def test_what_is_not_one_linear_layer_is_refused(nodes, constants, tmp_path):
    path = ending_in(tmp_path / "net.onnx", *(onnx.helper.make_node(kind, inputs, outputs, **options)
                                              for kind, inputs, outputs, options in nodes), **constants)
    with pytest.raises(ValueError, match="does not end in a linear layer"):
        adapt.last_layer(path)
    with pytest.raises(ValueError, match="does not end in a linear layer"):
        adapt.replace_last_layer(path, W, B, tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_from_the_command_line(pictures, tmp_path):
    done = run_main(adapt.main, "--pictures", pictures, "--out", tmp_path / "my.onnx")
    assert done.returncode == 0 and "fitted to 4 faces" in done.stdout
    assert "never the label from now on: Neutral, Surprise, Anger" in done.stdout
    faces, labels, _, _ = adapt.load_labelled_faces(pictures)
    assert helpers.forward(helpers.load_network(tmp_path / "my.onnx"), faces).argmax(1).tolist() == labels.tolist()
    failed = run_main(adapt.main, "--pictures", tmp_path / "nowhere", "--out", tmp_path / "other.onnx")
    assert failed.returncode == 2 and "no folder at" in failed.stderr and not (tmp_path / "other.onnx").exists()


# ------------------------------------------------------------------ what is saved of the validation faces

def test_the_saved_scores_are_those_of_the_shipped_network_and_its_report():
    kept = np.load(ROOT / "Model" / "valid.npz")
    votes, scores, features = kept["votes"], kept["scores"].astype(float), kept["features"].astype(float)
    assert scores.shape == (6, len(votes), 8) and list(kept["views"]) == list(evaluate.VIEWS)
    weights, bias, _, _ = adapt.last_layer(MODEL)
    assert np.abs(features @ weights + bias - scores[0]).max() < 0.05
    labels = ferplus.majority_labels(votes)
    known = labels >= 0
    report = evaluate.report(labels[known], helpers.softmax(scores[0][known]))
    stored = evaluate.json.loads((ROOT / "Model" / "valid.json").read_text())
    assert abs(report["accuracy"] - stored["accuracy"]) < 0.001
    assert abs(report["calibration"]["ece"] - stored["calibration"]["ece"]) < 0.002


def test_shifted_and_mirrored_views():
    face = np.zeros((1, 1, 64, 64), np.float32)
    face[0, 0, 10, 20] = 200
    assert np.argwhere(evaluate.shifted_view(face, 3, -2, False)[0, 0]).tolist() == [[8, 23]]
    assert np.argwhere(evaluate.shifted_view(face, 0, 0, True)[0, 0]).tolist() == [[10, 43]]
