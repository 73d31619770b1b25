"""play_window in a real window, on a display that exists only in memory (Xvfb): keys, the close button, an interrupt and the end of the clip."""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

import video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("xdotool")),
                       reason="the window tests need Xvfb and xdotool (apt-get install xvfb xdotool)")]
TITLE = "Expressions (q quits)"
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)     # a job in the background begins without it
import video
from video import player
released = []
close = video.Reader.close
video.Reader.close = lambda self: (released.append(self._capture is not None), close(self))
frames = []
video.play_window({clip!r}, lambda frame, seconds: frames.append(seconds) or [], mirror=True)
print("frames", len(frames), "released", sum(released), "open", player._is_open({title!r}))
"""


@pytest.fixture(scope="module")
def screen():
    """The name of a display that holds no one else's windows."""
    reading, writing = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-screen", "0", "1024x768x24"], pass_fds=[writing],
                              stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        name = f":{pipe.readline().strip()}"
    yield name
    server.terminate()
    server.wait(10)


def start(screen):
    clip = str(ROOT / "Media" / "sad_to_happy.mp4")
    program = PROGRAM.format(clip=clip, title=TITLE)
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "DISPLAY": screen}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def window(screen):
    """The number of the window, as soon as it is there."""
    found = subprocess.run(["xdotool", "search", "--sync", "--onlyvisible", "--name", TITLE.split(" (")[0]],
                           env={**os.environ, "DISPLAY": screen}, capture_output=True, text=True, timeout=60)
    return int(found.stdout.split()[0])


def end(program):
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    words = out.split()
    assert words[words.index("released") + 1] == "1" and words[-1] == "False"
    return int(words[1])


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_a_key_ends_it(key, screen):
    program = start(screen)
    number = window(screen)
    deadline = time.monotonic() + 30
    while program.poll() is None and time.monotonic() < deadline:      # the first key may come before the window listens
        subprocess.run(["xdotool", "windowfocus", str(number), "key", "--window", str(number), key],
                       env={**os.environ, "DISPLAY": screen}, stderr=subprocess.DEVNULL, timeout=30)
    assert 0 < end(program) < 472


class _ClientMessage(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
                ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("pad", ctypes.c_long * 24)]


def press_close_button(screen, number):
    """What a window manager sends when its close button is pressed: WM_DELETE_WINDOW."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x11.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(screen.encode())
    message = _ClientMessage(type=33, send_event=1, display=display, window=number, format=32,
                             message_type=x11.XInternAtom(display, b"WM_PROTOCOLS", 0))
    message.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
    x11.XSendEvent(display, number, 0, 0, ctypes.byref(message))
    x11.XCloseDisplay(display)                                         # sends what is waiting


def test_the_close_button_ends_it(screen):
    program = start(screen)
    press_close_button(screen, window(screen))
    assert 0 < end(program) < 472


def test_an_interrupt_ends_it_without_a_traceback(screen):
    program = start(screen)
    window(screen)
    program.send_signal(signal.SIGINT)
    assert 0 < end(program) < 472


def test_a_clip_that_ends_closes_its_window(screen, tmp_path):
    frames = iter(video.Reader(ROOT / "Media" / "sad_to_happy.mp4"))
    with video.Writer(tmp_path / "short.webm", 24) as writer:
        for _ in range(6):
            writer.write(next(frames)[1])
    program = PROGRAM.format(clip=str(tmp_path / "short.webm"), title=TITLE)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "DISPLAY": screen}, text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout.split()[-1] == "False"
