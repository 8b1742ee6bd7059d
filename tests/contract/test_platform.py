"""What every adapter of the port `Platform` does, tried with servers that somebody else runs: they start at once.

`LocalPlatform` starts bentos, which takes seconds: tests/integration/services/test_local.py asks the same of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lockgate.services import external_look
from lockgate.services.errors import NotReady
from lockgate.services.external import ExternalPlatform, Served, elsewhere, keep, read
from lockgate.services.local import LocalPlatform
from lockgate.services.platforms import HereAndElsewhere
from lockgate.services.ports import Platform
from lockgate.services.words import Bento

PATH = "/v2/models/toy/ready"


class _Handler(BaseHTTPRequestHandler):
    server: V2

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["host"]))
        self.server.free.wait()
        status, body = (404, b"") if self.path != PATH else self.server.says
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class V2(ThreadingHTTPServer):
    """A server that is ready, or not: `says`. It hangs while `free` is not set."""

    daemon_threads = True

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), _Handler)
        self.says, self.free, self.asked = (200, b'{"ready": true}'), threading.Event(), list[tuple[str, str]]()
        self.free.set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def end(self) -> None:
        self.free.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


@dataclass
class Case:
    """Somebody else's servers, and what knows of them."""

    home: Path
    made: Callable[[Path, float], Platform]
    servers: list[V2] = field(default_factory=list)

    def serve(self, port: int = 0, host: str = "127.0.0.1") -> V2:
        self.servers.append(V2(port, host))
        return self.servers[-1]

    def bento(self, *places: str, version: str = "2") -> Bento:
        made = elsewhere("toy", "toy", version, places)
        keep(self.home / "external", Served(made, places, PATH))
        return made

    def platform(self, ready_within: float = 5.0) -> Platform:
        return self.made(self.home, ready_within)

    def until(self, platform: Platform, count: int) -> None:
        """As many are ready."""
        deadline = time.monotonic() + 10
        while sum(one.ready for one in platform.replicas()) != count:
            assert time.monotonic() < deadline, platform.replicas()
            time.sleep(0.01)


def _alone(home: Path, ready_within: float) -> Platform:
    return ExternalPlatform(home / "external", ready_within)


def _beside(home: Path, ready_within: float) -> Platform:
    return HereAndElsewhere(LocalPlatform(home / "replicas", ready_within), _alone(home, ready_within))


@pytest.fixture(params=[_alone, _beside], ids=["elsewhere", "here and elsewhere"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setattr(external_look, "_EVERY", 0.02)
    made = Case(tmp_path, request.param)
    yield made
    for server in made.servers:
        server.end()


def test_a_start_waits_until_it_is_ready_and_then_it_is_found_by_everybody(case: Case) -> None:
    server = case.serve()
    server.says = (503, b"")
    bento = case.bento(f"localhost:{server.port}")
    assert not case.platform().replicas()  # nobody has started it
    started: list[Any] = []
    starting = threading.Thread(target=lambda: started.extend(case.platform().start(bento, 1)))
    starting.start()
    while len(server.asked) < 3:
        time.sleep(0.01)
    assert not started
    server.says = (200, b"")
    starting.join()
    (one,) = case.platform().replicas()
    assert started == [one]
    assert (one.bento, one.host, one.port, one.ready) == (bento.tag, "127.0.0.1", server.port, True)
    assert set(server.asked) == {(PATH, f"localhost:{server.port}")}


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ((503, b""), f"it answered GET {PATH} with 503"),
        ((301, b""), f"it answered GET {PATH} with 301"),
        ((200, b'{"name": "toy", "ready": false}'), "`ready: false`"),
        (None, "nobody listens there"),
    ],
)
def test_one_that_is_late_is_a_sentence_and_no_replica(case: Case, says: Any, why: str) -> None:
    server = case.serve()
    bento = case.bento(f"127.0.0.1:{server.port}")
    if says:
        server.says = says
    else:
        case.servers.remove(server)
        server.end()
    with pytest.raises(NotReady, match=r"toy version 2 is served elsewhere, and was not ready within 0\.1 s") as late:
        case.platform(0.1).start(bento, 1)
    assert why in str(late.value)
    assert not case.platform().replicas()


def test_a_name_that_nobody_knows_is_a_sentence(case: Case) -> None:
    with pytest.raises(NotReady, match=r"at no-such-host\.invalid:80 its name is not known"):
        case.platform(0.1).start(case.bento("no-such-host.invalid:80"), 1)


