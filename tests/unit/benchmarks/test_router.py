"""The benchmark's own arithmetic, its edits of what the router writes, and an Envoy that runs with all of them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import httpx
import pytest

from benchmarks.router import __main__ as benchmark
from benchmarks.router.load import Figures, cpu_seconds
from benchmarks.router.pieces import PIECES, everything, nothing
from benchmarks.router.rounds import DIRECT, HAPROXY, ROUTER, added, median, ratio
from benchmarks.router.routers import Files, Refused, edited
from benchmarks.router.servers import sleeping
from lockgate.rollout.envoy.bootstrap import bootstrap
from lockgate.rollout.envoy.clusters import clusters
from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.listeners import listeners
from lockgate.rollout.envoy.routes import route_configuration
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint, Routes

ROUTES = Routes((Endpoint("127.0.0.1", 1),), (Endpoint("127.0.0.1", 2),), 5000)


def figures(rps: float, p50: float, cpu: float = 0.0) -> Figures:
    return Figures(rps, p50, 0.0, cpu)


def test_what_is_compared_is_compared_within_each_round() -> None:
    """The machine was half as fast in the second round."""
    rounds = {
        DIRECT: [figures(100, 50), figures(50, 100), figures(100, 50)],
        ROUTER: [figures(90, 150, 60), figures(45, 300, 120), figures(80, 140, 60)],
        HAPROXY: [figures(95, 90, 20), figures(48, 180, 40), figures(95, 90, 20)],
    }
    assert median(rounds, DIRECT, "p50") == 50
    assert ratio(rounds, "cpu", ROUTER, HAPROXY) == 3
    assert added(rounds, "p50", ROUTER, DIRECT) == 100
    slow = {c: {**rounds, ROUTER: [figures(rps, 0), *rounds[ROUTER][1:]]} for c, rps in ((16, 70), (64, 60))}
    slow[64][ROUTER][2] = figures(75, 0)
    told = benchmark._told(rounds, rounds, {1: rounds, **slow})
    assert (told["added_p50_ms"], told["cpu_vs_haproxy"]) == (0.1, 3)
    assert told["rps_vs_direct_10ms_by_way"][ROUTER] == {1: 0.9, 16: 0.8, 64: 0.75}
    assert told["rps_vs_direct_10ms"] == 0.8
    assert told["rps_vs_direct_10ms_least"] == 0.75


def files() -> Files:
    at, traffic = Folder(Path("/run/lockgate")), Traffic()
    return {
        "bootstrap": bootstrap(at, at.path / "admin.sock"),
        "lds": listeners(traffic, at),
        "cds": clusters(traffic, at),
        "rds": route_configuration(traffic, ROUTES),
    }


@pytest.mark.parametrize("name", PIECES)
def test_every_piece_is_there_to_be_taken_away(name: str) -> None:
    written = files()
    before = deepcopy(written)
    nothing(written)
    assert written == before
    PIECES[name](written)
    assert written != before


def test_envoy_runs_without_all_of_them(tmp_path: Path) -> None:
    with sleeping(0.001) as (stable, candidate), httpx.Client(trust_env=False) as client:
        with edited("bare", tmp_path / "bare", Routes((stable,), (candidate,), 5000), everything) as way:
            answers = [client.post(f"http://{way.address}/predict", json=[[1.0]]) for _ in range(8)]
            assert cpu_seconds(way.pids) > 0
        assert [answer.json() for answer in answers] == [{"predictions": [0.1, 0.9]}] * 8
        assert not any("x-lockgate-variant" in answer.headers for answer in answers)
        with pytest.raises(Refused, match="misspelt"), edited("odd", tmp_path / "odd", ROUTES, _misspell):
            pass


def _misspell(written: Files) -> None:
    written["rds"][0]["misspelt"] = 1
