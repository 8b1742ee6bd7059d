"""One of two stable replicas is dead, and the router does not know it yet: the other one answers."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import pytest

from lockgate.rollout.words import Endpoint, Routes

USERS = [f"user-{number}" for number in range(300)]


@pytest.fixture
def dead() -> Endpoint:
    """Nobody listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


def test_no_request_fails(plane: Any, dead: Endpoint) -> None:
    plane.router.apply(Routes((plane.stable.endpoint, dead)))
    asked = plane.clients()
    asked.ask(USERS)
    assert asked.answers == Counter({(200, "stable"): len(USERS)})


def test_nor_one_that_the_candidate_failed(plane: Any, dead: Endpoint) -> None:
    plane.candidate.mode = "fail"
    plane.router.apply(Routes((plane.stable.endpoint, dead), (plane.candidate.endpoint,), weight=5000))
    asked = plane.clients()
    asked.ask(USERS)
    assert asked.failed == 0
    assert asked.sent == len(USERS)
    assert plane.candidate.hits > 0
