"""Label folders of pictures and long clips: a table, and an annotated copy of each. Notebook 18::

    import batch
    faces = batch.label_folder("holiday", "results/holiday")       # a pandas table, one row per face
    moments = batch.label_clip("party.mp4", "results/party")       # one row per face and frame

Or on the command line: ``python -m batch pictures holiday results/holiday``; ``python -m batch --help`` says more.

If there are results already, the new table still contains what a fresh run would give, for the current files, network,
detector and options. An old result is used again only if the content of its file and everything that produced it,
including the code, are unchanged. Everything else is labelled again, or refused with an error message.

After an interrupt, run the same line again to resume. The folder or clip itself is never changed. The results of a
subfolder that can't be opened for now are not in the table, but they and their copies are kept until it can be opened again.
"""
import argparse
import contextlib
import io
import itertools
import math
import os
import re
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool
from joblib.parallel import get_active_backend
from tqdm.auto import tqdm

import checks
import helpers
import imagefiles
import result_store
import video
from labelling import Answer, Task, copy_name, label_image, load_unchanged_network, remove_copy

FACE_COLUMNS = [*"xywh", "label", "probability", "confidence", *helpers.EMOTIONS]
FOLDER_COLUMNS = ["file", "n_faces", "face", *FACE_COLUMNS, "note"]
CHUNK_FRAMES = 1500         # of a clip are saved together, so an interrupt loses at most this many
CLIP_CODE = [f"video/{path.name}" for path in sorted((helpers.ROOT / "video").glob("*.py"))]     # this code affects clips too
Row = dict[str, Any]        # of a clip's table
MAX_WAITING_FRAMES = 8      # labelled but not drawn yet
MIN_PARALLEL_SECONDS = 20.0      # seconds of work left: below that, starting worker processes takes longer than it saves
MAX_JOBS = 61 if sys.platform == "win32" else 1000     # Windows can't wait for more processes


# ---------------------------------------------------------------- a folder of pictures

