"""batch.py: many pictures and long clips, stopped and gone on with; broken files are named, nothing is half-written."""
import io
import shutil

import batch
import cv2
import helpers
import numpy as np
import pandas as pd
import pytest
import video
from conftest import ROOT
from PIL import Image


@pytest.fixture
def holiday(tmp_path):
    """Two faces in a subfolder, four in one picture, one picture without, one broken, one that is no picture."""
    folder = tmp_path / "holiday"
    (folder / "sea").mkdir(parents=True)
    shutil.copy(ROOT / "Media" / "obama.jpg", folder / "sea" / "Ü bermut.jpg")
    shutil.copy(ROOT / "Media" / "clip_sad.jpg", folder / "sea")
    shutil.copy(ROOT / "Media" / "four_people.jpg", folder / "a,b.jpg")
    cv2.imwrite(str(folder / "nobody.png"), np.full((200, 200, 3), 128, np.uint8))
    (folder / "broken.jpg").write_bytes((ROOT / "Media" / "obama.jpg").read_bytes()[:5000])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_becomes_a_table_and_copies(holiday, tmp_path):
    out = tmp_path / "out"
    table = batch.label_folder(holiday, out, workers=2)
    assert table["picture"].tolist() == ["a,b.jpg"] * 4 + ["broken.jpg", "nobody.png", "sea/clip_sad.jpg", "sea/Ü bermut.jpg"]
    assert table["label"].dropna().tolist() == ["Neutral", "Happy", "Happy", "Happy", "Sad", "Happy"]
    notes = table.set_index("picture")["note"].dropna()
    assert list(notes.index) == ["broken.jpg", "nobody.png"] and notes["nobody.png"] == "no face found"
    assert "broken.jpg" in notes["broken.jpg"]
    assert np.allclose(table[list(helpers.EMOTIONS)].sum(axis=1)[table["label"].notna()], 1, atol=1e-3)

    helpers.init_emotion()
    image = helpers.read_image(holiday / "a,b.jpg")
    faces = helpers.detect_emotions(image)
    assert table[list("xywh")][:4].values.tolist() == [face["box"] for face in faces]
    copy = cv2.imread(str(out / "pictures" / "a,b.jpg.jpg"))
    assert np.abs(copy.astype(int) - helpers.draw(image, faces)).mean() < 3
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "a,b.jpg.jpg", "clip_sad.jpg.jpg", "faces.csv", "nobody.png.jpg", "source.json", "Ü bermut.jpg.jpg"]


def test_a_folder_goes_on_where_it_was(holiday, tmp_path, monkeypatch):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, workers=1)
    text = (out / "faces.csv").read_bytes()
    lines = text.splitlines(True)
    asked = []
    in_processes = batch._in_processes
    monkeypatch.setattr(batch, "_in_processes", lambda left, *rest: (asked.append([path.name for path in left]),
                                                                     in_processes(left, *rest))[1])
    # ended within the third row of the group picture: its rows are not to be trusted, and are made anew
    (out / "faces.csv").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, workers=1), whole)
    assert (out / "faces.csv").read_bytes() == text and len(asked[0]) == 5
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, workers=1), whole)     # all done: nothing to ask
    assert asked[1] == []
    shutil.copy(ROOT / "Media" / "clip_happy.jpg", holiday / "new.jpg")
    assert batch.label_folder(holiday, out, workers=1)["picture"].iloc[-1] == "new.jpg" and asked[2] == ["new.jpg"]


def test_a_group_cut_between_two_rows_is_done_again(holiday, tmp_path):
    out = tmp_path / "out"
    whole = batch.label_folder(holiday, out, workers=1)
    lines = (out / "faces.csv").read_bytes().splitlines(True)
    (out / "faces.csv").write_bytes(b"".join(lines[:3]))
    pd.testing.assert_frame_equal(batch.label_folder(holiday, out, workers=1), whole)


@pytest.mark.parametrize("give, kind, words", [
    (lambda folder: dict(folder=folder / "gone"), FileNotFoundError, "no folder at"),
    (lambda folder: dict(folder=folder / "empty"), ValueError, "no picture in"),
    (lambda folder: dict(workers=0), ValueError, "workers is 0"),
    (lambda folder: dict(out=folder.parent / "full"), ValueError, "holds other files"),
    (lambda folder: dict(model=folder / "notes.txt"), ValueError, "notes.txt")])
