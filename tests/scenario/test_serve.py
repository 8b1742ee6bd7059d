"""`lockgate serve`: Prefect schedules, runs and shows; it never holds the rollout up."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from datetime import datetime
from typing import Any

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]


def runs(url: str) -> list[tuple[str, str]]:
    """(name of the flow, state) of every flow run."""
    with contextlib.suppress(httpx.HTTPError):
        flows = {f["id"]: f["name"] for f in httpx.post(f"{url}/flows/filter", json={}).json()}
        found = httpx.post(f"{url}/flow_runs/filter", json={}).json()
        return [(flows.get(r["flow_id"], ""), r["state_type"]) for r in found]
    return []


def runs_of(url: str, name: str) -> list[dict[str, Any]]:
    """The flow runs of one flow, oldest first."""
    sought = {"flows": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}
    return list(httpx.post(f"{url}/flow_runs/filter", json=sought).json())


def began(workshop: Any) -> float:
    """When the counts of the step that is judged began; 0 before."""
    with contextlib.suppress(sqlite3.OperationalError):
        return float(progress(workshop).get("began", 0.0))
    return 0.0


def artifacts(url: str) -> dict[str, str]:
    found = httpx.post(f"{url}/artifacts/filter", json={}).json()
    return {a["key"]: a["data"] if isinstance(a["data"], str) else json.dumps(a["data"]) for a in found}


def progress(workshop: Any) -> dict[str, Any]:
    with sqlite3.connect(f"file:{workshop.root / 'state.db'}?mode=ro", uri=True) as db:
        row = db.execute("select document from lockgate_progress").fetchone()
    return dict(json.loads(row[0])) if row else {}


def last_tick(workshop: Any) -> float:
    return float(progress(workshop).get("at", 0.0))


def asked_for_a_sweep(url: str) -> bool:
    """Now, as a person does with `prefect deployment run`. False while the server is not ready for it."""
    with contextlib.suppress(httpx.HTTPError):
        found = httpx.post(f"{url}/deployments/filter", json={"deployments": {"name": {"any_": ["sweep"]}}})
        (it,) = found.raise_for_status().json()
        return httpx.post(f"{url}/deployments/{it['id']}/create_flow_run", json={}).is_success
    return False


def noticed_and_copied_to_before_it_is_driven(workshop: Any, url: str) -> None:
    """No sweep is due for minutes: only who looks beside them sees the alias, and copies wait for no driver."""
    workshop.until("sweeps are scheduled", lambda: ("sweep", "SCHEDULED") in runs(url), 120, 0.5)
    workshop.alias("challenger", 2)
    first = workshop.until("copies are counted", lambda: began(workshop), 120)
    workshop.until("a driver runs", lambda: any(run["start_time"] for run in runs_of(url, "drive")), 60, 0.5)
    (driver,) = runs_of(url, "drive")
    assert first < datetime.fromisoformat(driver["start_time"]).timestamp()
    assert not any(run["start_time"] for run in runs_of(url, "sweep"))


def test_a_challenger_is_found_rolled_out_and_shown_and_a_dead_server_delays_nothing(workshop: Any) -> None:
    """Both smoke tests in one: the server starts, and the interval schedule yields runs. Sweeps have no part in it."""
    port = workshop.free_port()
    url = f"http://127.0.0.1:{port}/api"
    shadow = {"percent": 100, "hold": {"min_requests": 50}, "timeout": "90s"}
    canary = {"weight": 40, "hold": {"min_requests": 400}, "timeout": "300s"}
    workshop.write(steps=[{"shadow": shadow}, {"canary": canary}])
    with sqlite3.connect(workshop.root / "mlflow.db") as db:
        db.execute("delete from registered_model_aliases where alias = 'challenger'")
    assert workshop.cli("up").returncode == 0
    service = workshop.start("serve", "--every", "10m", "--port", str(port))
    with workshop.traffic() as traffic:
        noticed_and_copied_to_before_it_is_driven(workshop, url)
        workshop.until("the canary runs", lambda: workshop.reached("progressing/1"), 120)
        assert workshop.cli("pause", "toy").returncode == 0  # until Prefect has shown it and is dead
        workshop.until("the table is shown", lambda: "toy-measurements" in artifacts(url), 180, 0.5)
        shown = artifacts(url)
        assert ("release", "COMPLETED") in runs(url)
        server = next(p for p in psutil.Process(service.pid).children() if "server" in p.cmdline())
        for process in [*server.children(recursive=True), server]:
            process.kill()
        killed_at = last_tick(workshop)
        for seconds in (2, 4, 6):  # ticks go on, one a second, and none waits for the dead server
            workshop.until("ticks go on", lambda s=seconds: last_tick(workshop) >= killed_at + s, 20)
        assert workshop.cli("resume", "toy").returncode == 0
        workshop.until("promoted without Prefect", lambda: workshop.reached("succeeded/1"), 120)
        # A server was started in its place, and the runner found it.
        workshop.until("a new Prefect server answers", lambda: asked_for_a_sweep(url), 60, 0.5)
        workshop.until("a new Prefect server is served", lambda: ("sweep", "COMPLETED") in runs(url), 120, 0.5)
    assert traffic.failures == []
    assert "errors" in shown["toy-measurements"]
    assert "canary 40 %" in shown["toy-verdict"]
    assert workshop.aliases()["champion"] == 2
    dies_and_comes_back_unless_it_was_stopped(workshop)


def dies_and_comes_back_unless_it_was_stopped(workshop: Any) -> None:
    """While no rollout is open, `lockgate serve` watches what was brought up."""
    next(p for p in workshop.processes() if p.name() == "envoy").kill()
    workshop.until("no answer without Envoy", lambda: not workshop.answers())
    workshop.until("Envoy is back", workshop.answers)
    workshop.kill_replicas("2")
    workshop.until("no answer without a replica", lambda: not workshop.answers())
    workshop.until("a new replica of what was promoted is routed to", workshop.answers)
    assert {replica["version"] for replica in workshop.replicas()} == {"2"}
    assert workshop.cli("down").returncode == 0
    time.sleep(3)  # as long as it took to come back
    assert not workshop.answers()
    assert workshop.replicas() == []
