"""The ledger's file: SQLite, written by one driver."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS units (unit INTEGER PRIMARY KEY, arm INTEGER NOT NULL, first REAL NOT NULL, late REAL);
CREATE INDEX IF NOT EXISTS units_first ON units (first);
CREATE INDEX IF NOT EXISTS units_late ON units (late) WHERE late IS NOT NULL;
CREATE TABLE IF NOT EXISTS crossings (unit INTEGER NOT NULL, arm INTEGER NOT NULL, due REAL NOT NULL,
    PRIMARY KEY (unit, arm)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS crossings_due ON crossings (due);
CREATE TABLE IF NOT EXISTS requests (request INTEGER PRIMARY KEY, unit INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes (metric TEXT NOT NULL, unit INTEGER NOT NULL, at REAL NOT NULL,
    sequence INTEGER NOT NULL, value REAL NOT NULL, key INTEGER, PRIMARY KEY (metric, unit, at, sequence))
    WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS outcomes_key ON outcomes (key) WHERE key IS NOT NULL;
CREATE TABLE IF NOT EXISTS waiting (sequence INTEGER PRIMARY KEY, name INTEGER NOT NULL, metric TEXT NOT NULL,
    at REAL NOT NULL, value REAL NOT NULL, key INTEGER, noticed REAL NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS waiting_key ON waiting (key) WHERE key IS NOT NULL;
CREATE TABLE IF NOT EXISTS limits (metric TEXT PRIMARY KEY, lowest REAL NOT NULL, highest REAL NOT NULL,
    learned REAL NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS batch (unit INTEGER PRIMARY KEY, arm INTEGER, first REAL);
CREATE TEMP TABLE IF NOT EXISTS elsewhere (unit INTEGER, arm INTEGER, at REAL);
CREATE TEMP TABLE IF NOT EXISTS moving (unit INTEGER, old INTEGER, new INTEGER, at REAL, earlier INTEGER);
"""
"""units: `late` is when a user was noticed whose time had come already.
crossings: users who were seen in another arm than their own, and when that was due. One of their own arm, which an
earlier request made theirs, means nothing.
outcomes: feedback of known users. waiting: feedback whose request was not captured yet. `key`: of feedback that tells
itself again, which may come from the database of feedback twice: pruned and polled anew, or from another file."""


class TakenOver(Exception):
    """Another driver has opened this ledger since."""


class File:
    """Opened when it is first used; of one thread at a time. Raises `sqlite3.Error`, `OSError` and `TakenOver`.

    Whoever lost it is told so once and takes it back with the next use: it may be the one that has the lease again. Two
    that take it from each other harm nothing. Each writes whole transactions as the owner of the moment, and a look of
    the one without the lease is never recorded, so that the other computes it again: what is told follows from the time
    of the last look that was recorded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = secrets.token_hex(8)
        self._owns = False
        self._opened: sqlite3.Connection | None = None

    def database(self) -> sqlite3.Connection:
        if self._opened is None:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._path.chmod(0o600)
            opened = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                opened.execute("PRAGMA journal_mode = WAL")
                # A commit must last longer than the log's record of the look that it was for.
                opened.execute("PRAGMA synchronous = FULL")
                opened.execute("PRAGMA cache_size = -65536")
                opened.executescript(_SCHEMA)
                if not self._owns:
                    note(opened, "owner", self._owner)
            except BaseException:
                opened.close()
                raise
            self._opened, self._owns = opened, True
        return self._opened

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        database = self.database()
        database.execute("BEGIN IMMEDIATE")
        try:
            if fact(database, "owner") != self._owner:
                self._owns = False
                raise TakenOver
            yield database
            database.execute("COMMIT")
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def fact(database: sqlite3.Connection, name: str) -> str | float | None:
    found = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    value: str | float | None = found[0] if found else None
    return value


def time_of(database: sqlite3.Connection, name: str, default: float) -> float:
    value = fact(database, name)
    return float(value) if isinstance(value, int | float) else default


def note(database: sqlite3.Connection, name: str, value: str | float) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
