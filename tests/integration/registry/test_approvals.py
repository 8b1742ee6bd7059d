"""Approvals on a version's page in MLflow: what the author wrote, killed writers, copies, and servers that know people.

What every registry does with them is in the contract tests.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lockgate.registry.approvals import (
    APPROVAL,
    AUTHOR,
    DECISIONS,
    KEY,
    OPEN,
    PENDING,
    REQUEST,
    Decision,
    Request,
    decisions_text,
    signed,
)
from lockgate.registry.description import FIRST, LAST, joined, sha
from lockgate.registry.errors import Refused, RegistryDown
from lockgate.registry.location import Location
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.people import People
from lockgate.registry.words import EVIDENCE_ROOM, ModelVersion

ASKED = Request(rollout="r-1", step=2, digest="d1", artifact="a1", asked_at=1000.5, expires_at=2000.0)
EVIDENCE = "## Promote fraud 1?\n\n| gate | says |\n| --- | --- |\n| latency | PASS |"
WRITERS = ("update_model_version", "set_model_version_tag", "delete_model_version_tag")
AUTHORS = ["", "Trained on Monday.", "\r\n# Mine\r\n\ttab  \n\n---\n\nmore é😀\n\n\n", f"I quote {LAST}"]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture
def registry(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowRegistry:
    monkeypatch.chdir(tmp_path)  # MLflow's default for artifacts beside a database is ./mlruns
    shelf.bare(versions=2)
    return shelf.registry()  # type: ignore[no-any-return]


@pytest.fixture
def version(registry: MlflowRegistry) -> ModelVersion:
    return registry.resolve("fraud", "1")


def text(shelf: Any, version: str = "1") -> str:
    return str(shelf.client.get_model_version("fraud", version).description)


def tags(shelf: Any, version: str = "1") -> dict[str, str]:
    return dict(shelf.client.get_model_version("fraud", version).tags)


def say(shelf: Any, key: str, value: str, version: str = "1") -> None:
    shelf.client.set_model_version_tag("fraud", version, key, value)


class Killed(BaseException):
    """Nothing of ours catches it."""


def kill_at(registry: MlflowRegistry, write: int, patch: pytest.MonkeyPatch) -> None:
    """The process ends just before the n-th write; the one of a run's files does not count."""
    client, done = registry._client(), []

    def counting(real: Callable[..., Any], *call: Any) -> Any:
        if len(done) == write:
            raise Killed
        done.append(call)
        return real(*call)

    for name in WRITERS:
        patch.setattr(client, name, partial(counting, getattr(client, name)))


@pytest.mark.parametrize("author", AUTHORS)
def test_what_the_author_wrote_stays_byte_for_byte(
    shelf: Any, registry: MlflowRegistry, version: ModelVersion, author: str
) -> None:
    shelf.client.update_model_version("fraud", "1", author)

    for step in range(3):
        registry.ask(version, replace(ASKED, step=step), f"{EVIDENCE}{step}")

    assert text(shelf) == joined(f"{EVIDENCE}2", author)
    assert registry.page(version).evidence == sha(f"{EVIDENCE}2")


def test_ours_is_first_and_says_where_it_ends(shelf: Any, registry: MlflowRegistry, version: ModelVersion) -> None:
    shelf.client.update_model_version("fraud", "1", "Trained on Monday.")

    registry.ask(version, ASKED, EVIDENCE)

    assert text(shelf).splitlines()[0] == FIRST
    assert text(shelf).endswith(f"PASS |\n\n{LAST}\n\n---\n\nTrained on Monday.")


def test_what_a_person_writes_meanwhile_is_theirs(shelf: Any, registry: MlflowRegistry, version: ModelVersion) -> None:
    registry.ask(version, ASKED, EVIDENCE)
    shelf.client.update_model_version("fraud", "1", f"{text(shelf)}\n\nseen by ann")
    assert registry.page(version).evidence == sha(EVIDENCE), "a note below ours edits nothing of it"

    shelf.client.update_model_version("fraud", "1", f"all is well\n\n{text(shelf)}")
    assert registry.page(version).evidence != sha(EVIDENCE), "one above it might be taken for a part"

    registry.ask(version, replace(ASKED, step=3), "new")
    assert text(shelf) == joined("new", "all is well\n\nseen by ann")


def test_a_description_that_was_emptied_shows_no_evidence(
    shelf: Any, registry: MlflowRegistry, version: ModelVersion
) -> None:
    registry.ask(version, ASKED, EVIDENCE)
    shelf.client.update_model_version("fraud", "1", "")

    assert registry.page(version).evidence == ""


