"""The same judge on many simulated rollouts at once: for benchmarks, `lockgate plan` and `lockgate rehearse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lockgate.rollout.analysis.analysis import is_shadow, kinds_in_batch
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.kinds import PASS, UNDECIDED, terms_of
from lockgate.rollout.analysis.seen import BatchPairs, BatchTally, Seen
from lockgate.rollout.spec import RolloutSpec

__all__ = ["Batch", "BatchPairs", "BatchTally"]


class Batch:
    """All rollouts have the same spec, are in the same step, and are looked at at the same moments.

    Gates of the kinds `prediction_drift` and `query` are left out; they have their part of alpha nevertheless.
    """

    def __init__(self, spec: RolloutSpec, rollouts: int) -> None:
        self._spec, self._step = spec, _NO_STEP
        self._kinds = kinds_in_batch(spec.gates, terms_of(spec), explain=False)
        self._states: list[Any] = [kind.begin(rollouts) for kind in self._kinds]
        self._rollouts = rollouts

    def look(  # noqa: PLR0913 - what a look may hold
        self,
        step: int,
        stable: BatchTally,
        candidate: BatchTally,
        *,
        warm: bool = True,
        replicas: tuple[Array, Array] | None = None,
        pairs: Mapping[str, BatchPairs] | None = None,
    ) -> None:
        """What came since the look before; see `Look`. `replicas`: requests and failures of stable's, each (R, P)."""
        self._states, self._step = self._in_step(step), step
        compared = {name: _pairs(each) for name, each in (pairs or {}).items()}
        seen = Seen(_floats(stable), _floats(candidate), warm, _each(replicas), compared)
        self._states = [kind.look(state, seen) for kind, state in zip(self._kinds, self._states, strict=True)]

    def gates(self, step: int) -> dict[str, Array]:
        """By gate (R,): -1 fail, 0 undecided, 1 pass."""
        found: dict[str, Array] = {}
        for kind, state in zip(self._kinds, self._in_step(step), strict=True):
            found.update(zip(kind.names, kind.outcomes(state).T, strict=True))
        return found

    def outcome(self, step: int) -> Array:
        """(R,) of all gates that vote together: the worst wins."""
        least, voters = np.full(self._rollouts, PASS), np.zeros(self._rollouts)
        for kind, state in zip(self._kinds, self._in_step(step), strict=True):
            votes = kind.votes(state) > 0
            least = np.minimum(least, np.where(votes, kind.outcomes(state), PASS).min(axis=1))
            voters += votes.any(axis=1)
        return np.where(voters > 0, least, UNDECIDED)

    def _in_step(self, step: int) -> list[Any]:
        if step == self._step:
            return self._states
        shadow = is_shadow(self._spec, step)
        return [kind.enter(state, shadow=shadow) for kind, state in zip(self._kinds, self._states, strict=True)]


_NO_STEP = -1


def _floats(tally: BatchTally) -> BatchTally:
    return replace(
        tally,
        requests=np.asarray(tally.requests, dtype=np.float64),
        errors=np.asarray(tally.errors, dtype=np.float64),
        counts=np.asarray(tally.counts, dtype=np.float64),
    )


def _pairs(pairs: BatchPairs) -> BatchPairs:
    compared, echoed = (np.asarray(each, dtype=np.float64) for each in (pairs.compared, pairs.echoed))
    return BatchPairs(
        compared, np.minimum(pairs.differing, compared), echoed, np.minimum(pairs.echoes_differing, echoed)
    )


def _each(replicas: tuple[Array, Array] | None) -> tuple[Array, Array] | None:
    if replicas is None:
        return None
    requests, failed = (np.asarray(each, dtype=np.float64) for each in replicas)
    return requests, np.minimum(failed, requests)
