"""The network's file, its interface, scores and probabilities, and the data that is returned."""
import hashlib
import json
import shutil
import threading

import cv2
import matplotlib.pyplot as plt
import numpy as np
import onnx
import pytest
from conftest import ROOT, write_network

import helpers

CARD = (ROOT / "Model" / "README.md").read_text(encoding="utf-8")
LABELS = {"grace_hopper": ["Neutral"], "astronaut": ["Happy"], "obama": ["Happy"], "clip_sad": ["Sad"],
          "clip_happy": ["Happy"], "four_people": ["Neutral", "Happy", "Happy", "Happy"]}


# ------------------------------------------------------------------ the shipped file

def test_the_file_is_the_one_on_the_card():
    data = helpers.MODEL_PATH.read_bytes()
    assert hashlib.sha256(data).hexdigest() in CARD and f"{len(data):,} bytes" in CARD


def test_interface_names_and_shapes():
    graph = onnx.load(helpers.MODEL_PATH).graph
    (inputs,), (output,) = graph.input, graph.output
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (inputs, output)]
    assert (inputs.name, output.name, *dims) == ("Input3", "Plus692_Output_0", ["N", 1, 64, 64], ["N", 8])


def test_the_stored_input_gives_the_stored_scores():
    stored = json.loads((ROOT / "Model" / "check.json").read_text())
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.float32), (64, 1))[None, None]
    assert np.abs(helpers.forward(helpers.load_network(), ramp)[0] - stored["scores_of_a_ramp"]).max() < 1e-3


def test_the_order_of_the_labels():
    assert helpers.EMOTIONS == ("Neutral", "Happy", "Surprise", "Sad", "Anger", "Disgust", "Fear", "Contempt")
    assert ", ".join(helpers.EMOTIONS) in CARD


@pytest.mark.parametrize("name", LABELS)
def test_labels_on_the_pictures_of_media(name, pictures):
    helpers.init_emotion()
    assert [face["label"] for face in helpers.detect_emotions(pictures[name])] == LABELS[name]


def test_the_figures_on_the_card_are_those_of_the_evaluation():
    result = json.loads((ROOT / "Model" / "valid.json").read_text())
    assert f"{result['accuracy']:.2%}" in CARD and f"{result['mean_recall']:.2%}" in CARD
    for name, recall in result["recall"].items():
        assert f"| {name} | {result['counts'][name]} | {recall:.1%} |" in CARD
    assert result["accuracy"] == np.trace(result["confusion"]) / result["faces"]


# ------------------------------------------------------------------ loading