def test_an_authors_text_without_room_is_kept_in_full_with_the_run(
    shelf: Any, registry: MlflowRegistry, version: ModelVersion
) -> None:
    author = "Trained on Monday. é\r\n" * 100
    shelf.client.update_model_version("fraud", "1", author)

    registry.ask(version, ASKED, "x" * EVIDENCE_ROOM)

    run = tags(shelf)["lockgate.run"]
    (file,) = shelf.client.list_artifacts(run, "lockgate/description")
    kept = Path(shelf.client.download_artifacts(run, file.path, str(shelf.folder)))
    assert kept.read_bytes().decode() == author
    experiment = shelf.client.get_run(run).info.experiment_id
    link = f"(#/experiments/{experiment}/runs/{run}/artifacts/{file.path})"
    assert text(shelf).endswith(f"kept [with the version's run]{link}.")
    assert len(text(shelf)) <= 5000, "PostgreSQL keeps no more"
    assert registry.page(version).evidence == sha("x" * EVIDENCE_ROOM)

    registry.ask(version, replace(ASKED, step=3), "short")
    assert link in text(shelf)
    assert len(shelf.client.list_artifacts(run, "lockgate/description")) == 1


def test_an_authors_text_that_just_fits_stays(shelf: Any, registry: MlflowRegistry, version: ModelVersion) -> None:
    author = "y" * (5000 - len(joined(EVIDENCE, "y")) + 1)
    shelf.client.update_model_version("fraud", "1", author)

    registry.ask(version, ASKED, EVIDENCE)

    assert text(shelf) == joined(EVIDENCE, author)
    assert len(text(shelf)) == 5000


@pytest.mark.parametrize("write", range(5))
def test_a_killed_ask_is_repaired_by_the_next(
    shelf: Any, registry: MlflowRegistry, version: ModelVersion, write: int
) -> None:
    shelf.client.update_model_version("fraud", "1", "mine")
    registry.ask(version, replace(ASKED, step=1), "the evidence before")
    say(shelf, APPROVAL, "approved: the one before")
    say(shelf, DECISIONS, decisions_text((Decision(approved=True, by="ann", at=1.0, digest="d1"),)))

    with pytest.MonkeyPatch.context() as patch:
        kill_at(registry, write, patch)
        with pytest.raises(Killed):
            registry.ask(version, ASKED, EVIDENCE)
    page = registry.page(version)
    assert not [d for d in page.decisions if page.request == ASKED], "nothing said before answers this"

    assert registry.ask(version, ASKED, EVIDENCE) == sha(EVIDENCE)

    page = registry.page(version)
    assert (page.approval, page.request, page.decisions) == (PENDING, ASKED, ())
    assert page.evidence == sha(EVIDENCE)
    assert DECISIONS not in tags(shelf)
    assert text(shelf) == joined(EVIDENCE, "mine")


