"""Who spoke last decides on `rollout.traffic`: `lockgate up` and `run` are a person's words, `serve` says nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lockgate.flows import ending, wanted
from lockgate.flows.release import serve_stable
from lockgate.flows.spec import Spec
from lockgate.rollout.state import Broke
from lockgate.rollout.store import Rollout
from lockgate.rollout.words import Routes

OPENED = 2.0
OF_THE_ROLLOUT, ANOTHER = "127.0.0.1:8080", "127.0.0.1:8443"


class Address:
    """Envoy as one process sees it: with `rollout.traffic` of its own spec."""

    def __init__(self, place: Any, spec: Spec) -> None:
        self._place, self._listen = place, spec.rollout.traffic.listen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place.router, name)

    def start(self, routes: Routes, own: Callable[[], bool]) -> None:
        self._place.router.start(routes)
        self.renew(own)

    def renew(self, own: Callable[[], bool]) -> None:
        if not self._place.router.fake.down and own():
            self._place.listens = self._listen


class People:
    """`said(who, at)`: what they do, and when their command began."""

    def __init__(self, place: Any) -> None:
        self._place, self.rollout = place, place.opened(at=OPENED)

    def _world(self, listen: str = OF_THE_ROLLOUT) -> Any:
        document = json.loads(json.dumps(Spec.of(self._place.document).document))
        document["rollout"]["traffic"]["listen"] = listen
        spec = Spec.of(document)
        return type(world := self._place.world(spec))(**{**vars(world), "router": Address(self._place, spec)})

    def said(self, who: str, at: float) -> None:
        stable, silent = self._place.bento("1"), lambda _: None
        match who:
            case "up":
                serve_stable(self._world(ANOTHER), stable, silent, asked=at)
            case "build":
                serve_stable(self._world(), stable, silent, asked=max(at, OPENED))
            case "steps":
                self._place.built(self.rollout)
            case "run":
                ending.take_up(self._world(), self.rollout, at)
            case "serve":
                ending.keep_up(self._world(), self.rollout)
            case "down":
                wanted.down(self._place.home, "fraud")
                self._place.router.fake.down = True


BUILT = [("build", 0), ("steps", 0)]


@pytest.mark.parametrize(
    ("said", "whose"),
    [
        ([("up", 1), *BUILT], OF_THE_ROLLOUT),  # opened since, by whomever
        ([("up", 3), *BUILT], ANOTHER),
        ([*BUILT, ("up", 3), ("serve", 0)], ANOTHER),
        ([("up", 3), ("build", 4), ("steps", 0)], OF_THE_ROLLOUT),  # a person goes on with it
        ([*BUILT, ("up", 3), ("run", 4)], OF_THE_ROLLOUT),
        ([*BUILT, ("up", 3), ("run", 4), ("serve", 0)], OF_THE_ROLLOUT),
        ([*BUILT, ("up", 3), ("run", 4), ("up", 5), ("serve", 0)], ANOTHER),
        ([*BUILT, ("up", 3), ("run", 4), ("up", 5), ("run", 6)], OF_THE_ROLLOUT),
        ([("up", 3), ("build", 4), ("up", 5), ("build", 0), ("steps", 0)], ANOTHER),  # killed, and `serve` goes on
        ([*BUILT, ("up", 5), ("run", 4)], ANOTHER),  # whoever began first was slower
        ([*BUILT, ("run", 4), ("up", 3)], OF_THE_ROLLOUT),
        ([*BUILT, ("up", 3), ("down", 0), ("run", 4)], OF_THE_ROLLOUT),
        ([*BUILT, ("up", 3), ("down", 0), ("run", 4), ("up", 5)], ANOTHER),
    ],
    ids=lambda value: "-".join(f"{who}{at or ''}" for who, at in value) if isinstance(value, list) else "",
)
def test_the_last_word_counts(said: list[tuple[str, int]], whose: str, place: Any) -> None:
    place.serves("1")
    people = People(place)
    for who, at in said:
        people.said(who, at)
    mark = wanted.read(place.home, "fraud")
    assert mark
    assert mark.up
    assert place.listens == whose
    assert mark.document["rollout"]["traffic"]["listen"] == whose
    ended = mark.asked
    people.said("serve", 0)  # at the rollout's end
    assert (after := wanted.read(place.home, "fraud"))
    assert after.asked == ended


def test_a_run_that_only_closes_what_failed_brings_nothing_up(place: Any) -> None:
    place.serves("1")
    people = People(place)
    rollout: Rollout = people.rollout
    place.store.append(rollout, place.store.last(rollout.id), Broke("MLflow does not answer"), 3.0)
    people.said("down", 0)
    people.said("run", 4)
    assert wanted.stopped(place.home, "fraud")
    assert not place.router.running()
