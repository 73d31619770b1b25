"""The benchmark's own arithmetic, without its long runs."""
import sys

import benchmark
import pytest

import helpers


@pytest.mark.parametrize("frames", ["-1", "0", "5", "99", "many", "1e4"])
def test_too_few_frames_for_memory_are_refused(frames, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", f"--frames={frames}"])
    monkeypatch.setattr(benchmark, "compare", lambda network: pytest.fail("it began"))
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "100 or more" in capsys.readouterr().err


@pytest.mark.parametrize("told, words", [([50.4, 51.0], "memory: 50 MB after 10 frames, 51 MB after 100"),
                                         ([None, None], "memory: unknown here after 10 frames, unknown here")])
def test_memory_is_reported_or_unknown(told, words, monkeypatch, capsys):
    figures = dict.fromkeys(("plain_fps", "tracker_fps", "times_faster", "same_labels", "boxes_iou_0.7", "one_face_ms",
                             "four_faces_ms"), 1.0)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--frames", "100", "--threads", "1"])
    monkeypatch.setattr(benchmark.onnx, "save", lambda *network: None)
    monkeypatch.setattr(benchmark, "compare", lambda network: figures)
    monkeypatch.setattr(benchmark, "memory_growth", lambda frames: told)
    benchmark.main()
    assert words in capsys.readouterr().out


def test_memory_is_measured_twice(monkeypatch):
    helpers.init_emotion()
    monkeypatch.setattr(benchmark, "memory_mb", iter([1, 2]).__next__)
    assert benchmark.memory_growth(100) == (1, 2)
