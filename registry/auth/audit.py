"""What was done and refused, in order: a table that only grows, each row carrying the hash of the one before.

Whoever can drop the triggers can cut the end off: a hash that was noted elsewhere (`head`) shows it (chain.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from lockgate.registry.auth.audit_table import audit, create
from lockgate.registry.auth.chain import START, hash_of
from lockgate.registry.auth.errors import NotStarted, Unrecorded

_LOCK = 7_302_411_947
"""PostgreSQL's advisory lock of the chain's end: any number that nobody else takes."""
_TRIES = 5
_LONGEST = 4000
_WRITES = "lockgate_writes"
"""Of a connection: what it does writes, and waits for the writer before it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row to be. `at` in Unix seconds; `old` and `new` are None where there is no such value."""

    at: float
    user: str
    roles: tuple[str, ...]
    operation: str
    model: str
    version: str = ""
    key: str = ""
    old: str | None = None
    new: str | None = None
    outcome: str = "allowed"
    reason: str = ""
    address: str = ""
    request: str = ""


class Audit:
    def __init__(self, url: str) -> None:
        """Creates the table where there is none. Raises `NotStarted` with a sentence."""
        self.engine = _engine(url)
        try:
            with self._alone() as db:
                create(db)
        except SQLAlchemyError as error:
            raise NotStarted(
                f"the audit cannot be kept at {self.engine.url!r} ({_first_line(error)}); check LOCKGATE_AUDIT_URI, or "
                "database_uri of the basic-auth configuration where it is not set"
            ) from error

    def append(self, entry: Entry) -> int:
        """The row's number. Raises `Unrecorded`."""
        values = _values(entry)
        for attempt in range(_TRIES):
            try:
                with self._alone() as db:
                    return _append(db, values)
            except IntegrityError as error:  # a worker that does not know our lock was quicker
                if attempt == _TRIES - 1:
                    raise Unrecorded(_first_line(error)) from error
            except SQLAlchemyError as error:
                raise Unrecorded(_first_line(error)) from error
        raise AssertionError

    def rows(self, model: str | None = None, before: int | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Newest first; `before` pages on."""
        query = select(audit).order_by(audit.c.sequence.desc()).limit(limit)
        if model is not None:
            query = query.where(audit.c.model == model)
        if before is not None:
            query = query.where(audit.c.sequence < before)
        with self.engine.connect() as db:
            found = [dict(row) for row in db.execute(query).mappings()]
        return [{**row, "roles": json.loads(row["roles"])} for row in found]

    def head(self) -> tuple[int, str]:
        """Number and hash of the last row: note it elsewhere, and `chain.verify` notices an end that was cut off."""
        with self.engine.connect() as db:
            return _head(db)

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A transaction in which nobody else appends."""
        with self.engine.execution_options(**{_WRITES: True}).begin() as db:
            if db.dialect.name == "postgresql":
                db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield db


def _append(db: Connection, values: dict[str, Any]) -> int:
    sequence, previous = _head(db)
    row = {"sequence": sequence + 1, **values, "previous": previous}
    db.execute(insert(audit).values(**row, hash=hash_of(row)))
    return sequence + 1


def _head(db: Connection) -> tuple[int, str]:
    row = db.execute(select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)).first()
    return (row.sequence, row.hash) if row else (0, START)


def _values(entry: Entry) -> dict[str, Any]:
    """Cut to what the columns hold, and without what a database cannot store."""
    lengths = {c.name: getattr(c.type, "length", None) or _LONGEST for c in audit.columns}
    values = {**asdict(entry), "roles": json.dumps(sorted(entry.roles)), "at": round(entry.at, 3)}
    return {k: _plain(v)[: lengths[k]] if isinstance(v, str) else v for k, v in values.items()}


def _plain(value: str) -> str:
    """PostgreSQL stores no NUL, and no database a surrogate without its other half."""
    return value.replace("\0", "?").encode(errors="replace").decode()


def _engine(url: str) -> Engine:
    at = make_url(url)
    if at.drivername == "postgresql" and _installed("psycopg"):
        at = at.set(drivername="postgresql+psycopg")
    name = at.get_backend_name()
    if name == "sqlite" and at.database in (None, "", ":memory:"):
        raise NotStarted("the audit needs a database that outlives the server; give LOCKGATE_AUDIT_URI a file")
    if name not in ("sqlite", "postgresql"):
        raise NotStarted(f"the audit is kept in SQLite or PostgreSQL, not in {name}; set LOCKGATE_AUDIT_URI to one")
    try:
        if name == "postgresql":
            return create_engine(at, pool_pre_ping=True)
        engine = create_engine(at, connect_args={"timeout": 20})
    except ImportError as error:
        raise NotStarted(f"the audit at {at!r} needs a package that is not here ({error}); install it") from error
    event.listen(engine, "connect", _no_implicit_begin)
    event.listen(engine, "begin", _begin)
    return engine


def _no_implicit_begin(connection: Any, _record: object) -> None:
    connection.isolation_level = None


def _begin(db: Connection) -> None:
    """A transaction that reads first and writes then would fail where another one did so in between.

    One that only reads keeps no writer waiting.
    """
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get(_WRITES) else "BEGIN")


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _first_line(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return (str(origin).strip().splitlines() or [type(error).__name__])[0][:200]
