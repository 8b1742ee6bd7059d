"""The gate `error_rate`, with a margin and with a limit."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.measurement import Tally
from lockgate.rollout.analysis import bets
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.words import Outcome

JudgeOf = Callable[..., Any]
MARGIN = {"metric": "error_rate", "margin": "0.5%"}
LIMIT = {"metric": "error_rate", "max": "2%"}


def looks(number: int, stable: tuple[int, int], candidate: tuple[int, int], step: int = 0) -> list[Look]:
    """Each has so many requests and failures of each side."""
    return [Look(step, float(i), Tally(*stable), Tally(*candidate)) for i in range(number)]


@pytest.mark.parametrize("profile", ["fast", "default", "strict"])
@pytest.mark.parametrize("gate", [MARGIN, LIMIT])
class TestClearData:
    def test_a_broken_candidate_fails(self, judge_of: JudgeOf, gate: dict[str, Any], profile: str) -> None:
        verdict = judge_of(e=gate, profile=profile).sees(*looks(20, (1000, 1), (50, 5)))
        assert verdict.outcome is Outcome.FAIL
        assert verdict.reason == verdict.gates[0].sentence

    def test_a_healthy_one_passes(self, judge_of: JudgeOf, gate: dict[str, Any], profile: str) -> None:
        verdict = judge_of(e=gate, profile=profile).sees(*looks(100, (1000, 1), (50, 0)))
        assert verdict.outcome is Outcome.PASS

    def test_one_look_proves_little(self, judge_of: JudgeOf, gate: dict[str, Any], profile: str) -> None:
        judge = judge_of(e=gate, profile=profile)
        assert judge.sees(*looks(1, (1000, 1), (50, 0))).outcome is Outcome.UNDECIDED


class TestArithmetic:
    def test_the_first_look_by_hand(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e=MARGIN)
        judge.sees(*looks(1, (1000, 20), (200, 6)))
        gate = judge.gate("e")
        bad, requests = (np.array([6.0]), np.array([20.0])), (np.array([200.0]), np.array([1000.0]))
        assert gate.harm == pytest.approx(np.exp(bets.conditional(bad, requests, 1.0, bets.RATIOS)).mean())
        # nothing is known of stable before, so the margin alone is the limit of the bet on safety
        each = [6 * log(q) + 194 * log((1 - 0.005 * q) / 0.995) for q in bets.BETTER]
        assert gate.safety == pytest.approx(np.exp(each).mean())
        assert (gate.candidate, gate.stable) == (0.03, 0.02)
        assert gate.limit == pytest.approx(0.025)
        assert (gate.candidate_requests, gate.stable_requests) == (200, 1000)
        assert (gate.fails_from, gate.passes_from, gate.share, gate.design_effect) == (20, 20, 1.0, 1.0)
        assert gate.sentence == "e: undecided, candidate failed 6 of 200 requests (3.00%), stable 2.00%, limit 2.50%"

    def test_the_limit_of_safety_is_what_stable_was_seen_to_do_before(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e=MARGIN)
        judge.sees(*looks(1, (1000, 20), (0, 0)))
        judge.sees(*looks(1, (1000, 900), (100, 0)))
        low, _ = bets.interval(np.array([20.0]), np.array([1000.0]), 2.575829)
        logs = bets.one_sample(np.array([0.0]), np.array([100.0]), low + 0.005, bets.BETTER)
        assert judge.gate("e").safety == pytest.approx(np.exp(logs).mean())

    def test_a_design_effect_divides_the_evidence(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e=MARGIN, profile="default")
        judge.sees(*looks(1, (1000, 0), (100, 2)))
        gate = judge.gate("e")
        bad, requests = (np.array([2.0]), np.array([0.0])), (np.array([100.0]), np.array([1000.0]))
        logs = bets.conditional(bad, requests, 1.25, bets.RATIOS)
        assert gate.design_effect > 1.5
        assert gate.harm == pytest.approx(np.exp(logs / gate.design_effect).mean())

    def test_alpha_is_shared_by_the_gates_that_vote(self, judge_of: JudgeOf) -> None:
        both = judge_of(e=MARGIN, l={"metric": "latency"}, q={"query": "up", "min": 1}, profile="strict")
        gate = both.gate("e")
        assert (gate.fails_from, gate.passes_from, gate.share) == (200, 100, 0.5)

    def test_failing_begins_where_it_is_said_to(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e=MARGIN, l={"metric": "latency"})
        harms = []
        for look in looks(30, (1000, 1), (40, 1)):
            outcome = judge.sees(look).gates[0].outcome
            harms.append((judge.gate("e").harm >= 40, outcome is Outcome.FAIL))
        assert set(harms) == {(False, False), (True, True)}

    def test_a_failing_gate_says_how_many_times_as_often_at_least(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e=MARGIN)
        judge.sees(*looks(10, (1000, 10), (100, 10)))
        times = float(judge.gate("e").sentence.split("at least ")[1].split(" times")[0])
        assert 1.5 < times < 10

    def test_that_number_has_a_confidence(self, judge_of: JudgeOf) -> None:
        """The ratio below it is ruled out at the gate's alpha by the likelihood of the looks, the one above is not."""
        judge = judge_of(e=MARGIN)
        judge.sees(*looks(3, (1000, 20), (100, 15)))
        times = float(judge.gate("e").sentence.split("at least ")[1].split(" times")[0])
        odds = times * 0.98 / (1 - 0.02 * times)
        share = 100 / 1100

        def likelihood(r: float) -> float:
            return 45 * log(r) - 105 * log(share * r + 1 - share)

        best = max(likelihood(1.25 ** (i / 4)) for i in range(80))
        assert exp(best - likelihood(odds / 1.3)) > 20
        assert exp(best - likelihood(odds * 2)) < 20


