"""Hostile pictures and boxes, seeded: each ends in an answer or in one of our error messages, never in an error from OpenCV.

To run more of them:  FUZZ=10000 .venv/bin/python -m pytest tests/test_fuzz.py
"""
import os

import cv2
import numpy as np
import pytest

import helpers

COUNT = int(os.environ.get("FUZZ", 300))
SENTENCES = ("a picture", "the shape of a picture", "the picture", "pixels", "box", "a box", "padding")


def side(rng):
    return int(np.exp(rng.uniform(0, np.log(rng.choice([60, 600, 4000])))))


def hostile_picture(rng, pictures):
    """One picture of any size, type and layout: cut, turned or scaled from a real one, or noise."""
    if rng.random() < 0.5:
        image = pictures[rng.choice(list(pictures))]
        height, width = image.shape[:2]
        if rng.random() < 0.5:                       # cut anywhere; else whole
            top, left = rng.integers(0, height - 1), rng.integers(0, width - 1)
            image = image[top:top + side(rng), left:left + side(rng)]
        image = np.rot90(image, rng.integers(4))
    else:
        shape = [(side(rng), side(rng)), (side(rng), side(rng), 1)][rng.integers(2)]
        if rng.random() < 0.6:
            shape = (*shape[:2], int(rng.choice([3, 3, 4, 2, 5])))
        if np.prod(shape) > 4e6:
            shape = (2000, 3) if rng.random() < 0.5 else (1, 4000, 3)
        image = rng.integers(0, 256, shape).astype(np.uint8)
    change = rng.integers(12)
    if change == 0:
        image = image.astype(rng.choice([np.float32, np.float64, np.float16])) / rng.choice([1, 255])
    elif change == 1:
        image = image.astype(rng.choice([np.int8, np.int16, np.uint16, np.int64]))
    elif change == 2:
        image = image > 127
    elif change == 3:
        image = image[::-1, ::2]
    elif change == 4:
        image = image[..., ::-1]
    elif change == 5:
        image = image[:0]
    elif change == 6:
        image = np.where(rng.random(image.shape) < 0.01, np.nan, image.astype(float))
    elif change == 7:
        image = image[None]
    elif change == 8:
        image = np.asfortranarray(image)
    return image


@pytest.mark.slow
def test_hostile_pictures(pictures):
    rng = np.random.default_rng(20)
    helpers.init_emotion()
    answers = sentences = found = 0
    for _ in range(COUNT):
        image = hostile_picture(rng, pictures)
        before = image.copy()
        detector = rng.choice(["ssd", "ssd", "ssd", "haar", "hog"])
        try:
            faces = helpers.detect_emotions(image, detector=str(detector))
            drawn = helpers.draw(image, faces)
        except (TypeError, ValueError) as problem:
            assert str(problem).startswith(SENTENCES) or " pixels from " in str(problem), repr(problem)
            sentences += 1
            continue
        answers += 1
        found += len(faces)
        assert drawn.shape == (*image.shape[:2], 3) and drawn.dtype == np.uint8
        assert np.array_equal(before, image) and before.dtype == image.dtype
        for face in faces:
            x, y, w, h = face["box"]
            assert 0 <= x < x + w <= image.shape[1] and 0 <= y < y + h <= image.shape[0]
            assert abs(sum(face["emotions"].values()) - 1) < 1e-6 and min(face["emotions"].values()) >= 0
    assert answers > COUNT / 4 and sentences > COUNT / 10 and found > COUNT / 50


def test_hostile_boxes(pictures):
    rng = np.random.default_rng(21)
    image = pictures["obama"]
    numbers = [0, -1, 1, 50, 727, 728, 909, 910, 1e9, -1e9, np.nan, np.inf, 0.3, 1e-9, np.float32(3.7), np.int8(5)]
    crops = 0
    for _ in range(COUNT):
        box = [numbers[i] for i in rng.integers(0, len(numbers), 4)]
        padding = float(rng.choice([0, 0.1, -0.25, 1, -0.3, 2]))
        try:
            crop = helpers.crop_face(image, box, padding=padding)
        except ValueError as problem:
            assert str(problem).startswith(SENTENCES), repr(problem)
            continue
        crops += 1
        assert crop.shape[0] == crop.shape[1] and helpers.preprocess(crop).shape == (1, 1, 64, 64)
        assert not np.shares_memory(crop, image)
    assert crops > COUNT / 20


def test_files_cut_anywhere(tmp_path, pictures):
    """A JPEG cut at random places, or with bytes changed, is read or refused; OpenCV never raises."""
    rng = np.random.default_rng(22)
    data = cv2.imencode(".jpg", pictures["clip_sad"])[1].tobytes()
    refused = 0
    for _ in range(60):
        broken = bytearray(data[:rng.integers(1, len(data))])
        broken[rng.integers(len(broken))] = rng.integers(256)
        (tmp_path / "broken.jpg").write_bytes(broken)
        try:
            assert helpers.read_image(tmp_path / "broken.jpg").dtype == np.uint8
        except ValueError:
            refused += 1
    assert refused > 50
