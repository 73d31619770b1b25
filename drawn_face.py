"""A drawn face whose expression is known, because you set it. It needs no camera, no consent and no licence.

    image = drawn_face.draw_face(mouth_corners=1)       # a smile; every control that is left out stays at 0
    image = drawn_face.draw_face(**drawn_face.EXPRESSIONS["Fear"])
    drawn_face.laboratory()                             # in a notebook: sliders, and eight bars that follow them

The face consists of ellipses and curves in a picture of 256 x 256 pixels, blurred a little so that it looks less like a
drawing to the network. All positions below are in these pixels, from the top left corner.
"""
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

import checks
import helpers

if TYPE_CHECKING:
    import ipywidgets

SIZE = 256             # pixels: width and height of the picture
CENTRE = 128           # x of the middle of the face
SUBPIXELS = 16         # OpenCV draws with whole numbers; these are sixteenths of a pixel
BACKGROUND, HAIR, SKIN, SHADOW, DARK, WHITE = 110, 45, 200, 150, 50, 240     # grey levels

CONTROLS = {                       # name: lowest and highest value
    "brow_height": (-1.0, 1.0),    # lowered .. raised
    "brow_slant": (-1.0, 1.0),     # inner ends down, as in anger .. up, as in sorrow
    "eye_opening": (-1.0, 1.0),    # narrow .. wide open
    "mouth_opening": (0.0, 1.0),
    "mouth_corners": (-1.0, 1.0),  # down .. up
    "mouth_width": (-1.0, 1.0),    # narrow .. wide
    "lip_raise": (0.0, 1.0),       # how far the upper lip is pulled up
    "asymmetry": (0.0, 1.0),       # how much higher the right corner of the mouth is
    "nose_wrinkle": (0.0, 1.0),
}

EXPRESSIONS: dict[str, dict[str, float]] = {
    "Neutral": {},
    "Happy": {"mouth_corners": 1, "mouth_width": 0.6},
    "Surprise": {"brow_height": 0.7, "eye_opening": 1, "mouth_opening": 0.9, "mouth_width": -0.6},
    "Sad": {"brow_height": -0.3, "brow_slant": 1, "eye_opening": -0.3, "mouth_corners": -0.8},
    "Anger": {"brow_height": -0.9, "brow_slant": -1, "eye_opening": 0.4, "mouth_corners": -0.3},
    "Disgust": {"brow_height": -0.8, "brow_slant": -0.1, "mouth_corners": -0.4, "lip_raise": 0.3, "nose_wrinkle": 1},
    "Fear": {"brow_height": 0.7, "brow_slant": 0.8, "eye_opening": 1, "mouth_opening": 0.5, "mouth_corners": -0.3,
             "mouth_width": 0.7},
    "Contempt": {"brow_height": -0.4, "brow_slant": -0.3, "mouth_corners": -0.4, "mouth_width": -0.7, "asymmetry": 1},
}

Point = tuple[float, float]
Grey = npt.NDArray[np.uint8]


def draw_face(**controls: float) -> helpers.Image:
    """Draw a face.

    Parameters
    ----------
    **controls : float
        Any of CONTROLS, within the range given there. Controls that are left out are 0; with all at 0, the face is relaxed.

    Returns
    -------
    numpy.ndarray
        uint8 (256, 256, 3), grey in all three channels.

    Raises
    ------
    TypeError, ValueError
        For a control that does not exist, or a value outside its range.
    """
    for name, value in controls.items():
        if name not in CONTROLS:
            raise TypeError(f"draw_face has no control {name!r}: choose from {', '.join(CONTROLS)}")
        low, high = CONTROLS[name]
        checks.check_number(name, value, f"a number from {low:g} to {high:g}", low=low, high=high)
    set_to = {name: float(controls.get(name, 0)) for name in CONTROLS}
    image = np.full((SIZE, SIZE), BACKGROUND, np.uint8)
    _ellipse(image, (CENTRE, 100), (100, 105), HAIR)
    _ellipse(image, (CENTRE, 134), (88, 112), SKIN)
    for side in (-1, 1):           # left and right in the picture
        _draw_eye(image, side, set_to)
        _draw_brow(image, side, set_to)
        _draw_nose(image, side, set_to)
    _draw_mouth(image, set_to)
    return cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 2), cv2.COLOR_GRAY2BGR)


