"""Real receivers on real HTTP are told of a real log: once, in order, after a crash too, and nobody waits for them."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lockgate.flows.cli.notify import command
from lockgate.flows.notify.notifier import LINGER, Notifier
from lockgate.flows.notify.receivers import receivers
from lockgate.flows.spec import Spec, parse
from lockgate.rollout.errors import Fenced, StoreDown
from lockgate.rollout.state import Broke, Built, Commanded, Happening, Settled
from lockgate.rollout.store import Event, Rollout, Store

from .conftest import free_address, until

NOW = (0.0,) * 4
"""Pauses between tries."""


@dataclass
class Chat:
    """A receiver. `answers` are the statuses of the next requests; then it is 200."""

    url: str = ""
    got: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    """Cleared: it answers nobody."""

    @property
    def told(self) -> list[str]:
        return [body["lockgate"]["event"] for _, _, body in self.got]


def _handler(chat: Chat) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            chat.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            chat.open.wait()
            self.send_response(chat.answers.pop(0) if chat.answers else 200)
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    return Handler


@pytest.fixture
def chats() -> Iterator[Callable[[], Chat]]:
    with ExitStack() as stack:

        def started() -> Chat:
            chat = Chat()
            chat.open.set()
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _handler(chat)))
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            stack.callback(chat.open.set)
            chat.url = f"http://127.0.0.1:{server.server_address[1]}/hooks/hunter2"
            return chat

        yield started


@pytest.fixture
def chat(chats: Callable[[], Chat]) -> Chat:
    return chats()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(f"sqlite:///{tmp_path / 'state.db'}")) as it:
        yield it


def spec_of(*urls: str, on: str = "started, promoted, rolled_back, failed") -> Spec:
    entries = "".join(f'\n- {{on: [{on}], webhook: "${{URL_{i}}}"}}' for i in range(len(urls)))
    text = f"""
name: toy
model: {{name: toy}}
rollout:
  steps: [{{canary: {{weight: 5}}}}]
  gates: {{errors: {{metric: error_rate}}}}
