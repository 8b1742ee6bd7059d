"""Who answers which request in each shuffle, and what is counted of it between two looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.flows.rehearsal.captured import Captured
from lockgate.flows.rehearsal.faults import Fault
from lockgate.rollout.analysis.batch import BatchPairs, BatchTally
from lockgate.rollout.envoy.bootstrap import latency_buckets
from lockgate.rollout.spec import ShadowStep, Step, weight_of

Array = NDArray[Any]

EDGES = np.array([*latency_buckets().values(), np.inf])
_USERS, _ERRORS, _LABELS = 1, 2, 3
"""Independent draws for different purposes."""
_AT_ONCE = 2_000_000
"""Requests of all shuffles together that are held in memory."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Of one step: who answers what."""

    candidate: float
    """The share of the units whose requests the candidate answers."""
    both: bool
    """Stable answers these too."""
    shadow: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """One look at S shuffles."""

    stable: BatchTally
    candidate: BatchTally
    replicas: tuple[Array, Array] | None
    pairs: dict[str, BatchPairs]


class Draws:
    """S shuffles of the same captured traffic.

    With `real`, the candidate's own answers where they were captured; else it answers as stable did, with `fault` on
    top.
    """

    def __init__(self, captured: Captured, shuffles: int, seed: int, *, real: bool, fault: Fault | None = None) -> None:
        self.captured, self.shuffles, self._seed = captured, shuffles, seed
        self._fault = fault
        self._real = captured.candidate if real else None
        side = self._real or captured.stable
        self._stable_bucket, self._stable_failed = _buckets(captured.stable.seconds), captured.stable.failed
        slower = fault.amount if fault and fault.kind == "latency" else 1.0
        self._bucket, self._failed, self._present = _buckets(side.seconds * slower), side.failed, side.present
        self._replicas = int(captured.replica.max(initial=-1)) + 1

    def shares(self, step: Step) -> Shares:
        """Where only stable's answers are known, a shadow's copies are a part of the requests: each is used once."""
        if not isinstance(step, ShadowStep):
            return Shares(weight_of(step) / 100, both=False, shadow=False)
        percent = step.shadow.percent / 100
        if self._real is not None:
            return Shares(percent, both=True, shadow=True)
        return Shares(percent / (1 + percent), both=False, shadow=True)

    def look(self, shares: Shares, begun: Array, ended: Array) -> Counted:
        """Of the requests from `begun` to before `ended` (S,), in seconds of the captured traffic."""
        first, last = (np.searchsorted(self.captured.at, time) for time in (begun, ended))
        lengths = np.maximum(last - first, 0)
        turns = -(-int(lengths.sum()) // _AT_ONCE) or 1
        which = np.arange(self.shuffles) % turns
        parts = [self._part(shares, first, np.where(which == turn, lengths, 0)) for turn in range(turns)]
        return reduce(_plus, parts)

    def _part(self, shares: Shares, first: Array, lengths: Array) -> Counted:
        """Of `lengths` (S,) requests from the `first` ones on."""
        shuffle = np.repeat(np.arange(self.shuffles), lengths)
        request = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths) + np.repeat(first, lengths)
        chosen = self._uniform(self.captured.unit[request], shuffle, _USERS) < shares.candidate
        theirs = slice(None) if shares.both else ~chosen
        mine = chosen & self._present[request]
        one, other = (shuffle[theirs], request[theirs]), (shuffle[mine], request[mine])
        return Counted(
            self._tally(one, self._stable_bucket, self._stable_failed[one[1]]),
            self._tally(other, self._bucket, self._faulty(other)),
            self._by_replica(one),
            self._pairs(other, one) if shares.shadow else {},
        )

    def _uniform(self, what: Array, shuffle: Array, purpose: int) -> Array:
        """A number from 0 to 1 for each pair; the same ones for the same pair."""
        begun = np.uint64((self._seed * 8 + purpose) * 0x9E3779B97F4A7C15 % 2**64)
        return _mixed(_mixed(shuffle.astype(np.uint64) + begun) ^ what.astype(np.uint64)).astype(np.float64) / 2.0**64

    def _faulty(self, at: tuple[Array, Array]) -> Array:
        shuffle, request = at
        failed = self._failed[request]
        if self._fault and self._fault.kind == "errors":
            return failed | (self._uniform(request, shuffle, _ERRORS) < self._fault.amount)
        return failed

    def _tally(self, at: tuple[Array, Array], bucket: Array, failed: Array) -> BatchTally:
        shuffle, request = at
        each = self._count(shuffle * len(EDGES) + bucket[request], len(EDGES))
        counts = each.reshape(self.shuffles, -1).cumsum(axis=1)
        return BatchTally(counts[:, -1], self._count(shuffle[failed], 1), EDGES, counts)

    def _by_replica(self, at: tuple[Array, Array]) -> tuple[Array, Array] | None:
        if self._replicas < 2:
            return None
        shuffle, request = at
        of = shuffle * self._replicas + self.captured.replica[request]
        failed = self._stable_failed[request]
        shape = self.shuffles, self._replicas
        return (
            self._count(of, self._replicas).reshape(shape),
            self._count(of[failed], self._replicas).reshape(shape),
        )

    def _pairs(self, mine: tuple[Array, Array], theirs: tuple[Array, Array]) -> dict[str, BatchPairs]:
        """Where the candidate has no answers of its own, stable's answers agree with themselves, but for the fault."""
        shuffle, request = mine
        wrong = np.zeros(len(request), bool)
        if self._fault and self._fault.kind == "labels":
            wrong = self._uniform(request, shuffle, _LABELS) < self._fault.amount
        found = {}
        for name, of in self.captured.pairs.items():
            compared = of.compared[request] if self._real is not None else np.ones(len(request), bool)
            differing = (of.differing[request] if self._real is not None else False) | wrong
            echoed = theirs[0][of.echoed[theirs[1]]]
            noisy = theirs[0][of.echoes_differing[theirs[1]]]
            found[name] = BatchPairs(
                self._count(shuffle[compared], 1),
                self._count(shuffle[compared & differing], 1),
                self._count(echoed, 1),
                self._count(noisy, 1),
            )
        return found

    def _count(self, places: Array, width: int) -> Array:
        return np.bincount(places, minlength=self.shuffles * width).astype(np.float64)


def _plus(one: Counted, other: Counted) -> Counted:
    """Both are of all shuffles."""
    pairs = {name: BatchPairs(*map(add, _each(of), _each(other.pairs[name]))) for name, of in one.pairs.items()}
    replicas = None
    if one.replicas and other.replicas:
        replicas = one.replicas[0] + other.replicas[0], one.replicas[1] + other.replicas[1]
    return Counted(_sum(one.stable, other.stable), _sum(one.candidate, other.candidate), replicas, pairs)


def _sum(one: BatchTally, other: BatchTally) -> BatchTally:
    return BatchTally(one.requests + other.requests, one.errors + other.errors, one.edges, one.counts + other.counts)


def _each(pairs: BatchPairs) -> tuple[Array, ...]:
    return pairs.compared, pairs.differing, pairs.echoed, pairs.echoes_differing


def _buckets(seconds: Array) -> Array:
    """Requests that took less than an edge, as the router counts them."""
    return np.minimum(np.searchsorted(EDGES, seconds * 1000, side="right"), len(EDGES) - 1)


def _mixed(values: Array) -> Array:
    """splitmix64's finish: every bit of the result depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
