"""Who is scraped, by what runs and what the store knows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockgate.flows.home import Home
from lockgate.flows.metrics.reader import Reader
from lockgate.flows.observing import targets
from lockgate.flows.observing.following import Following, write
from lockgate.flows.observing.targets import Pipeline, pipelines
from lockgate.flows.spec import Spec
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built, Commanded
from lockgate.rollout.store import Rollout, Store, opened
from lockgate.services.records import Record, Records

FACTS = {"stable_bento": "toy:a", "stable_version": "1", "candidate_bento": "toy:b", "candidate_version": "2"}
ROLLOUT = {"steps": [{"canary": {"weight": 5}}], "gates": {"errors": {"metric": "error_rate"}}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    with opened(home.store_url) as it:
        yield it


@pytest.fixture
def reader(home: Home) -> Iterator[Reader]:
    it = Reader(home.store_url)
    yield it
    it.close()


def open_rollout(store: Store, metrics: str = "127.0.0.1:9901") -> Rollout:
    spec = RolloutSpec.model_validate({**ROLLOUT, "traffic": {"metrics": metrics}})
    rollout = Rollout("toy-1", "toy", spec, {"model": "toy-model", "stable": "1", "candidate": "2"}, {}, 1000.0, None)
    store.open(rollout, 1000.0)
    store.append(rollout, store.last(rollout.id), Built(FACTS), 1001.0)
    return rollout


def replica(home: Home, name: str, bento: str, port: int, *, ready: bool = True) -> None:
    records, me = Records(home.replicas("toy").resolve()), psutil.Process()
    records.folder(name).mkdir(parents=True)
    born = me.create_time()
    records.write(Record(name, bento, "", port, me.pid, born, me.pid, born, ready))


def found(home: Home, reader: Reader, *specs: Spec) -> dict[str, list[tuple[str, dict[str, str]]]]:
    every = targets.targets(home, pipelines(reader, specs))
    return {kind: [(*one["targets"], one["labels"]) for one in of] for kind, of in every.items()}


def test_replicas_and_router_of_an_open_rollout(home: Home, store: Store, reader: Reader) -> None:
    open_rollout(store, "0.0.0.0:9901")
    replica(home, "a1", "toy:a", 3001)
    replica(home, "b1", "toy:b", 3002)
    replica(home, "b2", "toy:b", 3003, ready=False)
    toy = {"name": "toy", "model": "toy-model"}
    assert found(home, reader) == {
        "envoy": [("127.0.0.1:9901", {**toy, "version_of_stable": "1", "version_of_candidate": "2"})],
        "replica": [
            ("127.0.0.1:3001", {**toy, "variant": "stable", "version": "1", "replica": "a1"}),
            ("127.0.0.1:3002", {**toy, "variant": "candidate", "version": "2", "replica": "b1"}),
        ],
    }


def test_who_is_served_elsewhere_is_no_target_and_the_router_knows_its_version(home: Home) -> None:
    traffic = RolloutSpec.model_validate(ROLLOUT).traffic
    facts = {"stable_bento": "toy:a", "stable_version": "1", "stable_target": "eager"}
    facts |= {"candidate_bento": "external/toy:b", "candidate_version": "2", "candidate_target": "external"}
    replica(home, "a1", "toy:a", 3001)
    every = targets.targets(home, [Pipeline("toy", "m", traffic, facts, open=True)])
    assert [one["labels"].get("version_of_candidate") for one in every["envoy"]] == ["2"]
    assert [one["labels"].get("version_of_stable") for one in every["envoy"]] == ["1"]
    assert [one["targets"] for one in every["replica"]] == [["127.0.0.1:3001"]]
    (over,) = targets.targets(home, [Pipeline("toy", "m", traffic, facts)])["envoy"]
    assert "version_of_candidate" not in over["labels"]


def test_nobody_is_missed_once_everything_is_down(home: Home, store: Store, reader: Reader) -> None:
    rollout = open_rollout(store)
    assert [address for address, _ in found(home, reader)["envoy"]] == ["127.0.0.1:9901"]
    store.append(rollout, store.last(rollout.id), Commanded("abort", "ada"), 1002.0)
    store.close_rollout(rollout.id, 1003.0)
    assert found(home, reader) == {"envoy": [], "replica": []}


def test_a_pipeline_that_never_had_a_rollout_is_known_by_its_spec(home: Home, reader: Reader) -> None:
    spec = Spec.model_validate({"name": "toy", "model": {"name": "toy-model"}, "rollout": ROLLOUT})
    replica(home, "a1", "toy:gone", 3001)
    assert found(home, reader) == {"envoy": [], "replica": []}
    every = found(home, reader, spec)
    assert every["replica"] == [("127.0.0.1:3001", {"name": "toy", "model": "toy-model", "replica": "a1"})]
    assert every["envoy"] == [("127.0.0.1:9901", {"name": "toy", "model": "toy-model"})]


def test_the_file_says_where_the_router_is_now(home: Home, store: Store, reader: Reader) -> None:
    open_rollout(store)
    moved = {**ROLLOUT, "traffic": {"metrics": "127.0.0.1:9999"}}
    spec = Spec.model_validate({"name": "toy", "model": {"name": "toy-model"}, "rollout": moved})
    assert [address for address, _ in found(home, reader, spec)["envoy"]] == ["127.0.0.1:9999"]


def test_one_that_cannot_be_looked_at_hides_no_other(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    traffic = RolloutSpec.model_validate(ROLLOUT).traffic
    both = [Pipeline("broken", "m", traffic, open=True), Pipeline("toy", "m", traffic, open=True)]

    def replicas(_: Home, pipeline: Pipeline) -> list[Any]:
        if pipeline.name == "broken":
            raise OSError("its folder cannot be read")
        return []

    monkeypatch.setattr(targets, "_replicas", replicas)
    with caplog.at_level(logging.CRITICAL):
        every = targets.targets(home, both)["envoy"]
    assert [one["labels"]["name"] for one in every] == ["toy"]


def test_a_list_is_written_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "replica.json"
    write(path, [])
    first = path.stat().st_ino
    write(path, [])
    assert path.stat().st_ino == first
    write(path, [{"targets": ["127.0.0.1:1"]}])
    assert json.loads(path.read_text()) == [{"targets": ["127.0.0.1:1"]}]
    assert [file.name for file in tmp_path.iterdir()] == ["replica.json"]


def test_lists_stay_as_they_are_while_the_store_is_down(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    open_rollout(store)
    replica(home, "a1", "toy:a", 3001)
    with caplog.at_level(logging.CRITICAL), Following(home, [], home.root, every=3600) as following:
        before = (home.root / "replica.json").read_text()
        assert "a1" in before

        def down(_: Reader) -> Any:
            raise OSError("it does not answer")

        monkeypatch.setattr(Reader, "heads", down)
        following.look()
        assert (home.root / "replica.json").read_text() == before


def test_there_are_lists_even_when_nothing_was_ever_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "gone").write_text("no folder")
    down = Home(tmp_path, f"sqlite:///{tmp_path / 'gone' / 'state.db'}")
    with caplog.at_level(logging.CRITICAL), Following(down, [], tmp_path, every=3600):
        assert (tmp_path / "envoy.json").read_text() == (tmp_path / "replica.json").read_text() == "[]"
