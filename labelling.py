"""Label one picture of a folder: the work of every process that batch.label_folder starts.

This module imports little, so that a process starts quickly.
"""
import errno
import functools
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2

import checks
import helpers
import imagefiles
from result_store import cure, digest_of_file, key_to_text, loaded_code_digest


class Task(NamedTuple):
    """One picture to label; plain data, so it can travel to another process or machine."""

    path: str              # of the picture
    copy: str              # where its annotated copy goes, a .jpg
    model: str             # path of the network
    model_digest: str      # digest of the network's file when the run began
    code_digest: str       # digest of the code that labels, as the caller imported it
    detector: str
    confidence: float
    caller: int            # the caller's process id, or 0 on a cluster, where the caller may be on a different machine


class Answer(NamedTuple):
    """The result of labelling one picture."""

    content_digest: str            # digest of the file's content; "" if the picture has to be tried again next time
    rows: list[list[Any]]  # per face: x, y, w, h, label, probability, confidence, and the eight probabilities
    note: str              # a sentence about anything unusual, or ""
    copied: str = ""       # digest of the annotated copy, "" if there is none


def load_unchanged_network(model: str | Path, digest: str) -> cv2.dnn.Net:
    """Load a network; OSError if its file does not have this digest, because it was replaced after the run began."""
    net = helpers.load_network(model)
    if digest_of_file(Path(model)) != digest:
        raise OSError(f"{model} was changed after this run began: run the same line again")
    return net


_network = functools.lru_cache(maxsize=2)(load_unchanged_network)


@functools.cache
def _end_with(caller: int) -> None:
    """End this process when its parent has ended for any reason; otherwise idle workers would linger for minutes."""
    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def copy_name(name: str) -> str:
    """Return the name of a picture's annotated copy; one that would be too long for the file system is shortened.

    Examples
    --------
    >>> copy_name("beach.png")
    'beach.png.jpg'
    >>> len(copy_name("x" * 255)) < 255
    True
    """
    raw = os.fsencode(name)
    if len(raw) <= 240:
        return name + ".jpg"
    start = raw[:200].decode("utf-8", "ignore")
    return f"{start}~{hashlib.blake2b(raw, digest_size=6).hexdigest()}.jpg"


def label_image(task: Task) -> Answer:
    """Label one picture and write its annotated copy. A picture that can't be read raises no error: the note gives the reason.

    Parameters
    ----------
    task : Task
        What to do.

    Returns
    -------
    Answer
        What was found. Without ``copied``, an earlier copy is still there.

    Raises
    ------
    OSError
        If the copy can't be written, or the network's file is not the one that the run began with.
    RuntimeError
        If this process has imported different code from that of its caller.
    """
    if loaded_code_digest() != task.code_digest:
        raise RuntimeError("this project's code was edited since the run began, or differs between machines: restart the "
                           "kernel, or Python, and run the same line again")
    if os.getpid() != task.caller:
        cv2.setNumThreads(1)                           # one core each
        if task.caller:
            _end_with(task.caller)
    net = _network(task.model, task.model_digest)
    path, content_digest = Path(task.path), ""
    try:
        content_digest = digest_of_file(checks.check_file(path, "picture"))
        with imagefiles.collect_warnings() as notes:
            image = helpers.read_image(path)
        found = helpers.detect_faces(image, detector=task.detector, confidence=task.confidence)
        faces = helpers.classify_expressions(image, found, net=net)
        drawn = helpers.draw(image, faces)
    except (OSError, ValueError, MemoryError, cv2.error) as problem:
        again = not isinstance(problem, ValueError)    # it may be different next time
        note = str(problem) or type(problem).__name__
        if isinstance(problem, OSError) and problem.filename:
            if os.path.basename(problem.filename) != path.name:
                raise                                  # a temporary file, for example: the next picture would fail too
            note = f"this file can't be opened ({problem.strerror})"
        return Answer("" if again else content_digest, [], _printable(note))
    copied = ""
    try:
        save_image(Path(task.copy), drawn)
        copied = digest_of_file(Path(task.copy))
    except OSError as problem:
        if problem.errno != errno.ENAMETOOLONG:        # not this picture's fault: the next one would fail too
            raise OSError(f"the annotated copy {task.copy} can't be written ({problem.strerror or problem}): {cure(problem)}, "
                          "and run the same line again to resume") from None
        notes.append("no annotated copy: its path would be too long for this file system")
    try:
        if digest_of_file(path) != content_digest:     # replaced while we looked at it
            content_digest = ""
    except OSError:                                    # or deleted
        content_digest = ""
    if not faces:
        notes.insert(0, "no face found")
    rows = [[*face["box"], face["label"], round(face["probability"], 5),
             None if face["confidence"] is None else round(face["confidence"], 4),
             *(round(value, 5) for value in face["emotions"].values())] for face in faces]
    return Answer(content_digest, rows, _printable("; ".join(notes)), copied)


def _printable(note: str) -> str:
    """A note on one line, with bytes of a path that are not UTF-8 as in `result_store.key_to_text`."""
    return key_to_text(" ".join(note.split()).encode("utf-8", "surrogateescape"))


def remove_copy(path: Path) -> None:
    """Remove an annotated copy if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        if problem.errno not in (errno.ENAMETOOLONG, errno.ENOTDIR):      # then it can't be there
            raise


def save_image(path: Path, image: helpers.Image) -> None:
    """Write an image, uint8 (H, W, 3) BGR, as a complete JPEG or not at all. Creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = image.shape[:2]
    if max(height, width) > 65500:                     # the most that JPEG holds
        scale = 65500 / max(height, width)
        image = cv2.resize(image, (max(int(width * scale), 1), max(int(height * scale), 1)), interpolation=cv2.INTER_AREA)
    with checks.atomic_write(path) as part:
        part.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
