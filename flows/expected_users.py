"""What a person said of the users who are expected, checked against the spec's business metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from lockgate.flows.spec import Spec

_OPTION = {"binary": "rate", "continuous": "cv"}
_EXAMPLE = {"binary": "5%", "continuous": "2.5"}
_MEANS = {
    "binary": "the share of stable's users who do it",
    "continuous": "the standard deviation of a user's value over the mean",
}


@dataclass(frozen=True, slots=True)
class GivenUsers:
    """`rates` of binary metrics and `cvs` of continuous ones, by metric: see `docs/planning.md`."""

    per_day: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    cvs: Mapping[str, float] = field(default_factory=dict)

    @property
    def typical(self) -> dict[str, float]:
        return {**self.rates, **self.cvs}


def checked(spec: Spec, given: GivenUsers) -> GivenUsers:
    """Raises `ValueError` with a sentence about the option that cannot be."""
    for option, kind, values in (("rate", "binary", given.rates), ("cv", "continuous", given.cvs)):
        for name, value in values.items():
            if why := _wrong(spec, kind, name, value):
                raise ValueError(f"--{option} {name}: {why}")
            if given.per_day is None:
                raise ValueError(
                    f"--{option} {name}: says nothing without the users who come; give --users-per-day as well"
                )
    return given


def _wrong(spec: Spec, kind: str, name: str, value: float) -> str:
    known = spec.rollout.business
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it looks at {', '.join(known) or 'none'}"
        return f"this spec looks at no metric {name!r}; {hint}"
    its = known[name].kind
    if its != kind:
        return f"the metric is {its}; give --{_OPTION[its]} {name}={_EXAMPLE[its]}, {_MEANS[its]}"
    if kind == "binary" and not 0 < value < 1:
        return f"{value:.3g} is no share that can rise and fall; write one between 0% and 100%, like 5%"
    if not value > 0:
        return "a deviation of 0 would mean that all users do the same; write a number above 0, like 2.5"
    return ""


def wanted(spec: Spec, metric: str, given: GivenUsers) -> str:
    """What to give, so that tests of this metric are foreseen."""
    return f"give {' and '.join(_lacking(spec, metric, given))}"


def _lacking(spec: Spec, metric: str, given: GivenUsers) -> Iterator[str]:
    if given.per_day is None:
        yield "--users-per-day"
    if metric not in given.typical:
        kind = spec.rollout.metric(metric).kind
        yield f"--{_OPTION[kind]} {metric}={_EXAMPLE[kind]}"
