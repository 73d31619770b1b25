"""Compose Media/room.webm: three places beside each other, to which people come and from which they go.

    python Media/make_room.py

Left: the actress of sad_to_happy.mp4, to 18 s. Middle: the astronaut from 3 to 13 s, then the actress once more,
mirrored, from 15 s on. Right: the admiral from 8 to 24 s. The stills sway a little, as people do.
"""
import math
import sys
from pathlib import Path

import cv2
import numpy as np

MEDIA = Path(__file__).resolve().parent
sys.path.insert(0, str(MEDIA.parent))
import helpers  # noqa: E402
import video  # noqa: E402

SECONDS, FPS = 24, 6
WIDTH, HEIGHT = 160, 192       # of one place
LEFT, MIDDLE, RIGHT = 0, 1, 2


def wall():
    """An empty place: grey, a little lighter at the top."""
    shade = np.linspace(150, 110, HEIGHT)[:, None, None]
    return np.broadcast_to(shade, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def swaying(image, centre, width, seconds):
    """A place cut out of a still, `width` pixels wide, round a centre that moves."""
    x = centre[0] + 0.02 * width * math.sin(2 * seconds) - width / 2
    y = centre[1] + 0.01 * width * math.sin(3 * seconds) - width * HEIGHT / WIDTH / 2
    scale = WIDTH / width
    return cv2.warpAffine(image, np.float32([[scale, 0, -x * scale], [0, scale, -y * scale]]), (WIDTH, HEIGHT),
                          flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def main():
    with video.Reader(MEDIA / "sad_to_happy.mp4") as clip:
        times, frames = zip(*((seconds, swaying(frame, (440, 180), 300, 0)) for seconds, frame in clip))
    astronaut = helpers.read_image(MEDIA / "astronaut.jpg")
    admiral = helpers.read_image(MEDIA / "grace_hopper.jpg")

    def actress(seconds):
        return frames[min(np.searchsorted(times, seconds), len(frames) - 1)]

    with video.Writer(MEDIA / "room.webm", FPS) as room:
        for number in range(SECONDS * FPS):
            seconds = number / FPS
            places = [wall(), wall(), wall()]
            if seconds < 18:
                places[LEFT] = actress(seconds)
            if 3 <= seconds < 13:
                places[MIDDLE] = swaying(astronaut, (225, 190), 300, seconds)
            elif seconds >= 15:
                places[MIDDLE] = actress(seconds - 15)[:, ::-1]
            if seconds >= 8:
                places[RIGHT] = swaying(admiral, (262, 260), 420, seconds)
            room.write(np.hstack(places))


if __name__ == "__main__":
    main()
