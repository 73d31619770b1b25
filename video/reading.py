"""Read a clip or a camera frame by frame, with the time of each frame. Notebook 8 builds it."""
import contextlib
import math
import os
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from checks import check_file, check_whole
from helpers import Image, PathLike, to_bgr
from video.integrity import ClipWarning, find_damage
from video.stderr import silence_stderr

DEFAULT_FPS = 25.0       # used if the frame rate in the file is missing or impossible
MAX_FPS = 240.0          # frames per second; a higher rate in a file is the resolution of its clock
MAX_DISPLAY_GAP = 0.25     # seconds; a live clip that decodes too slowly shows a late frame at least this often
MAX_FAILED_READS = 30    # after this many failed reads in a row, a camera counts as gone
_MAX_BAD_FRAMES = 3000   # the same for a clip: a damaged part may be long, and failed reads at the end take no time
_MAX_JUMP = 3600.0       # seconds; a larger step in a file's timestamps is an error, and so is a step back


class Reader:
    """Read a clip or a camera frame by frame: iterate over it in a `with` block.

    Each step yields (seconds, frame): the time since the first frame, strictly increasing, and the frame as
    uint8 (H, W, 3), BGR. Frames are upright and have the shape that a player shows, even if the file stores them
    sideways or with non-square pixels. The block releases the file or camera, even after an error or an interrupt.

    If a clip is cut short, damaged, or only a picture, a `ClipWarning` says so when its end is reached.

    Parameters
    ----------
    source : str, os.PathLike or int
        Path of a clip, or the number of a camera on the computer that runs Python (0 is the first). Also an attribute.
    realtime : bool
        Play in real time. A clip then plays at its own speed and skips frames if the loop is too slow; a camera
        always yields its newest frame.

    Attributes
    ----------
    is_camera : bool
        Whether the source is a camera.
    fps : float
        Frames per second according to the file, above 0 and at most MAX_FPS; DEFAULT_FPS if it doesn't say. For a clip
        with uneven frame times it is the average, or the rate of its fastest part.
    frame_count : int
        Number of frames according to the file, 0 if unknown. A damaged file may hold fewer. Some formats, among them
        WebM and MKV, store no count; then it is the duration times `fps`, too high for a clip with uneven frame times.
    notes : list of str
        What a `ClipWarning` has said about the clip so far.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If `source` is neither a path nor a number, or can't be opened. A loop that gets no frame raises ValueError.
    """

    def __init__(self, source: PathLike | int, *, realtime: bool = False) -> None:
        self.is_camera = isinstance(source, (int, np.integer)) and not isinstance(source, bool)
        if not self.is_camera and not isinstance(source, (str, os.PathLike)):
            raise TypeError(f"source is {source!r}: give the path of a clip, or the number of a camera, such as 0")
        self.source: Path | int = (    # OpenCV may end the process for other numbers
            check_whole("source", source, "a camera number from 0 to 99, where 0 is the first", low=0, high=99)
            if self.is_camera else _check_clip(source))
        self.realtime = realtime
        self.notes: list[str] = []
        self._thread: threading.Thread | None = None
        self._first_read, self._last = math.nan, -1.0    # when a camera's first frame came; time of the last frame
        self._zero, self._stamps = 0.0, (0.0, 0.0)       # the file's timestamps of the first frame, and of the newest
        self._reads, self._failed = 0, 0                 # how many frames were read, and how many in between were not
        self._files = contextlib.ExitStack()             # removes a temporary name
        with silence_stderr():
            self._capture: cv2.VideoCapture | None = self._open_camera() if self.is_camera else self._open_clip()
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = float(fps) if 1e-4 < fps <= MAX_FPS else DEFAULT_FPS        # NaN fails both comparisons
        self._file_fps = fps if fps > 0 else DEFAULT_FPS
        known = self.fps == fps and 0 < count < 1e9 and not self.is_camera
        self.frame_count = int(count) if known else 0
        self._stretch = (1.0, 1.0) if self.is_camera else _pixel_shape(self._capture)

    def _open_camera(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self.source)
        if not capture.isOpened():
            raise ValueError(f"no camera {self.source} on the computer that runs Python, or another program is using it: "
                             "use the webcam cell of notebook 10 (the browser's camera), or a clip")
        return capture

    def _open_clip(self) -> cv2.VideoCapture:
        name = os.path.abspath(str(self.source))           # FFmpeg takes the start of rec:12.mp4 for a protocol
        capture = None if _is_undecodable(name) else _open_file(name)
        if capture is None or not capture.isOpened() and not name.isascii():       # Windows: FFmpeg can't open such a name
            capture = _open_file(self._plain_name(name))
        if not capture.isOpened():
            self._files.close()
            raise ValueError(f"{self.source} is not a clip that OpenCV can read: it is incomplete or has no video track")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)                    # phones store portrait clips sideways
        return capture

    def _plain_name(self, name: str) -> str:
        """Give the file a second name in plain ASCII while the Reader is open."""
        folder = self._files.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        plain = os.path.join(folder, "clip")
        try:
            os.symlink(name, plain)
        except OSError:                                                  # Windows allows links only to some users
            shutil.copyfile(name, plain)
        return plain

    def __enter__(self) -> "Reader":
        """Return the Reader itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Release the file or camera. A second call does nothing."""
        capture, self._capture = self._capture, None                     # this ends the thread that _newest started
        if self._thread is not None:
            self._thread.join()                                          # never release a camera while it is being read
        if capture is not None:
            capture.release()
        self._files.close()

    def __iter__(self) -> Iterator[tuple[float, Image]]:
        """Yield (seconds, frame). Raises ValueError if the Reader is closed, at its end, or gets no frame."""
        if self._capture is None:
            raise ValueError("this Reader is closed: make a new one to read again")
        frames = self._in_order(self._capture)
        return self._newest(frames) if self.is_camera and self.realtime else frames

    def _read(self, capture: cv2.VideoCapture) -> Image | None:
        """Return the next frame, None at the end or after close(). Failed reads are skipped."""
        for failed in range(MAX_FAILED_READS if self.is_camera else _MAX_BAD_FRAMES):
            if self._capture is None:
                return None
            ok, frame = capture.read()
            if ok and frame is not None and frame.size:
                self._failed += failed if self._reads else 0             # a recording may begin between two key frames
                self._reads += 1
                frame = to_bgr(frame)
                if self._stretch != (1.0, 1.0):
                    frame = cv2.resize(frame, None, fx=self._stretch[0], fy=self._stretch[1], interpolation=cv2.INTER_LINEAR)
                return frame
            if self.is_camera:
                time.sleep(0.1)                                          # a camera may need a moment to wake up
        return None

    def _in_order(self, capture: cv2.VideoCapture) -> Iterator[tuple[float, Image]]:
        started = shown = math.nan                           # when this loop began and last showed a frame, by the clock
        while (frame := self._read(capture)) is not None:
            now = time.perf_counter()
            seconds = self._timestamp(capture, now)
            if math.isnan(started):
                started, shown = now - seconds, now
            late = now - started - seconds
            if self.realtime and not self.is_camera:
                if late > min(1 / self.fps, 0.1) and now - shown < MAX_DISPLAY_GAP:
                    continue
                time.sleep(max(-late, 0))
            yield seconds, frame
            shown = time.perf_counter()
        if self._capture is None:
            return
        if math.isnan(started):
            if self._last >= 0:
                raise ValueError(f"{self.source} was already read to its end: open it again with a new Reader")
            reason = "is another program using the camera?" if self.is_camera else "the clip is empty or damaged"
            raise ValueError(f"{self.source} returned no frame at all: {reason}")
        if isinstance(self.source, Path) and (problem := find_damage(self.source, self._reads, self._failed, self._last)):
            self.notes.append(f"{self.source} {problem}")
            warnings.warn(self.notes[-1], ClipWarning, stacklevel=2)

    def _timestamp(self, capture: cv2.VideoCapture, now: float) -> float:
        """Return the seconds from the first frame to this one, increasing even if the file's timestamps don't."""
        if self.is_camera:
            self._first_read = now if math.isnan(self._first_read) else self._first_read
            self._last = now - self._first_read
            return self._last
        stamp, raw = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, capture.get(cv2.CAP_PROP_PTS) / self._file_fps
        if self._last < 0:
            self._zero, self._last, self._stamps = stamp, 0.0, (stamp, raw)
            return 0.0
        if raw > self._stamps[1]:                            # POS_MSEC counts from the start of the file, and in some MKV
            shift = raw - self._stamps[1] - (stamp - self._stamps[0])        # files OpenCV learns that after a few frames;
            if abs(shift) > 1.5 / self._file_fps:            # PTS doesn't, but is rounded to whole frames
                self._zero -= shift
            self._stamps = stamp, raw
        step = stamp - self._zero - self._last
        if 0 < step < _MAX_JUMP:
            self._last = stamp - self._zero
        else:                                                # missing, repeated, or out of order
            self._last += 1 / self.fps
            if not abs(step) <= 1 and math.isfinite(stamp) and stamp != 0:       # OpenCV returns 0 for a missing timestamp
                self._zero = stamp - self._last              # the clock started again, as it does where two clips were joined
        return self._last

    def _newest(self, frames: Iterator[tuple[float, Image]]) -> Iterator[tuple[float, Image]]:
        """Read on a thread, so that no old frames wait in the camera's buffer and the loop gets the newest one."""
        newest: list[tuple[float, Image]] = []
        ended: list[Exception | None] = []
        fresh, left = threading.Event(), threading.Event()

        def drain() -> None:
            try:
                for pair in frames:
                    newest[:] = [pair]
                    fresh.set()
                    if left.is_set():
                        break
            except Exception as problem:                                 # raised in the loop, not in the thread
                ended.append(problem)
            ended.append(None)
            fresh.set()

        self._thread = thread = threading.Thread(target=drain, daemon=True)
        thread.start()
        try:
            while self._capture is not None:
                if not ended:                                            # otherwise nothing would set it again
                    fresh.wait()
                fresh.clear()
                if newest:
                    yield newest.pop()
                elif ended:
                    if ended[0]:
                        raise ended[0]
                    return
        finally:
            left.set()
            thread.join()


