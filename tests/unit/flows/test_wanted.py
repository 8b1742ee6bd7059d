"""What people want of a pipeline outlives every process, and `lockgate down` wins."""

from __future__ import annotations

import threading
from dataclasses import replace
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
    mark = wanted.read(home, "toy")
    assert mark is not None
    assert (mark.up, mark.document, mark.stable) == (True, {"name": "toy"}, STABLE)
    wanted.down(home, "toy")
    assert wanted.stopped(home, "toy")
    assert wanted.names(home) == ["toy"]


def test_the_document_that_was_asked_for_last_stays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout is opened, then `lockgate up` is run with another spec, then the rollout brings its replicas up."""
    opened, said = {"name": "toy", "of": "the rollout"}, {"name": "toy", "of": "up"}
    wanted.up(home, opened, STABLE, asked=10.0)
    assert wanted.later(home, "toy", 10.0) is None
    wanted.up(home, said, STABLE)
    new = replace(STABLE, tag="toy:b")
    wanted.up(home, opened, new, asked=10.0)
    mark = wanted.later(home, "toy", 10.0)
    assert mark is not None
    assert (mark.document, mark.stable) == (said, new)
    monkeypatch.setattr(wanted.time, "time", lambda: mark.asked + 1)
    wanted.up(home, opened, STABLE, asked=mark.asked + 1)  # the next rollout was opened later
    assert wanted.later(home, "toy", 10.0) == replace(mark, document=opened, stable=STABLE, asked=mark.asked + 1)
    assert wanted.is_last(home, "toy", mark.asked + 1)
    monkeypatch.setattr(wanted.time, "time", lambda: mark.asked - 60)  # the clock was set back
    assert wanted.is_last(home, "toy", mark.asked - 60)
    wanted.up(home, said, STABLE, asked=mark.asked - 60)
    assert (late := wanted.read(home, "toy"))
    assert late.document == said
    wanted.up(home, said, STABLE)
    assert wanted.later(home, "toy", None) is None
    wanted.down(home, "toy")
    assert wanted.later(home, "toy", 10.0) is None


def test_a_mark_that_says_so_already_waits_for_nobody(home: Home) -> None:
    """Whoever restarts something holds the lock for up to two minutes, and a driver judges nothing meanwhile."""
    sealed, document = replace(STABLE, seal="an old one"), {"name": "toy", "of": "the rollout"}
    wanted.up(home, document, sealed, asked=10.0)
    before = wanted.read(home, "toy")
    done: list[int] = []

    def again() -> None:
        wanted.up(home, document, STABLE, asked=10.0)  # as a rollout's log knows it
        wanted.up(home, {"name": "toy"}, sealed, asked=9.0)  # somebody else was asked later
        wanted.instead(home, "toy", sealed)
        done.append(1)

    with wanted.restarting(home, "toy"):
        thread = threading.Thread(target=again, daemon=True)
        thread.start()
        thread.join(30)
        assert done
    assert wanted.read(home, "toy") == before


@pytest.mark.parametrize("change", ["stable", "seal", "document", "asked", "down"])
def test_one_that_says_anything_else_is_written(change: str, home: Home) -> None:
    sealed, document = replace(STABLE, seal="an old one"), {"name": "toy", "of": "the rollout"}
    wanted.up(home, document, sealed, asked=10.0)
    if change == "down":
        wanted.down(home, "toy")
    new = {"stable": replace(STABLE, tag="toy:b"), "seal": replace(STABLE, seal="a new one")}.get(change, sealed)
    said = document | ({"of": "up"} if change == "document" else {})
    wanted.up(home, said, new, asked=11.0 if change == "asked" else 10.0)
    assert wanted.read(home, "toy") == wanted.Wanted(
        up=True, document=said, stable=new, asked=10.0 + (change == "asked")
    )


def test_another_bento_changes_nothing_of_what_was_asked_for(home: Home) -> None:
    new = replace(STABLE, tag="toy:b")
    wanted.instead(home, "toy", new)
    assert wanted.read(home, "toy") is None
    wanted.up(home, {"name": "toy"}, STABLE, asked=10.0)
    wanted.instead(home, "toy", new, lambda: False)
    assert wanted.read(home, "toy") == wanted.Wanted(up=True, document={"name": "toy"}, stable=STABLE, asked=10.0)
    wanted.instead(home, "toy", new)
    assert wanted.read(home, "toy") == wanted.Wanted(up=True, document={"name": "toy"}, stable=new, asked=10.0)
    wanted.down(home, "toy")
    wanted.instead(home, "toy", STABLE)
    assert wanted.stopped(home, "toy")


def test_a_down_is_taken_back_unless_somebody_spoke_since(home: Home) -> None:
    assert wanted.down(home, "toy") is None
    wanted.undo(home, "toy", None)
    assert wanted.read(home, "toy") is None
    wanted.up(home, {"name": "toy"}, STABLE, asked=10.0)
    before = wanted.down(home, "toy")
    wanted.undo(home, "toy", before)
    assert wanted.read(home, "toy") == before
    wanted.down(home, "toy")
    wanted.up(home, {"name": "toy"}, replace(STABLE, tag="toy:b"), asked=11.0)
    wanted.undo(home, "toy", before)
    assert wanted.read(home, "toy") != before


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