notify: {entries}
"""
    return parse(text, "f", {f"URL_{i}": url for i, url in enumerate(urls)})


@dataclass
class Log:
    """A rollout whose log is written as if it were driven."""

    store: Store
    rollout: Rollout

    def happens(self, *happened: Happening) -> Event:
        for said in happened:
            self.store.append(self.rollout, self.store.last(self.rollout.id), said, 2000.0)
        return self.store.last(self.rollout.id)


def opened(store: Store, spec: Spec, number: int = 1) -> Log:
    subject = {"model": "toy", "stable": "1", "candidate": "2"}
    rollout = Rollout(f"toy-{number}", "toy", spec.rollout, subject, spec.document, 1000.0 + number, None)
    store.open(rollout, rollout.opened_at)
    return Log(store, store.rollout(rollout.id))


ENDS = (Commanded("abort", "ann", "no good"), Settled())


def test_what_arrives_is_text_for_people_and_names_for_programs(
    chat: Chat, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    spec = spec_of(f"{chat.url}%2Fslash?sig=a%2Bb&x=1")
    log = opened(store, spec)
    with Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({})))
    ((path, headers, body),) = chat.got
    assert path == "/hooks/hunter2%2Fslash?sig=a%2Bb&x=1"  # as it was written, also where a library would tidy it up
    assert headers["content-type"] == "application/json"
    assert body["title"] == "toy: started"
    assert "toy version 2 is being rolled out beside version 1" in body["text"]
    assert body["text"].endswith("http://127.0.0.1:5000/#/models/toy/versions/2")
    assert body["lockgate"]["id"] == "toy-1:2"


def test_everything_is_told_once_in_its_order_to_whoever_wants_it(chats: Callable[[], Chat], store: Store) -> None:
    first, second = chats(), chats()
    spec = spec_of(first.url, second.url)
    log = opened(store, spec)
    with Notifier(store, spec, pauses=NOW) as notifier:
        for said in (Built({}), *ENDS):
            event = log.happens(said)
            for _ in range(3):  # ticks without news
                notifier.look(event)
    assert first.told == second.told == ["started", "rolled_back"]
    assert notifier.lost == 0


def test_who_sends_is_told_in_a_header_and_to_no_name_server(
    chat: Chat, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[object] = []
    real = socket.getaddrinfo

    def spying(host: Any, *more: Any, **how: Any) -> Any:
        looked_up.append(host)
        return real(host, *more, **how)

    monkeypatch.setattr(socket, "getaddrinfo", spying)
    spec = spec_of(chat.url.replace("//", "//bob:hunter%402@"))
    with Notifier(store, spec, pauses=()) as notifier:
        notifier.look(opened(store, spec).happens(Built({})))
    ((path, headers, _),) = chat.got
    assert path == "/hooks/hunter2"
    assert headers["authorization"] == f"Basic {base64.b64encode(b'bob:hunter@2').decode()}"
    assert headers["host"] == chat.url.split("/")[2]
    assert set(looked_up) == {"127.0.0.1"}


def test_an_address_may_have_letters_of_any_language(chat: Chat, store: Store) -> None:
    spec = spec_of(f"{chat.url}/hök a[1]?für={{x}}#part")
    with Notifier(store, spec, pauses=()) as notifier:
        notifier.look(opened(store, spec).happens(Built({})))
    ((path, headers, _),) = chat.got
    assert path == "/hooks/hunter2/h%C3%B6k%20a[1]?f%C3%BCr={x}"
    assert "authorization" not in headers


def test_what_is_not_asked_for_is_not_told(chat: Chat, store: Store) -> None:
    spec = spec_of(chat.url, on="rolled_back")
    log = opened(store, spec)
    with Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({}), *ENDS))
    assert chat.told == ["rolled_back"]


def test_a_receiver_in_trouble_is_tried_again_before_the_next_thing_is_told(chat: Chat, store: Store) -> None:
    chat.answers = [503, 500, 429]
    spec = spec_of(chat.url)
    log = opened(store, spec)
    with Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({}), *ENDS))
    assert chat.told == ["started"] * 4 + ["rolled_back"]


def test_what_cannot_be_told_is_counted_and_said_without_the_address(
    chat: Chat, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    chat.answers = [503] * 5
    spec = spec_of(chat.url)
    log = opened(store, spec)
    with caplog.at_level(1), Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({}), *ENDS))
    assert chat.told == ["started"] * 5 + ["rolled_back"]
    assert notifier.lost == 1
    assert "${URL_0} was not told of toy: started: it answered 503, 5 times; given up (1 so far)" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_redirect_leads_a_message_nowhere(chat: Chat, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    chat.answers = [302] * 5
    spec = spec_of(chat.url)
    log = opened(store, spec)
    with caplog.at_level(logging.WARNING), Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({})))
    assert "it answered 302" in caplog.text
    assert len(chat.got) == 5


def test_the_next_driver_goes_on_where_one_was_killed(chat: Chat, store: Store) -> None:
    spec = spec_of(chat.url)
    log = opened(store, spec)
    with Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({})))
    log.happens(*ENDS)  # and killed before it looked; closed as the end of a drive does
    store.close_rollout(log.rollout.id, 3000.0)
    with Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(opened(store, spec, 2).happens(Built({})))
    with Notifier(store, spec, pauses=NOW) as notifier:  # and nobody is told anything twice
        notifier.look(store.last("toy-2"))
    assert [body["lockgate"]["id"] for _, _, body in chat.got] == ["toy-1:2", "toy-1:4", "toy-2:2"]


def test_what_was_taken_but_not_noted_is_told_again_once(
    chat: Chat, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(chat.url)
    log = opened(store, spec)
    noted = store.note

    def killed(rollout_id: str, name: str, document: Any) -> None:
        if document == 2:  # the receiver has taken it by then
            raise Fenced("killed here")
        noted(rollout_id, name, document)

    with monkeypatch.context() as patched, Notifier(store, spec, pauses=NOW) as notifier:
        patched.setattr(store, "note", killed)
        notifier.look(log.happens(Built({})))
        until(lambda: chat.told == ["started"])
        raising = notifier._tellers[0]
        raising._stop.set()
    for _ in range(2):
        with Notifier(store, spec, pauses=NOW) as notifier:
            notifier.look(log.happens())
    assert chat.told == ["started", "started"]


def test_a_store_that_was_down_is_looked_at_again_without_news(
    chat: Chat, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(chat.url)
    event = opened(store, spec).happens(Built({}))
    with Notifier(store, spec, pauses=NOW) as notifier:
        (teller,) = notifier._tellers
        with monkeypatch.context() as patched:
            patched.setattr(store, "rollouts", _down)
            notifier.look(event)
            until(lambda: teller.behind)
        assert chat.told == []
        notifier.look(event)
        until(lambda: chat.told == ["started"])


def _down(_: str) -> list[Rollout]:
    raise StoreDown("the store does not answer")


def test_a_dead_receiver_delays_neither_the_loop_nor_anybody_else(
    chats: Callable[[], Chat], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    dead, alive = chats(), chats()
    dead.open.clear()
    spec = spec_of(dead.url, alive.url)
    log = opened(store, spec)
    with caplog.at_level(logging.WARNING), Notifier(store, spec, pauses=NOW, linger=0.1) as notifier:
        notifier.look(log.happens(Built({})))
        until(lambda: dead.got)  # it holds its thread from now on
        for _ in range(100):
            notifier.look(log.happens(Commanded("pause", "ann"), Commanded("resume", "ann")))
        notifier.look(log.happens(*ENDS))
        until(lambda: alive.told == ["started", "rolled_back"])
        assert dead.told == ["started"]
        assert threading.active_count() < 20
    assert "${URL_0} is not told everything yet: it did not answer in time; the next run of toy tells" in caplog.text
    assert "hunter2" not in caplog.text


def test_nobody_waits_long_for_a_dead_receiver_at_the_end(store: Store) -> None:
    assert LINGER == 10.0
    assert Notifier(store, spec_of("http://127.0.0.1:9/"))._linger == LINGER


def test_one_that_failed_before_anybody_looked_is_told_of(chat: Chat, store: Store) -> None:
    spec = spec_of(chat.url)
    old = opened(store, spec)
    old.happens(Broke("an old story", refused=True))
    store.close_rollout(old.rollout.id, 1001.0)

    def refused() -> None:
        with Notifier(store, spec, pauses=NOW):
            rollout = Rollout("toy-2", "toy", spec.rollout, old.rollout.subject, {}, 4e9, None)
            store.open(rollout, rollout.opened_at)
            Log(store, rollout).happens(Broke("no signature", refused=True))
            store.close_rollout(rollout.id, 4e9)
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        refused()
    assert [body["lockgate"]["rollout"] for _, _, body in chat.got] == ["toy-2"]
    assert chat.told == ["failed"]


def test_whoever_lost_the_rollout_leaves_it_to_the_other_driver(chat: Chat, store: Store) -> None:
    spec = spec_of(chat.url)
    log = opened(store, spec)
    log.happens(Built({}))
    with pytest.raises(Fenced), Notifier(store, spec, pauses=NOW):
        raise Fenced("another one drives")
    assert chat.got == []


def test_a_watcher_beside_it_sees_every_tick(chat: Chat, store: Store) -> None:
    spec = spec_of(chat.url)
    event = opened(store, spec).happens(Built({}))
    seen = []
    with Notifier(store, spec, pauses=NOW) as notifier:
        watch = notifier.beside(lambda event, _: seen.append(event))
        watch(event, None)
        watch(event, None)
    assert seen == [event, event]
    assert chat.told == ["started"]


def test_a_service_is_told_in_its_own_words_and_logs_nothing(
    chat: Chat, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Mattermost stands for the services that Apprise knows: it can be had on this machine."""
    chat.answers = [403]
    token = "hunter2hunter2hunter2xxxxx"  # noqa: S105 - a planted one
    spec = spec_of(chat.url.replace("http:", "mmost:").replace("hooks/hunter2", token))
    log = opened(store, spec)
    with caplog.at_level(1), Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({})))
    path, _, body = chat.got[0]
    assert path == f"/hooks/{token}"
    assert "toy version 2 is being rolled out" in body["text"]
    assert len(chat.got) == 2
    assert "not told of toy: started yet: Mattermost answered 403" in caplog.text
    assert "hunter2" not in caplog.text


