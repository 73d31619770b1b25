"""Clips and cameras in, clips out, steady labels, and a fast loop that shows the same as the slow one."""
import math
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import wave

import cv2
import numpy as np
import pytest
from conftest import ROOT

import helpers
import video
from video import player, reading, writing

CLIP = ROOT / "Media" / "sad_to_happy.mp4"


def grey(shape=(48, 64), value=90):
    return np.full((*shape, 3), value, np.uint8)


@pytest.fixture(scope="module")
def clip():
    """(seconds, frames) of the clip as far as the face has turned from sad to happy."""
    with video.Reader(CLIP) as reader:
        pairs = list(reader)[:360]
    return [seconds for seconds, _ in pairs], [frame for _, frame in pairs]


class FakeCapture:
    """A cv2.VideoCapture that gives the listed frames (None: a failed read) and counts its releases."""
    released = 0

    def __init__(self, frames, fps=25.0, stamps=None, opens=True):
        self.frames, self.fps, self.stamps, self.opens, self.number = list(frames), fps, stamps, opens, -1

    def isOpened(self):
        return self.opens

    def read(self):
        self.number += 1
        frame = self.frames[self.number] if self.number < len(self.frames) else None
        return frame is not None, frame

    def get(self, what):
        if what == cv2.CAP_PROP_FPS:
            return self.fps
        if what == cv2.CAP_PROP_POS_MSEC:
            return self.stamps[self.number] if self.stamps else 0.0
        if what == cv2.CAP_PROP_PTS:
            return 0.0
        return len(self.frames)

    def set(self, *setting):
        return True

    def release(self):
        self.released += 1


@pytest.fixture
def fake(monkeypatch):
    """A function: frames (and settings) to the FakeCapture that the next Reader opens."""
    def use(frames, **settings):
        capture = FakeCapture(frames, **settings)
        monkeypatch.setattr(cv2, "VideoCapture", lambda *source: capture)
        monkeypatch.setattr(reading, "find_damage", lambda *read: "")          # the file behind it has other frames
        return capture
    return use


# ---------------------------------------------------------------- silence_stderr

def test_silence_in_several_threads_restores_stderr(capfd):
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first():
        with video.silence_stderr():
            first_in.set()
            second_in.wait(5)
        first_out.set()

    def second():
        first_in.wait(5)
        with video.silence_stderr():
            second_in.set()
            first_out.wait(5)
            os.write(2, b"hidden")

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such file descriptors")
def test_silence_with_a_closed_stderr():
    program = f"import video, os\nos.close(2)\n" \
              f"with video.Reader({str(CLIP)!r}) as clip:\n    print(sum(1 for _ in clip))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "472\n"


# ---------------------------------------------------------------- Reader

def test_every_frame_comes_with_its_time():
    with video.Reader(CLIP) as reader:
        seconds = [at for at, frame in reader if frame.shape == (360, 640, 3)]
    assert len(seconds) == reader.frame_count == 472
    assert seconds[0] == 0 and all(a < b for a, b in zip(seconds, seconds[1:]))
    assert seconds[-1] == pytest.approx(471 / 23.976, abs=0.01)


def test_a_clip_in_a_folder_with_any_name(tmp_path, monkeypatch):
    folder, temporary = tmp_path / "Вид é 😀", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = folder / "clip.mp4"
    path.write_bytes(CLIP.read_bytes())
    opened = cv2.VideoCapture
    # as on Windows, where FFmpeg can't take such names
    monkeypatch.setattr(cv2, "VideoCapture", lambda name, *more: opened(name if name.isascii() else "", *more))
    with video.Reader(path) as reader:
        assert len(list(temporary.iterdir())) == 1
        assert next(iter(reader))[1].shape == (360, 640, 3)
    assert not list(temporary.iterdir())


def test_a_clip_is_written_to_a_folder_with_any_name(tmp_path, monkeypatch):
    folder, temporary = tmp_path / "Вид é 😀", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name, *more: opened(name if name.isascii() else "", *more))
    with video.Writer(folder / "out.webm", 25) as writer:
        for _ in range(5):
            writer.write(grey((48, 64)))
    assert [path.name for path in folder.iterdir()] == ["out.webm"] and not list(temporary.iterdir())
    monkeypatch.undo()
    assert len(read_back(folder / "out.webm")) == 5


def sound_only(path):
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0" * 16000)


@pytest.mark.parametrize("make, error, words", [
    (lambda p: None, FileNotFoundError, "no clip at"), (lambda p: p.mkdir(), ValueError, "is a folder"),
    (lambda p: p.write_bytes(b""), ValueError, "empty file"),
    (lambda p: p.write_text("not a video"), ValueError, "not a clip that OpenCV can read"),
    (lambda p: p.write_bytes(CLIP.read_bytes()[:1000]), ValueError, "OpenCV can read|no frame"),
    (sound_only, ValueError, "no video track")])
def test_what_is_no_clip(make, error, words, tmp_path):
    make(tmp_path / "clip.mp4")
    with pytest.raises(error, match=words), video.Reader(tmp_path / "clip.mp4") as reader:
        list(reader)


