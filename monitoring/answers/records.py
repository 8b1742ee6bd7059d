"""What a batch of captured traffic says about answers: one row of each request that was answered, and by whom."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.answers.columns import Array, Column, column, stacked
from lockgate.monitoring.answers.errors import Incomparable
from lockgate.monitoring.traffic.form import INPUT, KEPT_ROWS, OUTPUT, prefix

COLUMNS = ("request_id", "row", "rows", "at", "variant", "kind", "status", "digest")
"""What is read beside inputs and outputs."""
_FAILED = 400
_LONG_ID = 128
_MICRO = 1e-6


class Role(IntEnum):
    """What a record is to the comparison."""

    NONE = 0
    STABLE = 1
    """A live request that stable answered."""
    CANDIDATE = 2
    """A copy of one, which the candidate answered."""
    ECHO = 3
    """A copy of one, which stable answered."""
    LIVE = 4
    """A live request that the candidate answered: it has predictions, and nothing to be compared with."""


class Records:
    """The rows of one batch that count. All arrays are (rows,); `at` is in unix seconds, `rows` of the request."""

    def __init__(self, batch: Any, kept: Array, roles: Array) -> None:
        self.roles = roles
        self.keys = [_key(name) for name in batch.column("request_id").take(pa.array(kept)).to_pylist()]
        self.rows = _numbers(batch.column("rows"), 0)[kept]
        self.at = _micros(batch.column("at"))[kept] * _MICRO
        names = [name for name in batch.schema.names if name.startswith(OUTPUT)]
        self._answers = batch.select(names).take(pa.array(kept))
        self._columns: dict[str, Column] = {}
        self._origin: tuple[Any, Array] | None = (batch, kept)
        self.size = self._answers.nbytes / max(1, len(kept))
        """Bytes that one of them holds in memory."""

    @property
    def outputs(self) -> list[str]:
        """In the order of the schema."""
        return [name.removeprefix(OUTPUT) for name in self._answers.schema.names]

    def output(self, name: str) -> Column:
        if name not in self._columns:
            field = self._answers.schema.field(OUTPUT + name)
            self._columns[name] = column(self._answers.column(OUTPUT + name), field)
        return self._columns[name]

    def forget(self) -> None:
        """Inputs are only to be had while the batch is at hand: they may be much larger than answers."""
        self._origin = None

    def inputs(self, row: int) -> dict[str, Any] | None:
        """By name, as numpy values; None once they were forgotten."""
        if self._origin is None:
            return None
        batch, kept = self._origin
        found = {}
        for name in batch.schema.names:
            if name.startswith(INPUT):
                value = column(batch.column(name).slice(int(kept[row]), 1), batch.schema.field(name))
                found[name.removeprefix(INPUT)] = value.values[0] if value.present[0] else None
        return found


def records(batch: Any, stable: str, candidate: str) -> Records | None:
    """Of the sides with these digests; None where no row counts.

    Failed requests have no answer. Of a request with several rows one counts, the same on both sides.
    """
    roles = _roles(batch, prefix(stable), prefix(candidate))
    answered = _numbers(batch.column("status"), _FAILED) < _FAILED
    usable = np.asarray(batch.column("request_id").is_valid().to_numpy(zero_copy_only=False))
    kept = np.flatnonzero((roles != Role.NONE) & answered & usable)
    if len(kept):
        kept = kept[_chosen(batch.take(pa.array(kept)))]
    return Records(batch, kept, roles[kept]) if len(kept) else None


def gathered(places: Sequence[tuple[Records, int]], name: str, side: str) -> Column:
    """The answers at `places`, in their order. Raises `Incomparable` where they have no output of that name."""
    wanted: dict[int, tuple[Records, list[int]]] = {}
    for i, (of, _) in enumerate(places):
        wanted.setdefault(id(of), (of, []))[1].append(i)
    parts, order = [], []
    for of, indices in wanted.values():
        if name not in of.outputs:
            names = ", ".join(repr(other) for other in of.outputs) or "none"
            raise Incomparable(f"is not among the outputs that {side} answers ({names}); name one of them as `output`")
        parts.append(of.output(name).take(np.array([places[i][1] for i in indices])))
        order += indices
    return stacked(parts).take(np.argsort(np.array(order)))


def first_output(places: Sequence[tuple[Records, int]]) -> str | None:
    """What the first of them with an output calls it. Raises `Incomparable` where none has any."""
    found = next((of.outputs[0] for of, _ in places if of.outputs), None)
    if places and not found:
        raise Incomparable("answers were captured without any output; see whether the model answers one")
    return found


def kept_answers(*sides: Column) -> Array:
    """The rows in which every side has an answer. Raises `Incomparable` where there are none."""
    rows = np.flatnonzero(np.logical_and.reduce([side.present for side in sides]))
    if not len(rows):
        raise Incomparable("is in none of the captured answers: what is larger than 64 KiB is left out")
    return rows


def _roles(batch: Any, stable: str, candidate: str) -> Array:
    digest, kind, variant = (_text(batch.column(name)) for name in ("digest", "kind", "variant"))
    ours, theirs = (_mask(pc.starts_with(digest, side)) & bool(side) for side in (stable, candidate))
    live, shadow, echo = (_mask(pc.equal(kind, name)) for name in ("live", "shadow", "echo"))
    roles = np.full(batch.num_rows, Role.NONE, np.int8)
    roles[theirs & live & _mask(pc.equal(variant, "candidate"))] = Role.LIVE
    roles[theirs & shadow] = Role.CANDIDATE
    roles[ours & echo] = Role.ECHO
    roles[ours & live & _mask(pc.equal(variant, "stable"))] = Role.STABLE
    return roles


def _chosen(batch: Any) -> Array:
    row, rows = _numbers(batch.column("row"), -1), _numbers(batch.column("rows"), 0)
    kept = np.clip(rows, 1, KEPT_ROWS)
    if (kept == 1).all():
        return np.asarray(row == 0)
    ids = _text(batch.column("request_id")).dictionary_encode()
    hashes = np.array([zlib.crc32(name.encode()) for name in ids.dictionary.to_pylist()], np.int64)
    return np.asarray(hashes[ids.indices.to_numpy()] % kept == row)


def _key(request_id: str) -> str:
    """Clients choose request ids, and may choose long ones."""
    if len(request_id) <= _LONG_ID:
        return request_id
    return hashlib.blake2b(request_id.encode(), digest_size=16).hexdigest()


def _text(array: Any) -> Any:
    return array.cast(pa.string())


def _mask(array: Any) -> Array:
    return np.asarray(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False))


def _numbers(array: Any, missing: int) -> Array:
    return np.asarray(pc.fill_null(array.cast(pa.int64(), safe=False), missing).to_numpy(zero_copy_only=False))


def _micros(array: Any) -> Array:
    return _numbers(array.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64()), 0)
