"""The feedback server when it is killed, told to end, or cannot write, and with clients that misbehave."""

from __future__ import annotations

import json
import resource
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lockgate.monitoring.feedback.names import once
from lockgate.monitoring.feedback.store import Reader, Row

KEY = b"\x00\xff"
ONE = {"metric": "conversion", "value": 1, "user": "secret-user"}


def stored(server: Any) -> list[Row]:
    return [found.row for found in Reader(server.folder / "feedback.db").after(0, 10**6)]


def raw(server: Any) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(20)
    found.connect(str(server.socket))
    return found


def begun(server: Any, body: bytes) -> tuple[socket.socket, bytes]:
    """A request whose body is sent but for half of it, and that half."""
    found = raw(server)
    found.sendall(
        b"POST /feedback HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body[: len(body) // 2]
    )
    return found, body[len(body) // 2 :]


class Load:
    """Clients that send one row after another, each with an id, and remember which of them were answered with 202."""

    def __init__(self, server: Any, clients: int) -> None:
        self.server = server
        self.sent: list[str] = []
        self.kept: list[str] = []
        self._threads = [threading.Thread(target=self._send, args=(i,)) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self, number: int) -> None:
        with self.server.client() as client, suppress(httpx.TransportError):
            for i in range(100_000):
                name = f"{number}-{i}"
                self.sent.append(name)
                if client.post("/feedback", json={**ONE, "id": name}).status_code != 202:
                    return
                self.kept.append(name)

    def ended(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


def test_killed_under_load_it_keeps_what_it_accepted(
    started: Callable[[], Any], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = started()
    load = Load(server, clients=8)
    until(lambda: len(load.kept) >= 300)
    server.process.kill()
    load.ended()
    assert len(load.kept) >= 300
    assert server.socket.exists()  # nobody tidied up
    again = started()
    keys = [row.key for row in stored(again)]
    assert len(keys) == len(set(keys))
    assert {once("conversion", name, KEY) for name in load.kept} <= set(keys)
    assert set(keys) <= {once("conversion", name, KEY) for name in load.sent}
    answer = again.post([{**ONE, "id": name} for name in load.kept[:1000]])
    assert answer.json() == {"accepted": 0, "known": min(len(load.kept), 1000)}


def test_told_to_end_it_finishes_what_it_answers(server: Any, until: Callable[[Callable[[], bool]], None]) -> None:
    client, rest = begun(server, json.dumps(ONE).encode())
    with client, raw(server):  # which is idle
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not server.listens())
        client.sendall(rest)
        assert client.recv(65536).startswith(b"HTTP/1.1 202")
        assert server.process.wait(10) == 0
    assert len(stored(server)) == 1
    assert not server.socket.exists()


def test_told_to_end_it_waits_for_no_slow_client(server: Any) -> None:
    client, _ = begun(server, json.dumps(ONE).encode())
    with client:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_slow_clients_and_those_that_go_stop_nobody(server: Any) -> None:
    slow = [begun(server, json.dumps(ONE).encode())[0] for _ in range(20)]
    assert server.post(ONE).status_code == 202
    for client in slow:
        client.close()
    assert server.post(ONE).status_code == 202
    assert len(stored(server)) == 2
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"\x00" * 100_000, b"POST /feedback\r\n\r\n"]
)
def test_garbage(server: Any, garbage: bytes) -> None:
    for _ in range(3):
        with raw(server) as client, suppress(OSError):
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            client.recv(65536)
    assert server.post(ONE).status_code == 202
    assert len(server.log.splitlines()) == 1


def test_a_full_disk(server: Any) -> None:
    """What a process may write to one file is limited, which the system refuses much like a full disk."""
    assert server.post(ONE).status_code == 202
    process = psutil.Process(server.process.pid)
    process.rlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))
    answers = [server.post([ONE] * 500).status_code for _ in range(8)]
    assert answers[-1] == 503
    assert set(answers) <= {202, 503}
    kept = 1 + 500 * answers.count(202)
    assert len(stored(server)) == kept
    assert server.log.count("feedback.db") == 1
    process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert server.post(ONE).status_code == 202
    assert len(stored(server)) == kept + 1
    assert "feedback is written again" in server.log


def test_a_database_that_cannot_be_had(server: Any) -> None:
    database = server.folder / "feedback.db"
    database.mkdir()
    for _ in range(3):
        answer = server.post(ONE)
        assert answer.status_code == 503
        assert answer.json() == {"errors": ["feedback cannot be written now; send it again later"]}
    assert not server.answers()
    database.rmdir()
    database.write_bytes(b"garbage" * 10_000)
    assert server.post(ONE).status_code == 503
    database.unlink()
    assert server.post(ONE).status_code == 202
    assert server.answers()
    assert "secret-user" not in server.log
    assert server.log.count(" WARNING ") == 3


def test_a_locked_database(server: Any) -> None:
    assert server.post(ONE).status_code == 202
    with closing(sqlite3.connect(server.folder / "feedback.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert server.post(ONE).status_code == 503
        assert server.answers()
        other.execute("ROLLBACK")
        assert server.post(ONE).status_code == 202
        other.execute("BEGIN IMMEDIATE")
        client, rest = begun(server, json.dumps(ONE).encode())
        with client:
            client.sendall(rest)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
    assert len(stored(server)) == 2
    assert "locked by another process" in server.log


def test_what_is_old_is_removed(folder: Path, started: Callable[[], Any], until: Callable[..., None]) -> None:
    from lockgate.monitoring.feedback.store import Store

    with Store(folder / "feedback.db") as store:
        store.add([Row("conversion", 1.0, 1.0, unit="old")] * 5000, time.time() - 86401)
        store.add([Row("conversion", 1.0, 1.0, unit="new")], time.time() - 86000)
    server = started()
    until(lambda: [row.unit for row in stored(server)] == ["new"])
