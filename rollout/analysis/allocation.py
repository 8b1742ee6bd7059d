"""Thompson sampling of an `ab` step: the candidate's share of the users follows the chance that it is better.

The share is decided from what is known before those who get it come, and every user is judged with the share that was
in force when they came: so the always-valid interval holds as it does with a fixed share.
"""

from __future__ import annotations

from lockgate.rollout.metrics import Metric
from lockgate.rollout.spec import Ab
from lockgate.rollout.state import Allocated, State
from lockgate.rollout.words import WHOLE

LEAST = 0.2
"""Of its share, that each side keeps: without it, nothing more would be learned of the other side."""
_TIMES = 50
"""At most so often in a step. Each time some users change sides, and those who do are counted where they were first."""
_WHY = "the candidate is better with a chance of"
_WORTH = 0.02
"""Smaller moves are not worth it."""


def due(ab: Ab, metric: Metric, state: State, began: float, now: float) -> bool:
    """Whether it is time for another share. `began`: when the step did, in unix seconds, like `now`."""
    return now - max(began, state.weighed_at) >= max(metric.window, ab.timeout / _TIMES)


def moved(ab: Ab, state: State, chance: float) -> Allocated | None:
    """The next share, or None where it stays about where it is. `chance`: that the candidate is better.

    A chance of one half is the step's own weight; a sure thing, the most or the least that it may get.
    """
    share = ab.weight / 100
    odds = share * chance, (1 - share) * (1 - chance)
    wanted = odds[0] / sum(odds) if sum(odds) else share
    weight = round(min(max(wanted, share * LEAST), 1 - (1 - share) * LEAST) * WHOLE)
    before = state.weight if state.weight is not None else round(share * WHOLE)
    if abs(weight - before) < _WORTH * WHOLE:
        return None
    return Allocated(
        weight, f"{weight / WHOLE:.0%} of the users: the candidate is better with a chance of {chance:.0%}"
    )
