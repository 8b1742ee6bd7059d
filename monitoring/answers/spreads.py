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
_ALONE = 1000
"""So many predictions of the candidate without one of stable are no accident."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """`after`: when the last prediction that the bins were made of was answered, in unix seconds."""

    output: str
    bins: Bins
    after: float


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The predictions of one side, and when each was answered."""

    answers: Column
    at: Array

    def take(self, rows: Array) -> _Side:
        return _Side(self.answers.take(rows), self.at[rows])


class Predictions:
    """Counts those that were answered after the last one that the bins were fixed from, on both sides.

    `fixed`: the bins, where they are fixed already.
    """

    def __init__(self, output: str | None, fixed: Fixed | None = None) -> None:
        self.fixed = fixed
        self._output = fixed.output if fixed else output
        self._first: list[_Side] = []
        self._alone = 0
        self._heard = fixed is not None

    def count(self, came: Sequence[Records]) -> Spread | None:
        """Of what came: nothing of no bins before they are fixed. Raises `Incomparable`: a sentence."""
        stable, candidate = _places(came, Role.STABLE), _places(came, Role.CANDIDATE, Role.LIVE)
        self._heard |= bool(stable)
        self._alone += len(candidate)
        self._output = self._output or first_output(stable)
        if not self._output or not (stable or candidate):
            return None
        try:
            ours = _side(stable, self._output, "stable")
            fixed = self.fixed or self._fix(ours, self._output)
            theirs = _side(candidate, self._output, "the candidate")
            return Spread(fixed.bins.names, _counted(fixed, ours), _counted(fixed, theirs)) if fixed else Spread()
        except Incomparable as reason:
            raise Incomparable(f"output {self._output!r} {reason}") from reason

    def missing(self) -> str:
        """Why there is nothing to compare with, or nothing."""
        if self._heard or self._alone < _ALONE:
            return ""
        return (
            f"the candidate answered {self._alone} requests, and no answer by stable was captured; if stable's replicas"
            " were started before monitoring.capture was on, start them again"
        )

    def _fix(self, ours: _Side | None, output: str) -> Fixed | None:
        self._first += [ours] if ours else []
        if sum(len(side.at) for side in self._first) < _FIRST:
            return None
        sides, self._first = self._first, []  # answers that do not go together are not kept for ever
        first = _Side(stacked([side.answers for side in sides]), np.concatenate([side.at for side in sides])).take(
            np.arange(_FIRST)
        )
        self.fixed = Fixed(output, fixed(first.answers), float(first.at.max()))
        return self.fixed


def _counted(fixed: Fixed, side: _Side | None) -> tuple[int, ...]:
    if side is None:
        return (0,) * len(fixed.bins.names)
    return fixed.bins.count(side.take(np.flatnonzero(side.at > fixed.after)).answers)


def _places(came: Sequence[Records], *roles: Role) -> list[Place]:
    return [(of, row) for of in came for row in np.flatnonzero(np.isin(of.roles, roles)).tolist()]


def _side(places: Sequence[Place], name: str, who: str) -> _Side | None:
    if not places:
        return None
    answers = gathered(places, name, who)
    rows = kept_answers(answers)
    return _Side(answers, np.array([of.at[row] for of, row in places])).take(rows)
