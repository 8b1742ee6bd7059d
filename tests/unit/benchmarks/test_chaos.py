"""The benchmark of faults: its load finds wrong answers, its plan can be drawn again, its sites are struck once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import table
from benchmarks.chaos.faults import BACK, BY_NAME, FAULTS, HAND, UP, Point, allowed, planned, possible
from benchmarks.chaos.invariants import left
from benchmarks.chaos.load import Failed, _checked
from benchmarks.chaos.replica import answer
from benchmarks.chaos.sites import Sites
from benchmarks.chaos.stage import Stage
from benchmarks.chaos.strikes import Strikes
from benchmarks.soak.__main__ import grows
from benchmarks.soak.samples import Sample, fitted, slope, used

ROW = [0.5, -0.25, 1.0, 0.0]
CATALOGUE = {
    UP: [("building/0", "before Store.append"), ("progressing/0", "after Store.append"), ("opening", "write a")],
    BACK: [("rolling_back/0", "before Store.append")],
    HAND: [("waiting/1", "before Store.last")],
}


def body(value: float) -> bytes:
    return json.dumps({"outputs": {"y": [value]}}).encode()


def test_an_answer_is_that_of_its_version_to_this_input() -> None:
    assert _checked("2", ROW, body(answer("2", ROW))) == "2"
    assert answer("1", ROW) != answer("2", ROW)


@pytest.mark.parametrize("text", [body(9.0), body(answer("1", ROW)), b"{}", b"<html>", b'{"outputs": {}}'])
def test_any_other_answer_is_wrong(text: bytes) -> None:
    with pytest.raises(Failed) as caught:
        _checked("2", ROW, text)
    assert caught.value.kind == "wrong"


def test_a_plan_can_be_drawn_again_and_comes_to_every_phase() -> None:
    plan = planned(CATALOGUE, 400, 7)
    assert plan == planned(CATALOGUE, 400, 7)
    assert plan != planned(CATALOGUE, 400, 8)
    assert {(p.phase, p.site) for p in plan} == {site for sites in CATALOGUE.values() for site in sites}
    assert {p.fault for p in plan} == {fault.name for fault in FAULTS}
    assert Counter(p.fault for p in plan).most_common(1)[0][0] == "kill the driver"


def test_a_disk_that_is_not_ours_is_not_filled() -> None:
    assert all(BY_NAME[p.fault].act != "fill" for p in planned(CATALOGUE, 400, 7, possible(disk=False)))


def test_only_a_candidate_that_was_struck_may_go_back() -> None:
    here = "promoting/1"
    assert allowed(UP, [(name, here) for name in ("kill the driver", "kill the router", "fill the disk")]) == {
        "succeeded"
    }
    assert allowed(BACK, [("kill the driver", here)]) == {"rolled_back"}
    assert "rolled_back" in allowed(UP, [("kill all candidate replicas", here)])


def test_only_a_rollout_that_is_being_built_is_given_up_without_a_registry() -> None:
    assert "failed" in allowed(UP, [("kill the MLflow server", "building/0")])
    assert allowed(UP, [("freeze the MLflow server", "promoting/1")]) == {"succeeded"}
    assert allowed(UP, [(f"kill the {name} server", "building/0") for name in ("Prefect", "Prometheus")]) == {
        "succeeded"
    }


def test_a_site_is_struck_once_in_its_phase_and_at_its_turn(tmp_path: Path) -> None:
    told = os.open(tmp_path / "told", os.O_WRONLY | os.O_CREAT)
    struck: list[dict[str, Any]] = []
    arm = {**Point(4, "kill the router", UP, "building/0", "here", 2).arm, "once": str(tmp_path / "once")}
    first, late = (Sites([arm], told, str(tmp_path)) for _ in range(2))  # a driver, and one that follows a frozen one
    first.strike = late.strike = struck.append
    for phase in ("opening", "building/0", "building/0", "building/0"):
        first.phase = late.phase = phase
        first.reached("here")
        late.reached("here")
    os.close(told)
    assert [arm["point"] for arm in struck] == [4]
    said = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    seen = [["opening", "here"]] * 2 + [["building/0", "here"]] * 2
    assert [one.get("fired", one.get("seen")) for one in said] == [*seen, 4]


def test_what_is_written_below_the_home_is_a_site(tmp_path: Path) -> None:
    told = os.open(tmp_path / "told", os.O_WRONLY | os.O_CREAT)
    home = tmp_path / "home"
    home.mkdir()
    sites = Sites([], told, str(home))
    sites._heard("open", (str(home / "0123456789abcdef" / "a.json"), "w", 0))
    sites._heard("open", (str(home / "a.json"), "r", 0))
    sites._heard("os.rename", (str(home / "a.new"), str(home / "a.json"), -1, -1))
    sites._heard("os.rename", ("/elsewhere/a", "/elsewhere/b", -1, -1))
    os.close(told)
    said = [json.loads(line)["seen"][1] for line in (tmp_path / "told").read_text().splitlines()]
    assert said == ["write N/a.json", "rename a.json"]


def test_the_table_has_a_row_for_each_fault_that_was_struck() -> None:
    row = {"fault": "kill the driver", "phase": "opening", "site": "a", "ended": "succeeded"}
    row |= {"window": None, "broken": []}
    found = table.of([row, {**row, "site": "b"}, {**row, "fault": "kill the router", "window": 1.25, "broken": ["x"]}])
    cells = [list(column.cells) for column in found.columns]
    assert cells[:3] == [["kill the driver", "kill the router"], ["2", "1"], ["2", "1"]]
    assert cells[5:] == [["", "1.2 s"], ["0", "1"]]


def test_growth_is_told_from_noise() -> None:
    by, about = fitted([(hour, 100 + 3 * hour) for hour in range(10)])
    assert by == pytest.approx(3)
    assert about == pytest.approx(0, abs=1e-9)
    noise = random.Random(3)
    by, about = fitted([(hour, 100 + noise.gauss(0, 1)) for hour in range(100)])
    assert abs(by) < about < 0.5
    by, about = fitted([(hour, 100 + 5 * (hour > 60)) for hour in range(100)])
    assert by - about < 0 < by + about  # it jumped once, which is no growth yet
    walks = [list(accumulate(noise.gauss(0, 1) for _ in range(100))) for _ in range(200)]
    proven = sum(abs(by) > about for by, about in (fitted(list(enumerate(walk))) for walk in walks))
    assert proven <= 30  # by chance; least squares with its usual error finds growth in nine of ten
    samples = [Sample(3600.0 * hour, {"envoy": hour * 2**20}) for hour in range(6)]
    assert slope(samples, "envoy")[0] == pytest.approx(1)
    assert slope(samples, "controller")[0] != slope(samples, "controller")[0]  # nothing was read of it


@pytest.mark.parametrize(
    ("by", "about", "found"), [(0.9, 0.1, []), (1.5, 0.6, []), (1.5, 0.4, ["controller"]), (None, None, [])]
)
def test_memory_that_is_proven_to_grow_fails_the_soak(by: float | None, about: float | None, found: list[str]) -> None:
    line = {"rss_slope_envoy_mib_per_hour": 0.1, "rss_slope_envoy_plus_or_minus": 0.1}
    line |= {"rss_slope_controller_mib_per_hour": by, "rss_slope_controller_plus_or_minus": about}  # type: ignore[dict-item]
    assert grows(line) == found


def test_logs_are_told_from_what_is_kept(tmp_path: Path) -> None:
    for name, size in {"toy/router/log/access.jsonl": 5, "toy/capture/a": 7, "lockgate.db": 11, "full.bin": 99}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    assert used(tmp_path) == (12, 11)


LISTENS = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


@pytest.mark.parametrize(("environment", "ours"), [({}, True), ({"LOCKGATE_HOME": "/elsewhere"}, False)])
def test_a_port_is_left_unless_it_was_given_to_somebody_else(
    environment: dict[str, str], tmp_path: Path, *, ours: bool
) -> None:
    free = "127.0.0.1:9"
    stage = Stage(tmp_path, {"traffic": {"listen": free, "metrics": free}})
    command, pipe = [sys.executable, "-I", "-S", "-c", LISTENS], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        stage.ports.add(port := int(process.stdout.readline()))
        found = left(stage)
        process.stdin.close()
    assert any(f"listens on port {port}" in one for one in found) == ours


@pytest.mark.parametrize(
    ("phase", "site", "possible"),
    [
        ("succeeded/1", "rename toy/router/xds/eds_stable.json", False),
        ("succeeded/1", "rename toy/wanted.json", True),
        ("promoting/1", "rename toy/router/xds/eds_stable.json", True),
    ],
)
def test_whoever_is_just_becoming_all_that_answers_is_not_struck(
    phase: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, possible: bool
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    arm = {"who": "candidates", "version": "2", "phase": phase, "site": site}
    assert Strikes(tmp_path, print).possible(arm) is possible
