"""Who takes too much memory: a candidate ends at once, of stable one at a time leaves, and the last one never."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockgate.services import local, processes
from lockgate.services.local import LocalPlatform
from lockgate.services.words import Bento

STABLE = Bento("toy:stable", "toy", "1", "aa", "eager")
CANDIDATE = Bento("toy:candidate", "toy", "2", "bb", "eager")
SERVER = """
import http.server, json, os, signal, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            open(sys.argv[3], "w").close()
            time.sleep(0.5)
        body = json.dumps({"replica": os.environ["LOCKGATE_REPLICA"], "digest": sys.argv[2]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""


class Machine:
    """Real processes with the records that their platform would have left; each takes more than one byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platform = LocalPlatform(folder / "home", 30.0, most=1)
        self.children: list[subprocess.Popen[bytes]] = []

    def replica(self, bento: Bento, limit: int | None = 1, *, ready: bool = True) -> str:
        records = self.platform._records
        record = records.open(bento, self.folder, limit)
        command = [sys.executable, "-c", SERVER, str(record.port), bento.digest, str(self.folder / "asked")]
        child = subprocess.Popen(command, env=os.environ | {processes.MARK: record.id})
        self.children.append(child)
        process = psutil.Process(child.pid)
        record = replace(record, pid=process.pid, created=process.create_time(), ready=ready)
        records.write(record)
        if ready:
            until(lambda: local._ready(record))
        return record.id

    @property
    def listed(self) -> list[str]:
        return [one.id for one in self.platform.replicas()]

    def alive(self) -> int:
        return sum(child.poll() is None for child in self.children)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for child in made.children:
        child.kill()
        child.wait()


def slow(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/slow")
    status = connection.getresponse().status
    connection.close()
    return status


def test_of_stable_one_leaves_while_the_other_answers_and_it_finishes_what_it_answers(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machine.replica(STABLE), machine.replica(STABLE)
    port = next(one.port for one in machine.platform.replicas() if one.id == first)
    ended = machine.platform.watch({STABLE.tag})
    assert ended[STABLE.tag].startswith("it takes ")
    assert machine.listed == [second]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(slow, port)
        until((machine.folder / "asked").exists)
        assert machine.platform.watch({STABLE.tag}) == {}
        assert "leaving" not in {thread.name for thread in threading.enumerate()}  # requests come until all know
        monkeypatch.setattr(local, "_ROUTED_WITHIN", 0.0)
        assert machine.platform.watch({STABLE.tag}) == {}
        assert answer.result() == 200
    until(lambda: machine.alive() == 1 and machine.platform._records.get(first) is None)
    for _ in range(3):
        assert machine.platform.watch({STABLE.tag}) == {}
    assert (machine.listed, machine.alive()) == ([second], 1)


def test_the_last_one_of_stable_stays_and_that_is_said_once(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    last = machine.replica(STABLE)
    for _ in range(3):
        assert machine.platform.watch({STABLE.tag}) == {}
    machine.replica(STABLE, ready=False, limit=0)  # the other one is on its way, and answers nobody
    assert machine.platform.watch({STABLE.tag}) == {}
    assert last in machine.listed
    (said,) = caplog.messages
    assert said.startswith("a replica of toy:stable goes on, for it is the last one: it takes ")
    assert [one.id for one in machine.platform.start(STABLE, 1)] == [last]  # nor is it refused where others are started


def test_who_leaves_leaves_behind_one_that_answers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is ready by its record, and hangs."""
    monkeypatch.setattr(local, "_ANSWER_WITHIN", 0.2)
    machine.replica(STABLE, limit=0)
    hanging = psutil.Process(machine.children[-1].pid)
    machine.replica(STABLE)
    hanging.suspend()
    assert machine.platform.watch({STABLE.tag}) == {}
    assert len(machine.listed) == 2
    hanging.resume()
    assert set(machine.platform.watch({STABLE.tag})) == {STABLE.tag}
    assert len(machine.listed) == 1


def test_a_candidate_ends_at_once_with_all_its_replicas(machine: Machine) -> None:
    for bento in (STABLE, CANDIDATE, CANDIDATE):
        machine.replica(bento)
    ended = machine.platform.watch({STABLE.tag})
    assert set(ended) == {CANDIDATE.tag}
    assert [one.bento for one in machine.platform.replicas()] == [STABLE.tag]


def test_who_was_started_with_another_limit_is_judged_by_that_one(machine: Machine) -> None:
    """The platform's own is one byte here, the present spec's; an older Lockgate wrote none down."""
    machine.replica(CANDIDATE, limit=0)
    older = machine.replica(CANDIDATE)
    state = machine.platform._records.folder(older) / "state.json"
    kept = {key: value for key, value in json.loads(state.read_text()).items() if key not in {"limit", "leaving"}}
    state.write_text(json.dumps(kept))
    assert machine.platform.watch(()) == {}
    assert machine.alive() == 2


@pytest.mark.parametrize(("before", "now", "then"), [(9, 5, 9), (5, 9, 9), (0, 5, 0), (5, None, 0)])
def test_a_lower_limit_is_for_the_next_model(machine: Machine, before: int, now: int | None, then: int) -> None:
    """Of a replica of stable that is started while a challenger's spec asks for less, until stable is stopped."""
    later = LocalPlatform(machine.folder / "home", 30.0, most=now)
    assert later._limit(STABLE) == (now or 0)
    machine.replica(STABLE, limit=before << 40)
    machine.platform.watch({STABLE.tag})
    later = LocalPlatform(machine.folder / "home", 30.0, most=now << 40 if now else None)
    assert later._limit(STABLE) == then << 40
    later.stop(later.replicas())
    assert later._limit(STABLE) == (now << 40 if now else 0)


def test_what_is_stopped_takes_along_who_was_leaving(machine: Machine) -> None:
    machine.replica(STABLE)
    machine.replica(STABLE)
    machine.platform.watch({STABLE.tag})
    assert len(machine.listed) == 1
    machine.platform.stop(machine.platform.replicas())
    assert machine.alive() == 0
