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


def test_one_that_seemed_to_be_of_another_time_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a clock is being set, the time at which a process was created moves."""
    processes._known.cache_clear()  # this very process may have been asked for before
    me, real = psutil.Process(), psutil.Process.create_time
    created = me.create_time()
    with monkeypatch.context() as stepped:
        stepped.setattr(psutil.Process, "create_time", lambda process: real(process) + 5)
        assert not processes.runs(me.pid, created)
    assert processes.runs(me.pid, created)
    assert not processes.runs(me.pid, created - 5)