def test_asking_writes_five_things_at_most_and_the_same_again_none(
    shelf: Any, registry: MlflowRegistry, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.ask(version, replace(ASKED, step=1), "the evidence before")
    say(shelf, DECISIONS, "[]")
    kill_at(registry, 5, monkeypatch)

    registry.ask(version, ASKED, EVIDENCE)
    registry.ask(version, ASKED, EVIDENCE)

    with pytest.raises(Killed):
        registry.close(version, ASKED, "void: expired")


def test_the_word_is_taken_away_before_and_given_last(
    registry: MlflowRegistry, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.ask(version, replace(ASKED, step=1), "the evidence before")
    client, seen = registry._client(), []
    real = client.set_model_version_tag

    def watched(name: str, number: str, key: str, value: str) -> None:
        seen.append((key, value))
        real(name, number, key, value)

    monkeypatch.setattr(client, "set_model_version_tag", watched)
    registry.ask(version, ASKED, EVIDENCE)

    assert seen == [(APPROVAL, "being asked"), (REQUEST, ASKED.text()), (APPROVAL, PENDING)]


def test_a_promoted_copy_carries_no_approval_with_it(
    shelf: Any, registry: MlflowRegistry, version: ModelVersion
) -> None:
    """The UI's 'Promote model' copies every tag to another model's version, but not the description."""
    registry.ask(version, ASKED, EVIDENCE)
    say(shelf, APPROVAL, "approved: fine")
    shelf.client.create_registered_model("fraud-prod")
    shelf.client.create_model_version("fraud-prod", source=str(shelf.folder), tags=tags(shelf))
    copy = registry.resolve("fraud-prod", "1")

    page = registry.page(copy)
    assert (page.request, page.evidence, page.decisions) == (ASKED, "", ()), "it shows nothing to approve"

    mine = replace(ASKED, rollout="r-2", digest="d2")
    registry.ask(copy, mine, "the evidence of fraud-prod")
    page = registry.page(copy)
    assert (page.approval, page.request, page.decisions) == (PENDING, mine, ())


def test_a_copied_decision_does_not_hold_for_another_version(
    shelf: Any, registry: MlflowRegistry, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "a key")
    registry.ask(version, ASKED, EVIDENCE)
    decision = signed(Decision(approved=True, by="ann", at=1500.0, digest="d1"), "fraud", "1", b"a key")
    for number in ("1", "2"):
        shelf.client.update_model_version("fraud", number, joined(EVIDENCE, ""))
        say(shelf, REQUEST, ASKED.text(), number)
        say(shelf, APPROVAL, "approved", number)
        say(shelf, DECISIONS, decisions_text((decision,)), number)

    assert registry.page(version).decisions == (replace(decision, verified=True),)
    assert registry.page(registry.resolve("fraud", "2")).decisions == ()


def test_who_registered_the_version_is_on_its_page(shelf: Any, registry: MlflowRegistry, version: ModelVersion) -> None:
    say(shelf, AUTHOR, "ann")

    assert registry.page(version).author == "ann"


def test_a_tag_that_is_no_request_is_none(shelf: Any, registry: MlflowRegistry, version: ModelVersion) -> None:
    say(shelf, REQUEST, "{not json")
    say(shelf, APPROVAL, "approved")

    page = registry.page(version)
    assert (page.request, page.decisions) == (None, ())
    registry.ask(version, ASKED, EVIDENCE)
    assert registry.page(version).request == ASKED


def test_files_that_were_changed_have_another_digest(shelf: Any, champion: str) -> None:
    registry = shelf.registry()
    version = registry.resolve("fraud", champion)
    fetched = registry.fetch(version)
    assert registry.digest(version) == fetched.digest

    (shelf.files(champion) / "model.skops").write_bytes(b"something else")

    assert registry.digest(version) != fetched.digest
    assert registry.fetch(version).digest == fetched.digest, "what is cached hides the change"
    assert [p for p in (shelf.folder / "cache" / "digests").iterdir() if p.is_dir()] == []


def test_what_a_killed_digest_left_is_removed(shelf: Any, champion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = shelf.registry()
    version = registry.resolve("fraud", champion)
    scratch = shelf.folder / "cache" / "digests"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        before = registry.digest(version)
        (left,) = (p for p in scratch.iterdir() if p.is_dir())
    (left / "torn").write_bytes(b"half a file")

    assert registry.digest(version) == before
    assert not left.exists()


def test_the_open_rollout_is_a_tag_that_is_written_once(
    shelf: Any, registry: MlflowRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.announce("fraud", "r-1")
    assert shelf.client.get_registered_model("fraud").tags == {OPEN: "r-1"}
    with monkeypatch.context() as patch:
        patch.setattr(registry._client(), "set_registered_model_tag", None)
        registry.announce("fraud", "r-1")

    registry.announce("fraud", "")

    assert shelf.client.get_registered_model("fraud").tags == {}
    monkeypatch.setattr(registry._client(), "delete_registered_model_tag", None)
    registry.announce("fraud", "")


def test_a_comment_that_mlflow_refuses_is_a_sentence(registry: MlflowRegistry, version: ModelVersion) -> None:
    registry.ask(version, ASKED, EVIDENCE)

    with pytest.raises(RegistryDown, match="maximum length"):
        registry.decide(version, ASKED, approve=True, comment="x" * 100_001)


@pytest.fixture(scope="module")
def served(servers: Any, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that knows people, and forbids to approve."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(template, folder / "mlflow.db")
    server = servers.Server(folder, plugin=True)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(180)
def test_what_the_server_forbids_is_refused_in_its_own_words(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = MlflowRegistry(tmp_path / "cache", served.database)
    beside._client().create_registered_model("fraud")
    beside._client().create_model_version("fraud", source=str(tmp_path))
    registry = MlflowRegistry(tmp_path / "cache", served.uri)
    version = registry.resolve("fraud", "1")
    registry.ask(version, ASKED, EVIDENCE)

    with pytest.raises(Refused, match=r"does not let you: alice registered this version\.$"):
        registry.decide(version, ASKED, approve=True, comment="it is mine")
    with monkeypatch.context() as eve:
        eve.setenv("MLFLOW_TRACKING_USERNAME", "eve")
        eve.setenv("MLFLOW_TRACKING_PASSWORD", "eve's own")
        with pytest.raises(Refused, match=r"does not know who you are\. Set MLFLOW_TRACKING_USERNAME"):
            registry.decide(version, ASKED, approve=False, comment="no")
    assert registry.page(version).approval == PENDING
    registry.decide(version, ASKED, approve=False, comment="no")

    assert registry.page(version).approval == "rejected: no"
    assert registry.page(version).decisions == (), "such a server writes down who it was, or nobody decided"
    assert [d.comment for d in beside.page(version).decisions] == ["no"]


@pytest.mark.timeout(180)
def test_a_server_that_knows_people_says_so_and_a_database_does_not(served: Any, tmp_path: Path) -> None:
    """Also where it answers us that it does not know who we are."""
    assert MlflowRegistry(tmp_path, served.uri).knows_people()
    assert not MlflowRegistry(tmp_path, served.database).knows_people()


@pytest.mark.timeout(180)
def test_files_go_to_the_run_without_a_word(served: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MLflow prints an address for every run that ends, and what we print is for people and pipes."""
    beside = MlflowRegistry(tmp_path / "cache", served.database)
    beside._client().create_registered_model("long")
    beside._client().create_model_version("long", source=str(tmp_path), description="y" * 4990)
    registry = MlflowRegistry(tmp_path / "cache", served.uri)

    registry.ask(registry.resolve("long", "1"), ASKED, EVIDENCE)

    assert capsys.readouterr() == ("", "")
    assert registry.page(registry.resolve("long", "1")).evidence == sha(EVIDENCE)


@pytest.mark.timeout(180)
def test_a_yes_is_kept_and_a_no_for_a_minute(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    people = People(Location(served.uri, served.uri), clock=lambda: now[0])
    monkeypatch.setattr("lockgate.registry.people.HEADER", "X-Not-There")
    monkeypatch.setattr("lockgate.registry.people._no_answer", lambda _: "")
    assert not people.known()
    monkeypatch.undo()
    now[0] = 1059.9
    assert not people.known()
    now[0] = 1060.0
    assert people.known()

    monkeypatch.setattr("lockgate.registry.people.HEADER", "X-Not-There")
    now[0] = 9999.0
    assert people.known()


class Gate(BaseHTTPRequestHandler):
    """Stands where MLflow should: answers a path with (status, body), and sends nobody anywhere but to `/login`."""

    said: ClassVar[dict[str, tuple[int, str]]] = {}

    def do_GET(self) -> None:
        status, body = self.said.get(self.path, (404, ""))
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/login")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[Callable[..., People]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    uri = f"http://127.0.0.1:{server.server_port}"

    def answering(status: int, body: str = "") -> People:
        Gate.said = {"/version": (status, body), "/login": (200, "3.17.2")}
        return People(Location(uri, uri))

    yield answering
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_plain_mlflow_knows_nobody(gate: Callable[..., People]) -> None:
    assert not gate(200, "3.17.2").known()
    assert not gate(200, "4.0.0.dev1\n").known()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, "", "it answered 404; check that MLFLOW_TRACKING_URI names MLflow"),
        (400, "", "it answered 400"),
        (401, "", "it answered 401; set MLFLOW_TRACKING_USERNAME"),
        (403, "", "it answered 403; set MLFLOW_TRACKING_USERNAME"),
        (302, "", r"it sent us on to http://127\.0\.0\.1:\d+/login; where that is MLflow, set MLFLOW_TRACKING_URI"),
        (200, "<html>log in", "it answered something else than its version"),
    ],
)
def test_what_is_no_answer_of_mlflow_is_neither_a_yes_nor_a_no(
    gate: Callable[..., People], status: int, body: str, reason: str
) -> None:
    people = gate(status, body)

    for _ in range(2):
        with pytest.raises(RegistryDown, match=rf"did not say whether it knows who approves: {reason}"):
            people.known()


def test_a_server_that_does_not_answer_is_neither_a_yes_nor_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    people = People(Location("http://127.0.0.1:9", "http://127.0.0.1:9"))

    for _ in range(2):
        with pytest.raises(RegistryDown, match="connection refused"):
            people.known()
