"""The Prometheus program, where it is installed: loopback, data in a folder of ours, ended with us.

Where we are killed, the next one of us ends it: two cannot have one folder of data.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from lockgate.flows.errors import MissingPart
from lockgate.flows.observing.scraping import duration

PROGRAM = "prometheus"
GET_IT = (
    "Prometheus is not installed (Debian, Ubuntu: `apt install prometheus`; others: https://prometheus.io/download);"
    " one of your own can read the same configuration"
)
_READY_WITHIN = 30.0
_END_WITHIN = 20.0
_LINES = 5


def program() -> str | None:
    """Where it is, if it is installed."""
    return shutil.which(PROGRAM)


@contextmanager
def prometheus(at: Path, listen: str, keep: float) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it is ready. `at`: the folder with its configuration, which is ours. `keep`: seconds.

    Raises `MissingPart` when it is not installed, or ends, with the last lines of its log.
    """
    found = program()
    if found is None:
        raise MissingPart(GET_IT)
    data = f"--storage.tsdb.path={at / 'data'}"
    for left in _running(data):
        end(left)
    command = [
        found,
        f"--config.file={at / 'prometheus.yml'}",
        data,
        f"--storage.tsdb.retention.time={duration(keep)}",
        f"--web.listen-address={listen}",
        "--log.level=warn",
    ]
    with (at / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _await_ready(process, at, listen)
        yield process
    finally:
        end(process)


def ended(process: subprocess.Popen[bytes], at: Path) -> MissingPart | None:
    """Why it does not run any more, if it does not."""
    if process.poll() is None:
        return None
    lines = (at / "prometheus.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = "\n".join(lines[-_LINES:])
    return MissingPart(f"Prometheus ended with code {process.returncode}. {at / 'prometheus.log'} ends with:\n{said}")


def _await_ready(process: subprocess.Popen[bytes], at: Path, listen: str) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    url = f"http://{local(listen)}/-/ready"
    while time.monotonic() < deadline:
        if reason := ended(process, at):
            raise reason
        try:
            if httpx.get(url, timeout=2, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise MissingPart(f"Prometheus was not ready on {listen} within {_READY_WITHIN:g} s; see {at / 'prometheus.log'}")


def local(listen: str) -> str:
    """How this machine reaches what listens there."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]", ""} else listen  # noqa: S104 - compared, never bound


def _running(data: str) -> list[psutil.Process]:
    """Prometheus on this folder of data, which somebody who was killed has left."""
    every = psutil.process_iter(["name", "cmdline"])
    return [one for one in every if one.info["name"] == PROGRAM and data in (one.info["cmdline"] or ())]


def end(process: subprocess.Popen[bytes] | psutil.Process) -> None:
    """Whatever it takes."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(_END_WITHIN)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            process.kill()
            process.wait()
