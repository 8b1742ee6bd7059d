"""What a replica answers is kept: inputs, outputs and who asked, for drift, for comparing variants, for replays.

BentoML has a hook of its own, `bentoml.monitor`. It was measured at 118 us for 4 columns, all of it on the event loop,
it does not know `x-request-id`, by which the answers of two variants are joined, and two monitors of one process mix
their rows. Ours appends one tuple to a queue; a thread writes Arrow once a second. See docs/capture.md.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from pathlib import Path

import numpy as np

from .body import Head
from .capture_columns import Columns, Source
from .capture_queue import LARGEST, MOST_ROWS, Queue
from .capture_settings import Settings
from .capture_writer import Counts, Place, Writer
from .codecs import ARROW_TYPES
from .fields import Array
from .schema import Arrays, Schema

log = logging.getLogger("bentoml.lockgate")

VARIABLE = "LOCKGATE_CAPTURE"
"""Environment variable that names the folder."""
_STOP_WITHIN = 5.0
_READ_ONLY_ENGINES = frozenset({"onnxruntime", "boosted", "savedmodel"})
"""Others may write into the arrays that they are given: those get a copy of what they are asked."""
_OF_ONE_TEXT, _OVERHEAD = 64, 1024
"""Bytes of the objects that a text and a record are made of."""


class Capture:
    """The event loop's side. What is queued belongs to nobody else: no engine and no codec changes it later."""

    def __init__(self, root: Path, schema: Schema, source: Source, counts: Counts, engine: str) -> None:
        self.sticky = b""
        """Header that tells users apart, in lower case."""
        self._below = 0
        self._counts, self._copies = counts, engine not in _READ_ONLY_ENGINES
        self._queue = Queue()
        self._shape(schema)
        columns = Columns(schema.fields, source)
        self._writer = Writer(Place(root, source.digest, source.replica), self._queue, columns, counts, self._follow)
        self._thread = threading.Thread(target=self._writer.run, name="capture", daemon=True)
        self._thread.start()

    def inputs(self, request: Head, x: Arrays, rows: int, body: int) -> None:
        """Keep what the engine is about to get, if this request is in the sample. `body`: the bytes it came in."""
        if zlib.crc32(request.id) < self._below:
            try:
                self._inputs(request, x, rows, body)
            except Exception:  # noqa: BLE001 - a request never fails because it cannot be kept
                self._miss(request)

    def outputs(self, request: Head, outputs: Arrays) -> None:
        """Keep the answer. An engine may use its buffers again, and a batch's outputs are parts of one array."""
        if request.inputs is not None:
            try:
                self._outputs(request, outputs)
            except Exception:  # noqa: BLE001 - a model answers anything
                self._miss(request)

    def add(self, request: Head, status: int, seconds: float) -> None:
        """The request is answered. A failed one is kept without what it asked."""
        failed = status >= 400
        if failed:
            if zlib.crc32(request.id) >= self._below:
                return
            rows, inputs, outputs, size = 0, None, None, 0
        elif (outputs := request.outputs) is None:
            return
        else:
            rows, inputs, size = request.rows, request.inputs, request.size
        record = (
            request.id,
            request.variant,
            request.shadow,
            request.unit,
            status,
            time.time(),
            seconds,
            rows,
            inputs,
            outputs,
            size + _OVERHEAD,
        )
        if not self._queue.put(record):
            self._counts.capture_dropped(1)

    def close(self) -> None:
        """Write what waits and turn the file into Parquet; a disk that hangs is not waited for."""
        self._writer.stop()
        self._thread.join(_STOP_WITHIN)
        if self._thread.is_alive():
            log.warning("capture did not finish within %g s; the next replica finishes its file", _STOP_WITHIN)

    def _miss(self, request: Head) -> None:
        request.inputs = request.outputs = None
        self._counts.capture_dropped(1)

    def _inputs(self, request: Head, x: Arrays, rows: int, body: int) -> None:
        request.rows = rows
        if self._width:
            whole = x[self._first].base
            if type(whole) is np.ndarray and whole.shape == (rows, self._width):
                request.inputs = whole[:MOST_ROWS].copy() if self._copies or rows > MOST_ROWS else whole
                request.size = request.inputs.nbytes
                return
        if self._as_they_are and rows <= MOST_ROWS and body <= LARGEST and not self._packed(request):
            request.inputs = x
            request.size = self._text_bytes * body + rows * self._row_bytes
        else:  # copied, for a view of a column would keep the whole body
            request.inputs = {name: v[:MOST_ROWS].copy() for name, v in x.items() if v.nbytes <= LARGEST * rows}
            request.size = sum(map(_size, request.inputs.values()))

    def _outputs(self, request: Head, outputs: Arrays) -> None:
        rows = request.rows
        request.outputs = kept = {}
        for name, value in outputs.items():
            if value.ndim and len(value) == rows and value.nbytes <= LARGEST * rows:
                kept[name] = value.copy() if rows <= MOST_ROWS else value[:MOST_ROWS].copy()
                request.size += _size(kept[name])

    def _packed(self, request: Head) -> bool:
        """An Arrow body may be compressed: its size says nothing of its texts."""
        return bool(self._text_bytes) and request.content_type.partition(";")[0].strip().lower() in ARROW_TYPES

    def _follow(self, settings: Settings | None) -> None:
        """From the writer's thread; each is one assignment."""
        self._below = int(settings.sample * 2**32) if settings else 0
        self.sticky = settings.sticky if settings else b""

    def _shape(self, schema: Schema) -> None:
        """What can be known of requests before there is one."""
        fields, first = schema.fields, schema.fields[0]
        alike = all(f.column and f.required and f.dtype == first.dtype for f in fields)
        numbers = all(f.dtype != "object" for f in fields)
        self._first = first.name
        self._width = len(fields) if len(fields) > 1 and alike and numbers else 0
        """Of the one matrix whose columns such requests are: see `Schema`."""
        sizes = [int(np.prod(f.shape[1:])) * np.dtype(f.dtype).itemsize for f in fields]
        fixed = all(-1 not in f.shape[1:] for f in fields)
        self._as_they_are = fixed and max(sizes) <= LARGEST and not self._copies
        self._row_bytes = sum(sizes) if fixed else 0
        self._text_bytes = 0 if numbers else 4
        """A character of a string takes up to four times what it takes in a body."""


def _size(value: Array) -> int:
    """Bytes that it takes in memory; at most, where it holds texts."""
    if value.dtype.kind != "O":
        return value.nbytes
    return sum(_OF_ONE_TEXT + 4 * len(item) if isinstance(item, str) else _OF_ONE_TEXT for item in value.flat)
