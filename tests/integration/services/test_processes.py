"""Processes of replicas are ended, whoever started them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil
import pytest

from lockgate.services import processes

CARELESS = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "input()"], env={"LOCKGATE_REPLICA": "orphan"}, stdin=subprocess.PIPE)
print("started", flush=True)
input()
"""


@pytest.fixture
def careless() -> Any:
    """A process that started another one and never collects it, like the first process of many a container."""
    with subprocess.Popen([sys.executable, "-c", CARELESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield psutil.Process(process.pid)
        process.kill()


@pytest.mark.timeout(30)
def test_one_that_nobody_collects_is_not_waited_for(careless: psutil.Process) -> None:
    (orphan,) = careless.children()
    processes.end(["orphan"], grace=1000)
    assert orphan.status() == psutil.STATUS_ZOMBIE
    assert processes.of(["orphan"]) == []
