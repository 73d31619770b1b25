"""Frames in, frames out: read a clip or a camera, write a clip that browsers play. Notebook 8 builds it."""
import contextlib
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from checks import atomic_write, check_file, check_number, check_whole
from helpers import Image, PathLike, to_bgr
from video.stderr import silence_stderr

DEFAULT_FPS = 25.0       # stands in for a frame rate that is missing from the file or impossible
MAX_FRAME_GAP = 0.25     # seconds; a live clip that decodes too slowly shows a late frame at least this often
MAX_FAILED_READS = 30    # after this many failed reads in a row, a clip or camera counts as ended
MAX_VP8_SIDE = 16383     # pixels; the largest width and height that VP8 allows
_VP8 = cv2.VideoWriter.fourcc(*"VP80")


class Reader:
    """Read a clip or a camera frame by frame: iterate over it in a `with` block.

    Each step yields (seconds, frame): the time since the first frame, strictly increasing, and the frame as
    uint8 (H, W, 3), BGR, upright. The block releases the file or camera, even after an error or an interrupt.

    Parameters
    ----------
    source : str, os.PathLike or int
        Path of a clip, or the number of a camera on the computer that runs Python (0 is the first). Also an attribute.
    live : bool
        Keep up with the clock. A clip then plays at its own speed and skips frames if the loop is too slow; a camera
        always yields its newest frame.

    Attributes
    ----------
    is_camera : bool
        Whether the source is a camera.
    fps : float
        Frames per second according to the file, 1..240; DEFAULT_FPS if it doesn't say.
    frame_count : int
        Number of frames according to the file, 0 if unknown. A damaged file may hold fewer.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If `source` is neither a path nor a number, or can't be opened. A loop that gets no frame raises ValueError.
    """

    def __init__(self, source: PathLike | int, *, live: bool = False) -> None:
        self.is_camera = isinstance(source, (int, np.integer)) and not isinstance(source, bool)
        if not self.is_camera and not isinstance(source, (str, os.PathLike)):
            raise TypeError(f"source is {source!r}: give the path of a clip, or a camera's number such as 0")
        self.source: Path | int = (    # OpenCV may end the process for other numbers
            check_whole("source", source, "a camera's number from 0 to 99, where 0 is the first", low=0, high=99)
            if self.is_camera else check_file(source, "clip"))
        self.live = live
        self._thread: threading.Thread | None = None
        self._first_read, self._last = math.nan, -1.0    # when a camera's first frame came; time of the last frame
        self._files = contextlib.ExitStack()    # removes a temporary copy
        with silence_stderr():
            self._capture: cv2.VideoCapture | None = self._open_camera() if self.is_camera else self._open_clip()
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = float(fps) if 1 <= fps <= 240 else DEFAULT_FPS        # NaN fails both comparisons
        self.frame_count = int(count) if 0 < count < 1e9 and not self.is_camera else 0

    def _open_camera(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self.source)
        if not capture.isOpened():
            raise ValueError(f"no camera {self.source} on the computer that runs Python, or another program is using it: "
                             "use the webcam cell of notebook 10 (the browser's camera), or a clip")
        return capture

    def _open_clip(self) -> cv2.VideoCapture:
        name = str(self.source)
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if not capture.isOpened() and not name.isascii():                # Windows: FFmpeg can't open such a name
            folder = self._files.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            copy = shutil.copy(name, Path(folder) / f"clip{Path(name).suffix}")
            capture = cv2.VideoCapture(str(copy), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            self._files.close()
            raise ValueError(f"{name} is not a clip that OpenCV can read: it is incomplete or has no video track")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)                    # phones store portrait clips sideways
        return capture

    def __enter__(self) -> "Reader":
        """Return the Reader itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Release the file or camera. A second call does nothing."""
        capture, self._capture = self._capture, None                     # this ends the thread of _newest
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
        return self._newest(frames) if self.is_camera and self.live else frames

    def _read(self, capture: cv2.VideoCapture) -> Image | None:
        """Return the next frame, None at the end or after close(). A few failed reads are skipped."""
        for _ in range(MAX_FAILED_READS):
            if self._capture is None:
                return None
            ok, frame = capture.read()
            if ok and frame is not None and frame.size:
                return to_bgr(frame)
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
            if self.live and not self.is_camera:
                if late > 1 / self.fps and now - shown < MAX_FRAME_GAP:
                    continue
                time.sleep(max(-late, 0))
            yield seconds, frame
            shown = time.perf_counter()
        if math.isnan(started) and self._capture is not None:
            if self._last >= 0:
                raise ValueError(f"{self.source} was already read to its end: open it again with a new Reader")
            reason = "is another program using the camera?" if self.is_camera else "the clip is empty or damaged"
            raise ValueError(f"{self.source} returned no frame at all: {reason}")

    def _timestamp(self, capture: cv2.VideoCapture, now: float) -> float:
        """Return the seconds from the first frame to this one, increasing even if the file's timestamps don't."""
        stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.is_camera:
            self._first_read = now if math.isnan(self._first_read) else self._first_read
            self._last = now - self._first_read
        elif math.isfinite(stamp) and self._last < stamp < self._last + 3600:
            self._last = stamp
        else:
            self._last = self._last + 1 / self.fps if self._last >= 0 else 0.0
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