def test_a_clip_cut_short_ends_early(tmp_path):
    path = tmp_path / "half.mp4"
    path.write_bytes(CLIP.read_bytes()[:CLIP.stat().st_size // 2])
    with video.Reader(path) as reader:
        seconds = [at for at, _ in reader]
    assert reader.frame_count == 472 and 100 < len(seconds) < 400 and seconds == sorted(seconds)


def test_damage_in_the_middle_is_passed_over(tmp_path):
    data = bytearray(CLIP.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 3000] = np.random.default_rng(0).bytes(3000)
    (tmp_path / "damaged.mp4").write_bytes(data)
    with video.Reader(tmp_path / "damaged.mp4") as reader:
        seconds = [at for at, _ in reader]
    assert len(seconds) > 100 and seconds == sorted(seconds)


@pytest.mark.parametrize("source", [None, True, 0.5, [0], b"clip.mp4"])
def test_what_is_not_a_source(source):
    with pytest.raises(TypeError, match="path of a clip, or a camera's number"):
        video.Reader(source)


@pytest.mark.parametrize("source", [-1, 100, 10**12, np.int64(-5)])
def test_a_camera_number_that_cannot_be(source, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda *a: pytest.fail("OpenCV was asked, which may end the process"))
    with pytest.raises(ValueError, match="number from 0 to 99"):
        video.Reader(source)


@pytest.mark.parametrize("source, words", [("", "empty path"), ("http://host/clip.mp4", "on the web: download the clip"),
                                           ("HTTPS://host/clip.mp4", "on the web: download the clip")])
def test_a_path_that_is_not_a_clip(source, words):
    with pytest.raises(ValueError, match=words):
        video.Reader(source)


def test_no_camera_is_a_sentence():
    with pytest.raises(ValueError, match="no camera 99 .* notebook 10"):
        video.Reader(99)


def test_failed_reads_are_passed_over(fake):
    capture = fake([None] * 3 + [grey()] * 5 + [None] + [grey()] + [None])
    with video.Reader(CLIP) as reader:
        assert len(list(reader)) == 6
    assert capture.released == 1


def test_a_clip_that_gives_nothing(fake):
    capture = fake([None] * 100)
    with pytest.raises(ValueError, match="no frame at all"), video.Reader(CLIP) as reader:
        list(reader)
    assert capture.released == 1


def test_an_interrupt_releases_once(fake):
    capture = fake([grey()] * 5)
    with pytest.raises(KeyboardInterrupt), video.Reader(CLIP) as reader:
        for _ in reader:
            raise KeyboardInterrupt
    reader.close()
    assert capture.released == 1
    with pytest.raises(ValueError, match="closed"):
        iter(reader)


@pytest.mark.parametrize("fps", [0, math.nan, 2000, -1])
def test_an_impossible_frame_rate(fps, fake):
    fake([grey()] * 4, fps=fps)
    with video.Reader(CLIP) as reader:
        assert reader.fps == 25
        assert [seconds for seconds, _ in reader] == pytest.approx([0, 0.04, 0.08, 0.12])


def test_timestamps_increase_whatever_the_file_says(fake):
    fake([grey()] * 6, fps=10, stamps=[0, 100, 100, math.nan, 50, 900])
    with video.Reader(CLIP) as reader:
        assert [seconds for seconds, _ in reader] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.9])


def test_live_skips_what_is_late(fake, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda wait: clock.__setitem__(0, clock[0] + wait))
    fake([grey()] * 50, fps=25, stamps=[40 * i for i in range(50)])
    taken = []
    with video.Reader(CLIP, live=True) as reader:
        for seconds, _ in reader:
            assert clock[0] - seconds < 0.05                # never behind by more than a frame
            taken.append(seconds)
            clock[0] += 0.2                                 # five times too slow
    assert 8 <= len(taken) <= 12 and taken[-1] > 1.7


@pytest.fixture
def clock(monkeypatch):
    """[seconds]: the time that video sees; it goes on when somebody sleeps, or a test says so."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda wait: now.__setitem__(0, now[0] + wait))
    return now


@pytest.mark.parametrize("loop", [0, 0.3])
def test_a_clip_that_is_slow_to_decode_does_not_freeze(loop, fake, clock):
    capture, taken = fake([grey()] * 50, fps=25, stamps=[40 * i for i in range(50)]), []
    read = capture.read
    capture.read = lambda: clock.__setitem__(0, clock[0] + 0.08) or read()           # twice as slow as it should play
    with video.Reader(CLIP, live=True) as reader:
        for _ in reader:
            taken.append(clock[0])
            clock[0] += loop
    gaps = [b - a - loop for a, b in zip(taken, taken[1:])]
    assert 10 <= len(taken) <= 25 and max(gaps) < 0.4


def test_a_second_loop_goes_on_or_says_that_it_is_over(fake, clock):
    fake([grey()] * 10, fps=10, stamps=[100 * i for i in range(10)])
    with video.Reader(CLIP, live=True) as reader:
        first = [next(iter(reader))[0] for _ in range(3)]
        clock[0] += 60                                      # somebody thinks
        waited = -clock[0]
        second = [seconds for seconds, _ in reader]
        assert first + second == pytest.approx([i / 10 for i in range(10)]) and waited + clock[0] < 0.7
        with pytest.raises(ValueError, match="already read to its end: open it again"):
            list(reader)


def test_the_time_of_a_camera_goes_on_in_a_second_loop(fake, clock):
    fake([grey()] * 5)
    with video.Reader(0) as reader:
        assert next(iter(reader))[0] == 0
        clock[0] += 7
        assert next(iter(reader))[0] == 7


def test_a_loop_over_a_closed_reader_just_ends(fake):
    fake([grey()] * 5)
    with video.Reader(CLIP) as reader:
        frames = iter(reader)
    assert list(frames) == []


def test_a_live_camera_gives_its_newest_frame(fake, monkeypatch):
    capture = fake([grey(value=i) for i in range(200)])
    monkeypatch.setattr(reading, "MAX_FAILED_READS", 3)           # waits a moment after each
    with video.Reader(0, live=True) as reader:
        values = [int(frame[0, 0, 0]) for _, frame in reader]
    assert values == sorted(values) and len(set(values)) == len(values) and values[-1] == 199
    assert capture.released == 1


def in_time(work, limit=5):
    """What work() returns; fails instead of hanging."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(work()), daemon=True)
    thread.start()
    thread.join(limit)
    assert not thread.is_alive(), "it hangs"
    return answer[0]


