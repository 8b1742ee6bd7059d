"""The life of the feedback server's process."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockgate.flows import feedback, feedback_process
from lockgate.flows.feedback import FeedbackDown, Keeper
from lockgate.monitoring.feedback.settings import parse
from lockgate.rollout.envoy import process as envoy_process

STARTER = """
import json, sys, time
from pathlib import Path
from lockgate.flows import feedback
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
feedback.ensure(Home(Path(sys.argv[1]), ""), Spec.model_validate(json.loads(sys.argv[2])))
print("started", flush=True)
time.sleep(600)
"""


def ensure(pipeline: Any) -> Any:
    """The server that runs then."""
    feedback.ensure(pipeline.home, pipeline.spec)
    assert feedback_process.answers(feedback.address(pipeline.home, "toy"))
    return pipeline.server()


def test_it_is_found_again_and_not_started_twice(pipeline: Any) -> None:
    first = ensure(pipeline)
    (pipeline.folder / "server.pid").unlink()  # as if its starter had been killed before it could write it
    assert ensure(pipeline) == first
    (pipeline.folder / "server.pid").write_text(str(os.getpid()))
    assert ensure(pipeline) == first
    assert (pipeline.folder / "server.pid").read_text() == str(first.pid)  # so that the next look is quick


def test_the_spec_in_the_words_of_the_server(pipeline: Any) -> None:
    pipeline.document["rollout"]["traffic"]["sticky"] = {"header": "X-Account"}
    pipeline.document["monitoring"] = {"capture": {"keep": "3h"}}
    pipeline.metrics(
        revenue={"kind": "continuous"}, paid={"sql": {"url": "sqlite:///x", "query": "select 1 where :since"}}
    )
    pipeline.document["rollout"] |= {"steps": [{"canary": {"weight": 5, "timeout": "2h"}}]}
    pipeline.document["rollout"]["gates"]["refunds"] = {"metric": "mean", "of": "refunded"}
    ensure(pipeline)
    settings = pipeline.folder / "settings.json"
    found, before = parse(settings.read_bytes()), settings.stat()
    assert found.metrics == {"revenue": "continuous", "refunded": "binary"}
    assert (found.keep, found.header) == (10_800, "x-account")
    capture = json.loads((pipeline.home.capture("toy") / "capture.json").read_text())
    assert found.key == bytes.fromhex(capture["key"])
    assert found.max_size == capture["max_size"]
    ensure(pipeline)
    assert settings.stat() == before
    pipeline.metrics(revenue={"kind": "continuous", "window": "4h"})
    ensure(pipeline)
    assert parse(settings.read_bytes()).keep == 14_400  # else what comes late, and counts, would be refused
    told = {"url": "sqlite:///x", "query": "select 1 where :since", "late": "2h", "every": "1m"}
    pipeline.metrics(revenue={"kind": "continuous"}, paid={"window": "4h", "sql": told})
    ensure(pipeline)
    keep = 14_400 + pipeline.spec.rollout.business["paid"].delay
    assert parse(settings.read_bytes()).keep == keep > 14_400 + 7200  # the server deletes what the database told, too


def test_it_is_found_through_a_link(pipeline: Any, tmp_path: Path) -> None:
    first = ensure(pipeline)
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    feedback.ensure(type(pipeline.home)(link, ""), pipeline.spec)
    assert pipeline.server() == first
    assert len(feedback_servers(tmp_path)) == 1


def feedback_servers(root: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"lockgate.monitoring.feedback.server" in words and str(root).encode() in b" ".join(words):
                found.append(int(entry.name))
    return found


def test_several_starters_at_once_start_one(pipeline: Any, tmp_path: Path) -> None:
    threads = [threading.Thread(target=ensure, args=(pipeline,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(feedback_servers(tmp_path)) == 1


def test_it_runs_on_when_its_starter_is_killed(pipeline: Any) -> None:
    command = [sys.executable, "-c", STARTER, str(pipeline.home.root), json.dumps(pipeline.document)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        os.killpg(starter.pid, signal.SIGKILL)
    before = pipeline.server()
    assert before is not None
    assert ensure(pipeline) == before


def test_one_that_hangs_is_replaced(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = ensure(pipeline)
    hung.suspend()
    for limit in ("_SECONDS_TO_ANSWER", "_SECONDS_TO_START"):
        monkeypatch.setattr(feedback_process, limit, 0.3)
    monkeypatch.setattr(envoy_process, "_SECONDS_TO_END", 0.3)
    assert not feedback_process.answers(feedback.address(pipeline.home, "toy"))
    monkeypatch.setattr(feedback_process, "comes_up", _patient(feedback_process.comes_up, hung, monkeypatch))
    assert ensure(pipeline) != hung
    assert not hung.is_running()


def test_one_that_is_busy_is_waited_for(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is being answered would lose the answer."""
    busy, answers, misses = ensure(pipeline), feedback_process.answers, []
    busy.suspend()
    monkeypatch.setattr(feedback_process, "_SECONDS_TO_ANSWER", 0.1)

    def looked(at: Path) -> bool:
        if len(misses) == 4:
            busy.resume()
            monkeypatch.setattr(feedback_process, "_SECONDS_TO_ANSWER", 3.0)
        answered = answers(at)
        misses.extend([] if answered else [at])
        return answered

    monkeypatch.setattr(feedback_process, "answers", looked)
    assert ensure(pipeline) == busy
    assert len(misses) == 4


