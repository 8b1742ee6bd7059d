"""What performance is compared with: a number, or what the measure is on the version's reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.flows import drift_now
from lockgate.flows.drift_baseline import baseline
from lockgate.flows.drift_now import Whose
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec, parse
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.performance.words import Asked, Baseline
from lockgate.registry.errors import RegistryDown
from lockgate.registry.words import FetchedModel, ModelVersion

SPEC = """
name: fraud
model: {name: fraud-detector}
rollout: {steps: [{canary: {weight: 5}}], gates: {errors: {metric: error_rate}}}
monitoring: {performance: {label: truth%s}}
"""
WHOSE = Whose("stable", "7", "d" * 64)
NOW = 1_700_000_000.0
ASKED = Asked("truth", "accuracy", "", 0.05, 5000)


class Shelf:
    """A registry with one version, whose files lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fetched, self.down = folder, 0, False

    def resolve(self, name: str, reference: str) -> ModelVersion:
        return ModelVersion(name, reference, "")

    def fetch(self, version: ModelVersion) -> FetchedModel:
        if self.down:
            raise RegistryDown("MLflow does not answer")
        self.fetched += 1
        signature: dict[str, Any] = {
            "inputs": [{"type": "double", "name": "age"}],
            "outputs": [{"type": "string", "name": "label"}, {"type": "double", "name": "score"}],
        }
        example = {"age": np.ones(1)}
        return FetchedModel(version, self.folder, "d" * 64, "sklearn", signature, example)

    def training_file(self, *_: Any, **__: Any) -> None:
        """It has no other file."""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf(tmp_path / "model")
    made.folder.mkdir()
    monkeypatch.setattr(drift_now, "registry_of", lambda _: made)
    return made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


def spec(more: str = "") -> Spec:
    return parse(SPEC % more)


def reference(shelf: Shelf, wrong: int, rows: int = 1000, **more: Any) -> None:
    truth = np.array(["no"] * rows, dtype=object)
    said = truth.copy()
    said[:wrong] = "yes"
    columns = {"age": np.ones(rows), "label": said, "truth": truth} | more
    table = pa.table({name: of for name, of in columns.items() if of is not None})
    parquet.write_table(table, shelf.folder / "reference.parquet")


def test_a_number_of_the_spec_asks_nobody(home: Home, shelf: Shelf) -> None:
    assert baseline(spec(", baseline: 0.9"), home, WHOSE, ASKED) == Baseline(0.9)
    assert shelf.fetched == 0


def test_that_of_the_reference_is_made_once_for_each_version(home: Home, shelf: Shelf) -> None:
    reference(shelf, wrong=80)
    for _ in range(2):
        assert baseline(spec(), home, WHOSE, ASKED).value == pytest.approx(0.92)
    assert shelf.fetched == 1
    assert baseline(spec(), home, Whose("stable", "8", "e" * 64), ASKED).value == pytest.approx(0.92)
    assert shelf.fetched == 2
    (kept,) = home.references.glob("ddd*.json")
    assert json.loads(kept.read_text()) == {"baseline": 0.92, "at_worst": pytest.approx(0.8956, abs=1e-3)}
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"truth": None}, "reference.parquet has no column truth; it has age, label"),
        ({"label": None}, "reference.parquet has no column label"),
        ({"wrong": 0}, "has no prediction that is wrong"),
        ({"rows": 150}, "has 150 rows with a label and a prediction, and it takes 200"),
        ({"truth": ["other"] * 1000}, "has no prediction that is right"),
        ({"truth": [1.5] * 1000}, "no label is a value that the output ever has"),
    ],
)
def test_why_there_is_none_is_kept_too(home: Home, shelf: Shelf, columns: dict[str, Any], says: str) -> None:
    reference(shelf, **({"wrong": 80} | columns))
    for _ in range(2):
        with pytest.raises(NoReference, match=says):
            baseline(spec(), home, WHOSE, ASKED)
    assert shelf.fetched == 1
    with pytest.raises(NoReference, match=r"or give monitoring\.performance\.baseline"):
        baseline(spec(), home, WHOSE, ASKED)


def test_that_the_registry_is_down_is_not(home: Home, shelf: Shelf) -> None:
    reference(shelf, wrong=80)
    shelf.down = True
    with pytest.raises(RegistryDown):
        baseline(spec(), home, WHOSE, ASKED)
    shelf.down = False
    assert baseline(spec(), home, WHOSE, ASKED).value == pytest.approx(0.92)


def test_who_logs_one_as_was_advised_has_a_baseline_within_the_hour(home: Home, shelf: Shelf) -> None:
    reference(shelf, wrong=0)
    with pytest.raises(NoReference, match="no prediction that is wrong"):
        baseline(spec(), home, WHOSE, ASKED, NOW)
    reference(shelf, wrong=80)
    with pytest.raises(NoReference, match="no prediction that is wrong"):
        baseline(spec(), home, WHOSE, ASKED, NOW + 3599)
    assert shelf.fetched == 1
    assert baseline(spec(), home, WHOSE, ASKED, NOW + 3600).value == pytest.approx(0.92)