def _check_clip(source: Any) -> Path:
    """Check a clip's path as `check_file` does; the address of a stream has its own error message."""
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/", str(source), re.IGNORECASE)     # two letters or more: C:/ is a drive
    if scheme and scheme[1].lower() not in ("http", "https") and not os.path.exists(source):
        raise ValueError(f"{source} is an address that begins with {scheme[1]}:, not the path of a file: record the stream to a "
                         "file first, or give the file's plain path")
    return check_file(source, "clip")


def _is_undecodable(name: str) -> bool:
    """Tell whether a file name is not valid Unicode. OpenCV ends the process if it is given such a name."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _open_file(name: str) -> cv2.VideoCapture:
    """Open a clip; if its second frame comes so late that FFmpeg didn't learn the size, let it look further ahead."""
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    if not capture.isOpened() or capture.get(cv2.CAP_PROP_FRAME_WIDTH):
        return capture
    key, options = "OPENCV_FFMPEG_CAPTURE_OPTIONS", "analyzeduration;600000000|probesize;500000000"      # microseconds, bytes
    before = os.environ.get(key)
    os.environ[key] = options
    try:
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    finally:
        del os.environ[key]
        if before is not None:
            os.environ[key] = before


def _pixel_shape(capture: cv2.VideoCapture) -> tuple[float, float]:
    """Return the factors by which width and height have to grow so that pixels are square."""
    across, down = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    shape = across / down if across > 0 and down > 0 else 1.0
    if not 0.1 < shape < 10:                                             # no camera has such pixels, so the entry is wrong
        return 1.0, 1.0
    if capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90:           # the file describes the frame as it is stored
        shape = 1 / shape
    return max(shape, 1.0), max(1 / shape, 1.0)
