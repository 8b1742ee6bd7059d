"""Work in a process of its own, under limits: what crashes, hangs or eats the memory there loses only itself."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from .errors import Lost
from .words import Limits

T = TypeVar("T")
Process = subprocess.Popen[bytes]

JOB, RESULT, LOG = "job.pkl", "result.pkl", "log"
_LOOK_EVERY = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LAST_LINES = 4


def call(work: Callable[[], T], folder: Path, limits: Limits, environment: Mapping[str, str] | None = None) -> T:
    """What `work` returns, or raises: both pickled by a child process, and `work` too. `folder` is for its files.

    Raises `Lost` when the child ends without a word, takes longer than `limits.seconds` or more than `limits.memory`
    bytes resident, its children's counted in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).write_bytes(pickle.dumps(work))
    with started("child", [str(folder)], folder / LOG, environment or {}) as process:
        watch(process, limits)
    try:
        good, value = pickle.loads((folder / RESULT).read_bytes())
    except OSError:
        raise Lost(f"its process {how_it_ended(process.returncode)}{last_words(folder / LOG)}") from None
    if not good:
        raise value
    found: T = value
    return found


@contextmanager
def started(module: str, arguments: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    """`python -m` one of this package's modules in a session of its own, which is gone at the end."""
    package = __name__.rpartition(".")[0]
    paths = os.pathsep.join(path for path in sys.path if path)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{package}.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            env={**os.environ, "PYTHONPATH": paths, **environment},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def watch(process: Process, limits: Limits) -> None:
    """Until it ends by itself. Raises `Lost` at a limit; the process is then ended by who started it."""
    deadline = time.monotonic() + limits.seconds
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise Lost(f"took longer than {limits.seconds:g} s and was ended")
        check_memory(process, limits)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_EVERY)


def check_memory(process: Process, limits: Limits) -> None:
    if (taken := resident(process.pid)) > limits.memory:
        raise Lost(f"took {taken / 2**30:.2f} GiB of memory, {limits.memory / 2**30:.2f} GiB is the limit, and was ended")


def end(process: Process) -> None:
    """It and all of its session; compilers that it started too."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    for pid in _session(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def resident(session: int) -> int:
    """Bytes resident in all processes of a session."""
    total = 0
    for pid in _session(session):
        with suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    return total


def _session(session: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only, twenty times a second
        if entry.isdigit():
            with suppress(OSError):
                if os.getsid(int(entry)) == session:
                    found.append(int(entry))
    return found


def how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def last_words(log: Path) -> str:
    """The end of what it said, on one line; empty when it said nothing."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
    except OSError:
        return ""
    said = " ".join(" ".join(lines).split())
    return f"; its last words: {said[-300:]}" if said else ""