def test_folders_that_can_not_be_labelled(holiday, give, kind, words, tmp_path):
    for name in ("holiday/empty", "full/of"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(kind, match=words):
        batch.label_folder(**{"folder": holiday, "out": tmp_path / "out", **give(holiday)})
    assert not (tmp_path / "out").exists() and not (holiday / "source.json").exists()


def test_results_of_another_folder_are_kept(holiday, tmp_path):
    batch.label_folder(holiday, tmp_path / "out", workers=1)
    with pytest.raises(ValueError, match="holds results of"):
        batch.label_folder(holiday / "sea", tmp_path / "out")


def test_a_clip_becomes_a_table_and_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "PART", 0.5)
    clip = short_clip(tmp_path / "short.webm")
    table = batch.label_clip(clip, tmp_path / "out")
    assert table["frame"].tolist() == list(range(40)) and table["face"].nunique() == 1
    helpers.init_emotion()
    with video.Live() as live:
        expected = video.timeline(clip, live.update)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    with video.Reader(tmp_path / "out" / "annotated.webm") as copy, video.Reader(clip) as original:
        pairs = [(a[1], b[1]) for a, b in zip(copy, original)]
    copied, frame = (picture.astype(int) for picture in pairs[20])
    row = table.loc[20].to_dict()
    drawn = helpers.draw(frame.astype(np.uint8), [{"box": [row[side] for side in "xywh"], "label": row["label"], "emotions": row}])
    assert len(pairs) == 40
    assert np.abs(copied - drawn).mean() < 5 and np.abs(copied - drawn).mean() < np.abs(copied - frame).mean()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["annotated.webm", "source.json", "timeline.csv"]


def test_a_clip_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "PART", 0.5)
    clip, out = short_clip(tmp_path / "short.webm"), tmp_path / "out"
    update, calls = video.Live.update, []

    def interrupted(self, frame, seconds):
        calls.append(seconds)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return update(self, frame, seconds)

    monkeypatch.setattr(video.Live, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batch.label_clip(clip, out)
    assert sorted(path.name for path in out.iterdir()) == ["part00000.csv", "part00001.csv", "source.json"]
    calls.clear()
    monkeypatch.setattr(video.Live, "update", lambda self, frame, seconds: (calls.append(seconds), update(self, frame, seconds))[1])
    table = batch.label_clip(clip, out)
    assert table["frame"].tolist() == list(range(40)) and calls[0] == pytest.approx(1.0, abs=0.05)
    assert table["face"].dropna().unique().tolist() == [0, 1]                      # a new id after the interrupt

    monkeypatch.setattr(video.Writer, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    (out / "annotated.webm").unlink()
    with pytest.raises(KeyboardInterrupt):
        batch.label_clip(clip, out)
    assert sorted(path.name for path in out.iterdir()) == ["source.json", "timeline.csv"]


def test_clips_that_can_not_be_labelled(tmp_path):
    with pytest.raises(FileNotFoundError):
        batch.label_clip(tmp_path / "gone.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def short_clip(path):
    """Forty frames of the clip, 1.6 seconds, as WebM."""
    with video.Reader(ROOT / "Media" / "sad_to_happy.mp4") as clip, video.Writer(path, 25) as short:
        for _, (_, frame) in zip(range(40), clip):
            short.write(frame)
    return path


# ------------------------------------------------------------------ the field for one picture (in a browser: test_webcam_browser.py)

def give(box, name, content, piece=100_000):
    """As the page sends a file: in pieces."""
    for begin in range(0, max(len(content), 1), piece):
        message = {"name": name, "begin": begin, "size": len(content)}
        box.children[0]._handle_custom_msg(message, [memoryview(content[begin:begin + piece])])


@pytest.mark.parametrize("name, content, words", [
    ("empty.jpg", b"", "empty.jpg is an empty file"), ("letter.jpg", b"Dear all", "letter.jpg is no picture"),
    ("cut.jpg", (ROOT / "Media" / "obama.jpg").read_bytes()[:5000], "cut.jpg can't be read whole")])
def test_what_is_dropped_and_is_no_picture_is_named(name, content, words, capsys):
    helpers.init_emotion()
    give(batch.upload(), name, content)
    said = capsys.readouterr().out.replace("\x1b[2K\r", "")      # how a terminal clears an output
    assert said.startswith(words) and "/" not in said.split("(")[0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_dropped_picture_is_shown_upright_and_labelled(orientation, monkeypatch):
    """6: the camera lay on its side, and the picture is stored so."""
    helpers.init_emotion()
    shown = []
    monkeypatch.setattr(helpers, "show", shown.append)
    picture = Image.open(ROOT / "Media" / "obama.jpg")
    exif, file = picture.getexif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = picture.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture
    stored.save(file, "PNG", exif=exif)
    box = batch.upload()
    give(box, "torn.png", file.getvalue()[:300_000], piece=400_000)           # a new picture drops the pieces of one before
    give(box, "o.png", file.getvalue())
    expected = helpers.emotion(cv2.cvtColor(np.array(picture), cv2.COLOR_RGB2BGR), returndata=True)
    assert len(shown) == 1 and np.array_equal(shown[0], expected)
    assert not [name for name, value in box.children[0].get_state().items() if isinstance(value, (bytes, memoryview))]
