"""What each step of a rollout can prove with the traffic that is expected: the judge itself, on simulated rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.units import seconds_text
from lockgate.rollout.analysis.batch import Batch
from lockgate.rollout.analysis.forecast_ab import AbForecast, ab_test, foresee
from lockgate.rollout.analysis.forecast_ab_changes import AbSearch, ab_changes
from lockgate.rollout.analysis.forecast_ab_guards import guarded, smallest_harm
from lockgate.rollout.analysis.forecast_changes import GOOD, Change, changes, longer, passing
from lockgate.rollout.analysis.forecast_regression import smallest
from lockgate.rollout.analysis.forecast_traffic import Draws, Traffic, equal, split
from lockgate.rollout.analysis.forecast_trial import Ended, Expected, Trial, Watch, expected, unforeseen
from lockgate.rollout.gates import Mean
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import RolloutSpec, label, options

ROLLOUTS = 200
CERTAIN = 0.9
"""A step can decide when this share of equal candidates passes it in time."""


@dataclass(frozen=True, slots=True)
class GateForecast:
    gate: str
    metric: str
    unforeseen: str = ""
    """Why nothing is said of it, as a sentence."""
    requests: Expected | None = None
    """Of the candidate, until an equal candidate passes this gate."""
    passing: float | None = None
    """The share of equal candidates that pass it within the timeout."""
    smallest: float | None = None
    """The smallest regression that at least 80 % of rollouts fail in this step: the candidate's error rate, the factor
    of its latencies, the share of its answers that differ, or by how much of stable's its users do worse. None: not
    even a total one."""
    users: Expected | None = None
    """Of both sides, who count by then: in place of `requests`, where users are judged."""


@dataclass(frozen=True, slots=True)
class StepForecast:
    step: str
    rate: float
    """Requests a second that the candidate answers."""
    timeout: float
    requests: Expected
    """Of the candidate, until an equal candidate may go on: every gate as the step asks, and the hold."""
    seconds: Expected
    passing: float
    """The share of equal candidates that go on within the timeout."""
    gates: tuple[GateForecast, ...]
    changes: tuple[Change, ...] = ()
    """Where the step cannot decide: each of them would do."""
    test: AbForecast | None = None
    """Of an `ab` step, where it is foreseen; all but this and `changes` is about the step's gates."""

    @property
    def decides(self) -> bool:
        return self.passing >= CERTAIN and (self.test is None or self.test.decides)

    @property
    def advice(self) -> str:
        """Which number to change, where the step cannot decide; empty where it can."""
        if self.decides:
            return ""
        if self.test and self.test.impossible:
            return f"{self.step}: {self.test.impossible}; choose a smaller minimum_effect"
        begun = f"{self.step}: {' and '.join(self._too_few())} within its timeout of {seconds_text(self.timeout)}"
        if not self.changes:
            return f"{begun}, and no single number helps; it needs {self._scarce()}"
        return f"{begun}; any of these would do: {' | '.join(map(str, self.changes))}"

    def _too_few(self) -> Iterator[str]:
        if self.passing < CERTAIN:
            yield f"{self.passing:.0%} of equal candidates would pass"
        if self.test and not self.test.decides:
            yield f"{self.test.decided:.0%} of its tests would be decided"

    def _scarce(self) -> str:
        return "more users" if self.test and not self.test.decides else "more traffic, or other gates"


@dataclass(frozen=True, slots=True)
class Forecast:
    traffic: Traffic
    steps: tuple[StepForecast, ...]
    alpha: float
    """The chance of a false roll back over the whole rollout is at most this, whatever the traffic."""
    rolled_back: int
    """Equal candidates that were, of `rollouts` simulated ones."""
    rollouts: int


@dataclass(frozen=True, slots=True)
class _At:
    """One step."""

    spec: RolloutSpec
    index: int
    traffic: Traffic
    rng: np.random.Generator

    @property
    def where(self) -> tuple[RolloutSpec, int, Traffic]:
        return self.spec, self.index, self.traffic


