"""What a replica counts of itself. It does not know whether it is stable or candidate: Envoy counts that."""

from __future__ import annotations

from typing import Any

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_LABELS = ("model", "version")


class Metrics:
    """Made inside the worker only: prometheus_client reads PROMETHEUS_MULTIPROC_DIR when it is imported."""

    def __init__(self, model: str, version: str) -> None:
        from prometheus_client import Counter, Histogram

        self._of = {"model": model, "version": version}
        self._requests = Counter("lockgate_service_requests", "Requests to the model by status.", (*_LABELS, "code"))
        self._rows = Counter("lockgate_service_rows", "Rows answered.", _LABELS).labels(**self._of)
        self._seconds = Histogram(
            "lockgate_service_request_seconds", "From the request's head to its answer.", _LABELS, buckets=BUCKETS
        ).labels(**self._of)
        self._engine = Histogram(
            "lockgate_service_engine_seconds", "Waiting for the engine and its call.", _LABELS, buckets=BUCKETS
        ).labels(**self._of)
        self._batch = Histogram(
            "lockgate_service_batch_rows", "Rows in one engine call.", _LABELS, buckets=ROWS
        ).labels(**self._of)
        self._captured = Counter("lockgate_service_captured_rows", "Rows kept as captured traffic.", _LABELS)
        self._bytes = Counter("lockgate_service_captured_bytes", "Bytes of captured traffic written.", _LABELS)
        self._dropped = Counter("lockgate_service_capture_dropped", "Requests that could not be kept.", _LABELS)
        self._failures = Counter(
            "lockgate_service_capture_failures", "Writes of captured traffic that failed.", _LABELS
        )
        for counter in (self._captured, self._bytes, self._dropped, self._failures):
            counter.labels(**self._of)
        self._by_code: dict[int, Any] = {}
        for code in (200, 422, 500):  # a counter that is there at 0 has a rate from its first event on
            self._count(code)

    def _count(self, code: int) -> Any:
        self._by_code[code] = self._requests.labels(**self._of, code=str(code))
        return self._by_code[code]

    def answered(self, code: int, seconds: float) -> None:
        (self._by_code.get(code) or self._count(code)).inc()
        self._seconds.observe(seconds)

    def inferred(self, rows: int, seconds: float) -> None:
        self._rows.inc(rows)
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
