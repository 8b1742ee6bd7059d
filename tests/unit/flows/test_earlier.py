"""Rollouts of before: opened by a version of Lockgate with fewer fields, over by now, or stopped by a person since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows import pipeline, release, resume, sweep, wanted
from lockgate.flows.errors import NothingToDo
from lockgate.flows.home import Home, home
from lockgate.flows.spec import Spec, parse
from lockgate.rollout.errors import AlreadyOpen
from lockgate.rollout.state import Broke
from lockgate.rollout.store import Rollout, Store
from lockgate.services.words import Bento

TEXT = """
name: fraud
model: {name: fraud-detector}
rollout:
  traffic: {clients: {keys: {shop: "${SHOP_KEY}"}}}
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
"""
SUBJECT = {"model": "fraud-detector", "stable": "1", "candidate": "2"}


@pytest.fixture(autouse=True)
def here(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setenv("SHOP_KEY", "a-key-that-is-long-enough")
    monkeypatch.delenv("LOCKGATE_STATE_URL", raising=False)
    return home()


@pytest.fixture
def store(here: Home) -> Iterator[Store]:
    found = Store(here.store_url)
    yield found
    found.close()


def of_before(spec: Spec) -> dict[str, Any]:
    """As it was stored when there were no limits and no memory."""
    document: dict[str, Any] = json.loads(json.dumps(spec.document))
    del document["rollout"]["traffic"]["limits"], document["rollout"]["traffic"]["failover"]["methods"]
    del document["service"]["resources"], document["monitoring"]["performance"]
    return document


def kept(store: Store, spec: Spec, document: dict[str, Any]) -> Rollout:
    it = Rollout("fraud-1", "fraud", spec.rollout, SUBJECT, document, 1.0, None)
    store.open(it, 1.0)
    return it


def test_fields_that_came_since_make_no_other_spec(store: Store) -> None:
    spec = parse(TEXT)
    assert spec.stored_as(of_before(spec))
    another = parse(TEXT.replace("weight: 5", "weight: 6"))
    assert not another.stored_as(of_before(spec))
    it = kept(store, spec, of_before(spec))
    release._same(SimpleNamespace(spec=spec, store=store), it)
    with pytest.raises(AlreadyOpen):
        release._same(SimpleNamespace(spec=another, store=store), it)


def test_a_spec_whose_variable_is_gone_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse(TEXT)
    document = of_before(spec)
    monkeypatch.delenv("SHOP_KEY")
    assert not spec.stored_as(document)
    assert spec.stored_as(spec.document)


def test_what_was_refused_before_an_upgrade_is_not_tried_again(
    store: Store, here: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse(TEXT)
    it = kept(store, spec, of_before(spec))
    store.append(it, store.last(it.id), Broke("it differs", True), 2.0)  # noqa: FBT003 - refused
    store.close_rollout(it.id, 3.0)
    found = {"stable": SimpleNamespace(version="1"), "candidate": SimpleNamespace(version="2")}
    monkeypatch.setattr(sweep, "versions", lambda _: found)
    world: Any = SimpleNamespace(spec=spec, store=store, home=here)
    assert sweep.challenger(world) is None
    found["candidate"] = SimpleNamespace(version="3")
    assert sweep.challenger(world) is not None


def test_what_was_not_built_because_something_was_down_is_tried_again_later_and_later(
    store: Store, here: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse(TEXT)
    found = {"stable": SimpleNamespace(version="1"), "candidate": SimpleNamespace(version="2")}
    monkeypatch.setattr(sweep, "versions", lambda _: found)
    world: Any = SimpleNamespace(spec=spec, store=store, home=here)
    names, now = set[str | None](), 1000.0

    def at(when: float) -> str | None:
        monkeypatch.setattr(sweep.time, "time", lambda: when)
        return sweep.challenger(world)

    for number, pause in enumerate((60, 120, 240, 480)):
        it = Rollout(f"fraud-{number}", "fraud", spec.rollout, SUBJECT, dict(spec.document), now, None)
        store.open(it, now)
        store.append(it, store.last(it.id), Broke("MLflow does not answer"), now)
        store.close_rollout(it.id, now)
        assert at(now + pause - 1) is None
        names.add(at(now + pause))
        now += pause
    assert len(names) == 4  # each is asked for anew
    assert None not in names
    it = Rollout("fraud-last", "fraud", spec.rollout, SUBJECT, dict(spec.document), now, None)
    store.open(it, now)
    store.append(it, store.last(it.id), Broke("MLflow does not answer"), now)
    store.close_rollout(it.id, now)
    assert at(now + 1e6) is None  # by now it is a person's


@pytest.mark.parametrize("ended", ["closed", "put down"])
def test_who_is_late_opens_no_other_rollout(
    ended: str, store: Store, here: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse(TEXT)
    it = kept(store, spec, spec.document)
    if ended == "closed":
        store.append(it, store.last(it.id), Broke("it differs", True), 2.0)  # noqa: FBT003 - refused
        store.close_rollout(it.id, 3.0)
    else:
        wanted.up(here, spec.document, Bento("fraud:a", "fraud", "1", "aa", "eager"))
        wanted.down(here, "fraud")
    for name in ("release", "drive"):
        monkeypatch.setattr(resume, name, lambda *_, **__: pytest.fail("it goes on"))
    before = store.last(it.id).state
    said: list[str] = []
    assert resume.resume(it, said.append, lambda *_: None) == before
    assert said


def test_a_release_that_waited_while_it_was_put_down_does_nothing(here: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here.root / "fraud.yaml"
    path.write_text(TEXT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here.root / 'mlflow.db'}")
    wanted.up(here, parse(TEXT).document, Bento("fraud:a", "fraud", "1", "aa", "eager"))
    wanted.down(here, "fraud")
    monkeypatch.setattr(pipeline, "release", lambda *_: pytest.fail("it is brought up again"))
    with pytest.raises(NothingToDo, match="was stopped"):
        pipeline._release(str(path))
