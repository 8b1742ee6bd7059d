"""Who watches a pipeline routes to its replicas for as long as nobody else drives the rollout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows import wanted
from lockgate.flows.home import Home
from lockgate.flows.supervised import Pipeline
from lockgate.rollout.words import Endpoint, Phase, Routes

OLD, NEW = ((Endpoint("127.0.0.1", port),) for port in (9001, 9002))


class Held:
    """A store with one lease. `taken`: by whom while the router's lock is waited for."""

    def __init__(self, taken: str) -> None:
        self.owner, self.taken = "", taken

    def lease(self, _rollout: str, me: str, _now: float, _seconds: float) -> bool:
        self.owner = me
        return True

    def holder(self, _rollout: str, _now: float) -> str:
        return self.taken or self.owner

    def last(self, _rollout: str) -> Any:
        return SimpleNamespace(state=SimpleNamespace(phase=Phase.PROGRESSING))

    def release(self, _rollout: str, _me: str) -> None: ...


class Serving:
    """`begun`: what a driver applies while the router's lock is waited for."""

    def __init__(self, begun: Routes | None = None) -> None:
        self.serves, self.begun = Routes(OLD, weight=500), begun

    def running(self) -> bool:
        return True

    def applied(self) -> Routes:
        return self.serves

    def apply(self, routes: Routes, still: Any = lambda: True) -> bool:
        self.serves = self.begun or self.serves
        if still():
            self.serves = routes
        return True


@pytest.fixture(autouse=True)
def _wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def restarting(*_: object) -> Iterator[str]:
        yield "mark"

    monkeypatch.setattr(wanted, "restarting", restarting)


@pytest.mark.parametrize("begun", [None, Routes(OLD, candidate=NEW, mirror=10_000)])
def test_copies_that_began_meanwhile_are_not_taken_away(begun: Routes | None, tmp_path: Path) -> None:
    router = Serving(begun)
    world = SimpleNamespace(router=router, sides=lambda _: {"stable": NEW})
    view: Any = SimpleNamespace(world=world, stable=SimpleNamespace(tag="toy:1"), mark="mark", rollout=None)
    Pipeline(Home(tmp_path, ""), "toy")._route(view)
    assert router.serves == (begun or Routes(NEW, weight=500))


@pytest.mark.parametrize(("taken", "stable"), [("", NEW), ("somebody", OLD)])
def test_who_was_followed_by_a_driver_changes_no_route(
    taken: str, stable: tuple[Endpoint, ...], tmp_path: Path
) -> None:
    router = Serving()
    world = SimpleNamespace(router=router, store=Held(taken), sides=lambda _: {"stable": NEW})
    bento, rollout = SimpleNamespace(tag="toy:1"), SimpleNamespace(id="toy-1")
    view: Any = SimpleNamespace(world=world, stable=bento, mark="mark", rollout=rollout)
    Pipeline(Home(tmp_path, ""), "toy")._route(view)
    assert router.serves == Routes(stable, weight=500)
