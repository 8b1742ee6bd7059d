"""Captured traffic as arrays: one row for each live request that stable answered, in the order of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

from lockgate.flows.rehearsal.compared import Compared, compared
from lockgate.flows.rehearsal.errors import BadTraffic
from lockgate.monitoring.traffic.errors import Unreadable
from lockgate.monitoring.traffic.form import OUTPUT
from lockgate.monitoring.traffic.read import read
from lockgate.rollout.gates import Disagreement

Array = NDArray[Any]

BLOCK = 0.25
"""Seconds of traffic that stay together where no users are known: a client's quick retries, a hiccup."""
_FAILED = 500
_FEWEST = 100
_COLUMNS = ("request_id", "row", "rows", "at", "variant", "kind", "unit", "status", "seconds", "digest", "replica")


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one side answered to the requests. All (N,)."""

    failed: Array
    seconds: Array
    present: Array
    """Whether its answer was captured."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """N requests."""

    at: Array
    """(N,): seconds after the first one, rising."""
    stable: Side
    candidate: Side | None
    """Its answers to copies of the requests, where a shadow was captured."""
    unit: Array
    """(N,): requests with the same number go to the same side."""
    shuffled: str
    """What these units are, in words."""
    replica: Array
    """(N,): which of stable's replicas answered."""
    pairs: Mapping[str, Compared]
    """By gate, where answers can be compared."""
    routed: bool
    """Whether a router said which side answers; answers are compared only then."""

    @property
    def seconds(self) -> float:
        return float(self.at[-1])

    @property
    def rps(self) -> float:
        return len(self.at) / max(self.seconds, 1e-9)


def captured(traffic: Path, candidate_traffic: Path | None, gates: Mapping[str, Disagreement]) -> Captured:
    """From files, or folders that hold them. Raises `BadTraffic`."""
    table = _read(traffic, outputs=bool(gates))
    more = _read(candidate_traffic, outputs=bool(gates)) if candidate_traffic else None
    first = table.filter(pc.and_(pc.equal(table.column("row"), 0), pc.is_valid(table.column("at"))))
    stable = _stables(first).sort_by("at")
    if stable.num_rows < _FEWEST:
        raise BadTraffic(
            f"{traffic} holds {stable.num_rows} live requests that stable answered; a rehearsal needs {_FEWEST} at"
            " least, and as many as the steps take: see monitoring.capture in the spec"
        )
    copies = _copies(first, more)
    ids = stable.column("request_id").to_pylist()
    at = _seconds(stable.column("at"))
    unit, shuffled = _units(stable, at)
    return Captured(
        at=at,
        stable=_side(stable),
        candidate=_joined(ids, copies, candidate_traffic),
        unit=unit,
        shuffled=shuffled,
        replica=_codes(stable.column("replica")),
        pairs=compared(_together(table, more), ids, gates),
        routed=bool(pc.any(pc.equal(stable.column("variant"), "stable")).as_py()),
    )


def _read(source: Path, *, outputs: bool) -> Any:
    """Inputs never: they may be much larger than all else. Outputs where they are compared."""
    try:
        table = read(source, lambda name: name in _COLUMNS or (outputs and name.startswith(OUTPUT)))
    except Unreadable as error:
        raise BadTraffic(str(error)) from None
    if not table.num_rows:
        raise BadTraffic(f"{source} holds no captured traffic; is monitoring.capture on, and was there any?")
    if lacks := [name for name in _COLUMNS if name not in table.column_names]:
        raise BadTraffic(f"{source} has no column {', '.join(lacks)}; captured traffic has: see docs/planning.md")
    kind = table.schema.field("seconds").type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise BadTraffic(f"{source}: column seconds holds {kind}, not numbers")
    return table


def _stables(first: Any) -> Any:
    """Without a router there is no variant: all that was answered is stable's."""
    live = pc.equal(first.column("kind"), "live")
    return first.filter(pc.and_(live, pc.is_in(first.column("variant"), pa.array(["stable", ""]))))


def _copies(first: Any, more: Any | None) -> Any:
    """The candidate's answers: to copies, or in a file of its own, all that are there. Of several, the last one's."""
    if more is not None:
        return more.filter(pc.equal(more.column("row"), 0))
    copies = first.filter(pc.equal(first.column("kind"), "shadow"))
    if not copies.num_rows:
        return copies
    last = copies.column("digest")[int(np.argmax(_seconds(copies.column("at"))))]
    return copies.filter(pc.equal(copies.column("digest"), last))


def _joined(ids: list[str], copies: Any, source: Path | None) -> Side | None:
    if not copies.num_rows:
        return None
    rows = {name: row for row, name in reversed(list(enumerate(copies.column("request_id").to_pylist())))}
    found = np.array([rows.get(name, -1) for name in ids])
    if (found < 0).all():
        if source is not None:
            raise BadTraffic(
                f"{source} has no answer to any of the live requests; the candidate's answers are found by request id"
            )
        return None
    side = _side(copies)
    return Side(side.failed[found], side.seconds[found], found >= 0)


def _side(table: Any) -> Side:
    status = _numbers(table.column("status"), 0)
    seconds = pc.fill_null(table.column("seconds"), 0).to_numpy().astype(np.float64)
    return Side(status >= _FAILED, np.nan_to_num(seconds), np.ones(len(status), bool))


def _units(stable: Any, at: Array) -> tuple[Array, str]:
    """Users, where most requests have one; a request without one is by itself."""
    named = stable.column("unit")
    if named.null_count > stable.num_rows / 2:
        return np.floor(at / BLOCK).astype(np.int64), f"blocks of {BLOCK * 1000:g} ms"
    codes = _codes(named)
    alone = codes < 0
    codes[alone] = codes.max(initial=0) + 1 + np.arange(alone.sum())
    return codes, "users"


def _codes(column: Any) -> Array:
    """(N,): a number for each distinct text; -1 for none."""
    encoded = column.combine_chunks().cast(pa.string()).dictionary_encode()
    return np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), np.int64)


def _seconds(column: Any) -> Array:
    micros = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64()).to_numpy()
    return np.asarray((micros - micros.min()) / 1e6)


def _numbers(column: Any, missing: int) -> Array:
    return np.asarray(pc.fill_null(column, missing).to_numpy(), np.int64)


def _together(table: Any, more: Any | None) -> Any:
    return table if more is None else pa.concat_tables([table, more], promote_options="permissive")
