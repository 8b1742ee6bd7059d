"""Simulated tests of a business metric, decided by the judge's own kinds, look by look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.forecast_ab_users import Coming, drawn
from lockgate.rollout.analysis.forecast_regression import around, crossing
from lockgate.rollout.analysis.forecast_trial import NEVER
from lockgate.rollout.analysis.kinds import BatchKind
from lockgate.rollout.analysis.seen import BatchTally, Seen

_LEVELS, _ROWS = 24, (8, 80)
"""Of a search for the smallest effect: how many are tried at once, and in how many tests each, first and then."""
_SMALLEST = 1e-3


@dataclass(frozen=True, slots=True)
class Decided:
    """Seconds of the step at which each of R tests was decided so, each (R,); infinity where it was not."""

    passed: Array
    failed: Array

    @property
    def seconds(self) -> Array:
        return np.minimum(self.passed, self.failed)


def run(kind: BatchKind[Any], came: Coming, effects: Array, times: Iterator[float], hold: float = 0.0) -> Decided:
    """A test ends when it fails, or passes and was held for `hold` seconds. The same effects, the same draws."""
    rng = np.random.default_rng(len(effects))
    them, passed, failed = drawn(came, effects, rng), np.full(len(effects), NEVER), np.full(len(effects), NEVER)
    going = np.arange(len(effects))
    for seconds in times:
        them.come(float(came.counted(np.array(seconds))))
        outcome = _outcome(kind, them.state(going))
        fails, passes = outcome < 0, (outcome > 0) & (seconds >= hold)
        failed[going[fails]] = seconds
        passed[going[passes]] = seconds
        going = going[~(fails | passes)]
        if not going.size:
            break
    return Decided(passed, failed)


def _outcome(kind: BatchKind[Any], effect: Any) -> Array:
    """(R,): the verdict on what an estimator knows, of tests that were undecided so far."""
    state = replace(kind.begin(len(effect.sums.units)), effect=effect)
    return np.asarray(kind.outcomes(kind.look(state, _NOTHING_NEW))[:, 0])


_NONE = BatchTally(np.zeros(1), np.zeros(1))
_NOTHING_NEW = Seen(_NONE, _NONE)


def smallest(
    kind: BatchKind[Any], came: Coming, times: tuple[float, ...], sign: float, *, passing: bool
) -> float | None:
    """The smallest effect, up or down as `sign` says, that 80 % of the tests find: that pass, or else that fail.

    None: they do not find the largest either.
    """

    def found(levels: Array, rows: int) -> Array:
        decided = run(kind, came, sign * np.repeat(levels, rows), iter(times))
        seconds = decided.passed if passing else decided.failed
        return np.asarray(np.isfinite(seconds).reshape(len(levels), rows).mean(axis=1))

    most = came.most(sign)
    rough = np.geomspace(min(_SMALLEST, most / 10), most, _LEVELS)
    fine = around(rough, found(rough, _ROWS[0]))
    return None if fine is None else crossing(fine, found(fine, _ROWS[1]))
