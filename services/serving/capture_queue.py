"""What waits between the event loop and the one thread that writes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial

from .body import Head
from .capture_page import Page
from .fields import Array

MOST_REQUESTS, MOST_BYTES = 16_384, 32 * 2**20
"""Of what waits. More is dropped: a replica must not grow because a disk is slow."""
_MANY, _MANY_BYTES = 1024, 4 * 2**20
"""Written before the second is over: the writer holds the interpreter's lock for a few milliseconds at most."""

_LOOK_EVERY = 16
Values = Mapping[str, Array] | None
Record = tuple[bytes, bytes, int, bytes, int, float, float, int, Values, Values, int]
"""A request that is on no page: what `Part.about` has, inputs, outputs, bytes. A failed one has neither inputs nor
outputs."""


class Queue:
    """`pack`, `tear` and `put` are the event loop's, the others the writer's."""

    def __init__(self, names: Sequence[str], width: int) -> None:
        self.most_requests, self.most_bytes = MOST_REQUESTS, MOST_BYTES
        self._new = partial(Page, names, width)
        self._lock = threading.Lock()
        self._page = self._new()
        self._records: deque[Record] = deque()
        self._put = self._done = self._turned = 0
        self._wake = threading.Event()

    def pack(self, request: Head, at: float, seconds: float) -> bool:
        """False: it is unlike the others on the page, or there is no room."""
        with self._lock:
            page = self._page
            if (not page.count % _LOOK_EVERY or page.size > _MANY_BYTES) and not self._room():
                return False
            return page.add(request, at, seconds)

    def tear(self) -> int:
        """Throw the page away, for something broke off in the middle of it. The requests that are lost with it."""
        with self._lock:
            torn, self._page = self._page, self._new()
        return torn.count

    def put(self, record: Record) -> bool:
        """False: there is no room, and the record is lost."""
        if not self._room(record[-1]):
            return False
        self._put += record[-1]
        self._records.append(record)
        return True

    def turn(self) -> Page | None:
        """The page so far; it weighs until `done`. The next request begins another one."""
        with self._lock:
            page = self._page
            if not page.count:
                return None
            self._page = self._new()
            self._turned = page.size
        return page

    def take(self) -> list[Record]:
        """The oldest; what they weigh counts until `done`."""
        found: list[Record] = []
        size = 0
        while self._records and len(found) < _MANY and size < _MANY_BYTES:
            found.append(self._records.popleft())
            size += found[-1][-1]
        return found

    def done(self, records: Sequence[Record] = ()) -> None:
        self._turned = 0
        self._done += sum(record[-1] for record in records)

    @property
    def many(self) -> bool:
        """Whether enough wait to be written at once."""
        return len(self._records) >= _MANY or self._put - self._done >= _MANY_BYTES

    def wait(self, seconds: float) -> None:
        """Until much waits, somebody calls `wake`, or the time is over."""
        self._wake.wait(seconds)
        self._wake.clear()

    def wake(self) -> None:
        self._wake.set()

    def _room(self, more: int = 0) -> bool:
        """Wakes the writer when there is less of it."""
        page = self._page
        count = page.count + len(self._records)
        size = page.size + self._turned + self._put - self._done + more
        if (count >= _MANY or size >= _MANY_BYTES) and not self._wake.is_set():
            self._wake.set()
        return count < self.most_requests and size < self.most_bytes