def test_a_camera_that_is_unplugged_while_the_loop_is_busy(fake, monkeypatch):
    monkeypatch.setattr(reading, "MAX_FAILED_READS", 1)
    fake([grey()] * 5)
    reader = video.Reader(0, live=True)

    def work():
        taken = []
        for seconds, _ in reader:
            taken.append(seconds)
            reader._thread.join()                           # busy until the camera is gone
        return taken
    assert 1 <= len(in_time(work)) <= 2


class SlowCapture(FakeCapture):
    """A camera that never ends, and notes whether it was released while it was read."""
    reading = torn = False

    def read(self):
        self.reading = True
        time.sleep(0.02)
        self.reading = False
        return True, self.frames[0]

    def release(self):
        self.torn = self.torn or self.reading
        super().release()


def test_close_inside_a_live_loop_ends_it(monkeypatch):
    capture = SlowCapture([grey()])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *source: capture)
    reader = video.Reader(0, live=True)

    def work():
        taken = 0
        for _ in reader:
            taken += 1
            if taken == 3:
                reader.close()
        return taken
    assert in_time(work) == 3 and capture.released == 1 and not capture.torn


def test_a_live_camera_can_be_looped_over_again(monkeypatch):
    capture = SlowCapture([grey()])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *source: capture)
    with video.Reader(0, live=True) as reader:
        first, second = (in_time(lambda: next(iter(reader))[0]) for _ in range(2))
        assert second > first and not reader._thread.is_alive() and not capture.released
    assert capture.released == 1 and not capture.torn


def with_rotation(path, degrees):
    """Set the turn in the track header of an mp4, as a phone does."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    struct.pack_into(">9i", data, place, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_phone_clips_are_turned_upright(degrees, tmp_path, pictures, monkeypatch):
    upright = cv2.resize(pictures["obama"], (320, 400))
    turn = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}[degrees]
    stored = cv2.rotate(upright, turn)
    path = tmp_path / "phone.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, stored.shape[1::-1])
    for _ in range(5):
        writer.write(stored)
    writer.release()
    with_rotation(path, degrees)
    opened = cv2.VideoCapture

    def not_by_itself(*source):                     # as an OpenCV that does not turn clips unless it is asked to
        capture = opened(*source)
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        return capture

    monkeypatch.setattr(cv2, "VideoCapture", not_by_itself)
    with video.Reader(path) as reader:
        frames = [frame for _, frame in reader]
    assert len(frames) == 5 and frames[0].shape == upright.shape
    assert np.abs(frames[0].astype(int) - upright).mean() < 8
    assert len(helpers.detect_faces(frames[0])) == 1


# ---------------------------------------------------------------- Writer

def read_back(path):
    with video.Reader(path) as reader:
        return [frame for _, frame in reader]


@pytest.mark.parametrize("shape", [(48, 64), (121, 161), (48, 64, 1), (48, 64, 4), (1, 1)])
def test_as_many_frames_come_back_as_were_written(shape, tmp_path):
    with video.Writer(tmp_path / "out.webm", 25) as writer:
        for i in range(20):
            writer.write(np.full(shape, i * 10, np.uint8) if len(shape) < 3 or shape[2] != 4
                         else np.full(shape, 255, np.uint8))
    frames = read_back(tmp_path / "out.webm")
    assert writer.frames == len(frames) == 20
    assert os.listdir(tmp_path) == ["out.webm"]


def test_colours_and_order_survive(tmp_path):
    with video.Writer(tmp_path / "out.webm", 10) as writer:
        for colour in [(0, 0, 250), (0, 250, 0), (250, 0, 0)]:
            writer.write(np.full((64, 64, 3), colour, np.uint8))
    assert [int(frame.mean((0, 1)).argmax()) for frame in read_back(tmp_path / "out.webm")] == [2, 1, 0]


def test_a_frame_of_another_size_is_fitted(tmp_path):
    with video.Writer(tmp_path / "out.webm", 25) as writer:
        writer.write(grey((60, 80)))
        writer.write(grey((80, 60), 200))
        writer.write(grey((600, 800)))
    frames = read_back(tmp_path / "out.webm")
    assert [frame.shape for frame in frames] == [(60, 80, 3)] * 3
    assert frames[1][30, 40].min() > 180 and frames[1][30, 2].max() < 40      # whole, in the middle


def test_nothing_written_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="no frame was written"), video.Writer(tmp_path / "out.webm", 25):
        pass
    assert os.listdir(tmp_path) == []


def test_after_an_interrupt_the_clip_plays(tmp_path):
    with pytest.raises(KeyboardInterrupt), video.Writer(tmp_path / "out.webm", 25) as writer:
        for i in range(10):
            writer.write(grey())
            if i == 4:
                raise KeyboardInterrupt
    assert len(read_back(tmp_path / "out.webm")) == 5
    with pytest.raises(RuntimeError, match="mine"), video.Writer(tmp_path / "none.webm", 25):
        raise RuntimeError("mine")                          # told instead of "no frame was written"


@pytest.mark.parametrize("name, fps, error, words", [
    ("out.mp4", 25, ValueError, "should end in .webm"), ("no/out.webm", 25, FileNotFoundError, "no folder"),
    ("out.webm", 0, ValueError, "frames per second"), ("out.webm", math.nan, ValueError, "frames per second"),
    ("out.webm", "25", ValueError, "frames per second"), ("", 25, ValueError, "is a folder")])
def test_what_a_writer_refuses(name, fps, error, words, tmp_path):
    with pytest.raises(error, match=words):
        video.Writer(tmp_path / name, fps)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", [None, 5, b"out.webm"])
def test_a_writer_wants_a_path(path):
    with pytest.raises(TypeError, match="path of the clip to write"):
        video.Writer(path, 24)


def test_a_folder_with_the_name_of_the_clip(tmp_path):
    (tmp_path / "out.webm").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        video.Writer(tmp_path / "out.webm", 24)
    assert os.listdir(tmp_path) == ["out.webm"]


def test_a_frame_too_large_for_the_codec(tmp_path):
    with pytest.raises(ValueError, match="70000 x 16 pixels is too large for VP9"), \
            video.Writer(tmp_path / "out.webm", 24) as writer:
        writer.write(grey((16, 70000)))
    assert os.listdir(tmp_path) == []


def test_writing_after_close(tmp_path):
    with video.Writer(tmp_path / "out.webm", 24) as writer:
        writer.write(grey())
    with pytest.raises(ValueError, match="this Writer is closed"):
        writer.write(grey())
    writer.close()
    assert os.listdir(tmp_path) == ["out.webm"] and len(read_back(tmp_path / "out.webm")) == 1


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_others_may_read_the_clip_as_any_new_file(tmp_path):
    with video.Writer(tmp_path / "out.webm", 24) as writer:
        writer.write(grey())
    (tmp_path / "usual").touch()
    assert (tmp_path / "out.webm").stat().st_mode == (tmp_path / "usual").stat().st_mode


FULL_DISK = """
import resource, signal
import numpy as np, video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
noise = np.random.default_rng(0)
try:
    with video.Writer("out.webm", 25) as writer:
        for _ in range(8):
            writer.write(noise.integers(0, 255, (120, 160, 3), np.uint8))
