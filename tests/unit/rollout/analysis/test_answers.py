"""The gates `disagreement` and `prediction_drift`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.measurement import Pairs, Spread
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.words import Outcome

JudgeOf = Callable[..., Any]
SHADOW, CANARY = {"shadow": {"percent": 100}}, {"canary": {"weight": 5}}
AGREEMENT = {"metric": "disagreement", "max": "1%"}
DRIFT = {"metric": "prediction_drift", "max": 0.1}


def answers(number: int, differing: float, noise: float = 0.0, echoed: int = 0, step: int = 0) -> list[Look]:
    """Looks at 200 pairs each; `differing` and `noise` are shares."""
    rng = np.random.default_rng(11)
    return [
        Look(
            step,
            float(i),
            pairs={"a": Pairs(200, int(rng.binomial(200, differing)), echoed, int(rng.binomial(echoed, noise)))},
        )
        for i in range(number)
    ]


QUIET = {"shadow": {"percent": 100, "echo": 0}}
"""Stable answers nothing twice: its noise is taken for nothing."""


class TestDisagreement:
    @pytest.mark.parametrize(("noise", "echo"), [(0.05, 5), (0.2, 10), (0.5, 10)])
    def test_a_noisy_stable_whose_noise_is_hardly_known_fails_nobody(
        self, judge_of: JudgeOf, noise: float, echo: int
    ) -> None:
        """An equal candidate differs as often as stable from itself; the first echoes come late and say little."""
        rng = np.random.default_rng(3)
        failed = 0
        for _ in range(20):
            judge = judge_of(SHADOW, a=AGREEMENT)
            for _ in range(60):
                echoed = int(rng.binomial(5, echo / 100))
                pairs = Pairs(5, int(rng.binomial(5, noise)), echoed, int(rng.binomial(echoed, noise)))
                judge.sees(Look(0, 0.0, pairs={"a": pairs}))
            failed += judge.gate("a").outcome is Outcome.FAIL
        assert failed <= 2

    @pytest.mark.parametrize("profile", ["fast", "default", "strict"])
    @pytest.mark.parametrize(("noise", "echoed"), [(0.0, 0), (0.0, 40), (0.005, 40)])
    def test_two_percent_fail_where_one_is_tolerated(
        self, judge_of: JudgeOf, profile: str, noise: float, echoed: int
    ) -> None:
        judge = judge_of(SHADOW if echoed else QUIET, a=AGREEMENT, profile=profile)
        looks = answers(150, 0.02 + noise, noise, echoed)
        assert judge.until_it_says_more_than_undecided(looks) is Outcome.FAIL
        assert "candidate differs from stable in" in judge.gate("a").sentence

    @pytest.mark.parametrize("profile", ["fast", "default", "strict"])
    @pytest.mark.parametrize(("noise", "echoed"), [(0.0, 0), (0.002, 0), (0.002, 20), (0.01, 20)])
    def test_one_with_nothing_but_stables_noise_passes(
        self, judge_of: JudgeOf, profile: str, noise: float, echoed: int
    ) -> None:
        judge = judge_of(SHADOW, a=AGREEMENT, profile=profile)
        assert judge.until_it_says_more_than_undecided(answers(200, noise, noise, echoed)) is Outcome.PASS

    def test_noise_that_is_more_than_tolerated_fails_nobody_where_it_is_measured(self, judge_of: JudgeOf) -> None:
        looks = answers(100, 0.02, 0.02, 20)
        judge = judge_of(SHADOW, a=AGREEMENT)
        assert judge.until_it_says_more_than_undecided(looks) is not Outcome.FAIL
        unmeasured = judge_of(QUIET, a=AGREEMENT)
        assert unmeasured.until_it_says_more_than_undecided(answers(100, 0.02)) is Outcome.FAIL

    def test_few_answers_prove_nothing(self, judge_of: JudgeOf) -> None:
        def outcome(gate: dict[str, Any], pairs: Pairs) -> Outcome:
            outcome: Outcome = judge_of(QUIET, a=gate).sees(Look(0, 0.0, pairs={"a": pairs})).outcome
            return outcome

        assert outcome(AGREEMENT, Pairs(9, 9)) is Outcome.UNDECIDED
        assert outcome(AGREEMENT, Pairs(10, 10)) is Outcome.FAIL
        tolerant = {**AGREEMENT, "max": "90%"}
        assert outcome(tolerant, Pairs(49, 0)) is Outcome.UNDECIDED
        assert outcome(tolerant, Pairs(50, 0)) is Outcome.PASS

    def test_a_canary_step_keeps_what_the_shadow_proved(self, judge_of: JudgeOf) -> None:
        judge = judge_of(SHADOW, CANARY, a=AGREEMENT)
        judge.sees(*answers(60, 0.001))
        verdict = judge.sees(Look(1, 0.0))
        assert (verdict.gates[0].outcome, verdict.gates[0].votes) == (Outcome.PASS, True)
        judge.sees(*answers(60, 0.3, step=1))
        assert judge.gate("a", 1).outcome is Outcome.PASS

    def test_where_it_proved_nothing_the_gate_does_not_vote(self, judge_of: JudgeOf) -> None:
        judge = judge_of(SHADOW, CANARY, a=AGREEMENT, e={"metric": "error_rate", "max": "2%"})
        judge.sees(*answers(1, 0.0))
        verdict = judge.analysis.verdict(judge.evidence, 1)
        gate = verdict.gates[0]
        assert (gate.outcome, gate.votes) == (Outcome.UNDECIDED, False)
        assert "does not vote" in gate.sentence
        assert verdict.reason == "e: no data from the candidate yet"

    def test_without_a_gate_that_votes_nothing_passes(self, judge_of: JudgeOf) -> None:
        judge = judge_of(SHADOW, CANARY, a=AGREEMENT)
        verdict = judge.sees(Look(0, 0.0), Look(1, 0.0))
        assert verdict.outcome is Outcome.UNDECIDED
        assert verdict.reason == "no gate has anything to say in this step"

    def test_more_differing_than_compared_is_a_moment_s_confusion(self, judge_of: JudgeOf) -> None:
        judge = judge_of(SHADOW, a=AGREEMENT)
        judge.sees(Look(0, 0.0, pairs={"a": Pairs(5, 7, 1, 3)}))
        assert judge.gate("a").candidate == 1.0


class TestPredictionDrift:
    BINS = ("0.25", "0.5", "0.75", "inf")

    def looks(self, number: int, candidate: tuple[int, ...], bins: tuple[str, ...] = BINS, step: int = 0) -> list[Look]:
        spread = Spread(bins, (25, 25, 25, 25), candidate)
        return [Look(step, 0.0, spreads={"d": spread})] * number

    @pytest.mark.parametrize("profile", ["fast", "default", "strict"])
    def test_predictions_that_moved_fail(self, judge_of: JudgeOf, profile: str) -> None:
        judge = judge_of(d=DRIFT, profile=profile)
        assert judge.sees(*self.looks(60, (5, 15, 30, 50))).outcome is Outcome.FAIL

    @pytest.mark.parametrize("profile", ["fast", "default", "strict"])
    def test_those_that_did_not_pass(self, judge_of: JudgeOf, profile: str) -> None:
        judge = judge_of(d=DRIFT, profile=profile)
        assert judge.sees(*self.looks(120, (25, 26, 24, 25))).outcome is Outcome.PASS

    def test_within_the_band_nothing_is_said(self, judge_of: JudgeOf) -> None:
        judge = judge_of(d=DRIFT)
        assert judge.sees(*self.looks(5, (5, 15, 30, 50))).outcome is Outcome.UNDECIDED
        assert judge.sees(*self.looks(500, (15, 25, 30, 30))).outcome is Outcome.UNDECIDED  # just what is tolerated
        assert judge.gate("d").candidate == pytest.approx(0.1, abs=0.01)

    def test_the_evidence_is_the_alpha_whose_bands_would_just_decide(self, judge_of: JudgeOf) -> None:
        """By hand at 5000 predictions of each side: 2 x 0.85 sqrt((log log(e n) + 0.8 log(1612 x 2 x 1e6)) / n)."""
        width = 2 * 0.85 * np.sqrt((np.log(np.log(np.e * 5000)) + 0.8 * np.log(1612 * 2 * 1e6)) / 5000)
        judge = judge_of(d={**DRIFT, "max": 0.3 - float(width)})
        judge.sees(Look(0, 0.0, spreads={"d": Spread(self.BINS, (1250,) * 4, (250, 750, 1500, 2500))}))
        gate = judge.gate("d")
        assert gate.candidate == pytest.approx(0.3)
        assert gate.harm == pytest.approx(1e6, rel=1e-3)

    def test_few_predictions_prove_nothing(self, judge_of: JudgeOf) -> None:
        for number, outcome in ((49, Outcome.UNDECIDED), (50, Outcome.PASS)):
            spread = Spread(("a", "b"), (1000, 0), (number, 0))
            judge = judge_of(d={**DRIFT, "max": 0.9})
            assert judge.sees(Look(0, 0.0, spreads={"d": spread})).outcome is outcome

    def test_a_step_begins_anew_and_shares_alpha(self, judge_of: JudgeOf) -> None:
        judge = judge_of(SHADOW, CANARY, d=DRIFT)
        judge.sees(*self.looks(120, (25, 26, 24, 25)))
        assert judge.gate("d").fails_from == 40
        verdict = judge.sees(*self.looks(1, (25, 26, 24, 25), step=1))
        assert (verdict.outcome, verdict.gates[0].candidate_requests) == (Outcome.UNDECIDED, 100)

    def test_other_bins_count_anew(self, judge_of: JudgeOf) -> None:
        judge = judge_of(d=DRIFT)
        judge.sees(*self.looks(50, (25, 25, 25, 25)), *self.looks(1, (50, 25, 0, 25), bins=("a", "b", "c", "d")))
        assert judge.gate("d").candidate_requests == 100
        assert judge.gate("d").candidate == pytest.approx(0.25)
