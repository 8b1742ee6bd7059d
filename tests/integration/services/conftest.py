"""Tiny real models as MLflow saves them and the registry hands them over, and one bento that the tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.cache import Cached, digest_of
from lockgate.registry.checked import checked
from lockgate.registry.client import quiet_import
from lockgate.registry.spec import Trust
from lockgate.registry.words import Arrays, FetchedModel, ModelVersion
from lockgate.services.build import compile_model
from lockgate.services.compile.words import Search
from lockgate.services.package import package
from lockgate.services.spec import Compile, ServiceSpec
from lockgate.services.words import Bento

WIDTH = 30
IMPORTABLE = Path(__file__).parent / "importable"
"""Modules that child processes import too: they get this process's `sys.path`."""
TRUSTING = Trust(pickle=True)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("DO_NOT_TRACK", "1")


@pytest.fixture(scope="session")
def toys() -> Iterator[Any]:
    """The module of toy models; its compilers are targets like any other, here and in child processes."""
    from lockgate.services.compile.targets import COMPILERS

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(IMPORTABLE))
        from toys import compilers, models  # type: ignore[import-not-found, unused-ignore]

        for name, where in compilers.registered().items():
            patch.setitem(COMPILERS, name, where)
        yield models


def spec_for(*targets: str, **settings: Any) -> ServiceSpec:
    return ServiceSpec(compile=Compile(targets=targets), **settings)


def fetched(folder: Path, flavour: str, native: Any, example: Any, **options: Any) -> FetchedModel:
    """Saved by MLflow under `folder`, and checked as the registry does. `version` is its number."""
    version = ModelVersion("fraud-detector", options.pop("version", "1"), "test")
    quiet_import("mlflow.pyfunc")  # MLflow imports it when it saves, and warns about its own type hints
    save = quiet_import(f"mlflow.{flavour}").save_model
    save(native, str(folder / "model"), input_example=example, pip_requirements=["numpy"], **options)
    return checked(version, Cached(folder / "model", digest_of(folder / "model")))


def tensor_signature(dtype: str = "float32", **shapes: int) -> Any:
    """Tensors of this width each."""
    models, types = quiet_import("mlflow.models"), quiet_import("mlflow.types")
    specs = [types.TensorSpec(np.dtype(dtype), (-1, width), name=name) for name, width in shapes.items()]
    return models.ModelSignature(inputs=types.Schema(specs))


def column_signature(**columns: str) -> Any:
    models, types = quiet_import("mlflow.models"), quiet_import("mlflow.types")
    return models.ModelSignature(inputs=types.Schema([types.ColSpec(kind, name) for name, kind in columns.items()]))


def torch_example(rows: int = 4, width: int = WIDTH) -> Arrays:
    return {"x": np.random.default_rng(7).normal(size=(rows, width)).astype("float32")}


def torch_pt2(folder: Path, module: Any, rows: int = 4, **options: Any) -> FetchedModel:
    """An exported program: its batch is frozen where the example has one row."""
    how = {"signature": tensor_signature(x=WIDTH), "serialization_format": "pt2", **options}
    return fetched(folder, "pytorch", module, torch_example(rows)["x"], **how)


def mlp(seed: int = 0) -> Any:
    import torch

    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2), torch.nn.Softmax(-1))


def compiled(model: FetchedModel, spec: ServiceSpec, cache: Path, trust: Trust = TRUSTING) -> Search:
    return compile_model(model, trust, spec, cache, lambda _line: None)


@pytest.fixture(scope="session")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BENTOML_HOME of the whole session: building a bento takes seconds."""
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> FetchedModel:
    """A small PyTorch classifier."""
    return torch_pt2(tmp_path_factory.mktemp("classifier"), mlp())


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of compiled artifacts; the tests that count or harm what is in it have one of their own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def bento(bentoml_home: Path, classifier: FetchedModel, cache: Path) -> Bento:
    """A PyTorch classifier compiled to ONNX Runtime, where the umask lets everybody write to what is made."""
    spec = spec_for("onnxruntime", max_body="64KiB")
    before = os.umask(0)
    try:
        found = compiled(classifier, spec, cache)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BENTOML_HOME", str(bentoml_home))
            return package(classifier, found, name="fraud", spec=spec, spec_hash="abc123")
    finally:
        os.umask(before)


@pytest.fixture(scope="session")
def make() -> Any:
    """This file's helpers: test modules cannot import one another."""
    import sys

    return sys.modules[__name__]