class TestTolerance:
    def test_proven_harm_within_the_margin_does_not_fail(self, judge_of: JudgeOf) -> None:
        """Twice as often, which is proven, and half a point more is tolerated."""
        judge = judge_of(e=MARGIN)
        assert judge.sees(*looks(60, (10_000, 10), (2000, 5))).outcome is Outcome.PASS
        assert judge.gate("e").harm >= judge.gate("e").fails_from

    def test_without_a_margin_it_does(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e={"metric": "error_rate", "margin": 0})
        assert judge.sees(*looks(60, (10_000, 10), (2000, 5))).outcome is Outcome.FAIL

    def test_what_was_proven_in_another_step_fails_only_what_is_seen_in_this_one(self, judge_of: JudgeOf) -> None:
        judge = judge_of({"canary": {"weight": 5}}, {"canary": {"weight": 10}}, e=MARGIN)
        judge.sees(*looks(60, (10_000, 10), (2000, 5)))
        assert judge.sees(*looks(1, (3, 0), (20, 1), step=1)).outcome is Outcome.UNDECIDED

    def test_the_limit_needs_no_stable(self, judge_of: JudgeOf) -> None:
        assert judge_of(e=LIMIT).sees(*looks(40, (0, 0), (50, 0))).outcome is Outcome.PASS
        assert judge_of(e=LIMIT).sees(*looks(40, (0, 0), (50, 5))).outcome is Outcome.FAIL

    def test_an_incident_of_both_sides_is_nobodys_fault(self, judge_of: JudgeOf) -> None:
        judge = judge_of(e=MARGIN)
        rng = np.random.default_rng(2)
        for share in (0.001, 0.3, 0.001):
            for _ in range(30):
                sides = (Tally(n, int(rng.binomial(n, share))) for n in (1900, 100))
                assert judge.sees(Look(0, 0.0, *sides)).outcome is not Outcome.FAIL


class TestSteps:
    STEPS = ({"canary": {"weight": 5}}, {"canary": {"weight": 10}})

    def test_a_pass_is_of_its_step(self, judge_of: JudgeOf) -> None:
        judge = judge_of(*self.STEPS, e=MARGIN)
        assert judge.sees(*looks(100, (1000, 1), (50, 0))).outcome is Outcome.PASS
        assert judge.analysis.verdict(judge.evidence, 1).outcome is Outcome.UNDECIDED
        verdict = judge.sees(*looks(1, (1000, 1), (50, 0), step=1))
        assert (verdict.outcome, verdict.requests, verdict.looks) == (Outcome.UNDECIDED, 50, 101)

    def test_harm_is_carried_on(self, judge_of: JudgeOf) -> None:
        judge = judge_of(*self.STEPS, e=MARGIN)
        harm = [judge.sees(*looks(2, (1000, 2), (30, 1), step=step)).gates[0].harm for step in (0, 1)]
        assert harm[1] > harm[0] > 1

    @pytest.mark.parametrize(("profile", "worth"), [("fast", 1.0), ("default", 0.5), ("strict", 0.5)])
    def test_what_is_bet_at_first(self, judge_of: JudgeOf, profile: str, worth: float) -> None:
        """All at once; a part at each step; half, and then a part at each look."""
        judge = judge_of(*self.STEPS, e=MARGIN, profile=profile)
        judge.sees(*looks(1, (10**6, 10**5), (10**6, 10)))  # whatever was bet is lost
        assert judge.gate("e").harm == pytest.approx(1 - worth, abs=1e-3)

    def test_the_profile_that_bets_at_every_step_finds_what_begins_late(self, judge_of: JudgeOf) -> None:
        """At the second step, after a long time of being better than stable."""
        found = {}
        for profile in ("fast", "default"):
            judge = judge_of(*self.STEPS, e=MARGIN, profile=profile)
            judge.sees(*looks(200, (1000, 20), (1000, 2)))
            found[profile] = judge.until_it_says_more_than_undecided(looks(30, (1000, 20), (300, 18), step=1))
        assert found["default"] is Outcome.FAIL
        assert found["fast"] is not Outcome.FAIL

    def test_after_a_fail_nothing_changes(self, judge_of: JudgeOf) -> None:
        judge = judge_of(*self.STEPS, e=MARGIN)
        failed = judge.sees(*looks(20, (1000, 1), (50, 5)))
        later = judge.sees(*looks(200, (1000, 1), (50, 0)))
        assert later.gates == failed.gates
        assert later.looks == 220
        assert judge.sees(*looks(1, (1000, 1), (50, 0), step=1)).outcome is Outcome.FAIL
