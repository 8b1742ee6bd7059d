"""A scheduled look at live inputs: who is told what, once, whatever else fails."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.flows import drift, drift_check, drift_now
from lockgate.flows.approval.evidence import DRIFT
from lockgate.flows.drift_known import CALM, Known, Memory
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec, parse
from lockgate.registry.errors import RegistryDown
from lockgate.registry.words import FetchedModel, ModelVersion
from lockgate.rollout.state import Broke, Built
from lockgate.rollout.store import Rollout, opened

DIGEST = "d" * 64
NOW = 1_700_000_000.0
SPEC = """
name: fraud
model: {name: fraud-detector, stable: "@champion", candidate: "@challenger"}
rollout:
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
monitoring:
  drift: {every: 60s, window: 1000}
notify:
  - {on: [drift], webhook: "${FIRST}"}
  - {on: [drift, promoted], webhook: "${SECOND}"}
  - {on: [promoted], webhook: "${FIRST}"}
"""
EVIL = ("<!channel> pay here", "jane.doe@example.org 4711")
"""Labels that clients sent."""


@dataclass
class Chat:
    """A receiver; `status` is what it answers."""

    url: str = ""
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)

    @property
    def told(self) -> list[bool]:
        """Of what it has taken: whether that was drift, or its end."""
        return [body["lockgate"]["drifting"] for body in self.got]


@pytest.fixture
def chats() -> Iterator[tuple[Chat, Chat]]:
    made = Chat(), Chat()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            chat = made[int(self.path[-1])]
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if chat.status == 200:
                chat.got.append(body)
            self.send_response(chat.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for number, chat in enumerate(made):
            chat.url = f"http://127.0.0.1:{server.server_address[1]}/{number}"
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def spec(chats: tuple[Chat, Chat], monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.setenv("FIRST", chats[0].url)
    monkeypatch.setenv("SECOND", chats[1].url)
    return parse(SPEC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


def rows(seed: int, n: int, times: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    countries = np.array(["de", "fr", "it"], dtype=object)[rng.integers(0, 3, n)]
    if times != 1.0:
        countries[: n // 3] = np.array(EVIL, dtype=object)[np.arange(n // 3) % 2]
    return {"<!here> distance": rng.lognormal(6, 0.5, n) * times, "country": countries, "age": rng.normal(40, 9, n)}


@pytest.fixture
def fetched(tmp_path: Path) -> FetchedModel:
    folder = tmp_path / "model"
    folder.mkdir()
    parquet.write_table(pa.table(rows(0, 3000)), folder / "reference.parquet")
    kinds = {"<!here> distance": "double", "country": "string", "age": "double"}
    signature = {"inputs": [{"type": kind, "name": name} for name, kind in kinds.items()], "outputs": None}
    example = {"<!here> distance": np.ones(1), "country": np.array(["de"], dtype=object), "age": np.ones(1)}
    return FetchedModel(ModelVersion("fraud-detector", "2", ""), folder, DIGEST, "sklearn", signature, example)


class Shelf:
    """Of a registry, what a look at the inputs needs."""

    def __init__(self) -> None:
        self.kept: list[list[str]] = []

    def resolve(self, name: str, reference: str) -> ModelVersion:
        return ModelVersion(name, {"@champion": "1", "@challenger": "2"}.get(reference, reference), "")

    def record(self, _: ModelVersion, __: str, files: dict[str, bytes]) -> None:
        self.kept.append(sorted(files))

    def annotate(self, *_: Any) -> None:
        """The tag is nobody's concern here."""


@dataclass
class Pipeline:
    """One look every minute; `looks(1.6)` after a window of distances in another unit."""

    spec: Spec
    home: Home
    write_live: Callable[..., Path]
    shelf: Shelf = field(default_factory=Shelf)
    said: list[str] = field(default_factory=list)
    now: float = NOW

    def looks(self, times: float | None = 1.0) -> Any:
        """None: a minute later, without new rows."""
        self.now += 60.0 if times is None else 2000.0
        if times is not None:
            path = self.write_live(self.home, DIGEST, self.now, rows(int(self.now), 1000, times))
            os.utime(path, (self.now, self.now))
        return drift_check.check(self.spec, self.home, self.shelf, self.said.append, self.now)  # type: ignore[arg-type]

    def opens(self, *, steps: bool = True, driven: bool = True, broke: bool = False, seen: float = 0.0) -> None:
        """`seen`: seconds that the driver's last look at the inputs is behind now; infinity where it never looks."""
        with opened(self.home.store_url) as store:
            subject = {"model": "fraud-detector", "stable": "1", "candidate": "2"}
            it = Rollout("fraud-1", "fraud", self.spec.rollout, subject, self.spec.document, NOW, None)
            store.open(it, NOW)
            if steps:
                store.append(it, store.last(it.id), Built({"candidate_digest": DIGEST}), NOW)
            if broke:
                store.append(it, store.last(it.id), Broke("a replica died"), NOW)
            if driven:
                store.lease(it.id, "somebody", self.now, 1e6)
            if seen < math.inf:
                store.note(it.id, DRIFT, {"drifting": True, "until": self.now + 2000.0 - seen})

    def closes(self) -> None:
        with opened(self.home.store_url) as store:
            store.close_rollout("fraud-1", self.now)


