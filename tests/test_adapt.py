"""Model/adapt.py: the new last layer scores as it should, learns, and is written completely or not at all."""
import shutil

import numpy as np
import onnx
import pytest
from conftest import ROOT, run_main, write_network
from sklearn.linear_model import LogisticRegression

import helpers
from drawn_face import draw_face
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
    weights, bias = adapt.fit_last_layer(features, labels, C=C, balanced=False)
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
    before, after = (adapt.measure(labels[test], helpers.softmax(features[test] @ w + b)) for w, b in (old, both))
    assert after["mean_recall"] > before["mean_recall"] + 0.02 and after["accuracy"] > before["accuracy"] - 0.005


def uneven_faces(rng, count):
    """Features of three expressions that overlap, and labels of which nine in ten are the first."""
    labels = rng.choice([0, 1, 3], count, p=[0.9, 0.05, 0.05])
    return rng.normal(0, 1, (count, 4)) + 2 * np.eye(4)[labels], labels


def test_balanced_weights_find_more_of_the_rare_expressions():
    features, labels = uneven_faces(np.random.default_rng(5), 4000)
    recalls = []
    for balanced in (False, True):
        weights, bias = adapt.fit_last_layer(features[:400], labels[:400], C=1, balanced=balanced)
        correct = (features[400:] @ weights + bias).argmax(1) == labels[400:]
        recalls.append([correct[labels[400:] == label].mean() for label in (0, 1, 3)])
    assert recalls[1][1] > recalls[0][1] + 0.2 and recalls[1][2] > recalls[0][2] + 0.2 and recalls[1][0] < recalls[0][0]


def test_balanced_weights_change_nothing_where_all_expressions_are_equally_frequent():
    features = np.random.default_rng(6).normal(size=(30, 4))
    labels = np.repeat([1, 2, 5], 10)
    for plain, balanced in zip(adapt.fit_last_layer(features, labels), adapt.fit_last_layer(features, labels, balanced=True)):
        assert np.allclose(plain, balanced, atol=1e-5)


def test_any_number_of_classes():
    features, labels = np.random.default_rng(7).normal(size=(30, 4)), np.repeat([0, 1, 9], 10)
    weights, bias = adapt.fit_last_layer(features, labels, classes=10)
    assert weights.shape == (4, 10) and bias.shape == (10,) and (bias[2:9] == adapt.ABSENT_CLASS_BIAS).all()


# ------------------------------------------------------------------ before and after

def test_a_quarter_of_each_class_is_held_out():
    labels = np.repeat([0, 3, 6], [200, 40, 3])
    learn, test = adapt.hold_out(labels)
    assert sorted([*learn, *test]) == list(range(243))
    assert np.bincount(labels[test], minlength=7).tolist() == [50, 0, 0, 10, 0, 0, 0]
    assert np.array_equal(test, adapt.hold_out(labels)[1])                        # the same ones every time
    assert len(set(np.diff(np.sort(test[test < 200])))) > 1                       # in random order
    assert np.bincount(labels[adapt.hold_out(labels, fraction=0.5)[1]])[[0, 3, 6]].tolist() == [100, 20, 1]


@pytest.mark.parametrize("counts, fraction", [([40, 39], 0.25), ([200, 3], 0.25), ([500, 500], 0.0), ([], 0.25)])
def test_nothing_is_held_out_of_a_few_pictures(counts, fraction):
    learn, test = adapt.hold_out(np.repeat(np.arange(len(counts)), counts), fraction=fraction)
    assert len(test) == 0 and learn.tolist() == list(range(sum(counts)))


def test_eighty_pictures_are_enough_to_hold_some_out():
    assert len(adapt.hold_out(np.repeat([0, 1], 40))[1]) == adapt.MIN_HELD_OUT == 20


@pytest.mark.parametrize("fraction", [-0.1, 0.91, np.nan])
def test_a_fraction_that_can_not_be_held_out(fraction):
    with pytest.raises(ValueError, match="fraction"):
        adapt.hold_out(np.repeat([0, 1], 40), fraction=fraction)


def test_four_figures():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.0, 1.0]])
    figures = adapt.measure(labels, probabilities)
    assert figures["accuracy"] == 0.75 and figures["mean_recall"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["doubtful"] == 0.25                                            # 0.6 gets a question mark
    assert figures["ece"] == pytest.approx(evaluate.calibration(labels, probabilities)["ece"])


@pytest.mark.parametrize("only_first, only_second, p", [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 0.0625), (0, 6, 0.03125), (8, 2, 0.109375)])
def test_the_paired_test_is_the_sign_test(only_first, only_second, p):
    first = np.array([True] * only_first + [False] * only_second + [True, False] * 10)
    second = np.array([False] * only_first + [True] * only_second + [True, False] * 10)
    assert adapt.paired_test(first, second) == (only_first, only_second, pytest.approx(p))


