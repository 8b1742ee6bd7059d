"""Labels come late by `POST /feedback`, meet the captured answers, and say that a version answers worse than it did."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from lockgate.flows import drift_now, drift_performance
from lockgate.flows.capture import configure
from lockgate.flows.home import Home
from lockgate.flows.metrics.collector import RolloutCollector
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.feedback.client import Feedback, Refused
from lockgate.registry.words import ModelVersion
from lockgate.rollout.state import Built
from lockgate.rollout.store import Rollout, opened
from lockgate.services.serving.capture_columns import Columns, Source
from lockgate.services.serving.capture_queue import Queue
from lockgate.services.serving.capture_writer import Place, Writer
from lockgate.services.serving.schema import Schema

DIGEST = "d" * 64
MANY = 1200


class Shelf:
    """Of a registry, what a look needs: MLflow's own is tested in tests/integration/registry."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, list[str]]] = []
        self.tags: dict[str, str] = {}

    def resolve(self, name: str, reference: str) -> ModelVersion:
        return ModelVersion(name, reference, "")

    def record(self, version: ModelVersion, _: str, files: dict[str, bytes]) -> None:
        self.kept.append((version.version, sorted(files)))

    def annotate(self, _: str, __: str, tags: dict[str, str]) -> None:
        self.tags |= tags

    def fetch(self, version: ModelVersion) -> None:
        raise NoReference(f"{version} has no reference.parquet")


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf()
    monkeypatch.setattr(drift_now, "registry_of", lambda _: made)
    return made


