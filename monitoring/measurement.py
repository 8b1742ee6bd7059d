"""What was counted of one variant, as values: no clock, no network."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import ClassVar

from pydantic import ConfigDict


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative latency counts, like Prometheus's: `counts[i]` requests took at most `edges[i]` milliseconds.

    The last edge is infinity, so `counts[-1]` is the number of requests.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_inf_nan="strings")
    """PostgreSQL's JSON knows no infinity."""

    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return self.counts[-1] if self.counts else 0

    def above(self, edge_ms: float) -> int:
        """Requests slower than the first edge at or above `edge_ms`."""
        if not self.counts:
            return 0
        return self.total - self.counts[min(bisect_left(self.edges, edge_ms), len(self.edges) - 1)]

    def perhaps_above(self, edge_ms: float) -> int:
        """Requests slower than the last edge at or below `edge_ms`: all that can have been slower than `edge_ms`."""
        below = bisect_right(self.edges, edge_ms) - 1
        return self.total - self.counts[below] if below >= 0 else self.total

    def quantile(self, q: float) -> float:
        """The q-quantile in milliseconds, linear inside a bucket; 0 when nothing was counted."""
        if not self.total:
            return 0.0
        rank = q * self.total
        i = next(i for i, count in enumerate(self.counts) if count >= rank)
        low = self.edges[i - 1] if i else 0.0
        if self.edges[i] == float("inf"):
            return low
        before = self.counts[i - 1] if i else 0
        inside = self.counts[i] - before
        return low + (self.edges[i] - low) * ((rank - before) / inside if inside else 1.0)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one variant since some start: requests that ended, those of them that failed, and their latencies."""

    requests: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def since(self, earlier: Tally) -> Tally:
        """What came after `earlier`. A count below the earlier one means that all were reset: they are taken whole."""
        if self._fell(earlier):
            return self
        return Tally(
            self.requests - earlier.requests,
            self.errors - earlier.errors,
            _difference(self.latency, earlier.latency),
        )

    def _fell(self, earlier: Tally) -> bool:
        now, then = self.latency, earlier.latency
        counts = zip(now.counts, then.counts, strict=True) if now.edges == then.edges else ()
        return self.requests < earlier.requests or self.errors < earlier.errors or any(a < b for a, b in counts)

    def plus(self, other: Tally) -> Tally:
        return Tally(self.requests + other.requests, self.errors + other.errors, _sum(self.latency, other.latency))


def _difference(now: Histogram, earlier: Histogram) -> Histogram:
    if now.edges != earlier.edges:
        return now
    came = (a - b for a, b in zip(now.counts, earlier.counts, strict=True))
    # An unseen reset, or a source that rounds, may leave fewer up to an edge than up to the one before.
    return replace(now, counts=tuple(accumulate(came, max)))


def _sum(one: Histogram, other: Histogram) -> Histogram:
    if not other.counts:
        return one
    if one.edges != other.edges:
        return other
    return replace(one, counts=tuple(a + b for a, b in zip(one.counts, other.counts, strict=True)))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Requests that two replicas answered, one row of each: how many, and in how many of them the answers differ.

    `compared`: stable and the candidate. `echoed`: stable and stable again, which measures its own noise.
    """

    compared: int = 0
    differing: int = 0
    echoed: int = 0
    echoes_differing: int = 0

    def plus(self, other: Pairs) -> Pairs:
        return Pairs(
            self.compared + other.compared,
            self.differing + other.differing,
            self.echoed + other.echoed,
            self.echoes_differing + other.echoes_differing,
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """How predictions are distributed, one row of each request: `counts[i]` fell into bin `i`, not cumulative.

    `bins` name them, in their order: upper edges of scores, or labels. They are fixed before what they count.
    """

    bins: tuple[str, ...] = ()
    stable: tuple[int, ...] = ()
    candidate: tuple[int, ...] = ()

    def plus(self, other: Spread) -> Spread:
        """Of the same bins; where they differ, only the later ones."""
        if self.bins != other.bins:
            return other
        return Spread(
            self.bins,
            tuple(a + b for a, b in zip(self.stable, other.stable, strict=True)),
            tuple(a + b for a, b in zip(self.candidate, other.candidate, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement of a query: its value; None is an empty result, and `error` says why there was none."""

    value: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Arm:
    """What the users of one variant did, of one metric: how many users, the sum of their values, and of the squares."""

    units: int = 0
    total: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Users of both variants whose windows closed since the last look, and who fell to the candidate with one chance.

    `share`: that chance. Each user is in one group of one look, once.
    """

    share: float
    stable: Arm = Arm()
    candidate: Arm = Arm()


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Users who were first seen in the step since the last look, by the chance with which they fell to the candidate.

    `crossed`: those who were seen on the other side as well, by now, and had not been before.
    """

    share: float
    stable: int = 0
    candidate: int = 0
    crossed: int = 0
