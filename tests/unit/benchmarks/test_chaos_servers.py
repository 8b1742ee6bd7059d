"""The servers beside a stage of the crash matrix: found when they are to be struck, and there again afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from benchmarks.chaos.servers import Servers, of_stage


@pytest.mark.skipif(
    shutil.which("prometheus") is None and os.environ.get("LOCKGATE_TEST_PROMETHEUS") != "required",
    reason="there is no prometheus on this machine",
)
def test_one_that_was_killed_is_found_started_again_once_and_ended(tmp_path: Path) -> None:
    servers = Servers(tmp_path, tmp_path / "mlflow.db")
    try:
        servers.start("prometheus")
        servers.start("prometheus")
        [first] = of_stage(tmp_path, "prometheus")
        assert of_stage(tmp_path, "mlflow", "prefect") == of_stage(tmp_path / "another", "prometheus") == []
        until_it_answers(servers)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        servers.start("prometheus")
        until_it_answers(servers)
        assert [one.pid for one in of_stage(tmp_path, "prometheus")] != [first.pid]
    finally:
        servers.end()
    assert of_stage(tmp_path, "prometheus") == []


def until_it_answers(servers: Servers) -> None:
    deadline = time.monotonic() + 30
    while not servers._answers("prometheus"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
