"""The simulations: coverage, decisions, and wrong splits. Each function is one job, many rollouts at once."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from benchmarks.ab.users import LOOK, Cell, Floats, Users
from lockgate.rollout.analysis import ratio
from lockgate.rollout.analysis.ab import AbKind
from lockgate.rollout.analysis.effects import estimator_of
from lockgate.rollout.analysis.kinds import FAIL, PASS, Terms
from lockgate.rollout.analysis.seen import BatchArrivals, BatchTally, Seen
from lockgate.rollout.metrics import Metric
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import Ab

ALPHA = 0.01
"""Of the coverage."""
_OF = "reward"


@dataclass(frozen=True, slots=True)
class Coverage:
    cell: Cell
    rollouts: int
    users: int
    covered: float
    """Share of rollouts whose interval held the effect at every look."""
    width: float
    """Median of the last look's."""


@dataclass(frozen=True, slots=True)
class Decision:
    cell: Cell
    minimum_effect: float
    rollouts: int
    passed: float
    failed: float
    median: float
    """Users of both sides to the right decision; infinite when fewer than half of the rollouts reach it."""
    horizon: float
    """Of a z-test with a fixed horizon; 0 without an effect."""


@dataclass(frozen=True, slots=True)
class Split:
    """Of users: the share that should get the candidate, the share that does, and how many cross afterwards."""

    name: str
    share: float
    real: float
    crossing: float = 0.0
    thompson: bool = False

    @property
    def wrong(self) -> bool:
        return self.share != self.real or self.crossing > 0


@dataclass(frozen=True, slots=True)
class Alarm:
    split: Split
    rollouts: int
    users: int
    alarmed: float
    median: float


def coverage(cell: Cell, rollouts: int, users: int) -> Coverage:
    estimator = estimator_of(_metric(cell))
    state, split = estimator.begin(rollouts), Users(cell, rollouts, _seeded("coverage", cell))
    held, width = np.ones(rollouts, bool), np.zeros(rollouts)
    for _ in range(users // LOOK):
        state = estimator.look(state, (split.come(),))
        found = estimator.interval(state, ALPHA)
        held &= (found.low <= cell.lift) & (cell.lift <= found.high)
        width = found.high - found.low
    return Coverage(cell, rollouts, users, float(held.mean()), float(np.median(width)))


def decision(cell: Cell, minimum_effect: float, rollouts: int, users: int) -> Decision:
    """First verdicts of the product's own A/B gate, in the default profile."""
    ab = Ab(weight=100 * cell.weight, metric=_OF, minimum_effect=minimum_effect)
    kind = AbKind("ab", ab, _metric(cell), Terms(PROFILES["default"], 1, 1))
    state, split = kind.begin(rollouts), Users(cell, rollouts, _seeded("decision", cell))
    first = {PASS: np.full(rollouts, np.inf), FAIL: np.full(rollouts, np.inf)}
    for look in range(1, users // LOOK + 1):
        state = kind.look(state, _seen(split))
        outcome = kind.outcomes(state)[:, 0]
        undecided = np.isinf(first[PASS]) & np.isinf(first[FAIL])
        for word, at in first.items():
            at[undecided & (outcome == word)] = look * LOOK
        if not undecided.any():
            break
    right = first[PASS if cell.lift > 0 else FAIL]
    passed, failed = (float(np.isfinite(first[word]).mean()) for word in (PASS, FAIL))
    horizon = cell.horizon() if cell.lift else 0.0
    return Decision(cell, minimum_effect, rollouts, passed, failed, _median(right), horizon)


def alarm(split: Split, rollouts: int, users: int) -> Alarm:
    """First alarms of the check of the ratio, and of the users who cross."""
    rng, state = _seeded("alarm", split), ratio.begin(rollouts)
    first, share = np.full(rollouts, np.inf), np.full(rollouts, split.share)
    for look in range(1, users // LOOK + 1):
        mine = rng.binomial(LOOK, share if split.thompson else split.real, rollouts).astype(np.float64)
        crossed = rng.binomial(LOOK, split.crossing, rollouts).astype(np.float64)
        state = ratio.look(state, (BatchArrivals(share, LOOK - mine, mine, crossed),))
        alarmed = np.maximum(ratio.mismatched(state), ratio.crossing(state)) > 0
        first[alarmed & np.isinf(first)] = look * LOOK
        if split.thompson:
            share = np.clip(share + 0.02 * rng.standard_normal(rollouts), 0.1, 0.9)
    return Alarm(split, rollouts, users, float(np.isfinite(first).mean()), _median(first))


def _metric(cell: Cell) -> Metric:
    return Metric.model_validate({"kind": cell.law.kind})


def _seen(users: Users) -> Seen:
    none = BatchTally(np.zeros(len(users.share)), np.zeros(len(users.share)))
    group = users.come()
    came = BatchArrivals(group.share, group.stable.units, group.candidate.units, np.zeros(len(users.share)))
    return Seen(none, none, rewards={_OF: (group,)}, arrivals=(came,))


def _median(at: Floats) -> float:
    return float(np.quantile(at, 0.5, method="lower"))


def _seeded(*words: object) -> np.random.Generator:
    """The same numbers for the same words, whatever else is simulated."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, words)).encode()))
