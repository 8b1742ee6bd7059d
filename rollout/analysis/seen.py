"""One look at many rollouts at once, as arrays; a real rollout is a batch of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lockgate.monitoring.measurement import Arm, Arrivals, Group, Histogram, Pairs, Reading, Spread, Tally
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.words import Look


def _none() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class BatchTally:
    """What came of one variant in one look, for R rollouts."""

    requests: Array
    """(R,)"""
    errors: Array
    """(R,)"""
    edges: Array = field(default_factory=_none)
    """(E,): upper edges in milliseconds, the last one infinity. Without latencies, nothing."""
    counts: Array = field(default_factory=_none)
    """(R, E): requests that took at most so long, cumulative as in `Histogram`."""

    @property
    def failed(self) -> Array:
        """Never more than the requests: a failure may be counted a moment before its request."""
        return np.minimum(self.errors, self.requests)


@dataclass(frozen=True, slots=True)
class BatchPairs:
    """`Pairs` of R rollouts, each (R,)."""

    compared: Array
    differing: Array
    echoed: Array
    echoes_differing: Array


@dataclass(frozen=True, slots=True)
class BatchArm:
    """`Arm` of R rollouts, each (R,)."""

    units: Array
    total: Array
    squares: Array


@dataclass(frozen=True, slots=True)
class BatchGroup:
    """`Group` of R rollouts; `share` is the same in all of them, or (R,)."""

    share: Array | float
    stable: BatchArm
    candidate: BatchArm


@dataclass(frozen=True, slots=True)
class BatchArrivals:
    """`Arrivals` of R rollouts; all (R,), the share perhaps one number."""

    share: Array | float
    stable: Array
    candidate: Array
    crossed: Array


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look saw."""

    stable: BatchTally
    candidate: BatchTally
    warm: bool = True
    replicas: tuple[Array, Array] | None = None
    """Requests and failed requests of stable's P replicas, each (R, P)."""
    pairs: Mapping[str, BatchPairs] = field(default_factory=dict)
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """Of a real rollout only; by the gate's name, like the pairs."""
    rewards: Mapping[str, tuple[BatchGroup, ...]] = field(default_factory=dict)
    """By the metric's name."""
    arrivals: tuple[BatchArrivals, ...] = ()


def share_of(seen: Seen) -> Array | float:
    """How many times a stable replica's requests the candidate answers, as if it were one replica itself."""
    if seen.replicas is None:
        return 0.0
    replicas = float(seen.replicas[0].shape[1])
    return np.asarray(seen.candidate.requests * replicas / np.maximum(seen.stable.requests, 1.0))


def seen_of(look: Look) -> Seen:
    """The look at one rollout."""
    replicas = np.array(look.replicas, dtype=np.float64).reshape(-1, 2).T if look.replicas else None
    return Seen(
        stable=_tally(look.stable),
        candidate=_tally(look.candidate),
        warm=look.warm,
        replicas=(replicas[:1], np.minimum(replicas[1:], replicas[:1])) if replicas is not None else None,
        pairs={name: _pairs(pairs) for name, pairs in look.pairs.items()},
        spreads=look.spreads,
        readings=look.readings,
        rewards={name: tuple(map(_group, groups)) for name, groups in look.rewards.items()},
        arrivals=tuple(map(_arrivals, look.arrivals)),
    )


def _tally(tally: Tally) -> BatchTally:
    return BatchTally(_one(tally.requests), _one(tally.errors), *_latency(tally.latency))


def _latency(histogram: Histogram) -> tuple[Array, Array]:
    return np.array(histogram.edges, dtype=np.float64), np.array([histogram.counts], dtype=np.float64)


def _pairs(pairs: Pairs) -> BatchPairs:
    return BatchPairs(
        _one(pairs.compared),
        _one(min(pairs.differing, pairs.compared)),
        _one(pairs.echoed),
        _one(min(pairs.echoes_differing, pairs.echoed)),
    )


def _group(group: Group) -> BatchGroup:
    return BatchGroup(group.share, _arm(group.stable), _arm(group.candidate))


def _arm(arm: Arm) -> BatchArm:
    return BatchArm(_one(arm.units), _one(arm.total), _one(arm.squares))


def _arrivals(came: Arrivals) -> BatchArrivals:
    return BatchArrivals(came.share, _one(came.stable), _one(came.candidate), _one(came.crossed))


def _one(value: float) -> Array:
    return np.array([float(value)])