def test_what_nobody_remembers_is_a_sentence(case: Case) -> None:
    with pytest.raises(NotReady, match="nobody remembers where"):
        case.platform(0.1).start(elsewhere("toy", "toy", "2", ["127.0.0.1:1"]), 1)


def test_as_many_as_are_wanted_must_be_ready(case: Case) -> None:
    one, two = case.serve(), case.serve()
    two.says = (404, b"")
    bento = case.bento(f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}")
    with pytest.raises(NotReady, match=f":{two.port} it answered"):
        case.platform(0.1).start(bento, 2)
    assert [r.port for r in case.platform().start(bento, 1)] == [one.port]
    platform = case.platform()
    case.until(platform, 1)
    two.says = (200, b"")
    case.until(platform, 2)  # nobody starts it again


def test_what_is_stopped_is_listed_no_more_and_runs_on(case: Case) -> None:
    server = case.serve()
    bento = case.bento(f"127.0.0.1:{server.port}")
    platform = case.platform()
    replicas = platform.start(bento, 1)
    for _ in range(2):  # stopping what is gone changes nothing
        platform.stop(replicas)
        assert not platform.replicas()
        assert not case.platform().replicas()
    assert case.platform().start(bento, 1) == replicas


def test_one_that_dies_is_gone_and_comes_back_by_itself(case: Case) -> None:
    server = case.serve()
    platform = case.platform()
    platform.start(case.bento(f"127.0.0.1:{server.port}"), 1)
    case.servers.remove(server)
    server.end()
    case.until(platform, 0)
    case.serve(server.port)
    case.until(platform, 1)


def test_two_bad_looks_are_no_death_and_three_are_and_nobody_there_is_at_once(case: Case) -> None:
    server = case.serve()
    bento = case.bento(f"127.0.0.1:{server.port}")
    look = external_look.Look(f"127.0.0.1:{server.port}", PATH)
    assert look.ready()
    server.says = (503, b"")
    for left in (1, 1, 0, 0):
        look._look()
        assert list(look._found.values()) == [bool(left)]
    server.says = (200, b"")
    look._look()
    assert list(look._found.values()) == [True]
    case.servers.remove(server)
    server.end()
    look._look()
    assert list(look._found.values()) == [False]  # nobody listens any more: that is no hiccup
    assert read(case.home / "external", bento.tag) == Served(bento, (f"127.0.0.1:{server.port}",), PATH)


def test_one_that_hangs_keeps_nobody_waiting(case: Case) -> None:
    server = case.serve()
    platform = case.platform()
    platform.start(case.bento(f"127.0.0.1:{server.port}"), 1)
    server.free.clear()
    asked = len(server.asked)
    while len(server.asked) == asked:
        assert len(platform.replicas()) == 1
    for _ in range(20):
        assert len(platform.replicas()) == 1
        time.sleep(0.005)
    assert len(server.asked) == asked + 1  # who waited for each answer would have asked again


def test_a_name_with_two_addresses_is_two_replicas_and_outlives_its_name_server(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = case.serve()
    case.serve(one.port, "127.0.0.2")
    known = ["127.0.0.1", "127.0.0.2"]

    def found(*_: Any) -> tuple[str, ...]:
        if not known:
            raise OSError("no name server")
        return tuple(known)

    monkeypatch.setattr(external_look, "addresses", found)
    platform = case.platform()
    platform.start(case.bento(f"fraud.internal:{one.port}"), 2)
    assert sorted(r.host for r in platform.replicas()) == known
    known.clear()
    assert len(platform.replicas()) == 2
    asked = len(one.asked)
    while len(one.asked) < asked + 5:
        assert len(platform.replicas()) == 2
    known.append("127.0.0.2")
    case.until(platform, 1)


def test_nothing_of_this_machine_is_taken(case: Case) -> None:
    assert case.platform().watch({"external/toy:v1"}) == {}


def test_a_damaged_memory_is_none(case: Case) -> None:
    bento = case.bento("127.0.0.1:1")
    (path,) = (case.home / "external").glob("*.json")
    for text in ("", "{", "[]", '{"bento": {}}'):
        path.write_text(text)
        assert read(case.home / "external", bento.tag) is None
        assert not case.platform().replicas()