def test_the_secret_is_in_no_file(chat: Chat, store: Store, tmp_path: Path) -> None:
    chat.answers = [503] * 5
    spec = spec_of(chat.url)
    log = opened(store, spec)
    with Notifier(store, spec, pauses=NOW) as notifier:
        notifier.look(log.happens(Built({}), *ENDS))
    assert notifier.lost == 1
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"${URL_0}" in kept
    assert b"hunter2" not in kept


def test_nobody_there_is_a_few_words() -> None:
    url = f"http://{free_address()}/hunter2"
    (to,) = receivers(spec_of(url))
    assert to.send(_message()) == "it was not reached (connection refused)"


def _message() -> Any:
    from lockgate.flows.notify.message import test_message

    return test_message("toy")


def test_the_command_says_who_is_told_and_whether_it_arrives(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_URL", chat.url)
    monkeypatch.setenv("GONE_URL", f"http://{free_address()}/hunter2")
    file = tmp_path / "lockgate.yaml"
    file.write_text(
        """
name: toy
model: {name: toy}
rollout:
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
notify:
- {on: [promoted, drift], webhook: "${CHAT_URL}"}
- {on: [promoted], webhook: "${GONE_URL}"}
"""
    )
    listed = CliRunner().invoke(command, [str(file)])
    assert listed.exit_code == 0
    assert listed.output == "${CHAT_URL}: promoted, drift\n${GONE_URL}: promoted\n"
    tested = CliRunner().invoke(command, [str(file), "--test"])
    assert tested.exit_code == 3
    assert "${CHAT_URL}: the test message was taken" in tested.output
    assert "${GONE_URL}: it was not reached (connection refused)" in tested.output
    assert "1 of 2 test messages did not arrive" in tested.output
    assert "hunter2" not in tested.output
    ((_, _, body),) = chat.got
    assert body["lockgate"] == {"version": 1, "event": "test", "name": "toy"}
