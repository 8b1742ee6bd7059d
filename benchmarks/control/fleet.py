"""Many open rollouts in one store, each days old, in front of one real Envoy.

One rollout lives through its days for real: every look is a real measuring of Envoy, judged by the real analysis. The
others are copies of its rows, with ids of their own and looks that fall due at other seconds. They share the Envoy,
because each takes 60 MiB; so what a rollout reads is what all of them ended, and the work is the same. The only thing
in between is `Shared`, which gives each rollout back its own salt.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.chaos import replica
from benchmarks.chaos.clients import Clients
from benchmarks.chaos.servers import free_port
from lockgate.rollout.controller import Controller
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.envoy.source import EnvoySource
from lockgate.rollout.ports import always
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Endpoint, Routes

DAY = 86_400.0
BEGAN = 1_700_000_000.0
ME = "benchmark"
_FIRST = "r0"
_DUE_WITHIN = 30
"""Seconds: looks of a step that is days old are so far apart."""
_RATE = 40.0
_STEP = {"until": "held", "timeout": "30d"}
_SPEC = {
    "steps": [
        {"shadow": {"percent": 100, **_STEP, "hold": {"duration": "1d"}}},
        {"canary": {"weight": 25, **_STEP, "hold": {"duration": "1d"}}},
        {"canary": {"weight": 50, **_STEP, "hold": {"duration": "29d"}}},
    ],
    "gates": {
        "errors": {"metric": "error_rate"},
        "latency": {"metric": "latency", "quantile": 0.99},
        "median": {"metric": "latency", "quantile": 0.5},
    },
}


class Shared:
    """One Envoy as each of many rollouts would see its own."""

    def __init__(self, router: EnvoyRouter, salt: str) -> None:
        self._router, self._salt = router, salt

    def applied(self) -> Routes:
        return replace(self._router.applied(), salt=self._salt)

    def apply(self, routes: Routes, still: Callable[[], bool] = always) -> bool:
        return self._router.apply(routes, still)


@dataclass
class Place:
    """An Envoy with replicas behind it and clients before it."""

    folder: Path
    router: EnvoyRouter
    sides: Mapping[str, tuple[Endpoint, ...]]
    spec: RolloutSpec

    def controller(self, store: Store, name: str) -> Controller:
        found, router = store.rollout(name), Shared(self.router, name)
        return Controller(found, store, router, EnvoySource(self.router), lambda: self.sides)


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Two replicas of plain Python on each side; nothing of it is left when the `with` ends."""
    ports = {side: [free_port(), free_port()] for side in ("stable", "candidate")}
    traffic = {"listen": f"127.0.0.1:{free_port()}", "metrics": f"127.0.0.1:{free_port()}"}
    spec = RolloutSpec.model_validate({**_SPEC, "traffic": traffic})
    sides = {side: tuple(Endpoint("127.0.0.1", port) for port in sorted(of)) for side, of in ports.items()}
    started = [
        subprocess.Popen([sys.executable, "-I", "-S", replica.__file__, str(port), str(port), side, str(version)])
        for version, (side, of) in enumerate(ports.items(), 1)
        for port in of
    ]
    router = EnvoyRouter(folder / "router", spec.traffic)
    try:
        router.start(Routes(sides["stable"]))
        with Clients(f"http://{traffic['listen']}/predict", _RATE):
            yield Place(folder, router, sides, spec)
    finally:
        router.stop()
        for process in started:
            process.terminate()
            process.wait()


def lived(at: Place, looks: int) -> tuple[Path, float]:
    """A store with one rollout that is three days old, after about so many looks; and when that is."""
    file = at.folder / f"lived-{looks}.db"
    with closing(Store(f"sqlite:///{file}")) as store:
        rollout = Rollout(_FIRST, _FIRST, at.spec, {}, {}, BEGAN, None)
        store.open(rollout, BEGAN)
        store.append(rollout, store.last(_FIRST), Built({}), BEGAN)
        controller, now = at.controller(store, _FIRST), BEGAN
        while now < BEGAN + 3 * DAY:
            now += max(3 * DAY / looks, _DUE_WITHIN)
            controller.tick(ME, now)
    return file, now


def copied(file: Path, to: Path, rollouts: int, looks: int) -> list[str]:
    """`file` with so many rollouts, each with the last `looks` of its looks. Their names."""
    names = [f"r{number}" for number in range(rollouts)]
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(to)) as db, db:
        source.backup(db)
        db.execute("delete from lockgate_looks where number <= (select max(number) from lockgate_looks) - ?", (looks,))
        for number, name in enumerate(names[1:], 1):
            for table in ("rollouts", "events", "leases", "progress", "looks"):
                _copy(db, f"lockgate_{table}", name, number)
    return names


def _copy(db: sqlite3.Connection, table: str, name: str, number: int) -> None:
    """Its next look falls due at another second than the others'."""
    columns = [row[1] for row in db.execute(f"pragma table_info({table})")]
    key = "id" if table.endswith("rollouts") else "rollout"
    earlier = f"json_set(document, '$.at', json_extract(document, '$.at') - {number % _DUE_WITHIN})"
    values = {key: f"'{name}'", "model": f"'{name}'", "document": earlier if table.endswith("progress") else "document"}
    taken = ", ".join(values.get(column, column) for column in columns)
    db.execute(f"insert into {table} ({', '.join(columns)}) select {taken} from {table} where {key} = '{_FIRST}'")  # noqa: S608 - our own names
