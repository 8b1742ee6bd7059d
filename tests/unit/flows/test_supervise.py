"""Who watches goes on, whatever happens to one look, one pipeline or one start."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from lockgate.flows import logs, supervise
from lockgate.flows.home import Home
from lockgate.flows.supervise import Supervisor
from lockgate.flows.supervised import Keeper, Part


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


def damaged(home: Home, name: str) -> Path:
    """Its mark is nested too deeply for the parser, which nobody foresaw; its log shows whether it was looked at."""
    log = home.feedback(name) / "server.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (logs.LARGEST + 1))
    (home.root / name / "wanted.json").write_text("[" * 100_000)
    return log


def test_what_is_wrong_with_one_pipeline_is_said_once_and_leaves_no_other_alone(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    grown = [damaged(home, "first"), damaged(home, "second")]
    watching = Supervisor(home)
    for now in range(3):
        watching.look(float(now))
    watching.close()
    assert [log.stat().st_size for log in grown] == [0, 0]
    assert caplog.messages == ["first cannot be looked after now", "second cannot be looked after now"]


def test_one_error_does_not_end_the_watch(
    home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock cannot be opened for a while: too many open files, a full disk. Here it is a folder."""
    monkeypatch.setattr(supervise, "TICK", 0.005)
    lock, stop, watching = home.root / "supervise.lock", threading.Event(), Supervisor(home)
    lock.mkdir()
    thread = threading.Thread(target=watching.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 20
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.005)
    lock.rmdir()
    while watching._lock is None and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    watches = watching._lock is not None
    stop.set()
    thread.join()
    assert watches
    assert caplog.messages == ["nothing can be looked after now"]


def test_a_start_that_fails_in_an_unforeseen_way_waits_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[Part] = []

    def start(part: Part) -> bool:
        tried.append(part)
        raise RuntimeError("can't start new thread")

    keeper, now = Keeper(), time.monotonic()
    part = Part("router", "toy: Envoy", lambda: False, lambda: None)
    for later in (0.0, 0.3, 0.6):
        keeper.look(part, now + later, start)
        keeper.join()
    assert len(tried) == 1
    assert caplog.messages == ["toy: Envoy could not be started again, next try in 1 s: can't start new thread"]
    keeper.look(part, now + 60, start)
    keeper.join()
    assert len(tried) == 2
