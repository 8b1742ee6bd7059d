"""Tiny real models on disk as the registry hands them over, and one bento that the tests share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.words import Arrays, FetchedModel, ModelVersion, SourceModel
from lockgate.services.build import compile_model
from lockgate.services.package import package
from lockgate.services.spec import Compile, ServiceSpec
from lockgate.services.words import Bento

WIDTH = 30


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("DO_NOT_TRACK", "1")


def spec_for(*targets: str, **settings: Any) -> ServiceSpec:
    return ServiceSpec(compile=Compile(targets=targets), **settings)


def tensor_signature(width: int = WIDTH, dtype: str = "float32", name: str | None = "x") -> dict[str, Any]:
    item: dict[str, Any] = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, width]}}
    return {"inputs": [item | ({"name": name} if name else {})], "outputs": None}


def column_signature(**columns: str) -> dict[str, Any]:
    return {"inputs": [{"type": t, "name": n, "required": True} for n, t in columns.items()], "outputs": None}


def source_model(folder: Path, native: Any, run: Callable[[Arrays], Arrays], file: str, **fetched: Any) -> SourceModel:
    """What the registry would hand over for the one file in `folder`."""
    version = ModelVersion(fetched.pop("name", "fraud-detector"), fetched.pop("version", "1"), "test")
    storage = fetched.pop("storage")
    digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    return SourceModel(FetchedModel(version, folder, digest, **fetched), native, storage, file, run)


def torch_example(rows: int = 4, width: int = WIDTH) -> Arrays:
    return {"x": np.random.default_rng(7).normal(size=(rows, width)).astype("float32")}


def torch_run(module: Any, names: tuple[str, ...] = ("output",)) -> Callable[[Arrays], Arrays]:
    import torch

    def run(x: Arrays) -> Arrays:
        with torch.inference_mode():
            answer = module(*(torch.from_numpy(v) for v in x.values()))
        values = answer if isinstance(answer, tuple) else (answer,)
        return {n: v.numpy() for n, v in zip(names, values, strict=True)}

    return run


def torch_pt2(folder: Path, module: Any, rows: int = 4, **options: Any) -> SourceModel:
    """As MLflow stores it: exported with the example, and with a frozen batch where the example has one row.

    Options: `version`, and the `names` of the outputs.
    """
    import torch

    example = torch_example(rows)
    shapes = ({0: torch.export.Dim("batch")},) if rows > 1 else None
    exported = torch.export.export(module.eval(), (torch.from_numpy(example["x"]),), dynamic_shapes=shapes)
    torch.export.save(exported, folder / "model.pt2")
    loaded = torch.export.load(folder / "model.pt2").module()
    return source_model(
        folder,
        loaded,
        torch_run(loaded, options.get("names", ("output",))),
        "model.pt2",
        flavour="pytorch",
        storage="pt2",
        signature=tensor_signature(),
        example=example,
        version=options.get("version", "1"),
    )


def mlp(seed: int = 0) -> Any:
    import torch

    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2), torch.nn.Softmax(-1))


def sklearn_run(estimator: Any, frame: Callable[[Arrays], Any]) -> Callable[[Arrays], Arrays]:
    from sklearn.base import is_classifier

    def run(x: Arrays) -> Arrays:
        rows = frame(x)
        if is_classifier(estimator):
            return {"label": estimator.predict(rows), "probabilities": estimator.predict_proba(rows)}
        return {"prediction": estimator.predict(rows)}

    return run


@pytest.fixture(scope="session")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BENTOML_HOME of the whole session: building a bento takes seconds."""
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="session")
def bento(bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Bento:
    """A PyTorch classifier compiled to ONNX Runtime."""
    folder = tmp_path_factory.mktemp("shared")
    model = torch_pt2(folder, mlp())
    spec = spec_for("onnxruntime", max_body="64KiB")
    artifact = compile_model(model, spec, folder / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(bentoml_home))
        return package(model.fetched, artifact, name="fraud", spec=spec, spec_hash="abc123")


@pytest.fixture(scope="session")
def make() -> Any:
    """This file's helpers: test modules cannot import one another."""
    import sys

    return sys.modules[__name__]
