"""The gate `query`: readings of a Prometheus query, counted. No statistics: the limits are a person's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isnan

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.seen import Seen
from lockgate.rollout.analysis.told import query_sentence
from lockgate.rollout.gates import Query
from lockgate.rollout.verdict import GateVerdict
from lockgate.rollout.words import Outcome

PERSISTS = 3
"""Errors in a row from which on a source is said to be gone."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Of this step, each (1,)."""

    within: Array
    outside: Array
    empty: Array
    """Readings without a value."""
    errors: Array
    """In a row, up to now."""
    last: Array
    """The last value, or nothing: (1, 0)."""
    failed: Array
    why: tuple[str, ...] = ()
    """What the source said last instead of answering."""


class QueryKind:
    def __init__(self, name: str, gate: Query) -> None:
        self.names = (name,)
        self._gate = gate

    def begin(self, rollouts: int = 1) -> Readings:
        zero = np.zeros(rollouts)
        return Readings(zero, zero, zero, zero, np.zeros((rollouts, 0)), zero)

    def enter(self, state: Readings, *, shadow: bool) -> Readings:  # noqa: ARG002 - asked in every step
        return replace(self.begin(), failed=state.failed, errors=state.errors, why=state.why)

    def look(self, state: Readings, seen: Seen) -> Readings:
        reading = seen.readings.get(self.names[0])
        if reading is None:
            return state
        if reading.error:
            strict = self._gate.on_error == "fail"
            state = replace(state, errors=state.errors + 1, why=(reading.error,))
        elif reading.value is None or isnan(reading.value):
            strict = self._gate.no_data == "fail"
            state = replace(state, errors=np.zeros(1), empty=state.empty + 1)
        else:
            strict = not self._fits(reading.value)
            last = np.array([[max(-1e308, min(reading.value, 1e308))]])  # JSON knows no infinity
            state = replace(state, errors=np.zeros(1), last=last, within=state.within + (not strict))
        state = replace(state, outside=state.outside + strict)
        return replace(state, failed=np.maximum(state.failed, state.outside > self._gate.failure_limit))

    def _fits(self, value: float) -> bool:
        low, high = self._gate.min, self._gate.max
        return (low is None or value >= low) and (high is None or value <= high)

    def outcome(self, state: Readings) -> Outcome:
        if state.failed[0]:
            return Outcome.FAIL
        if state.errors[0] >= PERSISTS:
            return Outcome.ERROR
        return Outcome.PASS if state.within[0] >= self._gate.count else Outcome.UNDECIDED

    def told(self, state: Readings) -> tuple[GateVerdict, ...]:
        """Its `requests` are readings: those within the limits and those outside."""
        counts = int(state.within[0]), int(state.outside[0]), int(state.empty[0])
        low, high = self._gate.min, self._gate.max
        why = state.why[0] if state.why and state.errors[0] else ""
        limits = -inf if low is None else low, inf if high is None else high
        last = float(state.last[0, 0]) if state.last.size else None
        outcome = self.outcome(state)
        return (
            GateVerdict(
                gate=self.names[0],
                metric=self._gate.metric,
                outcome=outcome,
                candidate=last,
                stable=None,
                limit=high if high is not None else low,
                candidate_requests=counts[0] + counts[1],
                stable_requests=0,
                harm=float(counts[1]),
                safety=float(counts[0]),
                sentence=f"{self.names[0]}: {outcome}, {query_sentence(counts, last, limits, why)}",
                fails_from=self._gate.failure_limit + 1.0,
                passes_from=float(self._gate.count),
                share=0.0,
            ),
        )
