"""The test of an `ab` step: whether users do better with the candidate, or not better by what is worth it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from lockgate.rollout.analysis import ratio
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.effects import estimator_of
from lockgate.rollout.analysis.kinds import PASS, UNDECIDED, Terms, outcome_of
from lockgate.rollout.analysis.ratio import Ratio
from lockgate.rollout.analysis.seen import Seen
from lockgate.rollout.analysis.told import (
    ab_sentence,
    effect_told,
    gate_verdict,
    invalid_sentence,
    users_told,
    with_effect,
)
from lockgate.rollout.metrics import Metric
from lockgate.rollout.spec import Ab
from lockgate.rollout.verdict import GateVerdict


@dataclass(frozen=True, slots=True)
class Trial:
    """Of one step."""

    effect: Any
    """The estimator's state."""
    ratio: Ratio
    invalid: Array
    """(R,): 1 where users were not split as the routes say."""
    failed: Array
    """(R,)"""


class AbKind:
    """`tests`: how many challengers are tested in the step; they share alpha."""

    def __init__(self, name: str, ab: Ab, metric: Metric, terms: Terms, tests: int = 1) -> None:
        self.names = (name,)
        self.ab, self.metric, self._terms, self._tests = ab, metric, terms, tests
        self._estimator = estimator_of(metric)
        self._sign = 1.0 if metric.better == "higher" else -1.0

    @property
    def alpha(self) -> float:
        return self._terms.profile.alpha / self._tests

    def begin(self, rollouts: int) -> Trial:
        zero = np.zeros(rollouts)
        return Trial(self._estimator.begin(rollouts), ratio.begin(rollouts), zero, zero)

    def enter(self, state: Trial, *, shadow: bool) -> Trial:  # noqa: ARG002 - there is no test in a shadow step
        """Every step is a test of its own, but a test that failed stays failed."""
        return replace(self.begin(len(state.failed)), failed=state.failed, invalid=state.invalid)

    def look(self, state: Trial, seen: Seen) -> Trial:
        after = replace(
            state,
            effect=self._estimator.look(state.effect, seen.rewards.get(self.ab.metric, ())),
            ratio=ratio.look(state.ratio, seen.arrivals),
        )
        wrong = ratio.mismatched(after.ratio)
        if self.ab.allocation == "fixed":
            wrong = np.maximum(wrong, ratio.crossing(after.ratio))
        worthless, _ = self._evidence(after)
        failed = np.maximum(wrong, worthless >= -log(self.alpha))
        return replace(after, invalid=np.maximum(state.invalid, wrong), failed=np.maximum(state.failed, failed))

    def _evidence(self, state: Trial) -> tuple[Array, Array]:
        """Logarithms of the e-values for "not better by the minimum effect" and for "better"."""
        above, below = self._estimator.evidence(state.effect, self._sign * self.ab.minimum_effect)
        more, less = self._estimator.evidence(state.effect, 0.0)
        return (below, more) if self._sign > 0 else (above, less)

    def known(self, state: Trial) -> Array:
        """(R,): whether there are enough users of both sides to say anything."""
        return np.asarray(self._estimator.sums(state.effect).units.min(axis=1) >= self._estimator.least)

    def chance(self, state: Trial) -> Array:
        """(R,): how likely users do better with the candidate."""
        above = self._estimator.chance(state.effect)
        return above if self._sign > 0 else 1 - above

    def outcomes(self, state: Trial) -> Array:
        _, better = self._evidence(state)
        return outcome_of(state.failed, np.where(better >= -log(self.alpha), PASS, UNDECIDED))[:, None]

    def votes(self, state: Trial) -> Array:
        return np.ones((len(state.failed), 1))

    def told(self, state: Trial) -> tuple[GateVerdict, ...]:
        worst, outcome = self._sign * self.ab.minimum_effect, float(self.outcomes(state)[0, 0])
        told = users_told(self._estimator.sums(state.effect), outcome, worst, self._evidence(state))
        effect = effect_told(self._estimator.interval(state.effect, self.alpha), self.alpha, self.metric)
        sentence = ab_sentence(told, effect, self.ab.metric, self.ab.minimum_effect)
        verdict = with_effect(gate_verdict(self.names[0], self.ab, self._terms, told, sentence), effect)
        if state.invalid[0]:
            verdict = replace(verdict, sentence=f"{self.names[0]}: {verdict.outcome}, {self._invalid(state)}")
        needed = 1 / self.alpha
        return (replace(verdict, metric="ab", fails_from=needed, passes_from=needed, share=1 / self._tests),)

    def _invalid(self, state: Trial) -> str:
        came = state.ratio
        counts = [float(each[0]) for each in (came.candidate, came.stable, came.expected, came.crossed)]
        log_e = float(ratio.log_evidence(came)[0])
        return invalid_sentence(counts, log_e if ratio.mismatched(came)[0] else None)
