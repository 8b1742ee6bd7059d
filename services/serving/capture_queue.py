"""What waits between the event loop, which only appends, and the one thread that writes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from .fields import Array

MOST_ROWS = 64
"""Of one request."""
LARGEST = 64 * 2**10
"""Bytes of one value of one row; a larger one is not kept."""
MOST_RECORDS, MOST_BYTES = 16_384, 32 * 2**20
"""Of what waits. More is dropped: a replica must not grow because a disk is slow."""
_MANY, _MANY_BYTES = 1024, 4 * 2**20
"""Written before the second is over, and at once: the writer holds the interpreter's lock for milliseconds at most."""

Inputs = Array | Mapping[str, Array]
"""By name; or one matrix with a column for each input, where all are numbers of one type."""
Record = tuple[bytes, bytes, bytes, bytes, int, float, float, int, Inputs | None, Mapping[str, Array] | None, int]
"""Id, variant, shadow, unit, status, unix time, seconds, rows, inputs, outputs, bytes.

Plain, for one is made per request. A failed request has neither inputs nor outputs."""


class Queue:
    """`put` is the event loop's, `take` and `done` are the writer's: each number here is written by one thread."""

    def __init__(self, most_records: int = MOST_RECORDS, most_bytes: int = MOST_BYTES) -> None:
        self._most_records, self._most_bytes = most_records, most_bytes
        self._records: deque[Record] = deque()
        self._put = self._done = 0
        self._wake = threading.Event()

    def put(self, record: Record) -> bool:
        """False: it is full, and the record is lost."""
        size = self._put - self._done + record[-1]
        count = len(self._records)
        if count >= self._most_records or size > self._most_bytes:
            return False
        self._put += record[-1]
        self._records.append(record)
        if (count >= _MANY or size >= _MANY_BYTES) and not self._wake.is_set():
            self._wake.set()
        return True

    def take(self) -> list[Record]:
        """The oldest; what they weigh counts until `done`."""
        found: list[Record] = []
        size = 0
        while self._records and len(found) < _MANY and size < _MANY_BYTES:
            found.append(self._records.popleft())
            size += found[-1][-1]
        return found

    def done(self, records: list[Record]) -> None:
        self._done += sum(record[-1] for record in records)

    @property
    def many(self) -> bool:
        """Whether enough wait to be written at once."""
        return len(self._records) >= _MANY or self._put - self._done >= _MANY_BYTES

    def wait(self, seconds: float) -> None:
        """Until many records wait, somebody calls `wake`, or the time is over."""
        self._wake.wait(seconds)
        self._wake.clear()

    def wake(self) -> None:
        self._wake.set()
