"""Envoy outlives whoever starts it, is found again, and never shares a port."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.envoy.source import EnvoySource
from lockgate.rollout.errors import RouterDown, SourceDown
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint, Routes

STARTER = """
import sys, time
from pathlib import Path
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint, Routes
EnvoyRouter(Path(sys.argv[1]), Traffic.model_validate_json(sys.argv[2])).start(
    Routes((Endpoint("127.0.0.1", int(sys.argv[3])),))
)
print("started", flush=True)
time.sleep(600)
"""


def kill(router: EnvoyRouter, eventually: Any) -> None:
    found = process.find(router.at)
    assert found is not None
    found.kill()
    eventually(router.running, lambda running: not running)


def other(plane: Any, **update: Any) -> EnvoyRouter:
    return EnvoyRouter(plane.router.at.path, plane.traffic.model_copy(update=update))


def test_it_serves_on_when_its_starter_is_killed(router: Any, traffic: Traffic, sides: Any) -> None:
    command = [sys.executable, "-c", STARTER, str(router.at.path), traffic.model_dump_json(), str(sides[0].port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        os.killpg(starter.pid, signal.SIGKILL)
    assert router.running()
    assert httpx.get(f"http://{traffic.listen}/", trust_env=False).text == "stable 0"
    assert router.applied().stable == (sides[0].endpoint,)


def test_a_second_start_adopts_the_one_that_runs(plane: Any) -> None:
    plane.router.apply(plane.routes(2500))
    before = process.find(plane.router.at)
    plane.router.at.pid.unlink()  # as if the starter had been killed before it could write it
    again = other(plane)
    again.start(plane.routes())
    assert process.find(plane.router.at) == before
    assert again.applied() == plane.routes(2500)


def test_a_start_that_was_killed_halfway_is_finished(plane: Any) -> None:
    for file in plane.router.at.good.iterdir():
        file.unlink()
    other(plane).start(plane.routes())
    assert len(list(plane.router.at.good.iterdir())) == len(list(plane.router.at.xds.iterdir()))
    assert plane.router.applied() == plane.routes()


def test_it_keeps_nothing_open_of_who_starts_it(plane: Any, eventually: Any) -> None:
    """Whoever reads a pipe to its end would wait for as long as Envoy runs."""
    kill(plane.router, eventually)
    end, ours = os.pipe()
    os.set_inheritable(ours, True)  # noqa: FBT003 - as a shell hands its own on
    plane.router.start_again()
    os.close(ours)
    os.set_blocking(end, False)
    assert os.read(end, 1) == b""
    os.close(end)


def test_only_our_own_envoy_is_adopted_or_ended(plane: Any) -> None:
    plane.router.at.pid.write_text(str(os.getpid()))
    found = process.find(plane.router.at)
    assert found is not None
    assert found.pid != os.getpid()


def test_after_its_death_it_starts_with_what_it_served_last(plane: Any, eventually: Any) -> None:
    plane.router.apply(plane.routes(2500, mirror=100))
    kill(plane.router, eventually)
    for ask in (plane.router.applied, lambda: plane.router.apply(plane.routes())):
        with pytest.raises(RouterDown, match="router"):
            ask()
    with pytest.raises(SourceDown, match="does not answer"):
        plane.source.measure()
    plane.router.start(plane.routes(0))
    assert plane.router.applied() == plane.routes(2500, mirror=100)
    kill(plane.router, eventually)
    plane.router.start_again()
    assert plane.router.applied() == plane.routes(2500, mirror=100)
    assert plane.post()[0].status_code == 200


def test_nothing_is_left_of_one_that_died(plane: Any, eventually: Any) -> None:
    """Whoever starts Envoys for weeks would have one more dead process in the list after each."""
    found = process.find(plane.router.at)
    assert found is not None
    found.kill()
    eventually(lambda: plane.router.running() or psutil.pid_exists(found.pid), lambda left: not left)
    assert found.pid not in process._OUR_CHILDREN
    plane.router.start_again()
    again = process.find(plane.router.at)
    assert again is not None
    plane.router.stop()
    assert again.pid not in process._OUR_CHILDREN


def test_start_again_needs_something_served_before(router: Any) -> None:
    with pytest.raises(RouterDown, match="has served nothing yet"):
        router.start_again()
    router.stop()
    assert not router.running()


@pytest.mark.parametrize("field", ["listen", "metrics"])
def test_a_port_in_use_is_named_with_its_place_in_the_spec(router: Any, traffic: Traffic, field: str) -> None:
    address = getattr(traffic, field)
    host, port = address.split(":")
    with socket.create_server((host, int(port))):
        with pytest.raises(RouterDown) as refused:
            router.start(Routes((Endpoint("127.0.0.1", 9),)))
        assert f"port {port} is in use by another program" in str(refused.value)
        assert f"rollout.traffic.{field}" in str(refused.value)
    assert not router.running()


def test_a_port_that_may_not_be_opened_is_named_too(router: Any, traffic: Traffic) -> None:
    # TEST-NET-2 (RFC 5737) is no address of this machine.
    elsewhere = EnvoyRouter(router.at.path, traffic.model_copy(update={"listen": "198.51.100.1:8080"}))
    with pytest.raises(RouterDown, match=r"port 8080 cannot be opened \(.*\).*rollout\.traffic\.listen"):
        elsewhere.start(Routes((Endpoint("127.0.0.1", 9),)))
    assert not router.running()


def test_two_envoys_never_share_a_port(plane: Any, tmp_path: Path) -> None:
    """With SO_REUSEPORT the second would silently take half of the requests."""
    second = EnvoyRouter(tmp_path / "second", plane.traffic)
    try:
        with pytest.raises(RouterDown, match=r"in use by another program.*rollout\.traffic\.listen"):
            second.start(plane.routes())
        assert not second.running()
    finally:
        second.stop()


def test_a_running_envoy_keeps_its_port_when_the_new_one_is_taken(plane: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RouterDown, match=rf"port {port} is in use by another program.*rollout\.traffic\.listen"):
            other(plane, listen=f"127.0.0.1:{port}").start(plane.routes())
    assert plane.post()[0].status_code == 200


def test_stop_finishes_what_is_being_answered(plane: Any, eventually: Any) -> None:
    plane.stable.delay = 0.5
    clients = plane.clients()
    with clients.load(connections=1):
        eventually(lambda: plane.stable.hits, lambda hits: hits == 1)
        before = process.find(plane.router.at)
        plane.stable.delay = 0.0
    with subprocess.Popen([sys.executable, "-c", _GET.format(plane.url)], stdout=subprocess.PIPE, text=True) as slow:
        plane.stable.delay = 1.0
        eventually(lambda: plane.stable.hits, lambda hits: hits > clients.sent)
        plane.router.stop()
        assert slow.communicate()[0] == "200\n"
    assert before is not None
    assert not psutil.pid_exists(before.pid)
    assert not plane.router.running()
    plane.router.stop()


_GET = "import httpx; print(httpx.get('{}', trust_env=False, timeout=30).status_code)"


def test_changed_traffic_is_taken_up_without_losing_a_request(plane: Any, eventually: Any) -> None:
    plane.router.apply(plane.routes(5000))
    clients = plane.clients()
    with clients.load():
        eventually(lambda: clients.sent, lambda sent: sent > 100)
        other(plane, max_body=1024).start(plane.routes())
        seen = clients.sent
        eventually(lambda: clients.sent, lambda sent: sent > seen + 100)
    assert clients.failed == 0
    assert plane.post(b"x" * 2000)[0].status_code == 413
    assert plane.router.applied() == plane.routes(5000)


def test_the_run_directory_is_private(plane: Any) -> None:
    at = plane.router.at
    assert stat.S_IMODE(at.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((at.path / "admin.sock").stat().st_mode) == 0o600


def test_a_long_folder(tmp_path: Path, traffic: Traffic, sides: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    router = EnvoyRouter(tmp_path / ("long" * 30), traffic)
    routes = Routes((sides[0].endpoint,))
    router.start(routes)
    try:
        monkeypatch.setattr("tempfile.tempdir", "/nowhere")  # another process may have another TMPDIR
        assert EnvoyRouter(router.at.path, traffic).applied() == routes
    finally:
        router.stop()
    assert not router.running()


def test_metrics_can_be_read_and_nothing_else(plane: Any) -> None:
    plane.post()
    with httpx.Client(base_url=f"http://{plane.traffic.metrics}", trust_env=False) as client:
        assert 'envoy_cluster_upstream_rq_completed{envoy_cluster_name="stable"}' in client.get("/metrics").text
        assert client.get("/ready").text == "LIVE\n"
        for method, path in (("POST", "/metrics"), ("POST", "/quitquitquit"), ("GET", "/config_dump"), ("GET", "/x")):
            assert client.request(method, path).status_code == 404


def test_the_logs_tell_what_became_of_each_request(plane: Any, eventually: Any) -> None:
    plane.router.apply(plane.routes(10_000))
    plane.candidate.mode = "fail"
    request_id = plane.post()[0].headers["x-request-id"]

    def rows(log: Path) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [row for row in found if row["request_id"] == request_id]

    [row] = eventually(lambda: rows(plane.router.at.access_log), bool)
    assert (row["assigned"], row["attempts"], row["status"]) == ("candidate_fb", 2, 200)
    assert row["upstream"] == str(plane.stable.endpoint)
    assert row["duration_us"] > 0
    attempts = eventually(lambda: rows(plane.router.at.upstream_log), lambda found: len(found) == 2)
    assert sorted(attempt["status"] for attempt in attempts) == [200, 500]


def test_counts_go_on_when_an_endpoint_is_replaced(plane: Any) -> None:
    """Envoy's counters per endpoint vanish with it; those that are used here do not."""
    plane.router.apply(plane.routes(10_000))
    plane.candidate.mode = "fail"
    plane.post(times=3)
    plane.router.apply(replace(plane.routes(10_000), candidate=(plane.stable.endpoint,)))
    plane.post(times=2)
    counts = EnvoySource(plane.router).measure()
    assert (counts.candidate.requests, counts.candidate.errors) == (5, 3)
