"""Expressions on video, steady and fast: what a loop needs beyond helpers.py. Notebooks 8 and 9 build it.

    import helpers, video
    helpers.init_emotion()
    with video.Reader("Media/sad_to_happy.mp4") as clip, video.Live() as live:
        for seconds, frame in clip:
            faces = live.update(frame, seconds)      # boxes, labels, probabilities, an id per face

Reader takes a file or a camera, Writer makes a clip that browsers play, Steady averages over time, Live detects
now and then and follows the faces in between. play() shows it in the notebook, play_window() in a window.
"""
import contextlib
import ctypes
import math
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from IPython.display import Image, display
from tqdm.auto import tqdm

import helpers

HALF_LIFE = 0.25       # seconds after which an old frame counts half: measured in notebook 9
MARGIN = 0.3           # a new label must lead the shown one by so much
FORGET = 1.0           # seconds without the face after which its history is gone
DETECT_EVERY = 12      # frames; in between, the faces are followed
NEW_FACE = 0.8         # a face less sure than this must be found twice before it is shown
SMALL = 160            # pixels; faces are followed in a grey copy with this longer side
LOST = 0.5             # correlation below which a face that is followed counts as lost
AT_LEAST_EVERY = 0.25  # seconds; a live clip that can't be read fast enough shows a late frame so often
FAILED_READS = 30      # so many reads in a row may fail before a clip or camera counts as ended
MOST_VP8 = 16383       # pixels each way: what VP8 can hold
TIMELINE = ["frame", "seconds", "face", *"xywh", "label", "confidence", *helpers.EMOTIONS]   # columns of timeline()
WHOLE = dict.fromkeys(["face", *"xywh"], "Int64")     # the columns of a table that hold whole numbers, or nothing
USUAL_FPS = 25.0       # stands in for a frame rate that the file does not tell, or tells wrong


# ---------------------------------------------------------------- frames in, frames out

_quiet_lock = threading.Lock()     # the error channel belongs to the whole process: several threads may want it quiet
_quiet_count, _quiet_kept = 0, None


@contextlib.contextmanager
def quiet():
    """Keep the notes of OpenCV and FFmpeg off the page: they go past Python, to the process's error channel."""
    global _quiet_count, _quiet_kept
    with _quiet_lock:
        _quiet_count += 1
        if _quiet_count == 1:
            with contextlib.suppress(OSError):                           # a closed channel is quiet
                _quiet_kept = os.dup(2)
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_count -= 1
            if _quiet_count == 0 and _quiet_kept is not None:
                os.dup2(_quiet_kept, 2)
                os.close(_quiet_kept)
                _quiet_kept = None


