"""The benchmark of faults: its load finds wrong answers, its plan can be drawn again, its sites are struck once."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import table
from benchmarks.chaos.faults import BACK, BY_NAME, FAULTS, HAND, UP, Point, allowed, planned, possible
from benchmarks.chaos.load import Failed, _checked
from benchmarks.chaos.replica import answer
from benchmarks.chaos.sites import Sites
from benchmarks.soak.samples import Sample, fitted, slope

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
    assert allowed(UP, ["kill the driver", "kill the router", "fill the disk"]) == {"succeeded"}
    assert allowed(BACK, ["kill the driver"]) == {"rolled_back"}
    assert "rolled_back" in allowed(UP, ["kill all candidate replicas"])


def test_a_site_is_struck_once_in_its_phase_and_at_its_turn(tmp_path: Path) -> None:
    told = os.open(tmp_path / "told", os.O_WRONLY | os.O_CREAT)
    struck: list[dict[str, Any]] = []
    sites = Sites([Point(4, "kill the router", UP, "building/0", "here", 2).arm], told, str(tmp_path))
    sites.strike = struck.append
    for phase in ("opening", "building/0", "building/0", "building/0"):
        sites.phase = phase
        sites.reached("here")
    os.close(told)
    assert [arm["point"] for arm in struck] == [4]
    said = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [one.get("fired", one.get("seen")) for one in said] == [["opening", "here"], ["building/0", "here"], 4]


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
    by, about = fitted([(hour, 100 + (-1) ** hour) for hour in range(10)])
    assert abs(by) < about
    samples = [Sample(3600.0 * hour, {"envoy": hour * 2**20}) for hour in range(4)]
    assert slope(samples, "envoy")[0] == pytest.approx(1)
    assert slope(samples, "controller")[0] != slope(samples, "controller")[0]  # nothing was read of it
