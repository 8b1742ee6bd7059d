"""The process of the feedback server: started once, found again by its command line."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from lockgate.rollout.envoy.process import alive
from lockgate.services.compile.environment import handed_on

_MODULE = "lockgate.monitoring.feedback.server"
_SECONDS_TO_START = 20.0
"""And to answer again: it may be busy, and whoever is being answered loses the answer when it is ended."""
_MISSES = 3
"""At the least: the looker itself may have been asleep."""
_SECONDS_TO_ANSWER = 3.0
"""A healthy one answers in milliseconds, and behind a slow disk in less than this."""
_PAUSE = 0.02
_OUR_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Kept so that nobody warns about a child that runs on: that is what it is for."""


def find(folder: Path) -> psutil.Process | None:
    """The server that runs for this folder, whoever started it."""
    for child in _OUR_CHILDREN:
        child.poll()
    with contextlib.suppress(OSError, ValueError):
        if noted := _ours(folder, int(_pid(folder).read_text())):
            return noted
    # Its starter may have been killed before it could write the number down.
    found = next((found for pid in psutil.pids() if (found := _ours(folder, pid))), None)
    if found:
        _pid(folder).write_text(str(found.pid))
    return found


def spawn(folder: Path, at: Path) -> psutil.Process:
    """Start it in a session of its own, so that it survives the end of this process and of its group."""
    log = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(folder), str(at)],
            cwd=folder,
            env=handed_on(os.environ),  # it reads what anybody sends: the fewer secrets it knows, the better
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    _OUR_CHILDREN.append(child)
    _pid(folder).write_text(str(child.pid))
    return psutil.Process(child.pid)


def answers(at: Path) -> bool:
    """Whether it says anything in time; that its database is in trouble is an answer too."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(_SECONDS_TO_ANSWER)
        connected.connect(str(at))
        connected.sendall(b"GET /ready HTTP/1.1\r\nhost: feedback\r\nconnection: close\r\n\r\n")
        return connected.recv(16).startswith(b"HTTP/1.1 ")
    return False


def comes_up(process: psutil.Process, at: Path) -> bool:
    """Wait for its answer, until it has ended or its time is over."""
    deadline, misses = time.monotonic() + _SECONDS_TO_START, 0
    while not answers(at):
        misses += 1
        if not alive(process) or (misses >= _MISSES and time.monotonic() > deadline):
            return False
        time.sleep(_PAUSE)
    return True


def last_words(folder: Path) -> str:
    lines = _log(folder).read_text(errors="replace").splitlines()
    return f"{lines[-1]} (see {_log(folder)})" if lines else f"see {_log(folder)}"


def _ours(folder: Path, pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        ours = process.cmdline()[1:4] == ["-m", _MODULE, str(folder)] and process.uids().real == os.getuid()
    except psutil.Error:
        return None
    return process if ours and alive(process) else None


def _pid(folder: Path) -> Path:
    return folder / "server.pid"


def _log(folder: Path) -> Path:
    return folder / "server.log"
