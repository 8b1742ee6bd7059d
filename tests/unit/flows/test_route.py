"""How a release brings the router up when that dies at the same moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows import release
from lockgate.rollout.errors import Fenced, RouterDown
from lockgate.rollout.words import Endpoint, Routes

OLD, NEW = (Routes((Endpoint("127.0.0.1", port),)) for port in (9001, 9002))


class Dying:
    """Dies so many times when it is asked what it serves."""

    def __init__(self, deaths: int) -> None:
        self.deaths, self.up, self.serves, self.starts = deaths, False, OLD, 0

    def start(self, _: Routes) -> None:
        self.up = True
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


def routed(router: Dying, still: Any = lambda: None) -> None:
    world: Any = SimpleNamespace(router=router)
    release._route(world, NEW, still)


def test_a_router_that_dies_while_it_is_asked_is_started_again() -> None:
    router = Dying(1)
    routed(router)
    assert (router.serves, router.starts, router.up) == (NEW, 2, True)


def test_one_that_dies_again_is_down() -> None:
    with pytest.raises(RouterDown):
        routed(Dying(2))


def test_nothing_is_applied_for_who_was_overtaken() -> None:
    def gone() -> None:
        raise Fenced("it went on")

    router = Dying(0)
    with pytest.raises(Fenced):
        routed(router, gone)
    assert router.serves == OLD
