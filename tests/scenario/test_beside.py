"""What dies beside the models during a rollout: it goes on, or holds, with a sentence, and no request fails."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]


@pytest.mark.skipif(
    shutil.which("prometheus") is None and os.environ.get("LOCKGATE_TEST_PROMETHEUS") != "required",
    reason="there is no prometheus on this machine",
)
def test_what_fails_beside_the_models_costs_no_answer(workshop: Any) -> None:
    """A Prometheus that dies is an error of its gate, which holds the step; a full disk and a torn file hold nobody."""
    workshop.alias("challenger", 9)
    at = f"127.0.0.1:{workshop.free_port()}"
    workshop.spec["monitoring"] = {"drift": {"every": "10s", "window": 1000}, "prometheus": f"http://{at}"}
    gates = {
        "errors": {"metric": "error_rate", "margin": "10%"},
        "slo": {"metric": "query", "query": "vector(0.01)", "max": 0.5, "every": "1s"},
    }
    canary = {"weight": 50, "hold": {"min_requests": 200, "duration": "10s"}, "timeout": "5m", "on_timeout": "hold"}
    workshop.write(steps=[{"canary": canary}], gates=gates)
    assert workshop.cli("up").returncode == 0
    with workshop.traffic(rate=100) as traffic, watched(workshop, at) as prometheus:
        run = workshop.start("run")
        workshop.until("both gates are judged", lambda: outcome(workshop, "slo") == "pass", 120, every=1)
        prometheus.kill()
        prometheus.wait()
        full(workshop)
        torn = tear(workshop)
        workshop.until("the gate that asks is an error", lambda: outcome(workshop, "slo") == "error", 30, every=1)
        assert outcome(workshop, "errors") in {"pass", "undecided"}
        assert "cannot be asked" in said(workshop, "slo"), said(workshop, "slo")
        time.sleep(12)  # longer than the step holds
        assert workshop.phase() == "progressing/0"
        drift = json.loads(workshop.cli("drift", "--json").stdout)
        assert any(str(torn) in note and "cannot be read" in note for note in drift["notes"])
        with watched(workshop, at):
            assert run.wait(120) == 0
    assert traffic.failures == []
    assert workshop.aliases()["champion"] == 9


@contextlib.contextmanager
def watched(workshop: Any, at: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Prometheus that scrapes nobody; ended with the `with`."""
    folder = workshop.root / f"prometheus-{time.monotonic_ns()}"
    folder.mkdir()
    (folder / "prometheus.yml").write_text("scrape_configs: []")
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={at}"], stdout=log, stderr=log)
    try:
        workshop.until("Prometheus is ready", lambda: ready(at), 30)
        yield process
    finally:
        process.kill()
        process.wait()


def ready(at: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://{at}/-/ready", trust_env=False).is_success
    return False


def gate(workshop: Any, name: str) -> dict[str, Any]:
    return next((one for one in workshop.status().get("gates", []) if one["gate"] == name), {})


def outcome(workshop: Any, name: str) -> str:
    return str(gate(workshop, name).get("outcome", ""))


def said(workshop: Any, name: str) -> str:
    return json.dumps(gate(workshop, name))


def full(workshop: Any) -> None:
    """A limit on the size of files is to a process what a full disk is."""
    for process in workshop.processes():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LOCKGATE_REPLICA"):
                process.rlimit(psutil.RLIMIT_FSIZE, (1024, process.rlimit(psutil.RLIMIT_FSIZE)[1]))


def tear(workshop: Any) -> Path:
    """A file of captured traffic of which the end is lost: what is left of a Parquet file cannot be read."""
    kept = workshop.root / "home" / "toy" / "capture"
    whole = max(kept.rglob("*.arrows"), key=lambda path: path.stat().st_size)
    torn = whole.with_name(f"torn-{int(time.time() * 1000)}.parquet")
    torn.write_bytes(b"PAR1" + whole.read_bytes()[:4096])
    return Path(torn)
