"""Who is taken for the driver of a rollout: a process of this host that lives, whatever becomes of the clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from lockgate.flows.lease import driver, owner
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.store import Rollout, Store

HERE = socket.gethostname()
SPEC = {"steps": [{"canary": {"weight": 5}}], "gates": {"errors": {"metric": "error_rate"}}}


@pytest.fixture
def rollout() -> Rollout:
    return Rollout("r", "toy", RolloutSpec.model_validate(SPEC), {}, {}, time.time(), None)


@pytest.fixture
def store(tmp_path: Path, rollout: Rollout) -> Iterator[Store]:
    with closing(Store(f"sqlite:///{tmp_path / 'store.db'}")) as store:
        store.open(rollout, time.time())
        yield store


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def held(store: Store, rollout: Rollout, holder: str) -> str:
    """Who drives it when the lease says this."""
    assert store.lease(rollout.id, holder, time.time(), 60.0)
    found = driver(store, rollout)
    assert store.holder(rollout.id, time.time()) == found  # the lease of one that is gone is given back
    store.release(rollout.id, holder)
    return found


def set_by(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The clock is set: when a process was created, as a time of day, is another time by now."""
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + seconds)


@pytest.mark.parametrize("step", [0.0, 0.02, 3600.0, -86_400.0])
def test_a_driver_that_lives_drives_when_the_clock_was_set(
    store: Store, rollout: Rollout, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    me = owner()
    set_by(monkeypatch, step)
    assert held(store, rollout, me) == me
    assert owner() == me
    assert me.split(":")[:2] == [HERE, str(os.getpid())]  # benchmarks read the number there


@pytest.mark.parametrize(("step", "drives"), [(0.0, True), (5.0, True), (-5.0, True), (3600.0, False)])
def test_a_driver_of_an_older_lockgate_is_known_by_the_time_of_day(
    store: Store, rollout: Rollout, monkeypatch: pytest.MonkeyPatch, *, step: float, drives: bool
) -> None:
    old = f"{HERE}:{os.getpid()}:{psutil.Process().create_time():.2f}"
    set_by(monkeypatch, step)
    assert held(store, rollout, old) == (old if drives else "")


def test_who_has_ended_does_not_drive(
    store: Store, rollout: Rollout, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    created = psutil.Process(other.pid).create_time()
    with monkeypatch.context() as as_other:
        as_other.setattr(os, "getpid", lambda: other.pid)
        holder = owner()
    before = f"{HERE}:{other.pid}:{created:.2f}"
    assert [held(store, rollout, who) for who in (holder, before)] == [holder, before]
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has collected it
    assert [held(store, rollout, who) for who in (holder, before)] == ["", ""]
    other.wait()
    assert [held(store, rollout, who) for who in (holder, before)] == ["", ""]


def test_a_number_that_is_another_process_by_now_does_not_drive(store: Store, rollout: Rollout) -> None:
    pid, created = os.getpid(), psutil.Process().create_time()
    ticks = int(owner().split(":")[2])
    assert held(store, rollout, f"{HERE}:{pid}:{ticks - 1}") == ""
    assert held(store, rollout, f"{HERE}:{pid}:{created - 3600:.2f}") == ""


def test_of_another_host_nothing_is_known(store: Store, rollout: Rollout) -> None:
    assert held(store, rollout, "elsewhere:1:1") == "elsewhere:1:1"
