"""Keras and TensorFlow models as MLflow really logs them, loaded in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.client import quiet_mlflow
from lockgate.registry.describe import describe
from lockgate.registry.errors import Unusable
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.spec import Trust

HERE = Path(__file__).parent
KERAS = ("plain", "two", "several")
GUARDED = ("lambda", "own", "h5", "reader", "writer")


@dataclass
class Logged:
    uri: str
    folder: Path

    @property
    def registry(self) -> MlflowRegistry:
        return MlflowRegistry(self.folder / "cache", self.uri)

    def process(self, step: str, *names: str, **environment: str) -> dict[str, Any]:
        program = [sys.executable, str(HERE / "keras_process.py"), step, self.uri, str(self.folder), *names]
        kept = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND" and not k.startswith("MLFLOW")}
        done = subprocess.run(program, env=kept | environment, capture_output=True, text=True, check=False, timeout=110)
        assert done.returncode == 0, done.stderr
        answer = self.folder / "answer.json"
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else {}
        return found


@pytest.fixture(scope="session")
def logged(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    folder = tmp_path_factory.mktemp("keras")
    shutil.copy(template, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_experiment("tests", str(folder / "artifacts"))
    found = Logged(uri, folder)
    found.process("log")
    return found


@pytest.fixture(scope="session")
def on_tensorflow(logged: Logged) -> dict[str, Any]:
    names = (*KERAS, "module", "saved", "exported", *GUARDED, *(f"{name}+" for name in GUARDED))
    return logged.process("load", *names)


def test_tensorflow_is_the_backend_where_none_is_named(on_tensorflow: dict[str, Any]) -> None:
    assert on_tensorflow["modules"] == ["tensorflow"]


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("plain", ["output"]),
        ("two", ["one", "zero"]),
        ("several", ["output_0", "output_1"]),
        ("module", ["output_0", "output_1"]),
    ],
)
def test_a_model_answers_as_it_did_when_it_was_logged(
    name: str, outputs: list[str], on_tensorflow: dict[str, Any]
) -> None:
    found = on_tensorflow[name]
    assert (found["outputs"], found["error"]) == (outputs, 0.0)


def test_mlflow_s_keras_flavour_is_read_in_both_its_forms(on_tensorflow: dict[str, Any]) -> None:
    found = {name: (on_tensorflow[name]["storage"], on_tensorflow[name]["file"]) for name in ("saved", "exported")}
    assert found == {"saved": ("keras", "data/model.keras"), "exported": ("savedmodel", "data/model")}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lambda", "is stored with a Lambda layer"),
        ("own", "is stored with global_custom_objects.cloudpickle"),
        ("h5", "is stored with HDF5, which Keras before 3.11.3 reads without its safe mode"),
        ("reader", "is a SavedModel with the operators ReadFile"),
        ("writer", "is a SavedModel with the operators PrintV2"),
    ],
)
def test_code_in_a_model_is_loaded_only_when_the_spec_vouches_for_it(
    name: str, why: str, on_tensorflow: dict[str, Any]
) -> None:
    said = on_tensorflow[name]["refused"]
    assert said.startswith(f"Untrusted: {name} version 1 {why}")
    assert said.endswith("model:\n  trust:\n    pickle: true")
    assert on_tensorflow[f"{name}+"]["error"] == 0.0


def test_a_keras_file_is_read_on_torch_without_tensorflow(logged: Logged) -> None:
    forbidden = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    found = logged.process("load", *KERAS, "own+", KERAS_BACKEND="torch", **forbidden)
    assert found["modules"] == ["torch"]
    assert {name: found[name]["error"] < 1e-6 for name in KERAS} == dict.fromkeys(KERAS, True)
    assert "this machine's environment forbids" in found["own+"]["refused"]


@pytest.mark.parametrize(
    ("name", "flavour", "storage", "pickle"),
    [
        ("plain", "keras", "keras", False),
        ("saved", "keras", "keras", False),
        ("exported", "tensorflow", "savedmodel", False),
        ("module", "tensorflow", "savedmodel", False),
        ("reader", "tensorflow", "savedmodel", True),
        ("writer", "tensorflow", "savedmodel", True),
        ("lambda", "keras", "keras+pickle", True),
        ("own", "keras", "keras+pickle", True),
        ("h5", "keras", "h5", True),
    ],
)
def test_what_loading_asks_for_is_known_without_loading(
    name: str, flavour: str, storage: str, pickle: Any, logged: Logged
) -> None:
    found = describe(logged.registry, name, "1")
    assert (found.flavour, found.storage, found.needs) == (flavour, storage, Trust(pickle=pickle))
    assert "keras" not in sys.modules or "tensorflow" not in sys.modules


def test_named_inputs_come_with_the_example(logged: Logged) -> None:
    fetched = logged.registry.fetch(logged.registry.resolve("two", "1"))
    assert {name: values.shape for name, values in fetched.example.items()} == {"a": (4, 3), "b": (4, 3)}
    assert np.allclose(fetched.example["b"], fetched.example["a"] + 1)


def test_mlflow_keras_keeps_no_example_so_the_other_call_is_named(logged: Logged) -> None:
    version = logged.registry.resolve("unexampled", "1")
    with pytest.raises(Unusable, match=r"no input example.*mlflow\.tensorflow\.log_model") as caught:
        logged.registry.fetch(version)
    assert "mlflow.keras.log_model" not in str(caught.value)


def test_an_estimator_of_tensorflow_1_is_refused(logged: Logged, tmp_path: Path) -> None:
    version = logged.registry.resolve("module", "1")
    cached = logged.registry.fetch(version).path
    shutil.copytree(cached, tmp_path / "model")
    mlmodel = tmp_path / "model" / "MLmodel"
    mlmodel.write_text(mlmodel.read_text().replace("model_type: tf2-module", "model_type: tf1-estimator"))
    client = quiet_mlflow().MlflowClient(tracking_uri=logged.uri, registry_uri=logged.uri)
    client.create_registered_model("old")
    client.create_model_version("old", source=str(tmp_path / "model"))
    with pytest.raises(Unusable, match=r"logged by mlflow\.tensorflow as tf1-estimator"):
        logged.registry.fetch(logged.registry.resolve("old", "1"))
