"""What users did, as an application's counters say it: how many were asked, and how many of them did it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.measurement import Arm
from lockgate.monitoring.prometheus import Prometheus

_VARIANTS = ("stable", "candidate")

Counts = Mapping[str, tuple[int, int]]
"""Units and hits of each variant, as the counters stand."""


@dataclass(frozen=True, slots=True)
class Counters:
    """`units`, `hits`: queries that answer one number for each value of the label `variant`."""

    prometheus: Prometheus
    units: str
    hits: str

    def read(self, now: float) -> Counts:
        """Both at `now`, unix seconds. Raises `Unavailable` with a sentence when there is nothing to count.

        A variant that was asked and never did it may have no counter of that yet.
        """
        units, hits = self._of("units", self.units, now), self._of("hits", self.hits, now)
        for variant in _VARIANTS:
            if variant not in units:
                raise Unavailable(f"promql.units: counts nobody of the variant {variant} yet")
        return {variant: (units[variant], hits.get(variant, 0)) for variant in _VARIANTS}

    def _of(self, which: str, query: str, now: float) -> dict[str, int]:
        found = self.prometheus.read_by(query, "variant", now)
        if found.error:
            raise Unavailable(f"promql.{which}: {found.error}")
        counts = {name: _count(which, name, value) for name, value in found.values.items() if name in _VARIANTS}
        if not counts:
            raise Unavailable(f"promql.{which}: counts neither stable nor candidate; see its name and its labels")
        return counts


def _count(which: str, variant: str, value: float) -> int:
    if not (math.isfinite(value) and value >= 0):
        raise Unavailable(f"promql.{which}: {value} of the variant {variant} is no count; ask for counters")
    return math.floor(value)


def increase(before: Counts | None, now: Counts) -> dict[str, Arm]:
    """What came between two readings, ready for a `Group`; nothing while there is none to start from.

    Where a counter fell, what came in between is left out: of a sum over replicas, one of which began again, nobody
    knows how much that was. More hits than units count as as many.
    """
    return {variant: _came(begin, now[variant]) for variant, begin in _begins(before, now).items()}


def counted(before: Counts | None, now: Counts) -> Counts:
    """Where the next `increase` begins: at `now`, but hits beyond the units wait for units to come.

    Users do it some time after they were counted, so a quiet interval has more hits than units.
    """
    arms = increase(before, now)
    return {
        variant: (now[variant][0], begin[1] + int(arms[variant].total))
        for variant, begin in _begins(before, now).items()
    }


def _begins(before: Counts | None, now: Counts) -> Counts:
    """The counts from which the increase of each variant begins."""
    begins = {variant: (before or now).get(variant, counts) for variant, counts in now.items()}
    return {
        variant: now[variant] if now[variant][0] < begin[0] or now[variant][1] < begin[1] else begin
        for variant, begin in begins.items()
    }


def _came(begin: tuple[int, int], now: tuple[int, int]) -> Arm:
    units = now[0] - begin[0]
    hits = min(now[1] - begin[1], units)
    return Arm(units, float(hits), float(hits))
