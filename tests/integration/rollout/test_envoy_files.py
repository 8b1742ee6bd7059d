"""A file that Envoy refuses changes nothing, now and after a restart; and no change of routes loses a request."""

from __future__ import annotations

import copy
import fcntl
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import pytest

from lockgate.rollout.envoy import process, xds
from lockgate.rollout.errors import RouterDown, RouterRefused
from lockgate.rollout.words import Endpoint


def unknown_field(resources: list[Any]) -> None:
    resources[0]["virtual_hosts"][0]["wieght"] = 1


def no_weights(resources: list[Any]) -> None:
    for route in resources[0]["virtual_hosts"][0]["routes"]:
        for side in route["route"].get("weighted_clusters", {}).get("clusters", []):
            side["weight"] = 0


def unknown_cluster(resources: list[Any]) -> None:
    resources[0]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] = "nowhere"


def bad_cluster(resources: list[Any]) -> None:
    resources[0]["lb_policy"] = "NO_SUCH"


def bad_listener(resources: list[Any]) -> None:
    resources[0]["filter_chains"][0]["filters"][0]["typed_config"]["stat_prefix"] = ""


def bad_endpoint(resources: list[Any]) -> None:
    resources[0]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"] = "localhost"


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("rds", unknown_field, "wieght"),
        ("rds", no_weights, "weights"),
        ("rds", unknown_cluster, "unknown cluster 'nowhere'"),
        ("cds", bad_cluster, "NO_SUCH"),
        ("lds", bad_listener, "(?i)stat_?prefix"),
        ("eds_candidate", bad_endpoint, "malformed IP address: localhost"),
    ],
)
def test_a_refused_file_changes_nothing(plane: Any, name: str, spoil: Callable[[list[Any]], None], reason: str) -> None:
    plane.router.apply(plane.routes(2500))
    files = plane.router._files
    good = (plane.router.at.xds / f"{name}.json").read_bytes()
    bad = copy.deepcopy(files.resources(name))
    spoil(bad)
    with pytest.raises(RouterRefused, match=reason):
        files.put(name, bad)
    assert (plane.router.at.xds / f"{name}.json").read_bytes() == good
    assert plane.router.applied() == plane.routes(2500)
    assert plane.post()[0].status_code == 200

    found = process.find(plane.router.at)
    assert found is not None
    process.end(found, plane.router.at)
    plane.router.start_again()
    assert plane.router.applied() == plane.routes(2500)
    assert plane.post()[0].status_code == 200


def test_a_bad_file_left_by_a_killed_controller_is_not_started_with(plane: Any) -> None:
    plane.router.apply(plane.routes(2500))
    found = process.find(plane.router.at)
    assert found is not None
    process.end(found, plane.router.at)
    (plane.router.at.xds / "rds.json").write_text('{"version_info": "x", "resources": []}')
    plane.router.start_again()
    assert plane.router.applied() == plane.routes(2500)
    assert plane.post()[0].status_code == 200


