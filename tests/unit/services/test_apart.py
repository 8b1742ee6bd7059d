"""Work in a process of its own: its answer, its exceptions, and its limits."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lockgate.services.compile import apart
from lockgate.services.compile.apart import call
from lockgate.services.compile.errors import Lost
from lockgate.services.compile.words import Limits

LIMITS = Limits(seconds=30, memory=500 * 2**20)


def test_the_answer_comes_back(tmp_path: Path) -> None:
    assert call(partial(pow, 2, 10), tmp_path, LIMITS) == 1024
    assert call(os.getpid, tmp_path, LIMITS) != os.getpid()
    assert call(partial(os.getenv, "TOYS"), tmp_path, LIMITS, {"TOYS": "yes"}) == "yes"


def test_an_exception_comes_back_as_itself(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid literal for int"):
        call(partial(int, "x"), tmp_path, LIMITS)


def test_an_exception_of_a_library_that_is_not_loaded_here_comes_back_as_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "netrc", raising=False)
    code = "import netrc\nraise netrc.NetrcParseError('bad follower')"
    with pytest.raises(Lost, match="it raised NetrcParseError: bad follower"):
        call(partial(exec, code), tmp_path, LIMITS)
    assert "netrc" not in sys.modules


UNREADABLE = """
class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
raise Odd(1, 2)
"""


def test_an_exception_that_cannot_be_read_again_comes_back_as_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="it raised Odd: 1 and 2"):
        call(partial(exec, UNREADABLE, {"__name__": "odd"}), tmp_path, LIMITS)


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (partial(ctypes.string_at, 0), "its process was killed by SIGSEGV"),
        (partial(os.kill, 0, signal.SIGKILL), "its process was killed by SIGKILL"),
        (partial(os._exit, 3), "its process ended with code 3"),
        (partial(exec, "print('so long'); import os; os.abort()"), "was killed by SIGABRT; its last words: so long"),
        (partial(sys.exit, "no licence"), "ended with code 1; its last words: no licence"),
    ],
)
def test_a_process_that_ends_without_a_word_is_lost(work: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(Lost) as lost:
        call(work, tmp_path, LIMITS, {"PYTHONUNBUFFERED": "1"})
    assert sentence in str(lost.value)


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Lost, match=r"took longer than 0\.3 s and was ended"):
        call(partial(time.sleep, 600), tmp_path, Limits(seconds=0.3))


CHILD_EATS = """
import subprocess, sys, time
subprocess.run([sys.executable, "-c", "x = b'x' * 300_000_000; import time; time.sleep(600)"])
"""


@pytest.mark.parametrize("work", [partial(exec, "x = b'x' * 300_000_000; import time; time.sleep(600)"), CHILD_EATS])
def test_what_takes_too_much_memory_is_ended_also_in_a_child(work: Any, tmp_path: Path) -> None:
    work = work if callable(work) else partial(exec, work)
    with pytest.raises(Lost, match=r"took 0\.\d\d GiB of memory, 0\.20 GiB is the limit, and was ended"):
        call(work, tmp_path, Limits(seconds=30, memory=int(0.2 * 2**30)))


def test_who_asks_gets_no_answer_and_does_not_wait(tmp_path: Path) -> None:
    with pytest.raises(EOFError):
        call(partial(input, "really? "), tmp_path, LIMITS)


LITTER = """
import subprocess, sys
for apart in (False, True):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=apart)
    open({path!r}, "a").write(f"{{child.pid}}\\n")
"""


def test_children_that_outlive_it_are_ended_whatever_session_they_are_in(tmp_path: Path) -> None:
    call(partial(exec, LITTER.format(path=str(tmp_path / "pids"))), tmp_path, LIMITS)
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(map(_runs, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_last_words_are_of_this_process_and_not_of_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / apart.LOG
    log.write_text("something old")
    with pytest.raises(Lost, match=r"ended with code 3$"):
        call(partial(os._exit, 3), tmp_path, LIMITS)


def test_the_folder_in_which_the_search_runs_shadows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pickle.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert call(partial(pow, 2, 3), tmp_path / "work", LIMITS) == 8


def test_a_child_of_a_dead_search_is_ended(tmp_path: Path) -> None:
    """Its guard sees that nobody holds the other end of standard input, also when the search died before it looked."""
    (tmp_path / apart.JOB).write_bytes(pickle.dumps(partial(time.sleep, 600)))
    with apart.started("child", [str(tmp_path)], tmp_path / "log", {}) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == -signal.SIGKILL
