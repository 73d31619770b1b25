"""What cameras do to a face: random damage for training, and eleven fixed corruptions for evaluation.

Everything here works on one grey face, uint8 (48, 48), the size of a FER+ face, before it is enlarged for the network.
Training never sees the fixed corruptions themselves, only random ones of the same kinds. The idea of fixed corruptions
is from Hendrycks and Dietterich 2019, arXiv 1903.12261.
"""
import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from helpers import Image

DAMAGE_PROBABILITY = 0.35      # of each kind of damage; a damaged face gets at least one
GAMMA = (0.45, 2.8)            # below 1: brighter; above 1: darker
CONTRAST = (0.25, 0.9)         # fraction of the contrast that is kept
RAMP = (0.03, 0.6)             # brightness on the dark side, as a fraction of the bright side
BLUR = (0.4, 2.0)              # sigma of a Gaussian, in pixels
LOW_RESOLUTION = (14, 36)      # pixels: shrunk to this side, then enlarged again
NOISE = (3, 25)                # standard deviation in grey levels
JPEG = (8, 60)                 # quality
BAND = (8, 18)                 # pixels: height of a covered band
PATCH = (10, 26)               # pixels: sides of a covered rectangle


def damage(face: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image:
    """Damage one face at random, as a camera, its light and its connection might.

    Parameters
    ----------
    face : numpy.ndarray
        uint8 (48, 48), grey.
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    numpy.ndarray
        uint8 (48, 48), a new array.
    """
    chosen = rng.random(6) < DAMAGE_PROBABILITY
    chosen[rng.integers(6)] = True
    light, ramp, cover, lens, noise, jpeg = chosen
    x: Image = face.astype(np.float32)
    if light:
        x = 255 * (x / 255) ** math.exp(rng.uniform(math.log(GAMMA[0]), math.log(GAMMA[1]))) if rng.random() < 0.5 \
            else change_contrast(x, rng)
    if ramp:
        x = light_from_one_side(x, rng.uniform(*RAMP), rng.uniform(0, 2 * math.pi))
    if cover:
        x = cover_part(x, rng)
    if lens:
        x = blur(x, rng.uniform(*BLUR)) if rng.random() < 0.5 else lower_resolution(x, int(rng.integers(*LOW_RESOLUTION)))
    if noise:
        x = x + rng.normal(0, rng.uniform(*NOISE), x.shape)
    x = np.clip(x, 0, 255).round().astype(np.uint8)
    return compress(x, int(rng.integers(*JPEG))) if jpeg else x


def change_contrast(x: Image, rng: np.random.Generator) -> Image:
    """Keep a random fraction of the contrast, at a random brightness at which no pixel leaves 0..255.

    Parameters
    ----------
    x : numpy.ndarray
        (H, W), 0..255.
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    numpy.ndarray
        (H, W).
    """
    kept = rng.uniform(*CONTRAST)
    return kept * x + rng.uniform(0, 255 * (1 - kept))


def light_from_one_side(x: Image, dark: float, angle: float) -> Image:
    """Multiply by a linear ramp, as if the light came from one side.

    Parameters
    ----------
    x : numpy.ndarray
        (H, W), 0..255.
    dark : float
        Brightness on the dark side, 0..1; it is 1 on the opposite side.
    angle : float
        Direction of the ramp in radians.

    Returns
    -------
    numpy.ndarray
        float32 (H, W).
    """
    rows, columns = np.mgrid[-1:1:x.shape[0] * 1j, -1:1:x.shape[1] * 1j]
    along = columns * math.cos(angle) + rows * math.sin(angle)
    along = (along - along.min()) / (along.max() - along.min())
    return (x * (dark + (1 - dark) * along)).astype(np.float32)


def cover_part(x: Image, rng: np.random.Generator) -> Image:
    """Fill a band across the face, or a rectangle, with one grey value: the face's mean or a random one.

    Parameters
    ----------
    x : numpy.ndarray
        (S, S), 0..255.
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    numpy.ndarray
        (S, S), a new array.
    """
    side = len(x)
    height, width = (int(rng.integers(*BAND)), side) if rng.random() < 0.4 else rng.integers(*PATCH, 2).tolist()
    top, left = int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))
    x = x.copy()
    x[top:top + height, left:left + width] = x.mean() if rng.random() < 0.5 else rng.uniform(0, 255)
    return x


