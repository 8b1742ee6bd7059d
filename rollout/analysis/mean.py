"""The gate `mean`: a business metric must not be worse with the candidate than tolerated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.effects import estimator_of, means
from lockgate.rollout.analysis.kinds import Terms, outcome_of
from lockgate.rollout.analysis.seen import Seen
from lockgate.rollout.analysis.told import effect_told, gate_verdict, mean_sentence, users_told, with_effect
from lockgate.rollout.gates import Mean
from lockgate.rollout.metrics import Metric
from lockgate.rollout.verdict import GateVerdict


@dataclass(frozen=True, slots=True)
class Guard:
    """Of one step."""

    effect: Any
    """The estimator's state."""
    shadow: Array
    """(R,): 1 in a shadow step, where the candidate answers nobody."""
    failed: Array
    """(R,)"""


class MeanKind:
    def __init__(self, name: str, gate: Mean, metric: Metric, terms: Terms) -> None:
        self.names = (name,)
        self._gate, self._metric, self._terms = gate, metric, terms
        self._estimator = estimator_of(metric)
        self._sign = 1.0 if metric.better == "higher" else -1.0

    @property
    def _fails_from(self) -> float:
        """An interval begins anew with each step: the gate's part of alpha is shared by the steps."""
        return self._terms.fails_from * self._terms.steps

    def begin(self, rollouts: int) -> Guard:
        zero = np.zeros(rollouts)
        return Guard(self._estimator.begin(rollouts), zero, zero)

    def enter(self, state: Guard, *, shadow: bool) -> Guard:
        begun = self.begin(len(state.failed))
        return replace(begun, shadow=begun.shadow + shadow, failed=state.failed)

    def look(self, state: Guard, seen: Seen) -> Guard:
        if state.shadow.any():
            return state
        groups = seen.rewards.get(self._gate.of, ())
        after = replace(state, effect=self._estimator.look(state.effect, groups))
        harm, _ = self._evidence(after)
        mine, theirs = means(self._estimator.sums(after.effect)).T
        beyond = self._sign * (mine - theirs) < -self._gate.margin * np.abs(theirs)
        return replace(after, failed=np.maximum(state.failed, (harm >= log(self._fails_from)) & beyond))

    def _evidence(self, state: Guard) -> tuple[Array, Array]:
        """Logarithms of the e-values for "worse" and for "no worse than the margin"."""
        above, below = self._estimator.evidence(state.effect, -self._sign * self._gate.margin)
        more, less = self._estimator.evidence(state.effect, 0.0)
        return (less, above) if self._sign > 0 else (more, below)

    def outcomes(self, state: Guard) -> Array:
        _, safety = self._evidence(state)
        return outcome_of(state.failed, self._terms.safe(safety))[:, None]

    def votes(self, state: Guard) -> Array:
        """Where the candidate answers nobody, only what it proved before counts."""
        return np.where(state.shadow > 0, state.failed, 1.0)[:, None]

    def told(self, state: Guard) -> tuple[GateVerdict, ...]:
        alpha, worst, outcome = self._terms.profile.alpha, -self._sign * self._gate.margin, self.outcomes(state)[0, 0]
        told = users_told(self._estimator.sums(state.effect), float(outcome), worst, self._evidence(state))
        told = replace(told, votes=bool(self.votes(state)[0, 0]))
        effect = effect_told(self._estimator.interval(state.effect, alpha), alpha, self._metric)
        sentence = mean_sentence(told, effect, self._gate.of)
        verdict = with_effect(gate_verdict(self.names[0], self._gate, self._terms, told, sentence), effect)
        return (replace(verdict, fails_from=self._fails_from),)
