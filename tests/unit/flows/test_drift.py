"""Profiles that are kept with a version, drift while a rollout is driven, and `lockgate drift`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from lockgate.flows import drift, drift_now, drift_performance, drift_watch
from lockgate.flows.cli.drift import command
from lockgate.flows.drift_watch import DriftWatch
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec, parse
from lockgate.monitoring.drift.age import moment
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.profile import profile_of
from lockgate.monitoring.spec import PerformanceSpec
from lockgate.registry.errors import RegistryDown
from lockgate.registry.words import FetchedModel, ModelVersion
from lockgate.rollout.state import Built, Commanded, Drifted, Settled
from lockgate.rollout.store import Rollout, Store, opened

DIGEST, STABLE = "d" * 64, "5" * 64
NOW = 1_700_000_000.0
SPEC = """
name: fraud
model: {name: fraud-detector, stable: "@champion", candidate: "@challenger"}
rollout:
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
monitoring:
  drift: {every: 60s, window: 1000}
"""


@pytest.fixture
def spec() -> Spec:
    return parse(SPEC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


def rows(seed: int, n: int, times: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"distance": rng.lognormal(6, 0.5, n) * times, "age": rng.normal(40, 9, n)}


@pytest.fixture
def fetched(tmp_path: Path) -> FetchedModel:
    folder = tmp_path / "model"
    (folder / "artifacts").mkdir(parents=True)
    parquet.write_table(
        pa.table({**rows(0, 3000), "label": np.zeros(3000)}), folder / "artifacts" / "reference.parquet"
    )
    signature = {"inputs": [{"type": "double", "name": name} for name in ("distance", "age")], "outputs": None}
    version = ModelVersion("fraud-detector", "2", "")
    return FetchedModel(version, folder, DIGEST, "sklearn", signature, {"distance": np.ones(1), "age": np.ones(1)})


@pytest.fixture
def captured(home: Home, write_live: Callable[..., Path]) -> Callable[..., None]:
    """`captured(at, times)`: 1,000 live rows by then, of distances in another unit."""

    def write(at: float, times: float = 1.0) -> None:
        write_live(home, DIGEST, at, rows(int(at), 1000, times))

    return write


def test_a_profile_is_made_of_the_versions_own_file_and_kept(home: Home, spec: Spec, fetched: FetchedModel) -> None:
    assert not drift.is_kept(home, spec, DIGEST)
    assert drift.keep(home, DIGEST, fetched, spec) == ""
    assert drift.is_kept(home, spec, DIGEST)
    profile = drift.kept(home, spec, DIGEST)
    assert profile == drift.made(fetched, spec)
    assert [of.name for of in profile.features] == ["distance", "age"]
    (path,) = home.references.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_the_run_stands_in_for_one_of_the_version(spec: Spec, fetched: FetchedModel, tmp_path: Path) -> None:
    (fetched.path / "artifacts" / "reference.parquet").unlink()

    asked: list[bool] = []

    def training_file(version: ModelVersion, artifact: str, into: Path, *, data_set: bool = False) -> Path:
        assert (version, artifact) == (fetched.version, "reference.parquet")
        asked.append(data_set)
        parquet.write_table(pa.table(rows(0, 500)), into / artifact)
        return into / artifact

    assert drift.made(fetched, spec, training_file).rows == 500
    assert drift.made(fetched, parse(SPEC + "  reference: {data_set: true}\n"), training_file).rows == 500
    assert asked == [False, True]
    assert not any(tmp_path.glob("lockgate-reference-*"))


def test_that_there_is_none_is_kept_and_said(home: Home, spec: Spec, fetched: FetchedModel) -> None:
    with pytest.raises(NoReference, match="no profile of the training data"):
        drift.kept(home, spec, DIGEST)
    (fetched.path / "artifacts" / "reference.parquet").unlink()
    why = drift.keep(home, DIGEST, fetched, spec, lambda *_, **__: None)
    assert why.startswith("fraud-detector version 2 has no reference.parquet among its files")
    assert "let the data set that the run logged be taken with monitoring.reference.data_set" in why
    assert drift.is_kept(home, spec, DIGEST)
    with pytest.raises(NoReference, match=r"has no reference\.parquet"):
        drift.kept(home, spec, DIGEST)


def test_a_registry_that_does_not_answer_is_asked_again(home: Home, spec: Spec, fetched: FetchedModel) -> None:
    (fetched.path / "artifacts" / "reference.parquet").unlink()

    def down(*_: object, **__: object) -> Path:
        raise RegistryDown("nobody answers")

    assert drift.keep(home, DIGEST, fetched, spec, down) == "nobody answers"
    assert not drift.is_kept(home, spec, DIGEST)


def _of_before(document: dict[str, Any]) -> None:
    document["profile"]["format"] = 1


def _halved(document: dict[str, Any]) -> None:
    counts = document["profile"]["features"][0]["aspects"]["value"]["counts"]
    del counts[len(counts) // 2 :]


def _emptied(document: dict[str, Any]) -> None:
    document["profile"] = None


@pytest.mark.parametrize("harm", [_of_before, _halved, _emptied])
def test_a_profile_that_cannot_be_read_any_more_is_none_and_made_anew(
    home: Home, spec: Spec, fetched: FetchedModel, harm: Callable[[dict[str, Any]], None]
) -> None:
    drift.keep(home, DIGEST, fetched, spec)
    (path,) = home.references.iterdir()
    document = json.loads(path.read_bytes())
    harm(document)
    path.write_text(json.dumps(document))
    assert not drift.is_kept(home, spec, DIGEST)
    with pytest.raises(NoReference, match="no profile of the training data that this version of Lockgate can read"):
        drift.kept(home, spec, DIGEST)
    drift.keep(home, DIGEST, fetched, spec)
    assert drift.kept(home, spec, DIGEST) == drift.made(fetched, spec)


def test_a_profile_that_cannot_be_written_is_said(home: Home, spec: Spec, fetched: FetchedModel) -> None:
    home.references.write_text("in the way")
    why = drift.keep(home, DIGEST, fetched, spec)
    assert why.startswith(f"the profile of the training data could not be written to {home.references}")
    assert why.endswith(": File exists")


def test_that_there_is_none_holds_until_data_sets_are_taken(home: Home, spec: Spec, fetched: FetchedModel) -> None:
    (fetched.path / "artifacts" / "reference.parquet").unlink()
    drift.keep(home, DIGEST, fetched, spec)
    assert drift.is_kept(home, spec, DIGEST)
    assert not drift.is_kept(home, parse(SPEC + "  reference: {data_set: true}\n"), DIGEST)


def test_a_profile_is_void_when_something_else_is_redacted(home: Home, spec: Spec, fetched: FetchedModel) -> None:
    drift.keep(home, DIGEST, fetched, spec)
    other = parse(SPEC + "  redact: {age: hash}\n")
    assert not drift.is_kept(home, other, DIGEST)
    with pytest.raises(NoReference, match="no profile of the training data"):
        drift.kept(home, other, DIGEST)
    drift.keep(home, DIGEST, fetched, other)
    assert drift.kept(home, other, DIGEST).left_out == {"age": "it is redacted: nothing of it is kept"}
    everything = parse(SPEC + "  redact: {age: hash, distance: drop}\n")
    assert "no input that is not redacted" in drift.keep(home, DIGEST, fetched, everything)


def test_columns_of_a_table_can_be_the_elements_of_a_tensor(spec: Spec, fetched: FetchedModel) -> None:
    path = fetched.path / "artifacts" / "reference.parquet"
    parquet.write_table(pa.table(rows(0, 500)), path)
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}
    model = FetchedModel(fetched.version, fetched.path, DIGEST, "sklearn", {"inputs": [tensor]}, {"x": np.ones((1, 2))})
    profile = drift.made(model, spec)
    assert [of.name for of in profile.features] == ["x[distance]", "x[age]"]
    assert profile.notes == ("x: its 2 elements are taken to be the reference's columns, in their order",)


@pytest.fixture
def watch(home: Home, spec: Spec, fetched: FetchedModel) -> DriftWatch:
    return DriftWatch(spec, home, drift.made(fetched, spec))


def looked(watch: DriftWatch, now: float) -> Drifted | None:
    """Begun, waited for, and told."""
    assert watch.look(now) is None
    watch.join()
    drifted = watch.look(now)
    if drifted:
        watch.told(drifted)
    return drifted


def test_drift_is_told_once_when_it_begins_and_once_when_it_is_over(
    watch: DriftWatch, captured: Callable[..., None]
) -> None:
    captured(NOW)
    assert looked(watch, NOW + 1) is None
    captured(NOW + 2000, times=1.609)
    began = looked(watch, NOW + 2001)
    assert began is not None
    assert (began.drifting, began.action, began.share) == (True, "hold", 0.5)
    assert began.reason.startswith("1 of 2 inputs drifts: distance; 1 severely; distance: 1.59 times")
    assert looked(watch, NOW + 2100) is None
    captured(NOW + 4000)
    assert looked(watch, NOW + 4001) is None  # once might be chance
    assert looked(watch, NOW + 4100) is None  # the same rows again
    captured(NOW + 6000)
    over = looked(watch, NOW + 6001)
    assert over is not None
    assert not over.drifting
    assert over.reason == (
        "none of 2 inputs drifts; 1,000 rows answered 2023-11-14 23:36:40 UTC to 2023-11-14 23:53:19 UTC"
        " against candidate's training data"
    )
    assert looked(watch, NOW + 6100) is None


def test_a_tenth_of_new_rows_makes_another_look(watch: DriftWatch, captured: Callable[..., None]) -> None:
    captured(NOW, times=1.609)
    assert looked(watch, NOW + 1) is not None
    captured(NOW + 1000)
    assert looked(watch, NOW + 1001) is None
    captured(NOW + 1090)
    assert looked(watch, NOW + 1091) is None
    captured(NOW + 1100)
    assert looked(watch, NOW + 1151) is not None


def test_rows_of_long_ago_end_no_hold(watch: DriftWatch, captured: Callable[..., None]) -> None:
    captured(NOW, times=1.609)
    assert looked(watch, NOW + 1) is not None
    captured(NOW + 10_000)
    for at in (NOW + 13_700, NOW + 14_000):
        assert looked(watch, at) is None
    assert watch.last is not None
    assert watch.last.says.startswith("no verdict about drift: the latest live row was answered 67 minutes ago")


def test_what_could_not_be_recorded_is_said_again(watch: DriftWatch, captured: Callable[..., None]) -> None:
    captured(NOW, times=1.609)
    for at in (NOW + 1, NOW + 100):
        watch.look(at)
        watch.join()
        assert watch.look(at)


def test_it_looks_no_more_often_than_the_spec_says(watch: DriftWatch, captured: Callable[..., None]) -> None:
    captured(NOW)
    looked(watch, NOW)
    first = watch.last
    assert first is not None
    watch.look(NOW + 59)
    watch.join()
    watch.look(NOW + 59)
    assert watch.last is first
    looked(watch, NOW + 61)
    assert watch.last is not first


def test_a_driver_that_follows_another_ends_its_hold(
    home: Home, spec: Spec, fetched: FetchedModel, captured: Callable[..., None]
) -> None:
    captured(NOW)
    watch = DriftWatch(spec, home, drift.made(fetched, spec), drifting=True)
    assert looked(watch, NOW + 1) is None
    captured(NOW + 200)
    over = looked(watch, NOW + 201)
    assert over is not None
    assert not over.drifting


def test_what_cannot_be_decided_changes_nothing(watch: DriftWatch) -> None:
    assert looked(watch, NOW) is None
    assert watch.last is not None
    assert watch.last.undecided


def test_a_reference_of_other_columns_holds_nobody_and_says_which(
    home: Home, spec: Spec, captured: Callable[..., None]
) -> None:
    rng = np.random.default_rng(1)
    other = profile_of({"length": rng.normal(size=1000), "land": rng.normal(size=1000)})
    captured(NOW, times=1.609)
    watch = DriftWatch(spec, home, other)
    assert looked(watch, NOW + 1) is None
    assert watch.last is not None
    assert watch.last.undecided
    assert "no live input is one of the reference's: live requests have" in watch.last.says
    assert "the reference has length, land" in watch.last.says


def test_without_a_profile_nothing_is_looked_at(home: Home, spec: Spec) -> None:
    watch = DriftWatch(spec, home, None)
    assert looked(watch, NOW) is None
    watch.close()
    assert watch.last is None


def test_performance_is_looked_at_without_a_profile_and_its_trouble_stops_nobody(
    home: Home, spec: Spec, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def down(_: Home) -> None:
        raise RegistryDown("MLflow does not answer")

    monkeypatch.setattr(drift_now, "registry_of", down)
    asked = PerformanceSpec(label="truth", baseline=0.9)
    monitoring = spec.monitoring.model_copy(update={"performance": asked})
    watch = DriftWatch(spec.model_copy(update={"monitoring": monitoring}), home, None)
    assert looked(watch, NOW) is None
    found = json.loads((home.root / spec.name / "performance.json").read_text())
    assert found["undecided"]
    assert "was not built here" in found["says"]
    assert drift_performance.look(spec, home, caplog.records.append) is None  # the section is gone, and so is its file
    assert not (home.root / spec.name / "performance.json").exists()

    def broken(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(drift_performance, "look", broken)
    assert looked(watch, NOW + 1000) is None
    assert "no room" in caplog.text


def test_trouble_stops_nobody(watch: DriftWatch, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(drift, "window", broken)
    assert looked(watch, NOW) is None
    assert "no room" in caplog.text


def test_stables_training_data_stands_in_and_it_is_said(
    home: Home, spec: Spec, fetched: FetchedModel, captured: Callable[..., None]
) -> None:
    drift.keep(home, STABLE, fetched, spec)
    captured(NOW, times=1.609)
    with opened(home.store_url) as store:
        it = opens(store, spec, {"candidate_digest": DIGEST, "stable_digest": STABLE})
        world: Any = SimpleNamespace(store=store, home=home, spec=spec)
        began = looked(watch := DriftWatch.of(world, it), NOW + 1)
        drift.keep(home, DIGEST, fetched, spec)
        looked(other := DriftWatch.of(world, it), NOW + 1)
    assert began is not None
    assert watch.last is not None
    assert other.last is not None
    assert began.reason.endswith(" against stable's training data")
    said = "compared with stable's training data", "the candidate's training data is not known"
    assert (watch.last.side, watch.last.notes) == ("stable", said)
    assert (other.last.side, other.last.notes) == ("candidate", ("compared with candidate's training data",))


def test_a_driver_that_ends_waits_for_no_comparison(watch: DriftWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(drift, "window", lambda *_, **__: go.wait())
    monkeypatch.setattr(drift_watch, "_PATIENCE", 0.01)
    watch.look(NOW)
    watch.close()
    (thread,) = [of for of in threading.enumerate() if of.name == "drift"]
    assert thread.daemon  # it ends with the process
    go.set()
    watch.join()


def opens(store: Store, spec: Spec, facts: dict[str, str]) -> Rollout:
    """A rollout whose steps begin."""
    subject = {"model": "fraud-detector", "stable": "1", "candidate": "2"}
    it = Rollout("fraud-1", "fraud", spec.rollout, subject, spec.document, NOW, None)
    store.open(it, NOW)
    store.append(it, store.last(it.id), Built(facts), NOW)
    return it


@pytest.fixture
def file(home: Home, spec: Spec, fetched: FetchedModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a spec whose rollout is open."""
    monkeypatch.setenv("LOCKGATE_HOME", str(home.root))
    monkeypatch.delenv("LOCKGATE_STATE_URL", raising=False)
    drift.keep(home, DIGEST, fetched, spec)
    with opened(f"sqlite:///{home.root / 'lockgate.db'}") as store:
        opens(store, spec, {"candidate_digest": DIGEST})
    path = home.root / "lockgate.yaml"
    path.write_text(SPEC)
    return path