except OSError as problem:
    print(problem)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files stands in for a full disk")
@pytest.mark.parametrize("limit", [100, 20_000])
def test_a_full_disk_is_said_and_leaves_the_old_clip(limit, tmp_path):
    (tmp_path / "out.webm").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK.format(limit=limit)], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("out.webm could not be written completely: make room"), done.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_missing_codec_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_CODEC", "none")
    with pytest.raises(OSError, match="codec is missing"), video.Writer(tmp_path / "out.webm", 25) as writer:
        writer.write(grey())
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- LabelSmoother

def face(label, box=(10, 10, 50, 60), probability=0.9):
    rest = (1 - probability) / 7
    return {"box": list(box), "emotions": {name: probability if name == label else rest for name in helpers.EMOTIONS}}


def shown(labels, fps=25, **options):
    smoother = video.LabelSmoother(**options)
    return [smoother.update([face(label)], i / fps)[0]["label"] for i, label in enumerate(labels)]


def test_a_single_odd_frame_changes_nothing():
    assert set(shown(["Sad"] * 5 + ["Happy"] + ["Sad"] * 5 + ["Fear"] + ["Sad"] * 3)) == {"Sad"}


@pytest.mark.parametrize("fps", [10, 25, 60])
def test_a_real_change_shows_within_half_a_second_at_any_frame_rate(fps):
    labels = shown(["Sad"] * fps + ["Happy"] * fps, fps)
    delay = labels[fps:].index("Happy") / fps
    assert 0.1 < delay <= 0.5 and set(labels[:fps]) == {"Sad"}


def test_half_life_means_what_it_says():
    smoother = video.LabelSmoother(half_life=0.4)
    smoother.update([face("Sad", probability=1)], 0)
    assert smoother.update([face("Happy", probability=1)], 0.4)[0]["emotions"]["Sad"] == pytest.approx(0.5)


def test_the_probability_is_the_average_of_the_label_shown():
    smoother = video.LabelSmoother(half_life=0.4)
    assert smoother.update([face("Sad")], 0)[0]["probability"] == pytest.approx(0.9)
    changing = smoother.update([face("Happy")], 0.3)[0]
    assert changing["label"] == "Sad" and 0.1 < changing["probability"] == changing["emotions"]["Sad"] < 0.9
    located = smoother.update([{"box": [10, 10, 50, 60]}], 0.35)[0]
    assert located["probability"] == changing["probability"]


def test_averaging_can_be_switched_off():
    labels = ["Sad", "Happy", "Fear", "Sad"]
    assert shown(labels, half_life=0) == labels


