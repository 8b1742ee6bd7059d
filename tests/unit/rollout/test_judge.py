"""The judge: its arithmetic by hand, and how often it is wrong when it looks every second."""

from __future__ import annotations

from collections.abc import Callable
from math import comb, inf, isfinite, sqrt
from statistics import mean

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import norm  # type: ignore[import-untyped]

from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.judge import MIN_REQUESTS, blind, interval, judge
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.verdict import GateVerdict, worst
from lockgate.rollout.words import Outcome

SpecOf = Callable[..., RolloutSpec]

WORSE, BETTER = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0), (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
RUNS = 300


def errors_spec(spec_of: SpecOf, margin: str = "0.5%", profile: str = "fast") -> RolloutSpec:
    return spec_of({"canary": {"weight": 5}}, gates={"e": {"metric": "error_rate", "margin": margin}}, profile=profile)


def latency_spec(spec_of: SpecOf, quantile: float = 0.99, margin: str = "20%") -> RolloutSpec:
    gate = {"metric": "latency", "quantile": quantile, "margin": margin}
    return spec_of({"canary": {"weight": 5}}, gates={"p99": gate}, profile="fast")


def likelihood_ratio(k: int, n: int, limit: float, ratios: tuple[float, ...]) -> float:
    """By the textbook: how much more likely are k of n under each alternative than under the limit, on average?"""

    def pmf(p: float) -> float:
        return comb(n, k) * p**k * (1 - p) ** (n - k)

    return mean(pmf(min(limit * r, (1 + limit) / 2)) / pmf(limit) for r in ratios)


class TestByHand:
    @pytest.mark.parametrize(
        ("k", "n", "low", "high"),
        [
            (0, 100, 0.0, 3.8415 / 103.8415),  # z²/(n+z²) with z = 1.96
            (100, 100, 100 / 103.8415, 1.0),
            (50, 100, 0.5 - 1.96 / 2 / sqrt(103.8415), 0.5 + 1.96 / 2 / sqrt(103.8415)),
            (1, 10, 0.01788, 0.40415),
        ],
    )
    def test_wilsons_interval(self, k: int, n: int, low: float, high: float) -> None:
        assert interval(k, n, 0.95) == pytest.approx((low, high), abs=2e-5)

    def test_nothing_is_known_without_data(self) -> None:
        assert interval(0, 0) == (0.0, inf)

    def test_errors(self, spec_of: SpecOf) -> None:
        # stable 20 of 1000: Wilson's 99 % interval is (1.14 %, 3.50 %); with the margin 1.64 % and 4.00 %
        low, high = interval(20, 1000)
        assert (low, high) == pytest.approx((0.011366, 0.034962), abs=2e-6)
        (gate,) = judge(errors_spec(spec_of), Tally(1000, 20), Tally(200, 1)).gates
        assert gate.harm == pytest.approx(likelihood_ratio(1, 200, high + 0.005, WORSE))
        assert gate.safety == pytest.approx(likelihood_ratio(1, 200, low + 0.005, BETTER))
        assert (gate.candidate, gate.stable) == (0.005, 0.02)
        assert gate.limit == pytest.approx(0.025)
        assert (gate.candidate_requests, gate.stable_requests) == (200, 1000)
        assert gate.sentence == ("e: undecided, candidate failed 1 of 200 requests (0.50%), stable 2.00%, limit 2.50%")

    def test_a_design_effect_divides_the_evidence(self, spec_of: SpecOf) -> None:
        _, high = interval(20, 1000)
        (gate,) = judge(errors_spec(spec_of, profile="default"), Tally(1000, 20), Tally(100, 30)).gates
        limit = high + 0.005
        each = (likelihood_ratio(30, 100, limit, (r,)) ** (1 / 1.5) for r in WORSE)
        assert gate.harm == pytest.approx(mean(each))

    def test_latency(self, spec_of: SpecOf) -> None:
        # stable: 900 up to 10 ms, 100 more up to 20 ms; its median is 5.56 ms, the limit 1.2 x 5.56 + 2 = 8.67 ms
        edges = (10.0, 20.0, inf)
        stable = Tally(1000, 0, Histogram(edges, (900, 1000, 1000)))
        candidate = Tally(200, 0, Histogram(edges, (150, 200, 200)))
        (gate,) = judge(latency_spec(spec_of, 0.5), stable, candidate).gates
        assert (gate.stable, gate.limit) == pytest.approx((500 / 900 * 10, 500 / 900 * 12 + 2))
        assert gate.candidate == pytest.approx(100 / 150 * 10)
        # surely slower than the limit: 50 of 200, against the allowed half; perhaps slower: all of them
        assert gate.harm == pytest.approx(likelihood_ratio(50, 200, 0.5, WORSE))
        assert gate.safety == pytest.approx(likelihood_ratio(200, 200, 0.5, BETTER))
        assert gate.sentence == (
            "p99: undecided, candidate's p50 is 6.7 ms, stable's 5.6 ms, limit 8.7 ms, 50 of 200 requests were slower"
            " than that"
        )


class TestThresholds:
    def test_pass_begins_at_one_over_alpha(self, spec_of: SpecOf) -> None:
        def gate(n: int) -> GateVerdict:
            return judge(errors_spec(spec_of, "5%"), Tally(100_000, 0), Tally(n, 0)).gates[0]

        first = next(n for n in range(MIN_REQUESTS, 1000) if gate(n).outcome is Outcome.PASS)
        assert first > MIN_REQUESTS
        assert gate(first - 1).safety < 20 <= gate(first).safety

    def test_fail_is_shared_by_all_gates_and_steps(self, spec_of: SpecOf) -> None:
        gates = {f"e{i}": {"metric": "error_rate", "margin": "1%"} for i in range(4)}
        steps = [{"canary": {"weight": i + 1}} for i in range(5)]
        spec = spec_of(*steps, gates=gates)

        def harm_and_outcome(k: int) -> tuple[float, Outcome]:
            gate = judge(spec, Tally(10**6, 10**4), Tally(400, k)).gates[0]
            return gate.harm, gate.outcome

        found = [harm_and_outcome(k) for k in range(60)]
        assert {outcome for harm, outcome in found if harm >= 20 * 4 * 5} == {Outcome.FAIL}
        assert Outcome.FAIL not in {outcome for harm, outcome in found if harm < 20 * 4 * 5}

    def test_the_worst_gate_wins_and_gives_the_reason(self, spec_of: SpecOf) -> None:
        gates = {"strict": {"metric": "error_rate", "margin": 0}, "loose": {"metric": "error_rate", "margin": "50%"}}
        verdict = judge(spec_of({"canary": {"weight": 5}}, gates=gates), Tally(5000, 5), Tally(5000, 500))
        assert [g.outcome for g in verdict.gates] == [Outcome.FAIL, Outcome.PASS]
        assert verdict.outcome is Outcome.FAIL
        assert verdict.reason == verdict.gates[0].sentence
        assert verdict.requests == 5000

    def test_the_order_of_outcomes(self) -> None:
        rising = [Outcome.PASS, Outcome.UNDECIDED, Outcome.ERROR, Outcome.FAIL]
        for i, outcome in enumerate(rising):
            assert worst(rising[: i + 1]) is outcome
        assert worst([]) is Outcome.UNDECIDED

    def test_blind_is_an_error_with_its_reason(self, spec_of: SpecOf) -> None:
        verdict = blind(errors_spec(spec_of), "no statistics")
        assert (verdict.outcome, verdict.reason, verdict.requests) == (Outcome.ERROR, "no statistics", 0)


PERFECT = Tally(10**6, 0, Histogram((1.0, 100.0, inf), (10**6, 10**6, 10**6)))
FEW = Tally(MIN_REQUESTS - 1, 0, Histogram((1.0, 100.0, inf), (MIN_REQUESTS - 1,) * 3))


@pytest.mark.parametrize("gate", ["errors", "latency"])
@pytest.mark.parametrize(
    ("stable", "candidate"),
    [(Tally(), Tally()), (PERFECT, Tally()), (Tally(), PERFECT), (PERFECT, FEW), (FEW, PERFECT)],
)
def test_without_data_of_both_sides_nothing_passes(gate: str, stable: Tally, candidate: Tally, spec_of: SpecOf) -> None:
    spec = errors_spec(spec_of, "50%") if gate == "errors" else latency_spec(spec_of, 0.5, "100%")
    assert judge(spec, PERFECT, PERFECT).outcome is Outcome.PASS
    verdict = judge(spec, stable, candidate)
    assert verdict.outcome is Outcome.UNDECIDED
    if not candidate.requests or not stable.requests:
        assert f"no data from {'stable' if candidate.requests else 'the candidate'} yet" in verdict.reason
        assert verdict.gates[0].limit is None or stable.requests


def test_few_requests_do_not_fail_either(spec_of: SpecOf) -> None:
    broken = Tally(MIN_REQUESTS - 1, MIN_REQUESTS - 1)
    assert judge(errors_spec(spec_of), Tally(10**5, 0), broken).outcome is Outcome.UNDECIDED
    assert judge(errors_spec(spec_of), Tally(10**5, 0), Tally(MIN_REQUESTS, MIN_REQUESTS)).outcome is Outcome.FAIL


class TestExtremes:
    COUNT = st.integers(0, 10**7)

    @given(COUNT, COUNT, COUNT, COUNT, st.sampled_from(["0%", "0.5%", "100%"]), st.sampled_from(["fast", "strict"]))
    @example(0, 0, 10**7, 10**7, "0%", "fast")
    @example(10**7, 10**7, 10**7, 0, "100%", "fast")
    @example(10**7, 0, 10**7, 10**7, "0%", "fast")
    @example(60, 70, 60, 70, "0.5%", "fast")  # a failure may be counted before its request
    def test_any_counts_of_errors_have_a_verdict(  # noqa: PLR0913, PLR0917 - hypothesis passes them
        self, spec_of: SpecOf, n: int, k: int, m: int, j: int, margin: str, profile: str
    ) -> None:
        (gate,) = judge(errors_spec(spec_of, margin, profile), Tally(n, k), Tally(m, j)).gates
        assert all(isfinite(x) for x in (gate.harm, gate.safety, gate.candidate or 0.0, gate.limit or 0.0))
        assert min(gate.harm, gate.safety) >= 0

    @given(
        st.lists(COUNT, min_size=4, max_size=4),
        st.lists(COUNT, min_size=4, max_size=4),
        st.sampled_from([1e-6, 0.5, 0.99, 1 - 1e-9]),
    )
    def test_any_latencies_have_a_verdict(
        self, spec_of: SpecOf, stable: list[int], candidate: list[int], quantile: float
    ) -> None:
        sides = [
            Tally(sum(counts), 0, Histogram((1.0, 10.0, 1e9, inf), tuple(np.cumsum(counts).tolist())))
            for counts in (stable, candidate)
        ]
        (gate,) = judge(latency_spec(spec_of, quantile), *sides).gates
        assert all(isfinite(x) for x in (gate.harm, gate.safety, gate.candidate or 0.0, gate.limit or 0.0))

    def test_ten_million_clean_requests_pass_and_ten_million_failures_fail(self, spec_of: SpecOf) -> None:
        clean, broken = Tally(10**7, 0), Tally(10**7, 10**7)
        assert judge(errors_spec(spec_of), clean, clean).outcome is Outcome.PASS
        assert judge(errors_spec(spec_of), clean, broken).outcome is Outcome.FAIL
        assert judge(errors_spec(spec_of), broken, clean).outcome is Outcome.PASS

    def test_nobody_proves_a_margin_of_nothing_against_a_stable_that_never_failed(self, spec_of: SpecOf) -> None:
        clean = Tally(10**6, 0)
        assert judge(errors_spec(spec_of, "0%"), clean, clean).outcome is Outcome.UNDECIDED

    def test_latencies_beyond_the_last_edge_prove_nothing(self, spec_of: SpecOf) -> None:
        """Everything is slower than the histogram can tell: candidate may be as slow as it likes, nobody would see."""
        beyond = Tally(10**5, 0, Histogram((10.0, inf), (0, 10**5)))
        assert judge(latency_spec(spec_of), beyond, beyond).outcome is Outcome.UNDECIDED

    def test_a_latency_in_the_bucket_of_the_limit_counts_against_the_candidate(self, spec_of: SpecOf) -> None:
        """Stable's p99 is about 10 ms, the limit 14 ms; the candidate's requests are somewhere from 10 to 50 ms."""
        edges = (9.0, 10.0, 50.0, inf)
        stable = Tally(10**5, 0, Histogram(edges, (0, 10**5, 10**5, 10**5)))
        candidate = Tally(10**5, 0, Histogram(edges, (0, 0, 10**5, 10**5)))
        assert judge(latency_spec(spec_of), stable, candidate).outcome is Outcome.UNDECIDED


def at_most(alpha: float, runs: int = RUNS) -> float:
    """So many runs of `runs` may be wrong: alpha and three standard errors."""
    return runs * alpha + 3 * sqrt(runs * alpha * (1 - alpha))


Sides = tuple[int, int]
"""Requests of stable and of the candidate in one second."""
SIDES: list[Sides] = [(190, 10), (100, 100), (20, 180)]


def first_word(spec: RolloutSpec, seconds: list[tuple[Tally, Tally]]) -> str:
    """What the judge, asked every second, says first besides undecided."""
    outcomes = (judge(spec, *counts).outcome for counts in seconds)
    return next((str(o) for o in outcomes if o is not Outcome.UNDECIDED), "undecided")


class TestErrorsEverySecond:
    """Independent requests, 200 a second, 150 looks; how often does each word come first?"""

    def words(self, spec: RolloutSpec, rates: tuple[float, float], sides: Sides) -> list[str]:
        rng, looks = np.random.default_rng(7), 150
        seconds = np.arange(1, looks + 1)
        found = []
        for _ in range(RUNS):
            failed = [rng.binomial(n, p, looks).cumsum() for n, p in zip(sides, rates, strict=True)]
            tallies = [
                [Tally(int(t) * n, int(k)) for t, k in zip(seconds, ks, strict=True)]
                for n, ks in zip(sides, failed, strict=True)
            ]
            found.append(first_word(spec, list(zip(*tallies, strict=True))))
        return found

    @pytest.mark.parametrize("sides", SIDES)
    @pytest.mark.parametrize("margin", ["0%", "0.5%"])
    def test_an_equal_candidate_is_seldom_failed(self, margin: str, sides: Sides, spec_of: SpecOf) -> None:
        assert self.words(errors_spec(spec_of, margin), (0.01, 0.01), sides).count("fail") <= at_most(0.05)

    @pytest.mark.parametrize("sides", SIDES)
    def test_five_times_the_failures_are_nearly_always_found(self, sides: Sides, spec_of: SpecOf) -> None:
        assert self.words(errors_spec(spec_of, "0.5%"), (0.01, 0.05), sides).count("fail") >= 0.98 * RUNS

    @pytest.mark.parametrize("sides", SIDES)
    @pytest.mark.parametrize("base", [0.001, 0.01, 0.2])
    def test_a_candidate_at_the_limit_is_seldom_passed_and_seldom_failed(
        self, base: float, sides: Sides, spec_of: SpecOf
    ) -> None:
        words = self.words(errors_spec(spec_of, "0.5%"), (base, base + 0.005), sides)
        assert words.count("pass") <= at_most(0.05)
        assert words.count("fail") <= at_most(0.05)

    def test_an_equal_candidate_is_passed_in_the_end(self, spec_of: SpecOf) -> None:
        assert self.words(errors_spec(spec_of, "2%"), (0.01, 0.01), (100, 100)).count("pass") >= 0.95 * RUNS


class TestLatencyEverySecond:
    """Lognormal latencies with a median of 23 ms in Poisson counts of buckets a tenth wide; the p99 is 74 ms."""

    EDGES = tuple(5 * 1.1**i for i in range(60))
    MEDIAN, SIGMA, RUNS = 23.0, 0.5, 60

    def buckets(self, scale: float = 1.0, tail: float = 1.0) -> np.ndarray:
        """Shares of the requests per bucket; beyond the p90 everything takes `tail` times as long."""
        edges, p90 = np.array(self.EDGES) / scale, self.MEDIAN * np.exp(self.SIGMA * norm.ppf(0.9))
        edges = np.where(edges > p90, p90 + (edges - p90) / tail, edges)
        return np.diff(np.append(norm.cdf(np.log(edges / self.MEDIAN) / self.SIGMA), 1.0), prepend=0.0)

    def words(self, spec: RolloutSpec, shares: tuple[np.ndarray, np.ndarray], sides: Sides) -> list[str]:
        rng, looks, found = np.random.default_rng(11), 150, []
        edges = (*self.EDGES, inf)
        for _ in range(self.RUNS):
            tallies = []
            for n, share in zip(sides, shares, strict=True):
                counts = rng.poisson(n * share, (looks, len(edges))).cumsum(axis=0).cumsum(axis=1)
                tallies.append([Tally(row[-1], 0, Histogram(edges, tuple(row))) for row in counts.tolist()])
            found.append(first_word(spec, list(zip(*tallies, strict=True))))
        return found

    @pytest.mark.parametrize("sides", SIDES)
    def test_equal_latencies_pass_and_never_fail(self, sides: Sides, spec_of: SpecOf) -> None:
        words = self.words(latency_spec(spec_of, 0.95), (self.buckets(), self.buckets()), sides)
        assert words.count("pass") >= 0.9 * self.RUNS
        assert words.count("fail") <= at_most(0.05, self.RUNS)

    @pytest.mark.parametrize("sides", SIDES)
    def test_a_tail_three_times_as_slow_fails(self, sides: Sides, spec_of: SpecOf) -> None:
        words = self.words(latency_spec(spec_of), (self.buckets(), self.buckets(tail=3.0)), sides)
        assert words.count("fail") >= 0.9 * self.RUNS

    @pytest.mark.parametrize("sides", SIDES)
    def test_everything_twice_as_slow_fails(self, sides: Sides, spec_of: SpecOf) -> None:
        words = self.words(latency_spec(spec_of), (self.buckets(), self.buckets(scale=2.0)), sides)
        assert words.count("fail") >= 0.98 * self.RUNS

    @pytest.mark.parametrize("sides", SIDES)
    def test_a_candidate_at_the_limit_is_seldom_passed_and_seldom_failed(self, sides: Sides, spec_of: SpecOf) -> None:
        p99 = self.MEDIAN * float(np.exp(self.SIGMA * norm.ppf(0.99)))
        at_limit = self.buckets(scale=1.2 + 2 / p99)
        words = self.words(latency_spec(spec_of), (self.buckets(), at_limit), sides)
        assert words.count("pass") <= at_most(0.05, self.RUNS)
        assert words.count("fail") <= at_most(0.05, self.RUNS)