def test_the_command_shows_what_drifts(file: Path, captured: Callable[..., None]) -> None:
    ran = CliRunner().invoke(command, [str(file)])
    assert ran.exit_code == 11
    assert "no verdict about drift: 0 live rows so far" in ran.output
    now = time.time()
    captured(now - 8000)
    ran = CliRunner().invoke(command, [str(file)])
    assert ran.exit_code == 11
    assert "no verdict about drift: the latest live row was answered 2 hours ago" in ran.output
    captured(now - 2000)
    ran = CliRunner().invoke(command, [str(file)])
    assert (ran.exit_code, ran.exception) == (0, None)
    when = f"answered {moment(now - 3000)} to {moment(now - 2001)}"
    assert f"1,000 live rows, {when}, against 3,000 that candidate was trained on" in ran.output
    assert "none of 2 inputs drifts" in ran.output
    captured(now, times=1.609)
    ran = CliRunner().invoke(command, [str(file)])
    assert ran.exit_code == 15
    assert "is it another unit?" in ran.output


def test_the_command_answers_in_json(file: Path, captured: Callable[..., None]) -> None:
    captured(time.time(), times=1.609)
    ran = CliRunner().invoke(command, [str(file), "--json"])
    assert ran.exit_code == 15
    found = json.loads(ran.output)
    assert (found["of"], found["drifting"], found["rows"]) == ("candidate", True, 1000)
    assert found["features"][0]["outcome"] == "severe"


