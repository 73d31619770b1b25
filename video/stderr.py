"""Silence what C libraries write to stderr."""
import contextlib
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()     # stderr belongs to the whole process, and several threads may silence it
_blocks, _saved = 0, -1      # how many blocks are open; the file descriptor that keeps the real stderr


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Silence stderr in a `with` block: OpenCV and FFmpeg write their messages there, bypassing Python.

    Blocks may be nested, also across threads; stderr is restored when the last one ends.
    """
    global _blocks, _saved
    with _lock:
        _blocks += 1
        if _blocks == 1:
            with contextlib.suppress(OSError):      # a closed stderr is silent already
                _saved = os.dup(2)
                with open(os.devnull, "wb") as devnull:
                    os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0 and _saved >= 0:
                os.dup2(_saved, 2)
                os.close(_saved)
                _saved = -1