def test_a_look_that_slept_itself_looks_again(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, answers, looks = ensure(pipeline), feedback_process.answers, []
    monkeypatch.setattr(feedback_process, "_SECONDS_TO_START", 0.0)  # it is over at once

    def looked(at: Path) -> bool:
        looks.append(at)
        return len(looks) > 2 and answers(at)

    monkeypatch.setattr(feedback_process, "answers", looked)
    assert feedback_process.comes_up(server, feedback.address(pipeline.home, "toy"))


def test_another_users_process_is_not_ours(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ensure(pipeline)
    with monkeypatch.context() as patched:
        patched.setattr(feedback_process.os, "getuid", lambda: server.uids().real + 1)
        assert pipeline.server() is None
    assert pipeline.server() == server


@pytest.mark.parametrize("odd", [psutil.TimeoutExpired(5.0, 17), psutil.AccessDenied(17)])
def test_one_that_cannot_be_ended(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, odd: Exception
) -> None:
    ensure(pipeline)

    def refused(_: object) -> None:
        raise odd

    with monkeypatch.context() as patched:
        patched.setattr(feedback, "finish", refused)
        with pytest.raises(FeedbackDown, match=r"cannot be ended \(.*see process 17"):
            feedback.stop(pipeline.home, "toy")
        patched.setattr(feedback_process, "comes_up", lambda *_: False)
        patched.setattr(feedback_process, "answers", lambda *_: False)
        keeper = Keeper(pipeline.home, pipeline.spec)
        keeper.look()
        keeper.join()
    assert "feedback is not taken now: the feedback server in" in caplog.text


def _patient(look: Any, hung: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The next one has the time that it needs."""

    def comes_up(process: Any, at: Path) -> bool:
        if process != hung:
            monkeypatch.setattr(feedback_process, "_SECONDS_TO_ANSWER", 3.0)
            monkeypatch.setattr(feedback_process, "_SECONDS_TO_START", 20.0)
        return bool(look(process, at))

    return comes_up


def test_one_that_cannot_start_says_why(pipeline: Any) -> None:
    pipeline.folder.mkdir(parents=True, mode=0o700)
    (pipeline.folder / "feedback.sock").write_text("a file of somebody's")
    with pytest.raises(FeedbackDown, match=r"feedback server does not start: .*is a file and no socket"):
        feedback.ensure(pipeline.home, pipeline.spec)
    assert pipeline.server() is None
    assert (pipeline.folder / "feedback.sock").read_text() == "a file of somebody's"


def test_a_look_waits_for_nothing(pipeline: Any) -> None:
    """Another one starts it and takes long; the tick goes on."""
    keeper = Keeper(pipeline.home, pipeline.spec)
    pipeline.folder.mkdir(parents=True, mode=0o700)
    with feedback.alone(pipeline.folder):
        keeper.look()
        keeper.look()
        assert [thread.name for thread in threading.enumerate()].count("feedback") == 1
    keeper.join()
    assert pipeline.server() is not None


def test_a_look_survives_what_cannot_be_mended(pipeline: Any, caplog: pytest.LogCaptureFixture) -> None:
    pipeline.home.root.joinpath("toy").mkdir()
    pipeline.folder.write_text("no folder")
    keeper = Keeper(pipeline.home, pipeline.spec)
    keeper.look()
    keeper.join()
    assert "feedback is not taken now" in caplog.text


def test_a_spec_that_needs_none_starts_none(pipeline: Any) -> None:
    pipeline.metrics()
    keeper = Keeper(pipeline.home, pipeline.spec)
    keeper.look()
    keeper.join()
    feedback.ensure(pipeline.home, pipeline.spec)
    assert not pipeline.folder.exists()


def test_nobody_else_reads_the_key_or_what_was_told(pipeline: Any) -> None:
    pipeline.up()
    pipeline.post({"metric": "conversion", "value": 1, "user": "u"})
    assert stat.S_IMODE(pipeline.folder.stat().st_mode) == 0o700
    for name in ("settings.json", "feedback.sock", "feedback.db", "server.log"):
        assert stat.S_IMODE((pipeline.folder / name).stat().st_mode) == 0o600, name


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files as machines have it: pytest's own may be longer than a socket's path can be."""
    with tempfile.TemporaryDirectory(prefix="lg-") as folder:
        yield Path(folder)


def test_a_long_folder_has_its_socket_elsewhere_for_everybody(
    pipeline: Any, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(short))
    pipeline.home = type(pipeline.home)(tmp_path / ("long" * 30), "")
    pipeline.up()
    first, at = pipeline.server(), feedback.address(pipeline.home, "toy")
    assert at.parent.parent == short
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))  # another process has another TMPDIR
    assert feedback.address(pipeline.home, "toy") == at
    pipeline.up()
    assert pipeline.server() == first
    assert pipeline.post({"metric": "conversion", "value": 1, "user": "u"}).status_code == 202