def blur(x: Image, sigma: float) -> Image:
    """Apply a Gaussian blur; edge pixels are replicated.

    Parameters
    ----------
    x : numpy.ndarray
        (H, W), 0..255.
    sigma : float
        Standard deviation in pixels.

    Returns
    -------
    numpy.ndarray
        (H, W).
    """
    return cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def lower_resolution(x: Image, side: int) -> Image:
    """Shrink, then enlarge again: what a small face in a large image looks like.

    Parameters
    ----------
    x : numpy.ndarray
        (H, W), 0..255.
    side : int
        Pixels of the small version, in each direction.

    Returns
    -------
    numpy.ndarray
        (H, W).
    """
    small = cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, x.shape[::-1], interpolation=cv2.INTER_CUBIC)


def compress(face: Image, quality: int) -> Image:
    """Write as a JPEG and read it back.

    Parameters
    ----------
    face : numpy.ndarray
        uint8 (H, W).
    quality : int
        0..100.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W).
    """
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def rotate(x: Image, degrees: float) -> Image:
    """Rotate about the centre; edge pixels are replicated.

    Parameters
    ----------
    x : numpy.ndarray
        (S, S), 0..255.
    degrees : float
        Counterclockwise.

    Returns
    -------
    numpy.ndarray
        (S, S).
    """
    centre = (len(x) - 1) / 2
    return cv2.warpAffine(x, cv2.getRotationMatrix2D((centre, centre), degrees, 1.0), x.shape[::-1],
                          flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def cover_rows(x: Image, first: int, last: int) -> Image:
    """Set rows to the face's mean.

    Parameters
    ----------
    x : numpy.ndarray
        (H, W), 0..255.
    first, last : int
        The first and the last row to set.

    Returns
    -------
    numpy.ndarray
        (H, W), a new array.
    """
    x = x.copy()
    x[first:last + 1] = x.mean()
    return x


CORRUPTIONS: dict[str, Callable[[Image, np.random.Generator], Image]] = {   # fixed severity, so that results can be compared
    "rotated by 15°": lambda x, rng: rotate(x, 15),
    "rotated by 30°": lambda x, rng: rotate(x, 30),
    "blurred, sigma 1.5": lambda x, rng: blur(x, 1.5),
    "20 pixels and back": lambda x, rng: lower_resolution(x, 20),
    "gamma 2.5": lambda x, rng: 255 * (x / 255) ** 2.5,
    "contrast 35 %": lambda x, rng: 64 + 0.35 * x,
    "lit from one side": lambda x, rng: x * np.linspace(0.05, 1, x.shape[1], dtype=np.float32),
    "noise, sigma 20": lambda x, rng: x + rng.normal(0, 20, x.shape),
    "JPEG quality 15": lambda x, rng: compress(x.astype(np.uint8), 15),
    "mouth covered": lambda x, rng: cover_rows(x, 32, 47),
    "eyes covered": lambda x, rng: cover_rows(x, 12, 22),
}


def corrupt(faces: npt.NDArray[np.uint8], name: str, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Apply one of CORRUPTIONS to every face.

    Parameters
    ----------
    faces : numpy.ndarray
        uint8 (N, 48, 48), grey.
    name : str
        A key of CORRUPTIONS.
    seed : int
        The same seed gives the same pixels.

    Returns
    -------
    numpy.ndarray
        uint8 (N, 48, 48).

    Raises
    ------
    KeyError
        For an unknown name.
    """
    rng = np.random.default_rng(seed)
    change = CORRUPTIONS[name]
    return np.stack([np.clip(change(face.astype(np.float32), rng), 0, 255).round().astype(np.uint8) for face in faces])
