"""What the flows decide, without a Prefect server."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lockgate.flows import pipeline
from lockgate.flows import releasing as module
from lockgate.flows.errors import NothingToDo
from lockgate.flows.home import home
from lockgate.flows.releasing import releasing
from lockgate.flows.spec import parse
from lockgate.registry.errors import RegistryDown
from lockgate.rollout.errors import Unreadable
from lockgate.rollout.state import Built
from lockgate.rollout.store import Rollout, opened

SPEC = """
name: {name}
model: {{name: {name}-detector, stable: "@champion", candidate: "@challenger"}}
rollout:
  steps: [{{canary: {{weight: 5}}}}]
  gates: {{errors: {{metric: error_rate}}}}
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv("LOCKGATE_STATE_URL", raising=False)


def written(folder: Path, name: str, text: str = SPEC) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text.format(name=name))
    return str(path)


@pytest.mark.parametrize("trouble", ["its spec", "its registry"])
def test_one_that_is_broken_hides_no_other_challenger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    def challenger(it: Any) -> str:
        if it.spec.name == "bad":
            raise RegistryDown("nobody answers")
        return f"{it.spec.name}:8"

    monkeypatch.setattr(pipeline, "challenger", challenger)
    bad = written(tmp_path, "bad", "name: [" if trouble == "its spec" else SPEC)
    good = written(tmp_path, "good")
    with caplog.at_level(logging.WARNING):
        assert pipeline._challengers([bad, good]) == [(good, "good:8")]
    assert f"no challenger of {bad} is found until this is mended: " in caplog.text


def test_a_release_and_a_sweep_start_one_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    async def start(deployment: str, parameters: dict[str, Any], key: str) -> None:
        assert (deployment, parameters) == ("drive/drive", {"rollout": "fraud-1"})
        begun.append(key)

    async def underway(keys: list[str], _now: float) -> bool:
        return any(key in begun for key in keys)

    def release(_: str) -> str:
        spec = parse(SPEC.format(name="fraud"))
        with opened(home().store_url) as store:
            it = Rollout("fraud-1", "fraud", spec.rollout, {}, spec.document, 1000.0, None)
            store.open(it, 1000.0)
            store.append(it, store.last(it.id), Built({}), 1001.0)
        return "fraud-1"

    monkeypatch.setattr(pipeline, "_start", start)
    monkeypatch.setattr(pipeline, "_underway", underway)
    monkeypatch.setattr(pipeline, "_release", release)
    assert asyncio.run(pipeline.release_flow.fn("fraud.yaml")) == "fraud-1"
    assert asyncio.run(pipeline.sweep_flow.fn([])) == 0
    assert len(begun) == 1


def test_a_release_that_fails_after_it_has_opened_gives_the_lease_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(it: Any, me: str, _say: object) -> Rollout:
        rollout = Rollout("fraud-1", "fraud", it.spec.rollout, {}, it.spec.document, 1000.0, None)
        it.store.open(rollout, 1000.0)
        assert it.store.lease(rollout.id, me, time.time(), 15.0)
        return rollout

    def begin_shadow(*_: object) -> None:
        raise Unreadable("an event cannot be read")

    monkeypatch.setattr(pipeline, "release", release)
    monkeypatch.setattr(pipeline, "begin_shadow", begin_shadow)
    with pytest.raises(Unreadable):
        pipeline._release(written(tmp_path, "fraud"))
    with opened(home().store_url) as store:
        assert store.holder("fraud-1", time.time()) == ""


def opened_one(name: str = "fraud", number: int = 1) -> None:
    spec = parse(SPEC.format(name=name))
    with opened(home().store_url) as store:
        store.open(Rollout(f"{name}-{number}", name, spec.rollout, {}, spec.document, 1000.0, None), 1000.0)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of Prefect, where nothing is under way."""
    asked: list[str] = []

    async def start(deployment: str, _parameters: dict[str, Any], key: str) -> None:
        asked.append(f"{deployment} {key.rpartition(':')[0]}")

    async def underway(_keys: list[str], _now: float) -> bool:
        return False

    monkeypatch.setattr(pipeline, "_start", start)
    monkeypatch.setattr(pipeline, "_underway", underway)
    return asked


def test_a_registry_that_hangs_keeps_no_other_sweep_from_starting_a_driver(
    begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def challengers(specs: list[str], _say: object) -> list[tuple[str, str]]:
        if specs:
            asked.set()
            answers.wait(60)
        return []

    monkeypatch.setattr(pipeline, "_challengers", challengers)
    hangs = threading.Thread(target=lambda: asyncio.run(pipeline.sweep_flow.fn(["fraud.yaml"])))
    hangs.start()
    try:
        assert asked.wait(20)
        opened_one()
        assert asyncio.run(asyncio.wait_for(pipeline.sweep_flow.fn([]), 20)) == 1
    finally:
        answers.set()
        hangs.join()
    assert begun == ["drive/drive fraud-1:1"]


def test_what_was_begun_while_a_registry_hung_is_not_begun_again(
    begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that was rolled back meanwhile would be rolled out anew."""

    def challengers(_specs: list[str], _say: object) -> list[tuple[str, str]]:
        opened_one("first")
        with opened(home().store_url) as store:
            store.close_rollout("first-1", 1001.0)
        return [(f"{name}.yaml", f"{name}:8:abc:0") for name in ("first", "second", "third")]

    monkeypatch.setattr(pipeline, "_challengers", challengers)
    with releasing(home(), "second"):
        assert asyncio.run(pipeline.sweep_flow.fn(["all"])) == 1
    assert begun == ["release/release third:8:abc:0"]


def test_two_releases_of_one_pipeline_do_not_go_on_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WITHIN", 0.05)
    with releasing(home(), "fraud"), pytest.raises(NothingToDo, match="another release"):
        pipeline._release(written(tmp_path, "fraud"))


def test_of_two_looks_at_the_same_inputs_there_is_one_at_a_time(tmp_path: Path) -> None:
    made = pipeline.deployments([Path(written(tmp_path, "fraud"))], 60.0)
    (drift,) = [of for of in made if of.flow_name == "drift"]
    assert drift.concurrency_limit == 1
    assert drift.concurrency_options.collision_strategy == "CANCEL_NEW"