class Reader:
    """The frames of a clip or a camera, one after another: iterate over it in a `with` block.

    source : path of a clip, or the number of a camera on the computer that runs Python (0 is the first).
    live : keep up with the clock. A clip then plays at its own speed, and frames for which the loop is too
        slow are skipped; a camera always gives its newest frame.
    Gives (seconds, frame): seconds since the first frame, by the clip's own time stamps, which rise; frame
    uint8 (H, W, 3), BGR, upright. `fps` (1/s), `count` (frames that the file promises, 0 if unknown).
    The with block releases file and camera, also after an error or an interrupt.
    Raises TypeError, FileNotFoundError or ValueError in a sentence.
    """

    def __init__(self, source, live=False):
        self.camera = isinstance(source, (int, np.integer)) and not isinstance(source, bool)
        if not self.camera and not isinstance(source, (str, os.PathLike)):
            raise TypeError(f"source is {source!r}: give the path of a clip, or a camera's number such as 0")
        if self.camera and not 0 <= source <= 99:                        # others end the process, or leave OpenCV's range
            raise ValueError(f"source is {source}: cameras are numbered from 0 to 99, and 0 is the first")
        self.live, self._copy, self._thread = live, None, None
        self._began, self._last = None, -1.0                             # of the camera; of the newest frame
        self.source = int(source) if self.camera else helpers._check_file(source, "clip")
        with quiet():
            self._capture = self._open()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 1 <= fps <= 240 else USUAL_FPS          # NaN fails both
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if 0 < count < 1e9 and not self.camera else 0

    def _open(self):
        if self.camera:
            capture = cv2.VideoCapture(self.source)
            if not capture.isOpened():
                raise ValueError(f"no camera {self.source} on the computer that runs Python, or another program has "
                                 "it: use the webcam cell of notebook 10 (the browser's camera), or a clip")
            return capture
        capture = cv2.VideoCapture(str(self.source), cv2.CAP_FFMPEG)
        if not capture.isOpened() and not str(self.source).isascii():    # Windows: a name that FFmpeg can't take
            self._copy = tempfile.mkdtemp()
            copy = str(shutil.copy(self.source, Path(self._copy) / f"clip{self.source.suffix}"))
            capture = cv2.VideoCapture(copy, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            self._remove_copy()
            raise ValueError(f"{self.source} is no clip that OpenCV can read: cut short, without a picture track, "
                             "or no video at all")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)                    # phones store portrait clips sideways
        return capture

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.close()

    def close(self):
        """Release the file or camera. A second call does nothing."""
        capture, self._capture = self._capture, None                     # which ends the thread of _newest
        if self._thread is not None:
            self._thread.join()                                          # never release what is being read
        if capture is not None:
            capture.release()
        self._remove_copy()

    def _remove_copy(self):
        if self._copy:
            shutil.rmtree(self._copy, ignore_errors=True)
            self._copy = None

    def _read(self, capture):
        """The next frame, or None at the end and after close(); a few failed reads are passed over."""
        for _ in range(FAILED_READS):
            if self._capture is None:
                return None
            ok, frame = capture.read()
            if ok and frame is not None and frame.size:
                return helpers.to_bgr(frame)
            if self.camera:
                time.sleep(0.1)                                          # a camera may need a moment to wake up
        return None

    def __iter__(self):
        if self._capture is None:
            raise ValueError("this Reader is closed: make a new one to read again")
        return self._newest() if self.camera and self.live else self._in_order()

    def _in_order(self):
        began, capture = None, self._capture                             # began: this loop, by the clock
        while (frame := self._read(capture)) is not None:
            now = time.perf_counter()
            seconds = self._time_of_frame(capture, now)
            if began is None:
                began, shown = now - seconds, now
            late = now - began - seconds
            if self.live and not self.camera:
                if late > 1 / self.fps and now - shown < AT_LEAST_EVERY:
                    continue
                time.sleep(max(-late, 0))
            yield seconds, frame
            shown = time.perf_counter()
        if began is None and self._capture is not None:
            raise ValueError(f"{self.source} was already read to its end: open it again with a new Reader"
                             if self._last >= 0 else f"{self.source} gave no frame at all: " + (
                "is the camera covered by another program?" if self.camera else "the clip is empty or damaged"))

    def _time_of_frame(self, capture, now):
        """Seconds from the first frame to the one just read: they rise, whatever the file says."""
        stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.camera:
            self._began = now if self._began is None else self._began
            self._last = now - self._began
        elif math.isfinite(stamp) and self._last < stamp < self._last + 3600:
            self._last = stamp
        else:                                                            # no stamp, or one that stands still
            self._last = self._last + 1 / self.fps if self._last >= 0 else 0.0
        return self._last

    def _newest(self):
        """A thread empties the camera's buffer all the time, so that the loop never lags behind it."""
        newest, ended, fresh, left = [], [], threading.Event(), threading.Event()

        def drain():
            try:
                for pair in self._in_order():
                    newest[:] = [pair]
                    fresh.set()
                    if left.is_set():
                        break
            except Exception as problem:                                 # said by the loop, not by the thread
                ended.append(problem)
            ended.append(None)
            fresh.set()

        self._thread = thread = threading.Thread(target=drain, daemon=True)
        thread.start()
        try:
            while self._capture is not None:
                if not ended:                                            # else nobody sets it again
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
    """Write frames to a clip that browsers play (WebM, VP8): use it in a `with` block, call write().

    The first frame sets the size; others are fitted into it. The file appears under its name when the block
    ends; after an error or an interrupt it holds what was written so far.
    Raises TypeError or ValueError for no path, another ending than .webm, a bad frame rate, a frame that is too
    large, or when no frame was written, FileNotFoundError for a missing folder, OSError when the codec is missing
    or the disk is full. No file is left then, and one that was there before stays as it was.
    """

    def __init__(self, path, fps):
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path is {path!r}: give the path of the clip to write, such as 'results/labelled.webm'")
        self.path = Path(path).expanduser()
        if self.path.is_dir():
            raise ValueError(f"{self.path.resolve()} is a folder: give the path of the clip to write")
        if self.path.suffix.lower() != ".webm":
            raise ValueError(f"{self.path} should end in .webm: that is what OpenCV can write and every browser plays")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"no folder {self.path.parent.resolve()}: create it first")
        if isinstance(fps, bool) or not isinstance(fps, (int, float, np.number)) or not 1 <= fps <= 240:
            raise ValueError(f"fps is {fps!r}: give frames per second from 1 to 240, such as Reader's fps")
        self.fps, self.frames, self._writer, self._size, self._closed = float(fps), 0, None, None, False
        self._part = self._written = self.path.with_name(f".{uuid.uuid4().hex}.webm")
        self._part.touch()                                               # says now whether the folder can be written to

    def __enter__(self):
        return self

    def __exit__(self, kind, problem, trace):
        try:
            self.close()
        except (ValueError, OSError):
            if problem is None:                                          # else the first problem is the one to tell
                raise

    def write(self, frame):
        """Add one frame, uint8 (H, W, 3), BGR; other forms as to_bgr takes them."""
        if self._closed:
            raise ValueError("this Writer is closed: make a new one to write another clip")
        frame = helpers.to_bgr(frame)
        if self._writer is None:
            if max(frame.shape[:2]) > MOST_VP8:
                raise ValueError(f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels is too large for VP8: "
                                 f"shrink it to {MOST_VP8} at most each way")
            self._size = tuple(max(side - side % 2, 16) for side in frame.shape[1::-1])      # codecs want even sides
            self._open()
            if not self._writer.isOpened() and not str(self._part).isascii():      # Windows: a name that FFmpeg can't take
                self._written = Path(tempfile.mkdtemp()) / "clip.webm"
                self._open()
            if not self._writer.isOpened():
                raise OSError(f"OpenCV can't write {self.path}: its VP8 codec is missing, or the disk is full")
        self._writer.write(_fit(frame, self._size))
        self.frames += 1

    def _open(self):
        with quiet():
            self._writer = cv2.VideoWriter(str(self._written), cv2.VideoWriter_fourcc(*"VP80"), self.fps, self._size)

    def close(self):
        """Finish the file. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._writer.release()
        try:
            with quiet():                                                # OpenCV says nothing of a full disk: count
                kept = cv2.VideoCapture(str(self._written), cv2.CAP_FFMPEG)
                whole = self.frames and sum(1 for _ in iter(kept.grab, False)) >= self.frames
                kept.release()
            if whole:
                if self._written != self._part:
                    shutil.copyfile(self._written, self._part)
                os.replace(self._part, self.path)
                return
        finally:
            self._part.unlink(missing_ok=True)
            if self._written != self._part:
                shutil.rmtree(self._written.parent, ignore_errors=True)
        if not self.frames:
            raise ValueError(f"no frame was written, so there is no {self.path.name}")
        raise OSError(f"{self.path} could not be written whole: make room on the disk, then write it again")


def _fit(frame, size):
    """The whole frame inside (width, height), black where its shape differs."""
    width, height = size
    if frame.shape[1::-1] == size:
        return frame
    if frame.shape[1] - width in (0, 1) and frame.shape[0] - height in (0, 1):
        return np.ascontiguousarray(frame[:height, :width])
    scale = min(width / frame.shape[1], height / frame.shape[0])
    inner = cv2.resize(frame, [max(round(side * scale), 1) for side in frame.shape[1::-1]], interpolation=cv2.INTER_AREA)
    left, top = (width - inner.shape[1]) // 2, (height - inner.shape[0]) // 2
    return cv2.copyMakeBorder(inner, top, height - top - inner.shape[0], left, width - left - inner.shape[1],
                              cv2.BORDER_CONSTANT)


# ---------------------------------------------------------------- steady labels

def iou(a, b):
    """Intersection over union of two boxes [x, y, w, h]: 0 apart, 1 the same."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(across, 0) * max(down, 0)
    both = a[2] * a[3] + b[2] * b[3] - shared
    return shared / both if both > 0 else 0.0                            # boxes without area share nothing


