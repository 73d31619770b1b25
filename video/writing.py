"""Write a clip that browsers play, with a time for each frame. Notebook 8 builds it."""
import contextlib
import itertools
import math
import os
import uuid
import warnings
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from checks import PART_PREFIX, check_file, check_number, check_timestamp, expand_home
from helpers import Image, PathLike, to_bgr
from video.integrity import ClipWarning
from video.reading import MAX_FPS
from video.sound import copy_sound

MAX_VP9_SIDE = 65535     # pixels; the largest width and height that VP9 allows
MAX_VP9_PIXELS = 8192 * 4352     # the largest area of its highest level; encoding it takes 2.5 GB of memory
_CODEC = "libvpx-vp9"
_OPTIONS = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "lag-in-frames": "0",        # as fast as possible
            "crf": "28", "b": "0"}                       # constant quality, 0 is the best and 63 the worst
_TICK = Fraction(1, 1000)                                # seconds; WebM counts time in milliseconds


class Writer:
    """Write frames to a clip that browsers play (WebM with VP9): use it in a `with` block and call `write`.

    The first frame sets the size; others are fitted into it. The attribute `frames` counts them. The file appears under
    its name when the block ends; after an error or an interrupt in the block, it holds the frames written so far. If
    the Writer itself raises an error, no new file is left behind and an old one stays as it was. One exception: if the old
    one can't be replaced because another program has it open, the new clip is kept beside it, and the error names it.

    Parameters
    ----------
    path : str or os.PathLike
        Where to write the clip: a name that ends in .webm, in a folder that exists.
    fps : float
        Frames per second, above 0 and at most MAX_FPS: the frame rate for frames that are written without a time.
    sound_from : str, os.PathLike or None
        A clip whose sound is copied, converted to Opus. Write its frames with the times that `Reader` returns, so that
        picture and sound stay in step. If there is no sound, nothing happens; if it can't be read, a `ClipWarning` says so.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, OSError
        If `path` is not the path of a .webm file in a folder that exists and can be written to, for an invalid `fps`, and if
        `sound_from` is not a file.
    """

    def __init__(self, path: PathLike, fps: float, *, sound_from: PathLike | None = None) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path is {path!r}: give the path of the clip to write, such as 'results/labelled.webm'")
        self.path = expand_home(path)
        if self.path.is_dir():
            raise ValueError(f"{self.path.resolve()} is a folder: give the path of the clip to write")
        if self.path.suffix.lower() != ".webm":
            raise ValueError(f"{self.path} should end in .webm: the clip is written in this format, which every browser plays")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"no folder {self.path.parent.resolve()}: create it first")
        self.fps = check_number("fps", fps, f"frames per second above 0 and at most {MAX_FPS:g}, such as Reader's fps",
                                above=0, high=MAX_FPS)
        self.sound_from = None if sound_from is None else check_file(sound_from, "clip")
        self.frames, self._size, self._closed = 0, (0, 0), False
        self._first, self._last = 0.0, -math.inf         # seconds: the times that the first and the last frame were given
        self._ticks = -1                                 # milliseconds: where the last frame lies in the clip
        self._duration = round(1000 / self.fps)          # milliseconds: how long the frame before that lasted
        self._held: Packet[Any] | None = None            # the last frame, compressed; it waits for its duration
        self._container: OutputContainer | None = None
        self._sound: Generator[Packet[Any], None, None] | None = None
        self._next_sound: Packet[Any] | None = None
        self._part = self.path.with_name(f"{PART_PREFIX}{uuid.uuid4().hex[:12]}.webm")
        self._file = self._part.open("xb")               # Python opens any name, and reports a full disk

    def __enter__(self) -> "Writer":
        """Return the Writer itself."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close; if the block ended with an error, that is the one to report."""
        try:
            self.close()
        except (ValueError, OSError) as problem:
            if not error:
                raise
            if isinstance(problem, PermissionError):     # there is a clip, and nothing else would tell where
                warnings.warn(str(problem), ClipWarning, stacklevel=2)

    def write(self, frame: Image, seconds: float | None = None) -> None:
        """Add one frame.

        Parameters
        ----------
        frame : numpy.ndarray
            uint8 (H, W, 3), BGR, or any other array that `helpers.to_bgr` accepts.
        seconds : float or None
            Time of the frame, later than that of the previous one. The first frame's time becomes 0, as in `Reader`, and the
            last frame lasts as long as the previous one, at most 1 / fps. None means 1 / fps after the previous frame.

        Raises
        ------
        TypeError, ValueError
            As `helpers.to_bgr`, for a frame too large for VP9, a time that does not increase, and after `close`.
        OSError
            If the disk is full or the codec is missing.
        """
        if self._closed:
            raise ValueError("this Writer is closed: make a new one to write another clip")
        frame = to_bgr(frame)
        if seconds is None:
            seconds = self._last + 1 / self.fps if self.frames else 0.0
        elif check_timestamp(seconds) <= self._last:
            raise ValueError(f"seconds is {seconds}, but the previous frame was at {self._last}: frame times must increase")
        if self._container is None:
            height, width = frame.shape[:2]
            if max(height, width) > MAX_VP9_SIDE or height * width > MAX_VP9_PIXELS:
                raise ValueError(f"a frame of {width} x {height} pixels is too large for VP9: shrink it to at most "
                                 f"{MAX_VP9_SIDE} pixels per side and {MAX_VP9_PIXELS:,} in total")
            self._size = max(width - width % 2, 16), max(height - height % 2, 16)        # colours are stored for 2 x 2 pixels
            self._first = seconds
        container = self._container or self._open()
        planes = np.asarray(cv2.cvtColor(_fit_into(frame, self._size), cv2.COLOR_BGR2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts = max(round((seconds - self._first) / _TICK), self._ticks + 1)
        picture.time_base = _TICK
        with self._discarded_on_error():
            for packet in container.streams.video[0].encode(picture):
                self._put(packet)
        self._last, self._ticks = seconds, picture.pts
        self.frames += 1

    def _open(self) -> OutputContainer:
        self._container = container = av.open(self._file, "w", format="webm")
        try:
            track = container.add_stream(_CODEC, rate=Fraction(self.fps).limit_denominator(100_000), options=_OPTIONS)
        except ValueError:
            raise OSError(f"{self.path} can't be written: this installation of PyAV lacks the VP9 codec") from None
        assert isinstance(track, VideoStream)
        track.width, track.height, track.pix_fmt = *self._size, "yuv420p"
        track.codec_context.time_base, track.codec_context.thread_count = _TICK, 2
        track.codec_context.colorspace, track.codec_context.color_range = 5, 1        # as cv2.cvtColor: BT.601, black is 16
        if self.sound_from is not None:
            self._sound = copy_sound(self.sound_from, container, self._first)
            self._next_sound = next(self._sound, None)
        return container

    def _put(self, packet: "Packet[Any] | None") -> None:
        """Store the frame that was held back, now that its duration is known, and the sound up to its end; hold this one."""
        held, self._held = self._held, packet
        if held is None or self._container is None:
            return
        if packet is not None:
            held.duration = self._duration = (packet.pts or 0) - (held.pts or 0)
        else:                                            # not the length of a pause before it
            held.duration = max(min(self._duration, round(1000 / self.fps)), 1)
        end = _end_of(held)
        self._container.mux(held)
        while self._sound is not None and self._next_sound is not None and _end_of(self._next_sound) <= end:
            self._container.mux(self._next_sound)
            self._next_sound = next(self._sound, None)

    @contextlib.contextmanager
    def _discarded_on_error(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError) as problem:
            self._discard()
            if isinstance(problem, OSError):
                raise OSError(f"{self.path} could not be written completely: make room on the disk, then write it again "
                              f"({problem})") from None
            raise OSError(f"{self.path} could not be written: VP9 can't encode {self._size[0]} x {self._size[1]} pixels here "
                          f"({problem})") from None

    def _discard(self) -> None:
        self._closed = True
        if self._sound is not None:
            self._sound.close()
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            if self._container is not None:
                self._container.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Discard what was written, instead of `close`: no new file is left behind, and an old one stays as it was."""
        if not self._closed:
            self._discard()

    def close(self) -> None:
        """Finish the file. A second call does nothing.

        Raises
        ------
        ValueError
            If no frame was written.
        OSError
            If the disk is full, or an older clip under this name can't be replaced.
        """
        if self._closed:
            return
        if self._container is None or not self.frames:
            self._discard()
            raise ValueError(f"no frame was written, so there is no {self.path.name}")
        self._closed = True
        try:
            with self._discarded_on_error():
                for packet in self._container.streams.video[0].encode(None):
                    self._put(packet)
                self._put(None)
                self._container.close()
                self._file.close()
        except KeyboardInterrupt:
            self._discard()
            raise
        if self._sound is not None:
            self._sound.close()
        try:
            os.replace(self._part, self.path)
        except OSError as problem:                       # Windows: a player has the old clip open
            names = (self.path.with_name(f"{self.path.stem[:60]}-{number}.webm") for number in itertools.count(2))
            kept = next(name for name in names if not name.exists())
            os.rename(self._part, kept)
            raise type(problem)(f"{self.path} can't be replaced: is a player showing it? The new clip is saved as "
                                f"{kept}") from None


def _end_of(packet: "Packet[Any]") -> Fraction:
    """Return where a packet ends, in seconds."""
    return Fraction(((packet.pts or 0) + (packet.duration or 0)) * packet.time_base)


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