def test_what_is_not_a_network(tmp_path):
    whole = helpers.MODEL_PATH.read_bytes()
    for name, data, words in [
            ("pointer.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 35040571\n", "Git LFS pointer"),
            ("page.onnx", b"\n <!DOCTYPE html><html>", "web page"), ("empty.onnx", b"", "empty file"),
            ("half.onnx", whole[:len(whole) // 2], "not a complete ONNX file"), ("short.onnx", whole[:-1], "not a complete ONNX file"),
            ("zeros.onnx", bytes(1000), "ONNX file|different network")]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=words):
            helpers.init_emotion(tmp_path / name)
    with pytest.raises(ValueError, match="is a folder"):
        helpers.init_emotion(tmp_path)
    with pytest.raises(FileNotFoundError, match="no network at .*gone.onnx"):
        helpers.init_emotion(tmp_path / "gone.onnx")
    with pytest.raises(TypeError, match="not None"):
        helpers.init_emotion(None)


@pytest.mark.parametrize("damage", [
    lambda data: data[:427660] + bytes([data[427660] ^ 64]) + data[427661:],      # loads, and calls a Happy face Anger
    lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data + b"\0", lambda data: data[:-1],
    lambda data: data[:1_000_000] + bytes(512) + data[1_000_512:]], ids=["one bit", "last byte", "longer", "shorter", "hole"])
def test_damage_to_the_shipped_network_is_named(damage, tmp_path):
    path = tmp_path / "emotion-ferplus-small.onnx"
    path.write_bytes(damage(helpers.MODEL_PATH.read_bytes()))
    with pytest.raises(ValueError, match="damaged, or not the network of that name .*67f4c7b6.*copy or download it again"):
        helpers.load_network(path)
    shutil.copy(helpers.MODEL_PATH, path)
    helpers.load_network(path)


def test_a_name_that_begins_with_a_tilde_is_not_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(helpers.MODEL_PATH, tmp_path / "~net.onnx")
    helpers.init_emotion("./~net.onnx")
    assert helpers._network_path == tmp_path / "~net.onnx"
    helpers.init_emotion()


def test_seven_outputs_are_refused_with_both_numbers(network_saying):
    with pytest.raises(ValueError, match="7 scores.*8 expressions"):
        helpers.init_emotion(network_saying([0] * 7))


@pytest.mark.parametrize("options", [{"side": 48}, {"channels": 3}])
def test_another_input_shape_is_refused(options, network_saying):
    with pytest.raises(ValueError, match=r"does not accept an input of \(1, 1, 64, 64\): it is a different network"):
        helpers.init_emotion(network_saying([0] * 8, **options))


def test_a_failed_init_keeps_the_network_that_works(tmp_path, pictures):
    helpers.init_emotion()
    with pytest.raises(FileNotFoundError):
        helpers.init_emotion(tmp_path / "gone.onnx")
    assert helpers.detect_emotions(pictures["obama"])[0]["label"] == "Happy"


def test_emotion_before_init_emotion(pictures):
    for function in (helpers.emotion, helpers.detect_emotions):
        with pytest.raises(RuntimeError, match=r"call init_emotion\(\) once"):
            function(pictures["obama"])


# ------------------------------------------------------------------ forward

def test_a_batch_gives_what_single_faces_give(pictures):
    net = helpers.load_network()
    image = pictures["four_people"]
    blobs = [helpers.preprocess(helpers.crop_face(image, face["box"])) for face in helpers.detect_faces(image)]
    single = np.concatenate([helpers.forward(net, blob) for blob in blobs])
    together = helpers.forward(net, blobs)
    assert together.shape == (4, 8) and together.dtype == np.float32
    assert np.abs(together - single).max() < 1e-4
    assert np.abs(helpers.forward(net, blobs[:1]) - single[:1]).max() < 1e-4     # back to one


def test_a_network_whose_batch_is_fixed_at_one(tmp_path):
    """The original's form: batch 1, constant Reshape. The rows must be those of single passes."""
    rng = np.random.default_rng(0)
    path = write_network(tmp_path / "fixed.onnx", rng.normal(0, 1e-3, (4096, 8)), rng.normal(size=8), batch=1)
    net = helpers.load_network(path)
    faces = rng.uniform(0, 255, (3, 1, 64, 64)).astype(np.float32)
    single = np.concatenate([helpers.forward(net, face[None]) for face in faces])
    assert helpers.forward(net, faces).shape == (3, 8)
    assert np.abs(helpers.forward(net, faces) - single).max() < 1e-4
    assert np.ptp(single, axis=0).max() > 0.01       # the three rows do differ


def test_no_faces_no_scores():
    assert helpers.forward(helpers.load_network(), []).shape == (0, 8)


@pytest.mark.parametrize("faces, words", [
    (np.zeros((1, 3, 64, 64), np.float32), "1, 3, 64, 64"), (np.zeros((64, 64), np.float32), "64, 64"),
    ([None], "contains None"), (["face.jpg"], "call preprocess on each"), ([np.zeros((50, 50, 3), np.uint8)], "50, 50, 3"),
    (np.zeros((1, 1, 48, 48), np.float32), "48"), (np.zeros((1, 1, 64, 64), np.uint8), "uint8"), (None, "None"),
    (np.full((1, 1, 64, 64), np.nan, np.float32), "NaN"), (np.full((1, 1, 64, 64), 300, np.float32), "0..255"),
    (np.full((1, 1, 64, 64), -1, np.float32), "0..255"), (np.full((1, 1, 64, 64), 0.5, np.float32), "divide by 255"),
    (np.linspace(0, 1, 4096, dtype=np.float32).reshape(1, 1, 64, 64), "divide by 255")])
def test_what_forward_refuses(faces, words):
    with pytest.raises(ValueError, match=words):
        helpers.forward(helpers.load_network(), faces)


@pytest.mark.parametrize("net", [None, "Model/emotion-ferplus-small.onnx"])
def test_forward_without_a_network(net):
    with pytest.raises(TypeError, match="the network that load_network returns"):
        helpers.forward(net, np.zeros((1, 1, 64, 64), np.float32))


def test_threads_that_share_one_network_get_their_own_scores():
    net, rng = helpers.load_network(), np.random.default_rng(0)
    batches = [rng.uniform(0, 255, (count, 1, 64, 64)).astype(np.float32) for count in (1, 3)]
    expected = [helpers.forward(net, batch) for batch in batches]
    wrong = []

    def work(batch, scores):
        try:
            wrong.extend("other scores" for _ in range(40) if np.abs(helpers.forward(net, batch) - scores).max() > 1e-3)
        except Exception as problem:
            wrong.append(problem)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(batches, expected)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert wrong == []


def test_black_is_a_valid_face():
    assert helpers.forward(helpers.load_network(), np.zeros((1, 1, 64, 64), np.float32)).shape == (1, 8)


def test_scores_with_nan_or_infinity_are_refused(network_saying, pictures):
    helpers.init_emotion(network_saying([0, 0, np.nan, 0, 0, 0, 0, 0]))
    with pytest.raises(ValueError, match="damaged"):
        helpers.emotion(pictures["obama"])


# ------------------------------------------------------------------ softmax, labels

def test_softmax_by_hand():
    scores = [2, 5, 0, -1, 0, 0, 0, 0]
    powers = [2.718281828459045 ** s for s in scores]
    assert np.allclose(helpers.softmax(scores), np.array(powers) / sum(powers), atol=1e-12)
    assert abs(helpers.softmax(scores).sum() - 1) < 1e-12


def test_softmax_of_rows_and_of_large_scores():
    table = helpers.softmax([[1000, 0], [0, -1000], [3, 3]])
    assert np.allclose(table, [[1, 0], [1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("scores", [[], 5, [np.nan, 1], [np.inf, 1], np.zeros((3, 0))])
def test_what_softmax_refuses(scores):
    with pytest.raises(ValueError, match="softmax needs finite scores along the last axis"):
        helpers.softmax(scores)


@pytest.mark.parametrize("place", range(8))
def test_each_index_has_its_name_and_softmax_is_applied_once(place, network_saying, pictures):
    scores = np.zeros(8)
    scores[place] = 3
    helpers.init_emotion(network_saying(scores))
    (face,) = helpers.detect_emotions(pictures["obama"])
    assert face["label"] == helpers.EMOTIONS[place]
    assert list(face["emotions"]) == list(helpers.EMOTIONS)
    assert face["emotions"][face["label"]] == pytest.approx(np.exp(3) / (np.exp(3) + 7), abs=1e-6)
    assert sum(face["emotions"].values()) == pytest.approx(1, abs=1e-9)


def test_the_data_are_plain_and_survive_json(pictures):
    helpers.init_emotion()
    faces = helpers.detect_emotions(pictures["four_people"])
    assert json.loads(json.dumps(faces)) == faces
    assert set(faces[0]) == {"box", "confidence", "label", "probability", "emotions"}


def test_two_different_faces_get_different_numbers(pictures):
    helpers.init_emotion()
    sad, happy = (helpers.detect_emotions(pictures[name])[0]["emotions"] for name in ("clip_sad", "clip_happy"))
    assert happy["Happy"] > 0.9 > sad["Happy"] + 0.5


def test_top_emotion_is_that_of_the_largest_face(pictures):
    helpers.init_emotion()
    sad, happy = pictures["clip_sad"], pictures["clip_happy"]
    for large, small, label in ((sad, happy, "Sad"), (happy, sad, "Happy")):
        image = np.full((large.shape[0], large.shape[1] + small.shape[1] // 2, 3), 128, np.uint8)
        image[:, :large.shape[1]] = large
        image[:small.shape[0] // 2, large.shape[1]:] = cv2.resize(small, (small.shape[1] // 2, small.shape[0] // 2),
                                                                  interpolation=cv2.INTER_AREA)
        faces = helpers.detect_emotions(image)
        assert len(faces) == 2 and {face["label"] for face in faces} == {"Sad", "Happy"}
        assert helpers.top_emotion(image) == (label, faces[0]["probability"])       # the large one is on the left
    assert helpers.top_emotion(np.full((90, 90, 3), 128, np.uint8)) == (None, None)


# ------------------------------------------------------------------ drawing, showing

def face_at(box, label="Happy", probability=0.9):
    rest = dict.fromkeys(helpers.EMOTIONS, (1 - probability) / 7)
    return {"box": list(box), "confidence": 1.0, "label": label, "emotions": {**rest, label: probability}}


@pytest.mark.parametrize("size, box", [((600, 800), (300, 200, 150, 200)), ((600, 800), (0, 0, 80, 100)),
                                       ((600, 800), (760, 560, 40, 40)), ((64, 64), (10, 10, 40, 50)),
                                       ((2000, 3000), (100, 100, 30, 40)), ((40, 400), (0, 0, 400, 40))])
def test_label_and_box_lie_inside_the_picture(size, box):
    image = np.zeros((*size, 3), np.uint8)
    drawn = helpers.draw(image, [face_at(box)])
    amber = (drawn == (0, 200, 255)).all(2)
    x, y, w, h = box
    assert drawn.shape == image.shape and amber[y:y + h, x].mean() > 0.5      # the left side of the box
    in_the_middle = (size[1] - w) // 2, (size[0] - h) // 2, w, h
    assert text_size(size, box) == text_size(size, in_the_middle)             # nothing of the text is cut off


def text_size(size, box):
    """Height and width in pixels of a label's text, the only thing in the picture that is black."""
    drawn = helpers.draw(np.full((*size, 3), 200, np.uint8), [face_at(box)])
    rows, columns = np.nonzero((drawn < 60).all(2))
    return np.ptp(rows), np.ptp(columns)


def label_width(box, **changes):
    """Width in pixels of the label above a face, which must not be cut off."""
    drawn = helpers.draw(np.zeros((600, 800, 3), np.uint8), [{**face_at(box), **changes}])
    columns = np.nonzero((drawn[:box[1] - 1] == (0, 200, 255)).all(2).any(0))[0]
    return columns.max() - columns.min() + 1


def test_a_label_at_the_border_is_as_wide_as_anywhere():
    assert label_width((760, 300, 40, 40)) == label_width((300, 300, 40, 40)) > 40


def test_a_doubtful_face_shows_how_doubtful_it_is():
    box = 300, 300, 200, 200
    widths = {c: label_width(box, confidence=c) / 200 for c in (0.89, 0.9, None)}
    heights = [np.nonzero((helpers.draw(np.zeros((600, 800, 3), np.uint8), [{**face_at(box), "confidence": c}])[:299]
                           == (0, 200, 255)).all(2).any(1))[0].min() for c in (0.89, 0.9)]
    assert widths[0.9] == widths[None] and heights[0] > heights[1]      # a longer text in the same width is smaller


def test_the_label_can_be_read_on_small_and_large_pictures(pictures):
    helpers.init_emotion()
    for width in (320, 1600, 3200):
        image = cv2.resize(pictures["obama"], (width, width * 910 // 728))
        faces = helpers.detect_emotions(image)
        added = np.argwhere((helpers.draw(image, faces) != helpers.draw(
            image, [{"box": face["box"]} for face in faces])).any(2))
        height, label_width = np.ptp(added, axis=0) + 1
        assert height >= 12 and label_width < width


def test_a_label_with_a_low_probability_has_a_question_mark():
    image = np.zeros((200, 200, 3), np.uint8)
    drawn = [helpers.draw(image, [face_at((50, 50, 100, 100), probability=p)]) for p in (0.71, 0.7, 0.69)]
    sure, just_sure, unsure = (np.nonzero((d[:49] == (0, 200, 255)).all(2).any(0))[0].max() for d in drawn)
    assert sure == just_sure < unsure - 5                # all have as many digits, each as wide as any other


def test_a_doubtful_detection_shows_its_confidence():
    image = np.zeros((200, 400, 3), np.uint8)

    def label_width(confidence):
        drawn = helpers.draw(image, [{**face_at((10, 50, 100, 100)), "confidence": confidence}])
        return np.nonzero((drawn[:49] == (0, 200, 255)).all(2).any(0))[0].max()

    assert label_width(None) == label_width(0.9) < label_width(0.89) - 10
    assert label_width(0.0) > label_width(None) + 10                     # no confidence at all is the most doubtful


def test_show_turns_bgr_into_rgb(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "imshow", shown.append)
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, :4, 2] = image[:, 4:, 0] = 255          # left red, right blue
    helpers.show(image)
    assert shown[0][0, 0].tolist() == [255, 0, 0] and shown[0][0, 7].tolist() == [0, 0, 255]


@pytest.mark.parametrize("shape, inches", [((40, 80), (6, 3)), ((80, 40), (6, 12)), ((80, 60), (6, 8)), ((10, 500), (6, 1))])
def test_a_shown_picture_keeps_its_shape(shape, inches):
    helpers.show(np.zeros((*shape, 3), np.uint8))
    assert plt.gcf().get_size_inches().tolist() == list(inches)
    plt.close("all")


@pytest.mark.parametrize("shape, inches", [((40, 80), (6, 3)), ((80, 40), (6, 12)), ((40, 100), (10, 4))])
def test_emotion_shows_wide_pictures_larger(shape, inches):
    helpers.init_emotion()
    helpers.emotion(np.zeros((*shape, 3), np.uint8))
    assert plt.gcf().get_size_inches().tolist() == list(inches)
    plt.close("all")


@pytest.mark.parametrize("wrong", [0.8, "haar", None])
def test_a_forgotten_option_name_is_noticed(wrong, pictures):
    helpers.init_emotion()
    with pytest.raises(TypeError, match="returndata"):
        helpers.emotion(pictures["obama"], wrong)


@pytest.mark.parametrize("faces", [None, {"box": [1, 2, 3, 4]}, [[1, 2, 3, 4]], "face"])
def test_what_draw_refuses(faces):
    with pytest.raises(TypeError, match="list of faces"):
        helpers.draw(np.zeros((9, 9, 3), np.uint8), faces)


@pytest.mark.parametrize("face", [
    {"box": None}, {"box": [1, 2, 3]}, {"box": [np.nan, 1, 2, 3]}, {"box": [1, 2, 3, np.inf]}, {"box": "1234 "},
    {"box": [1, 2, 3, 4], "label": "Sad"}, {"box": [1, 2, 3, 4], "label": "Sad", "emotions": {"Happy": 1.0}}])
def test_faces_that_draw_cannot_read(face):
    with pytest.raises(ValueError, match="draw needs a list of faces, but .* is not a valid face"):
        helpers.draw(np.zeros((9, 9, 3), np.uint8), [face])


@pytest.mark.parametrize("width", [-1, 0, "3", None, np.nan])
def test_what_is_not_a_width(width):
    with pytest.raises(ValueError, match="inches"):
        helpers.show(np.zeros((9, 9, 3), np.uint8), width=width)


def test_emotion_shows_or_returns(monkeypatch, pictures):
    shown = []
    monkeypatch.setattr(helpers, "show", lambda image, **options: shown.append(image))
    helpers.init_emotion()
    assert helpers.emotion(pictures["obama"]) is None and len(shown) == 1
    assert np.array_equal(shown[0], helpers.emotion(pictures["obama"], returndata=True))
    helpers.emotion(pictures["obama"], returndata=True, confidence=1.0, detector="haar")
    assert len(shown) == 1


def test_a_network_that_flattens_everything_to_one_row_gets_the_faces_one_by_one(tmp_path):
    """As PyTorch exports x.view(1, -1): such a network refuses a batch, or mixes its faces."""
    rng = np.random.default_rng(0)
    path = write_network(tmp_path / "one_row.onnx", rng.normal(0, 1e-3, (4096, 8)), rng.normal(size=8), batch=1)
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([1, -1], np.int64), "shape"))
    onnx.save(model, path)
    net = helpers.load_network(path)
    faces = rng.uniform(0, 255, (3, 1, 64, 64)).astype(np.float32)
    single = np.concatenate([helpers.forward(net, face[None]) for face in faces])
    assert np.abs(helpers.forward(net, faces) - single).max() < 1e-4 and np.ptp(single, axis=0).max() > 0.01
