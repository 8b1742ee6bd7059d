"""The gate `prediction_drift`: how far the two sides' predictions are from each other on the same traffic.

The distance is Kolmogorov's, the largest difference of cumulative shares, over the bins that the predictions were
counted in. Howard and Ramdas (2022, theorem 2) give a band around a distribution that holds at every moment:

    0.85 sqrt((log log(e n) + 0.8 log(1612 / alpha)) / n)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import e, log, sqrt

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.kinds import LEAST_TO_PASS, Terms, outcome_of
from lockgate.rollout.analysis.seen import Seen
from lockgate.rollout.analysis.told import Told, drift_sentence, gate_verdict
from lockgate.rollout.gates import PredictionDrift
from lockgate.rollout.verdict import GateVerdict

_CONSTANT = log(1612)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Of one rollout, in this step."""

    bins: tuple[str, ...]
    stable: Array
    """(1, B)"""
    candidate: Array
    failed: Array
    """(1,)"""


class PredictionDriftKind:
    def __init__(self, name: str, gate: PredictionDrift, terms: Terms) -> None:
        self.names = (name,)
        self._gate, self._terms = gate, terms

    def begin(self, rollouts: int = 1) -> Predictions:
        return Predictions((), np.zeros((rollouts, 0)), np.zeros((rollouts, 0)), np.zeros(rollouts))

    def enter(self, state: Predictions, *, shadow: bool) -> Predictions:  # noqa: ARG002 - copies are answered like requests
        return replace(self.begin(), failed=state.failed)

    def look(self, state: Predictions, seen: Seen) -> Predictions:
        spread = seen.spreads.get(self.names[0])
        if spread is None or not spread.bins:
            return state
        came = (np.array([counts], dtype=np.float64) for counts in (spread.stable, spread.candidate))
        stable, candidate = came
        if spread.bins == state.bins:
            stable, candidate = stable + state.stable, candidate + state.candidate
        after = replace(state, bins=spread.bins, stable=stable, candidate=candidate)
        _, _, harm, _ = self._numbers(after)
        return replace(after, failed=np.maximum(state.failed, self._proves(after, harm, self._fails_from)))

    @property
    def _fails_from(self) -> float:
        """A distance of one step's predictions: the gate's part of alpha is shared by the steps."""
        return self._terms.fails_from * self._terms.steps

    def _proves(self, state: Predictions, evidence: float, needed: float) -> float:
        return float(evidence >= log(needed) and min(state.stable.sum(), state.candidate.sum()) >= LEAST_TO_PASS)

    def _numbers(self, state: Predictions) -> tuple[float | None, float, float, float]:
        """Distance, half its band at alpha, and the logarithms of the evidence for harm and for safety.

        The evidence is one over the alpha whose bands would just decide.
        """
        sides = [float(counts.sum()) for counts in (state.candidate, state.stable)]
        if not min(sides, default=0.0):
            return None, 1.0, 0.0, 0.0
        shares = [c.cumsum() / n for c, n in zip((state.candidate[0], state.stable[0]), sides, strict=True)]
        distance = float(np.abs(shares[0] - shares[1]).max())
        sizes = [n / self._terms.profile.design_effect for n in sides]
        excess = distance - self._gate.max
        width = _bands(sizes, log(self._terms.passes_from))
        return distance, width, _evidence(sizes, excess), _evidence(sizes, -excess)

    def outcome(self, state: Predictions) -> float:
        _, _, _, safety = self._numbers(state)
        passed = self._proves(state, safety, self._terms.passes_from)
        return float(outcome_of(state.failed, np.array([passed]))[0])

    def told(self, state: Predictions) -> tuple[GateVerdict, ...]:
        distance, width, harm, safety = self._numbers(state)
        told = Told(
            outcome=self.outcome(state),
            requests=(int(state.candidate.sum()), int(state.stable.sum())),
            candidate=distance,
            stable=None,
            limit=self._gate.max,
            evidence=(harm, safety),
            effect=self._terms.profile.design_effect,
        )
        verdict = gate_verdict(self.names[0], self._gate, self._terms, told, drift_sentence(told, width))
        return (replace(verdict, fails_from=self._fails_from),)


def _bands(sizes: list[float], log_evidence: float) -> float:
    """The width of both bands together, each at half of the alpha whose inverse has this logarithm."""
    inner = _CONSTANT + log(2) + log_evidence
    return sum(0.85 * sqrt((log(log(e * max(n, 1.0))) + 0.8 * inner) / n) for n in sizes)


def _evidence(sizes: list[float], gap: float) -> float:
    """The logarithm of the most evidence at which both bands together are narrower than `gap`."""
    low, high = 0.0, 1000.0
    if gap <= _bands(sizes, low):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _bands(sizes, middle) < gap else (low, middle)
    return low