def label_folder(folder: helpers.PathLike, out: helpers.PathLike, *, detector: str = "ssd", confidence: float = 0.5,
                 model: helpers.PathLike | None = None, n_jobs: int | None = None) -> pd.DataFrame:
    """Label every picture in a folder and its subfolders: a table, and an annotated copy of each picture.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder with the pictures, which are recognised by their extensions. Hidden files, those inside `out` and
        folders with other results of this function are skipped. Links to folders are not followed, but get a note.
    out : str or os.PathLike
        Where the results go: the table as ``faces.csv``, the copies in ``pictures``. Created if it does not exist.
    detector, confidence
        See `helpers.detect_faces`.
    model : str or os.PathLike, optional
        The network; by default the one that `helpers.init_emotion` loaded, else the project's own. Other
        functions are not affected.
    n_jobs : int, optional
        Number of processes, by default one per core; 1 uses only this process. Processes are started only if there
        is enough work left. Inside ``joblib.parallel_config(backend="dask")``, the pictures are sent to that cluster,
        whose machines need access to the same folders.

    Returns
    -------
    pandas.DataFrame
        One row per face: file (its path inside the folder), n_faces (in that picture), face (0 is the leftmost), x, y,
        w, h in pixels, label, probability (of the label), confidence (of the detector), the eight probabilities, note.
        A picture without a face, or a file that can't be read, has one row with a note that says so.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If the folder contains no picture, if `out` contains something else or a table that was edited, and as
        `helpers.load_network` and `helpers.detect_faces`.
    OSError
        If the folder can't be opened, if `out` can't be written to, or if another run is writing to it.
    RuntimeError
        If this project's code was edited since it was imported.
    """
    folder, out = _given_folder(folder), _absolute(out, "a folder for the results")
    if n_jobs is not None:
        checks.check_whole("n_jobs", n_jobs, "a whole number of processes, or None for one per core", low=1)
    model = _given_model(model)
    helpers.detect_faces(np.zeros((64, 64, 3), np.uint8), detector=detector, confidence=confidence)   # fail now, not per file
    files, notes, closed = _files_in(folder, out)
    if not files and not notes:
        raise ValueError(f"no picture in {folder}: label_folder takes files that end in "
                         f"{', '.join(helpers.IMAGE_SUFFIXES)}")
    with result_store.ResultStore(out, f"folder {result_store.key_to_text(os.fsencode(os.path.realpath(folder)))}") as store:
        result_store.check_table_untouched(store, "faces.csv")
        model_digest = result_store.digest_of_file(model)
        made_with = result_store.settings_digest(model_digest, detector=detector, confidence=float(confidence))
        code_digest = result_store.loaded_code_digest()
        tasks = {key: Task(str(path), str(_copy_of(key, out)), str(model), model_digest, code_digest, detector,
                           float(confidence), os.getpid()) for key, path in files.items()}
        out_of_sight = {key for key in store.all_keys() if key.startswith(closed)}       # may be there again next time
        store.prune({*tasks, *out_of_sight}, remove=lambda key: _remove_old_copy(_copy_of(key, out)))
        unsure = store.started()
        kept = {key: [rows, note] for key, digest, (rows, note, copied) in store.kept(made_with)
                if key in tasks and digest and digest == _digest(files[key])
                and (copied == _digest(Path(tasks[key].copy)) if copied else key not in unsure)}
        left = [key for key in tasks if key not in kept]
        store.start(left)
        with tqdm(total=len(tasks), initial=len(kept), unit=" pictures", disable=sys.stderr is None) as bar:
            for key, answer in zip(left, _answers([tasks[key] for key in left], n_jobs)):
                kept[key] = [answer.rows, answer.note]
                if not answer.content_digest:
                    _check_open(folder)                # if the drive is gone, that is not the picture's fault
                if not answer.copied:
                    _remove_old_copy(Path(tasks[key].copy))
                store.keep(key, answer.content_digest, made_with, [*kept[key], answer.copied])
                bar.update()
        table = _folder_table({**{key: [[], note] for key, note in notes.items()}, **kept})
        result_store.save_table(store, table, "faces.csv")
    return read_table(out / "faces.csv")


def _given_folder(folder: helpers.PathLike) -> Path:
    path = _absolute(folder, "the folder with your pictures")
    if not path.is_dir():
        raise FileNotFoundError(f"no folder at {path}: give the path of the folder with your pictures")
    _check_open(path)
    return path


def _check_open(folder: Path) -> None:
    try:
        os.scandir(folder).close()
    except OSError as problem:
        raise _closed(folder, problem) from None


def _closed(folder: Path, problem: OSError) -> OSError:
    return OSError(f"{folder} can't be opened ({problem.strerror}): ask its owner for access, or connect its drive again. "
                   "Earlier results are kept")


