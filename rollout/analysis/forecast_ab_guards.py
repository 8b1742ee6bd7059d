"""`mean` gates in a step that is foreseen: what users do on both sides, beside the requests that are simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.forecast_ab_run import Decided, run, smallest
from lockgate.rollout.analysis.forecast_ab_users import Coming, coming, looks
from lockgate.rollout.analysis.forecast_traffic import COARSE, Traffic, split
from lockgate.rollout.analysis.forecast_trial import NEVER, Ended, Trial
from lockgate.rollout.analysis.kinds import terms_of
from lockgate.rollout.analysis.mean import MeanKind
from lockgate.rollout.gates import Mean
from lockgate.rollout.spec import RolloutSpec, ShadowStep, options


def guards(spec: RolloutSpec, index: int, traffic: Traffic) -> dict[str, tuple[MeanKind, Coming]]:
    """By gate, where somebody said what users do."""
    if isinstance(spec.steps[index], ShadowStep):
        return {}
    found = {
        name: (MeanKind(name, gate, spec.metric(gate.of), terms_of(spec)), coming(spec, index, gate.of, traffic.users))
        for name, gate in spec.gates.items()
        if isinstance(gate, Mean)
    }
    return {name: (kind, came) for name, (kind, came) in found.items() if came}


def guarded(trial: Trial, spec: RolloutSpec, index: int, traffic: Traffic, seconds: float) -> Trial:
    """The trial of equal candidates, with those gates in it. Their `requests` are users of both sides who count."""
    rate, timeout = split(spec.steps[index], traffic.rps).candidate, options(spec.steps[index]).timeout
    for name, (kind, came) in guards(spec, index, traffic).items():
        hold = held(spec, index, traffic.rps)
        decided = run(kind, came, np.zeros(len(trial.rolled_back)), looks(came, timeout, seconds), hold)
        trial = _with(trial, name, _as_asked(spec, index, decided), came, rate)
    return trial


def held(spec: RolloutSpec, index: int, rps: float) -> float:
    """Seconds that a step lasts which asks only that nothing fails; 0 for others."""
    step, rate = options(spec.steps[index]), split(spec.steps[index], rps).candidate
    if step.until == "decided":
        return 0.0
    return min(step.timeout, max(step.hold.duration or 0.0, step.hold.min_requests / rate if rate else step.timeout))


def _as_asked(spec: RolloutSpec, index: int, decided: Decided) -> Decided:
    """Where the step asks only that nothing fails, that is so from its first look on."""
    if options(spec.steps[index]).until == "decided":
        return decided
    return replace(decided, passed=np.where(np.isfinite(decided.failed), NEVER, 0.0))


def _with(trial: Trial, name: str, decided: Decided, came: Coming, rate: float) -> Trial:
    """Both are needed; the one that passes last says when. `rate`: of the candidate's requests."""
    passed = np.maximum(trial.passed.seconds, decided.passed)
    waited = np.where(passed > trial.passed.seconds, passed * rate, trial.passed.requests)
    # A step that ended before the gate failed was not rolled back by it.
    failed = np.where(decided.failed < trial.passed.seconds, decided.failed, NEVER)
    return Trial(
        Ended(passed, waited),
        {**trial.gates, name: Ended(decided.passed, _users(came, decided.passed))},
        {**trial.failed, name: Ended(failed, _users(came, failed))},
        trial.rolled_back | np.isfinite(failed),
    )


def _users(came: Coming, seconds: Array) -> Array:
    return np.where(np.isfinite(seconds), came.counted(seconds), NEVER)


def smallest_harm(spec: RolloutSpec, index: int, traffic: Traffic) -> dict[str, float | None]:
    """By gate, relative to stable's mean: found before the timeout, and before the gate passes."""
    step, found = options(spec.steps[index]), dict[str, float | None]()
    for name, (kind, came) in guards(spec, index, traffic).items():
        ends = held(spec, index, traffic.rps) or step.timeout
        times = tuple(looks(came, ends, ends, 2 * COARSE))
        sign = -1.0 if came.metric.better == "higher" else 1.0
        found[name] = smallest(kind, came, times, sign, passing=False)
    return found
