"""What goes in: files and arrays, good and bad."""
import io

import cv2
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import helpers

HOPPER = ROOT / "Media" / "grace_hopper.jpg"


# ------------------------------------------------------------------ read_image

def test_colours_are_bgr(tmp_path):
    Image.new("RGB", (8, 8), (255, 0, 10)).save(tmp_path / "red.png")
    assert helpers.read_image(tmp_path / "red.png")[0, 0].tolist() == [10, 0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_phone_pictures_are_turned_upright(orientation, tmp_path, pictures):
    """Pixels stored as the tag says, then read back: the same box (within 2 pixels) and the same label."""
    undo = {1: [], 2: [Image.FLIP_LEFT_RIGHT], 3: [Image.ROTATE_180], 4: [Image.FLIP_TOP_BOTTOM],
            5: [Image.TRANSPOSE], 6: [Image.ROTATE_90], 7: [Image.TRANSVERSE], 8: [Image.ROTATE_270]}
    upright = Image.open(HOPPER)
    stored = upright
    for turn in undo[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    image = helpers.read_image(tmp_path / "phone.jpg")
    assert image.shape == (600, 512, 3)
    helpers.init_emotion()
    (face,), (expected,) = helpers.detect_emotions(image), helpers.detect_emotions(pictures["grace_hopper"])
    assert np.abs(np.subtract(face["box"], expected["box"])).max() <= 2
    assert face["label"] == expected["label"]


@pytest.mark.parametrize("folder", ["Привет", "café au lait", "two words", "smile 😀"])
def test_any_folder_name(folder, tmp_path):
    (tmp_path / folder).mkdir()
    copy = tmp_path / folder / "grace é.jpg"
    copy.write_bytes(HOPPER.read_bytes())
    assert np.array_equal(helpers.read_image(copy), helpers.read_image(HOPPER))
    model = tmp_path / folder / "network é.onnx"
    model.write_bytes(helpers.MODEL_PATH.read_bytes())
    helpers.load_network(model)


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "me.jpg").write_bytes(HOPPER.read_bytes())
    assert helpers.read_image("~/me.jpg").shape == (600, 512, 3)


def test_missing_file_names_the_whole_path_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        helpers.read_image("nobody.jpg")
    assert str(tmp_path / "nobody.jpg") in str(caught.value) and "current folder" in str(caught.value)


@pytest.mark.parametrize("path, error, words", [
    (None, TypeError, "not None"), (7, TypeError, "not a int"), (["a.jpg", "b.jpg"], TypeError, "not a list"),
    ("", ValueError, "empty path"), (ROOT / "Media", ValueError, "is a folder"),
    ("https://example.org/face.jpg", ValueError, "download the picture first"),
    ("a\0.jpg", FileNotFoundError, "no picture can be at"), ("a" * 5000, FileNotFoundError, "no picture can be at"),
    ("~nosuchuser/face.jpg", FileNotFoundError, "no picture can be at")])
def test_what_is_no_path(path, error, words):
    with pytest.raises(error, match=words):
        helpers.read_image(path)


def test_empty_text_and_cut_files_each_have_their_sentence(tmp_path):
    whole = HOPPER.read_bytes()
    png = cv2.imencode(".png", helpers.read_image(HOPPER))[1].tobytes()
    for name, data, words in [("empty.jpg", b"", "empty file"), ("text.jpg", b"hello, I am text", "not a picture"),
                              ("cut.jpg", whole[:len(whole) // 2], "can't be read completely"),
                              ("cut.png", png[:len(png) // 2], "can't be read completely"),
                              ("page.png", b"<!DOCTYPE html><p>404", "not a picture")]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=words):
            helpers.read_image(tmp_path / name)


def test_hidden_colours_under_transparency_are_not_seen(tmp_path, pictures):
    hidden = np.dstack([pictures["obama"], np.zeros(pictures["obama"].shape[:2], np.uint8)])
    cv2.imwrite(str(tmp_path / "hidden.png"), hidden)
    image = helpers.read_image(tmp_path / "hidden.png")
    assert image.min() == 255 and helpers.detect_faces(image) == []
    assert helpers.detect_faces(hidden) == []


def test_16_bit_png_becomes_8_bit(tmp_path, pictures):
    cv2.imwrite(str(tmp_path / "deep.png"), pictures["obama"].astype(np.uint16) * 257)
    assert np.abs(helpers.read_image(tmp_path / "deep.png").astype(int) - pictures["obama"]).max() <= 1


def test_grey_and_palette_files(tmp_path):
    Image.open(HOPPER).convert("L").save(tmp_path / "grey.png")
    Image.open(HOPPER).convert("P").save(tmp_path / "palette.gif")
    assert helpers.read_image(tmp_path / "grey.png").shape == (600, 512, 3)
    assert helpers.read_image(tmp_path / "palette.gif").shape == (600, 512, 3)


# ------------------------------------------------------------------ to_bgr

def grey(image):
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


@pytest.mark.parametrize("change", [
    grey, lambda i: grey(i)[..., None], lambda i: np.dstack([i, np.full(i.shape[:2], 255, np.uint8)]),
    lambda i: i.astype(np.int64), lambda i: i.astype(np.uint16), lambda i: i[:, ::-1].copy()[:, ::-1],
    lambda i: np.asfortranarray(i), lambda i: np.rot90(np.rot90(i, -1).copy())],
    ids=["grey", "one channel", "opaque", "int64", "uint16", "view", "column order", "turned view"])
def test_usual_forms_give_the_same_face_and_label(change, pictures):
    helpers.init_emotion()
    changed = change(pictures["obama"])
    (face,), (expected,) = helpers.detect_emotions(changed), helpers.detect_emotions(pictures["obama"])
    assert np.abs(np.subtract(face["box"], expected["box"])).max() <= 4
    assert face["label"] == expected["label"] == "Happy"


@pytest.mark.parametrize("image, error, words", [
    (None, TypeError, "not None"), ("a.jpg", TypeError, r"read_image\('a.jpg'\)"),
    (ROOT / "x.jpg", TypeError, "read_image"), ([[1, 2], [3, 4]], TypeError, "not a list"),
    (Image.new("RGB", (9, 9)), TypeError, "NumPy array"),
    (np.zeros((9, 9), bool), TypeError, "not bool"), (np.zeros((9, 9, 3), np.float32), TypeError, "not float32"),
    (np.full((9, 9, 3), np.nan), TypeError, "not float64"), (np.zeros((9, 9), complex), TypeError, "complex"),
    (np.zeros((9, 9), object), TypeError, "object"), (np.zeros((0, 9, 3), np.uint8), ValueError, "empty"),
    (np.zeros((2, 9, 9, 3), np.uint8), ValueError, r"\(2, 9, 9, 3\)"), (np.zeros(9, np.uint8), ValueError, "not \\(9,\\)"),
    (np.zeros((9, 9, 2), np.uint8), ValueError, r"\(9, 9, 2\)"), (np.zeros((3, 9, 9), np.uint8), ValueError, "3, 9, 9"),
    (np.full((9, 9), 300, np.uint16), ValueError, "/ 257"), (np.full((9, 9), -1), ValueError, "from -1")])
def test_bad_arrays_get_a_sentence(image, error, words):
    helpers.init_emotion()
    for function in (helpers.to_bgr, helpers.detect_faces, helpers.preprocess, helpers.emotion, helpers.show,
                     lambda i: helpers.draw(i, []), lambda i: helpers.crop_face(i, (0, 0, 5, 5))):
        with pytest.raises(error, match=words):
            function(image)


def test_input_is_never_changed(pictures):
    helpers.init_emotion()
    image = pictures["four_people"].copy()
    drawn = helpers.emotion(image, returndata=True)
    assert np.array_equal(image, pictures["four_people"])
    assert not np.shares_memory(image, drawn) and not np.array_equal(image, drawn)
    empty = np.full((100, 100, 3), 7, np.uint8)
    assert not np.shares_memory(empty, helpers.emotion(empty, returndata=True))


def test_pillow_and_bytes_give_the_same_answer(pictures):
    helpers.init_emotion()
    pillow = np.array(Image.open(io.BytesIO(HOPPER.read_bytes())).convert("RGB"))[..., ::-1]
    (face,), (expected,) = helpers.detect_emotions(pillow), helpers.detect_emotions(pictures["grace_hopper"])
    assert np.abs(np.subtract(face["box"], expected["box"])).max() <= 2 and face["label"] == expected["label"]
