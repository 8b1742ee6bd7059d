"""The process that does one piece of work for `apart.call`."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from contextlib import suppress
from pathlib import Path

from .apart import JOB, RESULT
from .errors import Lost

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Nothing is left running when the search is killed."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    die_with_parent()
    os.dup2(2, 1)  # compilers print; all of it belongs into the log
    folder = Path(sys.argv[1])
    try:
        answer = (True, pickle.loads((folder / JOB).read_bytes())())
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises is the answer
        answer = (False, error)
    scratch = folder / f"{RESULT}.part"
    scratch.write_bytes(_pickled(answer))
    scratch.rename(folder / RESULT)
    os._exit(0)  # some compilers' threads and pools would hold the process for minutes


def _pickled(answer: tuple[bool, object]) -> bytes:
    try:
        data = pickle.dumps(answer)
        pickle.loads(data)  # some exceptions can be written but not read
    except Exception:  # noqa: BLE001
        error = answer[1]
        return pickle.dumps((False, Lost(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")))
    return data


if __name__ == "__main__":
    main()
