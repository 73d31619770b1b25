"""A webcam widget for JupyterLab: the browser's own camera, looked at by Python, drawn in the browser.

    import helpers, webcam
    helpers.init_emotion()
    cam = webcam.Webcam()
    cam                        # shows a Start button; the camera stays off until you press it

The camera sits at the computer of the browser, the kernel may run on another one. So the browser (webcam.js)
sends a picture as JPEG, waits for the faces that Python finds, draws them, and only then sends the next one.
Pictures stay in memory: none is written to a file, to the notebook or to the widget state saved with it.
"""
import contextvars
import copy
import math
import threading
import time
import traceback
from pathlib import Path

import anywidget
import cv2
import numpy as np
import traitlets

import helpers

IDLE = 5.0      # seconds without a picture after which the worker thread ends
NOTE = "Webcam: to use the camera, run this cell (again) and press Start."

# An output of its own before the widget. In a notebook that is opened later, without its kernel, JupyterLab can
# only say "Error displaying widget: model not found". Then this hides that line, and shows the note instead.
HTML_NOTE = f"""<p class="webcam-note"></p><style>
.webcam-note::before {{ content: "{NOTE}"; }}
.jp-OutputArea-child:has(.webcam-note) + .jp-OutputArea-child .jupyter-widgets:not(:has(*)),
.jp-OutputArea-child:has(.webcam-note):has(+ .jp-OutputArea-child .webcam) {{ display: none; }}
</style>"""


STYLE = """
.webcam { max-width: 900px; font-size: 13px; line-height: 1.4; }
.webcam-row { display: flex; align-items: center; gap: 12px; min-height: 32px; }
.webcam-row button { padding: 4px 14px; font: inherit; cursor: pointer; }
.webcam-on { color: #c00; font-weight: bold; }
.webcam-on::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 5px;
                     border-radius: 50%; background: #d00; }
.webcam-text { margin: 4px 0; max-width: 640px; }
.webcam-text.webcam-error { border-left: 4px solid #c00; padding-left: 8px; }
.webcam-show { display: flex; flex-wrap: wrap; gap: 12px; }
.webcam-picture { position: relative; flex: 0 1 auto; max-width: 100%; background: #000; }
.webcam-picture video { display: block; width: 100%; transform: scaleX(-1); }  /* like a mirror */
.webcam-picture canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.webcam-emotions { flex: 1 0 200px; min-width: 200px; }
.webcam-emotion { display: grid; grid-template-columns: 70px 1fr 44px; gap: 6px; align-items: center; }
.webcam-emotion span:last-child { text-align: right; }
.webcam-track { height: 10px; background: rgba(128, 128, 128, 0.25); }
.webcam-fill { height: 100%; background: #e08a00; width: 0; }
.webcam [hidden] { display: none; }
"""


