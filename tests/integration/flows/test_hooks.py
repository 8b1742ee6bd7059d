"""MLflow's webhooks over real HTTP: what is MLflow's wakes somebody, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from lockgate.flows import hook_server
from lockgate.flows.cli.serve import command, hooked
from lockgate.flows.errors import MissingPart
from lockgate.flows.home import Home
from lockgate.flows.hook_server import HookServer, Refusal, parsed
from lockgate.flows.hooks import Waker, takes, wake, woken
from lockgate.registry.deliveries import Deliveries, Seen

from .conftest import free_address, until

SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - a planted one
NOW = 1_790_000_000
SPEC = """
name: {name}
model: {{name: {model}, candidate: "@{candidate}"}}
rollout:
  steps: [{{canary: {{weight: 5}}}}]
  gates: {{errors: {{metric: error_rate}}}}
"""


@dataclass
class Place:
    """A receiver for two specs, and what it has asked for."""

    address: str
    home: Home
    folder: Path
    server: HookServer | None = None
    swept: list[list[str]] = field(default_factory=list)
    busy: threading.Event = field(default_factory=threading.Event)
    """Cleared: asking for a sweep takes its time."""

    def post(self, body: Any, delivery: str = "d1", **how: Any) -> int:
        """Signed as MLflow does it: base64 of the HMAC-SHA256 of `id.timestamp.body`."""
        content = json.dumps(body).encode()
        at = str(how.get("at", NOW))
        key = how.get("secret", SECRET).encode()
        signature = base64.b64encode(hmac.new(key, f"{delivery}.{at}.".encode() + content, hashlib.sha256).digest())
        headers = {
            "X-MLflow-Delivery-Id": delivery,
            "X-MLflow-Timestamp": at,
            "X-MLflow-Signature": f"v1,{signature.decode()}",
        }
        return self.send(how.get("content", content), **headers)

    def send(self, content: bytes, **headers: str) -> int:
        url = f"http://{self.address}/hooks"
        return httpx.post(url, content=content, headers=headers, trust_env=False, timeout=30).status_code

    def woken(self, name: str = "fraud") -> bool:
        return woken(self.home, name, 0.0)

    def file(self, name: str) -> str:
        return str(self.folder / f"{name}.yaml")


def alias(model: str = "fraud-detector", name: str = "challenger") -> dict[str, Any]:
    data = {"name": model, "alias": name, "version": "8"}
    return {"entity": "model_version_alias", "action": "created", "timestamp": "t", "data": data}


def tag(model: str = "fraud-detector", key: str = "lockgate.approval") -> dict[str, Any]:
    data = {"name": model, "version": "8", "key": key, "value": "approved"}
    return {"entity": "model_version_tag", "action": "set", "timestamp": "t", "data": data}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "fraud.yaml").write_text(SPEC.format(name="fraud", model="fraud-detector", candidate="challenger"))
    (tmp_path / "other.yaml").write_text(SPEC.format(name="other", model="fraud-detector", candidate="night"))
    home = Home(tmp_path / "home", "")
    with ExitStack() as stack:

        def sweep(specs: list[str]) -> None:
            made.swept.append(specs)
            made.busy.wait()

        waker = Waker([tmp_path / "fraud.yaml", tmp_path / "other.yaml"], home, sweep)
        take = takes(Deliveries(SECRET, Seen(tmp_path / "seen.db")), waker, lambda: NOW)
        server = HookServer(("127.0.0.1", 0), take, again=0.0)
        made = Place(f"127.0.0.1:{server.address[1]}", home, tmp_path, server)
        made.busy.set()
        stack.enter_context(waker)
        stack.enter_context(server)
        stack.callback(made.busy.set)
        yield made


def test_an_alias_that_moved_starts_a_sweep_of_whom_it_concerns(place: Place) -> None:
    assert place.post(alias()) == 200
    until(lambda: place.swept == [[place.file("fraud")]])
    assert place.post(alias(name="champion"), "d2") == 200  # stable of both
    until(lambda: place.swept[1:] == [[place.file("fraud"), place.file("other")]])
    assert not place.woken()


@pytest.mark.parametrize(
    "body",
    [
        alias(name="previous"),
        alias(model="another"),
        alias() | {"action": "deleted"},
        tag(key="owner"),
        tag(model="another"),
        {"entity": "model_version", "action": "created", "data": {"name": "fraud-detector", "version": "9"}},
        {"entity": "model_version_tag", "action": "set", "data": {"name": "example_model", "key": "example_key"}},
    ],
)
def test_what_concerns_nobody_is_taken_and_wakes_nobody(place: Place, body: Any) -> None:
    assert place.post(body) == 200
    assert place.post(alias(name="night"), "d2") == 200  # by the time this is swept, the first has been looked at
    until(lambda: place.swept)
    assert place.swept == [[place.file("other")]]
    assert not place.woken()


def test_an_approval_wakes_the_driver_and_no_sweep(place: Place) -> None:
    assert place.post(tag()) == 200
    assert place.woken("fraud")
    assert place.woken("other")  # of the same model: it looks, and finds nothing
    assert place.swept == []


def test_waking_is_seen_from_then_on(tmp_path: Path) -> None:
    home = Home(tmp_path, "")
    before = time.time()
    assert not woken(home, "fraud", 0.0)
    wake(home, "fraud")
    assert woken(home, "fraud", before)
    assert not woken(home, "fraud", time.time() + 1)
    assert not woken(home, "other", 0.0)


def test_many_deliveries_become_one_sweep_and_none_waits_for_it(place: Place) -> None:
    place.busy.clear()
    assert place.post(alias(), "d0") == 200
    until(lambda: place.swept)
    for number in range(1, 6):  # the first sweep is still being asked for
        assert place.post(alias(), f"d{number}") == 200
    place.busy.set()
    until(lambda: len(place.swept) == 2)
    assert place.post(alias(name="night"), "d9") == 200
    until(lambda: len(place.swept) == 3)
    assert place.swept[-1] == [place.file("other")]


@pytest.mark.parametrize(
    ("how", "status", "why"),
    [
        ({"secret": "another-secret-of-somebody"}, 401, "signature does not hold"),
        ({"content": b'{"entity": "model_version_alias"}'}, 401, "signature does not hold"),
        ({"at": NOW - 301}, 401, "301 seconds from ours"),
        ({"at": "soon"}, 401, "no id or no time"),
        ({"content": b"x" * (64 * 1024 + 1)}, 413, "larger than 65536 bytes"),
    ],
)
def test_what_is_not_mlflows_is_refused_with_a_reason(
    place: Place, how: dict[str, Any], status: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(1, "lockgate"):
        assert place.post(tag(), **how) == status
    assert "a webhook from 127.0.0.1 was refused: " in caplog.text
    assert why in caplog.text
    assert "hunter2" not in caplog.text
    assert not place.woken()


def test_a_replay_is_refused_and_wakes_nobody_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    assert place.post(tag()) == 200
    (place.home.root / "fraud" / "wake").unlink()
    with caplog.at_level(logging.WARNING):
        assert place.post(tag()) == 409
    assert "taken before" in caplog.text
    assert not place.woken()


def test_nothing_signed_is_nothing_said(place: Place) -> None:
    assert place.send(json.dumps(tag()).encode()) == 401
    url = f"http://{place.address}/"
    assert httpx.get(url, trust_env=False).status_code == 501
    assert not place.woken()


def raw(place: Place, text: bytes) -> bytes:
    with socket.create_connection(parsed(place.address), timeout=30) as connected:
        connected.sendall(text)
        return b"".join(iter(lambda: connected.recv(4096), b""))


@pytest.mark.parametrize(
    ("length", "status"),
    [("", b"411"), ("content-length: -1\r\n", b"411"), ("content-length: 99999999999\r\n", b"413")],
)
def test_how_long_it_is_is_believed_of_nobody(place: Place, length: str, status: bytes) -> None:
    assert raw(place, f"POST / HTTP/1.1\r\n{length}\r\n".encode()).split()[1] == status


def test_whoever_sends_slowly_is_cut_off_and_nobody_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hook_server, "WITHIN", 0.05)
    with caplog.at_level(logging.WARNING):
        assert raw(place, b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc") == b""
        assert raw(place, b"POST / HT") == b""
        until(lambda: "it ended early" in caplog.text)
    monkeypatch.setattr(hook_server, "WITHIN", 10.0)
    assert place.post(tag()) == 200


def test_so_many_connections_and_no_more(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack, caplog.at_level(logging.WARNING):
        for _ in range(hook_server.MOST):
            stack.enter_context(socket.create_connection(parsed(place.address)))
        with pytest.raises(httpx.HTTPError):
            place.post(tag())
        assert "16 are being taken already" in caplog.text
    until(lambda: _taken(place))


@pytest.mark.parametrize("which", ["of the request", "of its limit"])
def test_a_thread_that_cannot_start_takes_no_room_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        limit = isinstance(thread, threading.Timer)
        if limit if which == "of its limit" else thread._target.__name__ == "process_request_thread":  # type: ignore[attr-defined]
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        for number in range(hook_server.MOST + 1):
            with pytest.raises(httpx.HTTPError):
                place.post(tag(), f"d{number}")
    until(lambda: _taken(place))


def _taken(place: Place) -> bool:
    try:
        return place.post(tag()) in (200, 409)
    except httpx.HTTPError:
        return False


def test_a_spec_that_is_broken_by_now_leaves_the_others_served(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    Path(place.file("fraud")).write_text("name: [")
    with caplog.at_level(logging.WARNING):
        assert place.post(alias(name="champion")) == 200
    until(lambda: place.swept == [[place.file("other")]])
    assert "until it is mended" in caplog.text


def test_a_sweep_that_cannot_be_asked_for_is_said_and_the_next_one_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "fraud.yaml").write_text(SPEC.format(name="fraud", model="fraud-detector", candidate="challenger"))
    asked = []

    def sweep(specs: list[str]) -> None:
        asked.append(specs)
        raise ConnectionError("no Prefect there")

    from lockgate.registry.deliveries import Event

    moved = Event("model_version_alias", "created", "fraud-detector", alias="challenger")
    with caplog.at_level(logging.WARNING), Waker([tmp_path / "fraud.yaml"], Home(tmp_path, ""), sweep) as waker:
        waker.take(moved)
        until(lambda: len(asked) == 1)
        waker.take(moved)
        until(lambda: len(asked) == 2)
    assert "no sweep was started, the next one on schedule sees it too: no Prefect there" in caplog.text


def test_a_receiver_that_dies_says_so_and_comes_back(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    server = place.server
    assert server is not None
    broken = server._server
    assert broken is not None
    with caplog.at_level(logging.ERROR):
        broken.get_request = _broken  # type: ignore[method-assign]
        broken.service_actions = _broken  # type: ignore[method-assign]
        until(lambda: "everything is found on schedule until it runs again" in caplog.text)
        until(lambda: server._server not in (None, broken))
    until(lambda: _taken(place))
    assert place.woken()


def _broken() -> Any:
    raise RuntimeError("a bug")


def test_a_bug_of_ours_is_said_and_the_next_delivery_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Callable[[], None]] = [_broken, lambda: None]

    def take(_: object, __: bytes) -> None:
        answers.pop(0)()

    with caplog.at_level(logging.ERROR), HookServer(("127.0.0.1", 0), take) as server:
        url = f"http://127.0.0.1:{server.address[1]}/"
        assert httpx.post(url, content=b"x", trust_env=False).status_code == 500
        assert httpx.post(url, content=b"x", trust_env=False).status_code == 200
    assert "found on schedule" in caplog.text


def test_an_address_that_is_taken_is_a_sentence() -> None:
    def take(_: object, __: bytes) -> None:
        raise Refusal(HTTPStatus.OK, "nobody")

    with HookServer(("127.0.0.1", 0), take) as server, pytest.raises(MissingPart, match="address already in use"):
        HookServer(server.address, take)


@pytest.mark.parametrize(("text", "at"), [("127.0.0.1:8787", ("127.0.0.1", 8787)), ("[::1]:1", ("::1", 1))])
def test_an_address_is_read(text: str, at: tuple[str, int]) -> None:
    assert parsed(text) == at


@pytest.mark.parametrize("text", ["", "8787", ":8787", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x"])
def test_a_wrong_address_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="a host and a port"):
        parsed(text)


def test_serve_wants_the_secret_and_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.delenv("LOCKGATE_WEBHOOK_SECRET", raising=False)
    file = tmp_path / "fraud.yaml"
    file.write_text(SPEC.format(name="fraud", model="fraud-detector", candidate="challenger"))
    without = CliRunner().invoke(command, [str(file), "--webhooks", free_address()])
    assert isinstance(without.exception, MissingPart)
    assert "set LOCKGATE_WEBHOOK_SECRET" in str(without.exception)
    wrong = CliRunner().invoke(command, [str(file), "--webhooks", "here"])
    assert wrong.exit_code == 2
    assert "needs a host and a port" in wrong.output


def test_serve_refuses_two_specs_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        file.write_text(SPEC.format(name="fraud", model="fraud-detector", candidate="challenger"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")  # nobody is asked to start a server
    done = CliRunner().invoke(command, [str(file) for file in files])
    assert done.exit_code == 2
    assert "are both named 'fraud', and one name is one pipeline" in done.output


def test_serve_takes_webhooks_beside_prefect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCKGATE_WEBHOOK_SECRET", SECRET)
    file, address = tmp_path / "fraud.yaml", free_address()
    file.write_text(SPEC.format(name="fraud", model="fraud-detector", candidate="challenger"))
    with hooked([file], address):
        assert capsys.readouterr().out == f"taking webhooks on {address}\n"
        assert Place(address, Home(tmp_path, ""), tmp_path).post(tag(), at=int(time.time())) == 200
    assert woken(Home(tmp_path, ""), "fraud", 0.0)
    with hooked([file], None):
        assert capsys.readouterr().out == ""


RELEASES = """
import asyncio, json, sys
from pathlib import Path
from lockgate.flows.prefect_server import prefect_server

