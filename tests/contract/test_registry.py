"""What every registry does, MLflow and the fake."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.client import quiet_import, quiet_mlflow
from lockgate.registry.errors import Conflict, NoSuchVersion
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.words import Registry

Filled = Callable[[int], Registry]
"""`filled(n)`: a registry with the model `fraud` of `n` versions, none of them named by an alias."""


def _fake(_: Path, __: Path) -> Filled:
    place = importlib.util.spec_from_file_location("fake_registry", Path(__file__).with_name("fake_registry.py"))
    assert place
    assert place.loader
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module  # dataclasses look their module up
    place.loader.exec_module(module)

    def filled(versions: int) -> Registry:
        fake = module.FakeRegistry()
        fake.put("fraud", versions)
        return fake  # type: ignore[no-any-return]

    return filled


def _mlflow(folder: Path, model: Path) -> Filled:
    uri = f"sqlite:///{folder / 'mlflow.db'}"

    def filled(versions: int) -> Registry:
        client = quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.create_registered_model("fraud")
        for _ in range(versions):
            client.create_model_version("fraud", source=str(model))
        return MlflowRegistry(folder / "cache", uri)

    return filled


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One usable model on disk."""
    from sklearn.linear_model import LinearRegression

    x = np.arange(12.0).reshape(4, 3)
    linear = LinearRegression().fit(x, x.sum(1))
    path = tmp_path_factory.mktemp("model") / "model"
    quiet_import("mlflow.pyfunc")
    quiet_import("mlflow.sklearn").save_model(
        linear,
        str(path),
        input_example=x,
        signature=quiet_import("mlflow.models").infer_signature(x, linear.predict(x)),
        pip_requirements=["numpy"],
    )
    return path


@pytest.fixture(params=[_mlflow, _fake], ids=["mlflow", "fake"])
def filled(request: Any, tmp_path: Path, template: Path, model: Path) -> Filled:
    (tmp_path / "mlflow.db").write_bytes(template.read_bytes())
    return request.param(tmp_path, model)  # type: ignore[no-any-return]


def test_a_number_resolves_to_itself(filled: Filled) -> None:
    found = filled(2).resolve("fraud", "2")

    assert (found.name, found.version, found.aliases, str(found)) == ("fraud", "2", (), "fraud version 2")


@pytest.mark.parametrize(("name", "reference"), [("fraud", "@champion"), ("fraud", "3"), ("other", "1")])
def test_what_is_not_there_raises(filled: Filled, name: str, reference: str) -> None:
    with pytest.raises(NoSuchVersion, match=f"{name}.*{reference}" if name == "fraud" else name):
        filled(2).resolve(name, reference)


def test_a_fetched_model_has_what_a_rollout_needs(filled: Filled) -> None:
    registry = filled(1)
    version = registry.resolve("fraud", "1")

    fetched = registry.fetch(version)

    assert fetched.version == version
    assert fetched.signature["inputs"]
    assert {len(values) for values in fetched.example.values()} != {0}
    assert registry.fetch(version).digest == fetched.digest


def test_the_first_champion_has_no_predecessor(filled: Filled) -> None:
    registry = filled(2)
    registry.assign("fraud", "1", expected=None)

    assert registry.resolve("fraud", "@champion").version == "1"
    with pytest.raises(NoSuchVersion):
        registry.resolve("fraud", "@previous")


def test_the_champion_before_is_kept_as_previous(filled: Filled) -> None:
    registry = filled(3)
    registry.assign("fraud", "1", expected=None)
    registry.assign("fraud", "2", expected="1")
    registry.assign("fraud", "3", expected="2")

    assert registry.resolve("fraud", "@champion").version == "3"
    assert registry.resolve("fraud", "@previous").version == "2"
    assert registry.resolve("fraud", "3").aliases == ("champion",)


def test_assigning_again_changes_nothing(filled: Filled) -> None:
    registry = filled(2)
    registry.assign("fraud", "1", expected=None)
    for _ in range(2):
        registry.assign("fraud", "2", expected="1")

    assert registry.resolve("fraud", "@champion").version == "2"
    assert registry.resolve("fraud", "@previous").version == "1"


def test_an_alias_that_somebody_moved_is_a_conflict(filled: Filled) -> None:
    registry = filled(3)
    registry.assign("fraud", "1", expected=None)
    registry.assign("fraud", "3", expected="1")

    with pytest.raises(Conflict, match="where version 1 was expected"):
        registry.assign("fraud", "2", expected="1")

    assert registry.resolve("fraud", "@champion").version == "3"
    assert registry.resolve("fraud", "@previous").version == "1"


def test_an_alias_that_somebody_took_away_is_a_conflict(filled: Filled) -> None:
    with pytest.raises(Conflict):
        filled(2).assign("fraud", "2", expected="1")


def test_without_a_belief_the_alias_is_moved_from_wherever_it_is(filled: Filled) -> None:
    registry = filled(2)
    registry.assign("fraud", "1", expected=None)
    registry.assign("fraud", "2", expected=None)

    assert registry.resolve("fraud", "@champion").version == "2"


def test_a_version_that_is_not_there_is_not_assigned(filled: Filled) -> None:
    registry = filled(1)
    registry.assign("fraud", "1", expected=None)

    with pytest.raises(NoSuchVersion):
        registry.assign("fraud", "7", expected="1")

    assert registry.resolve("fraud", "@champion").version == "1"


def test_tags_get_our_prefix_and_are_cut(filled: Filled) -> None:
    registry = filled(1)
    registry.annotate("fraud", "1", {"phase": "building"})
    registry.annotate("fraud", "1", {"phase": "progressing", "decision": "x" * 6000})

    assert registry.resolve("fraud", "1").tags == {"lockgate.phase": "progressing", "lockgate.decision": "x" * 5000}


def test_a_version_that_is_not_there_gets_no_tags(filled: Filled) -> None:
    with pytest.raises(NoSuchVersion):
        filled(1).annotate("fraud", "2", {"phase": "building"})