def test_files_are_renamed_into_place(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy ignores what is written in place; and then nothing may claim that it was applied."""
    path = plane.router.at.xds / "rds.json"
    inode = path.stat().st_ino
    plane.router.apply(plane.routes(100))
    assert path.stat().st_ino != inode
    monkeypatch.setattr(xds, "_replace", lambda path, content: path.write_bytes(content))
    monkeypatch.setattr(xds, "_SECONDS", 0.3)
    with pytest.raises(RouterDown, match="did not take up"):
        plane.router.apply(plane.routes(200))
    assert plane.router.applied() == plane.routes(100)


def test_what_is_served_already_is_not_written_again(plane: Any) -> None:
    plane.router.apply(plane.routes(2500))

    def written() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in plane.router.at.path.rglob("*.json")}

    before = written()
    plane.router.apply(plane.routes(2500))
    assert written() == before


def test_nobody_else_can_change_it_when_it_is_asked_whether_routes_are_still_wanted(plane: Any) -> None:
    def locked() -> bool:
        with plane.router.at.lock.open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False

    before = plane.router.applied()
    assert not plane.router.apply(replace(plane.routes(), weight=9000), locked)
    assert plane.router.applied() == before


@pytest.mark.parametrize("share", ["weight", "mirror"])
def test_traffic_for_a_candidate_without_endpoints_is_refused(plane: Any, share: str) -> None:
    before = {path: path.read_bytes() for path in plane.router.at.xds.iterdir()}
    with pytest.raises(RouterRefused, match=f"a {share} of 5 % needs a candidate"):
        plane.router.apply(replace(plane.routes(), candidate=(), **{share: 500}))
    assert {path: path.read_bytes() for path in plane.router.at.xds.iterdir()} == before


def test_a_weight_takes_effect_within_a_second(plane: Any, eventually: Any) -> None:
    for weight, text in islice(cycle([(10_000, "candidate 2"), (0, "stable 2")]), 6):
        began = time.monotonic()
        plane.router.apply(plane.routes(weight))
        eventually(lambda: plane.post()[0].text, lambda got, text=text: got == text, 1.0 - (time.monotonic() - began))


def test_a_hundred_changes_of_weight_under_load_lose_no_request(plane: Any) -> None:
    clients = plane.clients()
    with clients.load():
        for weight in islice(cycle([0, 500, 2500, 5000, 10_000]), 100):
            plane.router.apply(plane.routes(weight))
    assert clients.failed == 0
    assert clients.sent > 100
    assert plane.router.applied() == plane.routes(10_000)
    assert json.loads((plane.router.at.xds / "rds.json").read_text())["version_info"]


def test_a_whole_rollout_under_load_loses_no_request(plane: Any, eventually: Any) -> None:
    """The candidate comes, takes over, becomes stable, and the old stable goes away."""
    stable, candidate = (plane.stable.endpoint,), (plane.candidate.endpoint,)
    steps = [
        replace(plane.routes(), candidate=()),
        plane.routes(mirror=10_000),
        plane.routes(weight=500),
        plane.routes(weight=10_000),
        replace(plane.routes(), stable=candidate, candidate=stable),
        replace(plane.routes(), stable=candidate, candidate=()),
    ]
    clients = plane.clients()
    with clients.load():
        for routes in steps * 3:
            seen = clients.sent
            plane.router.apply(routes)
            assert plane.router.applied() == routes
            eventually(lambda: clients.sent, lambda sent, seen=seen: sent > seen + 20)
        plane.stable.__exit__()
        seen = clients.sent
        eventually(lambda: clients.sent, lambda sent: sent > seen + 100)
    assert clients.failed == 0


def test_endpoints_come_before_their_traffic_and_go_after_it(plane: Any, eventually: Any) -> None:
    """The other way round, copies find no server, and stable answers what counts as the candidate's."""
    patient = plane.traffic.failover.model_copy(update={"deadline": 5.0})
    router = type(plane.router)(plane.router.at.path, plane.traffic.model_copy(update={"failover": patient}))
    clients = plane.clients()
    with clients.load(connections=8):
        for _ in range(10):
            router.apply(plane.routes(weight=5000, mirror=10_000))
            seen = clients.sent
            eventually(lambda: clients.sent, lambda sent, seen=seen: sent > seen + 20)
            router.apply(replace(plane.routes(), candidate=()))
    counts = plane.source.measure()
    assert counts.shadow.requests > 100
    assert counts.shadow.errors == 0
    assert plane.stable.hits == clients.answers[200, "stable"]
    assert clients.failed == 0


def test_endpoints_that_are_gone_get_nothing(plane: Any) -> None:
    extra = Endpoint("127.0.0.1", 9)
    plane.router.apply(replace(plane.routes(), stable=tuple(sorted((plane.stable.endpoint, extra)))))
    plane.router.apply(plane.routes())
    assert plane.router.applied() == plane.routes()
    assert {a.status_code for a in plane.post(times=20)} == {200}