@pytest.mark.parametrize("before, after, words", [
    ([False] * 30, [True] * 30, "better"), ([True] * 30, [False] * 30, "worse"), ([True] * 30, [True] * 30, "no clear difference")])
def test_what_follows_from_the_comparison_is_printed(before, after, words):
    said = adapt.verdict(np.array(before), np.array(after))
    assert words in said and sum(word in said for word in ("better", "worse", "no clear difference")) == 1


# ------------------------------------------------------------------ merged classes

def test_the_probability_of_a_group_is_the_sum_of_its_members():
    groups = {"negative": ["Sad", "Anger"], "smile": ["Happy"]}
    row = np.array([0.1, 0.3, 0.05, 0.2, 0.25, 0.05, 0.03, 0.02])
    assert np.allclose(adapt.merge_classes(row, groups), [0.45, 0.3])
    assert np.allclose(adapt.merge_classes([row, row[::-1]], groups), [[0.45, 0.3], [0.45, 0.03]])
    assert adapt.merge_classes(np.zeros((0, 8)), groups).shape == (0, 2)


@pytest.mark.parametrize("groups, words", [({"a": ["Joy"]}, "Joy"), ({"a": ["Happy"], "b": ["Sad", "Happy"]}, "Happy.*twice"), ({}, "one group")])
def test_groups_that_can_not_be_merged(groups, words):
    with pytest.raises(ValueError, match=words):
        adapt.merge_classes(np.full(8, 1 / 8), groups)


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


@pytest.fixture(scope="module")
def own_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own_names")
    for label, names in {"smiling": ["clip_happy", "astronaut", "obama"], "Other": ["clip_sad", "grace_hopper"]}.items():
        (folder / label).mkdir()
        for name in names:
            shutil.copy(ROOT / "Media" / f"{name}.jpg", folder / label)
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "notes.txt").write_text("no class")
    return folder


def test_classes_of_your_own(own_names):
    classes = adapt.find_classes(own_names)
    assert classes == ("Other", "smiling")
    _, labels, paths, _ = adapt.load_labelled_faces(own_names, classes=classes)
    assert [(classes[label], path.parent.name) for label, path in zip(labels, paths)] == [
        (name, name) for name in ("Other", "Other", "smiling", "smiling", "smiling")]
    with pytest.raises(ValueError, match=r"\['Other', 'smiling'\].*--custom-classes"):
        adapt.load_labelled_faces(own_names)


def test_classes_need_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at"):
        adapt.find_classes(tmp_path / "nowhere")
    (tmp_path / "one").mkdir()
    with pytest.raises(ValueError, match="two subfolders"):
        adapt.find_classes(tmp_path)


# ------------------------------------------------------------------ a network with classes of your own

def test_a_network_with_classes_of_your_own(own_names, tmp_path):
    classes = adapt.find_classes(own_names)
    faces, labels, paths, _ = adapt.load_labelled_faces(own_names, classes=classes)
    layer = adapt.fit_last_layer(adapt.extract_features(MODEL, faces), labels, classes=len(classes))
    path = adapt.replace_last_layer(MODEL, *layer, tmp_path / "own.onnx", classes=classes)
    onnx.checker.check_model(str(path))
    net, names = adapt.load_custom_network(path)
    assert names == classes
    for number, picture in enumerate(paths):
        (face,) = adapt.classify_custom(helpers.read_image(picture), net, names)
        assert face["label"] == classes[labels[number]] and list(face["emotions"]) == list(classes)
        assert sum(face["emotions"].values()) == pytest.approx(1) and face["probability"] == max(face["emotions"].values())
        assert helpers.draw(helpers.read_image(picture), [face]).shape == helpers.read_image(picture).shape
    assert adapt.classify_custom(np.full((200, 200, 3), 128, np.uint8), net, names) == []
    with pytest.raises(ValueError, match="returns 2 scores, but there are 8 expressions"):
        helpers.load_network(path)
    with pytest.raises(ValueError, match="returns 2 scores, but there are 3 labels"):
        adapt.classify_custom(helpers.read_image(paths[0]), net, (*names, "third"))
    with pytest.raises(ValueError, match="returns 2 scores, but there are 8 labels"):
        helpers.classify_expressions(helpers.read_image(paths[0]), [{"box": [0, 0, 40, 40]}], net=net)