def test_a_near_tie_does_not_flicker():
    smoother = video.LabelSmoother()
    close = [{name: 0.0 for name in helpers.EMOTIONS} | {"Sad": 0.5 + d, "Neutral": 0.5 - d} for d in [0.02, -0.02] * 20]
    labels = [smoother.update([{"box": [0, 0, 9, 9], "emotions": e}], i / 5)[0]["label"] for i, e in enumerate(close)]
    assert set(labels) == {"Sad"}


def test_two_people_keep_their_histories_whatever_the_order():
    smoother = video.LabelSmoother()
    left, right = face("Sad", (10, 10, 50, 60)), face("Happy", (100, 10, 50, 60))
    ids = None
    for i in range(20):
        both = smoother.update([left, right] if i % 2 else [right, left], i / 25)
        by_place = {f["box"][0]: f for f in both}
        assert (by_place[10]["label"], by_place[100]["label"]) == ("Sad", "Happy")
        assert by_place[10]["emotions"]["Sad"] == pytest.approx(0.9)
        if i:
            assert (by_place[10]["id"], by_place[100]["id"]) == ids
        ids = by_place[10]["id"], by_place[100]["id"]


def test_nobody_takes_the_id_of_who_left():
    """The left one leaves; then the right one jumps to a place nearer to where the left one was than to its own."""
    smoother = video.LabelSmoother()
    smoother.update([face("Sad", (0, 0, 100, 100)), face("Happy", (90, 0, 100, 100))], 0)
    smoother.update([face("Happy", (90, 0, 100, 100))], 0.1)
    after = smoother.update([face("Happy", (35, 0, 100, 100))], 0.2)[0]
    assert after["id"] == 1 and after["emotions"]["Happy"] == pytest.approx(0.9)
    back = smoother.update([face("Sad", (0, 0, 100, 100)), face("Happy", (45, 0, 100, 100))], 0.3)
    assert [f["id"] for f in back] == [0, 1]


def test_who_returns_late_starts_afresh():
    smoother = video.LabelSmoother(max_gap=1.0)
    first = smoother.update([face("Sad")], 0)[0]
    assert smoother.update([], 0.5) == []
    assert smoother.update([face("Happy")], 0.9)[0]["id"] == first["id"]              # a short gap
    late = smoother.update([face("Happy")], 2.5)[0]
    assert late["id"] != first["id"] and late["emotions"]["Happy"] == pytest.approx(0.9)


def test_a_clip_that_starts_again_starts_afresh():
    smoother = video.LabelSmoother()
    smoother.update([face("Sad")], 10)
    assert smoother.update([face("Happy")], 0)[0]["label"] == "Happy"


@pytest.mark.parametrize("seconds", [math.nan, None, "1", math.inf])
def test_what_is_not_a_time(seconds):
    with pytest.raises(ValueError, match="time of the frame"):
        video.LabelSmoother().update([face("Sad")], seconds)
    with pytest.raises(ValueError, match="time of the frame"):
        video.ExpressionTracker().update(grey(), seconds)


@pytest.mark.parametrize("options", [{"half_life": -1}, {"half_life": math.nan}, {"hysteresis": "0.1"}, {"max_gap": None}])
def test_what_a_smoother_refuses(options):
    with pytest.raises(ValueError, match="from 0 up"):
        video.LabelSmoother(**options)


NO_FACES = [(TypeError, faces) for faces in (None, "faces", 5, [None])] + [(ValueError, faces) for faces in (
    [{}], [{"emotions": {}}], [{"box": None}], [{"box": [1, 2, 3]}], [{"box": "abcd"}], [{"box": [1, 2, 3, math.nan]}])]


@pytest.mark.parametrize("error, faces", NO_FACES, ids=repr)
def test_what_is_not_a_list_of_faces(error, faces):
    with pytest.raises(error, match="LabelSmoother wants a list of faces"):
        video.LabelSmoother().update(faces, 0)
    with pytest.raises(error, match="timeline_rows wants a list of faces"):
        video.timeline_rows(0, 0.0, faces)
    with pytest.raises(error, match="predict must return a list of faces"):
        video.timeline(CLIP, lambda frame, seconds: faces)


def test_input_stays_as_it_is():
    given = face("Sad")
    before = repr(given)
    video.LabelSmoother().update([given], 0)
    assert repr(given) == before


# ---------------------------------------------------------------- ExpressionTracker

def run(frames, seconds, **options):
    helpers.init_emotion()
    with video.ExpressionTracker(**options) as tracker:
        return [tracker.update(frame, at) for frame, at in zip(frames, seconds)]


@pytest.fixture(scope="module")
def raw(clip):
    """The faces of each frame for itself."""
    helpers.init_emotion()
    return [helpers.detect_emotions(frame) for frame in clip[1]]


@pytest.fixture(scope="module")
def answers(clip, raw):
    """What ExpressionTracker says on the clip, and what a loop says that detects and classifies in every frame."""
    smoother = video.LabelSmoother()
    return run(clip[1], clip[0]), [smoother.update(faces, at) for faces, at in zip(raw, clip[0])]


def test_the_tracker_can_be_the_every_frame_loop(clip, answers):
    every = run(clip[1][:30], clip[0][:30], detect_every=0, classify_every=0)
    assert [f["box"] for faces in every for f in faces] == [f["box"] for faces in answers[1][:30] for f in faces]
    assert [f["label"] for faces in every for f in faces] == [f["label"] for faces in answers[1][:30] for f in faces]


