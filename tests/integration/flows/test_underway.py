"""What Prefect says of a run keeps another one from being started only while nothing else could say it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import free_address

DRIVES = """
import asyncio, json, sys, time
from lockgate.flows.prefect_server import prefect_server

with prefect_server(int(sys.argv[1]), lambda _: None):
    from lockgate.flows import pipeline
    from prefect import get_client
    from prefect.states import Pending, Running

    (deployment,) = [one for one in pipeline.deployments([], 3600) if one.name == "drive"]

    async def of(client, key, state) -> list:
        now, drive = time.time(), ("drive/drive", {"rollout": key}, key)
        begun = [await pipeline.start_once(*drive, now)]
        if state:
            (run,) = [run for run in await client.read_flow_runs() if run.parameters == {"rollout": key}]
            await client.set_flow_run_state(run.id, state, force=True)
        return begun + [await pipeline.start_once(*drive, at) for at in (now + 30, now + 500)]

    async def main() -> dict:
        await deployment.aapply()
        async with get_client() as client:
            states = {"scheduled": None, "pending": Pending(), "running": Running()}
            return {key: await of(client, key, state) for key, state in states.items()}

    print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.timeout(300)
def test_a_run_that_was_killed_with_its_runner_is_followed_after_a_minute(tmp_path: Path) -> None:
    """With a real Prefect server, which goes on calling it `Running`; one that waits is left to wait."""
    port = free_address().rpartition(":")[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVES, port],
        env=environment | {"LOCKGATE_HOME": str(tmp_path), "DO_NOT_TRACK": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "scheduled": [True, False, False],
        "pending": [True, False, True],
        "running": [True, False, True],
    }