def test_only_a_file_with_class_names_is_a_custom_network(tmp_path):
    with pytest.raises(ValueError, match="init_emotion"):
        adapt.load_custom_network(MODEL)
    with pytest.raises(FileNotFoundError):
        adapt.load_custom_network(tmp_path / "nowhere.onnx")
    (tmp_path / "page.onnx").write_text("<html>")
    with pytest.raises(ValueError, match="web page"):
        adapt.load_custom_network(tmp_path / "page.onnx")
    (tmp_path / "cut.onnx").write_bytes(MODEL.read_bytes()[:5000])
    with pytest.raises(ValueError, match="not a complete ONNX file"):
        adapt.load_custom_network(tmp_path / "cut.onnx")


def test_class_names_and_columns_must_agree(tmp_path):
    weights, bias, _, _ = adapt.last_layer(MODEL)
    for classes in (("a", "b"), ("a",) * 3, ("a", "b", "")):
        with pytest.raises(ValueError, match="different names|has weights"):
            adapt.replace_last_layer(MODEL, weights[:, :3], bias[:3], tmp_path / "own.onnx", classes=classes)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ writing

def test_nothing_is_lost_when_writing_goes_wrong(tmp_path, monkeypatch):
    shipped = shutil.copy(MODEL, tmp_path / "shipped.onnx")       # a copy: the check under test might fail
    monkeypatch.setattr(helpers, "MODEL_PATH", shipped)
    weights, bias, _, _ = adapt.last_layer(MODEL)
    copy = shutil.copy(MODEL, tmp_path / "mine.onnx")
    before = copy.read_bytes()
    with pytest.raises(ValueError, match="is the network itself"):
        adapt.replace_last_layer(copy, weights, bias, copy)
    with pytest.raises(ValueError, match="has weights"):
        adapt.replace_last_layer(MODEL, weights[:5], bias, copy)
    with pytest.raises(ValueError, match="NaN or infinity"):
        adapt.replace_last_layer(MODEL, weights * np.nan, bias, copy)
    with pytest.raises(FileNotFoundError, match="create it first"):
        adapt.replace_last_layer(MODEL, weights, bias, tmp_path / "nowhere" / "x.onnx")
    with pytest.raises(ValueError, match="should end in .onnx"):
        adapt.replace_last_layer(MODEL, weights, bias, tmp_path / "notes.md")
    with pytest.raises(ValueError, match="is the network itself"):
        adapt.replace_last_layer(copy, weights, bias, shipped)
    (tmp_path / "page.onnx").write_text("<html>")
    with pytest.raises(ValueError, match="web page"):
        adapt.last_layer(tmp_path / "page.onnx")
    assert copy.read_bytes() == shipped.read_bytes() == before and len(list(tmp_path.iterdir())) == 3


def test_a_network_with_another_input_or_output_is_refused(tmp_path):
    write_network(tmp_path / "small.onnx", np.zeros((48 * 48, 8)), np.zeros(8), side=48)
    with pytest.raises(ValueError, match=r"small.onnx does not accept an input of \(1, 1, 64, 64\)"):
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
    assert "these can no longer be predicted: Neutral, Surprise, Anger" in done.stdout
    faces, labels, _, _ = adapt.load_labelled_faces(pictures)
    assert helpers.forward(helpers.load_network(tmp_path / "my.onnx"), faces).argmax(1).tolist() == labels.tolist()
    failed = run_main(adapt.main, "--pictures", tmp_path / "nowhere", "--out", tmp_path / "other.onnx")
    assert failed.returncode == 2 and "no folder at" in failed.stderr and not (tmp_path / "other.onnx").exists()


