"""Show a clip or camera with its labels, in the notebook or in a window, and keep the numbers as a table.

Notebook 8 builds it.
"""
import contextlib
import ctypes
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import pandas as pd
from IPython.display import Image as JPEG
from IPython.display import display
from tqdm.auto import tqdm

import helpers
from checks import check_callable, check_faces, check_number, check_whole
from helpers import Face, Image, PathLike
from video.reading import Reader

TIMELINE_COLUMNS = ["frame", "seconds", "face", *"xywh", "label", "probability", "confidence", *helpers.EMOTIONS]
INT_COLUMNS = dict.fromkeys(["face", *"xywh"], "Int64")   # whole numbers; Int64 allows empty cells
Predict = Callable[[Image, float], Sequence[Face]]        # what `predict` is: (frame, seconds) to faces


def _check_loop(predict: Predict, until: float | None) -> float:
    """Check what all loops take; return the time at which to end, infinity for None."""
    check_callable("predict", predict)
    if until is None or until == math.inf:
        return math.inf
    return check_number("until", until, "the time in seconds at which to stop, or None for the end of the clip")


def _call(predict: Predict, frame: Image, seconds: float) -> list[Face]:
    return check_faces(predict(frame, seconds), "predict must return a list of faces")


# ---------------------------------------------------------------- a table

def timeline(source: PathLike | int, predict: Predict, *, until: float | None = None) -> pd.DataFrame:
    """Make a table of the expressions in a whole clip, one row per face and frame.

    An interrupt, such as the notebook's stop button, ends it; the table then contains the frames up to that point.

    Parameters
    ----------
    source : str, os.PathLike or int
        See `Reader`.
    predict : callable
        A function of (frame, seconds) that returns a list of faces, such as ``ExpressionTracker().update``.
    until : float or None
        Time in seconds at which to stop; None for the end of the clip.

    Returns
    -------
    pandas.DataFrame
        Columns TIMELINE_COLUMNS: frame number, seconds by the clip's own time, face (its id, or else its index from
        the left), x, y, w, h in pixels, label, probability of the label, confidence of the detector, and the
        probability of each of EMOTIONS. A frame without a face has one row in which the other columns are empty.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        As `Reader`, for an invalid `predict` or `until`, and if `predict` returns anything but faces.
    """
    end, rows = _check_loop(predict, until), []
    with (Reader(source) as clip, contextlib.suppress(KeyboardInterrupt),
          tqdm(total=clip.frame_count or None, unit=" frames") as bar):
        for number, (seconds, frame) in enumerate(clip):
            if seconds > end:
                break
            rows.extend(timeline_rows(number, seconds, _call(predict, frame, seconds)))
            bar.update()
    return pd.DataFrame(rows, columns=TIMELINE_COLUMNS).astype(INT_COLUMNS)


def timeline_rows(number: int, seconds: float, faces: Sequence[Face]) -> list[dict[str, Any]]:
    """Make the rows of one frame for `timeline`'s table.

    Parameters
    ----------
    number : int
        Number of the frame, from 0.
    seconds : float
        Time of the frame.
    faces : list of Face
        As `helpers.detect_emotions` or `ExpressionTracker.update` returns them.

    Returns
    -------
    list of dict
        One per face, {column: value}; a single one with frame and seconds if there is no face.

    Raises
    ------
    TypeError, ValueError
        If `faces` is something else.
    """
    moment = {"frame": number, "seconds": round(seconds, 3)}
    return [{**moment, "face": face.get("id", index), **dict(zip("xywh", map(round, face["box"]))),
             "label": face.get("label"), "probability": face.get("probability"), "confidence": face.get("confidence"),
             **(face.get("emotions") or {})}
            for index, face in enumerate(check_faces(faces, "timeline_rows needs a list of faces"))] or [moment]


# ---------------------------------------------------------------- in the notebook

def draw_fps(image: Image, fps: float) -> None:
    """Write the frames per second into the top left corner of an image, uint8 (H, W, 3), in place."""
    scale = max(image.shape[0] / 600, 0.3)
    cv2.putText(image, f"{fps:.0f} FPS", (8, round(30 * scale) + 4), cv2.FONT_HERSHEY_SIMPLEX, scale,
                (0, 200, 255), max(round(2 * scale), 1), cv2.LINE_AA)


