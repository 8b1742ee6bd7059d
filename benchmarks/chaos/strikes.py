"""What is done to whom: in the driver's process, at a site. `kill` and `freeze` are SIGKILL and SIGSTOP.

Whoever started the driver is told which processes were frozen, and for how long, and thaws them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.chaos import servers
from lockgate.services import processes

FULL = "full.bin"
"""The file that fills the home's file system."""
_SOME = 2**20
_HOLD = (
    "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None);"
    "db.execute('begin exclusive'); print('held', flush=True); time.sleep(float(sys.argv[2]))"
)


class Strikes:
    """`tell`: what is said to whoever started the driver, which may be dead the moment after."""

    def __init__(self, home: Path, tell: Callable[[dict[str, Any]], None]) -> None:
        self._home, self._tell = home, tell

    def __call__(self, arm: dict[str, Any]) -> None:
        getattr(self, f"_{arm['act']}")(arm)

    def possible(self, arm: dict[str, Any]) -> bool:
        """Replicas that are stable by now: one is struck only while another one answers; else nobody could."""
        if arm["who"] not in {"stable", "candidate", "candidates"}:
            return True
        answering = self._answering(arm["version"])
        if arm["who"] != "stable" and _about_to_be_all(arm):
            return False
        if arm["who"] == "candidates":
            return not answering
        return len(answering) > 1 or (arm["who"] == "candidate" and not answering)

    def _answering(self, version: str) -> list[str]:
        """Replicas of this version to which the router sends, by id."""
        served = next(self._home.glob("*/router/xds/eds_stable.json"), None)
        text = served.read_text(encoding="utf-8") if served else ""
        return [one for one, port in self._replicas(version).items() if f'"port_value": {port}' in text]

    def _kill(self, arm: dict[str, Any]) -> None:
        self._send(arm, signal.SIGKILL)

    def _freeze(self, arm: dict[str, Any]) -> None:
        self._send(arm, signal.SIGSTOP)

    def _send(self, arm: dict[str, Any], what: signal.Signals) -> None:
        pids = [process.pid for process in self._whom(arm)]
        told = {"struck": arm["point"], "pids": pids, "who": arm["who"], "seconds": arm["seconds"]}
        self._tell(told | {"frozen": what is signal.SIGSTOP})
        for pid in pids:
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                continue

    def _whom(self, arm: dict[str, Any]) -> list[psutil.Process]:
        if arm["who"] == "driver":
            return [psutil.Process()]
        if arm["who"] == "router":
            mine = str(self._home)
            return [p for p in psutil.process_iter() if _name(p) == "envoy" and mine in " ".join(_command(p))]
        if arm["who"] in servers.NAMES:
            return servers.of_stage(self._home.parent, arm["who"])
        ids = list(self._replicas(arm["version"]))
        return processes.of(ids if arm["who"] == "candidates" else ids[:1]) if ids else []

    def _replicas(self, version: str) -> dict[str, int]:
        """Ports of those that run and serve this version, by id, oldest first: which it is, the bento's tag says."""
        found, bentos = [], Path(os.environ["BENTOML_HOME"])
        for state in sorted(self._home.glob("*/replicas/replicas/*/state.json")):
            record = json.loads(state.read_text(encoding="utf-8"))
            runs = processes.runs(record["pid"], record["created"])
            if runs and version_of(record["bento"], bentos) == version:
                found.append((record["created"], record["id"], record["port"]))
        return {one: port for _, one, port in sorted(found)}

    def _fill(self, arm: dict[str, Any]) -> None:
        """No byte is left where everything of Lockgate lies: files, state, logs, captured traffic."""
        full, chunk = os.open(self._home / FULL, os.O_WRONLY | os.O_CREAT, 0o600), b"\0" * _SOME
        while chunk:
            try:
                if os.write(full, chunk) < len(chunk):
                    chunk = chunk[: len(chunk) // 2]
            except OSError:
                chunk = chunk[: len(chunk) // 2]
        os.close(full)
        self._tell({"struck": arm["point"], "full": True, "seconds": arm["seconds"]})

    def _lock(self, arm: dict[str, Any]) -> None:
        """The state database answers no write."""
        command = [sys.executable, "-S", "-c", _HOLD, str(self._home / "lockgate.db"), str(arm["seconds"])]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert holder.stdout is not None  # noqa: S101 - we asked for the pipe
        holder.stdout.readline()
        self._tell({"struck": arm["point"], "seconds": arm["seconds"]})


def _about_to_be_all(arm: dict[str, Any]) -> bool:
    """The candidate was promoted, and the routes in which nobody else answers are just being written."""
    return bool(arm["phase"].startswith("succeeded") and arm["site"].startswith("rename") and "/router/" in arm["site"])


def version_of(tag: str, bentos: Path) -> str:
    """`toy:v2` of a stand-in says it; of a bento, its labels do."""
    name, _, number = tag.partition(":")
    if number.startswith("v"):
        return number[1:]
    described = (bentos / "bentos" / name / number / "bento.yaml").read_text(encoding="utf-8")
    return str(yaml.safe_load(described)["labels"]["version"])


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
