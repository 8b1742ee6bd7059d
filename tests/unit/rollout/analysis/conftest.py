"""Looks in one line, and a judge that takes them one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.analysis.analysis import Analysis, Evidence
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.verdict import GateVerdict, Verdict
from lockgate.rollout.words import Outcome

EDGES = (*(5.0 * 1.2**i for i in range(24)), inf)
"""5 ms to 331 ms."""


@dataclass
class Judge:
    """Of one rollout. `last` is the verdict after the last look."""

    spec: RolloutSpec

    def __post_init__(self) -> None:
        self.analysis = Analysis(self.spec)
        self.evidence: Evidence = self.analysis.begin()

    def sees(self, *looks: Look) -> Verdict:
        for look in looks:
            self.evidence = self.analysis.look(self.evidence, look)
        step = looks[-1].step if looks else 0
        return self.analysis.verdict(self.evidence, step)

    def gate(self, name: str, step: int = 0) -> GateVerdict:
        return next(g for g in self.analysis.verdict(self.evidence, step).gates if g.gate == name)

    def until_it_says_more_than_undecided(self, looks: Iterable[Look]) -> Outcome:
        for look in looks:
            outcome = self.sees(look).outcome
            if outcome is not Outcome.UNDECIDED:
                return outcome
        return Outcome.UNDECIDED


@pytest.fixture(scope="session")
def judge_of(spec_of: Callable[..., RolloutSpec]) -> Callable[..., Judge]:
    """A judge of one canary step, or of `steps`, with one gate, or `gates`."""

    def make(*steps: dict[str, Any], profile: str = "fast", **gates: dict[str, Any]) -> Judge:
        return Judge(spec_of(*(steps or ({"canary": {"weight": 5}},)), gates=gates, profile=profile))

    return make


Latencies = NDArray[np.float64]


def histogram(latencies: Latencies) -> Histogram:
    inside, _ = np.histogram(latencies, bins=[-inf, *EDGES])
    return Histogram(EDGES, tuple(accumulate(int(count) for count in inside)))


def tally(requests: int, errors: int = 0, latencies: Latencies | None = None) -> Tally:
    return Tally(requests, errors, Histogram() if latencies is None else histogram(latencies))


class Traffic:
    """Independent requests; latencies are lognormal with a median of 20 ms and a p99 of 100 ms, times `slower`."""

    def __init__(self, seed: int = 7) -> None:
        self.rng = np.random.default_rng(seed)

    def side(self, requests: int, share: float = 0.0, slower: float = 1.0) -> Tally:
        latencies = slower * 20 * 5.0 ** (self.rng.standard_normal(requests) / 2.326)
        return tally(requests, int(self.rng.binomial(requests, share)), latencies)


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()