def changes(labels):
    return sum(a != b for a, b in zip(labels, labels[1:]))


def test_the_tracker_shows_what_the_every_frame_loop_shows(answers):
    fast, slow = answers
    assert all(len(faces) == 1 for faces in fast + slow)
    assert np.mean([a[0]["label"] == b[0]["label"] for a, b in zip(fast, slow)]) >= 0.99
    assert np.mean([video.iou(a[0]["box"], b[0]["box"]) >= 0.7 for a, b in zip(fast, slow)]) >= 0.95


def test_sad_first_happy_later_without_flicker(answers, raw):
    labels = [faces[0]["label"] for faces in answers[0]]
    assert labels[60] == "Sad" and labels[270] == "Happy"
    assert changes(labels) <= 6 and changes([faces[0]["label"] for faces in raw]) >= 2 * changes(labels)
    assert {faces[0]["id"] for faces in answers[0]} == {0}


def test_the_data_are_those_of_detect_emotions(answers):
    found = answers[0][100][0]
    assert set(found) == {"box", "confidence", "label", "probability", "emotions", "id"}
    assert all(type(v) is int for v in found["box"]) and sum(found["emotions"].values()) == pytest.approx(1)
    assert found["probability"] == found["emotions"][found["label"]]


def test_the_network_is_read_once_and_the_detector_seldom_runs(clip, monkeypatch):
    calls = {"load_network": 0, "detect_faces": 0}
    for name in calls:
        real = getattr(helpers, name)
        monkeypatch.setattr(helpers, name,
                            lambda *a, _n=name, _f=real, **k: calls.__setitem__(_n, calls[_n] + 1) or _f(*a, **k))
    run(clip[1][:100], clip[0][:100])
    assert calls["load_network"] == 1 and calls["detect_faces"] <= 10


def test_who_leaves_is_gone_and_who_comes_is_found(clip):
    seconds, frames = clip
    empty = np.full_like(frames[0], 90)
    played = frames[:20] + [empty] * 20 + frames[20:40]
    found = [len(faces) for faces in run(played, seconds)]
    assert found[:20] == [1] * 20 and set(found[23:40]) == {0} and set(found[44:]) == {1}


def test_four_people_get_four_ids_and_their_own_labels(pictures):
    people = pictures["four_people"]
    moving = [np.roll(people, 2 * i, 1) for i in range(24)]
    all_faces = run(moving, [i / 24 for i in range(24)], detect_every=8 / 24)
    assert {len(faces) for faces in all_faces} == {4}
    expected = [f["label"] for f in helpers_labels(people)]
    for faces in all_faces:
        assert [f["id"] for f in faces] == [0, 1, 2, 3] and [f["label"] for f in faces] == expected


def helpers_labels(image):
    helpers.init_emotion()
    return helpers.detect_emotions(image)


def noise(shape=(64, 64)):
    """A frame whose parts differ, so that a face is tracked to where it was."""
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)


def scheduled(monkeypatch, boxes, count, fps, **options):
    """The frames in which a tracker detects, and those in which it classifies; boxes(number) are the faces that it finds."""
    calls, now = {"detect": [], "classify": []}, []

    def detect(image, *, detector, confidence):
        calls["detect"].append(now[-1])
        return [{"box": box, "confidence": 0.9} for box in boxes(now[-1])]

    def classify(image, faces, *, net=None):
        calls["classify"].append(now[-1])
        return [face("Sad", found["box"]) for found in faces]

    monkeypatch.setattr(helpers, "detect_faces", detect)
    monkeypatch.setattr(helpers, "classify_expressions", classify)
    tracker, frame = video.ExpressionTracker(**options), noise()
    for number in range(count):
        now.append(number)
        tracker.update(frame, 1000 + number / fps)
    return calls["detect"], calls["classify"]


HERE, THERE = [10, 10, 30, 30], [34, 20, 30, 30]


@pytest.mark.parametrize("fps, detections, passes", [(24000 / 1001, 12, 2), (25, 13, 2), (10, 5, 1), (50, 25, 4)])
def test_detection_and_forward_passes_keep_their_intervals_at_any_frame_rate(fps, detections, passes, monkeypatch):
    detected, classified = scheduled(monkeypatch, lambda number: [HERE], 60, fps)
    assert detected == list(range(0, 60, detections)) and classified == list(range(0, 60, passes))


def test_zero_means_every_frame(monkeypatch):
    detected, classified = scheduled(monkeypatch, lambda number: [HERE], 10, 25, detect_every=0, classify_every=0)
    assert detected == classified == list(range(10))


def test_detection_is_four_times_as_frequent_without_a_face(monkeypatch):
    detected, _ = scheduled(monkeypatch, lambda number: [HERE] if number >= 10 else [], 30, 24000 / 1001)
    assert detected == [0, 3, 6, 9, 12, 24]


def test_a_forward_pass_for_a_new_face_does_not_move_the_schedule(monkeypatch):
    _, classified = scheduled(monkeypatch, lambda number: [HERE, THERE][:1 + (number > 0)], 20, 25, detect_every=9 / 25,
                              classify_every=4 / 25)
    assert classified == [0, 4, 8, 9, 12, 16]