def match(old, new, least=0.2):
    """Which new box goes on from which old one: {place in new: place in old}, best overlap (iou) first."""
    pairs = sorted(((iou(a, b), i, j) for i, a in enumerate(old) for j, b in enumerate(new)), reverse=True)
    matched = {}
    for overlap, i, j in pairs:
        if overlap > least and i not in matched.values() and j not in matched:
            matched[j] = i
    return matched


def _check_seconds(seconds):
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, np.number)) or not math.isfinite(seconds):
        raise ValueError(f"seconds is {seconds!r}: give the time of the frame as a number")
    return float(seconds)


def _check_faces(faces):
    if not isinstance(faces, (list, tuple)) or not all(isinstance(face, dict) and _is_box(face.get("box")) for face in faces):
        raise TypeError("wanted is a list of faces as detect_emotions returns it, per face one dict with a box of four "
                        f"numbers, not {str(faces)[:200]}")
    return faces


def _is_box(box):
    try:
        return len(box) == 4 and all(map(math.isfinite, box))
    except TypeError:
        return False


class Steady:
    """Average each face's probabilities over time, and change its label only for a clear lead.

    half_life : seconds after which an old frame counts half (0: no averaging). In seconds, not frames, so that
        it means the same at any frame rate. margin : by how much a new label must lead. forget : seconds.
    """

    def __init__(self, half_life=HALF_LIFE, margin=MARGIN, forget=FORGET):
        for name, value in {"half_life": half_life, "margin": margin, "forget": forget}.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r}: give a number from 0 up")
        self.half_life, self.margin, self.forget = half_life, margin, forget
        self._known, self._next, self._last = [], 0, -math.inf

    def clear(self):
        """Forget all faces. Their ids are not given again."""
        self._known = []

    def update(self, faces, seconds):
        """The same faces with averaged `emotions`, a steady `label`, and an `id` that stays: new dicts.

        faces : as detect_emotions returns them; one without `emotions` was only seen, and keeps its average.
        seconds : time of the frame. When it goes back (the clip starts again) all histories start afresh.
        """
        _check_faces(faces)
        if _check_seconds(seconds) < self._last:
            self.clear()
        self._known = [known for known in self._known if seconds - known["seen"] <= self.forget]
        matched = self._match(faces)
        self._last = seconds
        steady = []
        for j, face in enumerate(faces):
            if j in matched:
                known = matched[j]
            else:
                known = {"id": self._next, "average": None, "label": None, "asked": seconds}
                self._next += 1
                self._known.append(known)
            known.update(box=face["box"], seen=seconds)
            if "emotions" in face:
                self._average(known, face["emotions"], seconds)
            face = {**face, "id": known["id"]}
            if known["average"] is not None:
                face.update(label=known["label"], emotions=dict(zip(helpers.EMOTIONS, known["average"].tolist())))
            steady.append(face)
        return steady

    def _match(self, faces):
        """{place in faces: history}. Who was in the last frame comes first: nobody takes over from one who left."""
        matched = {}
        for there in (True, False):
            known = [known for known in self._known if (known["seen"] == self._last) is there]
            left = [j for j in range(len(faces)) if j not in matched]
            pairs = match([k["box"] for k in known], [faces[j]["box"] for j in left])
            matched.update({left[j]: known[i] for j, i in pairs.items()})
        return matched

    def _average(self, known, emotions, seconds):
        now = np.array([emotions[name] for name in helpers.EMOTIONS])
        old = 0.5 ** ((seconds - known["asked"]) / self.half_life) if self.half_life else 0.0
        known["average"] = now if known["average"] is None else old * known["average"] + (1 - old) * now
        known["asked"] = seconds
        best = helpers.EMOTIONS[int(known["average"].argmax())]
        lead = known["average"].max() - (known["average"][helpers.EMOTIONS.index(known["label"])] if known["label"] else -1)
        if lead > self.margin or not self.half_life:
            known["label"] = best


