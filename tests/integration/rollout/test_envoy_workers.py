"""Several threads of Envoy are one router: nothing is counted, limited or split per thread."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic

WORKERS = 3


@pytest.fixture(autouse=True)
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "workers", lambda: WORKERS)


def connections(plane: Any) -> Counter[str]:
    """How many each worker holds now."""
    rows = plane.router.admin.numbers_and_texts(r"^listener\..*worker_\d+\.downstream_cx_active$")
    port = plane.traffic.listen.rpartition(":")[2]
    found = {re.search(r"worker_\d+", name)[0]: int(number) for name, number in rows.items() if port in name}  # type: ignore[index]
    return Counter(found)


def test_connections_are_shared_out_and_every_request_is_counted_once(plane: Any, eventually: Any) -> None:
    plane.router.apply(plane.routes(5000))
    with plane.clients().load(4 * WORKERS) as clients:
        held = eventually(lambda: connections(plane), lambda now: now.total() == 4 * WORKERS)
        assert set(held.values()) == {4}
        plane.candidate.mode = "fail"
        eventually(lambda: clients.sent, lambda sent: sent > 500)
        plane.router.apply(plane.routes(0))
    assert clients.failed == 0
    counts = plane.counted(lambda c: c.stable.requests + c.candidate.requests == clients.sent)
    assert counts.candidate.errors > 0
    assert counts.stable.errors == 0


def test_a_limit_holds_for_all_workers_together(plane: Any) -> None:
    few = {"limits": {"requests": 10, "per": "1h"}}
    plane.traffic = Traffic.model_validate(plane.traffic.model_dump(mode="json") | few)
    plane.router = EnvoyRouter(plane.router.at.path, plane.traffic)
    plane.router.start(plane.routes())
    clients = plane.clients()
    clients.ask([str(number) for number in range(30)], 2 * WORKERS)
    assert Counter(status for status, _ in clients.answers.elements()) == {200: 10, 429: 20}
