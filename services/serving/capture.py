"""What a replica answers is kept: inputs, outputs and who asked, for drift, for comparing variants, for replays.

BentoML has a hook of its own, `bentoml.monitor`. It was measured at 118 us for 4 columns, all of it on the event loop,
it does not know `x-request-id`, by which the answers of two variants are joined, and two monitors of one process mix
their rows. Ours appends one tuple to a queue; a thread writes Arrow every two seconds. See docs/capture.md.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .body import Head
from .capture_columns import Columns, Source
from .capture_page import KINDS, LARGEST, MOST_ROWS, weight
from .capture_queue import Queue, Values
from .capture_settings import Settings
from .capture_writer import Counts, Place, Writer
from .fields import Array
from .schema import Arrays, Schema

log = logging.getLogger("bentoml.lockgate")

VARIABLE = "LOCKGATE_CAPTURE"
"""Environment variable that names the folder."""
FAILED = 400
_STOP_WITHIN = 5.0
_READ_ONLY_ENGINES = frozenset({"onnxruntime", "boosted", "savedmodel"})
"""Others may write into the arrays that they are given: those get a copy of what they are asked."""
_OVERHEAD = 1024
"""Bytes of the objects that a record is made of."""


class Capture:
    """The event loop's side. What is queued belongs to nobody else: no engine and no codec changes it later."""

    def __init__(self, root: Path, schema: Schema, source: Source, counts: Counts, engine: str) -> None:
        self.sticky = b""
        """Header that tells users apart, in lower case."""
        self.redacts = True
        """Whether something of the inputs is to be kept from everybody; so it is while no settings say otherwise."""
        self._below = 0
        self._counts, self._copies = counts, engine not in _READ_ONLY_ENGINES
        self._shape(schema)
        self._queue = Queue(schema.names, self._width)
        columns = Columns(schema.fields, source)
        self._writer = Writer(Place(root, source.digest, source.replica), self._queue, columns, counts, self._follow)
        self._thread = threading.Thread(target=self._writer.run, name="capture", daemon=True)
        self._thread.start()

    def inputs(self, request: Head, x: Arrays, rows: int) -> None:
        """Keep what the engine is about to get, if this request is in the sample."""
        if zlib.crc32(request.id) < self._below:
            request.rows = rows
            if self._as_they_are and rows <= MOST_ROWS:
                request.inputs = x
            else:
                self._copy(request, x, rows)

    def add(self, request: Head, status: int, seconds: float) -> None:
        """The request is answered; what the engine answered is in `outputs`. Afterwards the engine may do as it likes.

        A failed request is kept without what it asked.
        """
        if status >= FAILED:
            if zlib.crc32(request.id) < self._below:
                self._put(request, status, seconds, (None, None, _OVERHEAD))
        elif request.inputs is not None:
            try:
                if not (request.fits and self._queue.pack(request, time.time(), seconds)):
                    self._put(request, status, seconds, self._apart(request))
            except Exception:  # noqa: BLE001 - a model answers anything
                self._counts.capture_dropped(1 + self._queue.tear())

    def close(self) -> None:
        """Write what waits and turn the file into Parquet; a disk that hangs is not waited for."""
        self._writer.stop()
        self._thread.join(_STOP_WITHIN)
        if self._thread.is_alive():
            log.warning("capture did not finish within %g s; the next replica finishes its file", _STOP_WITHIN)

    def _copy(self, request: Head, x: Arrays, rows: int) -> None:
        try:
            if not self._fixed or rows > MOST_ROWS:
                request.inputs, request.fits = _cut(x, rows), False
                return
            whole = x[self._first].base if self._width else None
            if type(whole) is np.ndarray and whole.shape == (rows, self._width):
                request.inputs = dict(zip(x, whole.copy().T, strict=True))
            else:
                request.inputs = {name: value.copy() for name, value in x.items()}
        except Exception:  # noqa: BLE001 - a request never fails because it cannot be kept
            self._counts.capture_dropped(1)

    def _apart(self, request: Head) -> tuple[Values, Values, int]:
        """Of a request that fits on no page."""
        inputs = _cut(request.inputs, request.rows) if request.fits else request.inputs
        outputs = _cut(request.outputs or {}, request.rows)
        return inputs, outputs, _OVERHEAD + sum(map(_size, (*inputs.values(), *outputs.values())))

    def _put(self, request: Head, status: int, seconds: float, what: tuple[Values, Values, int]) -> None:
        kind, rows = KINDS.get(request.shadow, 0), request.rows if status < FAILED else 0
        about = (request.id, request.variant, kind, request.unit, status, time.time(), seconds, rows)
        if not self._queue.put((*about, *what)):
            self._counts.capture_dropped(1)

    def _follow(self, settings: Settings | None) -> None:
        """From the writer's thread; each is one assignment."""
        self._below = int(settings.sample * 2**32) if settings else 0
        self.sticky = settings.sticky if settings else b""
        self.redacts = bool(settings.redact) if settings else True

    def _shape(self, schema: Schema) -> None:
        """What can be known of requests before there is one."""
        fields, first = schema.fields, schema.fields[0]
        alike = all(f.column and f.required and f.dtype == first.dtype != "object" for f in fields)
        self._first, self._width = first.name, len(fields) if len(fields) > 1 and alike else 0
        """Of the one matrix whose columns such requests are: see `Schema`."""
        sizes = [int(np.prod(f.shape[1:])) * np.dtype(f.dtype).itemsize for f in fields]
        plain = all(-1 not in f.shape[1:] and (f.dtype != "object" or f.column) for f in fields)
        self._fixed = plain and max(sizes) <= LARGEST
        """Every row has as many values as any other, or is one text: requests fit on pages."""
        self._as_they_are = self._fixed and not self._copies


def _cut(values: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """Copies of the first rows of what has rows and is not too large: a view would keep a whole body or batch."""
    return {
        name: value[:MOST_ROWS].copy()
        for name, value in values.items()
        if value.ndim and len(value) == rows and value.nbytes <= LARGEST * rows
    }


def _size(value: Array) -> int:
    """Bytes that it takes in memory; at most, where it holds texts, and about so many, where it holds other objects."""
    if value.dtype.kind != "O":
        return value.nbytes
    return sum(map(weight, value.tolist() if value.ndim == 1 else value.ravel().tolist()))