def _draw_eye(image: Grey, side: int, set_to: Mapping[str, float]) -> None:
    """Draw the white of an eye, the iris and the two lids."""
    x, y = CENTRE + side * 38, 112
    opening = max(6.5 + 8 * set_to["eye_opening"] - 3 * set_to["nose_wrinkle"] - 2 * max(set_to["mouth_corners"], 0), 1.5)
    _ellipse(image, (x, y), (17, opening), WHITE)
    _ellipse(image, (x, y), (8, min(8, opening)), 60)
    _curve(image, [(x - 19, y + 1), (x, y - opening - 1), (x + 19, y + 1)], 70, 3)
    _curve(image, [(x - 17, y + 2), (x, y + opening + 1), (x + 17, y + 2)], 140, 2)


def _draw_brow(image: Grey, side: int, set_to: Mapping[str, float]) -> None:
    """Draw a brow, and the wrinkles next to it and above it."""
    x, slant = CENTRE + side * 38, 13 * set_to["brow_slant"]
    y = 84 - 13 * set_to["brow_height"] + 4 * set_to["nose_wrinkle"]
    _curve(image, [(x - side * 24, y - slant + 2), (x, y - 3), (x + side * 24, y + slant * 0.6 + 4)], DARK, 7)
    frown = max(-set_to["brow_slant"], 0)
    _curve(image, [(CENTRE + side * 7, 94), (CENTRE + side * 8, 85), (CENTRE + side * 6, 76)], SKIN - 90 * frown, 3)
    for line in range(3):
        forehead = 62 - 9 * line
        _curve(image, [(CENTRE, forehead - 3), (CENTRE + side * 20, forehead - 2), (CENTRE + side * 38, forehead)],
               SKIN - 60 * max(set_to["brow_height"], 0), 2)


def _draw_nose(image: Grey, side: int, set_to: Mapping[str, float]) -> None:
    """Draw the ridge, a nostril, the wrinkles across the nose, and the fold from the nose to the corner of the mouth."""
    wrinkle = set_to["nose_wrinkle"]
    _curve(image, [(CENTRE + side * 12, 104), (CENTRE + side * 10, 130), (CENTRE + side * 17, 152 - 4 * wrinkle)], 165, 2)
    _ellipse(image, (CENTRE + side * 9, 154 - 4 * wrinkle), (5, 3), 90)
    for line in range(3):
        y = 112 + 8 * line
        _curve(image, [(CENTRE + side * 3, y), (CENTRE + side * 10, y - 2), (CENTRE + side * 15, y + 2)], SKIN - 90 * wrinkle, 3)
    fold = 0.7 * max(set_to["mouth_corners"], 0) + wrinkle + 0.8 * set_to["lip_raise"] + (side > 0) * set_to["asymmetry"]
    _curve(image, [(CENTRE + side * 20, 152 - 6 * wrinkle), (CENTRE + side * 36, 164), (CENTRE + side * 42, 186)],
           SKIN - 70 * min(fold, 1), 3)


def _draw_mouth(image: Grey, set_to: Mapping[str, float]) -> None:
    """Draw two lips as curves from corner to corner, dark between them, with teeth where the upper lip is raised."""
    corners, opening, raised = set_to["mouth_corners"], set_to["mouth_opening"], set_to["lip_raise"]
    half = 36 + 12 * set_to["mouth_width"] + 6 * corners - 8 * opening
    y, up = 196, 16 * corners
    left = (CENTRE - half, y - up)
    right = (CENTRE + half + 4 * set_to["asymmetry"], y - up - 22 * set_to["asymmetry"])
    upper = (CENTRE, y + 0.35 * up - 15 * opening - 12 * raised)
    lower = (CENTRE, y + 0.45 * up + 27 * opening + 2)
    _fill(image, [left, upper, right], [right, lower, left], DARK)
    if max(up, 0) + 10 * raised > 4:
        _fill(image, [left, upper, right], [right, (CENTRE, min(upper[1] + 12, lower[1])), left], WHITE)
    _curve(image, [left, upper, right], 90, 5)
    _curve(image, [left, lower, right], 90, 5)