# ---------------------------------------------------------------- fast: detect now and then, follow in between

class Follower:
    """Follow one box by template: where in the next grey frame is the patch that was the face?

    Normalised cross-correlation (Lewis 1995, "Fast normalized cross-correlation") in a small grey copy.
    """

    def __init__(self, small, box, scale):
        self.box, self.scale = [float(v) for v in box], scale
        x, y, w, h = (v * scale for v in self.box)
        self._x, self._y = max(round(x + 0.15 * w), 0), max(round(y + 0.15 * h), 0)     # the middle 70 %: no background
        self._patch = small[self._y:max(round(y + 0.85 * h), self._y + 4), self._x:max(round(x + 0.85 * w), self._x + 4)]

    def update(self, small):
        """Move the box to its place in `small`, the next frame; returns the correlation, -1..1."""
        h, w = self._patch.shape
        reach = max(round(max(w, h) * 0.4), 4)
        left, top = max(self._x - reach, 0), max(self._y - reach, 0)
        region = small[top:self._y + h + reach, left:self._x + w + reach]
        if min(h, w) < 4 or region.shape[0] < h or region.shape[1] < w:
            return -1.0
        _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(region, self._patch, cv2.TM_CCOEFF_NORMED))
        self.box[0] += (left + x - self._x) / self.scale
        self.box[1] += (top + y - self._y) / self.scale
        self._x, self._y = left + x, top + y
        return float(best) if math.isfinite(best) else -1.0


