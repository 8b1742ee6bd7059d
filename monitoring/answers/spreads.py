"""How the predictions of both sides are distributed, of one `prediction_drift` gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.answers.bins import Bins, fixed
from lockgate.monitoring.answers.columns import Array, Column, stacked
from lockgate.monitoring.answers.errors import Incomparable
from lockgate.monitoring.answers.meeting import Place
from lockgate.monitoring.answers.records import Records, Role, first_output, gathered, kept_answers
from lockgate.monitoring.measurement import Spread

_FIRST = 200
"""Predictions of stable that the bins are fixed from."""


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The predictions of one side, and when each was answered."""

    answers: Column
    at: Array

    def take(self, rows: Array) -> _Side:
        return _Side(self.answers.take(rows), self.at[rows])


class Predictions:
    """Counts those that were answered after the last one that the bins were fixed from, on both sides."""

    def __init__(self, output: str | None) -> None:
        self._output = output
        self._first: list[_Side] = []
        self._bins: Bins | None = None
        self._after = -np.inf

    def count(self, came: Sequence[Records]) -> Spread | None:
        """Of what came: nothing of no bins before they are fixed. Raises `Incomparable`: a sentence."""
        stable, candidate = _places(came, Role.STABLE), _places(came, Role.CANDIDATE, Role.LIVE)
        self._output = self._output or first_output(stable)
        if not self._output or not (stable or candidate):
            return None
        try:
            ours = _side(stable, self._output, "stable")
            bins = self._bins or self._fix(ours)
            theirs = _side(candidate, self._output, "the candidate")
            return (
                Spread(bins.names, _counted(bins, ours, self._after), _counted(bins, theirs, self._after))
                if bins
                else Spread()
            )
        except Incomparable as reason:
            raise Incomparable(f"output {self._output!r} {reason}") from reason

    def _fix(self, ours: _Side | None) -> Bins | None:
        self._first += [ours] if ours else []
        if sum(len(side.at) for side in self._first) < _FIRST:
            return None
        sides, self._first = self._first, []  # answers that do not go together are not kept for ever
        first = _Side(stacked([side.answers for side in sides]), np.concatenate([side.at for side in sides])).take(
            np.arange(_FIRST)
        )
        self._bins, self._after = fixed(first.answers), float(first.at.max())
        return self._bins


def _counted(bins: Bins, side: _Side | None, after: float) -> tuple[int, ...]:
    if side is None:
        return (0,) * len(bins.names)
    return bins.count(side.take(np.flatnonzero(side.at > after)).answers)


def _places(came: Sequence[Records], *roles: Role) -> list[Place]:
    return [(of, row) for of in came for row in np.flatnonzero(np.isin(of.roles, roles)).tolist()]


def _side(places: Sequence[Place], name: str, who: str) -> _Side | None:
    if not places:
        return None
    answers = gathered(places, name, who)
    rows = kept_answers(answers)
    return _Side(answers, np.array([of.at[row] for of, row in places])).take(rows)
