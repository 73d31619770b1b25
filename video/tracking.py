"""Speed up the loop without changing what it shows: detect now and then, track in between. Notebook 9 builds it."""
import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

import helpers
from checks import check_number, check_timestamp
from detectors import clip_box
from helpers import Face, Image
from video.smoothing import HALF_LIFE, HYSTERESIS, LabelSmoother, match_boxes

DETECT_EVERY = 0.5           # seconds between two detections; in between, faces are tracked
CLASSIFY_EVERY = 0.08        # seconds between two forward passes of the network
TRACK_ACTIVATION_THRESHOLD = 0.8   # a face with a lower confidence must be detected twice before it is shown
TRACKING_FRAME_SIDE = 160          # pixels, the longer side of the grey copy in which faces are tracked
MIN_CORRELATION = 0.5        # below this correlation, a tracked face counts as lost
_TOLERANCE = 1e-6            # seconds; times that differ by less are the same up to rounding


class TemplateTracker:
    """Track one box by template matching: where in the next frame is the patch that was the face?

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W), grey: the frame, shrunk.
    box : sequence of float
        x, y, w, h in pixels of the original frame.
    scale : float
        Width of `image` as a fraction of the original frame's width.

    Attributes
    ----------
    box : list of float
        Where the face is now, in pixels of the original frame.

    References
    ----------
    J. P. Lewis, "Fast normalized cross-correlation", Vision Interface, 1995.
    """

    def __init__(self, image: Image, box: Sequence[float], scale: float) -> None:
        self.box, self.scale = [float(v) for v in box], scale
        x, y, w, h = (v * scale for v in self.box)
        self._x, self._y = max(round(x + 0.15 * w), 0), max(round(y + 0.15 * h), 0)     # the middle 70%: no background
        self._patch = image[self._y:max(round(y + 0.85 * h), self._y + 4), self._x:max(round(x + 0.85 * w), self._x + 4)]

    def update(self, image: Image) -> float:
        """Move the box to where the face is in `image`, the next frame, shrunk as before. Returns the correlation, -1..1."""
        h, w = self._patch.shape
        reach = max(round(max(w, h) * 0.4), 4)
        left, top = max(self._x - reach, 0), max(self._y - reach, 0)
        region = image[top:self._y + h + reach, left:self._x + w + reach]
        if min(h, w) < 4 or region.shape[0] < h or region.shape[1] < w:
            return -1.0
        _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(region, self._patch, cv2.TM_CCOEFF_NORMED))
        self.box[0] += (left + x - self._x) / self.scale
        self.box[1] += (top + y - self._y) / self.scale
        self._x, self._y = left + x, top + y
        return float(best) if math.isfinite(best) else -1.0


    def state(self) -> dict[str, Any]:
        """Return the state of the tracker as JSON-serialisable data."""
        return {"box": self.box, "scale": self.scale, "x": self._x, "y": self._y, "patch": self._patch.tolist()}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "TemplateTracker":
        """Create a tracker that continues where another one was when its `state` was taken."""
        tracker = cls.__new__(cls)
        tracker.box, tracker.scale = list(state["box"]), state["scale"]
        tracker._x, tracker._y, tracker._patch = state["x"], state["y"], np.array(state["patch"], np.uint8)
        return tracker


@dataclass
class _Track:
    """One face that an ExpressionTracker follows."""

    box: list[int]
    confidence: float | None
    template: TemplateTracker
    found: int = 1             # in how many detections
    missed: int = 0            # by how many detections in a row
    lost: bool = False         # whether the template was not found in the last frame
    classified: bool = False


_KEPT = ("box", "confidence", "found", "missed", "lost", "classified")     # of a track, beside its template

