"""What people want of a pipeline outlives every process, and `lockgate down` wins."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lockgate.flows import wanted
from lockgate.flows.home import Home
from lockgate.flows.sweep import undriven
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.store import Rollout, Store
from lockgate.services.words import Bento

STABLE = Bento("toy:a", "toy", "1", "aa", "eager")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


def test_it_is_read_as_it_was_said(home: Home) -> None:
    assert wanted.read(home, "toy") is None
    assert wanted.names(home) == []
    assert not wanted.stopped(home, "toy")
    wanted.up(home, {"name": "toy"}, STABLE)
    assert wanted.read(home, "toy") == wanted.Wanted(up=True, document={"name": "toy"}, stable=STABLE)
    wanted.down(home, "toy")
    assert wanted.stopped(home, "toy")
    assert wanted.names(home) == ["toy"]


@pytest.mark.parametrize("text", ["", "{", '{"up": true}', '{"up": true, "document": {}, "stable": {"odd": 1}}', "[]"])
def test_a_damaged_mark_says_nothing(home: Home, text: str) -> None:
    wanted.up(home, {"name": "toy"}, STABLE)
    (home.root / "toy" / wanted.MARK).write_text(text)
    assert wanted.read(home, "toy") is None


def test_down_is_said_at_once_and_done_after_whoever_restarts_something(home: Home) -> None:
    wanted.up(home, {"name": "toy"}, STABLE)
    ended: list[str] = []

    def down() -> None:
        wanted.down(home, "toy")
        ended.append("said")
        with wanted.changing(home, "toy"):
            ended.append("done")

    thread = threading.Thread(target=down)
    with wanted.restarting(home, "toy") as mark, wanted.restarting(home, "toy"):  # two parts at the same time
        assert mark is not None
        assert mark.up
        thread.start()
        while not ended:
            thread.join(0.01)
        assert wanted.stopped(home, "toy")
        thread.join(0.2)
        assert ended == ["said"]
    thread.join()
    assert ended == ["said", "done"]


def test_a_sweep_leaves_alone_what_was_stopped_on_purpose(home: Home) -> None:
    spec = RolloutSpec.model_validate(
        {"steps": [{"canary": {"weight": 5}}], "gates": {"errors": {"metric": "error_rate"}}}
    )
    store = Store(home.store_url)
    try:
        for name in ("kept", "stopped"):
            rollout = Rollout(f"{name}-1", name, spec, {"model": name}, {}, 1.0, None)
            store.open(rollout, 1.0)
        wanted.up(home, {"name": "kept"}, STABLE)
        wanted.down(home, "stopped")
        assert [rollout.model for rollout in undriven(store, home)] == ["kept"]
    finally:
        store.close()