class Live:
    """Faces and steady expressions of each frame: detects every n-th frame and follows the faces in between.

    detect_every : frames from one detection to the next; sooner when a face is lost or there is none.
    recognise_every : frames from one forward pass to the next; all faces go through in one.
    threaded : detect on a thread of its own, so that no frame waits for it; its boxes arrive a little later.
    half_life, margin : see Steady. confidence : see helpers.detect_faces.
    A face appears when it is NEW_FACE sure or was found twice; it goes when two detections in a row miss it, or
    one when it was lost before that.
    Call helpers.init_emotion() first.
    """

    def __init__(self, detect_every=DETECT_EVERY, recognise_every=2, threaded=False, half_life=HALF_LIFE,
                 margin=MARGIN, confidence=0.5):
        for name, value in {"detect_every": detect_every, "recognise_every": recognise_every}.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} is {value!r}: give a whole number of frames, 1 or more")
        self.detect_every, self.recognise_every, self.confidence = detect_every, recognise_every, confidence
        self._steady = Steady(half_life, margin)
        self._pool = ThreadPoolExecutor(1) if threaded else None
        self._lock = threading.Lock()                  # a notebook may call update() from several threads
        self._last = -math.inf
        self._start_afresh(None)

    def _start_afresh(self, shape):
        self._shape, self._tracks, self._asked, self._count, self._since = shape, [], None, 0, math.inf
        self._steady.clear()

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.close()

    def close(self):
        """End the detection thread, if there is one: update() then detects in the loop."""
        with self._lock:
            pool, self._pool, self._asked = self._pool, None, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def update(self, frame, seconds):
        """The faces of the next frame, (H, W, 3) BGR, at a time in seconds: a list, one dict per face.

        As helpers.detect_emotions gives them, `emotions` averaged and `label` steady, plus `id`, a whole number
        that a face keeps. A frame of another size, or an earlier time, starts afresh.
        """
        frame, seconds = helpers.to_bgr(frame), _check_seconds(seconds)
        with self._lock:
            if frame.shape != self._shape or seconds < self._last:
                self._start_afresh(frame.shape)
            self._last = seconds
            scale = min(SMALL / max(frame.shape[:2]), 1.0)
            small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
                               [max(round(side * scale), 1) for side in frame.shape[1::-1]],
                               interpolation=cv2.INTER_AREA)
            if self.detect_every > 1 or self._pool:
                self._follow(small)
            self._since += 1
            self._detect(frame, small, scale)
            shown = [track for track in self._tracks if track["confidence"] >= NEW_FACE or track["found"] > 1]
            faces = [{"box": track["box"], "confidence": track["confidence"]} for track in shown]
            if self._count % self.recognise_every == 0 or not all(track["recognised"] for track in shown):
                faces = helpers.recognise(frame, faces)
                for track in shown:
                    track["recognised"] = True
            self._count += 1
            return self._steady.update(faces, seconds)

    def _follow(self, small):
        for track in self._tracks:
            track["lost"] = track["follower"].update(small) < LOST
            if not track["lost"]:
                track["box"] = _clip(track["follower"].box, self._shape)
        self._tracks = [track for track in self._tracks if track["box"]]

    def _detect(self, frame, small, scale):
        due = self._since >= (self.detect_every if self._tracks else max(self.detect_every // 4, 1))
        due = due or any(track["lost"] for track in self._tracks)
        if self._pool is None or self._count == 0:     # the first frame is worth waiting for
            if due:
                self._hold_against(helpers.detect_faces(frame, confidence=self.confidence), small, small, scale)
            return
        if self._asked and self._asked[0].done():
            found, then = self._asked
            self._asked = None
            self._hold_against(found.result(), then, small, scale)
        elif due and not self._asked:
            self._asked = self._pool.submit(helpers.detect_faces, frame.copy(), confidence=self.confidence), small

    def _hold_against(self, found, then, small, scale):
        """What was detected in the frame of `then` replaces what was followed."""
        self._since = 0
        matched = match([track["box"] for track in self._tracks], [face["box"] for face in found])
        tracks = []
        for j, face in enumerate(found):
            track = self._tracks[matched[j]] if j in matched else {"found": 0, "recognised": False}
            track.update(face, found=track["found"] + 1, missed=0, lost=False,
                         follower=Follower(then, face["box"], scale))
            if then is not small:                      # the thread took some frames: catch up
                track["follower"].update(small)
                track["box"] = _clip(track["follower"].box, self._shape) or face["box"]
            tracks.append(track)
        for i, track in enumerate(self._tracks):
            if i not in matched.values():
                track["missed"] += 1
                if track["missed"] < 2 and not track["lost"]:
                    tracks.append(track)
        self._tracks = sorted(tracks, key=lambda track: track["box"])


def _clip(box, shape):
    """The part of a box inside the picture in whole pixels; None when that is less than a third of it."""
    x, y, w, h = box
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, shape[1]), min(y + h, shape[0])
    inside = [round(left), round(top), round(right - left), round(bottom - top)]
    return inside if min(inside[2:]) > 0 and inside[2] * inside[3] >= w * h / 3 else None


# ---------------------------------------------------------------- showing, and keeping the numbers

def _check_loop(recognise, until, width=1):
    """The seconds at which to end: infinite for None."""
    if not callable(recognise):
        raise TypeError(f"recognise is {recognise!r}: give a function of (frame, seconds) that returns faces, such as "
                        "video.Live().update")
    if until is not None and (isinstance(until, bool) or not isinstance(until, (int, float, np.number)) or until != until):
        raise ValueError(f"until is {until!r}: give the seconds at which to end, or None for the end of the clip")
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
        raise ValueError(f"width is {width!r}: give whole pixels, such as 640")
    return math.inf if until is None else until


def timeline(source, recognise, until=None):
    """The expressions of a whole clip as a table (pandas), one row per face and frame.

    recognise : a function of (frame, seconds) that returns faces, such as Live().update. until : seconds, None
        for the end of the clip.
    Columns: frame, seconds (the clip's own time), face (its id, else its place from the left), x, y, w, h in
    pixels, label, confidence, and the eight probabilities. A frame without a face has one row with no values.
    """
    rows, until = [], _check_loop(recognise, until)
    with Reader(source) as clip, tqdm(total=clip.count or None, unit=" frames") as bar:
        for number, (seconds, frame) in enumerate(clip):
            if seconds > until:
                break
            rows.extend(timeline_rows(number, seconds, recognise(frame, seconds)))
            bar.update()
    return pd.DataFrame(rows, columns=TIMELINE).astype(WHOLE)


def timeline_rows(number, seconds, faces):
    """Rows of one frame for timeline's table, a dict each; one with frame and seconds alone when there is no face."""
    moment = {"frame": number, "seconds": round(seconds, 3)}
    return [{**moment, "face": face.get("id", place), **dict(zip("xywh", map(round, face["box"]))),
             "label": face.get("label"), "confidence": face.get("confidence"), **face.get("emotions", {})}
            for place, face in enumerate(_check_faces(faces))] or [moment]


def put_fps(image, fps):
    """Write the frames per second into the top left corner of a picture, in place."""
    scale = max(image.shape[0] / 600, 0.3)
    cv2.putText(image, f"{fps:.0f} FPS", (8, round(30 * scale) + 4), cv2.FONT_HERSHEY_SIMPLEX, scale,
                (0, 200, 255), max(round(2 * scale), 1), cv2.LINE_AA)


class Pace:
    """Frames per second over the last 30 frames: call tick() once a frame."""

    def __init__(self):
        self._times = []

    def tick(self):
        self._times = (self._times + [time.perf_counter()])[-31:]
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)


