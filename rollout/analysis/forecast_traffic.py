"""The traffic that a forecast expects, and draws of what would be counted of it between two looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import log
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.monitoring.measurement import Histogram
from lockgate.rollout.analysis.batch import BatchPairs, BatchTally
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.spec import ShadowStep, Step, weight_of

COARSE = 0.04
"""Looks of a forecast are this part of the time so far apart, so that a week is a few hundred of them."""
_FEW = 4.0
"""And far enough for so many of the candidate's requests."""


@dataclass(frozen=True, slots=True)
class Users:
    """Who comes into a step, and what they do with stable."""

    per_day: float
    """Who were not in the step before, of both sides."""
    typical: Mapping[str, float]
    """By business metric: the share of users who do it; of a continuous one, the deviation of a user's value over the
    mean."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What both sides of equals do: `rps` live requests a second, each counted once."""

    rps: float
    error_rate: float = 0.001
    edges: tuple[float, ...] = ()
    """Upper edges of the router's latency buckets in milliseconds, the last one infinity."""
    shares: tuple[float, ...] = ()
    """Of the requests in each bucket; they sum to 1."""
    differing: float = 0.0
    """Share of two answers to one request that differ, though both sides are equal."""
    captured: float = 1.0
    """Share of the requests whose answers are kept and can be compared."""
    users: Users | None = None

    def histogram(self, requests: int = 10**6) -> Histogram:
        """As if `requests` had come."""
        up_to = np.cumsum(self.shares) * requests
        return Histogram(self.edges, tuple(int(n) for n in up_to.round()))


def lognormal(p50_ms: float, p99_ms: float, edges: tuple[float, ...]) -> tuple[float, ...]:
    """Shares of the requests in each bucket when latencies are lognormal with these two quantiles."""
    sigma = max(log(p99_ms / p50_ms) / NormalDist().inv_cdf(0.99), 1e-6)
    law = NormalDist(log(p50_ms), sigma)
    up_to = [law.cdf(log(edge)) for edge in edges[:-1]]
    return tuple(float(x) for x in np.diff([0.0, *up_to, 1.0]))


def shares_of(histogram: Histogram) -> tuple[float, ...]:
    """Shares of what was counted, by bucket."""
    counts = np.diff(np.array(histogram.counts, dtype=np.float64), prepend=0.0)
    return tuple(float(x) for x in counts / counts.sum())


def slowed(traffic: Traffic, factors: Array) -> Array:
    """(R, E): shares of the requests in each bucket when each one takes `factors` (R,) times as long."""
    edges, up_to = np.array(traffic.edges[:-1]), np.cumsum(traffic.shares)[:-1]
    earlier = edges[None, :] / factors[:, None]
    below = np.interp(earlier, np.concatenate(([0.0], edges)), np.concatenate(([0.0], up_to)))
    ends = np.ones((len(factors), 1))
    return np.diff(np.hstack([below, ends]), axis=1, prepend=0.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the candidate does in each of R rollouts; by default what stable does."""

    error_rate: Array
    """(R,)"""
    shares: Array
    """(R, E): of its requests in each latency bucket. (R, 0) draws no latencies, which is quick."""
    differing: Array
    """(R,): share of its answers that differ from stable's."""


def equal(traffic: Traffic, rollouts: int) -> Candidate:
    return Candidate(
        np.full(rollouts, traffic.error_rate),
        np.tile(np.array(traffic.shares), (rollouts, 1)),
        np.full(rollouts, traffic.differing),
    )


@dataclass(frozen=True, slots=True)
class Split:
    """Requests a second of both sides in one step."""

    stable: float
    candidate: float
    echoed: float = 0.0
    """That stable answers twice."""
    paired: bool = False
    """Both sides answer the same requests."""


def split(step: Step, rps: float) -> Split:
    if isinstance(step, ShadowStep):
        return Split(rps, rps * step.shadow.percent / 100, rps * step.shadow.echo / 100, paired=True)
    mine = rps * weight_of(step) / 100
    return Split(rps - mine, mine)


def look_times(rate: float, seconds: float, coarse: float = COARSE) -> Iterator[tuple[float, float]]:
    """Begin and end of each look of a step that lasts `seconds`, where the candidate answers `rate` requests a second.

    Looks of a rollout are closer together later on: what they would see sooner, a forecast sees a little later.
    """
    begun = 0.0
    while begun < seconds:
        pause = max(1.0, begun * coarse, min(_FEW / rate, seconds / 20) if rate else seconds)
        ended = min(begun + pause, seconds)
        yield begun, ended if seconds - ended > pause / 4 else seconds
        begun = ended if seconds - ended > pause / 4 else seconds


@dataclass(slots=True)
class Draws:
    """Of R rollouts with the same traffic."""

    traffic: Traffic
    candidate: Candidate
    rng: np.random.Generator
    _mine: Array = field(init=False)
    _theirs: Array = field(init=False)

    def __post_init__(self) -> None:
        self._mine = self.candidate.shares
        self._theirs = np.array(self.traffic.shares) if self._mine.shape[1] else np.zeros(0)

    @property
    def rollouts(self) -> int:
        return len(self.candidate.error_rate)

    def look(self, of: Split, seconds: float, going: NDArray[np.bool_]) -> tuple[BatchTally, BatchTally, BatchPairs]:
        """What comes in `seconds` to the rollouts that are `going` (R,); to the others, nothing."""
        coming = seconds * going.astype(np.float64)
        stable = self._tally(of.stable * coming, self._theirs, self.traffic.error_rate)
        mine = self._tally(of.candidate * coming, self._mine, self.candidate.error_rate)
        return stable, mine, self._pairs(of, mine.requests, coming)

    def _tally(self, expected: Array, shares: Array, error_rate: Array | float) -> BatchTally:
        rng = self.rng
        if not shares.shape[-1]:
            requests = rng.poisson(expected)
            return BatchTally(_floats(requests), _floats(rng.binomial(requests, error_rate)))
        counts = rng.poisson(expected[:, None] * shares).cumsum(axis=1)
        requests = counts[:, -1]
        errors = rng.binomial(requests, error_rate)
        return BatchTally(_floats(requests), _floats(errors), np.array(self.traffic.edges), _floats(counts))

    def _pairs(self, of: Split, answered: Array, coming: Array) -> BatchPairs:
        rng, kept = self.rng, self.traffic.captured * of.paired
        compared = rng.binomial(answered.astype(np.int64), kept)
        echoed = rng.poisson(of.echoed * kept * coming)
        return BatchPairs(
            _floats(compared),
            _floats(rng.binomial(compared, self.candidate.differing)),
            _floats(echoed),
            _floats(rng.binomial(echoed, self.traffic.differing)),
        )


def _floats(values: Any) -> Array:
    return np.asarray(values, dtype=np.float64)