class Webcam(anywidget.AnyWidget):
    """The widget. Display it, press Start in the browser, allow the camera.

    recognise : function of (frame, seconds) that returns a list of faces, called for each picture, never twice
        at once, in a thread of its own. frame: uint8 (H, W, 3), BGR. seconds: float, a clock that only goes
        forward, for trackers. A face is a dict as helpers.detect_emotions gives it, which is the default:
        ``box`` [x, y, w, h] in pixels; ``label`` and ``emotions`` {name: probability}, or neither.
        An exception in it is shown in the widget; after five in a row the camera is turned off.
    width, height : int, 16 to 4096 pixels; the picture is made to fit in, its shape is kept.
    quality : float, above 0 and up to 1, of the JPEG.
    Raises TypeError or ValueError for other arguments.

    Read what the browser reports:
    state : "off", "starting" or "on".      error : a sentence, "" when all is well.
    faces, frames : the latest list of faces, and how many pictures were looked at. Neither is saved. When the
        camera goes off, the picture, its faces, delay and rate are forgotten.
    Limits in seconds, to be set before Start: patience (for an answer of the kernel), start_limit (for the
    camera and the browser's question), hidden_limit (with the page out of sight, before the camera goes off).
    """

    _esm = Path(__file__).with_name("webcam.js")
    _css = STYLE

    width = traitlets.Int(640).tag(sync=True)
    height = traitlets.Int(360).tag(sync=True)
    quality = traitlets.Float(0.8).tag(sync=True)
    patience = traitlets.Float(5.0).tag(sync=True)
    start_limit = traitlets.Float(15.0).tag(sync=True)
    hidden_limit = traitlets.Float(30.0).tag(sync=True)
    state = traitlets.Unicode("off").tag(sync=True)     # the browser sets these two
    error = traitlets.Unicode("").tag(sync=True)
    faces = traitlets.List()                            # not synced: what is synced can be saved
    frames = traitlets.Int(0)

    def __init__(self, recognise=None, width=640, height=360, quality=0.8):
        if recognise is not None and not callable(recognise):
            raise TypeError(f"recognise is {recognise!r}: give a function of (frame, seconds) that returns faces")
        _check_size("width", width)
        _check_size("height", height)
        _check_quality(quality)
        self._recognise = recognise or (lambda frame, seconds: helpers.detect_emotions(frame))
        self._lock = threading.Condition()   # messages come in several threads; guards all that follows
        self._waiting = None                 # the newest picture that nobody looked at yet
        self._worker = None                  # the thread that looks at pictures
        self._latest = None                  # (frame, faces)
        self._turn = 0                       # grows when the camera goes off: older pictures are not kept
        self._delay = self._rate = None
        super().__init__(width=int(width), height=int(height), quality=float(quality))
        self.on_msg(self._receive)

    # ------------------------------------------------------------ what you may call

    def stop(self):
        """Turn the camera off. The widget stays: Start turns it on again."""
        self.send({"kind": "stop"})

    def close(self):
        """Turn the camera off, remove the widget from the page, and forget the latest picture."""
        if hasattr(self, "_lock"):           # also called when __init__ raised
            self._waiting = None
            self._forget()
        super().close()

    def _forget(self):
        with self._lock:
            self._turn += 1
            self._latest = self._delay = self._rate = None
        self._tell(faces=[])

    def _tell(self, **values):
        """Set faces and frames. A function that observes them may raise: Python shows that, the camera goes on."""
        for name, value in values.items():
            try:
                setattr(self, name, value)
            except Exception:
                traceback.print_exc()

    @traitlets.observe("state")
    def _went_off(self, change):
        if change.new == "off":
            self._forget()

    @traitlets.validate("width", "height", "quality")
    def _check(self, proposal):
        if proposal.trait.name == "quality":
            _check_quality(proposal.value)
        else:
            _check_size(proposal.trait.name, proposal.value)
        return proposal.value

    def latest(self):
        """The newest picture, uint8 (H, W, 3), BGR, a copy, and its faces. Never waits.

        Raises RuntimeError when no picture came yet, and when the camera is off again.
        """
        with self._lock:
            if self._latest is None:
                told = f" (the widget says: {self.error})" if self.error else ""
                raise RuntimeError("no picture yet: press Start and allow the camera, "
                                   f"then run this cell again{told}")
            frame, faces = self._latest
            return frame.copy(), copy.deepcopy(faces)

    @property
    def delay(self):
        """Milliseconds from taking a picture to drawing its faces, median of 5 s, float; None before there is any."""
        return self._delay

    @property
    def rate(self):
        """Answers per second over 5 s, float; None before there is any."""
        return self._rate

    def __repr__(self):
        return NOTE                          # steady: no address, no numbers, so that notebooks compare equal

    def _ipython_display_(self, **options):
        from IPython.display import display
        if self.comm is None:
            raise RuntimeError("this webcam widget was closed: make a new one with Webcam()")
        display({"text/html": HTML_NOTE}, raw=True)
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)

    # ------------------------------------------------------------ messages of the browser

    def _receive(self, _, content, buffers):
        """Put a picture where the worker takes it; one that still waits there is answered unseen: newest wins."""
        if not isinstance(content, dict) or content.get("kind") != "frame":
            return                           # a tick: only its arrival counts, see webcam.js
        # The answer is sent in the context of this message. Without that, ipykernel 7 believes that the main
        # thread talks to the browser, handles the next pictures there, and a long cell freezes the camera.
        with self._lock:
            picture = (content, buffers, time.monotonic(), contextvars.copy_context(), self._turn)
            dropped, self._waiting = self._waiting, picture
            self._lock.notify()
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="webcam", daemon=True)
                self._worker.start()
        if dropped:
            dropped[3].run(self.send, {"kind": "answer", "number": dropped[0].get("number"), "dropped": True})

    def _work(self):
        """Look at the waiting picture, again and again; ends when none came for a while."""
        while True:
            with self._lock:
                if not self._lock.wait_for(lambda: self._waiting, timeout=IDLE):
                    self._worker = None
                    return
                (content, buffers, seconds, context, turn), self._waiting = self._waiting, None
            answer = {"kind": "answer", "number": content.get("number")}
            try:
                answer["faces"] = self._look(content, buffers, seconds, turn)
            except BaseException as problem:  # whatever it is: without an answer the browser would wait
                answer["error"] = f"{type(problem).__name__}: {problem}"
            context.run(self.send, answer)

    def _look(self, content, buffers, seconds, turn):
        """Decode one picture, find its faces, keep both; returns the faces as plain data."""
        data = np.frombuffer(buffers[0], np.uint8) if buffers else np.empty(0, np.uint8)
        frame = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if frame is None:
            raise ValueError(f"the browser sent {data.size} bytes that are no picture: press Stop, then Start")
        faces = self._recognise(frame, seconds)
        answer = plain_faces(faces)
        delay, rate = (None if content.get(name) is None else float(content[name]) for name in ("delay", "rate"))
        with self._lock:
            if self.comm is None or turn != self._turn:                  # off or closed meanwhile: keep nothing
                return answer
            self._latest, self._delay, self._rate = (frame, copy.deepcopy(list(faces))), delay, rate
        self._tell(faces=copy.deepcopy(list(faces)), frames=self.frames + 1)
        return answer


def _check_size(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: give whole pixels, such as 640")
    if not helpers.SMALLEST_PICTURE <= value <= 4096:
        raise ValueError(f"{name} is {value}: give {helpers.SMALLEST_PICTURE} to 4096 pixels")


def _check_quality(value):
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"quality is {value!r}: give a number above 0 and up to 1, such as 0.8")
    if not 0 < value <= 1:
        raise ValueError(f"quality is {value}: give a number above 0 and up to 1, such as 0.8")


def plain_faces(faces):
    """What the browser draws of each face, in Python's own numbers: NumPy's can't be sent as JSON.

    Raises TypeError when `faces` is no list, ValueError when a face can't be read.
    """
    if not isinstance(faces, (list, tuple)):
        raise TypeError(f"recognise must return a list of faces, not {type(faces).__name__}")
    plain = []
    for face in faces:
        try:
            x, y, w, h = (int(v) for v in face["box"])
            plain.append({"box": [x, y, w, h]})
            if face.get("label") is not None:
                emotions = {str(name): float(share) for name, share in face["emotions"].items()}
                if not all(map(math.isfinite, emotions.values())):
                    raise ValueError
                plain[-1].update(label=str(face["label"]), emotions=emotions)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise ValueError(f"recognise returned the face {face!r}: it wants a box of four numbers, and with a "
                             "label the probabilities in emotions") from None
    return plain