def _absolute(path: helpers.PathLike, what: str) -> Path:
    """Make a path absolute, because worker processes may have a different current folder."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"give the path of {what} as text or as a Path, not {checks.type_name(path)}")
    if not str(path) or "\0" in str(path):
        raise ValueError(f"the path is empty: give the path of {what}" if not str(path) else
                         f"{str(path)!r} contains a NUL character: give the path of {what}")
    return checks.expand_home(path).absolute()


def _digest(path: Path) -> str:
    """Return the digest of a file's content, "" if it can't be read."""
    try:
        return result_store.digest_of_file(path)
    except OSError:
        return ""


def _remove_old_copy(path: Path) -> None:
    try:
        remove_copy(path)
    except OSError as problem:
        raise OSError(f"{path} is out of date and can't be removed ({problem.strerror}): "
                      f"{result_store.cure(problem)}, and run the same line again") from None


def _given_model(model: helpers.PathLike | None) -> Path:
    """Check the network's file and return its path: the one given, else the one that is loaded, else the project's own."""
    path = _absolute(helpers._network_path if model is None else model, "a network")
    helpers.load_network(path)
    return path


def _files_in(folder: Path, out: Path) -> tuple[dict[bytes, Path], dict[bytes, str], tuple[bytes, ...]]:
    """Return the pictures, {key: path}, the entries that can't be read, {key: reason}, and the keys of closed folders + "/"."""
    files: dict[bytes, Path] = {}
    notes: dict[bytes, str] = {}
    closed: list[bytes] = []

    def no_entry(problem: OSError) -> None:
        if Path(problem.filename) == folder:
            raise _closed(folder, problem)
        key = result_store.path_to_key(Path(problem.filename), folder)
        notes[key] = f"this folder can't be opened ({problem.strerror})"
        closed.append(key + b"/")

    inside = os.path.realpath(out)
    for parent, names, leaves in os.walk(folder, onerror=no_entry):
        names[:] = [name for name in names if not name.startswith(".") and os.path.realpath(os.path.join(parent, name)) != inside
                    and not result_store.is_store_folder(os.path.join(parent, name))]
        for path in [Path(parent) / name for name in names]:
            if os.path.islink(path):
                notes[result_store.path_to_key(path, folder)] = "links to folders are not followed: label that folder separately"
        for name in leaves:
            path, suffix = Path(parent) / name, Path(name).suffix.lower()
            if name.startswith(".") or suffix not in (*helpers.IMAGE_SUFFIXES, *imagefiles.UNREADABLE_SUFFIXES):
                continue
            if os.path.exists(path) and not os.path.isfile(path):
                notes[result_store.path_to_key(path, folder)] = "this is not a file but a pipe, a socket or a device"
            else:
                files[result_store.path_to_key(path, folder)] = path
    return dict(sorted(files.items())), notes, tuple(closed)


def _copy_of(key: bytes, out: Path) -> Path:
    *parents, name = os.fsdecode(key).split("/")
    parents = [f"{parent}~" if re.search(r"\.jpg~*$", parent) else parent for parent in parents]    # never the name of a copy
    return out.joinpath("pictures", *parents, copy_name(name))


def _folder_table(kept: dict[bytes, Any]) -> pd.DataFrame:
    rows = [[result_store.key_to_text(key), len(faces), index, *face, note or None]
            for key, (faces, note) in sorted(kept.items()) for index, face in enumerate(faces or [[None] * len(FACE_COLUMNS)])]
    table = pd.DataFrame(rows, columns=FOLDER_COLUMNS).astype(video.INT_COLUMNS)
    table.loc[table["n_faces"] == 0, "face"] = pd.NA
    return table


def read_table(path: helpers.PathLike) -> pd.DataFrame:
    """Read a table of `label_folder` or `label_clip`, with whole numbers for the box and <NA> where there is no face."""
    empty = {name: [""] for name in (*FOLDER_COLUMNS, *video.TIMELINE_COLUMNS) if name != "file"}     # a file may be called NA
    return pd.read_csv(path, encoding="utf-8-sig", keep_default_na=False, na_values=empty,
                       dtype={"file": str, "label": str, "note": str, **video.INT_COLUMNS})


# ---------------------------------------------------------------- one process, several, or a cluster

def _answers(tasks: list[Task], n_jobs: int | None) -> Iterator[Answer]:
    """Yield the answer to each task, in order: from this process while little is left to do, otherwise from several."""
    backend, _ = get_active_backend()
    if type(backend).__name__ != "LokyBackend":        # chosen by the caller with joblib.parallel_config
        yield from _spread([task._replace(caller=0) for task in tasks], None)
        return
    jobs = min(n_jobs or joblib.cpu_count(), MAX_JOBS)
    began = time.perf_counter()
    for done, task in enumerate(tasks):
        per_picture = (time.perf_counter() - began) / done if done else 0.0
        if jobs > 1 and per_picture * (len(tasks) - done) > MIN_PARALLEL_SECONDS and done >= 3:
            yield from _spread_safely(tasks[done:], jobs)
            return
        yield label_image(task)


def _spread(tasks: list[Task], jobs: int | None) -> Iterator[Answer]:
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4 * n_jobs", batch_size=1)
    yield from parallel(joblib.delayed(label_image)(task) for task in tasks)


