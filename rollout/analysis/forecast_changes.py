"""Which number to change in a step that cannot decide within its timeout, and to what: each one is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.units import percent_text, seconds_text, share_text
from lockgate.rollout.analysis.batch import Batch
from lockgate.rollout.analysis.forecast_ab_guards import guarded
from lockgate.rollout.analysis.forecast_traffic import Draws, Traffic, equal
from lockgate.rollout.analysis.forecast_trial import Trial, Watch
from lockgate.rollout.gates import Disagreement, ErrorRate, Gate, Latency, Mean
from lockgate.rollout.spec import AbStep, RolloutSpec, ShadowStep, Step, kind_of, options, weight_of

GOOD = 0.95
"""The share of equal candidates that a changed number must let pass in time."""
LONGER = 100.0
"""Times the timeout that is waited to see how long it takes."""
_ROLLOUTS = 60
ROUND = (1, 1.5, 2, 3, 5, 7.5)
PERCENTS = (1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 100)
DURATIONS = (
    *(5, 10, 20, 30),
    *(m * 60 for m in (1, 2, 3, 5, 10, 15, 20, 30, 45)),
    *(h * 3600 for h in (1, 1.5, 2, 3, 4, 6, 8, 12)),
    *(d * 86400 for d in (1, 2, 3, 5, 7, 10, 14, 21, 30, 60, 90, 180, 365)),
)


@dataclass(frozen=True, slots=True)
class Change:
    """`settings`: paths below the step, or below `rollout`, and values as a spec has them; all of them together do."""

    settings: tuple[tuple[str, str], ...]
    passing: float
    """The share of equal candidates that would pass in time; of a number that is changed for a test, the share of tests
    that would be decided."""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path, _ in self.settings)

    def __str__(self) -> str:
        return " and ".join(f"{path}: {value}" for path, value in self.settings)


def longer(spec: RolloutSpec, index: int, traffic: Traffic, rng: np.random.Generator) -> Trial:
    """The step as if its timeout were `LONGER` times as long."""
    return _trial(spec, index, traffic, rng, LONGER * options(spec.steps[index]).timeout)


def changes(spec: RolloutSpec, index: int, traffic: Traffic, waited: Trial, rng: np.random.Generator) -> list[Change]:
    """Each one by itself would do. `waited`: what `longer` gave."""
    search = _Search(spec, index, traffic, rng)
    found = [search.timeout(waited), search.weight(waited), search.margins(), search.held()]
    return [change for change in found if change]


def passing(spec: RolloutSpec, index: int, traffic: Traffic, rng: np.random.Generator) -> float:
    """The share of equal candidates that every gate lets pass within the step's timeout."""
    return _trial(spec, index, traffic, rng, options(spec.steps[index]).timeout).passed.share


def _trial(spec: RolloutSpec, index: int, traffic: Traffic, rng: np.random.Generator, seconds: float) -> Trial:
    draws = Draws(traffic, equal(traffic, _ROLLOUTS), rng)
    trial = Watch(spec, Batch(spec, _ROLLOUTS), draws, rough=True).step(index, seconds)
    return guarded(trial, spec, index, traffic, seconds)


