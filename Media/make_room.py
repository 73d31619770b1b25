"""Compose Media/room.webm: people side by side in three positions, who come and go.

    python Media/make_room.py

Left: the actress of sad_to_happy.mp4, until 18 s. Middle: the astronaut from 3 to 13 s, then the actress again,
mirrored, from 15 s. Right: the admiral from 8 to 24 s. The stills sway a little, as people do.
"""
import math

import cv2
import numpy as np

import helpers
import video
from helpers import Image

MEDIA = helpers.ROOT / "Media"
SECONDS, FPS = 24, 6
WIDTH, HEIGHT = 160, 192       # pixels, of each third
LEFT, MIDDLE, RIGHT = 0, 1, 2


def empty_wall() -> Image:
    """A third without a person: grey, a little lighter at the top."""
    shade = np.linspace(150, 110, HEIGHT)[:, None, None]
    return np.broadcast_to(shade, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def swaying_crop(image: Image, centre: tuple[float, float], width: float, seconds: float) -> Image:
    """Crop a third from an image, `width` pixels wide, around a centre that moves with time."""
    x = centre[0] + 0.02 * width * math.sin(2 * seconds) - width / 2
    y = centre[1] + 0.01 * width * math.sin(3 * seconds) - width * HEIGHT / WIDTH / 2
    scale = WIDTH / width
    matrix = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
    return cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def main() -> None:
    """Run the script."""
    with video.Reader(MEDIA / "sad_to_happy.mp4") as clip:
        times, frames = zip(*((seconds, swaying_crop(frame, (440, 180), 300, 0)) for seconds, frame in clip))
    astronaut = helpers.read_image(MEDIA / "astronaut.jpg")
    admiral = helpers.read_image(MEDIA / "grace_hopper.jpg")

    def actress(seconds: float) -> Image:
        return frames[min(np.searchsorted(times, seconds), len(frames) - 1)]

    with video.Writer(MEDIA / "room.webm", FPS) as room:
        for index in range(SECONDS * FPS):
            seconds = index / FPS
            thirds = [empty_wall(), empty_wall(), empty_wall()]
            if seconds < 18:
                thirds[LEFT] = actress(seconds)
            if 3 <= seconds < 13:
                thirds[MIDDLE] = swaying_crop(astronaut, (225, 190), 300, seconds)
            elif seconds >= 15:
                thirds[MIDDLE] = actress(seconds - 15)[:, ::-1]
            if seconds >= 8:
                thirds[RIGHT] = swaying_crop(admiral, (262, 260), 420, seconds)
            room.write(np.hstack(thirds))


if __name__ == "__main__":
    main()
