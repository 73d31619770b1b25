"""batch.py: stored results are correct, whatever happened in between; any file name; parallel runs; the command line."""
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import cv2
import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

import batch
import checks
import helpers
import imagefiles
import labelling
import result_store
import video

MEDIA = ROOT / "Media"


@pytest.fixture
def holiday(tmp_path):
    """Two faces in a subfolder, four in one picture, one picture without, one broken, one that is not a picture."""
    folder = tmp_path / "holiday"
    (folder / "sea").mkdir(parents=True)
    shutil.copy(MEDIA / "obama.jpg", folder / "sea" / "Ü bermut.jpg")
    shutil.copy(MEDIA / "clip_sad.jpg", folder / "sea")
    shutil.copy(MEDIA / "four_people.jpg", folder / "a,b.jpg")
    cv2.imwrite(str(folder / "nobody.png"), np.full((200, 200, 3), 128, np.uint8))
    (folder / "broken.jpg").write_bytes((MEDIA / "obama.jpg").read_bytes()[:5000])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The names of the pictures that are really labelled, in this process; tests clear it."""
    names = []

    def spy(task):
        names.append(os.path.basename(task.path))
        return labelling.label_image(task)

    monkeypatch.setattr(batch, "label_image", spy)
    return names


def fresh(folder, tmp_path, **options):
    """Return the result of a fresh run."""
    fresh.count = getattr(fresh, "count", 0) + 1
    return batch.label_folder(folder, tmp_path / f"fresh {fresh.count}", n_jobs=1, **options)


def in_python(code, cwd, **options):
    """Run code in a separate Python process."""
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, **options)


def test_a_folder_becomes_a_table_and_copies(holiday, tmp_path):
    out = tmp_path / "out"
    table = batch.label_folder(holiday, out, n_jobs=2)
    assert table["file"].tolist() == ["a,b.jpg"] * 4 + ["broken.jpg", "nobody.png", "sea/clip_sad.jpg", "sea/Ü bermut.jpg"]
    assert table["label"].dropna().tolist() == ["Neutral", "Happy", "Happy", "Happy", "Sad", "Happy"]
    notes = table.set_index("file")["note"].dropna()
    assert list(notes.index) == ["broken.jpg", "nobody.png"] and notes["nobody.png"] == "no face found"
    assert "broken.jpg" in notes["broken.jpg"]
    assert np.allclose(table[list(helpers.EMOTIONS)].sum(axis=1)[table["label"].notna()], 1, atol=1e-3)
    labelled = table.dropna(subset="label")
    assert [row[row["label"]] for _, row in labelled.iterrows()] == labelled["probability"].tolist()

    helpers.init_emotion()
    image = helpers.read_image(holiday / "a,b.jpg")
    faces = helpers.detect_emotions(image)
    assert table[list("xywh")][:4].values.tolist() == [face["box"] for face in faces]
    copy = cv2.imread(str(out / "pictures" / "a,b.jpg.jpg"))
    assert np.abs(copy.astype(int) - helpers.draw(image, faces)).mean() < 3
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "faces.csv", "pictures/a,b.jpg.jpg", "pictures/nobody.png.jpg", "pictures/sea/clip_sad.jpg.jpg",
        "pictures/sea/Ü bermut.jpg.jpg", "results.sqlite"]
    assert (out / "faces.csv").read_bytes().startswith(b"\xef\xbb\xbffile,")            # Excel then takes it for UTF-8
    pd.testing.assert_frame_equal(batch.read_table(out / "faces.csv"), table)


# ------------------------------------------------------------------ what is kept is what a fresh run gives

def test_nothing_is_done_twice(holiday, tmp_path, asked):
    whole = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert len(asked) == 5
    asked.clear()
    pd.testing.assert_frame_equal(batch.label_folder(holiday, tmp_path / "out", n_jobs=1), whole)
    assert asked == []


def replaced_in_disguise(folder):
    """Replace a picture by a different one with the same name, size and time."""
    path = folder / "sea" / "clip_sad.jpg"
    times, size = path.stat(), path.stat().st_size
    data = (MEDIA / "clip_doubtful.jpg").read_bytes()
    path.write_bytes(data + bytes(max(size - len(data), 0)))
    shutil.copy(MEDIA / "clip_happy.jpg", path) if len(data) > size else None
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES = {
    "repaired": (lambda folder: shutil.copy(MEDIA / "obama.jpg", folder / "broken.jpg"), ["broken.jpg"]),
    "broken": (lambda folder: (folder / "a,b.jpg").write_bytes(b"torn"), ["a,b.jpg"]),
    "replaced": (lambda folder: shutil.copy(MEDIA / "clip_happy.jpg", folder / "sea" / "clip_sad.jpg"), ["clip_sad.jpg"]),
    "replaced, same size and time": (replaced_in_disguise, ["clip_sad.jpg"]),
    "deleted": (lambda folder: (folder / "nobody.png").unlink(), []),
    "renamed": (lambda folder: (folder / "nobody.png").rename(folder / "wall.png"), ["wall.png"]),
    "added": (lambda folder: shutil.copy(MEDIA / "astronaut.jpg", folder / "sea"), ["astronaut.jpg"]),
    "two swapped": (lambda folder: [(folder / "nobody.png").rename(folder / "x.png"), shutil.copy(MEDIA / "obama.jpg",
                    folder / "nobody.png")], ["nobody.png", "x.png"]),
    "only touched": (lambda folder: os.utime(folder / "a,b.jpg"), []),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.slow
def test_a_changed_folder_gives_what_a_fresh_run_gives(change, holiday, tmp_path, asked):
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    asked.clear()
    alter, expected = CHANGES[change]
    alter(holiday)
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert asked == expected
    pd.testing.assert_frame_equal(table, fresh(holiday, tmp_path))
    names = [path.relative_to(tmp_path / "out" / "pictures") for path in (tmp_path / "out" / "pictures").rglob("*.jpg")]
    other = tmp_path / f"fresh {fresh.count}" / "pictures"
    assert sorted(names) == sorted(path.relative_to(other) for path in other.rglob("*.jpg"))


@pytest.mark.parametrize("options", [{"detector": "haar"}, {"confidence": 0.99}, {"model": "always sad"}])
@pytest.mark.slow
def test_other_options_do_everything_again(options, holiday, tmp_path, asked, network_saying):
    if "model" in options:
        options = {"model": network_saying([0, 0, 0, 9, 0, 0, 0, 0])}
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    asked.clear()
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1, **options)
    assert len(asked) == 5
    pd.testing.assert_frame_equal(table, fresh(holiday, tmp_path, **options))
    if "model" in options:
        assert set(table["label"].dropna()) == {"Sad"}


def test_the_same_model_under_another_name_changes_nothing(holiday, tmp_path, asked):
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    asked.clear()
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1, model=shutil.copy(helpers.MODEL_PATH, tmp_path / "mine.onnx"))
    assert asked == []


def test_another_model_in_the_same_file_does_everything_again(holiday, tmp_path, asked, network_saying):
    model = network_saying([0, 0, 0, 9, 0, 0, 0, 0])
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1, model=model)
    asked.clear()
    network_saying([0, 9, 0, 0, 0, 0, 0, 0])                          # writes the same file
    assert set(batch.label_folder(holiday, tmp_path / "out", n_jobs=1, model=model)["label"].dropna()) == {"Happy"}
    assert len(asked) == 5


@pytest.mark.parametrize("part", ["code", "package"])
def test_another_version_does_everything_again(part, holiday, tmp_path, asked, monkeypatch):
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    asked.clear()
    if part == "code":
        true = result_store.digest_of_file
        monkeypatch.setattr(result_store, "digest_of_file", lambda path: "0" if path.name == "detectors.py" else true(path))
        monkeypatch.setattr(result_store, "LOADED_CODE", {})          # as in a new Python
    else:
        monkeypatch.setitem(result_store.LOADED_VERSIONS, "pillow", "9.9")
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert len(asked) == 5


@pytest.mark.parametrize("lose", [lambda copy: copy.unlink(), lambda copy: copy.write_bytes(b""),
                                  lambda copy: copy.write_bytes(copy.read_bytes()[:3000]),
                                  lambda copy: copy.write_bytes(bytes(copy.stat().st_size))],
                         ids=["deleted", "emptied", "cut", "zeroed"])
def test_a_lost_copy_is_drawn_again(lose, holiday, tmp_path, asked):
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    lose(tmp_path / "out" / "pictures" / "a,b.jpg.jpg")
    asked.clear()
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert asked == ["a,b.jpg"] and cv2.imread(str(tmp_path / "out" / "pictures" / "a,b.jpg.jpg")) is not None


EDIT = """
import sys; sys.path.insert(0, {code!r})
import {first}, pathlib, shutil
path = pathlib.Path({code!r}, {name!r}); path.write_text(path.read_text() + "\\n# edited\\n")
import batch
try: batch.label_folder({folder!r}, "out", n_jobs=1)
except RuntimeError as problem: print(problem)
"""


@pytest.mark.parametrize("first, name", [("batch", "helpers.py"), ("batch", "labelling.py"), ("helpers", "helpers.py")])
@pytest.mark.slow
def test_code_that_was_edited_under_a_running_python_is_refused(first, name, holiday, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    for path in ROOT.glob("*.py"):
        shutil.copy(path, code)
    for folder in ("video", "Model", "Media"):
        (code / folder).symlink_to(ROOT / folder)
    done = in_python(EDIT.format(code=str(code), folder=str(holiday), name=name, first=first), tmp_path, env={**os.environ, "PYTHONPATH": str(code)})
    assert f"{name} was edited after it was imported: restart" in done.stdout, done.stderr


def test_what_could_not_be_opened_is_tried_again(holiday, tmp_path, monkeypatch):
    read = helpers.read_image

    def no_memory(path):
        if path.name == "a,b.jpg":
            raise MemoryError
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(helpers, "read_image", no_memory)
        table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
        assert table.set_index("file")["note"]["a,b.jpg"] == "MemoryError"
    pd.testing.assert_frame_equal(batch.label_folder(holiday, tmp_path / "out", n_jobs=1), fresh(holiday, tmp_path))


def test_a_picture_replaced_while_it_is_labelled_is_done_again(holiday, tmp_path, monkeypatch):
    draw = helpers.draw

    def slow(image, faces):
        if len(faces) == 4:                                          # a,b.jpg
            shutil.copy(MEDIA / "clip_sad.jpg", holiday / "a,b.jpg")
        return draw(image, faces)

    with monkeypatch.context() as patch:
        patch.setattr(helpers, "draw", slow)
        assert (batch.label_folder(holiday, tmp_path / "out", n_jobs=1)["file"] == "a,b.jpg").sum() == 4
    shutil.copy(MEDIA / "four_people.jpg", holiday / "a,b.jpg")      # the picture is as it was: it is only done again if the first run noticed
    (tmp_path / "out" / "pictures" / "a,b.jpg.jpg").write_bytes(b"of which one?")
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert cv2.imread(str(tmp_path / "out" / "pictures" / "a,b.jpg.jpg")) is not None


def test_everything_that_a_label_depends_on_is_part_of_its_settings(monkeypatch, tmp_path):
    names = {"checks.py", "detectors.py", "helpers.py", "imagefiles.py", "labelling.py"}
    task_digest = result_store.loaded_code_digest()
    clip_names = {f"video/{path.name}" for path in (ROOT / "video").glob("*.py")}
    assert set(result_store.CODE) == names and set(batch.CLIP_CODE) == clip_names and "video/tracking.py" in clip_names
    read = []
    true = result_store.digest_of_file
    monkeypatch.setattr(result_store, "digest_of_file", lambda path: read.append(path) or true(path))
    assert set(result_store.LOADED_CODE) >= names | clip_names | {"batch.py"}
    before = result_store.settings_digest("network", *batch.CLIP_CODE, detector="ssd")
    assert {path.relative_to(ROOT).as_posix() for path in read} == names | clip_names
    assert result_store.settings_digest("another", *batch.CLIP_CODE, detector="ssd") != before
    for changed in sorted(names | clip_names):
        monkeypatch.setattr(result_store, "digest_of_file", lambda path, changed=changed: "0" if path == ROOT / changed else true(path))
        monkeypatch.setattr(result_store, "LOADED_CODE", {})
        assert result_store.settings_digest("network", *batch.CLIP_CODE, detector="ssd") != before
        assert changed not in names or result_store.loaded_code_digest() != task_digest


def test_what_could_not_be_copied_is_not_tried_again(holiday, tmp_path, asked, monkeypatch):
    save = labelling.save_image

    def too_long(path, image):
        if path.name == "a,b.jpg.jpg":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        save(path, image)

    monkeypatch.setattr(labelling, "save_image", too_long)
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert table.set_index("file")["note"]["a,b.jpg"].tolist() == ["no annotated copy: its path would be too long for this file system"] * 4
    asked.clear()
    pd.testing.assert_frame_equal(batch.label_folder(holiday, tmp_path / "out", n_jobs=1), table)
    assert asked == []


@pytest.mark.parametrize("problem", [OSError("full"), KeyboardInterrupt()], ids=repr)
def test_an_error_while_a_file_is_written_leaves_the_old_one_and_nothing_else(problem, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(problem)), checks.atomic_write(path) as part:
        part.write_text("half of the new")
        raise problem
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_others_may_read_the_results_as_any_new_file(holiday, tmp_path):
    mask = os.umask(0o027)
    try:
        batch.label_folder(holiday / "sea", tmp_path / "out", n_jobs=1)
    finally:
        os.umask(mask)
    for name in ("faces.csv", "pictures/clip_sad.jpg.jpg"):
        assert (tmp_path / "out" / name).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("shape, expected", [((20, 70_000), (18, 65_500)), ((70_000, 20), (65_500, 18))])
def test_the_copy_of_a_picture_too_long_for_jpeg_keeps_its_shape(shape, expected, tmp_path):
    labelling.save_image(tmp_path / "sub" / "long.jpg", np.full((*shape, 3), 90, np.uint8))
    assert cv2.imread(str(tmp_path / "sub" / "long.jpg")).shape == (*expected, 3)


@pytest.mark.parametrize("statement", [
    "update results set value = replace(value, 'Sad', 'Happy')", "update results set source = substr(source, 2) || '0'",
    "update results set key = key || x'2e6a7067' where key = x'6e6f626f64792e706e67'", "delete from results"])
@pytest.mark.slow
def test_results_that_were_altered_are_done_again(statement, holiday, tmp_path):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, n_jobs=1)
    with sqlite3.connect(out / "results.sqlite") as store:
        store.execute(statement)
    store.close()
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), whole)


@pytest.mark.parametrize("damage", [lambda data: b"not a store", lambda data: b"", lambda data: data[:len(data) // 2],
                                    lambda data: data[:4096] + bytes(4096) + data[8192:], lambda data: data[:100] + b"\xff" * 500 + data[600:]])
def test_a_damaged_store_is_named(damage, holiday, tmp_path):
    out = tmp_path / "out"
    batch.label_folder(holiday, out, n_jobs=1)
    store, table = out / "results.sqlite", (out / "faces.csv").read_bytes()
    store.write_bytes(damage(store.read_bytes()))
    with pytest.raises(ValueError, match="results.sqlite is damaged .*delete the results in that folder"):
        batch.label_folder(holiday, out, n_jobs=1)
    assert (out / "faces.csv").read_bytes() == table


def test_an_edited_table_is_never_overwritten(holiday, tmp_path, asked):
    out = tmp_path / "out"
    table = batch.label_folder(holiday, out, n_jobs=1)
    table.assign(comment="mine").to_csv(out / "faces.csv", index=False)
    edited = (out / "faces.csv").read_bytes()
    shutil.copy(MEDIA / "astronaut.jpg", holiday)
    asked.clear()
    with pytest.raises(ValueError, match="faces.csv was changed since it was written: rename it"):
        batch.label_folder(holiday, out, n_jobs=1)
    assert asked == [] and (out / "faces.csv").read_bytes() == edited
    (out / "faces.csv").rename(out / "mine.csv")
    assert "astronaut.jpg" in batch.label_folder(holiday, out, n_jobs=1)["file"].tolist() and asked == ["astronaut.jpg"]


def test_a_table_edited_during_a_run_is_not_overwritten(holiday, tmp_path, monkeypatch):
    out = tmp_path / "out"
    batch.label_folder(holiday, out, n_jobs=1)
    label = labelling.label_image

    def remark(task):
        with open(out / "faces.csv", "a", encoding="utf-8") as file:
            file.write("my remark\n")
        return label(task)

    monkeypatch.setattr(batch, "label_image", remark)
    with pytest.raises(ValueError, match="faces.csv was changed since it was written"):
        batch.label_folder(holiday, out, confidence=0.4, n_jobs=1)
    assert "my remark" in (out / "faces.csv").read_text(encoding="utf-8-sig")


@pytest.mark.parametrize("when", ["before the table is in place", "after"])
def test_an_interrupt_while_the_table_is_written_is_not_taken_for_an_edit(when, holiday, tmp_path, monkeypatch):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, n_jobs=1)
    with monkeypatch.context() as patch:
        replace, fact = os.replace, result_store.ResultStore.set_fact

        def interrupted(source, target):
            if str(target).endswith("faces.csv"):
                raise KeyboardInterrupt
            replace(source, target)

        def stopped(self, name, value):
            if name == "faces.csv":
                raise KeyboardInterrupt
            fact(self, name, value)

        if when == "after":
            patch.setattr(result_store.ResultStore, "set_fact", stopped)
        else:
            patch.setattr(checks.os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batch.label_folder(holiday, out, detector="haar", n_jobs=1)
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), whole)


@pytest.mark.parametrize("columns", ["goals (club text)", "results (club text)", "facts (name text, value text, club text)"])
def test_a_store_of_another_program_is_left_alone(columns, holiday, tmp_path):
    (tmp_path / "out").mkdir()
    with sqlite3.connect(tmp_path / "out" / "results.sqlite") as other:
        other.execute(f"create table {columns}")
    other.close()
    before = (tmp_path / "out" / "results.sqlite").read_bytes()
    with pytest.raises(ValueError, match="belongs to another program: give a new folder"):
        batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert (tmp_path / "out" / "results.sqlite").read_bytes() == before


def test_a_file_of_another_program_in_a_subfolder_hides_no_picture(holiday, tmp_path):
    with sqlite3.connect(holiday / "sea" / "results.sqlite") as other:
        other.execute("create table goals (club text)")
    other.close()
    assert "sea/clip_sad.jpg" in set(batch.label_folder(holiday, tmp_path / "out", n_jobs=1)["file"])
    (holiday / "sea" / "results.sqlite").write_bytes(b"no database at all")
    assert "sea/clip_sad.jpg" in set(batch.label_folder(holiday, tmp_path / "out", n_jobs=1)["file"])


def test_code_that_differs_between_processes_is_refused(holiday, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "label_image", lambda task: labelling.label_image(task._replace(code_digest="older")))
    with pytest.raises(RuntimeError, match="code was edited since the run began, or differs between machines: restart"):
        batch.label_folder(holiday, tmp_path / "out", n_jobs=1)


@pytest.mark.parametrize("what", ["folder", "clip"])
def test_a_network_replaced_while_the_run_begins_is_refused(what, holiday, tmp_path, monkeypatch, network_saying):
    model = network_saying([0, 0, 0, 9, 0, 0, 0, 0])
    true = result_store.digest_of_file

    def replaced_after(path):
        digest = true(path)
        if path == model:
            network_saying([0, 9, 0, 0, 0, 0, 0, 0])                  # writes the same file
        return digest

    monkeypatch.setattr(result_store, "digest_of_file", replaced_after)
    with pytest.raises(OSError, match="was changed after this run began: run the same line again"):
        if what == "folder":
            batch.label_folder(holiday, tmp_path / "out", n_jobs=1, model=model)
        else:
            batch.label_clip(short_clip(tmp_path / "short.webm", 4), tmp_path / "out", model=model)


def closed(folder, monkeypatch):
    """Let a folder refuse to be opened, as one without permission or on a lost connection does."""
    true = os.scandir

    def scandir(path="."):
        if os.fspath(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return true(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_can_not_be_opened_loses_no_results(holiday, tmp_path, monkeypatch, asked):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, n_jobs=1)
    files = sorted(path for path in out.rglob("*"))
    with monkeypatch.context() as patch:
        closed(holiday, patch)
        with pytest.raises(OSError, match=r"can't be opened \(Permission denied\).* Earlier results are kept"):
            batch.label_folder(holiday, out, n_jobs=1)
    with monkeypatch.context() as patch:
        closed(holiday / "sea", patch)
        table = batch.label_folder(holiday, out, n_jobs=1).set_index("file")
        assert table["note"]["sea"] == "this folder can't be opened (Permission denied)" and "sea/clip_sad.jpg" not in table.index
    assert sorted(path for path in out.rglob("*")) == files
    asked.clear()
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), whole)
    assert asked == []


@pytest.mark.skipif(os.name != "posix", reason="Windows needs special rights for links")
def test_a_labelled_picture_that_can_no_longer_be_read_gets_a_note(holiday, tmp_path):
    shutil.copy(MEDIA / "astronaut.jpg", tmp_path / "elsewhere.jpg")
    (holiday / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    (tmp_path / "elsewhere.jpg").unlink()
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    pd.testing.assert_frame_equal(table, fresh(holiday, tmp_path))
    assert "no picture at" in table.set_index("file")["note"]["link.jpg"]


@pytest.mark.skipif(os.name != "posix", reason="Windows refuses such paths")
def test_a_very_deep_folder_stops_nothing(holiday, tmp_path, monkeypatch):
    monkeypatch.chdir(holiday)
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    monkeypatch.chdir(tmp_path)
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert "sea/clip_sad.jpg" in set(table["file"]) and table["note"].str.contains("can't be opened").sum() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and SIGKILL")
def test_a_run_killed_while_it_creates_the_store_can_be_resumed(tmp_path):
    done = in_python(KILL_AT_STATEMENT.format(code=str(ROOT)), tmp_path)
    *killed, last = done.stdout.split()
    assert len(killed) > 8 and set(killed) == {"killed"} and last == "whole", done.stderr


KILL_AT_STATEMENT = """
import sys; sys.path.insert(0, {code!r})
import itertools, os, pathlib, signal, sqlite3
import result_store

