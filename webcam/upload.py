"""The kernel's half of the upload field: it receives one picture from the browser, labels it and shows the result."""
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets

import helpers
import imagefiles


class UploadField(anywidget.AnyWidget):
    """A field for one picture: drop a file on it, or click it to choose one.

    Parameters
    ----------
    receive : callable
        Function of (name, content) that is called with each file: its name (str) and all of its bytes.

    Notes
    -----
    The bytes travel in messages, so they are never part of the state that a notebook saves. Jupyter's server closes
    the connection if a message is larger than 10 MB, so the browser sends a file in chunks.
    """

    _esm = Path(__file__).with_name("upload.js")
    _css = Path(__file__).with_name("upload.css")

    def __init__(self, receive: Callable[[str, bytes], None]) -> None:
        super().__init__()
        self._receive = receive
        self._chunks: list[bytes] = []
        self.on_msg(self._receive_chunk)

    def _receive_chunk(self, _: object, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        """Collect the chunks of a file, and pass it on when it is complete."""
        if content["offset"] == 0:
            self._chunks.clear()         # a new file: drop what is left of an unfinished one
        self._chunks.extend(bytes(buffer) for buffer in buffers)
        if sum(map(len, self._chunks)) >= content["size"]:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._receive(content["name"], data)


def upload_image() -> ipywidgets.VBox:
    """Create a field that labels a picture from the reader's computer and shows it. Call `helpers.init_emotion` first.

    Make it the last line of a cell. The picture is sent to the kernel, which does not keep it: it is in a temporary
    folder only while it is read. If the file is not a picture, a sentence says so.

    Returns
    -------
    ipywidgets.VBox
        The `UploadField`, with the labelled picture below it.
    """
    output = ipywidgets.Output()

    def label(name: str, content: bytes) -> None:
        output.clear_output(wait=True)
        with output, tempfile.TemporaryDirectory() as folder:
            path = Path(folder).resolve() / Path(name).name
            try:
                path.write_bytes(content)
                with imagefiles.collect_warnings() as notes:
                    image = helpers.read_image(path)
                for note in notes:
                    print(note.replace(f"{path.parent}{os.sep}", ""))
                helpers.emotion(image)
            except (OSError, ValueError, RuntimeError, MemoryError) as problem:
                print(str(problem).replace(f"{path.parent}{os.sep}", ""))    # the reader knows only the file's name

    return ipywidgets.VBox([UploadField(label), output])
