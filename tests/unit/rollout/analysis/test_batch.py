"""Many simulated rollouts at once: the same numbers as one by one, and how often they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lockgate.monitoring.measurement import Histogram, Pairs, Tally
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.batch import Batch, BatchPairs, BatchTally
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.words import Outcome

SpecOf = Callable[..., RolloutSpec]
STEPS = ({"shadow": {"percent": 100}}, {"canary": {"weight": 20}})
GATES: dict[str, dict[str, Any]] = {
    "errors": {"metric": "error_rate"},
    "errors_limit": {"metric": "error_rate", "max": "4%"},
    "p50": {"metric": "latency", "quantile": 0.5},
    "p99": {"metric": "latency"},
    "latency_limit": {"metric": "latency", "quantile": 0.9, "max": "100ms"},
    "agreement": {"metric": "disagreement"},
}
WORDS = {Outcome.FAIL: -1.0, Outcome.UNDECIDED: 0.0, Outcome.PASS: 1.0}
EDGES = np.array([*(5.0 * 1.3**i for i in range(16)), np.inf])
Ints = NDArray[np.int64]


class Simulation:
    """Rollouts whose candidates fail from never to twice as often as stable, and are up to twice as slow."""

    def __init__(self, rollouts: int, harm: float = 1.0) -> None:
        self.rng, self.rollouts = np.random.default_rng(8), rollouts
        worse = np.linspace(0, 2, rollouts) if rollouts > 1 else np.array([harm])
        self.errors, self.slower = 0.01 * worse, np.maximum(1.0, worse)

    def side(self, mean: int, errors: NDArray[np.float64] | float, slower: NDArray[np.float64] | float) -> BatchTally:
        n = self.rng.poisson(mean, self.rollouts)
        shares = np.clip(np.log(EDGES[:-1][None, :] / np.reshape(slower, (-1, 1)) / 2) / 6, 0.0, 1.0)
        shares = np.broadcast_to(np.diff(shares, prepend=0.0, append=1.0), (self.rollouts, len(EDGES)))
        drawn = np.stack([self.rng.multinomial(int(k), p) for k, p in zip(n, shares, strict=True)])
        return BatchTally(n, self.rng.binomial(n, errors), EDGES, drawn.cumsum(axis=1))

    def look(self) -> tuple[BatchTally, BatchTally, tuple[Ints, Ints], BatchPairs]:
        stable, candidate = self.side(400, 0.01, 1.0), self.side(100, self.errors, self.slower)
        requests = self.rng.poisson(100, (self.rollouts, 4))
        pairs = np.full(self.rollouts, 100)
        return (
            stable,
            candidate,
            (requests, self.rng.binomial(requests, 0.01)),
            BatchPairs(pairs, self.rng.binomial(pairs, self.errors), pairs // 20, pairs * 0),
        )


def one(row: int, *sides: BatchTally) -> list[Tally]:
    return [
        Tally(int(s.requests[row]), int(s.errors[row]), Histogram(tuple(s.edges), tuple(s.counts[row].tolist())))
        for s in sides
    ]


@pytest.mark.parametrize("profile", ["fast", "default", "strict"])
def test_the_same_numbers_as_one_by_one(spec_of: SpecOf, profile: str) -> None:
    spec = spec_of(*STEPS, gates=GATES, profile=profile)
    simulation, batch, analysis = Simulation(9), Batch(spec, 9), Analysis(spec)
    evidence = [analysis.begin()] * 9
    said = set()
    for i in range(40):
        step, warm = i // 20, i % 20 > 1
        stable, candidate, replicas, pairs = simulation.look()
        batch.look(step, stable, candidate, warm=warm, replicas=replicas, pairs={"agreement": pairs})
        for row in range(9):
            look = Look(
                step,
                0.0,
                *one(row, stable, candidate),
                warm=warm,
                replicas=tuple((int(n), int(k)) for n, k in zip(*(each[row] for each in replicas), strict=True)),
                pairs={
                    "agreement": Pairs(
                        *(int(x[row]) for x in (pairs.compared, pairs.differing, pairs.echoed, pairs.echoes_differing))
                    )
                },
            )
            failed_before = evidence[row].failed
            evidence[row] = analysis.look(evidence[row], look)
            verdict = analysis.verdict(evidence[row], step)
            if failed_before:  # after a fail, the batch goes on
                assert batch.outcome(step)[row] == -1
                continue
            assert WORDS[verdict.outcome] == batch.outcome(step)[row]
            gates = batch.gates(step)
            assert [WORDS[g.outcome] for g in verdict.gates] == [gates[g.gate][row] for g in verdict.gates]
            said.add(verdict.outcome)
            for kind, state in zip(batch._kinds, batch._states, strict=True):
                kept = evidence[row].kept[",".join(kind.names)].numbers
                assert kept["harm.log"] == pytest.approx(state.harm.log[row].ravel().tolist(), rel=1e-9)
                assert kept["safety.log"] == pytest.approx(state.safety.log[row].ravel().tolist(), rel=1e-9)
    assert Outcome.FAIL in said


def test_the_worst_gate_wins_and_one_that_does_not_vote_says_nothing(spec_of: SpecOf) -> None:
    spec = spec_of(*STEPS, gates={"errors": GATES["errors"], "agreement": GATES["agreement"]})
    batch, none = Batch(spec, 2), np.zeros(2)
    stable, candidate = BatchTally(none + 1000, none), BatchTally(none + 100, none)
    same = BatchPairs(np.array([5, 500]), none, none, none)
    for _ in range(30):
        batch.look(0, stable, candidate, pairs={"agreement": same})
    assert batch.gates(0)["errors"].tolist() == [1, 1]
    assert batch.gates(0)["agreement"].tolist() == [0, 1]
    assert batch.outcome(0).tolist() == [0, 1]
    for _ in range(30):
        batch.look(1, stable, candidate)
    assert batch.gates(1)["agreement"].tolist() == [0, 1]
    assert batch.outcome(1).tolist() == [1, 1]


def test_without_gates_to_simulate_nothing_passes(spec_of: SpecOf) -> None:
    batch = Batch(spec_of(*STEPS, gates={"q": {"query": "x", "max": 1}}), 2)
    assert batch.gates(0) == {}
    assert batch.outcome(0).tolist() == [0, 0]


RUNS = 400


class TestHowOftenItIsWrong:
    """Looks at 200 requests a second, ten of them the candidate's, for two minutes; benchmarks have the long ones."""

    def failing(self, spec: RolloutSpec, shares: tuple[float, float], clump: int = 1) -> tuple[int, NDArray[np.bool_]]:
        rng, batch = np.random.default_rng(12), Batch(spec, RUNS)
        for i in range(120):
            stable, candidate = (
                BatchTally(n := rng.poisson(mean, RUNS), np.minimum(n, clump * rng.binomial(n, share / clump)))
                for mean, share in zip((190, 10), shares, strict=True)
            )
            batch.look(0, stable, candidate)
            if (batch.outcome(0) == -1).mean() > 0.5:
                return i, batch.outcome(0) == -1
        return 120, batch.outcome(0) == -1

    @pytest.mark.parametrize(("profile", "alpha"), [("fast", 0.05), ("default", 0.01), ("strict", 0.01)])
    def test_an_equal_candidate_is_seldom_failed(self, spec_of: SpecOf, profile: str, alpha: float) -> None:
        spec = spec_of(STEPS[1], gates={"e": {"metric": "error_rate", "margin": 0}}, profile=profile)
        _, failed = self.failing(spec, (0.01, 0.01))
        assert failed.sum() <= RUNS * alpha + 3 * sqrt(RUNS * alpha)

    def test_nor_one_whose_clients_try_three_times(self, spec_of: SpecOf) -> None:
        gates = {"e": {"metric": "error_rate", "margin": 0}}
        _, failed = self.failing(spec_of(STEPS[1], gates=gates, profile="default"), (0.01, 0.01), clump=3)
        assert failed.mean() <= 0.05
        _, unprotected = self.failing(spec_of(STEPS[1], gates=gates, profile="fast"), (0.01, 0.01), clump=3)
        assert unprotected.mean() > failed.mean()

    @pytest.mark.parametrize(("profile", "seconds"), [("fast", 45), ("default", 80), ("strict", 119)])
    def test_ten_times_the_failures_are_found_soon(self, spec_of: SpecOf, profile: str, seconds: int) -> None:
        spec = spec_of(STEPS[1], gates={"e": {"metric": "error_rate"}}, profile=profile)
        needed, _ = self.failing(spec, (0.001, 0.01))
        assert needed <= seconds
