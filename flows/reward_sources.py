"""Where else what users did is read: a database, Prometheus. Each beside the loop, which waits for nobody."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lockgate.flows.capture import read_settings, write_private
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.ledger import GRACE
from lockgate.monitoring.feedback.promql import Counters, Counts, counted, increase
from lockgate.monitoring.feedback.sql import SqlSource
from lockgate.monitoring.feedback.store import Row, Store
from lockgate.monitoring.measurement import Group
from lockgate.monitoring.prometheus import Prometheus
from lockgate.rollout.metrics import Metric, PromQL
from lockgate.rollout.ports import Span

_AT_LEAST = 10_000
"""Rows that are looked through for old ones: as many as came, or these."""


class _Beside:
    """Does one thing at a time in a thread of its own: what does not answer delays no tick, and no exit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._doing: Future[Any] | None = None
        self._closed = threading.Event()
        self.blind = ""

    def done(self) -> Any | None:
        """What was done since the last call, or None; what could not be done makes `blind`, until something can."""
        if self._doing is None or not self._doing.done():
            return None
        doing, self._doing = self._doing, None
        try:
            found = doing.result()
        except Unavailable as reason:
            self.blind = str(reason)
            return None
        except Exception as odd:  # noqa: BLE001 - whatever a driver raises, traffic is still driven
            self.blind = f"the source cannot be read ({type(odd).__name__})"
            return None
        self.blind = ""
        return found

    def start(self, work: Any, *given: Any) -> None:
        if self._doing is None:
            self._doing = Future()
            args = (self._doing, work, *given)
            threading.Thread(target=_do, args=args, name=self._name, daemon=True).start()

    def close(self) -> None:
        self._closed.set()


def _do(doing: Future[Any], work: Any, *given: Any) -> None:
    try:
        doing.set_result(work(*given))
    except BaseException as odd:  # noqa: BLE001 - whoever asks for the result gets it
        doing.set_exception(odd)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a database's rows go. `before`: rows so many seconds older are deleted; None where somebody else does it.

    `mark`: the file that keeps up to when the database was read.
    """

    feedback: Path
    mark: Path
    before: float | None = None

    def read(self) -> float | None:
        """None: it was never, or nobody knows any more; then all of it is polled again."""
        found = read_settings(self.mark).get("read")
        return float(found) if isinstance(found, int | float) else None

    def mark_read(self, at: float) -> None:
        with suppress(OSError):  # without it, more is polled again than has to be
            write_private(self.mark, {"read": at})


class Polled(_Beside):
    """A database's rows become feedback like any other."""

    def __init__(self, source: SqlSource, metric: Metric, kept: Kept) -> None:
        super().__init__("sql")
        self._source, self._metric, self._kept = source, metric, kept
        source.read = kept.read()

    def turn(self, span: Span) -> tuple[Group, ...]:
        self.done()
        if self._source.hangs:
            self.blind = (
                f"the query of the metric {self._source.metric!r} has had no answer for more than a minute; see the"
                " database and the network to it"
            )
            self._source.break_off()
        self.start(self._take, span.now)
        return ()

    def behind(self, now: float) -> str:
        """Why a user whose time has come by now may have done what the database was not read for yet, or nothing.

        What is due was written `delay` less `late` before, at the latest. Before the first window is over, nothing is.
        """
        read, late = self._source.read, self._metric.sql.late if self._metric.sql else 0.0
        if now < self._source.start + self._metric.window + self._metric.delay + GRACE:
            return ""
        if read is not None and abs(now - read) <= self._metric.delay - late:
            return ""
        since = f"after {datetime.fromtimestamp(read, UTC):%Y-%m-%d %H:%M:%S} UTC" if read is not None else "yet"
        why = self.blind or "it is being read; where this stays so, lengthen `sql.every`"
        return f"the database of the metric {self._source.metric!r} was not read {since}, so users wait: {why}"

    def _take(self, now: float) -> None:
        """Until all of it is stored, or nobody needs it any more."""
        while True:
            rows = self._source.poll(now)
            if self._closed.is_set():
                return
            self._store(rows, now)
            before = self._source.read
            self._source.stored()
            if self._source.read is not None and self._source.read != before:
                self._kept.mark_read(self._source.read)
            if not self._source.goes_on:
                return

    def _store(self, rows: Sequence[Row], now: float) -> None:
        if not rows:
            return
        # What is polled again is younger than this, so that no row is new a second time.
        oldest = min(now, self._source.read or self._source.start) - (self._kept.before or 0.0)
        with Store(self._kept.feedback) as store:
            store.add(rows, now)
            if self._kept.before is not None:
                store.prune(oldest, max(len(rows), _AT_LEAST))

    def close(self) -> None:
        super().close()
        self._source.break_off()


class Counted(_Beside):
    """An application's own counters. What they count between two readings is one group."""

    def __init__(self, prometheus: Prometheus, of: PromQL, window: float) -> None:
        super().__init__("promql")
        self._counters = Counters(prometheus, of.units, of.hits)
        self._every, self._window, self._asked = of.every, window, -of.every
        self._before: Counts | None = None
        self._share: tuple[float, float] | None = None

    def turn(self, span: Span) -> tuple[Group, ...]:
        """Hits come later than units: what is done within `window` of a change was begun with another share."""
        found: tuple[float, Counts] | None = self.done()
        share = span.shares[-1] if span.shares else None
        if share != self._share:
            self._share, self._before = share, None
        if share is None or span.now - share[0] < self._window:
            return ()
        if not 0 <= span.now - self._asked < self._every:
            self._asked = span.now
            self.start(self._read, span.now)
        if found is None or found[0] < share[0] + self._window:
            return ()
        now = found[1]
        came, self._before = increase(self._before, now), counted(self._before, now)
        return (Group(share[1], came["stable"], came["candidate"]),)

    def _read(self, at: float) -> tuple[float, Mapping[str, tuple[int, int]]]:
        return at, self._counters.read(at)
