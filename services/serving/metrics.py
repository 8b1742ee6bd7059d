"""What a replica counts of itself. It does not know whether it is stable or candidate: Envoy counts that."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Any

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_LABELS = ("model", "version")
EVERY = 1.0
"""Seconds for which requests are counted in plain numbers: what a replica that is killed has not told."""


class _Histogram:
    """Adds up what is observed; `tell` hands it to prometheus_client, which takes a lock and a write for each value."""

    def __init__(self, of: Any, bounds: tuple[float, ...]) -> None:
        self._of, self._bounds = of, bounds
        self._counts, self._sum = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def tell(self) -> None:
        counts, self._counts = self._counts, [0] * len(self._counts)
        added, self._sum = self._sum, 0.0
        for bucket, count in zip(self._of._buckets, counts, strict=True):  # noqa: SLF001 - a test says when it moves
            if count:
                bucket.inc(count)
        self._of._sum.inc(added)  # noqa: SLF001


class Metrics:
    """Made inside the worker only: prometheus_client reads PROMETHEUS_MULTIPROC_DIR when it is imported.

    Requests are added up here and told to prometheus_client by `tell`: before each scrape, and at the latest with the
    first request after a second. The event loop's alone, but for what is captured, which the writer's thread counts.
    """

    def __init__(self, model: str, version: str) -> None:
        from prometheus_client import Counter, Histogram

        self._of = {"model": model, "version": version}
        self._requests = Counter("lockgate_service_requests", "Requests to the model by status.", (*_LABELS, "code"))
        self._rows = Counter("lockgate_service_rows", "Rows answered.", _LABELS).labels(**self._of)
        seconds = Histogram(
            "lockgate_service_request_seconds", "From the request's head to its answer.", _LABELS, buckets=BUCKETS
        )
        engine = Histogram(
            "lockgate_service_engine_seconds", "Waiting for the engine and its call.", _LABELS, buckets=BUCKETS
        )
        batch = Histogram("lockgate_service_batch_rows", "Rows in one engine call.", _LABELS, buckets=ROWS)
        self._seconds = _Histogram(seconds.labels(**self._of), BUCKETS)
        self._engine = _Histogram(engine.labels(**self._of), BUCKETS)
        self._batch = _Histogram(batch.labels(**self._of), ROWS)
        self._captured = Counter("lockgate_service_captured_rows", "Rows kept as captured traffic.", _LABELS)
        self._bytes = Counter("lockgate_service_captured_bytes", "Bytes of captured traffic written.", _LABELS)
        self._dropped = Counter("lockgate_service_capture_dropped", "Requests that could not be kept.", _LABELS)
        self._failures = Counter(
            "lockgate_service_capture_failures", "Writes of captured traffic that failed.", _LABELS
        )
        for counter in (self._captured, self._bytes, self._dropped, self._failures):
            counter.labels(**self._of)
        self._codes = dict.fromkeys(
            (200, 422, 500), 0
        )  # a counter that is there at 0 has a rate from its first event on
        self._answered_rows = 0
        self._told = 0.0
        self.tell()

    def tell(self) -> None:
        """Whoever reads prometheus_client's values now reads all that was counted."""
        self._told = time.monotonic()
        for code, count in self._codes.items():
            self._requests.labels(**self._of, code=str(code)).inc(count)
            self._codes[code] = 0
        self._rows.inc(self._answered_rows)
        self._answered_rows = 0
        for histogram in (self._seconds, self._engine, self._batch):
            histogram.tell()

    def answered(self, code: int, seconds: float) -> None:
        self._codes[code] = self._codes.get(code, 0) + 1
        self._seconds.observe(seconds)
        if time.monotonic() - self._told > EVERY:
            self.tell()

    def inferred(self, rows: int, seconds: float) -> None:
        self._answered_rows += rows
        self._engine.observe(seconds)

    def batch(self, rows: int) -> None:
        self._batch.observe(rows)

    def captured(self, rows: int, size: int) -> None:
        self._captured.labels(**self._of).inc(rows)
        self._bytes.labels(**self._of).inc(size)

    def capture_dropped(self, requests: int) -> None:
        self._dropped.labels(**self._of).inc(requests)

    def capture_failed(self) -> None:
        self._failures.labels(**self._of).inc()
