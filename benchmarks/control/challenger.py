"""From a set `@challenger` to the first request that is copied to it, by stage, as seen from outside.

Everything is real: `lockgate serve` with Prefect, MLflow on SQLite, a bento compiled for ONNX Runtime, clients through
Envoy. The challenger was compiled before with `lockgate compile`, so what is timed begins with a warm artifact cache.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
from rich.console import Console

from benchmarks.chaos.clients import Clients
from benchmarks.chaos.servers import free_port
from benchmarks.chaos.stage import NAME, Stage, opened, until
from benchmarks.control.fleet import DAY
from lockgate.flows.command import record
from lockgate.flows.drive import TICK
from lockgate.rollout.envoy.source import EnvoySource
from lockgate.rollout.errors import Fenced, RouterError, SourceDown
from lockgate.rollout.state import Commanded

STEPS = [{"shadow": {"percent": 100, "timeout": "30d", "hold": {"duration": "29d"}}}]
GATES = {"errors": {"metric": "error_rate"}, "latency": {"metric": "latency"}}
_RATE = 40.0
_LOOK_EVERY = 0.05
_WITHIN = 180.0
_SETTLED = 5.0
"""Seconds that one driver holds the lease before its CPU time is read, and `_WATCHED` for how many."""
_WATCHED = 20.0
_say = Console(stderr=True, highlight=False)


def measured(every: str = "60s") -> dict[str, float]:
    """`every`: seconds between two sweeps."""
    with opened({"steps": STEPS, "gates": GATES}, stand_in=False) as stage:
        for version in ("1", "2"):
            _say.print(f"compiling version {version}")
            stage.must("compile", str(stage.spec), "--version", version)
        stage.must("up", str(stage.spec))
        with Clients(stage.url, _RATE), _served(stage, every):
            _say.print("setting @challenger")
            found = _timed(stage)
            found |= _driver(stage)
            _over(stage)
        stage.must("down", str(stage.spec))
    return found


@contextmanager
def _served(stage: Stage, every: str) -> Iterator[None]:
    """`lockgate serve`, from when it has swept once."""
    port = free_port()
    service = stage.command("serve", str(stage.spec), "--every", every, "--port", str(port))
    try:
        until("it was swept once", lambda: _swept(f"http://127.0.0.1:{port}/api"), _WITHIN)
        yield
    finally:
        service.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.wait(30)


def _swept(url: str) -> bool:
    """Whether a run of any flow is over."""
    wanted = json.dumps({"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}).encode()
    request = urllib.request.Request(f"{url}/flow_runs/count", wanted, {"content-type": "application/json"})  # noqa: S310 - our own
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
        return int(answer.read()) > 0
    return False


def _log(stage: Stage) -> str:
    return (stage.root / "commands.log").read_text(encoding="utf-8", errors="replace")


def _timed(stage: Stage) -> dict[str, float]:
    """Seconds that each stage took, in the order in which they follow one another."""
    router, platform = stage.router(), stage.platform()
    before = {replica.id for replica in platform.replicas()}
    builds = len(list((stage.home.root / "builds").glob("*.json")))

    def rollout() -> bool:
        with stage.store() as store:
            return store.open_of(NAME) is not None

    def copied() -> bool:
        with contextlib.suppress(SourceDown):
            return EnvoySource(router).measure().shadow.requests > 0
        return False

    def mirrored() -> bool:
        with contextlib.suppress(RouterError):
            return router.applied().mirror > 0
        return False

    stages: dict[str, Callable[[], bool]] = {
        "noticed": rollout,
        "packaged": lambda: len(list((stage.home.root / "builds").glob("*.json"))) > builds,
        "started": lambda: any(replica.id not in before for replica in platform.replicas()),
        "ready": lambda: any(replica.id not in before and replica.ready for replica in platform.replicas()),
        "routed": mirrored,
        "copied": copied,
    }
    began = last = time.monotonic()
    stage.alias("challenger", "2")
    found = {}
    for name, came in stages.items():
        while not came():
            if time.monotonic() - began > _WITHIN:
                raise TimeoutError(f"not {name} within {_WITHIN:g} s; the log ends with:\n{_log(stage)[-3000:]}")
            time.sleep(_LOOK_EVERY)
        now = time.monotonic()
        found[f"stage_{name}_s"], last = round(now - last, 2), now
        _say.print(f"{name} after {now - began:.2f} s")
    return {"challenger_to_first_shadow_s": round(last - began, 2), **found}


def _driver(stage: Stage) -> dict[str, float]:
    """What the process that drives it takes at its real pace, at first and days later, and how soon it came."""
    copied = time.monotonic()
    holder, since = _settled(stage)
    process = psutil.Process(int(holder.split(":")[1]))
    young = _share(process, _WATCHED)
    _age(stage)
    return {
        "stage_driven_s": round(max(0.0, since - copied), 2),
        "core_share_at_first": young,
        "core_share_per_rollout": _share(process, 2 * _WATCHED),
        "driver_mib": round(process.memory_info().rss / 2**20, 1),
    }


def _share(process: psutil.Process, seconds: float) -> float:
    """CPU seconds a second."""
    before, began = _cpu(process), time.monotonic()
    time.sleep(seconds)
    return round((_cpu(process) - before) / (time.monotonic() - began), 4)


def _age(stage: Stage) -> None:
    """As if its step had begun days ago: then looks are half a minute apart. Its driver may look at this moment."""
    with stage.store() as store:
        [rollout] = store.rollouts(NAME)

        def aged() -> bool:
            progress = store.progress(rollout.id)
            if progress and time.time() - progress.began > DAY:
                return True
            if progress:
                with contextlib.suppress(Fenced):
                    store.save_progress(rollout.id, replace(progress, began=progress.began - 3 * DAY))
                time.sleep(2 * TICK)
            return False

        until("its step is old", aged, _WITHIN)


def _settled(stage: Stage) -> tuple[str, float]:
    """Who drives it, and since when: the process that released it gives the lease back first."""
    with stage.store() as store:
        [rollout] = store.rollouts(NAME)
        began = since = time.monotonic()
        holder = ""
        while not holder or time.monotonic() - since < _SETTLED:
            if (now := store.holder(rollout.id, time.time())) != holder:
                holder, since = now, time.monotonic()
            if time.monotonic() - began > _WITHIN:
                raise TimeoutError(f"nobody drives it within {_WITHIN:g} s; the log ends with:\n{_log(stage)[-3000:]}")
            time.sleep(_LOOK_EVERY)
    return holder, since


def _cpu(process: psutil.Process) -> float:
    of = process.cpu_times()
    return float(of.user + of.system)


def _over(stage: Stage) -> None:
    with stage.store() as store:
        [rollout] = store.rollouts(NAME)
        record(store, rollout, Commanded("abort", "benchmark"))
        until("the rollout is over", lambda: store.rollout(rollout.id).closed_at, _WITHIN)
