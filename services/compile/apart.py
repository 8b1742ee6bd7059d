"""Work in a process of its own, under limits: what crashes, hangs or eats the memory there loses only itself."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .environment import handed_on
from .errors import Lost
from .words import Limits

T = TypeVar("T")
Process = subprocess.Popen[bytes]

JOB, RESULT, LOG = "job.pkl", "result.pkl", "log"
MARK = "LOCKGATE_APART"
"""In the environment of everything that a child starts, whatever session it goes to."""
_LOOK_EVERY = 0.05
_LAST_LOOKS = 5
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LAST_LINES = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """`value` is pickled: reading an exception of some library would import that library here."""

    good: bool
    module: str
    sentence: str
    value: bytes


def call(work: Callable[[], T], folder: Path, limits: Limits, environment: Mapping[str, str] | None = None) -> T:
    """What `work` returns, or raises: both pickled by a child process, and `work` too. `folder` is for its files.

    Raises `Lost` when the child ends without a word, takes longer than `limits.seconds` or more than `limits.memory`
    bytes resident, its children's counted in, and for exceptions of modules that are not loaded here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).write_bytes(pickle.dumps(work))
    with started("child", [str(folder)], folder / LOG, environment or {}) as process:
        watch(process, limits)
    try:
        answer: Answer = pickle.loads((folder / RESULT).read_bytes())
    except OSError:
        raise Lost(f"its process {how_it_ended(process.returncode)}{last_words(folder / LOG)}") from None
    if not answer.good and answer.module not in sys.modules:
        raise Lost(f"it raised {answer.sentence}")
    found: T = pickle.loads(answer.value)
    if isinstance(found, BaseException) and not answer.good:
        raise found
    return found


@contextmanager
def started(module: str, arguments: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    """`python -m` one of this package's modules in a session of its own; with all that it started, gone at the end."""
    package = __name__.rpartition(".")[0]
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    mark = uuid.uuid4().hex
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{package}.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            env={**handed_on(os.environ), "PYTHONPATH": paths, **environment, MARK: mark},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process, mark)


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
        raise Lost(
            f"took {taken / 2**30:.2f} GiB of memory, {limits.memory / 2**30:.2f} GiB is the limit, and was ended"
        )


def end(process: Process, mark: str) -> None:
    """It, all of its session, and what it started in sessions of their own: compilers have children too."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    kill(process.pid, mark)
    process.wait()


def kill(session: int, mark: str, spare: int = 0) -> None:
    """Several looks: a process may be starting another one while it is looked for."""
    killed: set[int] = set()
    for _ in range(_LAST_LOOKS):
        found = {*_session(session), *_marked(mark)} - killed - {spare}
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found


def resident(session: int) -> int:
    """Bytes resident in all processes of a session."""
    total = 0
    for pid in _session(session):
        with suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    return total


def _pids() -> Iterator[int]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only, twenty times a second
        if entry.isdigit():
            yield int(entry)


def _session(session: int) -> list[int]:
    found = []
    for pid in _pids():
        with suppress(OSError):
            if os.getsid(pid) == session:
                found.append(pid)
    return found


def _marked(mark: str) -> list[int]:
    found, wanted = [], f"{MARK}={mark}".encode()
    for pid in _pids():
        with suppress(OSError):  # gone, or another user's
            if wanted in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
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
