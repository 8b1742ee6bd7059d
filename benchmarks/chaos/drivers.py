"""Starts drivers in no time: python -m benchmarks.chaos.drivers. Has everything imported, and forks one for each order.

A driver is what `lockgate run` is: `release`, then `drive`, in a process and a session of its own. Orders and reports
are lines of JSON. Time runs faster in it: ticks, looks and leases are shorter, so that a rollout takes seconds.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos import replica
from benchmarks.chaos.sites import Sites
from benchmarks.chaos.strikes import Strikes
from lockgate.flows import drive as driving
from lockgate.flows import evidence, stable
from lockgate.flows import release as releasing
from lockgate.flows.build import build
from lockgate.flows.capture import configure
from lockgate.flows.evidence import Evidence
from lockgate.flows.exits import code_of, code_of_end
from lockgate.flows.home import Home
from lockgate.flows.lease import owner
from lockgate.flows.outbox import Outbox
from lockgate.flows.spec import Spec, load
from lockgate.flows.world import world
from lockgate.monitoring.prometheus import Prometheus
from lockgate.registry.client import quiet_mlflow
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.words import ModelVersion
from lockgate.rollout import controller, database, progress, store
from lockgate.rollout.envoy.logs import rotate
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.services import local, processes
from lockgate.services.compile.words import ParityEvidence
from lockgate.services.package import packaged
from lockgate.services.words import Bento, Build

CRASHED = 70
"""Exit code of a driver that ended with an error which nobody foresaw."""
LEASE = 1.0
_TICK, _LOOK, _BUSY = 0.1, 0.2, 0.3
_LOG = 4 * 2**20
"""Bytes of an access log, so that it is moved aside now and then."""
_REAP_EVERY = 0.005


def main() -> None:
    """Serve orders until the input ends."""
    quiet_mlflow()
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.tracking  # noqa: F401 - what each driver would wait for

    if "PREFECT_API_URL" in os.environ:
        import prefect.artifacts  # noqa: F401

    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    _say({"ready": os.getpid()})
    children: set[int] = set()
    held = b""
    while True:
        if selector.select(_REAP_EVERY if children else None):
            if not (came := os.read(0, 2**16)):
                return
            *orders, held = (held + came).split(b"\n")
            for order in orders:
                children.add(_fork(json.loads(order)))
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.discard(pid)
                _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def _fork(order: dict[str, Any]) -> int:
    if pid := os.fork():
        _say({"started": pid, "order": order["order"]})
        return pid
    try:
        code = _child(order)
    except BaseException:  # noqa: BLE001 - a fork must never return into the loop above
        traceback.print_exc()
        code = CRASHED
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _child(order: dict[str, Any]) -> int:
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, standing_in in enumerate((nothing, log, log)):
        os.dup2(standing_in, number)
    home = os.environ["LOCKGATE_HOME"]
    told = os.open(order["told"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    sites = Sites(order["arms"], told, home)
    sites.strike = strikes = Strikes(Path(home), sites.tell)
    sites.possible = strikes.possible
    if order.get("hurry", True):
        _hurry()
    if order["stand_in"]:
        _stand_in()
    _watch(sites)
    return _up(Path(order["spec"])) if order["up"] else _drive(Path(order["spec"]))


def _up(spec: Path) -> int:
    """As `lockgate up`: the same lines."""
    with world(load(spec)) as it:
        configure(it.home, it.spec)
        version = it.registry.resolve(it.spec.model.name, it.spec.model.stable)
        releasing.serve_stable(it, stable.stable_bento(it, version, print), print)
    return 0


def _drive(spec: Path) -> int:
    """As `lockgate run`: the same lines."""
    try:
        with world(load(spec)) as it, Outbox() as outbox:
            me = owner()
            rollout = releasing.release(it, me, print)
            shown: driving.Watcher = lambda _event, _progress: None  # noqa: E731
            if "PREFECT_API_URL" in os.environ:  # as in a flow run
                shown = Evidence(it.store, rollout, outbox, os.environ["MLFLOW_TRACKING_URI"])
            return int(code_of_end(driving.drive(it, rollout, me, shown, outbox=outbox)))
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        print(f"{type(error).__name__}: {error}", flush=True)
        return code


def _watch(sites: Sites) -> None:
    sites.watch(store.Store, "open", "open_of", "append", "last", "lease", "release")
    sites.watch(store.Store, "save_progress", "note", "close_rollout")
    sites.watch(EnvoyRouter, "start", "start_again", "apply", "stop")
    sites.watch(MlflowRegistry, "assign", "_point", "annotate", "record", "announce")
    sites.watch(local.LocalPlatform, "start", "stop")
    sites.watch(Prometheus, "read")
    sites.watch(evidence, "_send")
    sites.listen()


def _hurry() -> None:
    """Time runs faster, and logs grow sooner."""
    slow = database._pragmas  # noqa: SLF001

    def impatient(connection: sqlite3.Connection, record: Any) -> None:
        slow(connection, record)
        connection.execute(f"pragma busy_timeout={int(_BUSY * 1000)}")

    _instead("TICK", driving.TICK, _TICK)
    _instead("LEASE", controller.LEASE, LEASE)
    _instead("SHORTEST", progress.SHORTEST, _LOOK)
    _instead("rotate", rotate, functools.partial(rotate, largest=_LOG))
    _instead("_LOOK_EVERY", local._LOOK_EVERY, _TICK / 5)  # noqa: SLF001
    _instead("_pragmas", slow, impatient)


def _stand_in() -> None:
    """Replicas of plain Python in place of bentos: nothing is compiled, and a start takes a tenth of a second."""
    _instead("serve", processes.serve, _served)
    _instead("build", build, _built)
    _instead("packaged", packaged, _packaged)


def _instead(name: str, before: Any, after: Any) -> None:
    """In this process only, and in every module of Lockgate that took it by this name."""
    ours = [module for found, module in sys.modules.items() if found.startswith("lockgate.")]
    for module in [module for module in ours if getattr(module, name, None) is before]:
        setattr(module, name, after)


def _served(tag: str, port: int, folder: Path, log: Path, about: Mapping[str, str]) -> psutil.Process:
    """See `processes.serve`."""
    bento = _packaged(tag)
    words = [about[processes.MARK], bento.digest, bento.version]
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", replica.__file__, str(port), *words],
            cwd=folder / "tmp",
            env={**os.environ, **about},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    processes._OUR_CHILDREN.append(child)  # noqa: SLF001
    return psutil.Process(child.pid)


def _packaged(tag: str) -> Bento:
    version = tag.partition(":v")[2]
    return Bento(tag, "toy", version, f"digest-{version}", "onnxruntime")


def _built(_spec: Spec, version: ModelVersion, _home: Home, _say: object) -> Build:
    return Build(_packaged(f"toy:v{version.version}"), ParityEvidence(1, 0.0, 0.0, 1.0, "y", passed=True))


if __name__ == "__main__":
    main()
