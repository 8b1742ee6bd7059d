"""Webhooks of a real MLflow server, delivered to a real receiver, and what the server says when it has none of them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from lockgate.registry.client import quiet_mlflow
from lockgate.registry.deliveries import BadDelivery, Deliveries, Event, Replayed, Seen
from lockgate.registry.errors import NoSuchVersion, Refused, RegistryDown
from lockgate.registry.location import Location
from lockgate.registry.webhooks import EVENTS, Webhook, ensure_webhooks, remove_webhooks, try_webhooks, webhooks

SECRET = "a secret of these tests"  # noqa: S105
WITHIN = 20

pytestmark = pytest.mark.timeout(180)


@dataclass
class Receiver:
    """Takes deliveries over HTTP; answers the next ones with `answers` first, whatever they are."""

    deliveries: Deliveries
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    came: list[Event | BadDelivery] = field(default_factory=list)
    url: str = ""

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.got.append((headers, body))
        try:
            self.came.append(self.deliveries.take(headers, body, time.time()))
        except BadDelivery as refused:
            self.came.append(refused)
        good = isinstance(self.came[-1], Event)
        return self.answers.pop(0) if self.answers else (200 if good else 401)

    def wait(self, whether: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN
        while not whether():
            assert time.monotonic() < deadline, f"only these came: {self.came}"
            time.sleep(0.02)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    there = Receiver(Deliveries(SECRET, Seen(tmp_path / "seen.db")))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(there.take(dict(self.headers.items()), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.url = f"http://127.0.0.1:{server.server_port}/mlflow"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield there
    server.shutdown()
    thread.join()
    server.server_close()


def start(servers: Any, template: Path, folder: Path, **options: Any) -> Iterator[Any]:
    shutil.copy(template, folder / "mlflow.db")
    server = servers.Server(folder, **options)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def served(servers: Any, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Made for webhooks within one machine; it reads its list of them anew for every event."""
    yield from start(
        servers,
        template,
        tmp_path_factory.mktemp("served"),
        MLFLOW_WEBHOOK_ALLOWED_SCHEMES="http,https",
        MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS="true",
        MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=Fernet.generate_key().decode(),
        MLFLOW_WEBHOOK_CACHE_TTL="0",
    )