@pytest.fixture
def chat() -> Iterator[Any]:
    """A receiver: what it got."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_address[1]}/", got=got)
        server.shutdown()
        thread.join()


@pytest.fixture
def served(pipeline: Any, chat: Any, shelf: Shelf) -> Any:
    """Version 7 answers, and what it answered is captured; its answers are `answers`, by request id."""
    assert shelf
    pipeline.home = Home(pipeline.home.root, f"sqlite:///{pipeline.home.root / 'state.db'}")
    pipeline.document["monitoring"] = {
        "performance": {"label": "fraud", "output": "label", "baseline": 0.92, "window": 1000}
    }
    pipeline.document["notify"] = [{"on": ["drift"], "webhook": chat.url}]
    configure(pipeline.home, pipeline.spec)
    pipeline.answers = captured(pipeline.home, 2 * MANY)
    with opened(pipeline.home.store_url) as store:
        one = Rollout("toy-1", "toy", pipeline.spec.rollout, {"model": "toy", "stable": "7"}, pipeline.spec.document,
                      time.time(), None)  # fmt: skip
        store.open(one, time.time())
        facts = {"stable_digest": DIGEST, "candidate_digest": "c" * 64}
        store.append(one, store.last(one.id), Built(facts), time.time())
    pipeline.up()
    return pipeline


def captured(home: Home, many: int) -> dict[str, str]:
    """Written as a replica writes it: half of it rotated into Parquet, half of it in the stream that still grows."""
    schema = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])
    queue, counts = Queue(schema.names, 0), Counts()
    columns = Columns(schema.fields, Source("7", DIGEST, "r1"))
    rng, answers = np.random.default_rng(0), dict[str, str]()
    began = time.time() - many
    for part, rotated in ((range(many // 2), True), (range(many // 2, many), False)):
        writer = Writer(Place(home.capture("toy"), DIGEST, f"r{rotated}"), queue, columns, counts, lambda _: None)
        for i in part:
            answers[f"q{i}"] = ("legit", "fraud")[int(rng.random() < 0.3)]
            about = (f"q{i}".encode(), b"stable", 0, b"", 200, began + i, 0.002, 1)
            outputs = {"label": np.array([answers[f"q{i}"]]), "score": np.array([0.5])}
            assert queue.put((*about, {"x": np.ones((1, 2), "float32")}, outputs, 100))
        for second in (1, 2):  # the first leaves the last few to the second
            writer.tick(began + many + second)
        if rotated:
            writer.stop()
            writer.run()
    return answers


class Counts:
    def captured(self, rows: int, size: int) -> None:
        """Nobody counts."""

    def capture_dropped(self, requests: int) -> None:
        raise AssertionError(f"{requests} are not captured")

    def capture_failed(self) -> None:
        raise AssertionError("a write failed")


def tell(served: Any, part: range, right: float) -> None:
    """The truth of these requests, of which this share was answered right."""
    rng = np.random.default_rng(part.start)
    rows = []
    for i in part:
        said = served.answers[f"q{i}"]
        truth = said if rng.random() < right else {"fraud": "legit", "legit": "fraud"}[said]
        rows.append({"label": "fraud", "value": truth, "request_id": f"q{i}"})
    with Feedback(f"http://{served.spec.rollout.traffic.listen}") as feedback:
        assert feedback.send_many(rows).accepted == len(rows)


def look(served: Any) -> Any:
    said: list[str] = []
    found = drift_performance.look(served.spec, served.home, said.append)
    assert said == []
    return found


def shown(served: Any) -> dict[str, float]:
    collector = RolloutCollector(served.home)
    found = {s.name: s.value for family in collector.collect() for s in family.samples if "performance" in s.name}
    collector.close()
    return found


def test_a_version_that_decays_is_found_and_told_once(
    served: Any, chat: Any, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no label 'fraud' has come so far" in look(served).says
    tell(served, range(MANY), 0.93)
    well = look(served)
    assert (well.drifting, well.undecided, well.labelled, well.version) == (False, False, 1000, "7")
    assert well.coverage == 1.0
    assert well.value == pytest.approx(0.93, abs=0.03)
    tell(served, range(MANY, 2 * MANY), 0.8)
    worse = [look(served), look(served)]
    assert all(of.drifting for of in worse)
    assert worse[0].says.startswith(f"accuracy is {worse[0].value:.4g} over the latest 1,000 labelled requests")
    assert [body["lockgate"]["drifting"] for body in chat.got] == [True]
    assert "became worse" in chat.got[0]["lockgate"]["reason"]
    assert shelf.kept == [("7", ["performance.json"])]
    assert "accuracy is" in shelf.tags["performance"]
    figures = shown(served)
    assert figures["lockgate_performance_drifting"] == 1
    assert figures["lockgate_performance_value"] == worse[-1].value
    assert figures["lockgate_performance_limit"] == pytest.approx(0.874)
    assert figures["lockgate_performance_coverage_ratio"] == 1
    assert_the_command_says_so(served, monkeypatch)


def assert_the_command_says_so(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockgate.flows.cli.drift import command

    monkeypatch.setenv("LOCKGATE_HOME", str(served.home.root))
    monkeypatch.setenv("LOCKGATE_STATE_URL", served.home.store_url)
    file = served.home.root / "lockgate.yaml"
    document = {**served.document, "notify": []}
    file.write_text(yaml.safe_dump(document))
    plain = CliRunner().invoke(command, [str(file)])
    assert plain.exit_code == 15, plain.output
    assert "it became worse" in plain.output
    assert "0.874" in plain.output
    assert "note:" not in plain.output
    told = json.loads(CliRunner().invoke(command, [str(file), "--json"]).stdout)
    assert told["performance"]["drifting"]


def test_a_trickle_and_labels_of_nobody_are_said(served: Any) -> None:
    tell(served, range(0, 2 * MANY, 8), 0.92)
    with Feedback(f"http://{served.spec.rollout.traffic.listen}") as feedback:
        feedback.label("fraud", "legit", request_id="nobody")
        feedback.label("fraud", "legit", request_id="q8")  # a correction: it counts once
        feedback.label("fraud", "legit", request_id="q16", row=3)
        with pytest.raises(Refused, match="there is no label 'frauds'; did you mean 'fraud'"):
            feedback.label("frauds", "legit", request_id="q8")
    found = look(served)
    assert found.labelled == 300
    assert found.coverage == pytest.approx(0.125, abs=0.01)
    assert "they may not be like the others" in found.says
    assert any(note.startswith("2 of the latest 302 labels 'fraud' are of no request") for note in found.notes)


def test_a_damaged_file_is_said_and_the_others_are_read(served: Any) -> None:
    tell(served, range(2 * MANY), 0.92)
    whole = look(served)
    (rotated,) = served.home.capture("toy").rglob("*.parquet")
    rotated.write_bytes(rotated.read_bytes()[:2000])
    found = look(served)
    assert whole.labelled == found.labelled == 1000
    assert any(str(rotated) in note and "cannot be read" in note for note in found.notes)
