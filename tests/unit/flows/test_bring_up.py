"""`lockgate up` beside rollouts: what it has resolved is brought up only while that is stable still."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from lockgate.flows import bring_up, wanted
from lockgate.flows.errors import Overtaken
from lockgate.flows.exits import Exit, code_of
from lockgate.rollout.errors import RouterDown
from lockgate.rollout.state import Broke
from lockgate.rollout.words import Routes

OVERTAKEN = pytest.raises(Overtaken, match="fraud-1 ended while this was under way; run `lockgate up` again")


@pytest.fixture(autouse=True)
def _resolved(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(_: object, references: list[str]) -> list[Any]:
        return [place.registry.resolve("fraud", reference) for reference in references]

    monkeypatch.setattr(bring_up, "resolved", resolved)
    monkeypatch.setattr(bring_up, "stable_bento", lambda _world, version, _say: place.bento(version.version))


def up(place: Any, *, restart_router: bool = False) -> None:
    bring_up.bring_up(place.world(), lambda _: None, 100.0, restart_router=restart_router)


def before(owner: Any, name: str, happens: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, at the next call of this function."""
    real = getattr(owner, name)

    def call(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        happens()
        return real(*args, **more)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("when", ["start", "instead", "changing", "route", "apply", "up"])
def test_what_was_promoted_meanwhile_goes_on(when: str, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place.serves("1")
    rollout = place.built(place.opened())
    place.machine.die("fraud:1")  # so that it takes a while
    owner, name = {
        "start": (place.machine, "start"),
        "instead": (wanted, "instead"),
        "changing": (wanted, "changing"),  # waiting for whoever restarts something
        "route": (place.router, "start"),
        "apply": (place.router, "apply"),
        "up": (wanted, "up"),
    }[when]
    wanted.up(place.home, {"name": "fraud"}, place.bento("3"), 1.0)
    before(owner, name, lambda: place.promoted(rollout), monkeypatch)
    with OVERTAKEN as ended:
        up(place)
    assert code_of(ended.value) == Exit.BUSY
    assert place.router.applied() == Routes(place.at("2"))
    assert place.running() == {"fraud:2"}
    mark = wanted.read(place.home, "fraud")
    assert mark
    assert mark.stable == place.bento("2")


def test_a_rollout_that_goes_on_disturbs_nobody(place: Any) -> None:
    place.built(place.opened())
    up(place)
    assert place.router.applied() == Routes(place.at("1"))
    mark = wanted.read(place.home, "fraud")
    assert mark
    assert (mark.stable, mark.asked) == (place.bento("1"), 100.0)


def test_nor_does_one_that_was_over_and_is_closed_meanwhile(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = place.opened()
    place.store.append(rollout, place.store.last(rollout.id), Broke("MLflow does not answer"), 3.0)
    before(place.machine, "start", lambda: place.store.close_rollout(rollout.id, 4.0), monkeypatch)
    up(place)
    assert place.running() == {"fraud:1"}


@pytest.mark.parametrize(
    ("stable", "end"),
    [
        ("1", nullcontext()),
        ("3", pytest.raises(Overtaken, match=r"fraud-1 was opened .* stable is version 3 there; run")),
    ],
)
def test_one_that_is_opened_meanwhile(stable: str, end: Any, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lockgate serve` opens one when it likes to. Somebody has moved @champion, where it has another stable."""
    before(place.machine, "start", lambda: place.opened(stable=stable), monkeypatch)
    with end:
        up(place)


def test_one_that_is_opened_and_ends_meanwhile(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place.serves("1")
    place.machine.die("fraud:1")
    before(place.machine, "start", lambda: place.promoted(place.built(place.opened())), monkeypatch)
    with OVERTAKEN:
        up(place)
    assert place.running() == {"fraud:2"}


def test_what_the_next_rollout_builds_is_not_stopped(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place.serves("1")
    rollout = place.built(place.opened())

    def then() -> None:
        place.promoted(rollout)
        place.opened("fraud-2", "2", "3", at=6.0)
        place.at("3")

    before(place.machine, "start", then, monkeypatch)
    with OVERTAKEN:
        up(place)
    assert place.running() == {"fraud:1", "fraud:2", "fraud:3"}  # the first one's end is the next tidying's


def test_a_router_that_was_ended_goes_on_whatever_happens(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place.serves("1")
    rollout = place.built(place.opened())
    place.router.stop = lambda: setattr(place.router.fake, "down", True)

    def then() -> None:
        place.router.fake.down = False
        place.promoted(rollout)
        place.router.fake.down = True

    before(place.machine, "start", then, monkeypatch)
    with OVERTAKEN:
        up(place, restart_router=True)
    assert place.router.applied() == Routes(place.at("2"))
    assert place.running() == {"fraud:2"}


def test_an_up_that_fails_has_asked_for_nothing(place: Any) -> None:
    """Its certificate may be wrong, or a port taken: what was asked for before stays, with what answers."""
    place.serves("3")
    place.registry.aliases["fraud", "champion"] = "1"

    def start(*_: object) -> None:
        raise RouterDown("port 80 is in use by another program")

    place.router.start = start
    mark = wanted.read(place.home, "fraud")
    with pytest.raises(RouterDown):
        up(place)
    after = wanted.read(place.home, "fraud")
    assert mark
    assert after
    assert (after.document, after.asked) == (mark.document, mark.asked)


def test_what_a_release_took_up_before_it_could_know_is_put_right(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two who start the router at once, the one that was asked for last is the one whose address stays."""
    said: list[str] = []
    place.router.start = lambda _, own: said.append(f"up {own()}")
    place.router.applied = lambda: Routes(place.at("1"))
    place.router.renew = lambda own: said.append(f"again {own()}")
    before(wanted, "up", lambda: said.append("release"), monkeypatch)
    up(place)
    assert said == ["up True", "release", "again True"]
    assert wanted.is_last(place.home, "fraud", 100.0)
    assert not wanted.is_last(place.home, "fraud", 99.0)


def test_the_rollouts_are_looked_at_before_stable_is_resolved(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = place.built(place.opened())
    place.serves("1")
    real = bring_up.resolved

    def resolved(*args: Any) -> Any:
        found = real(*args)
        place.promoted(rollout)
        return found

    monkeypatch.setattr(bring_up, "resolved", resolved)
    with OVERTAKEN:
        up(place)
    assert place.router.applied() == Routes(place.at("2"))
