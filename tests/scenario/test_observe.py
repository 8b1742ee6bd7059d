"""A real Prometheus scrapes a real rollout, and every panel of the dashboards has something to show of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]

STEPS = [
    {"shadow": {"percent": 100, "hold": {"min_requests": 50}, "timeout": "90s"}},
    {"canary": {"weight": 50, "hold": {"min_requests": 50, "duration": "20s"}, "timeout": "90s"}},
    {"approval": {"expires": "1h"}},
]


@pytest.mark.skipif(
    shutil.which("prometheus") is None and os.environ.get("LOCKGATE_TEST_PROMETHEUS") != "required",
    reason="there is no prometheus on this machine",
)
def test_every_panel_has_data(workshop: Any) -> None:
    workshop.alias("challenger", 9)  # its training data is known, so the inputs are compared
    workshop.spec["monitoring"] = {"drift": {"every": "10s", "window": 1000}}
    workshop.write(
        steps=STEPS,
        gates={
            "errors": {"metric": "error_rate", "margin": "10%"},
            "slow": {"metric": "latency", "quantile": 0.9, "margin": "100%", "slack": "50ms"},
        },
    )
    prometheus = f"127.0.0.1:{workshop.free_port()}"
    assert workshop.cli("up").returncode == 0
    began = time.time()
    with workshop.traffic(rate=100) as traffic:
        listens = ["--listen", prometheus, "--metrics", f"127.0.0.1:{workshop.free_port()}", "--scrape", "1s"]
        workshop.start("observe", *listens)
        run = workshop.start("run")
        workshop.until("somebody is asked", lambda: workshop.status().get("approval", {}), 200, every=1)
        workshop.until("it is scraped", lambda: asked(prometheus), 60, every=1)
        time.sleep(20)
        checked = check(workshop, prometheus, began)
        assert workshop.cli("approve", "toy", "-m", "seen on the dashboards").returncode == 0
        assert run.wait(90) == 0
    assert traffic.failures == []
    assert checked.returncode == 0, checked.stdout + checked.stderr


def asked(prometheus: str) -> Any:
    query = {"query": "lockgate_approval_pending == 1"}
    return httpx.get(f"http://{prometheus}/api/v1/query", params=query).json()["data"]["result"]


def check(workshop: Any, prometheus: str, began: float) -> subprocess.CompletedProcess[str]:
    since = ["--since", f"{int(time.time() - began) + 5}s", "--every", "1s"]
    words = ["-m", "lockgate.dashboards.grafana", "check", "--prometheus", f"http://{prometheus}", "--name", "toy"]
    return subprocess.run(
        [sys.executable, *words, *since],
        cwd=workshop.root,
        env=workshop.env,
        capture_output=True,
        text=True,
        check=False,
    )
