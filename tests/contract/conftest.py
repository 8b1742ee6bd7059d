from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.ports import Router
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint, Routes

FIRST = Routes((Endpoint("127.0.0.1", 9),))


@dataclass
class RouterCase:
    """A router that serves `FIRST`, and how to take it down."""

    router: Router
    take_down: Callable[[], None]


@pytest.fixture(scope="session")
def fakes(from_file: Callable[[str], ModuleType]) -> ModuleType:
    return from_file("contract/fakes.py")


def _address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(params=["fake", "envoy"])
def case(request: pytest.FixtureRequest, tmp_path: Path, fakes: ModuleType) -> Iterator[RouterCase]:
    if request.param == "fake":
        fake = fakes.FakeRouter(FIRST)
        yield RouterCase(fake, lambda: setattr(fake, "down", True))
        return
    router = EnvoyRouter(tmp_path, Traffic(listen=_address(), metrics=_address()))
    router.start(FIRST)
    yield RouterCase(router, router.stop)
    router.stop()
    assert process.find(router.at) is None
