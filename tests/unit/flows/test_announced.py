"""Two pipelines never have a rollout of the same model open: the registry says who has one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows import announced
from lockgate.rollout.errors import AlreadyOpen
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.store import Rollout, Store

SPEC = RolloutSpec.model_validate({"steps": [{"canary": {"weight": 5}}], "gates": {"e": {"metric": "error_rate"}}})


@pytest.fixture
def pipelines(fake_registry: Any) -> tuple[Any, Any]:
    """Two of them, each with a store of its own, at one registry."""
    registry = fake_registry()
    registry.put("fraud", 2)
    model = SimpleNamespace(model=SimpleNamespace(name="fraud"))
    return (
        SimpleNamespace(store=Store("sqlite://"), registry=registry, spec=model),
        SimpleNamespace(store=Store("sqlite://"), registry=registry, spec=model),
    )


def begin(pipeline: Any, name: str) -> Rollout:
    rollout = Rollout(name, "fraud", SPEC, {"model": "fraud", "stable": "1", "candidate": "2"}, {}, 1.0, None)
    announced.check(pipeline)
    pipeline.store.open(rollout, 1.0)
    announced.opened(pipeline, rollout)
    return rollout


def test_the_second_pipeline_is_refused_with_the_first_ones_rollout(pipelines: tuple[Any, Any]) -> None:
    first, second = pipelines
    rollout = begin(first, "fraud-a")
    with pytest.raises(AlreadyOpen, match=r"another pipeline has a rollout of fraud open, fraud-a.*lockgate\.open"):
        begin(second, "fraud-b")
    announced.over(first, rollout)
    begin(second, "fraud-b")
    assert first.registry.announced("fraud") == "fraud-b"


def test_our_own_rollout_that_is_over_keeps_nobody(pipelines: tuple[Any, Any]) -> None:
    """Whoever drove it was killed before it could say so."""
    ours, _ = pipelines
    begin(ours, "fraud-a")
    ours.store.close_rollout("fraud-a", 2.0)
    begin(ours, "fraud-b")


def test_the_end_of_one_does_not_take_back_the_next_ones_word(pipelines: tuple[Any, Any]) -> None:
    first, _ = pipelines
    rollout = begin(first, "fraud-a")
    first.registry.announce("fraud", "fraud-b")
    announced.over(first, rollout)
    assert first.registry.announced("fraud") == "fraud-b"


def test_a_registry_that_is_down_stops_no_rollout_that_is_open(pipelines: tuple[Any, Any]) -> None:
    first, _ = pipelines
    rollout = begin(first, "fraud-a")
    first.registry.down = True
    announced.opened(first, rollout)
    announced.over(first, rollout)