def drawn_pictures(folder, count, smiles="Happy", frowns="Sad"):
    """Drawn faces of two expressions: some smile more, some less."""
    rng = np.random.default_rng(8)
    for name, low in ((smiles, 0.5), (frowns, -1.0)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = draw_face(mouth_corners=rng.uniform(low, low + 0.5), brow_height=rng.uniform(-0.5, 0.5))
            helpers.cv2.imwrite(str(folder / name / f"{number:02}.png"), image)
    return folder


def test_the_command_line_measures_on_pictures_that_it_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "MIN_HELD_OUT", 4)                                 # so that sixteen drawings are enough
    folder = drawn_pictures(tmp_path / "drawn", 8)
    done = run_main(adapt.main, "--pictures", folder, "--out", tmp_path / "my.onnx", "--balance")
    assert done.returncode == 0 and "fitted to 12 faces" in done.stdout
    lines = done.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if "4 pictures that were held out" in line)
    assert lines[start + 1].split() == ["accuracy", "mean", "recall", "calibration", "error", "with", "?"]
    before, after = ([float(value.rstrip("%")) for value in lines[start + number].split()[1:]] for number in (2, 3))
    assert lines[start + 2].startswith("before") and lines[start + 3].startswith("after")
    assert len(before) == len(after) == 4 and after[0] >= before[0] and after[0] == after[1] >= 75
    assert "no clear difference" in done.stdout
    done = run_main(adapt.main, "--pictures", folder, "--out", tmp_path / "all.onnx", "--hold-out", "0")
    assert "fitted to 16 faces" in done.stdout and "before" not in done.stdout and "not measured" in done.stdout


def test_the_command_line_measures_on_another_folder(tmp_path):
    folder, other = drawn_pictures(tmp_path / "drawn", 3), drawn_pictures(tmp_path / "other", 2)
    done = run_main(adapt.main, "--pictures", folder, "--test", other, "--out", tmp_path / "my.onnx")
    assert done.returncode == 0 and "fitted to 6 faces" in done.stdout and f"4 pictures in {other}" in done.stdout
    assert "before" in done.stdout and "after" in done.stdout


def test_the_command_line_takes_classes_of_your_own(tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "MIN_HELD_OUT", 4)
    folder = drawn_pictures(tmp_path / "drawn", 8, "up", "down")
    failed = run_main(adapt.main, "--pictures", folder, "--out", tmp_path / "own.onnx")
    assert failed.returncode == 2 and "--custom-classes" in failed.stderr and not (tmp_path / "own.onnx").exists()
    done = run_main(adapt.main, "--pictures", folder, "--out", tmp_path / "own.onnx", "--custom-classes")
    assert done.returncode == 0 and "always the most frequent" in done.stdout and "after" in done.stdout
    net, names = adapt.load_custom_network(tmp_path / "own.onnx")
    assert names == ("down", "up")
    assert [adapt.classify_custom(draw_face(mouth_corners=value), net, names)[0]["label"] for value in (-0.9, 0.9)] == ["down", "up"]
    failed = run_main(adapt.main, "--pictures", folder, "--out", tmp_path / "own.onnx", "--custom-classes", "--alpha", "0.5")
    assert failed.returncode == 2 and "--alpha" in failed.stderr


@pytest.mark.parametrize("options, words", [(["--hold-out", "1"], "fraction"), (["--alpha", "2"], "--alpha")])
def test_wrong_options(pictures, tmp_path, options, words):
    failed = run_main(adapt.main, "--pictures", pictures, "--out", tmp_path / "my.onnx", *options)
    assert failed.returncode == 2 and words in failed.stderr and not (tmp_path / "my.onnx").exists()


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


def test_the_command_adapts_the_given_network_and_alpha_0_changes_nothing(pictures, tmp_path):
    rng = np.random.default_rng(0)
    other = write_network(tmp_path / "other.onnx", rng.normal(0, 1e-3, (4096, 8)), rng.normal(size=8), batch="N")
    faces, labels, _, _ = adapt.load_labelled_faces(pictures)
    for alpha, expected in (("0", adapt.last_layer(other)[:2]), ("1", adapt.fit_last_layer(adapt.extract_features(other, faces), labels))):
        done = run_main(adapt.main, "--pictures", pictures, "--model", other, "--alpha", alpha, "--out", tmp_path / "my.onnx")
        assert done.returncode == 0 and ("no longer be predicted" in done.stdout) == (alpha == "1")
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(adapt.last_layer(tmp_path / "my.onnx"), expected))


def test_nothing_is_said_about_no_pictures():
    with pytest.raises(ValueError, match="nothing to compare: give about 80 pictures"):
        adapt.verdict([], [])


def test_the_test_pictures_must_be_others(own_names, tmp_path):
    done = run_main(adapt.main, "--pictures", own_names, "--test", own_names / ".." / own_names.name, "--out", tmp_path / "my.onnx")
    assert done.returncode == 2 and "--test is the same folder as --pictures" in done.stderr
    assert not (tmp_path / "my.onnx").exists()