class Shelf:
    """Of a registry, what a comparison needs. `champion`: the version that its alias names, or why it does not answer.

    `asked`: what was resolved of it.
    """

    def __init__(self, champion: str | RegistryDown) -> None:
        self.champion = champion
        self.asked: list[str] = []

    def resolve(self, name: str, reference: str) -> ModelVersion:
        self.asked.append(reference)
        if isinstance(self.champion, RegistryDown):
            raise self.champion
        return ModelVersion(name, {"@champion": self.champion}.get(reference, reference), "")


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, fetched: FetchedModel, spec: Spec) -> Shelf:
    """Whose champion is version 2; `made` is the list of what profiles were made of, version by version."""
    found = Shelf("2")
    monkeypatch.setattr(drift_now, "registry_of", lambda _: found)

    def rows_of(_: Spec, __: Home, reference: str) -> Any:
        found.asked.append(f"rows of {reference}")
        return drift.rows_of(fetched, spec)

    monkeypatch.setattr(drift_now, "_rows", rows_of)
    return found


def ends(home: Home, spec: Spec, *happenings: Any) -> None:
    facts = {"candidate_digest": DIGEST, "stable_digest": STABLE}
    with opened(home.store_url) as store:
        it = opens(store, spec, facts)
        for happening in happenings:
            store.append(it, store.last(it.id), happening, NOW)
        store.close_rollout(it.id, NOW)