class Writer:
    """Write frames to a clip that browsers play (WebM with VP8): use it in a `with` block and call `write`.

    The first frame sets the size; others are fitted into it. The attribute `frames` counts them. The file appears under
    its name when the block ends; after an error or an interrupt in the block, it holds the frames written so far. If
    the Writer itself raises an error, no new file is left behind and an old one stays as it was.

    Parameters
    ----------
    path : str or os.PathLike
        Where the clip belongs, ending in .webm. Its folder has to exist.
    fps : float
        Frames per second, 1..240.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, OSError
        If `path` is not the path of a .webm file in a folder that exists and can be written to, or for another `fps`.
    """

    def __init__(self, path: PathLike, fps: float) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path is {path!r}: give the path of the clip to write, such as 'results/labelled.webm'")
        self.path = Path(path).expanduser()
        if self.path.is_dir():
            raise ValueError(f"{self.path.resolve()} is a folder: give the path of the clip to write")
        if self.path.suffix.lower() != ".webm":
            raise ValueError(f"{self.path} should end in .webm: OpenCV can write that format and every browser plays it")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"no folder {self.path.parent.resolve()}: create it first")
        self.fps = check_number("fps", fps, "frames per second from 1 to 240, such as Reader's fps", low=1, high=240)
        self.frames, self._size, self._closed = 0, (0, 0), False
        self._writer: cv2.VideoWriter | None = None
        self._files = contextlib.ExitStack()                             # puts the clip in place, removes what is temporary
        self._part = self._written = self._files.enter_context(atomic_write(self.path))

    def __enter__(self) -> "Writer":
        """Return the Writer itself."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close; if the block ended with an error, that is the one to report."""
        with contextlib.suppress(ValueError, OSError) if error else contextlib.nullcontext():
            self.close()

    def write(self, frame: Image) -> None:
        """Add one frame, uint8 (H, W, 3), BGR, or another form that `helpers.to_bgr` takes.

        Raises what `to_bgr` raises, ValueError for a frame too large for VP8 and after `close`, OSError without the codec.
        """
        if self._closed:
            raise ValueError("this Writer is closed: make a new one to write another clip")
        frame = to_bgr(frame)
        if self._writer is None:
            height, width = frame.shape[:2]
            if max(height, width) > MAX_VP8_SIDE:
                raise ValueError(f"a frame of {width} x {height} pixels is too large for VP8: "
                                 f"shrink it to at most {MAX_VP8_SIDE} pixels each way")
            self._size = max(width - width % 2, 16), max(height - height % 2, 16)        # codecs want even sides
            self._writer = self._open()
        self._writer.write(_fit_into(frame, self._size))
        self.frames += 1

    def _open(self) -> cv2.VideoWriter:
        with silence_stderr():
            writer = cv2.VideoWriter(str(self._written), _VP8, self.fps, self._size)
            if not writer.isOpened() and not str(self._part).isascii():  # Windows: FFmpeg can't open such a name
                folder = self._files.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
                self._written = Path(folder) / "clip.webm"
                writer = cv2.VideoWriter(str(self._written), _VP8, self.fps, self._size)
        if not writer.isOpened():
            raise OSError(f"OpenCV can't write {self.path}: its VP8 codec is missing, or the disk is full")
        return writer

    def close(self) -> None:
        """Finish the file. A second call does nothing. Raises ValueError without a frame, OSError for a full disk."""
        if self._closed:
            return
        self._closed = True
        with self._files:                                                # an error in this block keeps the old file
            if self._writer is not None:
                self._writer.release()
            if not self.frames:
                raise ValueError(f"no frame was written, so there is no {self.path.name}")
            with silence_stderr():                                       # OpenCV reports no error for a full disk, so count
                capture = cv2.VideoCapture(str(self._written), cv2.CAP_FFMPEG)
                count = sum(1 for _ in iter(capture.grab, False))
                capture.release()
            if count < self.frames:
                raise OSError(f"{self.path} could not be written completely: make room on the disk, then write it again")
            if self._written != self._part:
                shutil.copyfile(self._written, self._part)


def _fit_into(frame: Image, size: tuple[int, int]) -> Image:
    """Fit the whole frame into (width, height), with black bars where its shape differs."""
    width, height = size
    if frame.shape[1] - width in (0, 1) and frame.shape[0] - height in (0, 1):
        return np.ascontiguousarray(frame[:height, :width])
    scale = min(width / frame.shape[1], height / frame.shape[0])
    inner = cv2.resize(frame, [max(round(side * scale), 1) for side in frame.shape[1::-1]], interpolation=cv2.INTER_AREA)
    left, top = (width - inner.shape[1]) // 2, (height - inner.shape[0]) // 2
    return cv2.copyMakeBorder(inner, top, height - top - inner.shape[0], left, width - left - inner.shape[1],
                              cv2.BORDER_CONSTANT)
