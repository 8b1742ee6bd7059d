"""`mean` gates in a plan: users until an equal candidate passes, and the smallest harm that fails."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.rollout.analysis.forecast import StepForecast, forecast
from lockgate.rollout.analysis.forecast_ab_guards import smallest_harm
from lockgate.rollout.analysis.forecast_traffic import Traffic, Users
from lockgate.rollout.spec import RolloutSpec

DAY = 86_400.0
ERRORS = {"errors": {"metric": "error_rate", "margin": "1%"}}
MEAN = {"refunds": {"metric": "mean", "of": "conversion", "margin": "20%"}}


def spec_of(metric: dict[str, Any] | None = None, *, timeout: str = "7d", alone: bool = False) -> RolloutSpec:
    """`alone`: without a gate about requests."""
    step = {"weight": 50, "metric": "conversion", "timeout": timeout}
    metrics = {"conversion": {"window": "1m", **(metric or {})}}
    return RolloutSpec.model_validate(
        {"steps": [{"ab": step}], "gates": MEAN if alone else {**ERRORS, **MEAN}, "metrics": metrics}
    )


def users(per_day: float, typical: float) -> Users:
    return Users(per_day, {"conversion": typical})


def step_of(spec: RolloutSpec, expected: Users, rollouts: int = 60) -> StepForecast:
    return forecast(spec, Traffic(100.0, users=expected), rollouts=rollouts).steps[0]


def test_a_mean_is_waited_for() -> None:
    step = step_of(spec_of(), users(20_000, 0.3), rollouts=30)
    errors, refunds = step.gates
    assert (refunds.requests, refunds.unforeseen, errors.users) == (None, "", None)
    assert refunds.users is not None
    assert refunds.users.median is not None
    assert refunds.smallest is not None
    seconds = refunds.users.median / 20_000 * DAY + 60
    assert step.seconds.median == pytest.approx(seconds, rel=0.05)
    assert step.requests.median == pytest.approx(seconds * 50, rel=0.05)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_its_harm_is_the_worse_direction(better: str) -> None:
    found = smallest_harm(spec_of({"better": better}, alone=True), 0, Traffic(100.0, users=users(20_000, 0.3)))
    assert found["refunds"] is not None
    assert 0.15 < found["refunds"] < 0.3


def test_one_that_cannot_pass_in_time_refuses_the_step() -> None:
    spec = spec_of(timeout="2h")
    step = step_of(spec, users(5_000, 0.05), rollouts=30)
    assert not step.decides
    wider = next(change for change in step.changes if change.paths == ("gates.refunds.margin",))
    document = spec.model_dump(mode="json")
    document["gates"]["refunds"]["margin"] = wider.settings[0][1]
    again = RolloutSpec.model_validate(document)
    assert step_of(again, users(5_000, 0.05)).decides


def test_where_nothing_need_pass_it_only_must_not_fail() -> None:
    """The hold is over long before it could pass."""
    canary = {"weight": 50, "timeout": "7d", "until": "held", "hold": {"duration": "1h"}}
    document = spec_of().model_dump(mode="json") | {"steps": [{"canary": canary}]}
    step = step_of(RolloutSpec.model_validate(document), users(20_000, 0.3), rollouts=30)
    assert step.passing == 1
    assert step.seconds.median == pytest.approx(3600, rel=0.05)
    refunds = step.gates[1]
    assert refunds.users is not None
    assert refunds.users.median == 0
    decided = smallest_harm(spec_of(), 0, Traffic(100.0, users=users(20_000, 0.3)))["refunds"]
    assert decided is not None
    assert refunds.smallest is None or refunds.smallest > 2 * decided


def test_users_do_nothing_because_of_a_shadow() -> None:
    document = spec_of().model_dump(mode="json") | {"steps": [{"shadow": {"percent": 100}}]}
    step = step_of(RolloutSpec.model_validate(document), users(20_000, 0.3), rollouts=20)
    assert step.gates[1].unforeseen == "users do nothing because of a shadow"
    assert step.decides


def test_nobody_knows_without_users() -> None:
    gates = forecast(spec_of(), Traffic(100.0), rollouts=20).steps[0].gates
    assert gates[1].unforeseen == "what users do is not foreseen"