@pytest.fixture
def pipeline(
    home: Home, spec: Spec, fetched: FetchedModel, write_live: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """Whose training data is on this disk; pages are made without Evidently."""
    monkeypatch.setattr(drift_now, "_rows", lambda *_: drift.rows_of(fetched, spec))
    monkeypatch.setattr(drift_now, "page", lambda *a: a[-1].write_text("a page") and "")
    made = Pipeline(spec, home, write_live)
    monkeypatch.setattr(drift_now, "registry_of", lambda _: made.shelf)
    return made


def test_people_are_told_once_when_it_begins_and_once_when_it_is_over(
    pipeline: Pipeline, chats: tuple[Chat, Chat]
) -> None:
    for times in (1.0, 1.6, 1.6, 1.0):
        pipeline.looks(times)
    assert chats[0].told == [True]  # once without it might be chance
    pipeline.looks()
    pipeline.looks()
    assert chats[0].told == chats[1].told == [True, False]
    assert chats[0].got[-1]["text"].endswith("Live inputs are again as the training data was.")
    assert pipeline.said == []


def test_inputs_that_come_and_go_are_no_news(pipeline: Pipeline, chats: tuple[Chat, Chat]) -> None:
    for times in (1.6, 1.0, 1.6, 1.0, 1.6):
        pipeline.looks(times)
    assert chats[0].told == [True]


def test_the_same_rows_looked_at_again_do_not_end_it(pipeline: Pipeline, chats: tuple[Chat, Chat]) -> None:
    for times in (1.6, 1.0, None, None):
        pipeline.looks(times)
    assert chats[0].told == [True]
    pipeline.looks()
    assert chats[0].told == [True, False]


def test_of_clients_text_nothing_is_told_and_nobody_is_alarmed(pipeline: Pipeline, chats: tuple[Chat, Chat]) -> None:
    found = pipeline.looks(1.6)
    assert "jane.doe" in drift.reason(found.comparison) or "channel" in drift.reason(found.comparison)
    (body,) = chats[0].got
    assert "2 of 3 inputs drift: " in body["text"]
    for name in ("here> distance severely", "country severely"):
        assert name in body["text"]
    shown = json.dumps(body)
    assert not any(word in shown for word in ("<!", "channel", "pay", "jane", "4711", "times", "age"))


def test_what_a_receiver_did_not_take_is_told_by_the_next_look(pipeline: Pipeline, chats: tuple[Chat, Chat]) -> None:
    chats[1].status = 503
    pipeline.looks(1.6)
    assert [of.told for of in chats] == [[True], []]
    assert pipeline.said == ["${SECOND} was not told of drift, the next look does it: it answered 503"]
    pipeline.looks(None)
    chats[1].status = 200
    pipeline.looks(None)
    pipeline.looks(None)
    assert [of.told for of in chats] == [[True], [True]]


def test_what_was_over_before_somebody_took_it_is_not_told(pipeline: Pipeline, chats: tuple[Chat, Chat]) -> None:
    chats[1].status = 503
    pipeline.looks(1.6)
    chats[1].status = 200
    for _ in range(3):
        pipeline.looks()
    assert [of.told for of in chats] == [[True, False], []]


@pytest.mark.parametrize(
    "open_", [{"driven": False}, {"steps": False}, {"broke": True}, {"seen": math.inf}, {"seen": 245.0}]
)
def test_an_open_rollout_of_which_nobody_tells_silences_nobody(
    pipeline: Pipeline, chats: tuple[Chat, Chat], open_: dict[str, Any]
) -> None:
    """Nobody drives it; it is being built; it rolls back; or the driver does not look, or looks no more."""
    pipeline.opens(**open_)
    pipeline.looks(1.6)
    assert chats[0].told == [True]


def test_a_driver_that_looks_itself_tells_and_what_it_leaves_is_told_later(
    pipeline: Pipeline, chats: tuple[Chat, Chat]
) -> None:
    pipeline.opens(seen=235.0)
    assert pipeline.looks(1.6).side == "candidate"
    pipeline.looks(None)
    assert chats[0].told == []
    pipeline.closes()
    assert pipeline.looks(1.6).side == "stable"
    assert chats[0].told == [True]


def test_of_two_references_each_has_its_own_story(
    pipeline: Pipeline, chats: tuple[Chat, Chat], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stable was trained on other data: it drifts, while the candidate does not, and no word of that is taken back."""
    versions = {"1": rows(0, 3000, 1.6), "2": rows(0, 3000)}
    monkeypatch.setattr(drift_now, "_rows", lambda _, __, version: drift.Rows(versions[version], {}, 3000))
    pipeline.looks()
    pipeline.opens(driven=False)
    for _ in range(CALM + 1):
        pipeline.looks()
    pipeline.closes()
    pipeline.looks()
    assert chats[0].told == [True]
    kept = json.loads((home.root / "fraud" / "drift.json").read_text())["references"]
    assert [of["drifting"] for key, of in sorted(kept.items())] == [False, True]
    assert sorted(kept) == [f"candidate:{DIGEST}", "stable:1"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a vendor's"), RegistryDown("x")])
def test_a_page_that_cannot_be_made_costs_nobody_the_message_and_is_made_later(
    pipeline: Pipeline, chats: tuple[Chat, Chat], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object) -> str:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(drift_now, "page", broken)
        pipeline.looks(1.6)
        pipeline.looks(None)
    assert chats[0].told == [True]
    assert all(one.startswith("the comparison could not be kept in MLflow, the next") for one in pipeline.said)
    assert len(pipeline.said) == 2
    assert pipeline.shelf.kept == []
    pipeline.looks(None)
    pipeline.looks(None)
    assert pipeline.shelf.kept == [["drift.html", "drift.json"]]


def test_people_are_told_before_the_page_is_drawn_and_who_is_killed_in_it_tells_nobody_twice(
    pipeline: Pipeline, chats: tuple[Chat, Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> str:
        assert chats[0].told == [True]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(drift_now, "page", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline.looks(1.6)
    pipeline.looks(None)
    assert chats[0].told == [True]
    assert len(pipeline.shelf.kept) == 1


def test_a_second_look_that_begins_meanwhile_leaves_at_once(
    pipeline: Pipeline, chats: tuple[Chat, Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = []

    def drawing(*a: Any) -> str:
        if not inner:
            inner.append(pipeline.looks(None))
        a[-1].write_text("a page")
        return ""

    monkeypatch.setattr(drift_now, "page", drawing)
    assert pipeline.looks(1.6) is not None
    assert inner == [None]
    assert chats[0].told == [True]
    assert len(pipeline.shelf.kept) == 1


def test_a_page_is_kept_when_it_begins_when_it_ends_and_daily(pipeline: Pipeline) -> None:
    for times, pages in ((1.0, 1), (1.0, 1), (1.6, 2), (1.6, 2), (1.0, 2), (1.0, 3), (1.0, 3)):
        pipeline.looks(times)
        assert len(pipeline.shelf.kept) == pages
    pipeline.now += 86_400.0
    pipeline.looks()
    assert len(pipeline.shelf.kept) == 4


def test_a_memory_that_is_damaged_or_old_is_empty_and_one_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    memory = Memory(tmp_path / "drift.json", "stable:", said.append)
    for text in ('{"drifting": true, "page_at": 1}', "{", '{"references": {"stable:": 3}}', '{"references": 4}'):
        memory.path.write_text(text)
        assert memory.known() == Known()
    memory.keep(Known(drifting=True, told={"a": True}, page_at=3.0, at=4.0))
    assert memory.known() == Known(drifting=True, told={"a": True}, page_at=3.0, at=4.0)
    for number in range(10):
        Memory(memory.path, f"candidate:{number}", said.append).keep(Known(at=10.0 + number))
    assert memory.known() == Known()  # eight others were looked at since
    assert said == []
    Memory(tmp_path / "nowhere" / "drift.json", "x", said.append).keep(Known())
    assert "what was told may be told again" in said[0]