@pytest.fixture(scope="module")
def plain(servers: Any, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """As MLflow comes, but bob is no administrator."""
    yield from start(servers, template, tmp_path_factory.mktemp("plain"), plugin=True)


def at(server: Any) -> Location:
    return Location(server.uri, server.uri)


@pytest.fixture
def where(served: Any) -> Iterator[Location]:
    yield at(served)
    for name in {one.name for one in webhooks(at(served))}:
        remove_webhooks(at(served), name)


@pytest.fixture
def client(served: Any, where: Location, request: pytest.FixtureRequest) -> Any:
    """Of the server, which has a model named as the test, with one version."""
    beside = quiet_mlflow().MlflowClient(served.database, served.database)
    beside.create_registered_model(request.node.name)
    beside.create_model_version(request.node.name, source=str(Path(__file__).parent))
    return quiet_mlflow().MlflowClient(where.tracking, where.registry)


def test_a_tag_and_an_alias_arrive_as_verified_events(client: Any, where: Location, receiver: Receiver) -> None:
    model = "test_a_tag_and_an_alias_arrive_as_verified_events"
    ensure_webhooks(where, receiver.url, SECRET)

    client.set_model_version_tag(model, "1", "lockgate.approval", "approved: the p99 is fine")
    receiver.wait(lambda: len(receiver.came) == 1)
    client.set_registered_model_alias(model, "challenger", "1")
    receiver.wait(lambda: len(receiver.came) == 2)

    assert receiver.came == [
        Event("model_version_tag", "set", model, "1", key="lockgate.approval", value="approved: the p99 is fine"),
        Event("model_version_alias", "created", model, "1", alias="challenger"),
    ]


def test_a_recorded_delivery_is_taken_once_and_an_edited_one_never(
    client: Any, where: Location, receiver: Receiver
) -> None:
    model = "test_a_recorded_delivery_is_taken_once_and_an_edited_one_never"
    ensure_webhooks(where, receiver.url, SECRET)
    client.set_model_version_tag(model, "1", "lockgate.approval", "rejected")
    receiver.wait(lambda: receiver.came)
    headers, body = receiver.got[0]

    replayed = httpx.post(receiver.url, headers=headers, content=body)
    forged = httpx.post(receiver.url, headers=headers, content=body.replace(b"rejected", b"approved"))

    assert (replayed.status_code, forged.status_code) == (401, 401)
    assert [type(one) for one in receiver.came] == [Event, Replayed, BadDelivery]
    assert "signature does not hold" in str(receiver.came[2])


def test_what_mlflow_sends_again_is_the_same_delivery(client: Any, where: Location, receiver: Receiver) -> None:
    model = "test_what_mlflow_sends_again_is_the_same_delivery"
    ensure_webhooks(where, receiver.url, SECRET)
    receiver.answers = [503, 200]

    client.set_model_version_tag(model, "1", "lockgate.approval", "approved")
    receiver.wait(lambda: len(receiver.came) == 2)

    assert [type(one) for one in receiver.came] == [Event, Replayed]


def test_another_secret_is_refused(client: Any, where: Location, receiver: Receiver) -> None:
    model = "test_another_secret_is_refused"
    ensure_webhooks(where, receiver.url, "the secret of somebody else")

    client.set_model_version_tag(model, "1", "lockgate.approval", "approved")
    receiver.wait(lambda: receiver.came)

    assert "signature does not hold" in str(receiver.came[0])


def test_the_same_again_makes_no_second_webhook(client: Any, where: Location, receiver: Receiver) -> None:
    model = "test_the_same_again_makes_no_second_webhook"
    first = ensure_webhooks(where, "http://127.0.0.1:9/elsewhere", "the secret that was set before")
    for _ in range(2):
        again = ensure_webhooks(where, receiver.url, SECRET)

    assert again == Webhook(first.id, "lockgate", receiver.url, tuple(sorted(EVENTS)), active=True)
    assert webhooks(where) == (again,)
    client.set_model_version_tag(model, "1", "lockgate.approval", "approved")
    receiver.wait(lambda: receiver.came)
    assert isinstance(receiver.came[0], Event), "the new secret holds"


def test_what_others_made_of_it_is_set_right(client: Any, where: Location, receiver: Receiver) -> None:
    first = ensure_webhooks(where, receiver.url, SECRET)
    client.update_webhook(first.id, events=["model_version.created"], status="DISABLED")
    assert ensure_webhooks(where, receiver.url, SECRET) == first
    client.create_webhook(name="lockgate", url=receiver.url, events=list(EVENTS))
    other = client.create_webhook(name="another-pipeline", url=receiver.url, events=list(EVENTS))

    kept = ensure_webhooks(where, receiver.url, SECRET)

    assert {(one.id, one.events, one.active) for one in webhooks(where)} == {
        (kept.id, tuple(sorted(EVENTS)), True),
        (other.webhook_id, tuple(sorted(EVENTS)), True),
    }


def test_all_webhooks_are_listed_however_many(client: Any, where: Location) -> None:
    for _ in range(101):
        client.create_webhook(name="many", url="http://127.0.0.1:9/", events=list(EVENTS))

    assert len(webhooks(where)) == 101
    assert remove_webhooks(where, "many") == 101
    assert webhooks(where) == ()


def test_a_removed_webhook_is_gone(where: Location, receiver: Receiver) -> None:
    ensure_webhooks(where, receiver.url, SECRET)

    assert remove_webhooks(where) == 1
    assert remove_webhooks(where) == 0
    with pytest.raises(NoSuchVersion, match="no webhook 'lockgate'"):
        try_webhooks(where)


def test_trying_one_out_says_whether_it_arrived(
    where: Location, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ensure_webhooks(where, receiver.url, SECRET)
    assert try_webhooks(where) == made
    assert isinstance(receiver.came[0], Event)
    assert receiver.came[0].test

    receiver.answers = [401]
    with pytest.raises(Refused, match=f"cannot deliver to {receiver.url}: it answers 401"):
        try_webhooks(where)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ensure_webhooks(where, "http://127.0.0.1:9/nobody", SECRET)
    with pytest.raises(Refused, match=r"could not deliver to http://127\.0\.0\.1:9/nobody in time"):
        try_webhooks(where)


@pytest.mark.parametrize("secret", ["", "x" * 15, "x" * 501])
def test_a_secret_that_is_guessed_or_does_not_fit_is_refused(where: Location, secret: str) -> None:
    with pytest.raises(Refused, match=f"16 to 500 characters, and this one has {len(secret)}"):
        ensure_webhooks(where, "https://example.com/", secret)


def test_the_longest_secret_fits(where: Location) -> None:
    assert ensure_webhooks(where, "http://127.0.0.1:9/", "x" * 500).active


def test_a_name_that_mlflow_does_not_take_is_said_so(where: Location) -> None:
    with pytest.raises(Refused, match=r"takes no such webhook: Webhook name 'a b' is invalid"):
        ensure_webhooks(where, "http://127.0.0.1:9/", SECRET, "a b")


def test_what_carries_a_password_does_not_show_it(where: Location) -> None:
    ensure_webhooks(where, "http://ann:s3cret@127.0.0.1:9/", SECRET)
    with pytest.raises(Refused) as refused:
        ensure_webhooks(where, "ftp://ann:s3cret@127.0.0.1/", SECRET)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [("http://127.0.0.1:9/x", "scheme: 'http'"), ("https://127.0.0.1:9/x", "non-public IP address")],
)
def test_an_address_that_mlflow_does_not_send_to_says_what_to_set(plain: Any, url: str, why: str) -> None:
    with pytest.raises(Refused, match=rf"sends nothing to {url}: .*{why}.*MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true"):
        ensure_webhooks(at(plain), url, SECRET)


def test_only_administrators_may(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "bob's own")
    for verb in (
        lambda: ensure_webhooks(at(plain), "https://example.com/", SECRET),
        lambda: webhooks(at(plain)),
        lambda: remove_webhooks(at(plain)),
        lambda: try_webhooks(at(plain)),
    ):
        with pytest.raises(Refused, match=r"only its administrators manage webhooks \(Permission denied\)"):
            verb()


def test_a_server_that_lost_its_encryption_key_says_what_to_do(plain: Any) -> None:
    """As after a restart of one that had none: this process encrypted it with a key that nobody else has."""
    client = quiet_mlflow().MlflowClient(plain.database, plain.database)
    made = client.create_webhook(name="lost", url="https://1.1.1.1/", events=list(EVENTS), secret=SECRET)
    for verb in (lambda: webhooks(at(plain)), lambda: ensure_webhooks(at(plain), "https://1.1.1.1/", SECRET)):
        with pytest.raises(RegistryDown, match=r"cannot read the webhooks .* MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"):
            verb()

    client.delete_webhook(made.webhook_id)
    assert webhooks(at(plain)) == ()


def test_a_database_sends_no_webhooks(shelf: Any) -> None:
    with pytest.raises(Refused, match="only an MLflow server sends webhooks"):
        ensure_webhooks(Location(shelf.uri, shelf.uri), "https://example.com/", SECRET)


def test_a_server_that_is_down_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryDown, match="connection refused"):
        webhooks(Location("http://127.0.0.1:9", "http://127.0.0.1:9"))
