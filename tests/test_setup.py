"""The set-up check names what is wrong and what fixes it; the set-up files exist and are consistent."""
import re
from importlib import metadata
from pathlib import Path

import pytest

import check_setup

ROOT = Path(check_setup.__file__).parent


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these versions are installed: a dict to change."""
    versions = {name: pins[-1] for name, pins in check_setup.pinned().items()} | {check_setup.PROJECT: "2.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(check_setup.metadata, "version", version)
    return versions


def test_all_is_well(capsys):
    assert check_setup.check() is True
    assert capsys.readouterr().out == "Everything is in place.\n"


def test_opencv_5_is_named_with_its_fix(installed, capsys):
    installed["opencv-contrib-python"] = "5.0.0.93"
    assert check_setup.check() is False
    out = capsys.readouterr().out
    assert "5.0.0.93" in out and "install --force-reinstall --no-deps opencv-contrib-python==4.14.0.94" in out


def test_two_opencv_packages(installed, capsys):
    installed["opencv-python"] = "4.12.0.88"
    assert check_setup.check() is False
    out = capsys.readouterr().out
    assert "opencv-python 4.12.0.88" in out and "uninstall -y opencv-contrib-python opencv-python   and then " in out


@pytest.mark.parametrize("package", ["scikit-learn", "tqdm", "ipywidgets", "pooch", "pytest", "sphinx", "joblib"])
def test_any_missing_package_is_named(package, installed, capsys):
    del installed[package]
    assert check_setup.check() is False
    assert f"- {package} is missing." in (out := capsys.readouterr().out) and "install -r requirements.txt" in out


def test_a_project_that_is_not_installed(installed, capsys):
    del installed[check_setup.PROJECT]
    assert check_setup.check() is False
    assert "works only in this folder" in (out := capsys.readouterr().out) and "install -e ." in out


@pytest.mark.parametrize("platform, path, expected", [
    ("linux", "/usr/bin/python", "/usr/bin/python"), ("linux", "/my dir/python", '"/my dir/python"'),
    ("win32", "C:\\my dir\\python.exe", '& "C:\\my dir\\python.exe"'), ("win32", "C:\\python.exe", "C:\\python.exe")])
def test_commands_are_what_the_shell_takes(platform, path, expected, monkeypatch):
    monkeypatch.setattr(check_setup.sys, "platform", platform)
    assert check_setup.quoted(path) == expected


@pytest.mark.parametrize("platform, message", [("darwin", "libGL.so.1: no such file"), ("linux", "numpy.core.multiarray failed to import (calibration)")])
def test_other_import_errors_do_not_blame_the_system(platform, message, monkeypatch, capsys):
    def fail(name):
        raise ImportError(message)

    monkeypatch.setattr(check_setup.sys, "platform", platform)
    monkeypatch.setattr(check_setup.importlib, "import_module", fail)
    assert check_setup.check() is False
    assert "apt-get" not in (out := capsys.readouterr().out) and "--force-reinstall" in out


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
    assert "numpy 1.26.4: the notebooks were written for 2.2.6 or 2.4.6" in (out := capsys.readouterr().out)
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
            assert line.startswith("-e .   # ") or re.match(r"[\w-]+==[\w.]+(; [^#]+)? +# \w.{8,}", line), line