def test_between_rollouts_the_profile_of_what_serves_is_the_kept_one(
    home: Home, spec: Spec, fetched: FetchedModel, shelf: Shelf, captured: Callable[..., None]
) -> None:
    captured(NOW)
    ends(home, spec, Commanded("promote", "ann"), Settled())
    drift.keep(home, DIGEST, fetched, spec)
    found = drift_now.compared(spec, home, now=NOW)
    assert (found.side, found.digest, found.reference) == ("stable", DIGEST, "2")
    assert found.comparison.side == "stable"
    assert shelf.asked == ["@champion"]
    shelf.champion = RegistryDown("nobody answers")
    assert drift_now.compared(spec, home, now=NOW).digest == DIGEST


def test_after_a_rollout_that_failed_it_is_stables(
    home: Home, spec: Spec, fetched: FetchedModel, shelf: Shelf, captured: Callable[..., None]
) -> None:
    captured(NOW)
    ends(home, spec, Commanded("abort", "ann"), Settled())
    drift.keep(home, STABLE, fetched, spec)
    shelf.champion = "1"
    found = drift_now.compared(spec, home, now=NOW)
    assert (found.side, found.digest, found.reference) == ("stable", STABLE, "1")
    assert shelf.asked == ["@champion"]


def test_an_alias_that_was_moved_by_hand_is_another_version(
    home: Home, spec: Spec, shelf: Shelf, captured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    captured(NOW)
    ends(home, spec, Commanded("abort", "ann"), Settled())
    shelf.champion = "7"
    monkeypatch.setattr(drift_now, "_built", lambda *_: "7" * 64)
    found = drift_now.compared(spec, home, now=NOW)
    assert (found.digest, found.reference) == ("7" * 64, "7")
    assert shelf.asked == ["@champion", "rows of 7"]
    drift_now.compared(spec, home, now=NOW)  # it was kept
    assert shelf.asked == ["@champion", "rows of 7", "@champion"]


def test_what_was_never_built_is_made_each_time(home: Home, spec: Spec, shelf: Shelf) -> None:
    for _ in range(2):
        found = drift_now.compared(spec, home, now=NOW)
        assert (found.side, found.digest, found.reference) == ("stable", "", "2")
    assert shelf.asked == ["@champion", "rows of 2"] * 2


def test_in_a_rollout_versions_are_those_of_the_rollout(home: Home, spec: Spec, shelf: Shelf) -> None:
    """Whatever the aliases name by now."""
    shelf.champion = "9"
    with opened(home.store_url) as store:
        opens(store, spec, {"candidate_digest": DIGEST, "stable_digest": STABLE})
    drift_now.compared(spec, home, now=NOW)
    drift_now.compared(spec, home, "stable", now=NOW)
    assert shelf.asked == ["rows of 2", "rows of 1"]
