"""Our judge on simulated traffic: the product's own code, by the spec that a person would write."""

from __future__ import annotations

import numpy as np

from benchmarks.detection.traffic import EDGES, Arm, Floats, Ints, Split
from lockgate.rollout.analysis.batch import Batch, BatchTally
from lockgate.rollout.spec import RolloutSpec

GATES = {
    "errors": {"metric": "error_rate"},
    "p50": {"metric": "latency", "quantile": 0.5},
    "p95": {"metric": "latency", "quantile": 0.95},
    "p99": {"metric": "latency", "quantile": 0.99},
}
"""With the spec's own margins: half a point of failed requests, 20 % and 2 ms of latency."""
_TIGHT_P99 = {"metric": "latency", "quantile": 0.99, "margin": 0.05}
"""Of a person to whom a fifth is too much; the default margin tolerates it."""
ALL, TIGHT = "all together", "p99_tight"


def spec(gates: str, weights: tuple[float, ...], profile: str, *, shadow: bool = False) -> RolloutSpec:
    """`gates`: one of GATES, ALL, or TIGHT. One canary step for each weight; with `shadow`, one of that before."""
    named = GATES if gates == ALL else {gates: _TIGHT_P99 if gates == TIGHT else GATES[gates]}
    steps = [{"canary": {"weight": f"{weight:%}"}} for weight in weights]
    before = [{"shadow": {"percent": 100}}] if shadow else []
    return RolloutSpec.model_validate({"steps": [*before, *steps], "gates": named, "profile": profile})


class Judge:
    """Watches many rollouts and notes the candidate requests at the first `fail` and at the first `pass` of each.

    It goes on after a pass, so a candidate that was found good may still be rolled back: harsher than the product.
    """

    def __init__(self, of: RolloutSpec, rollouts: int) -> None:
        self._batch = Batch(of, rollouts)
        self._requests = np.zeros(rollouts)
        self.failed: Floats = np.full(rollouts, np.inf)
        self.passed: Floats = np.full(rollouts, np.inf)

    def look(self, split: Split, step: int = 0, *, replicas: bool = False) -> None:
        self._batch.look(
            step,
            _tally(split.stable),
            _tally(split.candidate),
            replicas=(_floats(split.replicas[0]), _floats(split.replicas[1])) if replicas else None,
        )
        self._requests += split.candidate.requests
        outcome = self._batch.outcome(step)
        for word, first in ((-1, self.failed), (1, self.passed)):
            new = (outcome == word) & np.isinf(first)
            first[new] = self._requests[new]

    @property
    def done(self) -> bool:
        """All have failed."""
        return bool(np.isfinite(self.failed).all())

    @property
    def all_passed(self) -> bool:
        return bool(np.isfinite(self.passed).all())


def _tally(arm: Arm) -> BatchTally:
    return BatchTally(_floats(arm.requests), _floats(arm.errors), EDGES[-arm.counts.shape[1] :], _floats(arm.counts))


def _floats(counts: Ints) -> Floats:
    return counts.astype(np.float64)