def test_detector_and_confidence_are_passed_on(monkeypatch):
    asked = []
    monkeypatch.setattr(helpers, "detect_faces", lambda image, **options: asked.append(options) or [])
    helpers.init_emotion()
    for threaded in (False, True):
        with video.ExpressionTracker(threaded=threaded, detect_every=0, detector="haar", confidence=0.7) as tracker:
            tracker.update(noise(), 0)
            tracker.update(noise(), 1)
    assert asked and all(options == {"detector": "haar", "confidence": 0.7} for options in asked)


@pytest.mark.parametrize("low", [0.6, None])
def test_a_face_of_low_or_no_confidence_must_be_found_twice(low, monkeypatch):
    found = [[low], [], [low], [low], [low]]
    helpers.init_emotion()
    monkeypatch.setattr(helpers, "detect_faces", lambda image, *, detector, confidence: [
        {"box": [10, 10, 30, 30], "confidence": score} for score in found.pop(0)])
    tracker = video.ExpressionTracker(detect_every=0, classify_every=0)
    assert [len(tracker.update(noise(), i)) for i in range(5)] == [0, 0, 1, 1, 1]


def detections(monkeypatch, found):
    """An ExpressionTracker that detects in every frame, and finds what is listed."""
    helpers.init_emotion()
    monkeypatch.setattr(helpers, "detect_faces", lambda image, *, detector, confidence: [
        {"box": box, "confidence": 0.9} for box in found.pop(0)])
    return video.ExpressionTracker(detect_every=0, classify_every=0)


def test_a_face_goes_when_two_detections_in_a_row_miss_it(monkeypatch):
    here, gone = [[10, 10, 30, 30]], []
    tracker = detections(monkeypatch, [here, here, gone, here, gone, gone, gone, here])
    assert [len(tracker.update(noise(), i / 10)) for i in range(8)] == [1, 1, 1, 1, 1, 0, 0, 1]


def test_another_size_forgets_the_averages(monkeypatch):
    tracker = detections(monkeypatch, [[[10, 10, 30, 30]]] * 2)
    first = tracker.update(grey((64, 64)), 0)[0]
    second = tracker.update(noise((64, 80)), 0.04)[0]
    plain = helpers.classify_expressions(noise((64, 80)), [{"box": [10, 10, 30, 30]}])[0]
    assert second["id"] != first["id"] and second["emotions"] == pytest.approx(plain["emotions"])


@pytest.mark.parametrize("shape", [(1, 1000), (1000, 1), (1, 1)])
def test_a_very_narrow_frame_has_no_face(shape):
    helpers.init_emotion()
    assert video.ExpressionTracker().update(grey(shape), 0) == []


def test_a_closed_tracker_detects_in_the_loop(clip):
    helpers.init_emotion()
    with video.ExpressionTracker(threaded=True, detect_every=0) as tracker:
        tracker.update(clip[1][0], 0)
    assert [len(tracker.update(clip[1][i], i / 24)) for i in (1, 2, 3)] == [1, 1, 1]


def test_another_size_starts_afresh(clip, pictures):
    helpers.init_emotion()
    tracker = video.ExpressionTracker()
    assert tracker.update(clip[1][0], 0)[0]["id"] == 0
    found = tracker.update(pictures["obama"], 0.04)
    assert len(found) == 1 and video.iou(found[0]["box"], helpers.detect_faces(pictures["obama"])[0]["box"]) == 1


def test_threaded_answers_agree(clip, answers):
    seconds, frames = clip
    helpers.init_emotion()
    with video.ExpressionTracker(threaded=True) as tracker:
        for i in range(120):
            faces = tracker.update(frames[i], seconds[i])
            if tracker._pending:
                tracker._pending[0].result()                      # as a camera would: the next frame comes when it is done
            assert len(faces) == 1 and video.iou(faces[0]["box"], answers[1][i][0]["box"]) > 0.6


def test_a_tracker_before_init_emotion(clip):
    with pytest.raises(RuntimeError, match="init_emotion"):
        video.ExpressionTracker().update(clip[1][0], 0)


@pytest.mark.parametrize("options", [{"detect_every": -1}, {"detect_every": math.inf}, {"classify_every": None},
                                     {"classify_every": True}, {"hysteresis": -0.1}])
def test_what_a_tracker_refuses(options):
    with pytest.raises(ValueError, match="from 0 up"):
        video.ExpressionTracker(**options)


def test_boxes_without_area_share_nothing():
    assert video.iou([5, 5, 0, 0], [5, 5, 0, 0]) == 0 and video.match_boxes([[5, 5, 0, 9]], [[5, 5, 0, 9]]) == {}


def test_boxes_are_matched_by_position_not_by_order():
    old = [[0, 0, 10, 10], [100, 0, 10, 10]]
    assert video.match_boxes(old, [[101, 0, 10, 10], [1, 0, 10, 10]]) == {0: 1, 1: 0}
    assert video.match_boxes(old, [[50, 0, 10, 10]]) == {} and video.match_boxes([], old) == {}


# ---------------------------------------------------------------- tables and pictures