def forecast(spec: RolloutSpec, traffic: Traffic, *, rollouts: int = ROLLOUTS, seed: int = 1) -> Forecast:
    """Of independent requests at a constant rate; the same seed gives the same forecast. Approvals are left out."""
    spec = spec.without_approvals()
    rng = np.random.default_rng(seed)
    batch = Batch(spec, rollouts)
    watch = Watch(spec, batch, Draws(traffic, equal(traffic, rollouts), rng))
    steps, going = [], np.ones(rollouts, bool)
    for index, step in enumerate(spec.steps):
        timeout = options(step).timeout
        trial = guarded(watch.step(index, timeout, going), spec, index, traffic, timeout)
        steps.append(_step(_At(spec, index, traffic, rng), _only(trial, going)))
        going &= ~trial.rolled_back
    return Forecast(traffic, tuple(steps), PROFILES[spec.profile].alpha, int((~going).sum()), rollouts)


def seconds_needed(spec: RolloutSpec, traffic: Traffic, *, rollouts: int = ROLLOUTS, seed: int = 1) -> float:
    """For all steps, in nine of ten rollouts of an equal candidate; a step that cannot decide takes its timeout.

    Nobody knows how long people take: approvals take no time.
    """
    spec = spec.without_approvals()
    draws = Draws(traffic, equal(traffic, rollouts), np.random.default_rng(seed))
    watch, seconds = Watch(spec, Batch(spec, rollouts), draws), 0.0
    for index, step in enumerate(spec.steps):
        timeout = options(step).timeout
        taken = expected(watch.step(index, timeout).passed.seconds)
        seconds += timeout if taken.most is None else taken.most
    return seconds


def _step(at: _At, trial: Trial) -> StepForecast:
    step, share = at.spec.steps[at.index], trial.passed.share
    waited = trial if share >= CERTAIN else longer(*at.where, at.rng)
    regressions = smallest(*at.where, at.rng) | smallest_harm(*at.where)
    test = ab_test(at.spec, at.index, at.traffic.users, at.traffic.rps)
    tested = foresee(test) if test else None
    return StepForecast(
        label(step),
        split(step, at.traffic.rps).candidate,
        options(step).timeout,
        expected(waited.passed.requests),
        expected(waited.passed.seconds),
        share,
        tuple(_gate(at, name, (trial, waited), regressions) for name in at.spec.gates),
        tuple(_changes(at, share, waited, tested)),
        tested,
    )


def _gate(at: _At, name: str, trials: tuple[Trial, Trial], regressions: Mapping[str, float | None]) -> GateForecast:
    gate, (trial, waited) = at.spec.gates[name], trials
    if name not in trial.gates:
        return GateForecast(name, gate.metric, unforeseen(gate, at.spec.steps[at.index]))
    came, share, least = expected(waited.gates[name].requests), trial.gates[name].share, regressions[name]
    if isinstance(gate, Mean):
        return GateForecast(name, gate.metric, passing=share, smallest=least, users=came)
    return GateForecast(name, gate.metric, requests=came, passing=share, smallest=least)


def _changes(at: _At, share: float, waited: Trial, test: AbForecast | None) -> list[Change]:
    of_gates = None if share >= CERTAIN else changes(*at.where, waited, at.rng)
    if test is None:
        return of_gates or []
    if test.impossible:
        return []
    search = AbSearch(*at.where, lambda other: passing(other, at.index, at.traffic, at.rng), GOOD)
    return ab_changes(search, of_gates, decides=test.decides)


def _only(trial: Trial, going: np.ndarray) -> Trial:
    """Without the rollouts that never came so far."""

    def of(event: Ended) -> Ended:
        return Ended(event.seconds[going], event.requests[going])

    gates = {name: of(event) for name, event in trial.gates.items()}
    failed = {name: of(event) for name, event in trial.failed.items()}
    return Trial(of(trial.passed), gates, failed, trial.rolled_back[going])