def play(source, recognise, until=None, width=640):
    """Show a clip or camera in the notebook, with boxes and labels: one picture that updates in place.

    recognise, until : see timeline. width : pixels; larger pictures are shrunk. Shows a progress bar in seconds of
    the clip. An interrupt, such as the notebook's stop button, ends it. (A button of its own could not: a kernel does
    not hear of clicks while a cell runs.) Frames for which there is no time are skipped.
    """
    until = _check_loop(recognise, until, width)
    pace, handle, shown_at = Pace(), None, -math.inf
    with (Reader(source, live=True) as clip, contextlib.suppress(KeyboardInterrupt),
          tqdm(total=_length(clip, until), bar_format="{l_bar}{bar}| {n:.0f} s") as bar):
        for seconds, frame in clip:
            if seconds > until:
                break
            drawn = helpers.draw(frame, recognise(frame, seconds))
            put_fps(drawn, pace.tick())
            bar.update(seconds - bar.n)
            if time.perf_counter() - shown_at < 1 / 30:                  # browsers drop what comes faster
                continue
            shown_at = time.perf_counter()
            picture = Image(data=_jpeg(drawn, width))
            if handle is None:
                handle = display(picture, display_id=True)
            else:
                handle.update(picture)
        bar.update((bar.total or bar.n) - bar.n)                         # a full bar: nothing failed


