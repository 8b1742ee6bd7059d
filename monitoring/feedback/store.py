"""`feedback.db`: everything that was told, in the order in which it was written. One process writes, any may read."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from lockgate.monitoring.feedback import labels
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.labels import Label, StoredLabel

FILE = "feedback.db"
_PATIENCE = 5.0
"""Seconds to wait for another process's write."""
_BATCH = 10_000
_PAUSE = 0.12
"""Seconds. SQLite looks every 0.1 s whether what it waits for is unlocked."""

_TABLE = """
CREATE TABLE IF NOT EXISTS feedback (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    metric TEXT NOT NULL,
    value REAL NOT NULL,
    at REAL NOT NULL,
    received REAL NOT NULL,
    request_id TEXT,
    unit TEXT,
    key TEXT UNIQUE
)
"""
_ADD = (
    "INSERT INTO feedback (metric, value, at, received, request_id, unit, key) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO NOTHING"
)
_AFTER = (
    "SELECT sequence, metric, value, at, request_id, unit, key, received FROM feedback"
    " WHERE sequence > ? ORDER BY sequence LIMIT ?"
)
_SIZE = ("page_count", "freelist_count", "page_size")
_UP_TO = "SELECT received FROM feedback WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1"
_PRUNE = "DELETE FROM {0} WHERE received < ? AND sequence IN (SELECT sequence FROM {0} ORDER BY sequence LIMIT ?)"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that a user did. `at`: unix seconds. Either `request_id` or `unit`, the hash of a user, is given.

    `key`: tells the same row again; None is never the same.
    """

    metric: str
    value: float
    at: float
    request_id: str | None = None
    unit: str | None = None
    key: str | None = None


Told = Row | Label


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as it is kept. `sequence` only ever grows. `received`: unix seconds."""

    sequence: int
    row: Row
    received: float


