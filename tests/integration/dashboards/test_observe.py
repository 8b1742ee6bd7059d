"""`lockgate observe` with a real Prometheus, a real Envoy and an exporter: all is found, under the same labels."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from lockgate.monitoring import catalog

Ask = Callable[[str, str], list[dict[str, Any]]]
_OF_PROMETHEUS = {"__name__", "job", "instance", "le"}


@pytest.fixture
def watched(running: Any, prometheus: str) -> tuple[str, subprocess.Popen[str]]:
    """Where Prometheus listens, and the command."""
    assert prometheus
    at, metrics = running.free_address(), running.free_address()
    process = running.run("observe", "--listen", at, "--metrics", metrics, "--scrape", "500ms")
    running.said(process, f"Prometheus on http://{at}")
    return at, process


def labels(sample: dict[str, Any]) -> set[str]:
    return set(sample["metric"]) - _OF_PROMETHEUS


def test_every_series_of_the_catalog_comes_with_its_labels(running: Any, watched: Any, ask: Ask) -> None:
    at, _ = watched
    running.post(20)
    running.candidate.status = 500
    running.post(20)
    running.post(1, x_lockgate_variant="candidate")
    up = running.until(lambda: len(found := ask(at, "up == 1")) == 4 and found)
    assert {(one["metric"]["job"], one["metric"].get("variant", "")) for one in up} == {
        ("lockgate-exporter", ""),
        ("lockgate-envoy", ""),
        ("lockgate-replica", "stable"),
        ("lockgate-replica", "candidate"),
    }
    of = 'envoy_cluster_upstream_rq_completed{variant="candidate", traffic="live", version="2", name="toy"} > 0'
    running.until(lambda: ask(at, of))
    for source in ("envoy", "replica"):
        for series in catalog.of(source):
            if set(series.labels) == {"name", "replica"}:
                continue  # of servers of language models: test_observe_more.py
            found = ask(at, series.samples[0])
            assert found, f"{series.name} is in the catalog, and nobody serves it"
            for sample in found:
                wanted = set(series.labels)
                assert labels(sample) == wanted, series.name
    served = {sample["metric"]["__name__"] for sample in ask(at, '{job=~"lockgate.+"}')}
    known = {name for series in catalog.CATALOG.values() for name in series.samples}
    assert {name for name in served if not name.startswith(("scrape_", "up", "ALERTS"))} <= known


def test_a_variant_has_just_the_requests_that_were_its(running: Any, watched: Any, ask: Ask) -> None:
    at, _ = watched
    running.candidate.status = 500
    running.post(30)
    running.post(3, x_lockgate_variant="candidate")
    running.post(2, x_lockgate_variant="stable")

    def counted(series: str) -> dict[tuple[str, str], float]:
        found = ask(at, f"sum by (variant, traffic) (envoy_cluster_upstream_rq_{series})")
        return {(of["metric"]["variant"], of["metric"]["traffic"]): float(of["value"][1]) for of in found}

    running.until(lambda: counted("completed").get(("stable", "forced")) == 2)
    running.until(lambda: sum(counted("completed").get((side, "live"), 0) for side in ("stable", "candidate")) == 30)
    every = counted("completed")
    assert every["candidate", "forced"] == 3
    assert every["candidate", "shadow"] == 30  # a tester's are not copied
    assert counted("retry_success")["candidate", "live"] == every["candidate", "live"] > 0
    assert counted("retry_success")["stable", "live"] == 0


def test_latencies_have_the_edges_that_envoy_means(running: Any, watched: Any, ask: Ask) -> None:
    from lockgate.rollout.envoy.bootstrap import latency_buckets

    at, _ = watched
    running.post(5)
    query = 'envoy_cluster_upstream_rq_time_bucket{variant="stable", traffic="live"}'
    found = running.until(lambda: ask(at, query))
    assert {float(sample["metric"]["le"]) for sample in found} == {*latency_buckets().values(), float("inf")}


def test_replicas_are_followed_as_they_come_and_go(running: Any, watched: Any, ask: Ask) -> None:
    at, _ = watched
    query = 'up{job="lockgate-replica", variant="stable"} == 1'
    running.until(lambda: len(ask(at, query)) == 1)
    running.replica("a2", "toy:a", running.candidate)  # it gets no traffic of stable's: the rollout says what it is
    running.records.forget("b1")
    running.until(
        lambda: {of["metric"]["replica"] for of in ask(at, 'up{job="lockgate-replica"} == 1')} == {"a1", "a2"}
    )
    running.records.forget("a1")
    running.until(lambda: {of["metric"]["replica"] for of in ask(at, 'up{job="lockgate-replica"}')} == {"a2"})


def test_a_router_that_is_gone_is_missed_while_replicas_run(running: Any, watched: Any, ask: Ask) -> None:
    at, _ = watched
    running.until(lambda: ask(at, 'up{job="lockgate-envoy", name="toy"} == 1'))
    running.router.stop()
    running.until(lambda: ask(at, 'up{job="lockgate-envoy", name="toy"} == 0'))


def test_what_it_started_ends_with_it(watched: Any) -> None:
    at, process = watched
    (program,) = psutil.Process(process.pid).children()
    assert program.name() == "prometheus"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert not program.is_running()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{at}/-/ready", trust_env=False)


def test_what_one_that_was_killed_has_left_is_ended_by_the_next(running: Any, watched: Any) -> None:
    at, process = watched
    (left,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert left.is_running()
    again = running.run("observe", "--listen", at, "--metrics", running.free_address())
    running.said(again, f"Prometheus on http://{at}")
    assert not left.is_running()


def test_two_do_not_keep_one_folder(running: Any, watched: Any) -> None:
    _, process = watched
    other = running.run("observe", "--listen", running.free_address(), "--metrics", running.free_address())
    running.said(other, "another `lockgate observe` keeps")
    assert other.wait(60) != 0
    assert process.poll() is None


def test_it_says_why_prometheus_does_not_start(running: Any, prometheus: str) -> None:
    assert prometheus
    taken = f"127.0.0.1:{running.stable.endpoint.port}"
    process = running.run("observe", "--listen", taken, "--metrics", running.free_address())
    running.said(process, "address already in use")
    assert process.wait(60) != 0


def test_without_prometheus_its_folder_is_kept_current(running: Any) -> None:
    metrics = running.free_address()
    process = running.run("observe", "--no-prometheus", "--metrics", metrics)
    running.said(process, "prometheus.yml")
    lists = running.home.root / "observe" / "targets"
    assert '"replica": "a1"' in (lists / "replica.json").read_text()
    assert running.spec.traffic.metrics in (lists / "envoy.json").read_text()
    running.records.forget("a1")
    running.until(lambda: '"replica": "a1"' not in (lists / "replica.json").read_text())
    assert 'lockgate_rollout_step{name="toy"} 1.0' in httpx.get(f"http://{metrics}/metrics", trust_env=False).text
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
