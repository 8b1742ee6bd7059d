"""Our router as `EnvoyRouter` starts it, and the same with pieces of its configuration taken away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.router.servers import Way, free_endpoint
from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.admin import Admin
from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Routes

Files = dict[str, Any]
"""By name: `bootstrap`, and the lists of resources `lds`, `cds` and `rds`."""
Change = Callable[[Files], None]
_XDS = ("lds", "cds", "rds")
_SECONDS_TO_START = 30.0


class Refused(Exception):
    """Envoy does not run with what was edited."""


@contextmanager
def router(name: str, folder: Path, routes: Routes) -> Iterator[Way]:
    made, address = _made(folder)
    made.start(routes)
    try:
        yield Way(name, address, (_running(made.at).pid,))
    finally:
        made.stop()


@contextmanager
def edited(name: str, folder: Path, routes: Routes, change: Change) -> Iterator[Way]:
    """`change` edits what was written; Envoy is then started anew with that. Raises `Refused`."""
    at, address, _ = written(folder, routes, change)
    begun = process.spawn(at)
    try:
        await_serving(at)
        yield Way(name, address, (begun.pid,))
    finally:
        process.end(begun, at)


def written(folder: Path, routes: Routes, change: Change) -> tuple[Folder, str, list[str]]:
    """The files of a router that ran, edited; the address that they listen on, and its command line."""
    made, address = _made(folder)
    made.start(routes)
    command = _running(made.at).cmdline()
    made.stop()
    _edit(made.at, change)
    return made.at, address, command


def await_serving(at: Folder, seconds: float = _SECONDS_TO_START) -> None:
    """Until it has taken up everything. Raises `Refused`."""
    deadline = time.monotonic() + seconds
    admin = Admin(at)
    while not admin.ready():
        if time.monotonic() > deadline:
            raise Refused(f"Envoy does not start: {_log(at)}")
        time.sleep(0.05)
    refused = admin.numbers_and_texts(r"update_(rejected|failure)$")
    if any(int(count) for count in refused.values()):
        raise Refused(f"Envoy refused a file: {_log(at)}")


def _made(folder: Path) -> tuple[EnvoyRouter, str]:
    traffic = Traffic.model_validate({"listen": str(free_endpoint()), "metrics": str(free_endpoint())})
    return EnvoyRouter(folder, traffic), traffic.listen


def _running(at: Folder) -> psutil.Process:
    if (found := process.find(at)) is None:
        raise Refused(f"Envoy ended: {_log(at)}")
    return found


def _edit(at: Folder, change: Change) -> None:
    paths = {name: at.xds / f"{name}.json" for name in _XDS}
    contents = {name: json.loads(path.read_bytes()) for name, path in paths.items()}
    files: Files = {name: content["resources"] for name, content in contents.items()}
    files["bootstrap"] = json.loads(at.bootstrap.read_bytes())
    change(files)
    for name, path in paths.items():
        path.write_text(json.dumps(contents[name] | {"resources": files[name]}), encoding="utf-8")
    at.bootstrap.write_text(json.dumps(files["bootstrap"]), encoding="utf-8")


def _log(at: Folder) -> str:
    return at.envoy_log.read_text(errors="replace")[-2000:] if at.envoy_log.exists() else ""