def _length(clip, until):
    """Seconds that there are to show, None where nobody knows."""
    length = min(until, clip.count / clip.fps if clip.count else math.inf)
    return length if length < math.inf else None


def _jpeg(image, width):
    if image.shape[1] > width:
        image = cv2.resize(image, (int(width), max(round(image.shape[0] * width / image.shape[1]), 1)),
                           interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def can_show():
    """Whether a window can be opened here. On Linux OpenCV ends the whole process when there is no display."""
    if not cv2.currentUIFramework():                  # a wheel without windows
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


def play_window(source, recognise, mirror=False, title="Expressions (q ends it)"):
    """Show a clip or camera in a window of its own, until q, Escape, its close button, or the end.

    recognise : see timeline. mirror : flip left and right, as people expect of their own picture. Where no
    window can be opened, it says so and returns.
    """
    _check_loop(recognise, None)
    pace, shown = Pace(), False
    with Reader(source, live=True) as clip:
        if not can_show():
            print("No window can be opened here: this computer has no display. Use play(), it shows the same inline.")
            return
        try:
            for seconds, frame in clip:
                frame = cv2.flip(frame, 1) if mirror else frame
                drawn = helpers.draw(frame, recognise(frame, seconds))
                put_fps(drawn, pace.tick())
                if shown and not _is_open(title):
                    break
                cv2.imshow(title, drawn)
                shown = True
                if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
                    break
        finally:
            if shown and _is_open(title):
                cv2.destroyWindow(title)
                cv2.waitKey(1)


def _is_open(title):
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:                                  # Qt, when the last window was closed
        return False
