"""Python's halves of the webcam widget and the upload field, without a browser: messages go straight to their handlers."""
import io
import json
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import helpers
import webcam
from webcam import widget

JPEG = (ROOT / "Media" / "clip_happy.jpg").read_bytes()
FACE = {"box": [10, 20, 30, 40], "label": "Happy", "emotions": {"Happy": 0.75, "Sad": 0.25}, "confidence": 0.9}
LIMIT = 30        # seconds for an answer; the machine may be slow


class Cam(webcam.Webcam):
    """Records what it would send to the browser."""

    def __init__(self, *values, **options):
        self.answers, self.arrived = [], threading.Condition()
        super().__init__(*values, **options)

    def send(self, content, buffers=None):
        json.dumps(content, allow_nan=False)             # as the kernel does
        with self.arrived:
            self.answers.append(content)
            self.arrived.notify_all()

    def picture(self, number=1, buffers=(JPEG,), **content):
        self._receive(self, {"kind": "frame", "number": number, **content}, list(buffers))

    def wait(self, count=1):
        """All answers, as soon as there are `count`."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.answers) >= count, LIMIT), f"{len(self.answers)} answers"
            return self.answers


@pytest.fixture
def cam():
    """A widget whose predict returns one face; closed at the end."""
    cam = Cam(lambda frame, seconds: [FACE])
    yield cam
    cam.close()


def test_a_picture_is_processed_answered_and_kept(cam):
    cam.picture(7, latency=0.031, fps=14.5)
    assert cam.wait() == [{"kind": "answer", "number": 7, "faces": [
        {"box": [10, 20, 30, 40], "label": "Happy", "emotions": {"Happy": 0.75, "Sad": 0.25}, "confidence": 0.9}]}]
    assert (cam.processed_count, cam.faces, cam.latency, cam.fps) == (1, [FACE], 0.031, 14.5) and type(cam.latency) is float
    frame, faces = cam.latest()
    assert faces == [FACE] and np.array_equal(frame, helpers.read_image(ROOT / "Media" / "clip_happy.jpg"))
    frame[:], faces[:] = 0, []                            # the caller has copies
    assert cam.latest()[0].any() and cam.latest()[1] == [FACE]


def test_the_default_finds_the_expression():
    helpers.init_emotion()
    cam = Cam()
    cam.picture()
    assert [face["label"] for face in cam.wait()[0]["faces"]] == ["Happy"]
    cam.close()


def test_the_default_without_a_network_says_what_to_call():
    cam = Cam()
    cam.picture()
    assert "call init_emotion() once" in cam.wait()[0]["error"]
    cam.close()


def test_predict_gets_bgr_pixels_and_a_monotonic_clock():
    got = []
    cam = Cam(lambda frame, seconds: got.append((frame, seconds)) or [])
    for count in (1, 2, 3):
        cam.picture(count)
        cam.wait(count)
    assert all(frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 for frame, _ in got)
    times = [seconds for _, seconds in got]
    assert all(type(value) is float for value in times) and times[0] < times[1] < times[2]
    cam.close()


@pytest.mark.parametrize("buffers", [(), (b"",), (b"no picture at all",), (JPEG[:100],), (memoryview(b"\0" * 5000),)])
def test_bytes_that_are_not_a_picture_are_answered(cam, buffers):
    cam.picture(3, buffers)
    (answer,) = cam.wait()
    assert answer["number"] == 3 and "that are not a picture" in answer["error"]
    assert cam.processed_count == 0
    cam.picture(4)                                        # and it goes on
    assert cam.wait(2)[1]["faces"]


@pytest.mark.parametrize("problem", [ValueError("too dark"), cv2.error("inside OpenCV"), KeyError("x"),
                                     SystemExit("leave")])
def test_an_error_in_predict_is_answered(problem):
    def predict(frame, seconds):
        raise problem
    cam = Cam(predict)
    cam.picture(5)
    (answer,) = cam.wait()
    assert answer["number"] == 5 and str(problem) in answer["error"] and "faces" not in answer
    with pytest.raises(RuntimeError, match="no picture yet"):
        cam.latest()
    cam.close()


@pytest.mark.parametrize("faces", [
    None, "Happy", 5, [None], [{}], [{"box": [1, 2, 3]}], [{"box": None}], [{"box": [1, 2, 3, float("nan")]}],
    [{"box": [1, 2, 3, 4], "label": "Sad"}], [{"box": [1, 2, 3, 4], "label": "Sad", "emotions": {"Sad": "much"}}],
    [{"box": [1, 2, 3, 4], "label": "Sad", "emotions": {"Sad": float("nan")}}]], ids=repr)
def test_what_is_not_a_list_of_faces_is_answered_with_what_is_wanted(faces):
    cam = Cam(lambda frame, seconds: faces)
    cam.picture()
    assert "predict must return a list of faces" in cam.wait()[0]["error"]
    cam.close()


def test_numpy_numbers_become_plain_ones():
    face = {"box": np.array([1, 2, 3, 4]), "label": np.str_("Sad"), "emotions": {"Sad": np.float32(0.5)},
            "confidence": np.float32(0.9)}
    (plain,) = widget.plain_faces((face,))
    assert [type(v) for v in plain["box"]] == [int] * 4 and type(plain["label"]) is str
    assert type(plain["emotions"]["Sad"]) is type(plain["confidence"]) is float
    for confidence in (None, np.nan, "high"):             # haar returns none; a user's predict may return anything
        assert "confidence" not in widget.plain_faces([{**face, "confidence": confidence}])[0]
    assert widget.plain_faces([{"box": (1.0, 2.0, 3.0, 4.0)}]) == [{"box": [1, 2, 3, 4]}]
    json.dumps(plain)


@pytest.mark.parametrize("content", [{"kind": "tick"}, {"kind": "other"}, {}, None, "frame", 5])
def test_other_messages_are_ignored(cam, content):
    cam._receive(cam, content, [])
    assert cam._worker is None and cam.answers == []


def test_latest_before_any_picture_never_waits(cam):
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="no picture yet: press Start and allow the camera, then run this cell"):
        cam.latest()
    assert time.monotonic() - start < 5
    cam.error = "The browser finds no camera."
    with pytest.raises(RuntimeError, match="the widget says: The browser finds no camera"):
        cam.latest()
    assert cam.latency is None and cam.fps is None


def test_pictures_that_pile_up_are_dropped_to_the_newest():
    """200 at once: only the first, which is already being processed, and the newest are processed; the others get an empty answer."""
    looked, go_on = [], threading.Event()

    def predict(frame, seconds):
        looked.append(seconds)
        assert go_on.wait(LIMIT)
        return [FACE]
    cam = Cam(predict)
    cam.picture(0)
    while not looked:
        time.sleep(0.01)
    for number in range(1, 200):
        cam.picture(number)
    go_on.set()
    answers = cam.wait(200)
    assert len(looked) == 2 and sorted(answer["number"] for answer in answers) == list(range(200))
    assert [answer["number"] for answer in answers if "faces" in answer] == [0, 199]
    assert all(answer["dropped"] for answer in answers if 0 < answer["number"] < 199)
    cam.close()


def test_predict_never_runs_twice_at_once():
    """Messages arrive in several threads."""
    inside, most = [], []

    def predict(frame, seconds):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return []
    cam = Cam(predict)
    threads = [threading.Thread(target=lambda: [cam.picture(n) for n in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    cam.wait(80)
    assert max(most) == 1
    cam.close()


def test_the_worker_thread_ends_and_starts_again(cam, monkeypatch):
    monkeypatch.setattr(widget, "WORKER_IDLE_TIMEOUT", 0.05)
    cam.picture()
    cam.wait()
    worker = cam._worker
    if worker is not None:
        worker.join(LIMIT)
    assert cam._worker is None
    cam.picture()
    assert cam.wait(2)[1]["faces"]


def test_answers_are_sent_in_the_context_of_their_message(cam, monkeypatch):
    """ipykernel 7 sends the next messages to the thread from whose context the last answer came."""
    import contextvars
    variable, seen = contextvars.ContextVar("variable", default="another thread"), []
    monkeypatch.setattr(cam, "send", lambda content: (seen.append(variable.get()), Cam.send(cam, content)))
    context = contextvars.copy_context()
    context.run(variable.set, "the message")
    context.run(cam.picture)
    cam.wait()
    assert seen == ["the message"]


def test_nothing_of_a_picture_is_in_the_state_that_notebooks_save(cam):
    before = cam.get_state()
    cam.picture()
    cam.wait()
    assert cam.get_state() == before and "faces" not in before and "processed_count" not in before
    assert all(not isinstance(value, (bytes, memoryview, np.ndarray)) for value in before.values())
    assert before["state"] == "off" and before["error"] == ""


def test_the_repr_is_short_and_always_the_same(cam):
    other = webcam.Webcam()
    assert repr(cam) == repr(other) == str(cam) and len(repr(cam)) < 100 and "0x" not in repr(cam)
    assert cam._repr_mimebundle_()[0]["text/plain"] == repr(cam)
    other.close()


def test_display_gives_a_note_and_the_widget(cam, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append(data))
    cam._ipython_display_()
    assert [sorted(data) for data in shown] == [["text/html"],
                                                ["application/vnd.jupyter.widget-view+json", "text/plain"]]
    cam.close()
    with pytest.raises(RuntimeError, match="make a new one"):
        cam._ipython_display_()


def test_callers_and_predict_have_lists_of_their_own():
    mine = [json.loads(json.dumps(FACE))]
    cam = Cam(lambda frame, seconds: mine)
    cam.picture()
    cam.wait()
    mine[0]["box"][0] = -1
    assert cam.faces == [FACE]
    cam.latest()[1][0]["label"] = "Sad"
    cam.faces[0]["emotions"].clear()
    assert cam.latest()[1] == [FACE]
    cam.close()


def test_off_forgets_the_picture_and_its_numbers(cam):
    for state in ("starting", "on"):                      # what the browser reports
        cam.state = state
    cam.picture(latency=0.031, fps=14.5)
    cam.wait()
    assert cam.latest() and cam.faces and cam.latency
    cam.state = "off"
    assert (cam.faces, cam.latency, cam.fps) == ([], None, None)
    with pytest.raises(RuntimeError, match="no picture yet"):
        cam.latest()


@pytest.mark.parametrize("end", [lambda cam: cam.close(), lambda cam: setattr(cam, "state", "off")],
                         ids=["close", "off"])
def test_a_picture_in_progress_when_the_camera_goes_off_is_not_kept(end):
    inside, go_on = threading.Event(), threading.Event()

    def predict(frame, seconds):
        inside.set()
        assert go_on.wait(LIMIT)
        return [FACE]
    cam = Cam(predict)
    cam.state = "on"
    cam.picture(1, latency=0.031, fps=14.5)
    assert inside.wait(LIMIT)
    end(cam)
    go_on.set()
    assert "faces" in cam.wait()[-1]
    assert (cam.faces, cam.processed_count, cam.latency, cam._latest) == ([], 0, None, None)
    cam.close()


def test_sizes_set_later_are_checked_too(cam):
    for name, value, words in [("width", -5, "16 to 4096"), ("height", 5000, "16 to 4096"), ("quality", 7.0, "up to 1")]:
        with pytest.raises(ValueError, match=f"{name} is .*{words}"):
            setattr(cam, name, value)
    cam.width, cam.quality = 320, 0.5
    assert (cam.width, cam.height, cam.quality) == (320, 360, 0.5)


def test_an_observer_that_raises_is_not_an_error_of_predict(cam, capfd):
    def observer(change):
        raise ZeroDivisionError("mine")
    cam.observe(observer, "faces")
    cam.picture(1)
    assert "error" not in cam.wait()[0]
    assert cam.processed_count == 1 and cam.latest()[1] == [FACE] and "ZeroDivisionError: mine" in capfd.readouterr().err


def test_stop_tells_the_browser_and_close_forgets(cam):
    cam.picture()
    cam.wait()
    cam.stop()
    assert cam.answers[-1] == {"kind": "stop"} and cam.latest()
    cam.close()
    cam.close()
    with pytest.raises(RuntimeError, match="no picture yet"):
        cam.latest()
    cam.picture(9)                                        # one that was still in flight
    cam.wait(3)
    with pytest.raises(RuntimeError, match="no picture yet"):
        cam.latest()


@pytest.mark.parametrize("options, error, words", [
    ({"predict": 5}, TypeError, "function of"), ({"width": "640"}, TypeError, "whole number of pixels"),
    ({"width": 640.0}, TypeError, "whole number of pixels"), ({"height": True}, TypeError, "whole number of pixels"),
    ({"height": 0}, ValueError, "16 to 4096"), ({"width": 10**6}, ValueError, "16 to 4096"),
    ({"quality": 0}, ValueError, "up to 1"), ({"quality": 80}, ValueError, "up to 1"),
    ({"quality": float("nan")}, ValueError, "up to 1"), ({"quality": "high"}, TypeError, "up to 1")])
def test_wrong_arguments(options, error, words):
    with pytest.raises(error, match=words):
        webcam.Webcam(**options)


def test_numpy_sizes_are_fine():
    cam = webcam.Webcam(width=np.int64(320), height=np.int32(240), quality=np.float32(0.5))
    assert cam.get_state()["width"] == 320 and type(cam.width) is int
    cam.close()


def test_the_scripts_agree_with_python_and_need_no_network():
    folder = Path(webcam.__file__).parent
    scripts = [(folder / name).read_text(encoding="utf-8") for name in ("widget.js", "upload.js")]
    assert f"const LABEL_THRESHOLD = {helpers.LABEL_THRESHOLD};" in scripts[0]
    assert f"const FACE_THRESHOLD = {helpers.FACE_THRESHOLD};" in scripts[0]
    for script in scripts:
        assert script.isascii() and "import " not in script and "https://" not in script


def test_the_server_setting_is_harmless(capsys, monkeypatch):
    websocket = pytest.importorskip("jupyter_server.services.kernels.websocket")
    handler = websocket.KernelWebsocketHandler
    monkeypatch.setattr(handler, "open", lambda self, kernel_id: f"opened {kernel_id}")
    path, config = ROOT / "jupyter_lab_config.py", SimpleNamespace(LabApp=SimpleNamespace())
    code, names = compile(path.read_text(encoding="utf-8"), path, "exec"), {"get_config": lambda: config, "__file__": path}
    exec(code, dict(names))
    settings = json.loads((Path(config.LabApp.app_settings_dir) / "overrides.json").read_text(encoding="utf-8"))
    assert settings["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"] == {"markdown": "Markdown Preview"}

    class Fake:
        asked = []
        log = type("Log", (), {"info": staticmethod(lambda *words: None)})

        def set_nodelay(self, value):
            self.asked.append(value)
            raise AttributeError("no such thing in this version")
    assert handler.open(Fake(), "5") == "opened 5" and Fake.asked == [True]
    monkeypatch.delattr(websocket, "KernelWebsocketHandler")
    exec(code, dict(names))
    assert "usual speed" in capsys.readouterr().out


# ---------------------------------------------------------------- the upload field (in a browser: test_webcam_browser.py)

def give(box, name, content, chunk=100_000):
    """Send a file in chunks, as the page does."""
    for offset in range(0, max(len(content), 1), chunk):
        message = {"name": name, "offset": offset, "size": len(content)}
        box.children[0]._handle_custom_msg(message, [memoryview(content[offset:offset + chunk])])


@pytest.mark.parametrize("name, content, words", [
    ("empty.jpg", b"", "empty.jpg is an empty file"), ("letter.jpg", b"Dear all", "letter.jpg is not a picture"),
    ("cut.jpg", (ROOT / "Media" / "obama.jpg").read_bytes()[:5000], "cut.jpg can't be read completely")])
def test_an_uploaded_file_that_is_not_a_picture_is_named(name, content, words, capsys):
    helpers.init_emotion()
    give(webcam.upload_image(), name, content)
    said = capsys.readouterr().out.replace("\x1b[2K\r", "")      # how a terminal clears an output
    assert said.startswith(words) and "/" not in said.split("(")[0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_dropped_picture_is_shown_upright_and_labelled(orientation, monkeypatch):
    """6: the camera was held sideways, and the picture is stored like that."""
    helpers.init_emotion()
    shown = []
    monkeypatch.setattr(helpers, "show", lambda image, **options: shown.append(image))
    picture = Image.open(ROOT / "Media" / "obama.jpg")
    exif, file = picture.getexif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = picture.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture
    stored.save(file, "PNG", exif=exif)
    box = webcam.upload_image()
    give(box, "torn.png", file.getvalue()[:300_000], chunk=400_000)         # a new picture drops an unfinished one
    give(box, "o.png", file.getvalue())
    expected = helpers.emotion(cv2.cvtColor(np.array(picture), cv2.COLOR_RGB2BGR), returndata=True)
    assert len(shown) == 1 and np.array_equal(shown[0], expected)
    assert not [name for name, value in box.children[0].get_state().items() if isinstance(value, (bytes, memoryview))]


def test_an_uploaded_animation_says_which_frame_is_shown(capsys):
    helpers.init_emotion()
    file = io.BytesIO()
    frames = [Image.new("RGB", (60, 60), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    give(webcam.upload_image(), "wave.gif", file.getvalue())
    said = capsys.readouterr().out.replace("\x1b[2K\r", "")
    assert said.startswith("wave.gif: ") and "first" in said.splitlines()[0] and "No face found" in said


@pytest.mark.parametrize("name", ["../outside.jpg", "../../outside.jpg"])
def test_a_name_that_leads_out_of_the_folder_stays_inside(name, monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    helpers.init_emotion()
    shown = []
    monkeypatch.setattr(helpers, "show", lambda image, **options: shown.append(image))
    give(webcam.upload_image(), name, JPEG)
    assert len(shown) == 1 and list(tmp_path.rglob("*")) == [tmp_path / "temporary"]


def test_an_upload_field_passes_on_name_and_bytes():
    received = []
    field = webcam.UploadField(lambda name, content: received.append((name, content)))
    for offset, piece in ((0, b"abc"), (3, b"d")):
        field._handle_custom_msg({"name": "a.png", "offset": offset, "size": 4}, [memoryview(piece)])
    assert received == [("a.png", b"abcd")]
    field.close()


def test_an_upload_that_broke_off_leaves_nothing_in_the_next_one():
    received = []
    field = webcam.UploadField(lambda name, content: received.append((name, content)))
    for name, offset, size, piece in (("a.png", 0, 9, b"abc"), ("b.png", 0, 4, b"de"), ("b.png", 2, 4, b"fg")):
        field._handle_custom_msg({"name": name, "offset": offset, "size": size}, [memoryview(piece)])
    assert received == [("b.png", b"defg")]
    field.close()


def test_a_closed_widget_is_off():
    cam = webcam.Webcam()
    cam.state = "on"                     # what the browser reports
    cam.close()
    assert cam.state == "off"
    cam.close()                          # a second time does nothing
