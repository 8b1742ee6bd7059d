"""Servers that somebody else runs, when they are down, hang, or answer what nobody can read; and their records."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.services import external, external_look
from lockgate.services.external import ExternalPlatform, Served, elsewhere, keep, read
from lockgate.services.external_look import Look

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
DAY = 86_400.0


def served(home: Path, *places: str, version: str = "2", wanted: bool = True) -> Served:
    made = Served(elsewhere("toy", "toy", version, places), places, "/ready", wanted)
    keep(home, made)
    return made


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Its address. `answer` has one request each time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                with caller:
                    caller.recv(1000)
                    answer(caller)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("place", ["127.0.0.1:1", "no-such-host.invalid:80"])
def test_one_that_is_down_when_it_is_stopped_is_none_of_ours_when_it_comes_back(tmp_path: Path, place: str) -> None:
    one = served(tmp_path, place)
    platform = ExternalPlatform(tmp_path, 1.0)
    found = platform.replicas()
    assert [(r.bento, r.ready, r.runs) for r in found] == [(one.bento.tag, False, False)]
    platform.stop(found)
    kept = read(tmp_path, one.bento.tag)
    assert kept
    assert not kept.wanted
    assert not platform.replicas()


def test_any_replica_stands_for_its_version_whatever_became_ready_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = ["127.0.0.1"]
    monkeypatch.setattr(external_look, "addresses", lambda *_: tuple(known))
    with server(lambda caller: caller.sendall(GOOD)) as place:
        served(tmp_path, place.replace("127.0.0.1", "toy.internal"))
        before = ExternalPlatform(tmp_path, 1.0).replicas()
        known.append("127.0.0.2")
        platform = ExternalPlatform(tmp_path, 1.0)
        assert len(platform.replicas()) == 2
        platform.stop(before)
        assert not platform.replicas()


def test_a_process_that_has_just_begun_asks_all_of_them_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def answer(caller: socket.socket) -> None:
        together.wait(1.5)  # less than a look's own time; broken where one is asked after the other
        caller.sendall(GOOD)

    with server(answer) as one, server(answer) as two, server(answer) as three:
        served(tmp_path, one, two)
        served(tmp_path, three, version="3")
        assert [r.ready for r in ExternalPlatform(tmp_path, 1.0).replicas()] == [True] * 3


def test_a_name_server_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, waited = threading.Event(), list[float]()
    monkeypatch.setattr(external_look, "_FIRST_WITHIN", 0.02)
    monkeypatch.setattr(external_look, "addresses", lambda *_: answers.wait() and ())
    look = Look("toy.internal:80", "/ready")
    assert not look.ready()
    monkeypatch.setattr(look._done, "wait", waited.append)
    assert not look.ready()
    assert waited == [0.0]
    answers.set()


def test_an_answer_that_cannot_be_read_is_no_good_one() -> None:
    says = [GOOD, *[b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + b"[" * 60_000] * 3]
    with server(lambda caller: caller.sendall(says.pop(0))) as place:
        look = Look(place, "/ready")
        for left in (True, True, True, False):
            look._look()
            assert list(look._found.values()) == [left]
    assert look.why == "its answer to GET /ready cannot be read (RecursionError)"


@pytest.mark.parametrize(("drop", "good"), [(b"HTTP/1.1 100 Continue\r\n\r\n", GOOD), (GOOD[:-2], b" " * 2)])
def test_who_answers_a_little_now_and_then_is_late(monkeypatch: pytest.MonkeyPatch, drop: bytes, good: bytes) -> None:
    monkeypatch.setattr(external_look, "_ANSWER_WITHIN", 0.2)

    def answer(caller: socket.socket) -> None:
        for part in (*[drop[n : n + 1] for n in range(len(drop))], good):
            time.sleep(0.03)
            try:
                caller.sendall(part)
            except OSError:
                return

    with server(answer) as place:
        why, gone = external_look.asked("127.0.0.1", int(place.rpartition(":")[2]), "/ready", place)
    assert (why, gone) == ("it did not answer GET /ready within 0.2 s", False)


def test_who_never_ends_is_not_listened_to_for_ever() -> None:
    def answer(caller: socket.socket) -> None:
        try:
            while True:
                caller.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        except OSError:
            return

    with server(answer) as place:
        why, _ = external_look.asked("127.0.0.1", int(place.rpartition(":")[2]), "/ready", place)
    assert why == "it broke off at GET /ready (HTTPException)"


def test_a_look_that_cannot_be_made_ends_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(lambda caller: caller.sendall(GOOD)) as place:
        look = Look(place, "/ready")
        assert look.ready() == ("127.0.0.1",)

    def fails(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(look, "_asked", fails)
    for left in (True, True, False):
        look._look()
        assert list(look._found.values()) == [left]


def test_many_may_write_at_once_and_nobody_takes_back_what_another_said(tmp_path: Path) -> None:
    one, failed = served(tmp_path, "127.0.0.1:1", wanted=False), list[Exception]()

    def write() -> None:
        try:
            for _ in range(100):
                external.place(tmp_path, one)
                keep(tmp_path, other)
        except Exception as error:  # noqa: BLE001 - whatever it is
            failed.append(error)

    other = served(tmp_path, "127.0.0.1:2")
    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    external.want(tmp_path, one.bento.tag, wanted=True)
    for thread in threads:
        thread.join()
    kept = read(tmp_path, one.bento.tag)
    assert kept
    assert (failed, kept.wanted) == ([], True)


def test_who_reads_before_it_writes_is_alone(tmp_path: Path) -> None:
    one = served(tmp_path, "127.0.0.1:1")
    change = {"target": external.want, "args": (tmp_path, one.bento.tag), "kwargs": {"wanted": False}}
    threads = [threading.Thread(**change), threading.Thread(target=external.place, args=(tmp_path, one))]
    with external._alone(tmp_path):
        for thread in threads:
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
    for thread in threads:
        thread.join()
    kept = read(tmp_path, one.bento.tag)
    assert kept
    assert not kept.wanted


def test_what_nobody_wants_and_nobody_names_is_dropped_after_a_day(tmp_path: Path) -> None:
    wanted = served(tmp_path, "127.0.0.1:1")
    named, gone = (served(tmp_path, f"127.0.0.1:{port}", wanted=False) for port in (2, 3))
    (tmp_path / "x.12-3.new").write_text("{")
    now = time.time()
    for path in tmp_path.iterdir():
        os.utime(path, (now - DAY - 1, now - DAY - 1))
    new = served(tmp_path, "127.0.0.1:4", wanted=False)
    external.forget(tmp_path, {named.bento.tag}, now)
    assert [bool(read(tmp_path, one.bento.tag)) for one in (wanted, named, gone, new)] == [True, True, False, True]
    assert not list(tmp_path.glob("*.new"))
    external.forget(tmp_path / "never", (), now)
