"""Processes of replicas. Each carries its replica's id in its environment, so that none is lost or mistaken.

`bentoml serve` is a supervisor and a worker, and the worker is in a session of its own: ending a process group would
leave it behind, and so does a supervisor that is killed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import psutil

from lockgate.services.compile.environment import handed_on

MARK = "LOCKGATE_REPLICA"
CAPTURE = "LOCKGATE_CAPTURE"
"""Names the folder where a replica keeps what it answers; without it, it keeps nothing."""
_LAST_LOOKS = 5
_LOOK_EVERY = 0.02
_OUR_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Kept so that nobody warns about a child that runs on: that is what it is for."""


def serve(tag: str, port: int, folder: Path, log: Path, about: Mapping[str, str]) -> psutil.Process:
    """`bentoml serve` in a session of its own, writing to `log`; it outlives this process.

    `about` are variables of its environment: `MARK`, without which it is lost, and `CAPTURE`.
    """
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **{name: value for name, value in handed_on(os.environ, folder).items() if name not in (MARK, CAPTURE)},
        **about,
        "BENTOML_HOME": str(folder / "bentoml"),
        "TMPDIR": str(folder / "tmp"),
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "1",
    }
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder / "tmp",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _collect()
    _OUR_CHILDREN.append(child)
    return psutil.Process(child.pid)


def free_port(taken: Collection[int]) -> int:
    """A loopback port that nobody listens on now; somebody may before the replica does, so its start is checked."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def runs(pid: int, created: float) -> bool:
    """Whether this very process lives: a process id alone may have been given to another since."""
    state, started = stat(pid)
    try:
        return state not in ("", "Z", "X") and started == _known(pid, created)
    except psutil.NoSuchProcess:
        return False


@lru_cache(maxsize=256)
def _known(pid: int, created: float) -> str:
    """When that one started, as `stat` tells it. Raises where the number is another's by now.

    Which is not kept: while the clock is being set, a process may seem to be of another time.
    """
    process = psutil.Process(pid)
    started = stat(pid)[1]
    if not started or abs(process.create_time() - created) >= 1 or not process.is_running():
        raise psutil.NoSuchProcess(pid)
    return started


def stat(pid: int) -> tuple[str, str]:
    """The state of a process, and when it started in ticks since the boot: both empty where there is none.

    No clock that is set moves the ticks; what psutil says does move. Linux only.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - asked every second, see `Records.get`
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended; of anything else nothing follows
        return "", ""
    return fields[0].decode(), fields[19].decode()


def of(replicas: Collection[str]) -> list[psutil.Process]:
    """Every process of these replicas."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) in replicas and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def roots(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those whose parent is not among them: the supervisors, and workers that lost theirs."""
    pids = {p.pid for p in processes}
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in pids:
                found.append(process)
    return found


def end(replicas: Collection[str], grace: float) -> None:
    """Ask all of them to finish, wait `grace` seconds for them together, then kill what is left."""
    members = of(replicas)
    for process in roots(members):
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _await(members, grace)
    for _ in range(_LAST_LOOKS):  # a supervisor may have started another worker meanwhile
        left = of(replicas)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _await(left, grace)
        if not left:
            break
    _collect()


def _collect() -> None:
    """Those that have ended, whoever ended them. Several threads may do it at once."""
    for child in [child for child in _OUR_CHILDREN if child.poll() is not None]:
        with contextlib.suppress(ValueError):
            _OUR_CHILDREN.remove(child)


def _await(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Until all have ended. One that its parent has not collected has: a container's first process may never do it."""
    deadline = time.monotonic() + seconds
    while any(map(_alive, processes)) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