def connect(*args, true=sqlite3.connect, **options):
    connection = true(*args, **options)
    connection.set_trace_callback(lambda statement: next(left) or os.kill(os.getpid(), signal.SIGKILL))
    return connection

for number in itertools.count():
    folder = pathlib.Path(str(number))
    child = os.fork()
    if not child:
        sqlite3.connect, left = connect, itertools.chain(range(number, 0, -1), [0], itertools.repeat(1))
        result_store.ResultStore(folder, "folder here")
        os._exit(0)
    killed = os.waitpid(child, 0)[1] == signal.SIGKILL
    with result_store.ResultStore(folder, "folder here") as store:
        assert store.get_fact("source") == "folder here" and store.get_fact("format")
    print("killed" if killed else "whole")
    if not killed:
        break
"""


def test_two_mishaps_with_the_table_are_not_taken_for_an_edit(holiday, tmp_path, monkeypatch):
    out = tmp_path / "out"
    set_fact = result_store.ResultStore.set_fact

    def interrupted(store, name, value):
        if name == "faces.csv":
            raise KeyboardInterrupt
        set_fact(store, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(result_store.ResultStore, "set_fact", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batch.label_folder(holiday, out, n_jobs=1)
    shutil.copy(MEDIA / "astronaut.jpg", holiday)
    replace = os.replace

    def held_open(part, path):
        if os.fspath(path).endswith("faces.csv"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        replace(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", held_open)
        with pytest.raises(OSError, match="close the program that has the file open"):
            batch.label_folder(holiday, out, n_jobs=1)
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), fresh(holiday, tmp_path))


def copies_of(table):
    return {f"{name}.jpg" for name in table["file"][~table["note"].fillna("").str.contains("broken")]}


def copies_in(out):
    return {path.relative_to(out / "pictures").as_posix() for path in (out / "pictures").rglob("*") if path.is_file()}


def test_an_interrupt_leaves_no_copy_that_nobody_knows(holiday, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def interrupted(store, key, *rest, keep=result_store.ResultStore.keep):
        if key == b"nobody.png":                                      # its copy is there, its result is not
            raise KeyboardInterrupt
        keep(store, key, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(result_store.ResultStore, "keep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batch.label_folder(holiday, out, n_jobs=1)
    assert "nobody.png.jpg" in copies_in(out)
    (holiday / "nobody.png").rename(holiday / "somebody.png")
    table = batch.label_folder(holiday, out, n_jobs=1)
    assert copies_in(out) == copies_of(table) and "somebody.png.jpg" in copies_in(out)


def test_a_copy_that_could_not_be_removed_is_removed_next_time(holiday, tmp_path, monkeypatch):
    out = tmp_path / "out"
    batch.label_folder(holiday, out, n_jobs=1)
    (holiday / "a,b.jpg").unlink()

    def no_access(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(batch, "remove_copy", no_access)
        with pytest.raises(OSError, match="a,b.jpg.jpg is out of date and can't be removed .*you may write to"):
            batch.label_folder(holiday, out, n_jobs=1)
    table = batch.label_folder(holiday, out, n_jobs=1)
    assert copies_in(out) == copies_of(table) and "a,b.jpg.jpg" not in copies_in(out)


def test_an_interrupted_run_with_other_options_does_not_leave_its_copies_in_the_first_ones_results(holiday, tmp_path, monkeypatch, asked):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, n_jobs=1)
    before = (out / "pictures" / "a,b.jpg.jpg").read_bytes()

    def interrupted(store, key, *rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(result_store.ResultStore, "keep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batch.label_folder(holiday, out, n_jobs=1, confidence=1.0)
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), whole)
    assert (out / "pictures" / "a,b.jpg.jpg").read_bytes() == before


def test_what_another_run_is_writing_further_down_is_left_alone(holiday, tmp_path):
    out = tmp_path / "out"
    batch.label_folder(holiday, out, n_jobs=1)
    inner = out / "pictures" / "of copies"
    batch.label_folder(holiday / "sea", inner, n_jobs=1)
    ours, theirs = out / "pictures" / ".part-1.jpg", inner / "pictures" / ".part-2.jpg"
    for part in (ours, theirs):
        part.touch()
    batch.label_folder(holiday, out, n_jobs=1)
    assert theirs.exists() and not ours.exists()


@pytest.mark.parametrize("name", ["results.sqlite", "faces.csv", ".part-x.jpg", "pictures"])
def test_a_folder_or_file_that_is_in_the_way_is_named(name, holiday, tmp_path):
    out = tmp_path / "out"
    batch.label_folder(holiday, out, n_jobs=1)
    path = out / name
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.touch() if name == "pictures" else path.mkdir()
    if name == ".part-x.jpg":
        batch.label_folder(holiday, out, n_jobs=1)
        return
    for _ in range(2):                                                # the first error must not leave the store locked
        with pytest.raises((OSError, ValueError), match=name) as caught:
            batch.label_folder(holiday, out, n_jobs=1)
        assert "make room on the disk" not in str(caught.value) and "another run" not in str(caught.value)


def test_a_path_that_is_too_long_for_the_results_is_refused(holiday, tmp_path):
    with pytest.raises(OSError, match="is too long for the results: give a folder with a shorter path"):
        batch.label_folder(holiday, tmp_path.joinpath(*["o" * 200] * 3), n_jobs=1)


@pytest.mark.parametrize("given, kind, words", [
    (None, TypeError, "give the path of .* not None"), (7, TypeError, "give the path of .* not an int"),
    ("a\0b", ValueError, "NUL character"), ("", ValueError, "the path is empty"),
    ("~nosuchuser/a", (ValueError, FileNotFoundError), "there is no such user: give the whole path")])
@pytest.mark.parametrize("which", ["folder", "out", "model"])
def test_what_is_not_a_path_is_refused(given, kind, words, which, holiday, tmp_path):
    paths = {"folder": holiday, "out": tmp_path / "out", "model": helpers.MODEL_PATH, which: given}
    if (which, given) == ("model", None):
        return                                                        # the network that is loaded
    with pytest.raises(kind, match=words):
        batch.label_folder(paths["folder"], paths["out"], n_jobs=1, model=paths["model"])


def test_no_two_names_look_the_same_in_the_table():
    keys = [b"b\xe9.jpg", b"b\\xe9.jpg", b"b\\x5cxe9.jpg", "bé.jpg".encode(), b"b\\x5c.jpg", b"b\\.jpg"]
    assert len({result_store.key_to_text(key) for key in keys}) == len(keys)
    assert result_store.key_to_text(b"b\\.jpg") == "b\\.jpg"


def test_a_missing_folder_for_temporary_files_is_not_the_pictures_fault(holiday, tmp_path, monkeypatch):
    monkeypatch.setattr(checks.tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="gone"):
        batch.label_folder(holiday, tmp_path / "out", n_jobs=1)


def test_an_unexpected_error_stops_only_one_picture(holiday, tmp_path, monkeypatch):
    def broken(path, data, notices, *, read=imagefiles._read):
        if path.name == "a,b.jpg":
            raise IndexError("list index out of range")
        return read(path, data, notices)

    monkeypatch.setattr(imagefiles, "_read", broken)
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1).set_index("file")
    assert "a,b.jpg can't be read completely (list index" in table["note"]["a,b.jpg"] and table["label"]["sea/clip_sad.jpg"] == "Sad"


@pytest.mark.parametrize("problem", [RuntimeError("can't start new thread"), ImportError("the cnn detector needs dlib")], ids=repr)
def test_an_error_that_is_not_the_pictures_fault_stops_the_run(problem, holiday, tmp_path, monkeypatch):
    detect = helpers.detect_faces

    def fail(image, **options):
        if image.shape != (64, 64, 3):                                # not the check at the beginning
            raise problem
        return detect(image, **options)

    with monkeypatch.context() as patch:
        patch.setattr(helpers, "detect_faces", fail)
        with pytest.raises(type(problem)):
            batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    pd.testing.assert_frame_equal(batch.label_folder(holiday, tmp_path / "out", n_jobs=1), fresh(holiday, tmp_path))


@pytest.mark.parametrize("problem", [OSError(errno.EIO, "Input/output error"), cv2.error("(-4:Insufficient memory)")], ids=repr)
def test_an_error_that_may_pass_is_not_kept(problem, holiday, tmp_path, monkeypatch, asked):
    read_bytes = type(holiday).read_bytes

    def fail(path):
        if path.name == "a,b.jpg":
            raise problem
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(type(holiday), "read_bytes", fail)
        notes = batch.label_folder(holiday, tmp_path / "out", n_jobs=1).set_index("file")["note"]
        assert "copy or download" not in notes["a,b.jpg"]
    asked.clear()
    pd.testing.assert_frame_equal(batch.label_folder(holiday, tmp_path / "out", n_jobs=1), fresh(holiday, tmp_path))
    assert "a,b.jpg" in asked


@pytest.mark.parametrize("when", ["while it is listed", "while results are checked"])
def test_a_drive_that_vanishes_during_the_run_loses_no_results(when, holiday, tmp_path, monkeypatch, asked):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, n_jobs=1)
    copies = copies_in(out)
    with monkeypatch.context() as patch:
        if when == "while it is listed":
            patch.setattr(batch, "_given_model", lambda model, given=batch._given_model: closed(holiday, patch) or given(model))
        else:
            started = result_store.ResultStore.started
            patch.setattr(result_store.ResultStore, "started",
                          lambda store: holiday.rename(tmp_path / "unplugged") and started(store))
        with pytest.raises(OSError, match="can't be opened .* Earlier results are kept"):
            batch.label_folder(holiday, out, n_jobs=1)
    if not holiday.exists():
        (tmp_path / "unplugged").rename(holiday)
    asked.clear()
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), whole)
    assert set(asked) <= {"broken.jpg"} and copies_in(out) == copies       # it has no copy that shows it is up to date


def test_an_interrupt_before_the_first_picture_costs_nothing(holiday, tmp_path, monkeypatch, asked):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, n_jobs=1)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_answers", lambda tasks, n_jobs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            batch.label_folder(holiday, out, n_jobs=1, confidence=0.9)
    asked.clear()
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), whole)
    assert set(asked) <= {"broken.jpg"}                               # it has no copy that shows it is up to date


def test_a_picture_that_ended_its_process_has_no_copy_of_an_older_one(holiday, tmp_path, monkeypatch):
    out = tmp_path / "out"
    batch.label_folder(holiday, out, n_jobs=1)
    shutil.copy(MEDIA / "obama.jpg", holiday / "a,b.jpg")
    monkeypatch.setattr(batch, "label_image", lambda task: labelling.Answer("", [], "the process that read this picture was killed"))
    batch.label_folder(holiday, out, n_jobs=1)
    assert "a,b.jpg.jpg" not in copies_in(out) and "sea/clip_sad.jpg.jpg" in copies_in(out)


def test_processes_that_end_because_the_code_was_edited_are_not_the_pictures_fault(holiday, tmp_path, monkeypatch):
    def broken(tasks, jobs):
        monkeypatch.setitem(result_store.LOADED_CODE, "labelling.py", "older")
        raise batch.BrokenProcessPool
        yield

    monkeypatch.setattr(batch, "_spread", broken)
    monkeypatch.setattr(batch, "MIN_PARALLEL_SECONDS", 0)
    with pytest.raises(RuntimeError, match="labelling.py was edited after it was imported: restart"):
        batch.label_folder(holiday, tmp_path / "out", n_jobs=2)


def test_packages_are_part_of_what_processes_must_agree_on(monkeypatch):
    monkeypatch.setattr(result_store, "LOADED_VERSIONS", {})
    missing = result_store.metadata.version

    def version(name):
        if name == "pillow-heif":
            raise result_store.metadata.PackageNotFoundError
        return missing(name)

    with monkeypatch.context() as patch:
        patch.setattr(result_store.metadata, "version", version)
        without = result_store.settings_digest("network"), result_store.loaded_code_digest()
        assert (result_store.settings_digest("network"), result_store.loaded_code_digest()) == without
    installed = result_store.settings_digest("network"), result_store.loaded_code_digest()       # in the same Python
    assert installed[0] != without[0] and installed[1] != without[1]
    monkeypatch.setattr(result_store.metadata, "version", lambda name: missing(name) and "9.9")   # an upgrade has no effect yet
    assert (result_store.settings_digest("network"), result_store.loaded_code_digest()) == installed


STRAY = """
import sys; sys.path.insert(0, {code!r})
import helpers, checks
print(sorted(set(checks.LOADED_CODE) - {{"my.py"}})[:2])
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows needs special rights for links")
def test_stray_files_beside_the_code_do_not_matter(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    for path in ROOT.glob("*.py"):
        shutil.copy(path, code)
    (code / "Model").symlink_to(ROOT / "Model")
    (code / ".#helpers.py").symlink_to("me@host.1:2")                 # of an editor with unsaved changes
    (code / "my.py").mkdir()
    (code / "gone.py").symlink_to("nowhere.py")
    done = in_python(STRAY.format(code=str(code)), tmp_path, env={**os.environ, "PYTHONPATH": str(code)})
    assert done.stdout.startswith("['batch.py', 'check_setup.py']"), done.stderr


def test_an_empty_file_with_the_stores_name_hides_no_picture(holiday, tmp_path):
    (holiday / "sea" / "results.sqlite").touch()
    assert "sea/clip_sad.jpg" in set(batch.label_folder(holiday, tmp_path / "out", n_jobs=1)["file"])


def test_files_of_others_are_never_removed_from_a_new_folder(holiday, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".part-mine.zip").write_bytes(b"mine")
    with pytest.raises(ValueError, match="contains other files: give a new folder"):
        batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert (tmp_path / "out" / ".part-mine.zip").read_bytes() == b"mine"


def test_a_python_without_a_terminal_can_label(holiday, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)                          # as with pythonw.exe
    assert batch.main(["pictures", str(holiday), str(tmp_path / "out"), "--jobs", "1"]) == 1
    assert batch.label_clip(short_clip(tmp_path / "short.webm", 3), tmp_path / "clip")["frame"].nunique() == 3


def test_results_of_another_folder_are_kept(holiday, tmp_path):
    batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    with pytest.raises(ValueError, match="holds results of folder .*holiday"):
        batch.label_folder(holiday / "sea", tmp_path / "out")


def test_two_runs_at_once(holiday, tmp_path):
    with (result_store.ResultStore(tmp_path / "out", f"folder {holiday.resolve()}"),
          pytest.raises(OSError, match="another run is writing to .*out: wait")):
        batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert len(batch.label_folder(holiday, tmp_path / "out", n_jobs=1)) == 8         # and afterwards it is free


def until(condition):
    """Wait for something that another process does."""
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("kill", ["SIGKILL", "SIGINT", "Ctrl+C"])
@pytest.mark.slow
def test_a_run_that_ends_early_loses_nothing(kill, tmp_path):
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    for number in range(40):
        shutil.copy(MEDIA / "four_people.jpg", folder / f"{number:02}.jpg")
    code = ("import batch, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "batch.MIN_PARALLEL_SECONDS = 0\n"
            f"sys.exit(batch.main(['pictures', {str(folder)!r}, {str(out)!r}, '--jobs', '2']))")
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: len(list(out.rglob("*.jpg"))) >= 8)
    workers = [pid for pid, parent, args in processes() if parent == run.pid and "popen_loky" in args]
    assert len(workers) == 2
    if kill == "Ctrl+C":
        os.killpg(run.pid, signal.SIGINT)                # a terminal tells the workers, too
    else:
        os.kill(run.pid, getattr(signal, kill))
    assert run.wait() == (-signal.SIGKILL if kill == "SIGKILL" else 130)
    until(lambda: not {pid for pid, _, _ in processes()} & set(workers))           # no idle worker stays behind
    (out / "pictures" / ".part-0.jpg").write_bytes(b"what a killed process was writing")
    (out / "pictures" / "sea").mkdir()
    (out / "pictures" / "sea" / ".part-2.jpg").touch()   # of a picture in a subfolder
    (out / ".part-1.csv").touch()
    with result_store.ResultStore(out, f"folder {folder.resolve()}") as store:
        done = store._execute("select count(*) from results")[0][0]
    assert 3 <= done < 40 and not (out / "faces.csv").exists()
    labelled = []
    label = labelling.label_image
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "label_image", lambda task: (labelled.append(task), label(task))[1])
        table = batch.label_folder(folder, out, n_jobs=1)
    assert len(labelled) == 40 - done and len(table) == 160
    assert not [path for path in out.rglob("*") if "part" in path.name]


