"""What each step of a rollout can prove with the traffic that is expected: the judge itself, on simulated rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.units import seconds_text
from lockgate.rollout.advance import label
from lockgate.rollout.analysis.batch import Batch
from lockgate.rollout.analysis.forecast_changes import Change, changes, longer
from lockgate.rollout.analysis.forecast_regression import smallest
from lockgate.rollout.analysis.forecast_traffic import Draws, Traffic, equal, split
from lockgate.rollout.analysis.forecast_trial import Ended, Trial, Watch, unforeseen
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import RolloutSpec, options

ROLLOUTS = 200
CERTAIN = 0.9
"""A step can decide when this share of equal candidates passes it in time."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Median and 90th percentile over simulated rollouts of an equal candidate; None where it takes forever."""

    median: float | None
    most: float | None


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
    of its latencies, or the share of its answers that differ. None: not even a total one."""


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

    @property
    def decides(self) -> bool:
        return self.passing >= CERTAIN

    @property
    def advice(self) -> str:
        """Which number to change, where the step cannot decide; empty where it can."""
        if self.decides:
            return ""
        begun = (
            f"{self.step}: {self.passing:.0%} of equal candidates would pass within its timeout of"
            f" {seconds_text(self.timeout)}"
        )
        if not self.changes:
            return f"{begun}, and no single number helps; it needs more traffic, or other gates"
        return f"{begun}; any of these would do: {' | '.join(map(str, self.changes))}"


@dataclass(frozen=True, slots=True)
class Forecast:
    traffic: Traffic
    steps: tuple[StepForecast, ...]
    alpha: float
    """The chance of a false roll back over the whole rollout is at most this, whatever the traffic."""
    rolled_back: int
    """Equal candidates that were, of `rollouts` simulated ones."""
    rollouts: int


def forecast(spec: RolloutSpec, traffic: Traffic, *, rollouts: int = ROLLOUTS, seed: int = 1) -> Forecast:
    """Of independent requests at a constant rate; the same seed gives the same forecast."""
    rng = np.random.default_rng(seed)
    batch = Batch(spec, rollouts)
    watch = Watch(spec, batch, Draws(traffic, equal(traffic, rollouts), rng))
    steps, going = [], np.ones(rollouts, bool)
    for index, step in enumerate(spec.steps):
        trial = watch.step(index, options(step).timeout, going)
        steps.append(_step(spec, index, traffic, _only(trial, going), rng))
        going &= ~trial.rolled_back
    return Forecast(traffic, tuple(steps), PROFILES[spec.profile].alpha, int((~going).sum()), rollouts)


def seconds_needed(spec: RolloutSpec, traffic: Traffic, *, rollouts: int = ROLLOUTS, seed: int = 1) -> float:
    """For all steps, in nine of ten rollouts of an equal candidate; a step that cannot decide takes its timeout."""
    draws = Draws(traffic, equal(traffic, rollouts), np.random.default_rng(seed))
    watch, seconds = Watch(spec, Batch(spec, rollouts), draws), 0.0
    for index, step in enumerate(spec.steps):
        timeout = options(step).timeout
        taken = _expected(watch.step(index, timeout).passed, "seconds")
        seconds += timeout if taken.most is None else taken.most
    return seconds


def _step(spec: RolloutSpec, index: int, traffic: Traffic, trial: Trial, rng: np.random.Generator) -> StepForecast:
    step, passing = spec.steps[index], trial.passed.share
    waited = trial if passing >= CERTAIN else longer(spec, index, traffic, rng)
    regressions = smallest(spec, index, traffic, rng)
    return StepForecast(
        label(step),
        split(step, traffic.rps).candidate,
        options(step).timeout,
        _expected(waited.passed, "requests"),
        _expected(waited.passed, "seconds"),
        passing,
        tuple(_gate(spec, index, name, (trial, waited), regressions) for name in spec.gates),
        tuple(changes(spec, index, traffic, waited, rng)) if passing < CERTAIN else (),
    )


def _gate(
    spec: RolloutSpec, index: int, name: str, trials: tuple[Trial, Trial], regressions: Mapping[str, float | None]
) -> GateForecast:
    gate, step = spec.gates[name], spec.steps[index]
    if why := unforeseen(gate, step):
        return GateForecast(name, gate.metric, why)
    trial, waited = trials
    return GateForecast(
        name,
        gate.metric,
        requests=_expected(waited.gates[name], "requests"),
        passing=trial.gates[name].share,
        smallest=regressions[name],
    )


def _only(trial: Trial, going: np.ndarray) -> Trial:
    """Without the rollouts that never came so far."""

    def of(event: Ended) -> Ended:
        return Ended(event.seconds[going], event.requests[going])

    gates = {name: of(event) for name, event in trial.gates.items()}
    failed = {name: of(event) for name, event in trial.failed.items()}
    return Trial(of(trial.passed), gates, failed, trial.rolled_back[going])


def _expected(event: Ended, of: str) -> Expected:
    values = event.requests if of == "requests" else event.seconds
    if not len(values):
        return Expected(None, None)
    median, most = (float(np.quantile(values, q, method="higher")) for q in (0.5, 0.9))
    return Expected(*(value if np.isfinite(value) else None for value in (median, most)))
