"""Which number to change in an `ab` step whose test cannot decide within its timeout; each one is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.units import percent, percent_text, seconds, seconds_text, share_text
from lockgate.rollout.analysis.forecast_ab import DECIDES, YEAR, AbTest, ab_test
from lockgate.rollout.analysis.forecast_changes import DURATIONS, PERCENTS, ROUND, Change
from lockgate.rollout.analysis.forecast_traffic import COARSE, Traffic
from lockgate.rollout.spec import Ab, AbStep, RolloutSpec, weight_of

GOOD = 0.87
"""The share of tests that a changed number must let decide in time: more than is asked for, since few are simulated."""
_TESTS = 120


@dataclass(slots=True)
class AbSearch:
    """`gates`: the share of equal candidates that every gate of a step lets pass in time; of another spec's step."""

    spec: RolloutSpec
    index: int
    traffic: Traffic
    gates: Callable[[RolloutSpec], float]
    enough: float
    """That share, that will do."""

    def changes(self) -> Iterator[Change]:
        """Each one by itself would do, as far as the test is asked."""
        for found in (self.timeout(), self.weight(), self.minimum_effect()):
            if found:
                yield found

    def timeout(self) -> Change | None:
        ab = self._ab
        needed = _needed(self._test(ab), YEAR)
        longest = next((d for d in DURATIONS if d >= 1.05 * needed and d > ab.timeout), None)
        if longest is None:
            return None
        decided = self.decided(self._with(timeout=float(longest)))
        return Change((("timeout", seconds_text(float(longest))),), decided) if decided >= GOOD else None

    def weight(self) -> Change | None:
        """Up to a half: beyond it, it is stable's users who are too few."""
        later = [weight_of(step) for step in self.spec.steps[self.index + 1 :] if weight_of(step)]
        most = min([50.0, *later])
        for weight in (float(p) for p in PERCENTS if self._ab.weight < p <= most):
            spec = self._with(weight=weight)
            decided = self.decided(spec)
            if decided >= GOOD and self.gates(spec) >= self.enough:
                return Change((("weight", percent_text(weight)),), decided)
        return None

    def minimum_effect(self) -> Change | None:
        """The smallest of a round ladder: with larger ones tests are decided sooner."""
        ladder = [value for value in _effects() if value > self._ab.minimum_effect]
        low, high = -1, len(ladder)
        while high - low > 1:
            middle = (low + high) // 2
            decided = self.decided(self._with(minimum_effect=ladder[middle]))
            low, high = (low, middle) if decided >= GOOD else (middle, high)
        if high == len(ladder):
            return None
        spec = self._with(minimum_effect=ladder[high])
        return Change((("minimum_effect", share_text(ladder[high])),), self.decided(spec))

    def kept(self, change: Change) -> bool:
        """Whether a change that does for the gates leaves the test able to decide: a weight may not."""
        if change.paths != ("weight",):
            return True
        return self.decided(self._with(weight=percent(change.settings[0][1]))) >= DECIDES

    def decided(self, spec: RolloutSpec) -> float:
        """The lesser share of tests that are decided in time, as `AbForecast.decided` says."""
        step = spec.steps[self.index]
        test = self._test(step.ab) if isinstance(step, AbStep) else None
        if test is None or test.impossible:
            return 0.0
        if not test.ab.minimum_effect:
            return 1.0
        gains = (test.ab.minimum_effect, 0.0)
        return min(float((test.run(g, _TESTS, 0.0).seconds <= test.ab.timeout).mean()) for g in gains)

    @property
    def _ab(self) -> Ab:
        step = self.spec.steps[self.index]
        assert isinstance(step, AbStep)  # noqa: S101 - nobody else has a test
        return step.ab

    def _with(self, **update: object) -> RolloutSpec:
        step = AbStep(ab=self._ab.model_copy(update=update))
        steps = (*self.spec.steps[: self.index], step, *self.spec.steps[self.index + 1 :])
        return self.spec.model_copy(update={"steps": steps})

    def _test(self, ab: Ab) -> AbTest | None:
        steps = (*self.spec.steps[: self.index], AbStep(ab=ab), *self.spec.steps[self.index + 1 :])
        spec = self.spec.model_copy(update={"steps": steps})
        return ab_test(spec, self.index, self.traffic.users, self.traffic.rps, coarse=2 * COARSE)


def _needed(test: AbTest | None, until: float) -> float:
    """Seconds after which enough tests are decided, of candidates that are just good enough and of equals."""
    if test is None or test.impossible:
        return float(np.inf)
    both = (test.run(gain, _TESTS, until).seconds for gain in (test.ab.minimum_effect, 0.0))
    return max(float(np.quantile(seconds, GOOD, method="higher")) for seconds in both)


def _effects() -> Iterator[float]:
    for tens in range(-3, 0):
        for digit in ROUND:
            yield float(f"{digit}e{tens}")
    yield 1.0


def ab_changes(search: AbSearch, of_gates: list[Change] | None, *, decides: bool) -> list[Change]:
    """What does for the gates and for the test. `of_gates`: what does for the gates; None where they need nothing.

    `decides`: the test needs nothing.
    """
    if decides:
        return [change for change in of_gates or [] if search.kept(change)]
    of_test = list(search.changes())
    if of_gates is None:
        return of_test
    timeouts = [change for change in (*of_gates, *of_test) if change.paths == ("timeout",)]
    longest = [max(timeouts, key=lambda change: seconds(change.settings[0][1]))] if len(timeouts) > 1 else []
    return [*longest, *(change for change in of_test if change.paths == ("weight",))]
