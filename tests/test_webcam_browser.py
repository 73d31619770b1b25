"""The webcam widget in a real Chromium with a fake camera: first on a plain page, then in JupyterLab.

The fake camera plays Media/sad_to_happy.mp4 in a loop. A camera's light stays on as long as a "live track" uses it;
each page counts these by recording every stream that the browser provides.
"""
import ast
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import cv2
import nbformat
import numpy as np
import pytest
from conftest import CHROMIUM, ROOT
from nbformat.sign import NotebookNotary

import video
from webcam.widget import plain_faces

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
if CHROMIUM is None:
    pytest.skip("no Chromium or Chrome here: install one to test the webcam widget", allow_module_level=True)

pytestmark = pytest.mark.slow
LIMIT = 30        # seconds for one condition to become true; generous, because the machine may be slow

# Runs before the page's own scripts: records every track, and lets a test choose what getUserMedia does.
COUNT_TRACKS = """
window.tracks = []; window.asked = 0;
if (navigator.mediaDevices) {
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async wish => {
    window.asked += 1;
    const stream = await (window.fakeCamera ?? real)(wish, real);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
}
window.live = () => window.tracks.filter(track => track.readyState === "live").length;
"""

# A page with the widget and a stand-in for the kernel, which answers at once, or with what window.kernel returns.
PLAIN_PAGE = """<!doctype html><div id="first"></div><div id="second"></div><script type="module">
import factory from "./widget.js";
const face = { box: [100, 50, 120, 140], label: "Happy", emotions: { Happy: 0.4, Sad: 0.35, Neutral: 0.25 } };
const traits = { width: 640, height: 360, quality: 0.8, answer_timeout: 60, start_timeout: 60,
                 hidden_timeout: 60, state: "off", error: "" };
const listeners = [];
window.kernel = message => ({ kind: "answer", number: message.number, faces: [face] });
window.messages = [];
window.tell = message => listeners.forEach(listener => listener(message));
window.model = {
  get: name => traits[name], set: (name, value) => { traits[name] = value; }, save_changes() {},
  on: (name, listener) => { if (name === "msg:custom") listeners.push(listener); }, off() {},
  send(message, _, buffers) {
    window.messages.push({ ...message, bytes: buffers?.[0].byteLength ?? 0 });
    const answer = message.kind === "frame" && window.kernel(message);
    if (answer) setTimeout(() => window.tell(answer), 5);
  },
};
const widget = await factory();
window.destroy = await widget.initialize({ model });
window.display = id => widget.render({ model, el: document.getElementById(id) });
window.closeFirst = await window.display("first");
window.ready = true;
</script>"""


def until(condition, what):
    """Call `condition` until what it returns is true, and return that; fail after LIMIT seconds."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.05)
    pytest.fail(f"this did not happen within {LIMIT} s: {what}")


def true(page, expression):
    """Wait until a JavaScript expression is true in the page."""
    page.wait_for_function(expression, timeout=LIMIT * 1000, polling=50)


def do(page, statements):
    """Run JavaScript statements. The braces keep Playwright from calling a function that an expression returns."""
    page.evaluate(f"() => {{ {statements} }}")


def press(page, name):
    page.locator(".webcam-button", has_text=name).last.click(timeout=LIMIT * 1000)


# ---------------------------------------------------------------- browser and fake camera

@pytest.fixture(scope="module")
def camera_file(tmp_path_factory):
    """The clip as a sequence of JPEGs, which Chromium can use as a camera."""
    path = tmp_path_factory.mktemp("camera") / "clip.mjpeg"
    clip = cv2.VideoCapture(str(ROOT / "Media" / "sad_to_happy.mp4"))
    with open(path, "wb") as file:
        while (frame := clip.read())[0]:
            file.write(cv2.imencode(".jpg", frame[1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return path


@pytest.fixture(scope="module")
def chromium():
    """A function that starts a browser with the given flags; all are closed at the end."""
    with playwright_api.sync_playwright() as playwright:
        running = []

        def launch(*flags):
            running.append(playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(flags)))
            return running[-1]
        yield launch
        for browser in running:
            browser.close()


@pytest.fixture(scope="module")
def browser(chromium, camera_file):
    return chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                    f"--use-file-for-fake-video-capture={camera_file}")


# ---------------------------------------------------------------- on a plain page

def open_plain(browser, address="http://localhost/page.html", headers=None):
    """Open a page with the widget. Nothing comes from a network: the test answers all requests."""
    page = browser.new_page()
    page.set_default_timeout(LIMIT * 1000)
    page.add_init_script(COUNT_TRACKS)
    script = (ROOT / "webcam" / "widget.js").read_text(encoding="utf-8")
    page.route("**/*", lambda route: route.fulfill(content_type="text/html", body=PLAIN_PAGE, headers=headers)
               if route.request.url.endswith("page.html")
               else route.fulfill(content_type="text/javascript", body=script))
    page.goto(address)
    true(page, "window.ready")
    return page


@pytest.fixture
def plain(browser):
    page = open_plain(browser)
    yield page
    page.close()


def failed(page):
    """Check that the camera is off and the widget offers Retry; return the widget's sentence."""
    page.locator(".webcam-error").wait_for()
    true(page, "window.live() === 0 && model.get('state') === 'off'")
    assert page.locator(".webcam-button").inner_text() == "Retry"
    assert page.locator(".webcam-on").is_hidden()
    sentence = page.locator(".webcam-text").inner_text()
    assert page.evaluate("model.get('error')") == sentence
    return sentence


