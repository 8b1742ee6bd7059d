"""How a release brings the router up when that dies at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows import release, wanted
from lockgate.flows.home import Home
from lockgate.rollout.errors import Fenced, RouterDown
from lockgate.rollout.ports import always
from lockgate.rollout.words import Endpoint, Routes
from lockgate.services.words import Bento

OLD, NEW = (Routes((Endpoint("127.0.0.1", port),)) for port in (9001, 9002))


class Dying:
    """Dies so many times when it is asked what it serves."""

    def __init__(self, deaths: int) -> None:
        self.deaths, self.up, self.serves, self.starts = deaths, False, OLD, 0

    def start(self, _: Routes, own: Callable[[], bool]) -> None:
        self.up, self.own = True, own()
        self.starts += 1

    def applied(self) -> Routes:
        if self.deaths:
            self.deaths -= 1
            self.up = False
            raise RouterDown("connection reset")
        return self.serves

    def apply(self, routes: Routes, still: Any) -> bool:
        if still():
            self.serves = routes
        return True


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, "")


def routed(router: Dying, home: Home, holds: Any = always, asked: float | None = None) -> None:
    world: Any = SimpleNamespace(router=router)
    release._route(world, NEW, holds, partial(wanted.is_last, home, "toy", asked))


def test_a_router_that_dies_while_it_is_asked_is_started_again(home: Home) -> None:
    router = Dying(1)
    routed(router, home)
    assert (router.serves, router.starts, router.up) == (NEW, 2, True)


def test_one_that_dies_again_is_down(home: Home) -> None:
    with pytest.raises(RouterDown):
        routed(Dying(2), home)


def test_the_address_of_a_later_up_stays(home: Home) -> None:
    """A rollout was opened at 1.0; somebody then changed `traffic` and ran `lockgate up`, while it was being built."""
    router = Dying(0)
    wanted.up(home, {"name": "toy"}, Bento("toy:a", "toy", "1", "aa", "eager"))
    routed(router, home, asked=1.0)
    assert not router.own
    routed(router, home)
    assert router.own


def test_nothing_is_applied_for_who_was_overtaken(home: Home) -> None:
    def gone() -> bool:
        raise Fenced("it went on")

    router = Dying(0)
    with pytest.raises(Fenced):
        routed(router, home, gone)
    assert router.serves == OLD
