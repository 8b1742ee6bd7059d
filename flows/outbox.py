"""What others like to know and the rollout can live without: tags in MLflow, artifacts in Prefect.

A bounded queue and one thread. The control path only puts; a slow or dead server costs it nothing, and what finds no
room, or no answer, is dropped and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Self

_LOG = logging.getLogger("lockgate.outbox")


class Outbox:
    """`put` never blocks. Leaving the `with` waits up to `linger` seconds for what is queued."""

    def __init__(self, room: int = 64, linger: float = 10.0) -> None:
        self._queue: queue.Queue[tuple[str, Callable[[], object]] | None] = queue.Queue(room)
        self._linger = linger
        self.dropped = 0
        self._context = copy_context()  # Prefect knows by it which run an artifact belongs to
        self._thread = threading.Thread(target=self._context.run, args=(self._work,), name="outbox", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._queue.put(None, timeout=self._linger)
        except queue.Full:
            self.dropped += self._queue.qsize()
            return
        self._thread.join(self._linger)

    def put(self, what: str, act: Callable[[], object]) -> None:
        """Queue `act`; `what` names it in the log when it fails."""
        try:
            self._queue.put_nowait((what, act))
        except queue.Full:
            self.dropped += 1
            _LOG.warning("dropped: %s (%d so far); what it goes to does not keep up", what, self.dropped)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            what, act = item
            try:
                act()
            except Exception as error:  # noqa: BLE001 - whatever a server does, the rollout goes on
                self.dropped += 1
                _LOG.warning("%s failed: %s", what, error)
