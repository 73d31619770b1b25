"""Many pictures, long clips: a table and an annotated copy of each, stopped and gone on with at will. Notebook 18.

    import batch
    faces = batch.label_folder("holiday", "results/holiday")       # a pandas table, one row per face
    moments = batch.label_clip("party.mp4", "results/party")       # one row per face and frame

Run the same line again after an interrupt: what is done is not done again. What can't be read is named in the table
and passed over. Nothing of the folder or clip itself is changed.
"""
import contextlib
import csv
import itertools
import json
import multiprocessing
import os
import signal
import tempfile
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import anywidget
import cv2
import ipywidgets
import pandas as pd
from tqdm.auto import tqdm

import helpers
import video

COLUMNS = ["picture", "faces", "face", *"xywh", "label", "confidence", *helpers.EMOTIONS, "note"]
PART = 60.0            # seconds of a clip; after an interrupt at most so much is done again


# ---------------------------------------------------------------- a folder of pictures

def label_folder(folder, out, workers=None, model=helpers.MODEL):
    """Label every picture in a folder and its subfolders: a table, and an annotated copy of each in out/pictures.

    workers : processes that share the work, None for one per core. model : path of the network.
    Returns the table, which is also kept as out/faces.csv: picture (path inside the folder), faces (how many
    it shows), face (0 is the leftmost), x, y, w, h in pixels, label, confidence, the eight probabilities, note. A
    picture without a face, or one that can't be read, has one row with a note that says so.
    Raises FileNotFoundError for a missing folder, ValueError for a folder without pictures or an `out` that holds
    results of something else, RuntimeError when a process died, and what helpers.load_network raises.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder.resolve()}: give the path of the folder with your pictures")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers is {workers!r}: give a whole number of processes, or None for one per core")
    helpers.load_network(model)                        # a wrong network is told here, not by a process that died
    pictures = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in helpers.PICTURES and path.is_file()
                and not any(part.startswith(".") for part in path.relative_to(folder).parts)
                and out.resolve() not in path.resolve().parents]
    if not pictures:
        raise ValueError(f"no picture in {folder.resolve()}: it wants files that end in {', '.join(helpers.PICTURES)}")
    _claim(out, {"folder": str(folder.resolve())})
    table = out / "faces.csv"
    done = _finished_pictures(table)
    names = {path: path.relative_to(folder).as_posix() for path in pictures}
    left = [path for path in pictures if names[path] not in done]
    with (open(table, "a", newline="", encoding="utf-8") as file,
          tqdm(total=len(pictures), initial=len(pictures) - len(left), unit=" pictures") as bar):
        writer = csv.writer(file)
        for path, rows in _in_processes(left, out / "pictures", folder, workers, model):
            writer.writerows([names[path], *row] for row in rows)
            file.flush()
            bar.update()
    return read_table(table)


def read_table(path):
    """A table of label_folder or label_clip as pandas reads it: whole numbers for the box, nothing without a face."""
    return pd.read_csv(path, dtype={"picture": str, "label": str, "note": str}).astype(video.WHOLE)


@contextlib.contextmanager
def _whole(path):
    """A name beside `path` to write to: the file takes its place when the block ends, and goes when that fails."""
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _claim(out, source):
    """Make the folder `out`, or see that it holds results of the same source."""
    out.mkdir(parents=True, exist_ok=True)
    note = out / "source.json"
    if not note.exists():
        if any(out.iterdir()):
            raise ValueError(f"{out.resolve()} holds other files: give a new folder for the results")
        note.write_text(json.dumps(source), encoding="utf-8")
    elif (kept := json.loads(note.read_text(encoding="utf-8"))) != source:
        raise ValueError(f"{out.resolve()} holds results of {next(iter(kept.values()))}: "
                         "give another folder, or delete that one")


def _finished_pictures(table):
    """Names of the pictures whose rows are in the table. Where the last one's rows are not all there, they go."""
    rows = []
    if table.exists():
        text = table.read_bytes().decode("utf-8", "replace")
        rows = list(csv.reader(text[:text.rfind("\n") + 1].splitlines()))[1:]
        last = [row for row in rows if row[0] == rows[-1][0]]
        if last and len(last) != max(int(last[0][1]), 1):
            rows = rows[:-len(last)]
    with _whole(table) as part:
        with open(part, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    return {row[0] for row in rows}


def _in_processes(paths, copies, folder, workers, model):
    """(path, rows) of each picture, in order, from several processes; only a few pictures are on the way at a time."""
    if not paths:
        return
    workers = workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")     # the same on every system, and safe beside threads
    waiting, left = deque(), iter(paths)
    with ProcessPoolExecutor(workers, context, _start_worker, (model,)) as pool:
        try:
            while True:
                while len(waiting) < 4 * workers and (path := next(left, None)) is not None:
                    copy = (copies / path.relative_to(folder)).with_name(path.name + ".jpg")
                    waiting.append((path, pool.submit(label_picture, path, copy)))
                if not waiting:
                    return
                path, answer = waiting.popleft()
                yield path, answer.result()
        except BrokenProcessPool:
            raise RuntimeError(f"a process died at {path} or one of the next few pictures, for want of memory perhaps: "
                               "move that picture away and run the same line again, it goes on from here") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(model):
    signal.signal(signal.SIGINT, signal.SIG_IGN)       # an interrupt is for the notebook; it ends the workers
    cv2.setNumThreads(1)                               # one core each
    helpers.init_emotion(model)


def label_picture(path, copy):
    """Rows of one picture for the table, without its name; the annotated copy is written to `copy` (.jpg)."""
    try:
        image = helpers.read_image(path)
        faces = helpers.detect_emotions(image)
        save_picture(copy, helpers.draw(image, faces))
    except (OSError, ValueError, MemoryError, cv2.error) as problem:
        faces, note = [], " ".join(str(problem).split()) or type(problem).__name__
    else:
        note = "" if faces else "no face found"
    if note:
        return [[0] + [""] * (len(COLUMNS) - 3) + [note]]
    return [[len(faces), place, *face["box"], face["label"], round(face["confidence"], 4),
             *(round(value, 5) for value in face["emotions"].values()), ""] for place, face in enumerate(faces)]


def save_picture(path, image):
    """Write a picture, uint8 (H, W, 3) BGR, as JPEG: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _whole(path) as part:
        part.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


# ---------------------------------------------------------------- a long clip

def label_clip(source, out, annotated=True, model=helpers.MODEL):
    """Expressions over a whole clip: a table, and with `annotated` a copy with boxes and labels.

    Returns the table of video.timeline, kept as out/timeline.csv; the copy is out/annotated.webm, without sound.
    Each minute of the table is kept as it is done; the copy is drawn after that, in one go. A face that is seen
    across the moment where an interrupted run goes on gets a new id there. `model` is loaded as init_emotion(model)
    does. Raises as that and video.Reader do, and ValueError for an `out` with other results.
    """
    out = Path(out).expanduser()
    with video.Reader(source) as clip:
        if clip.camera:
            raise ValueError("label_clip wants a clip, a camera has no end: notebook 10 is about cameras")
        path = clip.source
    _claim(out, {"clip": str(path.resolve()), "bytes": path.stat().st_size})
    table = out / "timeline.csv"
    if not table.exists():
        helpers.init_emotion(model)
        _label_parts(path, out)
        parts = sorted(out.glob("part*.csv"))
        _save_table(pd.concat([read_table(part) for part in parts], ignore_index=True), table)
        for part in parts:
            part.unlink()
    faces = read_table(table)
    if annotated and not (out / "annotated.webm").exists():
        with _whole(out / "annotated.webm") as part:
            _draw_clip(path, faces, part)
    return faces


def _label_parts(path, out):
    """Write part00000.csv and so on, a minute of the clip each; those that are there are not done again."""
    kept = sorted(out.glob("part*.csv"))
    begin = len(kept) * PART
    first_id = 1 + max((int(ids.max()) for ids in (read_table(part)["face"].dropna() for part in kept) if len(ids)),
                       default=-1)
    rows, number = [], len(kept)

    def keep():
        _save_table(pd.DataFrame(rows, columns=video.TIMELINE), out / f"part{number:05}.csv")
        rows.clear()

    with (video.Reader(path) as clip,
          video.Live(detect_every=max(round(clip.fps / 2), 1)) as live,           # twice a second
          tqdm(total=clip.count or None, unit=" frames") as bar):
        for frame_number, (seconds, frame) in enumerate(clip):
            bar.update()
            if seconds < begin:
                continue
            while seconds >= (number + 1) * PART:
                keep()
                number += 1
            faces = live.update(frame, seconds)
            rows.extend(video.timeline_rows(frame_number, seconds, [{**face, "id": face["id"] + first_id} for face in faces]))
    keep()


def _save_table(table, path):
    with _whole(path) as part:
        table.to_csv(part, index=False)


def _draw_clip(path, faces, out):
    moments = itertools.groupby(faces.itertuples(index=False), lambda row: row.frame)      # each frame has a row, in order
    with (video.Reader(path) as clip, video.Writer(out, clip.fps) as copy,
          tqdm(total=clip.count or None, unit=" drawn") as bar):
        for (_, frame), (_, rows) in zip(clip, moments):
            copy.write(helpers.draw(frame, [{"box": [getattr(row, side) for side in "xywh"], "label": row.label,
                                             "emotions": {name: getattr(row, name) for name in helpers.EMOTIONS}}
                                            for row in rows if not pd.isna(row.face)]))
            bar.update()


# ---------------------------------------------------------------- one picture, dropped on the page

class Field(anywidget.AnyWidget):
    """A field on which a picture is dropped, or which is pressed to choose one; `receive(name, content)` gets it.

    The bytes travel in messages and are in no state that a notebook saves. A server of Jupyter closes the connection
    at 10 MB a message, so they come in pieces.
    """
    _esm = """
    const PIECE = 4_000_000;

    function render({ model, el }) {
      const field = document.createElement("button"), input = document.createElement("input");
      field.className = "picture-field";
      field.textContent = "Drop a picture here, or press to choose one";
      Object.assign(input, { type: "file", accept: "image/*", hidden: true });

      async function send(file) {
        const bytes = await file.arrayBuffer();
        for (let begin = 0; begin === 0 || begin < bytes.byteLength; begin += PIECE)
          model.send({ name: file.name, begin, size: bytes.byteLength }, undefined, [bytes.slice(begin, begin + PIECE)]);
      }
      field.onclick = () => input.click();
      input.onchange = async () => { await send(input.files[0]); input.value = ""; };
      for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
        field.addEventListener(kind, event => {
          event.preventDefault();               // else the browser opens the picture in place of the notebook
          event.stopPropagation();
          field.classList.toggle("over", kind === "dragenter" || kind === "dragover");
          if (kind === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
        });
      el.append(field, input);
    }
    export default { render };
    """
    _css = """
    .picture-field { padding: 1.2em 2em; border: 2px dashed currentcolor; border-radius: 6px; background: none;
                     color: inherit; font: inherit; cursor: pointer; }
    .picture-field.over { border-style: solid; }
    """

    def __init__(self, receive):
        super().__init__()
        self._receive, self._pieces = receive, []
        self.on_msg(self._take)

    def _take(self, _, message, buffers):
        if message["begin"] == 0:
            self._pieces.clear()
        self._pieces.extend(bytes(buffer) for buffer in buffers)
        if sum(map(len, self._pieces)) >= message["size"]:
            content = b"".join(self._pieces)
            self._pieces.clear()
            self._receive(message["name"], content)


def upload():
    """A field that takes a picture from the reader's computer and shows it labelled: a cell's last line.

    The picture goes to the kernel, and is not kept there: it lies in a temporary folder while it is read. Call
    helpers.init_emotion() first. What is no picture is named in a sentence.
    """
    page = ipywidgets.Output()

    def look(name, content):
        page.clear_output(wait=True)
        with page, tempfile.TemporaryDirectory() as folder:
            try:
                path = Path(folder).resolve() / Path(name).name
                path.write_bytes(content)
                helpers.emotion(helpers.read_image(path))
            except (OSError, ValueError, RuntimeError) as problem:
                print(str(problem).replace(f"{path.parent}{os.sep}", ""))

    return ipywidgets.VBox([Field(look), page])