class ExpressionTracker:
    """Find the faces and steady expressions of each frame, fast: detect now and then, track the faces in between.

    A face appears when its confidence is TRACK_ACTIVATION_THRESHOLD or more, or when it was detected twice. It disappears when
    two detections in a row miss it, or when one does after its track was lost. Call `helpers.init_emotion` first.

    Parameters
    ----------
    detect_every : float
        Seconds from one detection to the next; 0 means every frame. Detection comes sooner if a face is lost, and is four
        times as frequent while there is none.
    classify_every : float
        Seconds from one forward pass to the next; 0 means every frame. All faces go through the network together.
    threaded : bool
        Detect on a separate thread, so that no frame waits for it; its boxes arrive a little later.
    half_life, hysteresis : float
        See `LabelSmoother`.
    detector : {"ssd", "haar", "hog", "cnn"}
        See `helpers.detect_faces`. All but ssd return no confidence, so their faces must be detected twice.
    confidence : float
        The minimum confidence of a face, see `helpers.detect_faces`.
    net : cv2.dnn.Net, optional
        The network, by default the one that `helpers.init_emotion` loaded.

    Raises
    ------
    ValueError
        If one of the numbers is not a number, or is negative.
    """

    def __init__(self, *, detect_every: float = DETECT_EVERY, classify_every: float = CLASSIFY_EVERY, threaded: bool = False,
                 half_life: float = HALF_LIFE, hysteresis: float = HYSTERESIS, detector: str = "ssd",
                 confidence: float = 0.5, net: cv2.dnn.Net | None = None) -> None:
        wanted = "a number of seconds, 0 or more, where 0 means every frame"
        self.detect_every = check_number("detect_every", detect_every, wanted, low=0)
        self.classify_every = check_number("classify_every", classify_every, wanted, low=0)
        self.detector, self.confidence, self._net = detector, confidence, net
        self._smoother = LabelSmoother(half_life=half_life, hysteresis=hysteresis)
        self._pool = ThreadPoolExecutor(1) if threaded else None
        self._lock = threading.Lock()                  # a notebook may call update() from several threads
        self._last = -math.inf
        self._start_afresh(())

    def _start_afresh(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._tracks: list[_Track] = []
        self._pending: tuple[Future[list[Face]], Image] | None = None      # the thread's detection, and its frame
        self._detected, self._classify_due = -math.inf, -math.inf          # seconds: last detection, next forward pass
        self._smoother.clear()

    def __enter__(self) -> "ExpressionTracker":
        """Return the tracker itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End the detection thread, if there is one. After that, `update` detects in the loop."""
        with self._lock:
            pool, self._pool, self._pending = self._pool, None, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def state(self) -> dict[str, Any]:
        """Return the state of the tracker as JSON-serialisable data; see `restore`."""
        with self._lock:
            tracks = [{**{name: getattr(track, name) for name in _KEPT}, "template": track.template.state()}
                      for track in self._tracks]
            return {"shape": list(self._shape), "tracks": tracks, "detected": self._detected, "last": self._last,
                    "classify_due": self._classify_due, "smoother": self._smoother.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where another tracker was when its `state` was taken.

        Without a thread, the next results are exactly those that the other one would have returned, ids included.
        """
        with self._lock:
            self._start_afresh(tuple(state["shape"]))
            self._tracks = [_Track(**{**track, "template": TemplateTracker.restored(track["template"])})
                            for track in state["tracks"]]
            self._detected, self._last, self._classify_due = state["detected"], state["last"], state["classify_due"]
            self._smoother.restore(state["smoother"])

    def update(self, frame: Image, seconds: float) -> list[Face]:
        """Find the faces of the next frame.

        Parameters
        ----------
        frame : numpy.ndarray
            Any array that `helpers.to_bgr` accepts. A frame of a different size resets the tracker.
        seconds : float
            Time of the frame. A time earlier than the previous one resets the tracker.

        Returns
        -------
        list of Face
            As `helpers.detect_emotions` returns them, smoothed by a `LabelSmoother`, which adds ``id``.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            If it is not a frame or a time, and as `helpers.detect_emotions`.
        """
        frame, seconds = helpers.to_bgr(frame), check_timestamp(seconds)
        with self._lock:
            if frame.shape != self._shape or seconds < self._last:
                self._start_afresh(frame.shape)
            if seconds - self._last > self._smoother.max_gap:      # its averages are dropped, so each face needs a new one
                for track in self._tracks:
                    track.classified = False
            self._last = seconds
            scale = min(TRACKING_FRAME_SIDE / max(frame.shape[:2]), 1.0)
            small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
                               [max(round(side * scale), 1) for side in frame.shape[1::-1]],
                               interpolation=cv2.INTER_AREA)
            if self.detect_every > 0 or self._pool:
                self._track(small)
            self._detect(frame, small, scale)
            shown = [track for track in self._tracks if (track.confidence or 0) >= TRACK_ACTIVATION_THRESHOLD or track.found > 1]
            faces: list[Face] = [{"box": track.box, "confidence": track.confidence} for track in shown]
            due = seconds >= self._classify_due - _TOLERANCE
            if due or not all(track.classified for track in shown):
                faces = helpers.classify_expressions(frame, faces, net=self._net)
                for track in shown:
                    track.classified = True
            if due:                                    # a forward pass for a new face doesn't move the schedule
                self._classify_due = seconds + self.classify_every
            return self._smoother.update(faces, seconds)

    def _track(self, small: Image) -> None:
        tracks, self._tracks = self._tracks, []
        for track in tracks:
            track.lost = track.template.update(small) < MIN_CORRELATION
            box = track.box if track.lost else clip_box(track.template.box, *self._shape[1::-1])
            if box is not None:                        # otherwise the face has left the picture
                track.box = box
                self._tracks.append(track)

    def _detect(self, frame: Image, small: Image, scale: float) -> None:
        interval = self.detect_every if self._tracks else self.detect_every / 4
        due = (self._last - self._detected >= interval - _TOLERANCE) or any(track.lost for track in self._tracks)
        if self._pool is None or self._detected == -math.inf:              # the first frame is worth waiting for
            if due:
                found = helpers.detect_faces(frame, detector=self.detector, confidence=self.confidence)
                self._reconcile(found, small, small, scale)
        elif self._pending is not None and self._pending[0].done():
            (detection, then), self._pending = self._pending, None
            self._reconcile(detection.result(), then, small, scale)
        elif due and self._pending is None:
            detection = self._pool.submit(helpers.detect_faces, frame.copy(), detector=self.detector,
                                          confidence=self.confidence)
            self._pending = detection, small

    def _reconcile(self, found: list[Face], then: Image, small: Image, scale: float) -> None:
        """Replace the tracked faces by those detected in the frame `then`."""
        self._detected = self._last
        matched = match_boxes([track.box for track in self._tracks], [face["box"] for face in found])
        tracks = []
        for j, face in enumerate(found):
            track = _Track(face["box"], face["confidence"], TemplateTracker(then, face["box"], scale))
            if j in matched:
                old = self._tracks[matched[j]]
                track.found, track.classified = old.found + 1, old.classified
            if then is not small:                      # the thread took several frames: catch up
                track.template.update(small)
                track.box = clip_box(track.template.box, *self._shape[1::-1]) or track.box
            tracks.append(track)
        for i, track in enumerate(self._tracks):
            if i not in matched.values():
                track.missed += 1
                if track.missed < 2 and not track.lost:
                    tracks.append(track)
        self._tracks = sorted(tracks, key=lambda track: track.box)
