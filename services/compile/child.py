"""The process that does one piece of work for `apart.call`."""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

from .apart import JOB, MARK, RESULT, Answer, kill

_PR_SET_PDEATHSIG = 1
_MOST = 300


def die_with_parent() -> None:
    """Nothing is left running when the search is killed: this process at once, what it started a moment later.

    The kernel ends only this process, so a fork of it waits until standard input, which the search holds, is closed.
    """
    session, mark = os.getpid(), os.environ.get(MARK, "")
    if os.fork() == 0:
        _guard(session, mark)
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):  # where memory ends, the kernel should take this process and not the search
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _guard(session: int, mark: str) -> None:
    os.dup2(2, 1)
    closed = select.poll()
    closed.register(0, 0)
    closed.poll()
    kill(session, mark, spare=os.getpid())
    os._exit(0)


def main() -> None:
    die_with_parent()
    os.dup2(2, 1)  # compilers print; all of it belongs into the log
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # and some ask
    folder = Path(sys.argv[1])
    try:
        value: object = pickle.loads((folder / JOB).read_bytes())()
        answer = Answer(good=True, module="", sentence="", value=pickle.dumps(value))
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises is the answer
        answer = _failed(error)
    scratch = folder / f"{RESULT}.part"
    scratch.write_bytes(pickle.dumps(answer))
    scratch.rename(folder / RESULT)
    os._exit(0)  # some compilers' threads and pools would hold the process for minutes


def _failed(error: Exception) -> Answer:
    """Without a module where the exception cannot be read again; its sentence then stands for it."""
    sentence = f"{type(error).__name__}: {' '.join(str(error).split())[:_MOST]}"
    try:
        value = pickle.dumps(error)
        pickle.loads(value)  # some exceptions can be written but not read
    except Exception:  # noqa: BLE001
        return Answer(good=False, module="", sentence=sentence, value=b"")
    return Answer(good=False, module=type(error).__module__, sentence=sentence, value=value)


if __name__ == "__main__":
    main()
