"""Real tiny models, compiled and held against their source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.words import Arrays, SourceModel
from lockgate.services.build import compile_model
from lockgate.services.errors import NoTarget, ParityFailed
from lockgate.services.serving import engines

ROWS = 24


@pytest.fixture
def table() -> Arrays:
    rng = np.random.default_rng(3)
    return {
        "age": rng.uniform(18, 80, ROWS),
        "visits": rng.integers(0, 9, ROWS),
        "city": np.array([("Oslo", "Rome", "Bern")[i % 3] for i in range(ROWS)], object),
    }


def frame(x: Arrays) -> Any:
    import pandas as pd

    return pd.DataFrame(x)


def labels(x: Arrays) -> Any:
    return (next(iter(x.values())) > 40).astype("int64")


def torch_pickle(make: Any, folder: Path) -> SourceModel:
    import cloudpickle
    import torch

    class Twice(torch.nn.Module):  # local: travels inside the pickle, as MLflow's pickles do
        def __init__(self) -> None:
            super().__init__()
            self.inner = make.mlp()

        def forward(self, x: Any) -> Any:
            return self.inner(x), x.sum(-1)

    module = Twice()
    torch.save(module, folder / "model.pth", pickle_module=cloudpickle)
    run = make.torch_run(module, ("output_0", "output_1"))
    example = make.torch_example()
    signature = make.tensor_signature()
    about = {"flavour": "pytorch", "storage": "pickle", "signature": signature, "example": example}
    return make.source_model(folder, module, run, "model.pth", **about)


def sklearn_matrix(make: Any, folder: Path) -> SourceModel:
    """float64 tensor, stored by skops; a forest holds types beyond skops' own safe ones."""
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32").astype("float64")
    forest = RandomForestClassifier(5, max_depth=3, random_state=0).fit(x, np.where(x[:, 0] > 0, "yes", "no"))
    skops.io.dump(forest, folder / "model.skops")
    run = make.sklearn_run(forest, lambda a: a["x"])
    signature = make.tensor_signature(4, "float64")
    about = {"flavour": "sklearn", "storage": "skops", "signature": signature, "example": {"x": x[:ROWS]}}
    return make.source_model(folder, forest, run, "model.skops", **about)


def sklearn_uniform(make: Any, folder: Path) -> SourceModel:
    """Columns of one type: scaled, then a linear regression."""
    import cloudpickle
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=ROWS), "b": rng.normal(size=ROWS) * 100}
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(frame(x), x["a"] * 3 + x["b"])
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(pipeline))
    signature = make.column_signature(a="double", b="double")
    about = {"flavour": "sklearn", "storage": "cloudpickle", "signature": signature, "example": x}
    return make.source_model(folder, pipeline, make.sklearn_run(pipeline, frame), "model.pkl", **about)


def sklearn_mixed(make: Any, folder: Path, table: Arrays) -> SourceModel:
    """Numbers and strings, picked by column name."""
    import cloudpickle
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (StandardScaler(), ["age", "visits"]), (OneHotEncoder(handle_unknown="ignore"), ["city"])
    )
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame(table), labels(table))
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(pipeline))
    signature = make.column_signature(age="double", visits="long", city="string")
    about = {"flavour": "sklearn", "storage": "cloudpickle", "signature": signature, "example": table}
    return make.source_model(folder, pipeline, make.sklearn_run(pipeline, frame), "model.pkl", **about)


