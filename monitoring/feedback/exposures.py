"""Which users got which variant, from the captured traffic of one step.

A user is a number of 63 bits and a sign, made of the captured hash; so is a request, of its id. A request without the
sticky header is a user of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.traffic.form import prefix
from lockgate.monitoring.traffic.tail import Tail

STABLE, CANDIDATE, OTHERS = 0, 1, 2
"""Arms, as numbers: those of the others begin with the last one, in their order."""
NOBODY = 0
"""The number of a request without an id."""
SETTLING = 2.0
"""Seconds after a change of the routes, in which it is not known by which of both a request was routed."""
_COLUMNS = frozenset({"request_id", "row", "at", "variant", "kind", "unit", "seconds", "digest"})
_OTHER = "the challenger "
_TURN = 20_000
_MOST_ROWS = 400_000
"""Of one call: what is left comes with the next one."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where the traffic is captured, and the digests of all sides' artifacts; `others`: by name."""

    folder: Path
    stable: str
    candidate: str
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exposures:
    """Live requests, one of each index. All arrays are (requests,).

    `requests`, `units`: int64. `arms`: int64, of the variant to which it was routed. `at`: when it was answered, and
    `came`: when it came in, both unix seconds.
    """

    requests: Array
    units: Array
    arms: Array
    at: Array
    came: Array

    def __len__(self) -> int:
        return len(self.at)

    def where(self, kept: Array) -> Exposures:
        return Exposures(self.requests[kept], self.units[kept], self.arms[kept], self.at[kept], self.came[kept])


class Exposed:
    """Follows the captured traffic of all sides from then on (unix seconds). `others`: names of other challengers."""

    def __init__(self, traffic: Traffic, since: float, others: Sequence[str] = ()) -> None:
        self._others = tuple(others)
        self._sides = {"stable": traffic.stable, "the candidate": traffic.candidate}
        self._sides |= {_OTHER + name: traffic.others.get(name, "") for name in others}
        self._tail = Tail(traffic.folder, set(self._sides.values()), since, _COLUMNS.__contains__)
        self._heard: set[str] = set()

    def came(self) -> tuple[Exposures, bool]:
        """What is new since the last call, and whether that is all there is."""
        parts: list[Exposures] = []
        rows = 0
        self._heard = set()
        while rows < _MOST_ROWS:
            batches = self._tail.came(_TURN)
            if not batches:
                return joined(parts), True
            rows += sum(batch.num_rows for batch in batches)
            parts += [found for found in map(self._read, batches) if found]
        return joined(parts), False

    def silent(self, gone: Collection[str] = ()) -> str:
        """Which side cannot be read, and why; nothing where something of it came in the last call.

        `gone`: others that answer nobody any more.
        """
        for who, digest in self._sides.items():
            if who.removeprefix(_OTHER) in gone:
                continue
            if not digest:
                return f"it is not known which artifact {who} is; build it anew"
            if prefix(digest) not in self._heard and (why := self._tail.problem(digest)):
                return why
        return ""

    def _read(self, batch: Any) -> Exposures | None:
        try:
            self._heard |= {prefix(digest or "") for digest in pc.unique(batch.column("digest")).to_pylist()}
            return exposures(batch, self._others)
        except (pa.ArrowException, ValueError, TypeError, KeyError):
            return None  # what is no captured traffic tells of nobody


def exposures(batch: Any, others: Sequence[str] = ()) -> Exposures:
    """The live requests of a captured record batch that are of known variants. Failed ones count as well."""
    live = pc.and_(pc.equal(batch.column("kind"), "live"), pc.equal(batch.column("row"), 0))
    arm = pc.index_in(_column(batch, "variant"), pa.array(["stable", "candidate", *others], pa.string()))
    ours = pc.and_(live, pc.and_(arm.is_valid(), batch.column("at").is_valid()))
    rows = pa.array(np.flatnonzero(_known(ours, missing=False)))
    arms = _known(arm.take(rows), missing=STABLE).astype("int64")
    at = _known(batch.column("at").take(rows).cast(pa.timestamp("us"), safe=False).cast(pa.int64()), missing=0) / 1e6
    requests, units = _column(batch, "request_id").take(rows), _column(batch, "unit").take(rows)
    of_requests = _numbers(requests, b"request")
    of_units = np.where(_known(units.is_valid(), missing=False), _numbers(units, b"unit"), of_requests)
    took = np.nan_to_num(
        np.maximum(_column(batch, "seconds", pa.float64()).take(rows).to_numpy(zero_copy_only=False), 0)
    )
    found = Exposures(of_requests, of_units, arms, at, at - took)
    return found.where(of_units != NOBODY)


def joined(parts: Sequence[Exposures]) -> Exposures:
    if not parts:
        numbers, times = np.empty(0, np.int64), np.empty(0)
        return Exposures(numbers, numbers, numbers, times, times)
    names = Exposures.__slots__
    return Exposures(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def settled(found: Exposures, shares: Sequence[tuple[float, float]]) -> Array:
    """Which of them were split between both variants, and did not come near a change of the routes, as a mask.

    `shares`: from when on the candidate had which chance; before the first one, it had that one. Those left out are
    the ones that were under way at a change, came within `SETTLING` seconds after it, or came while the chance was 0
    or 1: without replicas of the candidate, its users are answered by stable, and are its users again afterwards.
    """
    starts, chances = np.array(sorted(shares), float).T
    since, chances = np.append(-np.inf, starts), np.append(chances[:1], chances)
    before = np.searchsorted(since, found.came, side="right")
    now = np.searchsorted(since, found.at, side="right")
    split = (chances > 0) & (chances < 1)
    return np.asarray((before == now) & split[before - 1] & (found.came >= since[before - 1] + SETTLING))


def number(name: str, kind: bytes) -> int:
    """Of a request's id (`request`) or a user's hash (`unit`)."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=kind).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def _numbers(names: Any, kind: bytes) -> Array:
    """`NOBODY` for null and nothing."""
    of = names.dictionary_encode()
    each = np.array([number(name, kind) if name else NOBODY for name in of.dictionary.to_pylist()] + [NOBODY], np.int64)
    return np.asarray(each[_known(of.indices, missing=-1)])


def _column(batch: Any, name: str, kind: Any = None) -> Any:
    kind = kind or pa.string()
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    return batch.column(name).cast(kind, safe=False)


def _known(array: Any, *, missing: int | bool) -> Array:
    return np.asarray(pc.fill_null(array, missing).to_numpy(zero_copy_only=False))