def start(page):
    press(page, re.compile("Start|Retry"))
    true(page, "window.live() === 1 && model.get('state') === 'on'")


def test_nothing_happens_before_start_and_the_page_says_what_will(plain):
    sentence = plain.locator(".webcam-text").inner_text()
    assert "this browser's camera" in sentence and "Python kernel" in sentence and "Nothing is stored" in sentence
    assert plain.evaluate("window.asked") == 0 and plain.evaluate("window.messages.length") == 0
    assert plain.locator(".webcam-on").is_hidden()


def test_start_shows_camera_faces_bars_and_speed(plain):
    start(plain)
    assert plain.locator(".webcam-on").inner_text() == "camera on"
    plain.locator(".webcam-label", has_text="Happy? 40%").wait_for()
    assert plain.locator(".webcam-emotion").all_inner_texts() == ["Happy\n40%", "Sad\n35%", "Neutral\n25%"]
    plain.locator(".webcam-stats", has_text=re.compile(r"\d fps, latency \d+ ms")).wait_for()
    true(plain, "window.messages.some(m => m.latency > 0 && m.latency < 60 && m.fps > 0)")
    assert plain.evaluate("document.querySelector('canvas').width") == 640
    # Mirrored: the box at 100..220 of 640 is drawn at 420..540. The middle of its left edge is yellow.
    assert plain.evaluate("[...document.querySelector('canvas').getContext('2d').getImageData(420, 120, 1, 1).data]"
                          ) == [255, 200, 0, 255]


@pytest.mark.parametrize("confidence, label", [(0.85, "Happy 95% (face 85%)"), (0.9, "Happy 95%"), (None, "Happy 95%")])
def test_a_doubtful_face_shows_how_doubtful_it_is(plain, confidence, label):
    """What Python sends for a face, as JSON."""
    (face,) = plain_faces([{"box": [100, 50, 120, 140], "label": "Happy", "emotions": {"Happy": 0.95, "Sad": 0.05},
                            "confidence": confidence}])
    do(plain, f"window.kernel = message => ({{ kind: 'answer', number: message.number, faces: [{json.dumps(face)}] }})")
    start(plain)
    plain.locator(".webcam-label", has_text="Happy").wait_for()
    assert plain.locator(".webcam-label").inner_text() == label