def test_timeline_has_a_row_for_each_face_and_for_empty_frames(tmp_path, clip):
    with video.Writer(tmp_path / "out.webm", 24) as writer:
        for frame in clip[1][:4] + [np.full_like(clip[1][0], 90)] * 5 + clip[1][:4]:
            writer.write(frame)
    helpers.init_emotion()
    table = video.timeline(tmp_path / "out.webm", lambda frame, seconds: helpers.detect_emotions(frame))
    assert list(table.columns) == ["frame", "seconds", "face", *"xywh", "label", "probability", "confidence",
                                   *helpers.EMOTIONS]
    assert table.frame.tolist() == list(range(13)) and table.seconds.is_monotonic_increasing
    assert table.label.isna().tolist() == [False] * 4 + [True] * 5 + [False] * 4
    assert table.loc[4:8, ["face", "x", "Happy"]].isna().all(axis=None)
    assert np.allclose(table[list(helpers.EMOTIONS)].dropna().sum(axis=1), 1)
    assert table.probability.dropna().tolist() == table[list(helpers.EMOTIONS)].max(axis=1).dropna().tolist()
    assert len(video.timeline(tmp_path / "out.webm", lambda frame, seconds: [], until=0.1)) == 3


def test_boxes_between_pixels_are_rounded_in_a_table():
    table = video.timeline(CLIP, lambda frame, seconds: [{"box": np.array([1.5, 2.2, 30.7, 40])}], until=0.1)
    assert table.loc[0, list("xywh")].tolist() == [2, 2, 31, 40]


@pytest.mark.parametrize("show", [video.timeline, video.play, video.play_window])
@pytest.mark.parametrize("predict", [None, "faster", [1]])
def test_what_is_not_a_function(show, predict):
    with pytest.raises(TypeError, match="give a function of"):
        show(CLIP, predict)


@pytest.mark.parametrize("show", [video.timeline, video.play])
@pytest.mark.parametrize("until", ["2", math.nan, True, [1]])
def test_what_is_not_an_end(show, until):
    with pytest.raises(ValueError, match="the seconds at which to end"):
        show(CLIP, lambda frame, seconds: [], until=until)


def test_none_is_the_end_of_the_clip(fake):
    fake([grey()] * 5)
    assert len(video.timeline(CLIP, lambda frame, seconds: [], until=None)) == 5


@pytest.mark.parametrize("width", [0, -640, 320.5, "640", None, True])
def test_what_is_not_a_width(width):
    with pytest.raises(ValueError, match="whole pixels"):
        video.play(CLIP, lambda frame, seconds: [], width=width)


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"),
                                reason="resident memory is read from /proc, which this system does not have")


def resident():
    """Megabytes of memory that this process has, on Linux."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def test_play_updates_one_picture_and_stops_in_time(monkeypatch):
    shown, updates = [], []

    class Handle:
        def update(self, picture):
            updates.append(picture)

    monkeypatch.setattr(player, "display", lambda thing, **options: shown.append(thing) or Handle())
    helpers_labels(grey((360, 640)))                        # loads the networks before the clock runs
    video.play(CLIP, video.ExpressionTracker().update, until=2, width=320)
    pictures = [thing for thing in shown if isinstance(thing, player.JPEG)]
    assert len(pictures) == 1 and 1 <= len(updates) <= 61              # at most 30 a second
    decoded = cv2.imdecode(np.frombuffer(updates[-1].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (180, 320, 3)


@needs_proc
def test_play_takes_no_more_memory_and_time_for_late_frames(monkeypatch, tmp_path):
    with video.Writer(tmp_path / "long.webm", 240) as writer:
        for i in range(1200):
            writer.write(grey((48, 64), i % 256))
    shown, seen = [], []
    handle = type("Handle", (), {"update": lambda self, picture: None})()
    monkeypatch.setattr(player, "display", lambda thing, **options: shown.append(thing) or handle)

    def predict(frame, seconds):
        seen.append((seconds, resident()))
        return []

    video.play(tmp_path / "long.webm", predict)
    memory = [megabytes for seconds, megabytes in seen if seconds > 1]
    assert memory[-1] - memory[0] < 5 and len(shown) == 1              # one picture
    early = sum(seconds < 2 for seconds, _ in seen)
    assert sum(2 <= seconds < 4 for seconds, _ in seen) > 0.5 * early


def test_an_interrupt_ends_play_quietly(monkeypatch):
    monkeypatch.setattr(player, "display", lambda thing, **options: None)
    seen, released = [], []
    closed = video.Reader.close
    monkeypatch.setattr(video.Reader, "close", lambda self: (released.append(self), closed(self)))

    def predict(frame, seconds):
        seen.append(seconds)
        raise KeyboardInterrupt

    video.play(CLIP, predict)
    assert len(seen) == len(released) == 1


def test_without_a_display_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(player, "can_open_window", lambda: False)
    monkeypatch.setattr(cv2, "imshow", lambda *a: pytest.fail("a window was opened"))
    video.play_window(CLIP, lambda frame, seconds: [])
    assert "no display" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="no clip at .*none.mp4"):
        video.play_window("none.mp4", lambda frame, seconds: [])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the process without a display")
@pytest.mark.parametrize("display", [None, ":987"])
def test_no_display_and_a_dead_one(display, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    assert video.can_open_window() is False


@pytest.mark.parametrize("system", ["linux", "win32", "darwin"])
def test_a_wheel_without_windows(system, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    assert video.can_open_window() is False


@needs_proc
def test_memory_stays_flat(clip):
    helpers.init_emotion()
    with video.ExpressionTracker() as tracker:
        for i in range(800):
            tracker.update(clip[1][i % 280], i / 24)
            if i == 200:
                before = resident()
    assert resident() - before < 20


def test_a_fast_frame_rate_is_written_small():
    image = grey((240, 320))
    video.draw_fps(image, 31.4)
    assert (image[:40, :140] != 90).any() and (image[60:] == 90).all()
