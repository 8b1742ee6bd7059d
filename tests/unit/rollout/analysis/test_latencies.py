"""The gate `latency`, with a margin and with a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.words import Outcome

JudgeOf = Callable[..., Any]
P99 = {"metric": "latency", "quantile": 0.99, "margin": "50%"}
P50 = {"metric": "latency", "quantile": 0.5}
LIMIT = {"metric": "latency", "quantile": 0.95, "max": "100ms"}  # healthy: 62 ms


def looks(traffic: Any, number: int, slower: float = 1.0, step: int = 0) -> Iterator[Look]:
    for i in range(number):
        yield Look(step, float(i), traffic.side(1000), traffic.side(100, slower=slower))


class TestClearData:
    @pytest.mark.parametrize("profile", ["fast", "default", "strict"])
    @pytest.mark.parametrize("gate", [P99, P50, LIMIT])
    def test_a_slow_candidate_fails(self, judge_of: JudgeOf, traffic: Any, gate: dict[str, Any], profile: str) -> None:
        judge = judge_of(gate=gate, profile=profile)
        assert judge.until_it_says_more_than_undecided(looks(traffic, 60, slower=3.0)) is Outcome.FAIL

    @pytest.mark.parametrize("gate", [P99, P50, LIMIT])
    def test_an_equal_one_passes(self, judge_of: JudgeOf, traffic: Any, gate: dict[str, Any]) -> None:
        judge = judge_of(gate=gate)
        assert judge.until_it_says_more_than_undecided(looks(traffic, 120)) is Outcome.PASS

    def test_each_gate_is_failed_by_its_own_quantile(self, judge_of: JudgeOf, traffic: Any) -> None:
        """Only the slowest twentieth is slower."""
        judge = judge_of(p50=P50, p99={**P99, "margin": "20%"})
        for look in looks(traffic, 60):
            counts = look.candidate.latency.counts
            at = next(i for i, count in enumerate(counts) if count >= 95)
            slow = replace(look.candidate.latency, counts=(*(min(c, 95) for c in counts[:-2]), 96, 100))
            assert at > 5
            judge.sees(replace(look, candidate=replace(look.candidate, latency=slow)))
        assert [judge.gate(name).outcome for name in ("p50", "p99")] != [Outcome.FAIL, Outcome.FAIL]
        assert judge.gate("p99").outcome is Outcome.FAIL


class TestTolerance:
    def test_proven_harm_within_the_margin_does_not_fail(self, judge_of: JudgeOf, traffic: Any) -> None:
        judge = judge_of(gate={"metric": "latency", "quantile": 0.99, "margin": "100%"})
        assert judge.until_it_says_more_than_undecided(looks(traffic, 60, slower=1.3)) is Outcome.PASS
        judge.sees(*looks(traffic, 60, slower=1.3))
        assert judge.gate("gate").harm >= judge.gate("gate").fails_from
        assert judge.gate("gate").outcome is not Outcome.FAIL

    def test_slack_is_for_models_that_answer_at_once(self, judge_of: JudgeOf) -> None:
        """Every answer of stable takes up to 1 ms, and of the candidate 2."""
        edges = (0.5, 1.0, 2.0, 3.0, 4.0, inf)
        stable = Tally(1000, 0, Histogram(edges, (0, *[1000] * 5)))
        candidate = Tally(100, 0, Histogram(edges, (0, 0, *[100] * 4)))
        for slack, outcome in (("2ms", Outcome.PASS), ("0.05ms", Outcome.FAIL)):
            judge = judge_of(gate={**P50, "slack": slack})
            judge.sees(*[Look(0, 0.0, stable, candidate)] * 40)
            assert judge.gate("gate").outcome is outcome

    def test_a_coarse_bucket_is_counted_for_the_candidate_and_against_it(self, judge_of: JudgeOf) -> None:
        """Stable's p99 is about 10 ms, the limit 17 ms; the candidate's requests are somewhere from 10 to 50 ms."""
        edges = (9.0, 10.0, 50.0, inf)
        look = Look(
            0,
            0.0,
            Tally(1000, 0, Histogram(edges, (0, 1000, 1000, 1000))),
            Tally(100, 0, Histogram(edges, (0, 0, 100, 100))),
        )
        judge = judge_of(gate=P99)
        assert {judge.sees(look).outcome for _ in range(100)} == {Outcome.UNDECIDED}
        assert judge.gate("gate").harm >= judge.gate("gate").fails_from

    def test_latencies_beyond_the_last_edge_prove_nothing(self, judge_of: JudgeOf) -> None:
        both = (Tally(n, 0, Histogram((10.0, inf), (0, n))) for n in (1000, 100))
        judge = judge_of(gate=P99)
        look = Look(0, 0.0, *both)
        assert {judge.sees(look).outcome for _ in range(100)} == {Outcome.UNDECIDED}


class TestWarmUp:
    @pytest.mark.parametrize("gate", [P99, LIMIT])
    def test_its_latencies_prove_nothing(self, judge_of: JudgeOf, traffic: Any, gate: dict[str, Any]) -> None:
        judge = judge_of(gate=gate)
        cold = [replace(look, warm=False) for look in looks(traffic, 60, slower=5.0)]
        before = judge.gate("gate")
        verdict = judge.sees(*cold)
        assert verdict.outcome is Outcome.UNDECIDED
        assert (verdict.gates[0].harm, verdict.gates[0].candidate_requests) == (before.harm, 0)
        assert judge.until_it_says_more_than_undecided(looks(traffic, 120)) is Outcome.PASS

    def test_its_failures_count(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e={"metric": "error_rate"})
        assert judge.sees(*[Look(0, 0.0, Tally(1000, 1), Tally(50, 10), warm=False)] * 9).outcome is Outcome.FAIL


class TestStable:
    def test_until_enough_is_known_of_it_nothing_is_bet(self, judge_of: JudgeOf, traffic: Any) -> None:
        judge = judge_of(gate=P99)
        judge.sees(Look(0, 0.0, traffic.side(199), traffic.side(10_000, slower=9.0)))
        judge.sees(Look(0, 0.0, traffic.side(199), traffic.side(10_000, slower=9.0)))
        gate = judge.gate("gate")
        assert (gate.harm, gate.safety) == (1.0, 1.0)
        judge.sees(Look(0, 0.0, traffic.side(199), traffic.side(10_000, slower=9.0)))
        assert judge.gate("gate").harm > 1000

    def test_its_scatter_is_measured_from_then_on(self, judge_of: JudgeOf, traffic: Any) -> None:
        judge = judge_of(gate=P99)
        judge.sees(*looks(traffic, 2))
        assert not any(judge.evidence.kept["gate"].numbers["scatter.blocks"])
        judge.sees(*looks(traffic, 1))
        assert any(judge.evidence.kept["gate"].numbers["scatter.blocks"])

    def test_what_a_bet_is_about_does_not_weigh_it(self, judge_of: JudgeOf, traffic: Any) -> None:
        judge, history = judge_of(gate=P99), list(looks(traffic, 3))
        judge.sees(*history)
        effects = set()
        for slower in (1.0, 1.5, 4.0):
            look = Look(0, 0.0, traffic.side(1000, slower=slower), traffic.side(100))
            evidence = judge.analysis.look(judge.evidence, look)
            effects.add(judge.analysis.verdict(evidence, 0).gates[0].design_effect)
        assert len(effects) == 1

    def test_the_limit_of_safety_is_the_least_that_stables_quantile_may_be(self, judge_of: JudgeOf) -> None:
        """Stable's median is 50 ms of 100, and by 400 requests perhaps 45 ms only: limit 1.2 x 45.1 + 2 = 56.1 ms."""
        edges = (*(float(ms) for ms in range(1, 101)), inf)
        counts = tuple(4 * ms for ms in range(1, 101))
        even = Histogram(edges, (*counts, 400))
        judge = judge_of(gate=P50)
        judge.sees(Look(0, 0.0, Tally(400, 0, even)))
        candidate = Histogram(edges, (*(0 for _ in range(55)), *(20 for _ in range(45)), 20))  # of 56 ms
        judge.sees(Look(0, 0.0, Tally(400, 0, even), Tally(20, 0, candidate)))
        best = judge.gate("gate").safety
        assert best > 100
        candidate = Histogram(edges, (*(0 for _ in range(57)), *(20 for _ in range(43)), 20))  # of 58 ms
        judge = judge_of(gate=P50)
        judge.sees(Look(0, 0.0, Tally(400, 0, even)), Look(0, 0.0, Tally(400, 0, even), Tally(20, 0, candidate)))
        assert judge.gate("gate").safety < 0.1

    def test_a_router_that_counts_otherwise_begins_the_step_anew(self, judge_of: JudgeOf, traffic: Any) -> None:
        judge = judge_of(gate=P99)
        judge.sees(*looks(traffic, 10))
        other = (Tally(n, 0, Histogram((20.0, 50.0, 200.0, inf), (n // 2, n - n // 9, n, n))) for n in (900, 90))
        judge.sees(Look(0, 0.0, *other))
        assert judge.gate("gate").stable_requests == 900

    def test_two_sides_that_are_counted_differently_are_not_compared(self, judge_of: JudgeOf, traffic: Any) -> None:
        judge = judge_of(gate=P99)
        slow = Tally(100, 0, Histogram((1000.0, inf), (0, 100)))
        for _ in range(50):
            judge.sees(Look(0, 0.0, traffic.side(1000), slow))
        assert judge.gate("gate").outcome is Outcome.UNDECIDED

    def test_the_limit_needs_no_stable(self, judge_of: JudgeOf, traffic: Any) -> None:
        for slower, outcome in ((1.0, Outcome.PASS), (3.0, Outcome.FAIL)):
            judge = judge_of(gate=LIMIT)
            for _ in range(20):
                judge.sees(Look(0, 0.0, Tally(), traffic.side(100, slower=slower)))
            assert judge.gate("gate").outcome is outcome
            assert judge.gate("gate").stable is None


def test_the_sentence(judge_of: JudgeOf) -> None:
    edges = (10.0, 20.0, inf)
    judge = judge_of(p50=P50)
    judge.sees(
        Look(
            0,
            0.0,
            Tally(1000, 0, Histogram(edges, (900, 1000, 1000))),
            Tally(200, 0, Histogram(edges, (150, 200, 200))),
        )
    )
    gate = judge.gate("p50")
    assert (gate.stable, gate.limit) == pytest.approx((500 / 900 * 10, 500 / 900 * 12 + 2))
    assert gate.sentence == (
        "p50: undecided, candidate's p50 is 6.7 ms, stable's 5.6 ms, limit 8.7 ms, 50 of 200 requests were slower than"
        " that"
    )
