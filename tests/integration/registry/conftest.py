"""MLflow on a SQLite file of the test's own, and a few tiny models to register there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.client import quiet_import, quiet_mlflow
from lockgate.registry.mlflow_registry import MlflowRegistry


@pytest.fixture(scope="session")
def servers(from_file: Any) -> Any:
    """`served.py`: real MLflow servers."""
    return from_file("integration/registry/served.py")


@dataclass
class Shelf:
    """An MLflow and how to put models into it."""

    uri: str
    folder: Path

    @property
    def client(self) -> Any:
        return quiet_mlflow().MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def registry(self, cache: str = "cache") -> MlflowRegistry:
        return MlflowRegistry(self.folder / cache, self.uri)

    def log(self, flavour: str, model: Any, name: str = "fraud", **options: Any) -> str:
        """Log and register; the version's number."""
        info = quiet_import(f"mlflow.{flavour}").log_model(
            model, name="model", registered_model_name=name, pip_requirements=["numpy"], **options
        )
        return str(info.registered_model_version)

    def point(self, alias: str, version: str, name: str = "fraud") -> None:
        self.client.set_registered_model_alias(name, alias, version)

    def files(self, version: str, name: str = "fraud") -> Path:
        """Where MLflow keeps the version's files."""
        return Path(self.client.get_model_version_download_uri(name, version))

    def bare(self, name: str = "fraud", versions: int = 1) -> None:
        """Versions without a model behind them: enough for names and aliases, and quick."""
        self.client.create_registered_model(name)
        for _ in range(versions):
            self.client.create_model_version(name, source=str(self.folder), run_id=None)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database: copying it is a hundred times quicker than migrating another one."""
    quiet_import("mlflow.pyfunc")  # MLflow imports it when it logs, and warns about its own type hints
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    uri = f"sqlite:///{path}"
    quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()
    return path


@pytest.fixture
def shelf(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
        monkeypatch.delenv(variable, raising=False)
    shutil.copy(template, tmp_path / "mlflow.db")
    shelf = Shelf(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    mlflow = quiet_mlflow()
    mlflow.set_tracking_uri(shelf.uri)
    mlflow.set_experiment(experiment_id=shelf.client.create_experiment("tests", str(tmp_path / "artifacts")))
    yield shelf
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def table() -> Any:
    """Three number columns and a label."""
    import pandas as pd

    values = np.random.default_rng(7).normal(size=(60, 3))
    return pd.DataFrame(values, columns=["amount", "age", "hour"]), (values[:, 0] > 0).astype(int)


@pytest.fixture(scope="session")
def classifier(table: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(*table)


@pytest.fixture
def champion(shelf: Shelf, classifier: Any, table: Any) -> str:
    """A usable version: skops, named columns, five example rows."""
    return shelf.log("sklearn", classifier, **_described(classifier, table[0]))


def _described(model: Any, rows: Any) -> dict[str, Any]:
    infer_signature = quiet_import("mlflow.models").infer_signature
    return {"input_example": rows[:5], "signature": infer_signature(rows, model.predict(rows))}


@pytest.fixture(scope="session")
def described() -> Any:
    """`described(model, rows)`: the options that log a model with its signature and an example of five rows."""
    return _described