def _spread_safely(tasks: list[Task], jobs: int) -> Iterator[Answer]:
    """Like `_spread`; if a process dies, try the next pictures one by one, so that the one that caused it gets the note."""
    done = 0
    while done < len(tasks):
        try:
            for answer in _spread(tasks[done:], jobs):
                done += 1
                yield answer
        except BrokenProcessPool:
            for name in result_store.CODE:             # processes that can't import it end as well
                result_store.code_digest(name)
            for task in tasks[done:done + 4 * jobs]:
                answer = _label_alone(task)
                done += 1
                yield answer


def _label_alone(task: Task) -> Answer:
    """Label one picture in a process of its own."""
    executor = get_reusable_executor(max_workers=1)
    try:
        return Answer(*executor.submit(label_image, task).result())
    except BrokenProcessPool:
        return Answer("", [], "the process that read this picture was killed by the system, probably because memory ran out: "
                              "make the picture smaller, or close other programs, and run the same line again")


# ---------------------------------------------------------------- a long clip

def label_clip(source: helpers.PathLike, out: helpers.PathLike, *, detector: str = "ssd", confidence: float = 0.5,
               model: helpers.PathLike | None = None, annotated: bool = True) -> pd.DataFrame:
    """Label the faces of a whole clip: a table, and a copy with boxes and labels.

    The table is saved part by part, so an interrupted run resumes after the last part, and its result is exactly that of
    an uninterrupted run. The copy is drawn at the same time; after an interrupt, it is drawn again from the beginning.

    Parameters
    ----------
    source : str or os.PathLike
        The clip.
    out : str or os.PathLike
        Where the results go: ``timeline.csv`` and ``annotated.webm``, with the sound of the clip. Created if missing.
    detector, confidence
        See `helpers.detect_faces`.
    model : str or os.PathLike, optional
        The network; by default the one that `helpers.init_emotion` loaded, else the project's own. Other
        functions are not affected.
    annotated : bool
        Whether to draw the copy.

    Returns
    -------
    pandas.DataFrame
        The table of `video.timeline`: one row per face and frame.

    Raises
    ------
    ValueError
        For a camera, and if `out` contains something else or a table that was edited.
    TypeError, FileNotFoundError, OSError, RuntimeError
        As `label_folder`, `video.Reader` and `video.Writer`; also if the clip changes while it is labelled.
    """
    out = _absolute(out, "a folder for the results")
    with video.Reader(source) as clip:
        if clip.is_camera:
            raise ValueError("label_clip needs a clip, because a camera never ends: notebook 10 is about cameras")
        path, fps = Path(os.path.realpath(str(clip.source))), clip.fps
        stamp = _stamp(path)
    model = _given_model(model)
    helpers.detect_faces(np.zeros((64, 64, 3), np.uint8), detector=detector, confidence=confidence)
    with result_store.ResultStore(out, f"clip {result_store.key_to_text(os.fsencode(path))}") as store:
        result_store.check_table_untouched(store, "timeline.csv")
        model_digest = result_store.digest_of_file(model)
        settings = result_store.settings_digest(model_digest, *CLIP_CODE, detector=detector, confidence=float(confidence))
        content = result_store.digest_of_file(path)
        copy, made_from = out / "annotated.webm", result_store.digest_of(content, settings, result_store.code_digest("batch.py"))
        up_to_date = store.get_fact(copy.name) == f"{made_from} {_digest(copy)}"
        if not annotated and not up_to_date and store.get_fact(copy.name):
            _remove_old_copy(copy)                         # its labels are not those of the new table
        drawn = not annotated or up_to_date
        parts = _kept_parts(content, settings, store)

        def check_unchanged() -> None:
            if _stamp(path) != stamp:
                raise OSError(f"{path} was changed while it was being labelled: run the same line again")

        def keep(number: int, part: dict[str, Any]) -> None:
            check_unchanged()
            store.keep(_part_key(number), content, settings, part)

        if drawn and parts and parts[-1]["ended"]:
            _save_timeline(store, [row for part in parts for row in part["rows"]])
            for note in parts[-1]["notes"]:
                warnings.warn(note, video.ClipWarning, stacklevel=2)
        else:
            tracker = video.ExpressionTracker(detector=detector, confidence=confidence,
                                              net=load_unchanged_network(model, model_digest))
            with _Copy(copy, fps, path) if not drawn else contextlib.nullcontext() as drawing:
                rows: list[Row] = []
                for seconds, frame, found in _labelled_frames(path, parts, tracker, keep):
                    rows += found
                    if drawing:
                        drawing.add(frame, seconds, found)
                check_unchanged()
                _save_timeline(store, rows)
                if drawing:
                    store.set_fact(copy.name, "being replaced")
                    drawing.finish()
                    store.set_fact(copy.name, f"{made_from} {_digest(copy)}")
    return read_table(out / "timeline.csv")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced or written to: size, time and inode; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _save_timeline(store: result_store.ResultStore, rows: list[Row]) -> None:
    table = pd.DataFrame(rows, columns=video.TIMELINE_COLUMNS).astype(video.INT_COLUMNS)
    result_store.save_table(store, table, "timeline.csv")


