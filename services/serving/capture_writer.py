"""The thread that writes what a replica answered. Nothing that goes wrong here is felt by a request."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .capture_columns import Columns, parts
from .capture_files import Stream, leftovers, retain
from .capture_page import Page
from .capture_queue import Queue, Record
from .capture_settings import FILE, Settings, Watched

log = logging.getLogger("bentoml.lockgate")

EVERY = 2.0
"""Seconds: what a replica that is killed loses of its traffic. Most of what a write costs is the same for any number of
requests; at 500 requests/s, once a second was half as much again as once in two.
"""
_ROTATE_SIZE, _ROTATE_SECONDS = 16 * 2**20, 600.0
_TIDY_SECONDS = 60.0
_SMALLEST = 64 * 2**10


class Counts(Protocol):
    def captured(self, rows: int, size: int) -> None: ...
    def capture_dropped(self, requests: int) -> None: ...
    def capture_failed(self) -> None: ...


class Place:
    """Where one replica writes: `root` is the pipeline's folder, each artifact has one in it."""

    def __init__(self, root: Path, digest: str, replica: str) -> None:
        self.root, self.folder, self.replica = root, root / digest[:12], replica


class Writer:
    """`apply` is told the settings whenever they change, None for no capture."""

    def __init__(
        self, place: Place, queue: Queue, columns: Columns, counts: Counts, apply: Callable[[Settings | None], None]
    ) -> None:
        self._place, self._queue, self._columns, self._counts, self._apply = place, queue, columns, counts, apply
        self._watched = Watched(place.root / FILE)
        self._stream: Stream | None = None
        self._tidied = float("-inf")
        self._trouble = ""
        self._odd: set[str] = set()
        self._stopping = False
        self._guarded(self.look)

    def run(self) -> None:
        while not self._stopping:
            self._queue.wait(EVERY)
            self.tick(time.monotonic())
        self.tick(time.monotonic())  # what came between the last one and the end
        self._guarded(self._finish)

    def stop(self) -> None:
        self._stopping = True
        self._queue.wake()

    def tick(self, now: float) -> None:
        """Write what waits, rotate what is full, delete what is old. `now`: seconds of a steady clock.

        What was in the sample when it was answered is written, also when the settings say otherwise since.
        """
        self._guarded(self.look)
        if page := self._queue.turn():
            try:
                if self._watched.now is not None:
                    self._write_page(page, now)
            finally:
                self._queue.done()
        more = True
        while more and (waiting := self._queue.take()):
            try:
                if self._watched.now is not None:
                    self._write(waiting, now)
            finally:
                self._queue.done(waiting)
            more = self._stopping or self._queue.many  # the few that came meanwhile have time until the next tick
        settings = self._watched.now
        if settings is not None:
            if not settings.sample or self._due(settings, now):
                self._guarded(self._finish)
            if now - self._tidied >= _TIDY_SECONDS:
                self._tidied = now
                self._guarded(lambda: self._tidy(settings))

    def look(self) -> None:
        """Follow `capture.json`. One file has one way of redacting."""
        before = self._watched.now
        if not self._watched.look():
            return
        settings = self._watched.now
        if settings is not None:
            if unknown := self._columns.follow(settings):
                log.warning("capture.json redacts %s, which this model has no input for", ", ".join(map(repr, unknown)))
            if settings.sample:
                import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]  # noqa: F401 - not at a rotation
        self._apply(settings)
        if not (before and settings and (before.redact, before.key) == (settings.redact, settings.key)):
            self._finish()

    def _write_page(self, page: Page, now: float) -> None:
        try:
            batches = self._columns.batches([page.part()])
        except Exception as odd:  # noqa: BLE001 - what cannot be packed is not on the page, but a thread must not end
            self._leave_out(page.count, odd)
        else:
            self._append(batches, page.count, now)

    def _write(self, records: list[Record], now: float) -> None:
        try:
            batches = self._columns.batches(parts(records))
        except Exception as odd:  # noqa: BLE001 - a model answers anything
            self._apart(records, now, odd)
        else:
            self._append(batches, len(records), now)

    def _append(self, batches: list[Any], requests: int, now: float) -> None:
        try:
            grown = self._open(batches[0].schema, now).write(batches)
        except Exception as failed:  # noqa: BLE001 - whatever a disk does, the replica goes on
            self._abandon()
            self._counts.capture_dropped(requests)
            self._failed(failed)
        else:
            self._counts.captured(sum(batch.num_rows for batch in batches), grown)
            self._works()

    def _apart(self, records: list[Record], now: float, odd: Exception) -> None:
        """One value that no column can hold must not take a second of traffic with it."""
        if len(records) > 1:
            half = len(records) // 2
            self._write(records[:half], now)
            self._write(records[half:], now)
        else:
            self._leave_out(1, odd)

    def _leave_out(self, requests: int, odd: Exception) -> None:
        self._counts.capture_dropped(requests)
        kind = type(odd).__name__
        if kind not in self._odd:
            self._odd.add(kind)
            log.warning("capture leaves out a request with a value that no column can hold (%s)", kind)

    def _open(self, schema: Any, now: float) -> Stream:
        if self._stream is not None and not (self._stream.there and self._stream.holds(schema)):
            self._guarded(self._finish)  # when it fails the stream is a leftover, and these records go into the next
        if self._stream is None:
            self._stream = Stream(self._place.folder, self._place.replica, schema, now)
        return self._stream

    def _due(self, settings: Settings, now: float) -> bool:
        """Full or old; smaller and sooner where the settings keep less than that."""
        if self._stream is None:
            return False
        size = min(_ROTATE_SIZE, max(_SMALLEST, settings.max_size // 4))
        age = min(_ROTATE_SECONDS, max(EVERY, settings.keep))
        return self._stream.size >= size or now - self._stream.started >= age

    def _finish(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.finish()

    def _abandon(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.abandon()

    def _tidy(self, settings: Settings) -> None:
        self._guarded(lambda: retain(self._place.root, settings.keep, settings.max_size, time.time()))
        if settings.sample:
            leftovers(self._place.folder)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as failed:  # noqa: BLE001 - whatever a disk does, the replica goes on
            self._failed(failed)

    def _failed(self, failed: Exception) -> None:
        """Counted each time, said once. Arrow's own sentences may hold a value, which must not get into a log."""
        self._counts.capture_failed()
        reason = str(failed) if isinstance(failed, OSError) else type(failed).__name__
        if reason != self._trouble:
            self._trouble = reason
            log.warning("what this replica answers is not kept: %s. Requests are answered all the same", reason)

    def _works(self) -> None:
        if self._trouble:
            self._trouble = ""
            log.warning("capture works again")