def processes():
    """The processes of this machine: (pid, pid of the parent, command line)."""
    lines = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    return [(int(pid), int(parent), args) for pid, parent, args in (line.split(None, 2) for line in lines)]


FULL = """
import resource, signal, batch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try: batch.label_folder({folder!r}, {out!r}, n_jobs=1)
except OSError as problem: print(problem)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("limit", [0, 10_000, 25_000])
@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_loses_nothing(limit, holiday, tmp_path):
    out = tmp_path / "out"
    done = in_python(FULL.format(limit=limit, folder=str(holiday), out=str(out)), ROOT)
    assert "can't be written" in done.stdout and "make room on the disk" in done.stdout, done.stderr
    assert not [path for path in out.rglob("*.jpg") if cv2.imread(str(path)) is None]
    if limit:
        pd.testing.assert_frame_equal(batch.label_folder(holiday, out, n_jobs=1), fresh(holiday, tmp_path))


# ------------------------------------------------------------------ any name, any file

NAMES = ["NA", "null", "a\nb", 'say "cheese"', "-rf", " lead", "trail ", "é", "e\u0301", "猫🐱", "x" * 251, "ß" * 125, "a;b", "#1", "=1+1",
         "a\rb", "\r", "~", "~nobody", "https:a"]


def test_any_file_name(tmp_path):
    folder = tmp_path / "näme 🐱"
    folder.mkdir()
    names = [os.fsencode(f"{name}.jpg") for name in NAMES] + [b"b\xe9t\xe9.jpg", b"\xff.jpg"] * (sys.platform == "linux")
    for name in names:
        shutil.copy(MEDIA / "clip_sad.jpg", os.path.join(os.fsencode(folder), name))
    table = batch.label_folder(folder, tmp_path / "out", n_jobs=1)
    assert sorted(table["file"]) == sorted(result_store.key_to_text(name) for name in names)
    assert set(table["label"]) == {"Sad"} and table["note"].isna().all()
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == len(names)
    pd.testing.assert_frame_equal(batch.label_folder(folder, tmp_path / "out", n_jobs=1), table)


@pytest.mark.parametrize("folder", [".", "~", "./~", "https:"])
def test_names_with_a_special_meaning_elsewhere(folder, tmp_path, monkeypatch):
    """A file or folder called ~ is not the home folder, and https: is not the web."""
    home, inside = tmp_path / "home", tmp_path / "work"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    (inside / "~").mkdir(parents=True)
    (inside / "https:").mkdir()
    home.mkdir()
    for name in ("~/zz.jpg", "~x.jpg", "https:a.jpg", "https:/b.jpg"):
        shutil.copy(MEDIA / "clip_sad.jpg", inside / name)
    shutil.copy(MEDIA / "clip_happy.jpg", home / "zz.jpg")
    monkeypatch.chdir(inside)
    table = batch.label_folder(folder, tmp_path / "out", n_jobs=1)
    assert table["note"].isna().all() and set(table["label"]) == ({"Happy"} if folder == "~" else {"Sad"})
    assert len(table) == (4 if folder == "." else 1)
    helpers.init_emotion()
    assert helpers.top_emotion(helpers.read_image("./~x.jpg"))[0] == "Sad"
    assert helpers.top_emotion(helpers.read_image("https:a.jpg"))[0] == "Sad"


@pytest.mark.slow
def test_the_current_folder_may_change_between_runs(tmp_path, monkeypatch):
    """Worker processes stay alive and keep their current folder."""
    monkeypatch.setattr(batch, "MIN_PARALLEL_SECONDS", 0)
    for day, name in (("one", "clip_sad.jpg"), ("two", "clip_happy.jpg")):
        (tmp_path / day / "pics").mkdir(parents=True)
        for number in range(8):
            shutil.copy(MEDIA / name, tmp_path / day / "pics" / f"{number}.jpg")
    for day, label in (("one", "Sad"), ("two", "Happy")):
        monkeypatch.chdir(tmp_path / day)
        assert batch.label_folder("pics", "out", n_jobs=2)["label"].tolist() == [label] * 8
        assert len(list((tmp_path / day / "out" / "pictures").iterdir())) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_note_about_any_file_name(tmp_path):
    folder = tmp_path / os.fsdecode(b"n\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"bad\xe9.jpg")).write_bytes((MEDIA / "obama.jpg").read_bytes()[:5000])
    (row,) = batch.label_folder(folder, tmp_path / "out", n_jobs=1).itertuples()
    assert row.file == "bad\\xe9.jpg" and "bad\\xe9.jpg" in row.note


@pytest.mark.skipif(os.name != "posix", reason="has no such files")
def test_what_is_not_a_picture_file_gets_a_note(holiday, tmp_path):
    os.mkfifo(holiday / "pipe.jpg")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(MEDIA / "obama.jpg", tmp_path / "elsewhere")
    (holiday / "link").symlink_to(tmp_path / "elsewhere")
    (holiday / "loop").symlink_to(holiday)
    (holiday / "broken link.jpg").symlink_to(tmp_path / "gone.jpg")
    (holiday / "good link.jpg").symlink_to(tmp_path / "elsewhere" / "obama.jpg")
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1).set_index("file")
    assert "a pipe" in table["note"]["pipe.jpg"] and table["note"]["broken link.jpg"] == f"no picture at {holiday / 'broken link.jpg'}"
    assert "links to folders" in table["note"]["link"] and "links to folders" in table["note"]["loop"]
    assert table["label"]["good link.jpg"] == "Happy"


def test_a_folder_named_like_a_copy_causes_no_conflict(tmp_path):
    folder, out = tmp_path / "c", tmp_path / "out"
    (folder / "a.jpg.jpg").mkdir(parents=True)
    (folder / "a.jpg.jpg~").mkdir()
    for name in ("a.jpg", "a.jpg.jpg/b.jpg", "a.jpg.jpg~/b.jpg"):
        shutil.copy(MEDIA / "clip_sad.jpg", folder / name)
    table = batch.label_folder(folder, out, n_jobs=1)
    assert table["label"].tolist() == ["Sad"] * 3 and table["note"].isna().all()
    assert sum(path.is_file() for path in (out / "pictures").rglob("*")) == 3


def test_a_file_that_vanishes_while_it_is_labelled_costs_only_itself(holiday, tmp_path, monkeypatch):
    draw = helpers.draw
    monkeypatch.setattr(helpers, "draw", lambda image, faces: (
        (holiday / "a,b.jpg").unlink() if len(faces) == 4 else None, draw(image, faces))[1])
    first = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    assert first["file"].nunique() == 5
    assert batch.label_folder(holiday, tmp_path / "out", n_jobs=1)["file"].nunique() == 4


def test_results_of_other_runs_in_the_folder_are_not_pictures(holiday):
    batch.label_folder(holiday, holiday / "results" / "a", n_jobs=1)
    second = batch.label_folder(holiday, holiday / "results" / "b", confidence=0.6, n_jobs=1)
    assert second["file"].nunique() == 5


def test_what_cannot_be_read_is_named_with_advice(holiday, tmp_path):
    shutil.copy(MEDIA / "obama.jpg", holiday / "really a jpeg.psd")
    (holiday / "IMG_1.CR2").write_bytes(b"II*\0raw")
    (holiday / "sea" / "text.png").write_text("hello")
    table = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)
    notes = table.set_index("file")["note"]
    assert table.set_index("file")["label"]["really a jpeg.psd"] == "Happy"
    assert "JPEG" in notes["IMG_1.CR2"] and "not a picture" in notes["sea/text.png"]
    assert table.set_index("file")["face"][["IMG_1.CR2", "sea/text.png"]].isna().all()


def test_results_inside_the_folder_and_hidden_files_are_not_labelled(holiday):
    shutil.copy(MEDIA / "obama.jpg", holiday / ".hidden.jpg")
    (holiday / ".trash").mkdir()
    shutil.copy(MEDIA / "obama.jpg", holiday / ".trash")
    first = batch.label_folder(holiday, holiday / "out", n_jobs=1)
    pd.testing.assert_frame_equal(batch.label_folder(holiday, holiday / "out", n_jobs=1), first)
    assert first["file"].nunique() == 5


@pytest.mark.parametrize("give, kind, words", [
    (lambda folder: dict(folder=folder / "gone"), FileNotFoundError, "no folder at"),
    (lambda folder: dict(folder=folder / "empty"), ValueError, "no picture in"),
    (lambda folder: dict(folder=""), ValueError, "the path is empty"), (lambda folder: dict(out=""), ValueError, "the path is empty"),
    (lambda folder: dict(n_jobs=0), ValueError, "n_jobs is 0"),
    (lambda folder: dict(detector="yolo"), ValueError, "detector is 'yolo'"),
    (lambda folder: dict(confidence=50), ValueError, "confidence is 50"),
    (lambda folder: dict(out=folder.parent / "full"), ValueError, "contains other files"),
    (lambda folder: dict(out=folder / "a,b.jpg"), OSError, "can't be written to"),
    (lambda folder: dict(model=folder / "notes.txt"), ValueError, "notes.txt"),
    (lambda folder: dict(model=folder / "gone.onnx"), FileNotFoundError, "gone.onnx")])
def test_folders_that_can_not_be_labelled(holiday, give, kind, words, tmp_path):
    for name in ("holiday/empty", "full/of"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(kind, match=words):
        batch.label_folder(**{"folder": holiday, "out": tmp_path / "out", **give(holiday)})
    assert not (tmp_path / "out").exists() and not (holiday / "results.sqlite").exists()


# ------------------------------------------------------------------ it just runs

def test_the_loaded_network_is_used_and_never_swapped(holiday, tmp_path, network_saying, pictures):
    helpers.init_emotion(network_saying([0, 0, 0, 9, 0, 0, 0, 0]))
    assert set(batch.label_folder(holiday, tmp_path / "sad", n_jobs=1)["label"].dropna()) == {"Sad"}
    table = batch.label_folder(holiday, tmp_path / "own", n_jobs=1, model=helpers.MODEL_PATH)
    assert set(table["label"].dropna()) == {"Neutral", "Happy", "Sad"}
    assert helpers.detect_emotions(pictures["obama"])[0]["label"] == "Sad"


PROGRAM = """
import batch
batch.MIN_PARALLEL_SECONDS = 0
table = batch.label_folder({folder!r}, {out!r}, n_jobs=2)
print(len(table), table["label"].dropna().tolist())
"""


@pytest.mark.parametrize("way", ["script", "stdin"])
@pytest.mark.slow
def test_processes_need_no_main_guard(way, holiday, tmp_path):
    program = PROGRAM.format(folder=str(holiday), out=str(tmp_path / "out"))
    (tmp_path / "mine.py").write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, *(["mine.py"] if way == "script" else ["-"])], cwd=tmp_path, capture_output=True,
                          text=True, input=program if way == "stdin" else None, env={**os.environ, "PYTHONUTF8": "1"})
    assert done.stdout == "8 ['Neutral', 'Happy', 'Happy', 'Happy', 'Sad', 'Happy']\n", done.stderr


@pytest.mark.slow
def test_several_processes_give_the_same_table(holiday, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "MIN_PARALLEL_SECONDS", 0)
    pd.testing.assert_frame_equal(batch.label_folder(holiday, tmp_path / "out", n_jobs=2), fresh(holiday, tmp_path))


def test_little_work_starts_no_process(holiday, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "_spread_safely", lambda *_: pytest.fail("a process was started"))
    assert len(batch.label_folder(holiday, tmp_path / "out")) == 8


DEADLY = """
import os, sys
if os.environ.get("CALLER"):
    import imagefiles
    decode = imagefiles.read
    def deadly(path):
        if path.name == "deadly.jpg" and os.getpid() != int(os.environ["CALLER"]):
            os.kill(os.getpid(), 9)
        return decode(path)
    imagefiles.read = deadly
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.slow
def test_a_picture_that_ends_its_process_is_named_and_the_rest_is_done(holiday, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DEADLY)
    for name in ("deadly.jpg", "t1.jpg", "t2.jpg", "t3.jpg", "t4.jpg"):
        shutil.copy(MEDIA / "clip_sad.jpg", holiday / "sea" / name)
    code = ("import os; os.environ['CALLER'] = str(os.getpid())\nimport batch; batch.MIN_PARALLEL_SECONDS = 0\n"
            f"batch.label_folder({str(holiday)!r}, {str(tmp_path / 'out')!r}, n_jobs=2)")
    done = in_python(code, ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")})
    assert done.returncode == 0, done.stderr
    table = batch.read_table(tmp_path / "out" / "faces.csv").set_index("file")
    assert table["note"].dropna().filter(like="sea/").index.tolist() == ["sea/deadly.jpg"]
    assert "killed by the system" in table["note"]["sea/deadly.jpg"] and (table["label"].filter(like="sea/t") == "Sad").all()
    again = batch.label_folder(holiday, tmp_path / "out", n_jobs=1)                 # tried again, and now it lives
    pd.testing.assert_frame_equal(again, fresh(holiday, tmp_path))


@pytest.mark.slow
def test_a_cluster_of_processes(holiday, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
          distributed.Client(cluster), joblib.parallel_config(backend="dask")):
        table = batch.label_folder(holiday, tmp_path / "out")
    pd.testing.assert_frame_equal(table, fresh(holiday, tmp_path))


# ------------------------------------------------------------------ python -m batch

def command(*arguments, cwd):
    return subprocess.run([sys.executable, "-m", "batch", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "120"})


@pytest.mark.slow
def test_the_command_labels_a_folder(holiday, tmp_path):
    done = command("pictures", "holiday", "out", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout.startswith("6 faces in 5 files: ")         # 1: one file can't be read
    assert "broken.jpg: " in done.stderr and "nobody" not in done.stderr.replace("nobody.png.jpg", "")
    (holiday / "broken.jpg").unlink()
    done = command("pictures", "holiday", "out", "--jobs", "1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"6 faces in 4 files: {os.path.join('out', 'faces.csv')}\n")


@pytest.mark.parametrize("arguments, code, words", [
    (["--help"], 0, "pictures"), (["pictures", "--help"], 0, "--confidence"), (["clip", "--help"], 0, "--no-copy"),
    ([], 2, "required"), (["pictures", "gone", "out"], 2, "no folder at"), (["pictures", "holiday", "out", "--jobs", "0"], 2, "n_jobs is 0"),
    (["pictures", "holiday", "out", "--detector", "yolo"], 2, "invalid choice"), (["clip", "gone.mp4", "out"], 2, "no clip at")])
@pytest.mark.slow
def test_the_command_says_what_is_wrong(arguments, code, words, holiday, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == code and words in done.stdout + done.stderr and "Traceback" not in done.stderr


# ------------------------------------------------------------------ clips

def short_clip(path, frames=40):
    """The first frames of the clip, at 25 per second, as WebM."""
    with video.Reader(MEDIA / "sad_to_happy.mp4") as clip, video.Writer(path, 25) as short:
        for _, (_, frame) in zip(range(frames), clip):
            short.write(frame)
    return path


def test_a_clip_becomes_a_table_and_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "CHUNK_FRAMES", 12)
    clip = short_clip(tmp_path / "short.webm")
    table = batch.label_clip(clip, tmp_path / "out")
    assert table["frame"].tolist() == list(range(40)) and table["face"].nunique() == 1
    helpers.init_emotion()
    with video.ExpressionTracker() as tracker:
        expected = video.timeline(clip, tracker.update)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    with video.Reader(tmp_path / "out" / "annotated.webm") as copy, video.Reader(clip) as original:
        pairs = [(a, b) for a, b in zip(copy, original)]
    assert [a[0] for a, _ in pairs] == pytest.approx([b[0] for _, b in pairs], abs=0.002)     # table and copy agree on time
    copied, frame = (picture[1].astype(int) for picture in pairs[20])
    row = table.loc[20].to_dict()
    drawn = helpers.draw(frame.astype(np.uint8), [{"box": [row[side] for side in "xywh"], "label": row["label"],
                                                   "emotions": {name: row[name] for name in helpers.EMOTIONS}}])
    assert len(pairs) == 40
    assert np.abs(copied - drawn).mean() < 5 and np.abs(copied - drawn).mean() < np.abs(copied - frame).mean()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["annotated.webm", "results.sqlite", "timeline.csv"]


def test_a_doubtful_face_shows_how_doubtful_it_is_in_the_copy_of_a_clip(tmp_path):
    """The clip repeats a frame in which a hand covers half of the face."""
    with video.Reader(MEDIA / "sad_to_happy.mp4") as original:
        frame = next(frame for number, (_, frame) in enumerate(original) if number == 72)
    clip = tmp_path / "hand.webm"
    with video.Writer(clip, 25) as writer:
        for _ in range(30):
            writer.write(frame)
    row = batch.label_clip(clip, tmp_path / "out").iloc[29].to_dict()
    assert row["confidence"] < helpers.FACE_THRESHOLD
    with video.Reader(clip) as original, video.Reader(tmp_path / "out" / "annotated.webm") as copy:
        frame, copied = ([picture for _, picture in reader][29] for reader in (original, copy))
    face = {"box": [row[side] for side in "xywh"], "label": row["label"], "emotions": {name: row[name] for name in helpers.EMOTIONS}}
    shown, hidden = (np.abs(helpers.draw(frame, [{**face, "confidence": c}]).astype(int) - copied).mean()
                     for c in (row["confidence"], 1.0))
    assert shown < hidden - 0.2


def interrupt_after(count, monkeypatch, calls):
    """Interrupt the tracker at its count-th frame; count 0: never. The times of the frames go into `calls`."""
    update = video.ExpressionTracker.update

    def spy(self, frame, seconds):
        calls.append(seconds)
        if len(calls) == count:
            raise KeyboardInterrupt
        return update(self, frame, seconds)

    monkeypatch.setattr(video.ExpressionTracker, "update", spy)


@pytest.mark.parametrize("interrupts", [[30], [13, 14], [1, 39]])
@pytest.mark.slow
def test_an_interrupted_clip_gives_what_an_uninterrupted_one_gives(interrupts, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "CHUNK_FRAMES", 12)
    clip, out = short_clip(tmp_path / "short.webm"), tmp_path / "out"
    whole = batch.label_clip(clip, tmp_path / "whole")
    for count in interrupts:
        with monkeypatch.context() as patch:
            interrupt_after(count, patch, [])
            with pytest.raises(KeyboardInterrupt):
                batch.label_clip(clip, out)
    assert not (out / "timeline.csv").exists()
    calls = []
    interrupt_after(0, monkeypatch, calls)
    pd.testing.assert_frame_equal(batch.label_clip(clip, out), whole)              # ids, labels, everything
    assert len(calls) <= 40
    assert (out / "timeline.csv").read_bytes() == (tmp_path / "whole" / "timeline.csv").read_bytes()
    calls.clear()
    pd.testing.assert_frame_equal(batch.label_clip(clip, out), whole)
    assert calls == []


def test_an_interrupted_drawing_leaves_nothing_half_written(tmp_path, monkeypatch):
    clip, out = short_clip(tmp_path / "short.webm", 8), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(video.Writer, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            batch.label_clip(clip, out)
    assert sorted(path.name for path in out.iterdir()) == ["results.sqlite", "timeline.csv"]
    batch.label_clip(clip, out)
    assert (out / "annotated.webm").is_file()


@pytest.mark.parametrize("problem", [OSError("no room"), ValueError("too large for VP9")])
def test_a_copy_that_cannot_be_written_costs_no_label(problem, tmp_path, monkeypatch):
    clip, out = short_clip(tmp_path / "short.webm", 40), tmp_path / "out"
    expected = batch.label_clip(clip, out)
    before = (out / "annotated.webm").read_bytes()
    frames, write = [], video.Writer.write

    def fail_at_the_fifth(writer, frame, seconds):
        frames.append(seconds)
        if len(frames) == 5:
            raise problem
        write(writer, frame, seconds)

    with monkeypatch.context() as patch:
        patch.setattr(video.Writer, "write", fail_at_the_fifth)
        with pytest.raises(type(problem), match=str(problem)):
            batch.label_clip(clip, out, confidence=0.6)
    assert len(frames) == 5 and (out / "annotated.webm").read_bytes() == before
    assert len(batch.read_table(out / "timeline.csv")) == len(expected)
    calls = []
    interrupt_after(0, monkeypatch, calls)
    batch.label_clip(clip, out, confidence=0.6)
    assert calls == [] and (out / "annotated.webm").is_file()      # the table was complete, only the copy was left to do


def test_an_interrupt_while_labelling_leaves_no_copy(tmp_path, monkeypatch):
    clip, out = short_clip(tmp_path / "short.webm", 40), tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_after(30, patch, [])
        with pytest.raises(KeyboardInterrupt):
            batch.label_clip(clip, out)
    assert [path.name for path in out.iterdir()] == ["results.sqlite"]


def test_another_way_of_drawing_draws_the_copy_again_and_labels_nothing(tmp_path, monkeypatch):
    clip, out = short_clip(tmp_path / "short.webm", 8), tmp_path / "out"
    table = batch.label_clip(clip, out)
    drawn = (out / "annotated.webm").stat().st_mtime_ns
    calls = []
    interrupt_after(0, monkeypatch, calls)
    batch.label_clip(clip, out)
    assert (out / "annotated.webm").stat().st_mtime_ns == drawn
    true = result_store.digest_of_file
    monkeypatch.setattr(result_store, "digest_of_file", lambda path: "0" if path == ROOT / "batch.py" else true(path))
    monkeypatch.setattr(result_store, "LOADED_CODE", {})
    pd.testing.assert_frame_equal(batch.label_clip(clip, out), table)
    with video.Reader(out / "annotated.webm") as copy:
        assert sum(1 for _ in copy) == 8 and calls == []


@pytest.mark.parametrize("change", ["clip", "model", "detector", "confidence"])
@pytest.mark.slow
def test_a_changed_clip_or_option_does_everything_again(change, tmp_path, monkeypatch, network_saying):
    clip, out, options = short_clip(tmp_path / "short.webm", 20), tmp_path / "out", {}
    batch.label_clip(clip, out)
    if change == "clip":
        times = clip.stat()
        clip.unlink()
        short_clip(clip, 16)
        os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        options = {"model": network_saying([0, 0, 0, 9, 0, 0, 0, 0]), "detector": "haar", "confidence": 0.95}
        options = {change: options[change]}
    calls = []
    interrupt_after(0, monkeypatch, calls)
    table = batch.label_clip(clip, out, **options)
    assert len(calls) == (16 if change == "clip" else 20)
    pd.testing.assert_frame_equal(table, batch.label_clip(clip, tmp_path / "fresh", **options))
    with video.Reader(out / "annotated.webm") as copy:
        assert sum(1 for _ in copy) == (16 if change == "clip" else 20)


def test_a_copy_of_other_labels_does_not_stay_beside_a_new_table(tmp_path):
    clip, out = short_clip(tmp_path / "short.webm", 6), tmp_path / "out"
    batch.label_clip(clip, out)
    batch.label_clip(clip, out, annotated=False)
    assert (out / "annotated.webm").is_file()                    # still right
    batch.label_clip(clip, out, annotated=False, confidence=0.6)
    assert not (out / "annotated.webm").exists()


def test_a_clip_replaced_while_it_is_labelled_is_refused(tmp_path, monkeypatch):
    clip, other, out = short_clip(tmp_path / "short.webm", 6), short_clip(tmp_path / "other.webm", 8), tmp_path / "out"
    data, digest = clip.read_bytes(), result_store.digest_of_file

    def swap(path):
        found = digest(path)
        if path == clip:
            shutil.copy(other, clip)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(result_store, "digest_of_file", swap)
        with pytest.raises(OSError, match="short.webm was changed while it was being labelled: run the same line again"):
            batch.label_clip(clip, out)
    clip.write_bytes(data)
    assert batch.label_clip(clip, out)["frame"].nunique() == 6


@pytest.mark.parametrize("frames", [4, 8, 12])
def test_a_clip_replaced_while_only_its_copy_is_drawn_is_refused(frames, tmp_path, monkeypatch):
    clip, out = short_clip(tmp_path / "short.webm", 8), tmp_path / "out"
    whole, content = batch.label_clip(clip, out), clip.read_bytes()
    (out / "annotated.webm").unlink()
    table = (out / "timeline.csv").read_bytes()
    kept_parts = batch._kept_parts

    def replaced(*args):
        clip.unlink()
        short_clip(clip, frames)
        return kept_parts(*args)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "_kept_parts", replaced)
        with pytest.raises(OSError, match="was changed while it was being labelled"):
            batch.label_clip(clip, out)
    assert (out / "timeline.csv").read_bytes() == table and not (out / "annotated.webm").exists()
    clip.write_bytes(content)
    pd.testing.assert_frame_equal(batch.label_clip(clip, out), whole)
    with video.Reader(out / "annotated.webm") as copy:
        assert sum(1 for _ in copy) == 8


def test_a_copy_that_was_finished_but_not_recorded_does_not_stay_beside_other_labels(tmp_path, monkeypatch):
    clip, out = short_clip(tmp_path / "short.webm", 4), tmp_path / "out"
    finish = batch._Copy.finish

    def interrupted(copy):
        finish(copy)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch._Copy, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batch.label_clip(clip, out)
    assert (out / "annotated.webm").exists()
    batch.label_clip(clip, out, annotated=False, confidence=1.0)
    assert not (out / "annotated.webm").exists()


def test_a_copy_of_a_clip_whose_content_was_lost_is_drawn_again(tmp_path):
    clip, out = short_clip(tmp_path / "short.webm", 4), tmp_path / "out"
    batch.label_clip(clip, out)
    copy = out / "annotated.webm"
    copy.write_bytes(bytes(copy.stat().st_size))
    batch.label_clip(clip, out)
    with video.Reader(copy) as frames:
        assert sum(1 for _ in frames) == 4


def test_a_clip_cut_short_is_reported_each_time(tmp_path):
    clip = short_clip(tmp_path / "short.webm", 40)
    clip.write_bytes(clip.read_bytes()[:clip.stat().st_size // 2])
    for _ in range(2):
        with pytest.warns(video.ClipWarning, match="short.webm (ends after|is damaged)"):
            batch.label_clip(clip, tmp_path / "out", annotated=False)


def test_frames_far_apart_all_get_a_label(tmp_path):
    """A time lapse: one frame every two seconds."""
    clip = tmp_path / "slow.webm"
    with video.Reader(MEDIA / "sad_to_happy.mp4") as original, video.Writer(clip, 25) as slow:
        for number, (_, frame) in zip(range(6), original):
            slow.write(frame, 2.0 * number)
    table = batch.label_clip(clip, tmp_path / "out")
    assert table["seconds"].tolist() == [0, 2, 4, 6, 8, 10] and table["label"].notna().all()


def test_the_loaded_network_is_used_for_clips_and_never_swapped(tmp_path, network_saying, pictures):
    clip = short_clip(tmp_path / "short.webm", 6)
    helpers.init_emotion(network_saying([0, 0, 0, 9, 0, 0, 0, 0]))
    assert set(batch.label_clip(clip, tmp_path / "out", annotated=False)["label"]) == {"Sad"}
    own = batch.label_clip(clip, tmp_path / "own", model=helpers.MODEL_PATH, annotated=False)
    assert own[list(helpers.EMOTIONS)].max(axis=None) < 0.999 and not (tmp_path / "own" / "annotated.webm").exists()
    assert helpers.detect_emotions(pictures["obama"])[0]["label"] == "Sad"


def test_clips_that_can_not_be_labelled(tmp_path):
    with pytest.raises(FileNotFoundError):
        batch.label_clip(tmp_path / "gone.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_minimum_confidence_is_that_of_every_face_in_the_table(holiday, tmp_path):
    plain, strict = (fresh(holiday, tmp_path, **options)["confidence"].dropna() for options in ({}, {"confidence": 0.99}))
    assert plain.min() < 0.99 <= strict.min()


def test_long_names_that_differ_at_the_end_get_copies_of_their_own():
    names = [f"{'x' * 244}{end}.jpg" for end in "ab"] + [f"{'x' * 244}a.png"]
    copies = {labelling.copy_name(name) for name in names}
    assert len(copies) == 3 and all(len(os.fsencode(copy)) <= 255 for copy in copies)


def test_the_command_uses_the_given_network(holiday, tmp_path, network_saying):
    network = network_saying([0, 0, 0, 9, 0, 0, 0, 0])
    assert batch.main(["pictures", str(holiday / "sea"), str(tmp_path / "out"), "--jobs", "1", "--model", str(network)]) == 0
    assert set(batch.read_table(tmp_path / "out" / "faces.csv")["label"]) == {"Sad"}