class Reader:
    """Reads what another process writes. While there is no file there are no rows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def after(self, sequence: int, limit: int = _BATCH) -> list[Stored]:
        """The oldest rows with a greater sequence. Raises `Unavailable`."""
        with self._reading() as database:
            if database is None:
                return []
            found = database.execute(_AFTER, (sequence, limit)).fetchall()
        return [Stored(number, Row(*values), received) for number, *values, received in found]

    def labels_of_requests(self, label: str, limit: int, after: int = 0) -> list[StoredLabel]:
        """All labels of this name of the requests that had one last, in the order in which they were received.

        `limit`: requests. `after`: so many that had one later. Raises `Unavailable`.
        """
        asked = {"label": label, "limit": limit, "after": after}
        with self._reading("labels") as database:
            found = [] if database is None else database.execute(labels.OF_REQUESTS, asked).fetchall()
        return [StoredLabel(number, Label(*values), received) for number, *values, received in found]

    def labelled_since(self, label: str, received: float) -> list[str]:
        """Requests that had a label of this name since then (unix seconds); a million at most. Raises `Unavailable`."""
        with self._reading("labels") as database:
            found = [] if database is None else database.execute(labels.SINCE, (label, received)).fetchall()
        return [name for (name,) in found]

    def last(self) -> int:
        """The greatest sequence that was ever given, also when its row was pruned; 0 without any.

        Less than a sequence that was read before means that the file is another one. Raises `Unavailable`.
        """
        with self._reading() as database:
            if database is None:
                return 0
            found = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'feedback'").fetchone()
        return int(found[0]) if found else 0

    def before(self, received: float) -> int:
        """A sequence up to which all rows were received before then (unix seconds), and after which none was.

        Rows are taken to be in the order in which they were received. Raises `Unavailable`.
        """
        low, high = 0, self.last()
        with self._reading() as database:
            while database is not None and low < high:
                middle = (low + high + 1) // 2
                found = database.execute(_UP_TO, (middle,)).fetchone()
                low, high = (low, middle - 1) if found and found[0] >= received else (middle, high)
        return low

    @contextmanager
    def _reading(self, table: str = "feedback") -> Iterator[sqlite3.Connection | None]:
        """A connection of its own for each question: the file may come, go and be replaced in between."""
        with _sentences(self.path):
            if _identity(self.path) is None:
                yield None
                return
            uri = f"file:{quote(str(self.path.absolute()))}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as database:
                there = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
                yield database if there else None


class Store(Reader):
    """Reads and writes. The file is made with the first row, readable by its owner only. Of one thread at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def add(self, rows: Sequence[Told], received: float) -> int:
        """How many were new: rows whose `key` is known are left out. Raises `Unavailable`.

        In transactions of at most 10,000 rows, with pauses in which another process can write.
        """
        new = 0
        for start in range(0, len(rows), _BATCH):
            if start:
                time.sleep(_PAUSE)
            new += self.add_groups([rows[start : start + _BATCH]], received)[0]
        return new

    def add_groups(self, groups: Sequence[Sequence[Told]], received: float) -> list[int]:
        """How many of each group were new. All groups in one transaction. Raises `Unavailable`."""
        with self._writing() as database:
            return [_added(database, rows, received) for rows in groups]

    def prune(self, before: float, limit: int = _BATCH) -> int:
        """Removes rows received before then, of the oldest `limit` ones; how many. Raises `Unavailable`."""
        with self._writing() as database:
            tables = ("feedback", "labels")
            return sum(database.execute(_PRUNE.format(of), (before, limit)).rowcount for of in tables)

    def size(self) -> int:
        """Bytes in use, 0 without a file: those of removed rows are used again. Raises `Unavailable`."""
        with _sentences(self.path):
            if _identity(self.path) is None:
                return 0
            try:
                database = self._connected()
                pages, free, size = (database.execute(f"PRAGMA {of}").fetchone()[0] for of in _SIZE)
            except BaseException:
                self.close()
                raise
            return int((pages - free) * size)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when it ends. What fails begins with a new connection the next time."""
        with _sentences(self.path):
            try:
                database = self._connected()
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except BaseException:
                self.close()
                raise

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that is there now: another one may have been put in its place."""
        if self._database is None or self._file != _identity(self.path):
            self.close()
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self.path.chmod(0o600)  # and so are the files beside it, which SQLite makes in its likeness
            self._file = _identity(self.path)
            self._database = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_TABLE)
            self._database.execute(labels.TABLE)
        return self._database


def _added(database: sqlite3.Connection, rows: Sequence[Told], received: float) -> int:
    """A row that is known leaves no count behind: of `executemany` it is the sum of those that were new."""
    into: dict[str, list[Any]] = {_ADD: [], labels.ADD: []}
    for row in rows:
        if isinstance(row, Label):
            into[labels.ADD].append((row.label, row.value, row.at, received, row.request_id, row.row, row.key))
        else:
            into[_ADD].append((row.metric, row.value, row.at, received, row.request_id, row.unit, row.key))
    return sum(database.executemany(statement, of).rowcount for statement, of in into.items() if of)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turns what SQLite and the file system say into `Unavailable`."""
    try:
        yield
    except sqlite3.Error as reason:
        raise Unavailable(f"{path} {_trouble(reason)}") from reason
    except OSError as reason:
        said = (reason.strerror or type(reason).__name__).lower()
        raise Unavailable(f"{path} cannot be used ({said}); see the folder and its permissions") from reason


def _trouble(reason: sqlite3.Error) -> str:
    name = getattr(reason, "sqlite_errorname", "")
    said = " ".join(str(reason).split())
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"is damaged ({said}); move it away, and a new one is made"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"was locked by another process for {_PATIENCE:g} s; see which one has it open"
    if name.startswith("SQLITE_FULL"):
        return "has no more space on its disk; make some"
    if name.startswith("SQLITE_READONLY"):
        return "must not be written; see its permissions and those of its folder"
    return f"cannot be used ({said}); see the file, its folder and its disk"