class FPSMeter:
    """Measure frames per second over the last 30 frames: call `tick` once per frame."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def tick(self) -> float:
        """Count one frame. Returns the frames per second, 0 at the first one."""
        self._times = [*self._times, time.perf_counter()][-31:]
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)


def play(source: PathLike | int, predict: Predict, *, until: float | None = None, width: int = 640) -> None:
    """Show a clip or camera in the notebook with boxes and labels: one picture that is updated in place.

    A progress bar counts the seconds of the clip, and frames for which there is no time are skipped. An interrupt, such
    as the notebook's stop button, ends it. (A button below the picture couldn't do that, because a kernel doesn't
    receive clicks while a cell is running.)

    Parameters
    ----------
    source, predict, until
        See `timeline`.
    width : int
        Pixels; larger pictures are shrunk to this width.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        As `timeline`, and for an invalid width.
    """
    end = _check_loop(predict, until)
    check_whole("width", width, "a whole number of pixels, such as 640", low=1)
    meter, handle, shown_at = FPSMeter(), None, -math.inf
    with (Reader(source, realtime=True) as clip, contextlib.suppress(KeyboardInterrupt),
          tqdm(total=_duration(clip, end), bar_format="{l_bar}{bar}| {n:.0f} s") as bar):
        for seconds, frame in clip:
            if seconds > end:
                break
            drawn = _draw_prediction(predict, frame, seconds, meter)
            bar.update(seconds - bar.n)
            if time.perf_counter() - shown_at < 1 / 30:      # browsers drop what comes faster
                continue
            shown_at = time.perf_counter()
            picture = JPEG(data=_encode_jpeg(drawn, width))     # type: ignore[no-untyped-call]
            if handle is None:
                handle = display(picture, display_id=True)      # type: ignore[no-untyped-call]
            else:
                handle.update(picture)
        bar.update((bar.total or bar.n) - bar.n)             # fill the bar: nothing went wrong


def _draw_prediction(predict: Predict, frame: Image, seconds: float, meter: FPSMeter) -> Image:
    drawn = helpers.draw(frame, _call(predict, frame, seconds))
    draw_fps(drawn, meter.tick())
    return drawn


def _duration(clip: Reader, end: float) -> float | None:
    """Return how many seconds there are to show, None if that is unknown."""
    duration = min(end, clip.frame_count / clip.fps if clip.frame_count else math.inf)
    return duration if duration < math.inf else None


def _encode_jpeg(image: Image, width: int) -> bytes:
    if image.shape[1] > width:
        image = cv2.resize(image, (int(width), max(round(image.shape[0] * width / image.shape[1]), 1)),
                           interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


# ---------------------------------------------------------------- in a window

def can_open_window() -> bool:
    """Tell whether a window can be opened here. On Linux without a display, OpenCV ends the whole process if it tries."""
    if not cv2.currentUIFramework():                         # an OpenCV package without windows
        return False
    if sys.platform != "linux":
        return True
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    x11.XOpenDisplay.restype = ctypes.c_void_p
    screen = x11.XOpenDisplay(None)
    if screen:
        x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
        x11.XCloseDisplay(screen)
    return bool(screen)


def play_window(source: PathLike | int, predict: Predict, *, mirror: bool = False,
                title: str = "Expressions (q quits)") -> None:
    """Show a clip or camera in a window of its own, until q, Escape, the close button, an interrupt or the end of the clip.

    Where no window can be opened, it prints a sentence that says so and returns.

    Parameters
    ----------
    source, predict
        See `timeline`.
    mirror : bool
        Flip left and right: people expect that when they see themselves.
    title : str
        The title of the window.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        As `timeline`.
    """
    _check_loop(predict, None)
    meter, shown = FPSMeter(), False
    with Reader(source, realtime=True) as clip:
        if not can_open_window():
            print("No window can be opened here: this computer has no display. Use play(), which shows a clip in the notebook.")
            return
        try:
            for seconds, frame in clip:
                drawn = _draw_prediction(predict, cv2.flip(frame, 1) if mirror else frame, seconds, meter)
                if shown and not _is_open(title):
                    break
                cv2.imshow(title, drawn)
                shown = True
                if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
                    break
        except KeyboardInterrupt:
            pass
        finally:
            if shown and _is_open(title):
                cv2.destroyWindow(title)
                cv2.waitKey(1)


def _is_open(title: str) -> bool:
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:                                        # Qt raises it after the last window was closed
        return False