@dataclass(slots=True)
class _Search:
    spec: RolloutSpec
    index: int
    traffic: Traffic
    rng: np.random.Generator

    def timeout(self, waited: Trial) -> Change | None:
        needed = float(np.quantile(waited.passed.seconds, GOOD, method="higher"))
        longest = next((d for d in DURATIONS if d >= needed * 1.1), None)
        if longest is None:
            return None
        return Change((("timeout", seconds_text(float(longest))),), waited.passed.within(longest))

    def weight(self, waited: Trial) -> Change | None:
        """Or a shadow's percent. The candidate must answer as many requests within the timeout."""
        step, most = self._step, self._largest_weight()
        now = step.shadow.percent if isinstance(step, ShadowStep) else weight_of(step)
        wanted = now * float(np.quantile(waited.passed.seconds, GOOD, method="higher")) / options(step).timeout
        for percent in [p for p in PERCENTS if max(now, 0.8 * wanted) < p <= most][:3]:
            share = self._passing(self._with_share(percent))
            if share >= GOOD:
                name = "percent" if isinstance(step, ShadowStep) else "weight"
                return Change(((name, percent_text(float(percent))),), share)
        return None

    def _largest_weight(self) -> float:
        """Weights rise from step to step."""
        if isinstance(self._step, ShadowStep):
            return 100.0
        later = [weight_of(s) for s in self.spec.steps[self.index + 1 :] if not isinstance(s, ShadowStep)]
        return min(later, default=100.0) - 1e-9

    def margins(self) -> Change | None:
        """Of the gate that takes too long, or of all that do."""
        if options(self._step).until == "held":
            return None
        now = self._trial(self.spec)
        slow = [name for name, gate in now.gates.items() if gate.within(options(self._step).timeout) < GOOD]
        spec, said = self.spec, list[tuple[str, str]]()
        for name in slow:
            wider = self._wider(spec, name, 1 - (1 - GOOD) / len(slow))
            if wider is None:
                return None
            spec = wider[0]
            said.append(wider[1])
        share = self._passing(spec) if said else 0.0
        return Change(tuple(said), share) if share >= GOOD else None

    def _wider(self, spec: RolloutSpec, name: str, good: float) -> tuple[RolloutSpec, tuple[str, str]] | None:
        """With the smallest tolerated harm on the ladder that lets this gate pass in time, so often."""
        gate, timeout = spec.gates[name], options(self._step).timeout
        ladder = list(_margins(gate))
        low, high = -1, len(ladder)
        while high - low > 1:
            middle = (low + high) // 2
            trial = self._trial(_with_gate(spec, name, ladder[middle][0]))
            low, high = (low, middle) if trial.gates[name].within(timeout) >= good else (middle, high)
        if high == len(ladder):
            return None
        gate, field, value = ladder[high]
        return _with_gate(spec, name, gate), (f"gates.{name}.{field}", value)

    def held(self) -> Change | None:
        """Going on needs only that no gate fails."""
        if options(self._step).until == "held" or isinstance(self._step, AbStep):
            return None
        share = self._passing(self._with_step({"until": "held"}))
        return Change((("until", "held"),), share) if share >= GOOD else None

    @property
    def _step(self) -> Step:
        return self.spec.steps[self.index]

    def _trial(self, spec: RolloutSpec) -> Trial:
        return _trial(spec, self.index, self.traffic, self.rng, options(self._step).timeout)

    def _passing(self, spec: RolloutSpec) -> float:
        return passing(spec, self.index, self.traffic, self.rng)

    def _with_share(self, percent: float) -> RolloutSpec:
        return self._with_step({"percent" if isinstance(self._step, ShadowStep) else "weight": float(percent)})

    def _with_step(self, update: dict[str, object]) -> RolloutSpec:
        step = self._step
        changed = step.model_copy(update={kind_of(step): options(step).model_copy(update=update)})
        steps = (*self.spec.steps[: self.index], changed, *self.spec.steps[self.index + 1 :])
        return self.spec.model_copy(update={"steps": steps})


def _with_gate(spec: RolloutSpec, name: str, gate: Gate) -> RolloutSpec:
    return spec.model_copy(update={"gates": {**spec.gates, name: gate}})


def _margins(gate: Gate) -> Iterator[tuple[Gate, str, str]]:
    """The gate with ever more tolerated harm, and the field and the value that say so in a spec."""
    if isinstance(gate, ErrorRate | Disagreement):
        field = "margin" if isinstance(gate, ErrorRate) and gate.max is None else "max"
        yield from _wider(gate, field, 0.5, share_text)
    elif isinstance(gate, Latency) and gate.max is not None:
        yield from _wider(gate, "max", 60.0, seconds_text)
    elif isinstance(gate, Latency):
        yield from _wider(gate, "margin", 5.0, share_text)
    elif isinstance(gate, Mean):
        yield from _wider(gate, "margin", 1.0, share_text)


def _wider(gate: Gate, field: str, most: float, text: Callable[[float], str]) -> Iterator[tuple[Gate, str, str]]:
    now = getattr(gate, field)
    for tens in range(-4, 2):
        for digit in ROUND:
            value = float(f"{digit}e{tens}")
            if now < value <= most:
                yield gate.model_copy(update={field: value}), field, text(value)