def onnx_model(make: Any, folder: Path) -> SourceModel:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Relu", ["x"], ["floor"]), helper.make_node("Neg", ["x"], ["minus"])]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 30]) for n in ("x", "floor", "minus")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    native = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(native, str(folder / "model.onnx"))
    session = onnxruntime.InferenceSession(native.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(x: Arrays) -> Arrays:
        return dict(zip(("floor", "minus"), session.run(None, x), strict=True))

    about = {
        "flavour": "onnx",
        "storage": "onnx",
        "signature": make.tensor_signature(),
        "example": make.torch_example(),
    }
    return make.source_model(folder, native, run, "model.onnx", **about)


def onnx_columns(make: Any, folder: Path, table: Arrays) -> SourceModel:
    """A scikit-learn pipeline that its author exported: one graph input for each column, probabilities as maps."""
    import onnx
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    mixed = sklearn_mixed(make, folder, table)
    kinds = {"age": FloatTensorType, "visits": Int64TensorType, "city": StringTensorType}
    native = convert_sklearn(mixed.native, initial_types=[(n, kind([None, 1])) for n, kind in kinds.items()])
    onnx.save_model(native, str(folder / "model.onnx"))
    names = [o.name for o in native.graph.output]

    def run(x: Arrays) -> Arrays:
        label, probabilities = mixed.run(x).values()
        return {names[0]: label, names[1]: probabilities}

    about = {"flavour": "onnx", "storage": "onnx", "signature": mixed.fetched.signature, "example": table}
    return make.source_model(folder, native, run, "model.onnx", **about)


@pytest.fixture
def models(make: Any, tmp_path: Path, table: Arrays) -> dict[str, Callable[[], SourceModel]]:
    return {
        "pt2": lambda: make.torch_pt2(tmp_path, make.mlp()),
        "torch pickle": lambda: torch_pickle(make, tmp_path),
        "sklearn matrix": lambda: sklearn_matrix(make, tmp_path),
        "sklearn uniform": lambda: sklearn_uniform(make, tmp_path),
        "sklearn mixed": lambda: sklearn_mixed(make, tmp_path, table),
        "onnx": lambda: onnx_model(make, tmp_path),
        "onnx columns": lambda: onnx_columns(make, tmp_path, table),
    }


KINDS = ("pt2", "torch pickle", "sklearn matrix", "sklearn uniform", "sklearn mixed")


@pytest.mark.parametrize(
    ("kind", "target"),
    [(k, t) for k in KINDS for t in ("onnxruntime", "eager")]
    + [("onnx", "onnxruntime"), ("onnx columns", "onnxruntime")],
)
def test_every_flavour_keeps_parity(kind: str, target: str, models: Any, make: Any, tmp_path: Path) -> None:
    model = models[kind]()
    artifact = compile_model(model, make.spec_for(target), tmp_path / "cache")
    assert (artifact.target, artifact.skipped, artifact.parity.passed) == (target, (), True)
    assert artifact.parity.rows == 256
    engine = engines.load(artifact.path, artifact.manifest, threads=1)
    want, found = model.run(model.fetched.example), engine.run(model.fetched.example)
    assert shapes(found) == shapes(want)


def shapes(outputs: Arrays) -> dict[str, tuple[Any, str]]:
    return {name: (value.shape, value.dtype.kind.replace("U", "O")) for name, value in outputs.items()}


def test_what_is_not_supported_is_named(models: Any, make: Any, tmp_path: Path) -> None:
    with pytest.raises(NoTarget, match="eager: an ONNX model has no eager form"):
        compile_model(models["onnx"](), make.spec_for("eager"), tmp_path / "cache")


def test_a_model_without_a_converter_goes_on_to_the_next_target(make: Any, tmp_path: Path) -> None:
    import cloudpickle
    from sklearn.base import BaseEstimator, RegressorMixin

    class Own(RegressorMixin, BaseEstimator):  # type: ignore[misc, unused-ignore]
        def fit(self, x: Any, _y: Any) -> Any:
            self.width_ = x.shape[1]
            return self

        def predict(self, x: Any) -> Any:
            return np.asarray(x).sum(axis=1)

    x = np.random.default_rng(0).normal(size=(8, 3))
    own = Own().fit(x, None)
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(own))
    about = {"flavour": "sklearn", "storage": "cloudpickle", "example": {"x": x}}
    run = make.sklearn_run(own, lambda a: a["x"])
    signature = make.tensor_signature(3, "float64")
    model = make.source_model(tmp_path, own, run, "model.pkl", signature=signature, **about)
    artifact = compile_model(model, make.spec_for("onnxruntime", "eager"), tmp_path / "cache")
    assert artifact.target == "eager"
    ((target, reason),) = artifact.skipped
    assert target == "onnxruntime"
    assert reason.startswith("could not be compiled: ")


def test_a_target_that_differs_is_passed_over_and_when_none_is_left_refused(make: Any, tmp_path: Path) -> None:
    good = make.torch_pt2(tmp_path, make.mlp())
    off = replace(good, run=lambda x: {n: v * np.float32(1.5) for n, v in good.run(x).items()})
    with pytest.raises(ParityFailed) as refused:
        compile_model(off, make.spec_for("onnxruntime", "eager"), tmp_path / "cache")
    sentence = str(refused.value)
    assert "fraud-detector version 1 compiled to" in sentence
    assert "output 'output', row " in sentence
    assert "they differ by" in sentence
    assert not list((tmp_path / "cache").glob("*/evidence.json"))


def test_a_one_row_example_froze_the_batch(make: Any, tmp_path: Path) -> None:
    model = make.torch_pt2(tmp_path, make.mlp(), rows=1)
    with pytest.raises(ParityFailed, match="does not answer 2 rows like those of its input example, which has 1"):
        compile_model(model, make.spec_for("onnxruntime", "eager"), tmp_path / "cache")


def test_the_second_time_it_comes_from_the_cache(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make.torch_pt2(tmp_path, make.mlp())
    spec = make.spec_for("eager")
    first = compile_model(model, spec, tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr("lockgate.services.compilers.eager.Eager.compile", None)
        assert compile_model(model, spec, tmp_path / "cache") == first
    (first.path / "model.pt2").write_bytes(b"cut off")
    assert compile_model(model, spec, tmp_path / "cache") == first
    assert (first.path / "model.pt2").read_bytes() != b"cut off"


def test_a_build_killed_halfway_leaves_nothing_in_the_way(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make.torch_pt2(tmp_path, make.mlp())
    with monkeypatch.context() as patch:
        patch.setattr("lockgate.services.cache.store", _killed)
        patch.setattr("lockgate.services.cache.shutil.rmtree", lambda *_a, **_k: None)  # a kill cleans nothing up
        with pytest.raises(KeyboardInterrupt):
            compile_model(model, make.spec_for("eager"), tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*.building-*"))
    artifact = compile_model(model, make.spec_for("eager"), tmp_path / "cache")
    assert json.loads((artifact.path / "manifest.json").read_text())["target"] == "eager"
    assert not list((tmp_path / "cache").glob("*.building-*"))


def _killed(*_args: object) -> None:
    raise KeyboardInterrupt
