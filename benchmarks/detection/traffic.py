"""Simulated traffic: what Envoy's counters say of both sides between two looks, for many rollouts at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lockgate.rollout.envoy.bootstrap import latency_buckets

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

EDGES: Floats = np.array([*latency_buckets().values(), math.inf])
"""Milliseconds, as the router counts them; the last edge is infinity, so that its count is that of all requests."""
_MU, _SIGMA = math.log(20.0), math.log(5.0) / NormalDist().inv_cdf(0.99)
MEDIAN, P99 = 20.0, 100.0
"""Of stable's lognormal latencies, in milliseconds."""
SLOWEST = 0.05
"""The share of requests that a slow tail stretches."""


@dataclass(frozen=True, slots=True)
class Cell:
    """`rps`: live requests a second of both sides. `weight`: the candidate's share of them."""

    rps: float
    weight: float

    def __str__(self) -> str:
        return f"{self.rps:g}/s {self.weight:.0%}"


@dataclass(frozen=True, slots=True)
class Law:
    """What one side does: its share of failed requests, and how many times its p99 is the healthy one's."""

    errors: float
    slower: float = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """How requests depend on one another. The defaults: not at all."""

    name: str = "independent"
    clump: int = 1
    """Each failing client fails this often, each slow one is slow this often."""
    spread: bool = False
    """A clump's failures go to stable's replicas at random, not to one of them."""
    pod_cv: float = 0.0
    """Each replica's error rate and slow share wobble from look to look, with this coefficient of variation."""
    incident: float = 1.0
    """For five minutes both sides fail, and are slow, this many times as often."""
    wave: bool = False
    """A day pressed into the rollout: traffic and harm of both sides rise and fall together."""
    replicas: int = 4
    """Of stable; the candidate is one."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Of one side in one look: `requests` and `errors` (rollouts,), `counts` (rollouts, edges) up to each edge.

    Without latencies there is one edge, infinity.
    """

    requests: Ints
    errors: Ints
    counts: Ints

    def plus(self, other: Arm) -> Arm:
        return Arm(self.requests + other.requests, self.errors + other.errors, self.counts + other.counts)


@dataclass(frozen=True, slots=True)
class Split:
    """One look. `replicas`: requests and errors of each of stable's, (rollouts, replicas)."""

    stable: Arm
    candidate: Arm
    replicas: tuple[Ints, Ints]


def bins(slower: float) -> Floats:
    """Shares of requests in each bucket, (edges,); only the slowest 5 % are stretched, until p99 is `slower` times it.

    Everything slower than p95 is moved away from it by the same factor of its logarithm.
    """
    law = NormalDist(_MU, _SIGMA)
    p95, p99 = law.inv_cdf(1 - SLOWEST), law.inv_cdf(0.99)
    stretch = 1 + math.log(slower) / (p99 - p95)
    logs = np.log(EDGES[:-1])
    healthy = np.where(logs > p95, p95 + (logs - p95) / stretch, logs)
    below = np.array([0.0, *(law.cdf(float(x)) for x in healthy), 1.0])
    shares = np.diff(below)
    shares[shares < _NEVER] = 0.0
    return np.asarray(shares / shares.sum())


_NEVER = 1e-12
"""Buckets that are rarer than this stay empty: drawing them costs time."""