with prefect_server(int(sys.argv[1]), lambda _: None):
    from lockgate.flows import pipeline
    from prefect import get_client
    from prefect.states import Failed

    deployments = pipeline.deployments([Path("fraud.yaml")], 3600)

    async def main() -> dict:
        for deployment in deployments:
            await deployment.aapply()
        async with get_client() as client:
            release = "release/release", {"spec": "fraud.yaml"}, "fraud:8"
            begun = [await pipeline.start_once(*release, at) for at in (59.9, 60.1, 61.0, 180.0)]
            (run,) = [r for r in await client.read_flow_runs() if "spec" in r.parameters and not r.auto_scheduled]
            await client.set_flow_run_state(run.id, Failed(), force=True)
            begun += [await pipeline.start_once(*release, at) for at in (181.0, 182.0)]
            await asyncio.to_thread(pipeline.sweep_now, ["fraud.yaml"])
            runs = await client.read_flow_runs()
        return {"begun": begun, "runs": sorted(map(str, (r.parameters for r in runs if r.auto_scheduled is False)))}

    print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.timeout(300)
def test_a_poll_and_a_webhook_start_one_release_and_a_failed_one_is_tried_again(tmp_path: Path) -> None:
    """With a real Prefect server: on both sides of a minute's end, too."""
    (tmp_path / "fraud.yaml").write_text(SPEC.format(name="fraud", model="fraud-detector", candidate="challenger"))
    port = free_address().rpartition(":")[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RELEASES, port],
        env=environment | {"LOCKGATE_HOME": str(tmp_path), "DO_NOT_TRACK": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["begun"] == [True, False, False, False, True, False]
    release = str({"spec": "fraud.yaml"})
    assert said["runs"] == sorted([release, release, str({"specs": ["fraud.yaml"]})])
