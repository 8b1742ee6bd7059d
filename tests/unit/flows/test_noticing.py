"""What makes a challenger's first copy come sooner: it is noticed beside the sweeps, and copied to without a driver."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ObjectNotFound

from lockgate.flows import noticing, pipeline
from lockgate.flows.beside import beside
from lockgate.flows.drive import begin_shadow
from lockgate.rollout.controller import Controller
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Counts, Endpoint, Phase, Routes

SIDES = {side: (Endpoint("127.0.0.1", port),) for port, side in enumerate(("stable", "candidate"), 1)}
SHADOW, CANARY = {"shadow": {"percent": 100}}, {"canary": {"weight": 5}}


def test_a_look_that_fails_is_said_once_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    stop, asked = threading.Event(), list[list[str]]()

    def notice(specs: list[str], _tried: dict[str, str]) -> None:
        asked.append(specs)
        if len(asked) == 4:
            stop.set()
        raise OSError("Prefect does not answer")

    with caplog.at_level(logging.WARNING):
        noticing.look(["a.yaml"], notice, stop, every=0.001)
    assert asked == [["a.yaml"]] * 4
    assert [record.message for record in caplog.records] == [
        "a new challenger waits for the next sweep: Prefect does not answer"
    ]


def test_a_challenger_is_released_once_however_often_it_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    begun: list[str] = []

    async def start(deployment: str, parameters: dict[str, Any], key: str) -> None:
        assert (deployment, parameters) == ("release/release", {"spec": "a.yaml"})
        begun.append(key)

    async def underway(keys: list[str], _now: float) -> bool:
        return any(key in begun for key in keys)

    monkeypatch.setattr(pipeline, "_start", start)
    monkeypatch.setattr(pipeline, "_underway", underway)
    monkeypatch.setattr(pipeline, "_challengers", lambda specs, _say: [(spec, "toy:2:abc:0") for spec in specs])
    assert pipeline.notice(["a.yaml"], {}) == 1
    assert pipeline.notice(["a.yaml"], {}) == 0
    assert asyncio.run(pipeline.sweep_flow.fn(["a.yaml"])) == 0
    assert len(begun) == 1


def test_a_release_that_failed_is_left_to_the_sweeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each costs a process, and what fails before it opens a rollout leaves the same challenger behind."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    begun, missing = list[str](), [ObjectNotFound(OSError("404"))]

    async def start_once(_deployment: str, parameters: dict[str, str], key: str, _now: float) -> bool:
        if missing:
            raise missing.pop()
        begun.append(f"{parameters['spec']} {key}")
        return True

    keys = {"a.yaml": "a:2:0", "b.yaml": "b:7:0"}
    monkeypatch.setattr(pipeline, "start_once", start_once)
    monkeypatch.setattr(pipeline, "_challengers", lambda specs, _say: [(spec, keys[spec]) for spec in specs])
    tried: dict[str, str] = {}
    assert pipeline.notice(list(keys), tried) == 0  # nothing is registered yet: no try
    assert pipeline.notice(list(keys), tried) == 2
    assert pipeline.notice(list(keys), tried) == 0
    keys["b.yaml"] = "b:8:0"
    assert pipeline.notice(list(keys), tried) == 1
    assert begun == ["a.yaml a:2:0", "b.yaml b:7:0", "b.yaml b:8:0"]


HOLDS = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print(flush=True); input()"


def test_who_gives_up_waiting_for_a_sweep_keeps_no_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setattr(pipeline, "_WITHIN", 0.3)
    monkeypatch.setattr(pipeline, "_challengers", lambda specs, _say: [(spec, "toy:2") for spec in specs])
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sweep:
        assert sweep.stdout
        sweep.stdout.readline()
        late = threading.Timer(5, sweep.terminate)  # so that a notice that waits on comes back
        late.start()
        with pytest.raises(TimeoutError):
            pipeline.notice(["a.yaml"], {})
        late.cancel()
        assert sweep.poll() is None, "it came back while the lock was held"
        sweep.communicate(b"\n")
    lock = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(lock)


def test_what_hangs_keeps_no_process_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    hangs = threading.Event()
    with beside(lambda _stop: hangs.wait(60), "challengers", within=0.01):
        pass
    hangs.set()
    assert "challengers did not end within 0.01 s" in caplog.text


class Plane:
    full = False

    def __init__(self) -> None:
        self.routes = Routes(SIDES["stable"])

    def applied(self) -> Routes:
        return self.routes

    def apply(self, routes: Routes, *_: object) -> bool:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.routes = routes
        return True

    def measure(self) -> Counts:
        return Counts()


@dataclass
class Town:
    """A rollout that is built, and the little of a world that its first tick needs."""

    store: Store
    rollout: Rollout
    router: Plane

    @property
    def source(self) -> Plane:
        return self.router

    def sides(self, _facts: object) -> dict[str, tuple[Endpoint, ...]]:
        return SIDES

    def begin(self) -> None:
        begin_shadow(self, self.rollout, "me")  # type: ignore[arg-type]


@pytest.fixture
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    first = getattr(request, "param", SHADOW)
    spec = RolloutSpec.model_validate(
        {
            "traffic": {"listen": "127.0.0.1:1", "metrics": "127.0.0.1:2"},
            "steps": [first, {"canary": {"weight": 50}}],
            "gates": {"errors": {"metric": "error_rate"}},
        }
    )
    now = time.time()
    with closing(Store(f"sqlite:///{tmp_path / 'store.db'}")) as store:
        rollout = Rollout("r", "toy", spec, {}, {}, now, None)
        store.open(rollout, now)
        store.append(rollout, store.last("r"), Built({}), now)
        yield Town(store, rollout, Plane())


def test_copies_begin_before_there_is_a_driver(town: Town) -> None:
    town.begin()
    assert town.store.last("r").state.phase is Phase.PROGRESSING
    assert town.router.routes.mirror == 10_000
    assert town.store.progress("r") is not None
    assert town.store.holder("r", time.time()) == "me"


@pytest.mark.parametrize("town", [CANARY], indirect=True)
def test_nothing_else_begins_before_there_is_a_driver(town: Town) -> None:
    """Clients are given no candidate that nobody watches."""
    town.begin()
    assert town.router.routes == Routes(SIDES["stable"])
    assert town.store.progress("r") is None
    assert town.store.holder("r", time.time()) == ""


def test_what_a_driver_has_begun_is_judged_by_drivers_alone(town: Town) -> None:
    """Only they observe: a look without observations would use its span up."""
    controller = Controller(town.rollout, town.store, town.router, town.router, lambda: SIDES)
    for second in (300, 299):
        controller.tick("driver", time.time() - second)
    town.store.release("r", "driver")
    before = town.store.progress("r"), list(town.store.looks("r"))
    assert before[0] is not None
    town.begin()
    assert (town.store.progress("r"), list(town.store.looks("r"))) == before


def test_a_full_disk_leaves_the_first_tick_to_the_driver(town: Town) -> None:
    town.router.full = True
    town.begin()
    assert town.store.last("r").state.phase is Phase.PROGRESSING
    assert town.store.progress("r") is None