class Traffic:
    """Draws looks, one after another. Without `latency` they are not drawn, which is quick."""

    def __init__(
        self, cell: Cell, sides: tuple[Law, Law], rollouts: int, kind: Kind | None = None, *, latency: bool = True
    ) -> None:
        self.cell, self.sides, self.rollouts, self.latency = cell, sides, rollouts, latency
        self.kind = kind or Kind(replicas=1)
        self._shares = tuple(bins(side.slower) for side in sides)
        self._begun = 0.0

    def begin(self, rng: np.random.Generator, seconds: float, quiet: float = 0.0) -> None:
        """`seconds`: how long the rollout lasts. A wave fills it; an incident falls into it after the `quiet` ones."""
        self._rng, self._seconds, self._begun = rng, seconds, 0.0
        self._incident = rng.uniform(quiet, max(quiet, seconds - _INCIDENT), (self.rollouts, 1))

    def take(self, seconds: float, shares: tuple[float, float] | None = None) -> Split:
        """What comes in the next `seconds`. `shares` of the live requests: stable's and the candidate's, copies too."""
        stable_share, candidate_share = shares or (1 - self.cell.weight, self.cell.weight)
        phase = math.sin(2 * math.pi * self._begun / self._seconds) if self.kind.wave else 0.0
        expected = self.cell.rps * seconds * (1 + 0.6 * phase)
        together = self._together(phase)
        self._begun += seconds
        stable, replicas = self._arm(0, expected * stable_share, together, self.kind.replicas)
        candidate, _ = self._arm(1, expected * candidate_share, together, 1)
        return Split(stable, candidate, replicas)

    def _together(self, phase: float) -> Floats:
        """How many times as often as usual both sides do harm now, (rollouts, 1)."""
        hit = (self._incident <= self._begun) & (self._begun < self._incident + _INCIDENT)
        return np.asarray(np.where(hit, self.kind.incident, 1.0) * (1 + 0.8 * phase))

    def _arm(self, side: int, expected: float, together: Floats, replicas: int) -> tuple[Arm, tuple[Ints, Ints]]:
        """One side, and its requests and errors by replica."""
        rng, law = self._rng, self.sides[side]
        requests = rng.poisson(expected / replicas, (self.rollouts, replicas))
        often = together * np.ones(requests.shape)
        if self.kind.pod_cv:
            shape = self.kind.pod_cv**-2
            often = often * rng.gamma(shape, 1 / shape, requests.shape)
        errors = self._errors(requests, np.minimum(law.errors * often, 1.0))
        total = requests.sum(1)
        return Arm(total, errors.sum(1), self._counts(side, total, often.mean(1))), (requests, errors)

    def _errors(self, requests: Ints, share: Floats) -> Ints:
        clump = self.kind.clump
        if clump == 1:
            return self._rng.binomial(requests, share)
        clumps = self._rng.binomial(requests, share / clump)
        if not self.kind.spread:
            return np.minimum(clump * clumps, requests)
        even = np.full(requests.shape[1], 1 / requests.shape[1])
        return np.minimum(self._rng.multinomial(clump * clumps.sum(1), even), requests)

    def _counts(self, side: int, requests: Ints, often: Floats) -> Ints:
        """Cumulative counts, (rollouts, edges)."""
        counts = np.repeat(requests[:, None], len(EDGES) if self.latency else 1, axis=1)
        if not self.latency:
            return counts
        shares = self._shares[side]
        top = int(np.flatnonzero(shares)[-1]) + 1
        wobbles = self.kind.pod_cv or self.kind.wave or self.kind.incident != 1
        shares = _slowed(shares, often)[:, :top] if wobbles else shares[:top]
        whole, rest = requests // self.kind.clump, requests % self.kind.clump
        drawn = self._rng.multinomial(whole, shares)
        if self.kind.clump > 1:
            drawn = self.kind.clump * drawn + self._rng.multinomial(rest, shares)
        counts[:, :top] = drawn.cumsum(1)
        return counts


_INCIDENT = 300.0


def _slowed(shares: Floats, often: Floats) -> Floats:
    """The slowest 5 % come `often` (rollouts,) times as often, at most ten times; the others make room."""
    tail = np.where(math.exp(NormalDist(_MU, _SIGMA).inv_cdf(1 - SLOWEST)) < EDGES, shares, 0.0)
    body = shares - tail
    more = (np.clip(often, 0.0, 10.0) - 1)[:, None]
    rows = shares + more * (tail - tail.sum() * body / body.sum())
    return np.asarray(rows / rows.sum(1, keepdims=True))