def test_the_picture_is_swapped_left_and_right_like_in_a_mirror(plain):
    """The camera shows four colours; a screenshot shows where they are."""
    plain.add_style_tag(content=(ROOT / "webcam" / "widget.css").read_text(encoding="utf-8"))
    do(plain, """window.kernel = message => ({ kind: 'answer', number: message.number, faces: [] });
        const canvas = document.createElement('canvas'); [canvas.width, canvas.height] = [640, 360];
        const context = canvas.getContext('2d');
        setInterval(() => ['red', 'lime', 'blue', 'white'].forEach((colour, i) => {
            context.fillStyle = colour; context.fillRect(i % 2 * 320, (i >> 1) * 180, 320, 180); }), 20);
        window.fakeCamera = async () => canvas.captureStream(30);""")
    start(plain)
    true(plain, "window.messages.length > 5 && document.querySelector('.webcam-picture video').readyState >= 2")
    shot = cv2.imdecode(np.frombuffer(plain.locator(".webcam-picture").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    height, width = shot.shape[:2]
    corners = [shot[height * y // 4, width * x // 4].astype(int) for y in (1, 3) for x in (1, 3)]
    lime, red, white, blue = (0, 255, 0), (0, 0, 255), (255, 255, 255), (255, 0, 0)
    assert np.abs(np.subtract(corners, (lime, red, white, blue))).max() < 60


def test_start_stop_start(plain):
    for _ in range(2):
        start(plain)
        true(plain, "window.messages.length > 3")
        press(plain, "Stop")
        true(plain, "window.live() === 0 && model.get('state') === 'off'")
        do(plain, "window.messages.length = 0")
    assert plain.evaluate("window.asked") == 2


def test_one_picture_in_flight(plain):
    do(plain, "window.kernel = () => null")
    start(plain)
    true(plain, "performance.now() - (window.t ??= performance.now()) > 1000")     # about 30 frames of the camera
    frames = [m for m in plain.evaluate("window.messages") if m["kind"] == "frame"]
    assert len(frames) == 1 and 1000 < frames[0]["bytes"] < 200_000
    plain.evaluate("number => window.tell({ kind: 'answer', number: number + 1, faces: [] })", frames[0]["number"])
    true(plain, "performance.now() - window.t > 2000")                              # somebody else's answer
    assert len(plain.evaluate("window.messages")) == 1
    do(plain, "window.messages.length = 0")
    plain.evaluate("number => window.tell({ kind: 'answer', number, faces: [] })", frames[0]["number"])
    true(plain, "window.messages.some(m => m.kind === 'frame')")
    assert [m["kind"] for m in plain.evaluate("window.messages")].count("frame") == 1
    plain.locator(".webcam-label", has_text="no face found").wait_for()


@pytest.mark.parametrize("pays", [True, False])
def test_ticks_stay_if_they_make_the_answers_faster(plain, pays):
    """The stand-in kernel answers late, but at once after a tick; or it answers soon, but late once ticks arrive."""
    do(plain, """window.answer = window.kernel; window.count = window.ticks = 0;
        window.kernel = m => { window.waiting = window.answer(m); window.count += 1;
                               setTimeout(() => window.tell(window.waiting), PAYS || window.ticks ? 160 : 40); };
        const send = model.send;
        model.send = (m, ...more) => {
            if (m.kind === 'tick') { window.ticks += 1; if (PAYS) window.tell(window.waiting); }
            send(m, ...more); };""".replace("PAYS", str(pays).lower()))
    start(plain)
    true(plain, "window.count >= 41")
    at_the_end_of_the_trial = plain.evaluate("window.ticks")
    assert at_the_end_of_the_trial >= 10
    true(plain, "window.count >= 50")
    assert (plain.evaluate("window.ticks") > at_the_end_of_the_trial + 4) == pays


@pytest.mark.parametrize("how, sentence", [
    ("press", "Start turns on"), ("window.tell({ kind: 'stop' })", "Start turns on"),
    ("window.destroy()", "Start turns on"), ("window.closeFirst()", ""),
    ("window.tracks[0].dispatchEvent(new Event('ended'))", "unplugged or blocked")])
def test_ways_to_stop(plain, how, sentence):
    start(plain)
    press(plain, "Stop") if how == "press" else do(plain, how)
    true(plain, "window.live() === 0 && model.get('state') === 'off'")
    assert sentence in plain.locator(".webcam-text").inner_text()


def test_two_displays_share_one_camera_and_the_last_one_ends_it(plain):
    plain.evaluate("async () => { window.closeSecond = await window.display('second'); }")
    start(plain)
    assert plain.locator(".webcam-on:visible").count() == 2
    true(plain, "[...document.querySelectorAll('video')].every(v => v.videoWidth > 0)")
    do(plain, "window.closeFirst()")
    do(plain, "window.messages.length = 0")
    true(plain, "window.messages.length > 3")
    assert plain.evaluate("[window.asked, window.live()]") == [1, 1]
    do(plain, "window.closeSecond()")
    true(plain, "window.live() === 0")


def test_a_silent_kernel_stops_the_camera_and_retry_works(plain):
    do(plain, "model.set('answer_timeout', 1); window.answer = window.kernel; window.kernel = () => null")
    press(plain, "Start")
    sentence = failed(plain)
    assert "No answer from the kernel for 1 seconds" in sentence and "restart" in sentence
    do(plain, "window.kernel = window.answer")
    start(plain)
    assert plain.evaluate("model.get('error')") == ""


def test_a_message_that_can_not_be_sent_stops_the_camera(plain):
    do(plain, "model.send = () => { throw new Error('closed') }")
    press(plain, "Start")
    assert "could not be sent to the kernel (closed)" in failed(plain)


def test_a_page_that_is_hidden_for_long_stops_the_camera(plain):
    hide = """value => { Object.defineProperty(document, 'hidden', { value, configurable: true });
                         document.dispatchEvent(new Event('visibilitychange')); }"""
    plain.evaluate("model.set('hidden_timeout', 1)")
    start(plain)
    plain.evaluate(hide, True)
    plain.evaluate(hide, False)                                                    # back in time: stays on
    true(plain, "performance.now() - (window.t ??= performance.now()) > 1500")
    assert plain.evaluate("window.live()") == 1
    plain.evaluate(hide, True)
    true(plain, "window.live() === 0 && model.get('state') === 'off'")
    assert "hidden for 1 seconds" in plain.locator(".webcam-text").inner_text()
    assert plain.evaluate("model.get('error')") == ""


@pytest.mark.parametrize("name, sentence", [
    ("NotAllowedError", "was not allowed"), ("NotFoundError", "finds no camera"),
    ("NotReadableError", "in use by another program"), ("OverconstrainedError", "pictures of this size"),
    ("AbortError", "did not start (AbortError: told so)")])
def test_each_refusal_has_its_message_and_retry_works(plain, name, sentence):
    plain.evaluate("name => { window.fakeCamera = () => Promise.reject(new DOMException('told so', name)); }", name)
    press(plain, "Start")
    assert sentence in failed(plain)
    do(plain, "window.fakeCamera = undefined")
    start(plain)
    assert plain.locator(".webcam-error").count() == 0 and plain.evaluate("model.get('error')") == ""


def test_an_error_after_the_camera_was_given_leaves_no_live_track(plain):
    do(plain, "HTMLVideoElement.prototype.play = () => Promise.reject(new DOMException('told so', 'AbortError'))")
    press(plain, "Start")
    assert "AbortError" in failed(plain)
    assert plain.evaluate("window.tracks.length") == 1


def test_a_browser_that_never_answers_and_a_camera_that_comes_too_late(plain):
    do(plain, """model.set('start_timeout', 0.5);
        window.fakeCamera = (wish, real) => new Promise(give => {
            window.late = async () => give(await real(wish)); });""")
    press(plain, "Start")
    assert "did not start within 0.5 seconds" in failed(plain)
    do(plain, "window.late()")
    true(plain, "window.tracks.length === 1 && window.live() === 0")
    press(plain, "Retry")                                                          # stop while it is starting
    press(plain, "Stop")
    do(plain, "window.late()")
    true(plain, "window.tracks.length === 2 && window.live() === 0")
    assert plain.evaluate("model.get('state')") == "off"
    press(plain, "Start")                                                          # the first one never comes
    press(plain, "Stop")
    do(plain, "window.fakeCamera = undefined; model.set('start_timeout', 60)")
    start(plain)
    true(plain, "performance.now() - (window.t ??= performance.now()) > 1000")
    assert plain.evaluate("window.live()") == 1                                    # its time limit does not count


def test_errors_in_python_are_shown_and_five_in_a_row_stop_the_camera(plain):
    do(plain, """window.count = 0; window.good = window.kernel;
        window.bad = m => ({ kind: 'answer', number: m.number, error: 'ValueError: too dark' });
        window.kernel = m => (window.count += 1) < 4 ? window.bad(m) : window.count === 4 ? null : window.good(m);""")
    start(plain)
    plain.locator(".webcam-error", has_text="ValueError: too dark").wait_for()     # the fourth has no answer yet
    true(plain, "window.count === 4")
    assert plain.evaluate("[window.live(), model.get('state')]") == [1, "on"]
    assert "ValueError: too dark" in plain.evaluate("model.get('error')")
    plain.evaluate("window.tell(window.good(window.messages.filter(m => m.kind === 'frame').at(-1)))")
    true(plain, "model.get('error') === '' && window.count > 6 && window.live() === 1")
    do(plain, "window.kernel = window.bad")
    assert "5 times in a row" in failed(plain)


def test_no_camera_interface(plain):
    plain.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    press(plain, "Start")
    assert "offers no camera" in failed(plain)


@pytest.mark.parametrize("address, headers, sentence", [
    ("http://lab.example:8888/page.html", None, "ssh -L 8888:localhost:8888 lab.example"),
    ("http://localhost/page.html", {"Permissions-Policy": "camera=()"}, "viewer does not let")])
def test_pages_that_may_not_use_a_camera(browser, address, headers, sentence):
    page = open_plain(browser, address, headers)
    press(page, "Start")
    assert sentence in failed(page)
    page.close()


@pytest.mark.parametrize("flags, sentence", [
    (("--use-fake-device-for-media-stream", "--deny-permission-prompts"), "was not allowed"),
    (("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=device-count=0"), "finds no camera")])
def test_a_browser_that_really_refuses(chromium, flags, sentence):
    page = open_plain(chromium(*flags))
    press(page, "Start")
    assert sentence in failed(page)


# ---------------------------------------------------------------- in JupyterLab

FIRST_CELL = f"""
import os, time
os.chdir({str(ROOT)!r})
import helpers, webcam
helpers.init_emotion()
seen = []
def look(frame, seconds):
    faces = helpers.detect_emotions(frame)
    seen.extend(face["label"] for face in faces)
    return faces
"""

# JupyterLab's own commands and models, reached through the object that --expose-app-in-browser puts in the page.
LAB_SCRIPT = """
window.panel = () => window.jupyterapp?.shell.currentWidget;
window.outputs = id => [...window.panel().content.widgets].find(cell => cell.model.id === id).model.toJSON().outputs;
window.select = id => {
  const notebook = window.panel().content;
  notebook.activeCellIndex = notebook.widgets.findIndex(cell => cell.model.id === id);
};
window.addCell = async code => {
  const notebook = window.panel().content;
  notebook.activeCellIndex = notebook.widgets.length - 1;
  await window.jupyterapp.commands.execute("notebook:insert-cell-below");
  notebook.activeCell.model.sharedModel.setSource(code);
  return notebook.activeCell.model.id;
};
window.runCell = async id => { window.select(id); await window.jupyterapp.commands.execute("notebook:run-cell"); };
window.python = async expression => {
  const kernel = window.panel().sessionContext.session.kernel;
  const request = kernel.requestExecute({ code: "", silent: true, user_expressions: { answer: expression } });
  const answer = (await request.done).content.user_expressions.answer;
  return answer.status === "ok" ? answer.data["text/plain"] : `'${answer.ename}: ${answer.evalue}'`;
};
"""


def folder_texts(folder):
    """{path: bytes} of every file in a folder and its subfolders."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def contains_picture(data):
    """Whether the data holds a JPEG or PNG, as bytes or as base64, or any long block of base64."""
    return b"\xff\xd8\xff" in data or b"\x89PNG" in data or b"/9j/" in data or re.search(rb"[A-Za-z0-9+/=]{1000}", data)


class Lab:
    """One notebook in JupyterLab; cells are added at its end."""

    def __init__(self, page, folder):
        self.page, self.folder = page, folder

    def cell(self, code, wait=True):
        """Add a cell and run it; returns its id."""
        cell = self.page.evaluate("code => window.addCell(code)", code)
        self.run(cell, wait)
        return cell

    def run(self, cell, wait=True):
        if wait:
            self.page.evaluate("id => window.runCell(id)", cell)
        else:
            self.page.evaluate("id => { window.runCell(id); }", cell)

    def command(self, name, cell=None, **options):
        if cell:
            self.page.evaluate("id => window.select(id)", cell)
        self.page.evaluate("([name, options]) => window.jupyterapp.commands.execute(name, options).then(() => null)",
                           [name, options])

    def python(self, expression):
        """Evaluate a Python expression in the kernel, without a cell; errors are returned as text."""
        return ast.literal_eval(self.page.evaluate("expression => window.python(expression)", expression))

    def widget(self, code="cam = webcam.Webcam(look)\ncam", start=True):
        cell = self.cell(code)
        self.page.locator(".webcam-button").last.wait_for()
        if start:
            self.start()
        return cell

    def start(self):
        before = self.python("cam.processed_count")
        press(self.page, re.compile("Start|Retry"))
        true(self.page, "window.live() === 1")
        until(lambda: self.python("cam.processed_count") > before + 2 and self.python("cam.state") == "on", "pictures in Python")

    def off(self):
        true(self.page, "window.live() === 0")


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """JupyterLab on a free port, with its settings, data and notebook in a temporary folder: (address, folder)."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = folder / "notebooks"
    settings = folder / "settings" / "@jupyter-widgets" / "jupyterlab-manager"
    for path in (notebooks, settings):
        path.mkdir(parents=True)
    # The harder case: the widgets' state is saved in the notebook too.
    (settings / "plugin.jupyterlab-settings").write_text('{"saveState": true}')
    cell = {"cell_type": "code", "id": "first", "metadata": {}, "outputs": [], "execution_count": None,
            "source": FIRST_CELL}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (notebooks / "webcam.ipynb").write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4,
                                                        "nbformat_minor": 5}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
               "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "TMPDIR": "tmp",
               "IPYTHONDIR": "ipython"}
    (folder / "tmp").mkdir()
    environment = {**os.environ, **{name: str(folder / value) for name, value in folders.items()}}
    with open(folder / "lab.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
             f"--config={ROOT / 'jupyter_lab_config.py'}", f"--ServerApp.root_dir={notebooks}", "--ServerApp.ip=127.0.0.1",
             f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=test"],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def answers():
        if process.poll() is not None:
            pytest.fail(f"JupyterLab ended: {(folder / 'lab.log').read_text()[-2000:]}")
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token=test", timeout=5)
        except OSError:
            return None
    try:
        until(answers, "JupyterLab answers").close()
        yield f"http://localhost:{port}/lab/tree/webcam.ipynb?token=test&reset", folder
    finally:
        process.send_signal(signal.SIGTERM)       # so that it shuts down its kernels first
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def lab_page(browser, jupyter):
    address, folder = jupyter
    page = browser.new_page()
    page.set_default_timeout(LIMIT * 1000)
    page.add_init_script(COUNT_TRACKS + LAB_SCRIPT)
    page.goto(address)
    true(page, "window.panel?.()?.sessionContext?.session?.kernel?.status === 'idle'")
    page.evaluate("() => window.runCell('first')")
    yield Lab(page, folder)
    page.close()


@pytest.fixture
def lab(lab_page):
    """The notebook with only its first cell; afterwards the camera has to be off."""
    yield lab_page
    while lab_page.page.evaluate("window.panel().content.widgets.length") > 1:
        lab_page.page.evaluate("() => { window.panel().content.activeCellIndex = 1; }")
        lab_page.command("notebook:delete-cell")
    lab_page.off()
    lab_page.page.evaluate("() => { window.tracks.length = window.asked = 0; }")


def test_first_sad_then_happy(lab):
    """The face of the clip, through camera, browser, server, kernel and back into the page."""
    lab.widget()
    assert lab.page.evaluate("window.asked") == 1
    lab.page.locator(".webcam-label", has_text="Sad").wait_for()
    lab.page.locator(".webcam-label", has_text="Happy").wait_for()
    seen = lab.python("seen")
    assert [label for label in seen if label in ("Sad", "Happy")][0] == "Sad" and "Happy" in seen
    assert lab.python("[type(cam.latency).__name__, type(cam.fps).__name__, cam.error, len(cam.faces)]") == [
        "float", "float", "", 1]
    assert lab.python("cam.latest()[0].shape") == (360, 640, 3)


def test_start_stop_start_by_button_and_from_python(lab):
    lab.widget()
    press(lab.page, "Stop")
    lab.off()
    until(lambda: lab.python("cam.state") == "off", "Python is told")
    lab.start()
    lab.cell("cam.stop()")
    lab.off()
    lab.start()
    lab.cell("cam.close()")
    lab.off()
    assert lab.page.locator(".webcam").count() == 0
    assert "no picture yet" in lab.python("cam.latest()")


def test_cell_run_again_deleted_output_cleared(lab):
    cell = lab.widget()
    lab.run(cell)
    lab.off()
    lab.page.locator(".webcam-button").wait_for()
    lab.start()
    lab.command("notebook:clear-cell-output", cell)
    lab.off()
    lab.run(cell)
    lab.page.locator(".webcam-button").wait_for()
    lab.start()
    lab.command("notebook:delete-cell", cell)
    lab.off()


def test_two_displays_one_camera(lab):
    lab.widget(start=False)
    second = lab.cell("cam")
    true(lab.page, "document.querySelectorAll('.webcam').length === 2")
    lab.start()
    assert lab.page.locator(".webcam-on:visible").count() == 2 and lab.page.evaluate("window.asked") == 1
    lab.command("notebook:delete-cell", second)
    frames = lab.python("cam.processed_count")
    until(lambda: lab.python("cam.processed_count") > frames + 3, "goes on with one display")
    assert lab.page.evaluate("window.live()") == 1


def test_an_error_in_python_is_shown_and_reported(lab):
    lab.widget("cam = webcam.Webcam(lambda frame, seconds: 1 / 0)\ncam", start=False)
    press(lab.page, "Start")
    lab.page.locator(".webcam-error", has_text="5 times in a row").wait_for()
    lab.off()
    until(lambda: "ZeroDivisionError: division by zero" in lab.python("cam.error"), "the error in Python")
    lab.page.evaluate("() => { window.fakeCamera = () => Promise.reject(new DOMException('no', 'NotFoundError')); }")
    press(lab.page, "Retry")
    until(lambda: "finds no camera" in lab.python("cam.error"), "the browser's error in Python")
    lab.page.evaluate("() => { window.fakeCamera = undefined; }")
    assert "the widget says: The browser finds no camera" in lab.python("cam.latest()")


def test_asking_too_early_in_the_same_cell_answers_at_once(lab):
    cell = lab.cell("cam = webcam.Webcam(look)\ndisplay(cam)\ncam.latest()")
    error = lab.page.evaluate("id => window.outputs(id)", cell)[-1]
    assert error["output_type"] == "error" and "no picture yet: press Start" in error["evalue"]


def test_a_busy_kernel_is_back_at_once(lab):
    """A cell that runs for two seconds causes no backlog: one picture was in flight, and the next ones are new."""
    lab.widget()
    before = lab.python("cam.processed_count")
    lab.cell("time.sleep(2)")
    start = time.monotonic()
    frames = lab.python("cam.processed_count")
    assert time.monotonic() - start < 2         # usually 0.05
    until(lambda: lab.python("cam.processed_count") > frames, "the camera goes on")
    assert lab.python("cam.error") == "" and frames - before < 200


def test_the_saved_notebook_holds_no_picture(lab):
    """Save it with the camera on and with the widgets' state: no picture there, in checkpoints or in other files."""
    cell = lab.widget("cam = webcam.Webcam(look)\ncam")
    lab.command("docmanager:save")
    lab.command("docmanager:save")               # the second save writes a checkpoint of the first
    texts = folder_texts(lab.folder)
    saved = [text for path, text in texts.items() if path.suffix == ".ipynb"]
    assert len(saved) == 2 and all(b"cam = webcam.Webcam" in text for text in saved)
    assert b"widget-state" in saved[0], "the harder case, saving the widgets' state, is no longer tested"
    assert [path for path, text in texts.items() if contains_picture(text)] == []
    note, widget = [output["data"] for output in lab.page.evaluate("id => window.outputs(id)", cell)]
    assert "run this cell (again)" in note["text/html"] and "run this cell (again)" in widget["text/plain"]


def test_kernel_restarted(lab):
    lab.widget("cam = webcam.Webcam(look)\ncam.answer_timeout = 2\ncam")
    lab.page.evaluate("() => window.panel().sessionContext.session.kernel.restart()")
    lab.off()
    lab.page.locator(".webcam-error", has_text="kernel").wait_for()
    assert lab.page.locator(".webcam-button").inner_text() == "Retry"
    lab.page.evaluate("() => window.runCell('first')")
    lab.widget()                                  # the new kernel's widget works


def test_notebook_closed_and_opened_again_without_its_kernel(lab):
    """This comes after the other camera tests, since it shuts down the kernel. A note is left, not JupyterLab's error."""
    lab.widget()
    assert lab.page.locator(".webcam-note").is_hidden()
    lab.command("docmanager:save")
    lab.page.evaluate("""async () => { const context = window.panel().sessionContext;
                                       window.panel().close();
                                       await context.shutdown(); }""")
    lab.off()
    path = lab.folder / "notebooks" / "webcam.ipynb"
    notebook = nbformat.read(path, as_version=4)
    del notebook.metadata["widgets"]             # as JupyterLab saves it by default, without the widgets' state
    nbformat.write(notebook, path)
    NotebookNotary(data_dir=str(lab.folder / "data")).sign(notebook)
    lab.command("docmanager:open", path="webcam.ipynb")
    true(lab.page, "window.panel?.()?.sessionContext?.session?.kernel?.status === 'idle'")
    lab.page.locator(".webcam-note").wait_for(state="visible")
    broken = lab.page.locator(".jupyter-widgets", has_text="model not found")
    broken.wait_for(state="attached")
    assert broken.is_hidden()


# ---------------------------------------------------------------- clips written by video.Writer

def test_a_written_clip_plays(browser, tmp_path):
    with video.Writer(tmp_path / "clip.webm", 24) as writer:
        for i in range(24):
            writer.write(np.full((90, 160, 3), (200, 40, 40) if i < 12 else (40, 40, 200), np.uint8))      # blue, then red
    page = browser.new_page()
    page.set_default_timeout(LIMIT * 1000)
    data = base64.b64encode((tmp_path / "clip.webm").read_bytes()).decode()
    page.set_content(f'<video muted src="data:video/webm;base64,{data}"></video>')
    true(page, "(window.clip = document.querySelector('video')).readyState >= 2")
    corner = """() => { const canvas = new OffscreenCanvas(1, 1).getContext("2d"); canvas.drawImage(clip, 0, 0);
                        return [...canvas.getImageData(0, 0, 1, 1).data]; }"""
    red, _, blue, _ = page.evaluate(corner)
    assert page.evaluate("[clip.videoWidth, clip.videoHeight]") == [160, 90] and blue > 150 > 100 > red
    do(page, "clip.play()")
    true(page, "clip.ended")
    red, _, blue, _ = page.evaluate(corner)
    assert page.evaluate("clip.currentTime") == pytest.approx(1, abs=0.1) and red > 150 > 100 > blue
    page.close()


# ---------------------------------------------------------------- the upload field

DROP = """([field, name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0)), files = new DataTransfer();
  files.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragenter", "dragover", "drop"])
    field.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


def test_a_picture_dropped_or_chosen_is_labelled(lab):
    lab.run("first")           # the kernel may be a new one
    lab.cell("webcam.upload_image()")
    field = lab.page.locator(".picture-field").last

    def choose(file):
        with lab.page.expect_file_chooser() as chooser:
            field.click()
        chooser.value.set_files(file)

    def drop(name, content):
        lab.page.evaluate(DROP, [field.element_handle(), name, base64.b64encode(content).decode()])

    choose(ROOT / "Media" / "obama.jpg")
    shown = lab.page.locator(".jp-OutputArea img[src^='data:image/png']").last
    shown.wait_for()
    choose({"name": "letter.jpg", "mimeType": "image/jpeg", "buffer": b"Dear all"})
    said = lab.page.locator(".jp-RenderedText", has_text="letter.jpg is not a picture")
    said.wait_for()
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    noise[:910, :728] = cv2.imread(str(ROOT / "Media" / "obama.jpg"))
    large = cv2.imencode(".png", noise)[1].tobytes()
    assert len(large) > 11_000_000                          # more than Jupyter's server accepts in one message
    drop("large.png", large)
    said.wait_for(state="detached")
    shown.wait_for()
