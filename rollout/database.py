"""The database under the store: connected, with its tables, and its troubles said in sentences.

A SQLite file that is deleted or replaced while we have it open is not the store any more: what we wrote would be seen
by nobody, and another controller could open a second rollout in the new file.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, ExceptionContext, create_engine, event, inspect, make_url
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError

from lockgate.rollout.errors import StoreDown, Unreadable
from lockgate.rollout.tables import METADATA, rollouts

_TRIES = 20
_PAGES = 512
"""KiB of pages that each connection to SQLite keeps: a tick reads the last rows of a log that grows for days, and of
SQLite's own 2 MiB every one would be filled with what nobody reads again.
"""
RECOVERY = "docs/recovery.md says what to do"
_REMEDIES = (
    ("disk is full", "Make room on its disk: what could not be written is tried again"),
    ("readonly", "Let this user write to that file and to its folder"),
    ("locked", "Another process writes to it for longer than 10 s; try again"),
    ("no such table", f"It was emptied while this ran; {RECOVERY}"),
)
_DAMAGE = ("malformed", "not a database", "could not decode")


def connected(url: str) -> Engine:
    """With every table. Raises `StoreDown`."""
    at = make_url(url)
    if at.drivername in ("postgresql", "postgres"):
        at = at.set(drivername="postgresql+psycopg")
    if at.get_backend_name() == "sqlite" and at.database:
        Path(at.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(at, pool_pre_ping=True)  # a server that was restarted costs no tick
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _pragmas)
    try:
        _create_tables(engine)
    except DatabaseError as error:
        engine.dispose()
        raise _sentence(engine, error) from error
    event.listen(engine, "handle_error", _translate)
    if engine.dialect.name == "sqlite" and at.database and Path(at.database).is_file():
        _stay_with(engine, Path(at.database))
    return engine


def _stay_with(engine: Engine, file: Path) -> None:
    def which() -> tuple[int, int] | None:
        try:
            found = os.stat(file)  # noqa: PTH116 - on every use
        except OSError:
            return None
        return found.st_dev, found.st_ino

    ours = which()

    def check(*_: object) -> None:
        if which() != ours:
            raise Unreadable(
                f"{file} is not the file that was opened: it was deleted or replaced while this ran. Nothing more is"
                f" written, and traffic stays as it is; {RECOVERY}"
            )

    event.listen(engine, "do_connect", check)  # before SQLite makes an empty file of it
    event.listen(engine, "checkout", check)


def _create_tables(engine: Engine) -> None:
    """Create what is missing, whoever else is doing the same at this moment."""
    engine.connect().close()  # a database that cannot be reached is said at once
    for _ in range(_TRIES):  # whenever we lose, somebody else has brought it further
        with suppress(OperationalError, ProgrammingError, IntegrityError):
            return _create_missing(engine)
    return _create_missing(engine)


def _create_missing(engine: Engine) -> None:
    METADATA.create_all(engine)
    there = {index["name"] for index in inspect(engine).get_indexes(rollouts.name)}
    for index in rollouts.indexes:
        if index.name not in there:  # whoever created its table was killed
            index.create(engine)


def _sentence(engine: Engine, error: BaseException) -> StoreDown:
    where = engine.url.render_as_string(hide_password=True)
    why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if any(word in why.lower() for word in _DAMAGE):
        return Unreadable(f"the store {where} is damaged: {why}. Traffic stays as it is; {RECOVERY}")
    remedy = next((remedy for word, remedy in _REMEDIES if word in why), "")
    remedy = remedy or "Is LOCKGATE_STATE_URL, or LOCKGATE_HOME, right?"
    return StoreDown(f"the store {where} does not answer: {why}. {remedy}")


def _translate(context: ExceptionContext) -> StoreDown | None:
    """What the database cannot do now is a sentence, not a traceback. What is returned is raised in its place."""
    error = context.sqlalchemy_exception
    ours = isinstance(error, DatabaseError) and not isinstance(error, IntegrityError | ProgrammingError)
    return _sentence(context.engine, error) if ours and error and context.engine is not None else None


def _pragmas(connection: Any, _record: Any) -> None:
    connection.execute("pragma busy_timeout=10000")
    with suppress(sqlite3.OperationalError):  # locked: somebody else is switching; the file remembers it
        connection.execute("pragma journal_mode=wal")
    connection.execute("pragma foreign_keys=on")
    connection.execute(f"pragma cache_size=-{_PAGES}")
