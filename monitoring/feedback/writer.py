"""The one thread that writes: what waits together is committed together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.said import Said
from lockgate.monitoring.feedback.store import Store, Told

_MOST_WAITING = 1000
_MOST_TOGETHER = 10_000
"""Rows of one commit, but for the last request's."""
_PRUNE_EVERY = 600.0
_PRUNE_FULL = 10.0
_PRUNED_AT_ONCE = 2_000
_END = 1.0

_Waiting = tuple[Sequence[Told], "Future[int]"]


class Full(Unavailable):
    """The database has as many bytes as it may have."""


class Writer:
    """`keep()`: seconds after which rows are removed; None keeps all.

    `max_size()`: bytes of the database, beyond which nothing more is written; None writes all.
    """

    def __init__(
        self, store: Store, keep: Callable[[], float | None], max_size: Callable[[], int | None] = lambda: None
    ) -> None:
        self._store = store
        self._keep = keep
        self._max_size = max_size
        self.size = 0
        """Bytes of the database, as they were seen after the last write or look at what is old."""
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(_MOST_WAITING)
        self._said = Said()
        self._prune_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="feedback-writer", daemon=True)

    def put(self, rows: Sequence[Told]) -> Future[int]:
        """How many of them were new, as soon as they are on the disk. Raises `Unavailable` when too many wait."""
        written: Future[int] = Future()
        try:
            self._waiting.put_nowait((rows, written))
        except queue.Full as reason:
            raise Unavailable("too much feedback waits to be written; send it again later") from reason
        return written

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Writes what waits, but for a locked database: whom nobody answers has not been told that it is kept."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_END)
            self._thread.join(_END)
        if not self._thread.is_alive():
            self._store.close()

    def _run(self) -> None:
        going = True
        while going:
            together, going = self._next()
            if together:
                self._write(together)
            if going and time.monotonic() >= self._prune_at:
                self._prune()

    def _next(self) -> tuple[list[_Waiting], bool]:
        """What waits now; the first is waited for until it is time to prune. And whether it goes on after that."""
        found: list[_Waiting] = []
        rows = 0
        try:
            item = self._waiting.get(timeout=max(0.0, self._prune_at - time.monotonic()))
            while item is not None:
                found.append(item)
                rows += len(item[0])
                if rows >= _MOST_TOGETHER:
                    return found, True
                item = self._waiting.get_nowait()
        except queue.Empty:
            return found, True
        return found, False

    def _write(self, together: Sequence[_Waiting]) -> None:
        try:
            self._room()
            news = self._store.add_groups([rows for rows, _ in together], time.time())
        except Exception as reason:  # noqa: BLE001 - whatever it is, the requests are answered and the thread lives
            trouble = reason if isinstance(reason, Unavailable) else Unavailable(_unforeseen(reason))
            self._said.trouble(str(trouble))
            for _, written in together:
                _settle(written, trouble)
            return
        self._said.well("feedback is written again")
        for (_, written), new in zip(together, news, strict=True):
            _settle(written, new)

    def _prune(self) -> None:
        """A few at once: requests wait meanwhile."""
        keep, removed = self._keep(), 0
        try:
            if keep is not None and self._store.path.exists():
                removed = self._store.prune(time.time() - keep, _PRUNED_AT_ONCE)
            self._measure()
        except Exception as reason:  # noqa: BLE001 - as above
            self._said.trouble(str(reason) if isinstance(reason, Unavailable) else _unforeseen(reason))
        pause = _PRUNE_EVERY if self._full() is None else _PRUNE_FULL
        self._prune_at = time.monotonic() + (0.05 if removed == _PRUNED_AT_ONCE else pause)

    def _room(self) -> None:
        self._measure()
        if (most := self._full()) is not None:
            raise Full(full(most))

    def _measure(self) -> None:
        """When it is full, what is old goes soon."""
        self.size = self._store.size()
        if self._full() is not None:
            self._prune_at = min(self._prune_at, time.monotonic() + _PRUNE_FULL)

    def _full(self) -> int | None:
        """How many bytes it may have, when it has as many."""
        most = self._max_size()
        return None if most is None or self.size < most else most


def full(most: int) -> str:
    return (
        f"no more feedback is taken: its database has the {most} bytes that it may have; raise"
        " monitoring.capture.max_size, or shorten monitoring.capture.keep, and run lockgate up"
    )


def _unforeseen(reason: Exception) -> str:
    """Without its text, which might repeat a row."""
    return f"feedback cannot be written ({type(reason).__name__}); please report it"


def _settle(written: Future[int], result: int | Unavailable) -> None:
    """Unless its request has gone."""
    if not written.set_running_or_notify_cancel():
        return
    if isinstance(result, int):
        written.set_result(result)
    else:
        written.set_exception(result)