def _part_key(number: int) -> bytes:
    return f"part {number:06}".encode()


def _kept_parts(content: str, settings: str, store: result_store.ResultStore) -> list[dict[str, Any]]:
    """Return the parts of the clip that are already labelled, from its beginning to the first one that is missing."""
    kept = {key: value for key, digest, value in store.kept(settings) if digest == content}
    parts: list[dict[str, Any]] = []
    while (key := _part_key(len(parts))) in kept:
        parts.append(kept[key])
    store.prune(map(_part_key, range(len(parts))))
    return parts


def _labelled_frames(path: Path, parts: list[dict[str, Any]], tracker: video.ExpressionTracker,
                     keep: Callable[[int, dict[str, Any]], None]) -> Iterator[tuple[float, helpers.Image, list[Row]]]:
    """Yield every frame of the clip with its time and its rows: those of `parts`, then new ones, saved part by part."""
    known = itertools.groupby((row for part in parts for row in part["rows"]), lambda row: row["frame"])
    first = math.inf if parts and parts[-1]["ended"] else len(parts) * CHUNK_FRAMES
    rows: list[Row] = []
    if parts and first < math.inf:
        tracker.restore(parts[-1]["tracker"])
    number = -1
    with video.Reader(path) as clip, tqdm(total=clip.frame_count or None, unit=" frames", disable=sys.stderr is None) as bar:
        for number, (seconds, frame) in enumerate(clip):
            if number < first:
                found = list(next(known, (None, ()))[1])      # every frame has a row, in order, unless the clip was replaced
            else:
                if rows and number % CHUNK_FRAMES == 0:
                    keep(number // CHUNK_FRAMES - 1, {"rows": rows, "ended": False, "tracker": tracker.state(), "notes": []})
                    rows = []
                found = video.timeline_rows(number, seconds, tracker.update(frame, seconds))
                rows += found
            yield seconds, frame, found
            bar.update()
    if first < math.inf:
        keep(max(number, 0) // CHUNK_FRAMES, {"rows": rows, "ended": True, "tracker": tracker.state(), "notes": clip.notes})


class _Copy:
    """The annotated copy of a clip, drawn on a separate thread while the next frames are labelled.

    Use it in a ``with`` block. Only `finish` moves the copy into place; without it, nothing is left behind.
    """

    def __init__(self, path: Path, fps: float, source: Path) -> None:
        self._writer = video.Writer(path, fps, sound_from=source)
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        self._problem: Exception | None = None

    def __enter__(self) -> "_Copy":
        return self

    def __exit__(self, kind: object, problem: object, trace: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._writer.discard()

    def add(self, frame: helpers.Image, seconds: float, rows: list[Row]) -> None:
        """Draw the faces of these rows into a frame, as soon as the frames before it are done."""
        self._waiting.append(self._thread.submit(self._draw, frame, seconds, rows))
        if len(self._waiting) > MAX_WAITING_FRAMES:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Wait for the last frames, and put the copy into place. Raises what `video.Writer` raises."""
        while self._waiting:
            self._waiting.popleft().result()
        if self._problem:
            raise self._problem
        self._writer.close()

    def _draw(self, frame: helpers.Image, seconds: float, rows: list[Row]) -> None:
        if self._problem:
            return
        faces: list[helpers.Face] = [{"box": [row[side] for side in "xywh"], "confidence": row["confidence"],
                                      "label": row["label"], "emotions": {name: row[name] for name in helpers.EMOTIONS}}
                                     for row in rows if row.get("label")]
        try:
            self._writer.write(helpers.draw(frame, faces), seconds)
        except (OSError, ValueError) as problem:          # the table is worth finishing anyway
            self._problem = problem


# ---------------------------------------------------------------- python -m batch

def main(arguments: list[str] | None = None) -> int:
    """Run the command ``python -m batch``.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the command line.

    Returns
    -------
    int
        The exit status: 0 when everything was read, 1 when some pictures were not, 2 when nothing could be done,
        130 after an interrupt.
    """
    parser = argparse.ArgumentParser(prog="python -m batch", description="Label the facial expressions in a folder of "
                                     "pictures or in a clip.", epilog="Run the same command again to resume after an interrupt.")
    commands = parser.add_subparsers(dest="command", required=True)
    pictures = commands.add_parser("pictures", help="label a folder of pictures", description="Write OUT/faces.csv, one row "
                                   "per face, and annotated copies in OUT/pictures.")
    pictures.add_argument("folder", metavar="FOLDER", help="folder of pictures; its subfolders are included")
    clip = commands.add_parser("clip", help="label a clip", description="Write OUT/timeline.csv, one row per face and frame, and "
                               "the annotated copy OUT/annotated.webm.")
    clip.add_argument("clip", metavar="FILE", help="the clip to label")
    clip.add_argument("--no-copy", action="store_true", help="write only the table, no annotated copy")
    for command in (pictures, clip):
        command.add_argument("out", metavar="OUT", help="folder for the results")
        command.add_argument("--detector", default="ssd", choices=("ssd", "haar", "hog", "cnn"), help="default: %(default)s")
        command.add_argument("--confidence", type=float, default=0.5,
                             help="minimum confidence of a face, for ssd; default: %(default)s")
        command.add_argument("--model", metavar="ONNX", help="a different network with the same interface")
    pictures.add_argument("--jobs", type=int, help="number of processes, default: one per core")
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")       # a name that the terminal can't show is no reason to fail
    options = {"detector": given.detector, "confidence": given.confidence, "model": given.model}
    try:
        if given.command == "clip":
            moments = label_clip(given.clip, given.out, annotated=not given.no_copy, **options)
            count = moments["face"].nunique()
            print(f"{moments['frame'].nunique()} frames, {count} face{'' if count == 1 else 's'}: "
                  f"{Path(given.out) / 'timeline.csv'}")
            return 0
        faces = label_folder(given.folder, given.out, n_jobs=given.jobs, **options)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return 130
    except (OSError, ValueError, TypeError, ImportError, RuntimeError) as problem:
        print(f"{parser.prog}: {problem}", file=sys.stderr)
        return 2
    failed = faces[(faces["n_faces"] == 0) & ~faces["note"].fillna("").str.startswith("no face found")]
    print(f"{faces['face'].count()} faces in {faces['file'].nunique()} files: {Path(given.out) / 'faces.csv'}")
    for row in failed.itertuples():
        print(f"{row.file}: {row.note}", file=sys.stderr)
    return 1 if len(failed) else 0


if __name__ == "__main__":
    warnings.showwarning = lambda message, *_, **__: print(f"python -m batch: {message}", file=sys.stderr)
    sys.exit(main())
