"""What users did, as a database keeps it: one query, again and again."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, TextClause, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lockgate.monitoring.feedback.columns import Columns, Given, given
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.names import once
from lockgate.monitoring.feedback.store import Row

_KNOWN = {"since", "until"}
_MOST_ROWS = 1_000_000
_CONNECT_SECONDS = 10
_QUERY_SECONDS = 60.0
# SQLSTATE classes whose messages are about the query or the server; others may repeat what a row holds.
_SAYABLE = ("08", "25", "28", "3D", "3F", "42", "53", "57")


@dataclass(slots=True)
class SqlSource:
    """One metric's query. `every`, `late`: seconds. `start`: unix seconds; what came before is never asked for.

    `url` may hold a password: no sentence repeats it, nor a value. It only ever reads.
    """

    url: str
    query: str
    every: float
    late: float
    key: bytes
    """Of hashes."""
    metric: str
    kind: str
    start: float
    left_out: int = field(default=0, init=False)
    """Rows of the last query without a value, or without a user and a request."""
    _engine: Engine | None = field(default=None, init=False)
    _tried: float | None = field(default=None, init=False)
    _read: float | None = field(default=None, init=False)

    def poll(self, now: float) -> list[Row]:
        """What the database has since the last successful query less `late`; nothing before `every` is over.

        Rows come again and again, with the same `key`. Raises `Unavailable`, and the same time is asked for again.
        """
        if self._tried is not None and self._tried <= now < self._tried + self.every:
            return []
        self._tried = now
        since = self.start if self._read is None else max(self.start, min(self._read, now) - self.late)
        with self._sentences():
            rows = self._rows(since, now)
        self._read = now
        return rows

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _rows(self, since: float, until: float) -> list[Row]:
        statement = self._statement()
        asked = {name: at for name, at in (("since", since), ("until", until)) if name in statement._bindparams}  # noqa: SLF001
        engine = self._engine = self._engine or _engine(self.url)
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection.execution_options(postgresql_readonly=True)
            with connection.execution_options(stream_results=True).execute(statement, asked) as result:
                columns = Columns.of(list(result.keys()))
                found = [given(columns, row, self.kind, until) for row in result.fetchmany(_MOST_ROWS + 1)]
        if len(found) > _MOST_ROWS:
            raise Unavailable(f"it answers more than {_MOST_ROWS} rows; use :since, and shorten `late`")
        kept = [row for row in found if row is not None]
        self.left_out = len(found) - len(kept)
        return list(self._keyed(kept))

    def _statement(self) -> TextClause:
        statement = text(self.query)
        if odd := sorted(set(statement._bindparams) - _KNOWN):  # noqa: SLF001 - nothing else tells them
            raise Unavailable(f":{odd[0]} is not known, only :since and :until; in a text write \\:{odd[0]}")
        return statement

    def _keyed(self, rows: list[Given]) -> Iterator[Row]:
        """Equal rows without an `id` are told apart by counting them, which holds as long as they come together."""
        seen: Counter[Given] = Counter()
        for row in rows:
            what = f"id {row.id}" if row.id is not None else f"row {seen[row]} {row!r}"
            seen[row] += 1
            unit, of = row.who(self.key)
            yield Row(self.metric, row.value, row.at, of, unit, once(self.metric, what, self.key))

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        where = f"the query of the metric {self.metric!r}"
        try:
            yield
        except Unavailable as reason:
            raise Unavailable(f"{where}: {reason}") from reason
        except DBAPIError as reason:
            self.close()
            # The original says the rows and the address; nobody must print it as the cause.
            raise Unavailable(f"{where} failed: {_said(reason, _password(self.url))}") from None
        except (SQLAlchemyError, OSError, ValueError, ImportError, AttributeError) as reason:
            self.close()
            what = (
                "its driver is missing; install `lockgate[postgresql]`"
                if isinstance(reason, ImportError)
                else (f"{type(reason).__name__}; see its url")
            )
            raise Unavailable(f"{where} cannot be asked: {what}") from None


def _engine(address: str) -> Engine:
    """Raises what SQLAlchemy raises for an address that is none."""
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        return _sqlite(Path(url.database or ""))
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    limits: Mapping[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "options": f"-c statement_timeout={round(_QUERY_SECONDS * 1000)}",
    }
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=limits)


def _sqlite(path: Path) -> Engine:
    """Opened to read only: SQLite would make a file that is not there."""
    uri = f"file:{quote(str(path.expanduser().absolute()))}?mode=ro"
    engine = create_engine("sqlite://", poolclass=NullPool, creator=lambda: sqlite3.connect(uri, uri=True))

    @event.listens_for(engine, "connect")
    def limited(connection: sqlite3.Connection, _: object) -> None:
        end = time.monotonic() + _QUERY_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)

    return engine


def _password(url: str) -> str:
    """As it is written, and so that nothing is found in a text where there is none."""
    return make_url(url).password or "\0"


def _said(reason: DBAPIError, password: str) -> str:
    """What the database says, where it cannot be about a value."""
    state = getattr(reason.orig, "sqlstate", None)
    name = type(reason.orig).__name__
    if state and not state.startswith(_SAYABLE):
        return f"{name} ({state}); run it by hand to see why"
    first = str(reason.orig).strip().partition("\n")[0].replace(password, "…")
    return f"{first or name}; see the query and the database"
