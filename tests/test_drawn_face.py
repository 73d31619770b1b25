"""The drawn face: the network returns the expression that is drawn, each control changes one thing, and the laboratory follows its sliders."""
import re

import cv2
import numpy as np
import pytest

import drawn_face
import helpers
from drawn_face import CONTROLS, EXPRESSIONS, draw_face


@pytest.fixture(autouse=True)
def loaded():
    helpers.init_emotion()


@pytest.mark.parametrize("expression", helpers.EMOTIONS)
def test_each_expression_is_found_and_named(expression):
    image = draw_face(**EXPRESSIONS[expression])
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8 and (image[..., 0] == image[..., 2]).all()
    (face,) = helpers.detect_emotions(image)
    assert face["label"] == expression and face["probability"] > 0.5 and face["confidence"] > 0.95


def test_there_is_a_drawing_for_each_label_in_their_order():
    assert tuple(EXPRESSIONS) == helpers.EMOTIONS
    assert all(CONTROLS[name][0] <= value <= CONTROLS[name][1]
               for controls in EXPRESSIONS.values() for name, value in controls.items())


@pytest.mark.parametrize("name, rows", [
    ("brow_height", (30, 110)), ("brow_slant", (60, 110)), ("eye_opening", (85, 140)), ("mouth_opening", (160, 240)),
    ("mouth_corners", (90, 225)), ("mouth_width", (180, 215)), ("lip_raise", (140, 215)), ("asymmetry", (140, 215)),
    ("nose_wrinkle", (65, 200))])
def test_a_control_changes_its_part_of_the_face_only(name, rows):
    changed = np.flatnonzero((draw_face(**{name: CONTROLS[name][1]}) != draw_face()).any((1, 2)))
    assert len(changed) and changed.min() >= rows[0] and changed.max() <= rows[1]


def test_only_asymmetry_makes_the_halves_differ():
    for name, (_, high) in CONTROLS.items():
        image = draw_face(**{name: high}).astype(int)
        differs = np.abs(image[:, 1:] - image[:, :0:-1]).max() > 30      # mirrored about x = 128
        assert differs == (name == "asymmetry"), name


@pytest.mark.parametrize("controls, error, words", [
    ({"smile": 1}, TypeError, "no control 'smile': choose from brow_height"),
    ({"mouth_opening": -0.5}, ValueError, "from 0 to 1"),
    ({"brow_slant": 1.5}, ValueError, "from -1 to 1"),
    ({"brow_slant": float("nan")}, ValueError, "brow_slant"),
    ({"brow_slant": "up"}, (TypeError, ValueError), "brow_slant")])
def test_bad_controls_are_refused_with_an_explanation(controls, error, words):
    with pytest.raises(error, match=re.escape(words)):
        draw_face(**controls)


def shown(laboratory):
    """(buttons, PNG as an array, {label: percent}, sliders by description)."""
    buttons, (picture, bars, sliders) = laboratory.children[0].children, laboratory.children[1].children
    image = cv2.imdecode(np.frombuffer(picture.value, np.uint8), cv2.IMREAD_COLOR)
    percent = {name: int(value) for name, value in re.findall(r"<td>(\w+)</td>.*?(\d+)%</td></tr>", bars.value)}
    return {button.description: button for button in buttons}, image, percent, {s.description: s for s in sliders.children}


def test_picture_and_bars_follow_the_sliders():
    laboratory = drawn_face.laboratory()
    _, before, percent, sliders = shown(laboratory)
    assert tuple(percent) == helpers.EMOTIONS and percent["Neutral"] > 50
    assert len(sliders) == len(CONTROLS)
    sliders["mouth corners"].value = 1
    _, after, percent, _ = shown(laboratory)
    assert percent["Happy"] > 50 and (after == draw_face(mouth_corners=1)).all() and (before != after).any()


def test_a_button_sets_every_slider():
    laboratory = drawn_face.laboratory("Fear")
    buttons, _, percent, _ = shown(laboratory)
    assert max(percent, key=percent.get) == "Fear"
    buttons["Surprise"].click()
    _, image, percent, sliders = shown(laboratory)
    assert max(percent, key=percent.get) == "Surprise" and (image == draw_face(**EXPRESSIONS["Surprise"])).all()
    assert sliders["brow slant"].value == 0                     # Fear had it raised


def test_what_the_laboratory_cannot_do_is_reported(monkeypatch):
    with pytest.raises(ValueError, match="start is 'Bored': choose from Neutral"):
        drawn_face.laboratory("Bored")
    assert drawn_face.bars_html([]) == "The detector finds no face here."
    monkeypatch.setattr(helpers, "_network", None)
    with pytest.raises(RuntimeError, match="init_emotion"):
        drawn_face.laboratory()