def _through(points: Sequence[Point]) -> npt.NDArray[np.float64]:
    """Return 25 points of the parabola from the first to the third point that passes through the second one half-way."""
    start, middle, end = np.array(points, np.float64)
    t = np.linspace(0, 1, 25)[:, None]
    return np.asarray(start * (1 - t) * (1 - 2 * t) + middle * 4 * t * (1 - t) + end * t * (2 * t - 1))


def _fixed(points: npt.ArrayLike) -> npt.NDArray[np.int32]:
    return (np.asarray(points) * SUBPIXELS).round().astype(np.int32)


def _curve(image: Grey, points: Sequence[Point], grey: float, thickness: int) -> None:
    cv2.polylines(image, [_fixed(_through(points))], False, grey, thickness, cv2.LINE_AA, 4)


def _fill(image: Grey, there: Sequence[Point], back: Sequence[Point], grey: float) -> None:
    cv2.fillPoly(image, [_fixed(np.concatenate([_through(there), _through(back)]))], grey, cv2.LINE_AA, 4)


def _ellipse(image: Grey, centre: Point, axes: Point, grey: float) -> None:
    cv2.ellipse(image, _fixed(centre).tolist(), _fixed(axes).tolist(), 0, 0, 360, grey, cv2.FILLED, cv2.LINE_AA, 4)


# ---------------------------------------------------------------- the laboratory: sliders and bars

def laboratory(start: str = "Neutral") -> "ipywidgets.VBox":
    """Show the drawn face with one slider per control, and the eight probabilities, which follow the sliders.

    Call `helpers.init_emotion` first. The buttons set all sliders to one of EXPRESSIONS.

    Parameters
    ----------
    start : str
        The expression to begin with, one of EXPRESSIONS.

    Returns
    -------
    ipywidgets.VBox
        Make it the last line of a cell to display it.

    Raises
    ------
    ValueError, RuntimeError
        For an unknown `start`, or if no network is loaded.
    """
    import ipywidgets  # imported here: drawing needs no widgets
    if start not in EXPRESSIONS:
        raise ValueError(f"start is {start!r}: choose from {', '.join(EXPRESSIONS)}")
    picture, bars = ipywidgets.Image(format="png", width=SIZE, height=SIZE), ipywidgets.HTML()
    sliders = {name: ipywidgets.FloatSlider(min=low, max=high, step=0.05, description=name.replace("_", " "),
                                            style={"description_width": "9em"}, readout_format=".2f")
               for name, (low, high) in CONTROLS.items()}
    buttons = {name: ipywidgets.Button(description=name, layout={"width": "7em"}) for name in EXPRESSIONS}

    def update(_: object = None) -> None:
        image = draw_face(**{name: slider.value for name, slider in sliders.items()})
        picture.value = cv2.imencode(".png", image)[1].tobytes()
        bars.value = bars_html(helpers.detect_emotions(image))

    def set_sliders(expression: str) -> None:
        for name, slider in sliders.items():
            slider.unobserve(update, "value")          # one new picture for all sliders, not nine
            slider.value = EXPRESSIONS[expression].get(name, 0)
            slider.observe(update, "value")
        update()

    for expression, button in buttons.items():
        button.on_click(lambda _, expression=expression: set_sliders(expression))
    set_sliders(start)
    wraps = {"flex_flow": "row wrap", "align_items": "center"}
    return ipywidgets.VBox([ipywidgets.HBox(list(buttons.values()), layout=wraps),
                            ipywidgets.HBox([picture, bars, ipywidgets.VBox(list(sliders.values()))], layout=wraps)])


def bars_html(faces: Sequence[helpers.Face]) -> str:
    """Return eight horizontal bars for the first face, as HTML; a sentence if there is no face."""
    if not faces:
        return "The detector finds no face here."
    rows = [f'<tr><td>{name}</td><td style="width: 120px"><div style="width: {probability:.0%}; height: 0.8em; '
            f'background: steelblue"></div></td><td style="text-align: right">{probability:.0%}</td></tr>'
            for name, probability in faces[0]["emotions"].items()]
    return f'<table style="margin: 0 1em">{"".join(rows)}</table>'
