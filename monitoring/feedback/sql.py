"""What users did, as a database keeps it: one query, again and again."""

from __future__ import annotations

import math
import os
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Dialect, Engine, TextClause, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lockgate.monitoring.feedback.columns import Columns, Given, given
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.names import once
from lockgate.monitoring.feedback.store import Row

_KNOWN = {"since", "until"}
_PAGE_ROWS, _MOST_ROWS = 100_000, 1_000_000
"""Of one query: where its time can be cut into shorter ones, and where it cannot."""
_SHORTEST = 1.0
"""Seconds that are not cut any more."""
_CONNECT_SECONDS = 10
_QUERY_SECONDS = 60.0
_SILENT_SECONDS = 75.0
"""After which a query is not under way any more: the database ends it earlier, where there still is one."""
# SQLSTATE classes whose messages are about the query or the server; others may repeat what a row holds.
_SAYABLE = ("08", "25", "28", "3D", "3F", "42", "53", "57")


@dataclass(slots=True)
class SqlSource:
    """One metric's query. `every`, `late`: seconds. `start`: unix seconds; what came before is never asked for.

    `url` may hold a password: no sentence repeats it, nor a value. It only ever reads.
    """

    url: str = field(repr=False)
    query: str
    every: float
    late: float
    key: bytes = field(repr=False)
    """Of hashes."""
    metric: str
    kind: str
    start: float
    read: float | None = None
    """What the database had at this time was polled and stored, in unix seconds. A restart begins with it."""
    left_out: int = field(default=0, init=False)
    """Rows of the last query without a value, or without a user and a request."""
    goes_on: bool = field(default=False, init=False)
    """Whether more is to be polled at once: there were too many rows for one query."""
    _engine: Engine | None = field(default=None, init=False)
    _tried: float | None = field(default=None, init=False)
    _unstored: tuple[float, float] | None = field(default=None, init=False)
    _reached: tuple[float, float] | None = field(default=None, init=False)
    """Up to where the time was polled that is to be polled in parts, and where it ends."""
    _span: float = field(default=math.inf, init=False)
    _asked: float | None = field(default=None, init=False)
    _wire: int | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def poll(self, now: float) -> list[Row]:
        """What the database has since what was stored last less `late`; nothing before `every` is over.

        At most 100,000 rows where the query uses `:until`; then it `goes_on`. Call `stored` when they are: what is not
        is polled again. Rows come again and again, with the same `key`. Raises `Unavailable`, and the same time is
        asked for again.
        """
        at_once = self.goes_on or self._unstored is not None
        if not at_once and self._tried is not None and self._tried <= now < self._tried + self.every:
            return []
        self._tried, self._unstored, self.goes_on = now, None, False
        since, target = self._next(now)
        until = min(target, since + self._span)
        with self._sentences():
            rows = self._fitting(since, until, now)
        if rows is None:
            self.goes_on = True
            return []
        self._unstored = until, target
        return rows

    def stored(self) -> None:
        """What was polled last is kept."""
        if self._unstored is None:
            return
        (until, target), self._unstored = self._unstored, None
        self.goes_on = until < target
        self._reached = (until, target) if self.goes_on else None
        # What was written by `until` happened before it, so a part is as good as the whole up to there.
        self.read = max(until, self.read or until) if self.goes_on else target

    def _next(self, now: float) -> tuple[float, float]:
        """From when to when is to be polled."""
        if self._reached and self._reached[1] <= now:
            return self._reached
        return (self.start if self.read is None else max(self.start, min(self.read, now) - self.late)), now

    def _fitting(self, since: float, until: float, now: float) -> list[Row] | None:
        """None: more rows than one query may have, so that the next one asks for half the time."""
        statement = self._statement()
        whole = "until" not in statement._bindparams or until - since <= _SHORTEST  # noqa: SLF001
        most = _MOST_ROWS if whole else _PAGE_ROWS
        rows = self._rows(statement, since, until, (most, now))
        if rows is None and whole:
            raise Unavailable(f"it answers more than {most} rows; use :since and :until, so that it is asked in parts")
        if rows is None:
            self._span = (until - since) / 2
        elif len(rows) < _PAGE_ROWS / 4:
            self._span *= 2
        return rows

    @property
    def hangs(self) -> bool:
        """Whether the query that is under way, in another thread, should have ended long ago."""
        asked = self._asked
        return asked is not None and time.monotonic() - asked > _SILENT_SECONDS

    def break_off(self) -> None:
        """Cut the connection of the query that is under way in another thread, which then fails."""
        with self._lock:
            if self._wire is not None:
                with suppress(OSError), socket.socket(fileno=os.dup(self._wire)) as wire:
                    wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _rows(self, statement: TextClause, since: float, until: float, limits: tuple[int, float]) -> list[Row] | None:
        """None: they are more than the first of the `limits`. The second is the time now."""
        most, now = limits
        asked = {name: at for name, at in (("since", since), ("until", until)) if name in statement._bindparams}  # noqa: SLF001
        engine = self._engine = self._engine or _engine(self.url, self._held)
        self._asked = time.monotonic()
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "postgresql":
                    connection.execution_options(postgresql_readonly=True)
                with connection.execution_options(stream_results=True).execute(statement, asked) as result:
                    columns = Columns.of(list(result.keys()))
                    came = result.fetchmany(most + 1)
                self._held(None)
        finally:
            self._held(None)
            self._asked = None
        if len(came) > most:
            return None
        kept = [row for one in came if (row := given(columns, one, self.kind, now)) is not None]
        self.left_out = len(came) - len(kept)
        return list(self._keyed(kept))

    def _held(self, wire: int | None) -> None:
        with self._lock:
            self._wire = wire

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


def _engine(address: str, held: Callable[[int], None]) -> Engine:
    """`held` is told the connection's file. Raises what SQLAlchemy raises for an address that is none."""
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        return _sqlite(Path(url.database or ""))
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    limits: Mapping[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        # A server that is gone without a word is noticed.
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": round(_QUERY_SECONDS * 1000),
        "options": f"-c statement_timeout={round(_QUERY_SECONDS * 1000)}",
    }
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=limits)

    @event.listens_for(engine, "do_connect")
    def connected(dialect: Dialect, _: object, given: Any, named: Any) -> Any:
        """Before anything is asked."""
        connection = dialect.connect(*given, **named)
        held(connection.fileno())
        return connection

    return engine


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
