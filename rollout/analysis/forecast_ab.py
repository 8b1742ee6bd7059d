"""What the test of an `ab` step can prove with the users that are expected: the judge itself, on simulated users."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lockgate.rollout.analysis.ab import AbKind
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.forecast_ab_run import Decided, run, smallest
from lockgate.rollout.analysis.forecast_ab_users import DAY, Coming, coming, looks
from lockgate.rollout.analysis.forecast_traffic import COARSE, Users
from lockgate.rollout.analysis.forecast_trial import Expected, expected
from lockgate.rollout.analysis.kinds import terms_of
from lockgate.rollout.spec import AB_GATE, Ab, AbStep, RolloutSpec

TESTS = 300
DECIDES = 0.8
"""A test can decide when this share of them is decided in time: the power that tests are planned with by convention."""
YEAR = 366 * DAY
"""So long is waited to see how long it takes; no timeout is longer."""


@dataclass(frozen=True, slots=True)
class Supposed:
    """Tests of a candidate whose effect is known."""

    gain: float
    """The effect, so that above 0 is good."""
    users: Expected
    """Of both sides, who count by then, until it is decided."""
    seconds: Expected
    promoted: float
    """The share of tests that say "better" within the timeout."""
    sent_back: float
    """The share that fail within it."""

    @property
    def decided(self) -> float:
        return self.promoted + self.sent_back


@dataclass(frozen=True, slots=True)
class AbForecast:
    metric: str
    better: str
    minimum_effect: float
    lag: float
    """Seconds until a user counts."""
    alpha: float
    """A candidate that is not better is promoted with at most this chance, whatever the users."""
    impossible: str = ""
    """Why there cannot be so large an effect, as a sentence; then nothing else is said."""
    supposed: tuple[Supposed, ...] = ()
    """Better by the minimum effect, equal, and worse by as much. Where the minimum effect is 0, by `smallest`; where
    that is None, only equal."""
    smallest: float | None = None
    """The smallest gain that 80 % of the tests find within the timeout; None: not even the largest."""

    @property
    def decided(self) -> float:
        """The lesser share that is decided within the timeout: of candidates that are just good enough, and of equals.

        With a minimum effect of 0 equals are never decided, and nothing is asked of a test.
        """
        if self.impossible:
            return 0.0
        return min(each.decided for each in self.supposed[:2]) if self.minimum_effect else 1.0

    @property
    def decides(self) -> bool:
        return self.decided >= DECIDES


@dataclass(frozen=True, slots=True)
class AbTest:
    """One that is foreseen. `coarse`: of the looks."""

    ab: Ab
    kind: AbKind
    came: Coming
    rate: float
    """Requests a second that the candidate answers."""
    coarse: float = COARSE

    @property
    def sign(self) -> float:
        return 1.0 if self.came.metric.better == "higher" else -1.0

    @property
    def impossible(self) -> str:
        least, most = self.ab.minimum_effect, self.came.most(self.sign)
        if least <= most:
            return ""
        who = f"{self.came.typical:.3g} of stable's users do it already"
        return f"{self.ab.metric} cannot get {self.came.metric.better} by {least:.3g} of stable's: {who}"

    def run(self, gain: float, tests: int, until: float) -> Decided:
        """At least to the timeout. The same draws whatever `until` is."""
        timeout, hold = self.ab.timeout, self.ab.hold
        held = max(hold.duration or 0.0, hold.min_requests / self.rate if self.rate else 0.0)
        times = looks(self.came, timeout, max(until, timeout), self.coarse)
        return run(self.kind, self.came, np.full(tests, self.sign * gain), times, held)

    def smallest(self) -> float | None:
        """Before the timeout."""
        times = tuple(looks(self.came, self.ab.timeout, self.ab.timeout, 2 * self.coarse))
        return smallest(self.kind, self.came, times, self.sign, passing=True)


def ab_test(spec: RolloutSpec, index: int, users: Users | None, rps: float, coarse: float = COARSE) -> AbTest | None:
    """None where the step tests nothing, or nobody said what users do."""
    step = spec.steps[index]
    if not isinstance(step, AbStep):
        return None
    came = coming(spec, index, step.ab.metric, users)
    kind = AbKind(AB_GATE, step.ab, spec.metric(step.ab.metric), terms_of(spec), len(step.ab.arms))
    return AbTest(step.ab, kind, came, rps * step.ab.weight / 100 / len(step.ab.arms), coarse) if came else None


def foresee(test: AbTest, tests: int = TESTS) -> AbForecast:
    """With `allocation: thompson`, as if the weight stayed as it is at first."""
    ab, metric = test.ab, test.came.metric
    begun = AbForecast(ab.metric, metric.better, ab.minimum_effect, test.came.lag, test.kind.alpha, test.impossible)
    if begun.impossible:
        return begun
    smallest_ = test.smallest()
    gain = ab.minimum_effect or smallest_
    gains = (gain, 0.0, -gain) if gain and gain <= test.came.most(-test.sign) else (gain, 0.0) if gain else (0.0,)
    return replace(begun, supposed=tuple(_supposed(test, each, tests) for each in gains), smallest=smallest_)


def _supposed(test: AbTest, gain: float, tests: int) -> Supposed:
    # Without a minimum effect nothing decides between equals: there is no use in waiting for it.
    decided = test.run(gain, tests, YEAR if gain or test.ab.minimum_effect else 0.0)
    return Supposed(
        gain,
        expected(test.came.counted(decided.seconds)),
        expected(decided.seconds),
        _within(decided.passed, test.ab.timeout),
        _within(decided.failed, test.ab.timeout),
    )


def _within(seconds: Array, timeout: float) -> float:
    return float((seconds <= timeout).mean())
