"""Model versions from MLflow's own files to what a search chose; and real artifacts that were tampered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.errors import Untrusted, Unusable
from lockgate.registry.spec import Trust
from lockgate.registry.words import Arrays, FetchedModel
from lockgate.services.compile import engines
from lockgate.services.compile.targets import COMPILERS
from lockgate.services.errors import NoTarget, ParityFailed
from lockgate.services.opened import opened

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


def described(model: Any, rows: Any) -> dict[str, Any]:
    from lockgate.registry.client import quiet_import

    return {"signature": quiet_import("mlflow.models").infer_signature(rows, model.predict(rows))}


def torch_pickle(make: Any, folder: Path) -> FetchedModel:
    import torch

    class Twice(torch.nn.Module):  # local: travels inside the pickle, as MLflow's pickles do
        def __init__(self) -> None:
            super().__init__()
            self.inner = make.mlp()

        def forward(self, x: Any) -> Any:
            return self.inner(x), x.sum(-1)

    signature = make.tensor_signature(x=30)
    how = {"signature": signature, "serialization_format": "pickle"}
    return make.fetched(folder, "pytorch", Twice(), make.torch_example(), **how)


def sklearn_matrix(make: Any, folder: Path) -> FetchedModel:
    """float64 tensor, stored by skops; a forest holds types beyond skops' own safe ones."""
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32").astype("float64")
    forest = RandomForestClassifier(5, max_depth=3, random_state=0).fit(x, np.where(x[:, 0] > 0, "yes", "no"))
    how = {"signature": make.tensor_signature("float64", x=4), "serialization_format": "cloudpickle"}
    return make.fetched(folder, "sklearn", forest, {"x": x[:ROWS]}, **how)


def sklearn_uniform(make: Any, folder: Path) -> FetchedModel:
    """Columns of one type: scaled, then a linear regression."""
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x = frame({"a": rng.normal(size=ROWS), "b": rng.normal(size=ROWS) * 100})
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(x, x["a"] * 3 + x["b"])
    how = {**described(pipeline, x), "serialization_format": "cloudpickle"}
    return make.fetched(folder, "sklearn", pipeline, x, **how)


def sklearn_mixed(make: Any, folder: Path, table: Arrays) -> FetchedModel:
    """Numbers and strings, picked by column name."""
    pipeline = mixed(table)
    signature = make.column_signature(age="double", visits="long", city="string")
    how = {"signature": signature, "serialization_format": "cloudpickle"}
    return make.fetched(folder, "sklearn", pipeline, frame(table), **how)


def mixed(table: Arrays) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (StandardScaler(), ["age", "visits"]), (OneHotEncoder(handle_unknown="ignore"), ["city"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame(table), (table["age"] > 40).astype("int64"))


def onnx_model(make: Any, folder: Path) -> FetchedModel:
    import onnx
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Relu", ["x"], ["floor"]), helper.make_node("Neg", ["x"], ["minus"])]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 30]) for n in ("x", "floor", "minus")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    native = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(native)
    return make.fetched(folder, "onnx", native, make.torch_example(), signature=make.tensor_signature(x=30))


@pytest.fixture
def models(make: Any, tmp_path: Path, table: Arrays) -> dict[str, Callable[[], FetchedModel]]:
    return {
        "pt2": lambda: make.torch_pt2(tmp_path, make.mlp()),
        "torch pickle": lambda: torch_pickle(make, tmp_path),
        "sklearn matrix": lambda: sklearn_matrix(make, tmp_path),
        "sklearn uniform": lambda: sklearn_uniform(make, tmp_path),
        "sklearn mixed": lambda: sklearn_mixed(make, tmp_path, table),
        "onnx": lambda: onnx_model(make, tmp_path),
    }


KINDS = ("torch pickle", "sklearn matrix", "sklearn mixed", "onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_every_flavour_keeps_parity(kind: str, models: Any, make: Any, tmp_path: Path) -> None:
    model = models[kind]()
    found = make.compiled(model, make.spec_for("onnxruntime", "eager"), tmp_path / "cache")
    rows = {r.candidate.target: r for r in found.rows}
    proven = [r for r in found.rows if r.outcome in ("chosen", "kept", "slower")]
    assert len(proven) == (1 if kind == "onnx" else 2), {t: r.reason for t, r in rows.items()}
    assert all(r.parity.passed and r.parity.rows == 256 for r in proven)
    if kind == "onnx":
        assert rows["eager"].reason.startswith("an ONNX model has no eager form")
    source = opened(model, make.TRUSTING)
    artifact = found.chosen
    answered = engines.load(artifact.path, artifact.manifest, 1).run(source.about.example)
    assert shapes(answered) == shapes(source.run(source.about.example))


def shapes(outputs: Arrays) -> dict[str, tuple[Any, str]]:
    return {name: (value.shape, value.dtype.kind.replace("U", "O")) for name, value in outputs.items()}


def test_what_is_not_supported_is_named(models: Any, make: Any, tmp_path: Path) -> None:
    with pytest.raises(NoTarget, match="eager fp32: an ONNX model has no eager form"):
        make.compiled(models["onnx"](), make.spec_for("eager"), tmp_path / "cache")


def test_a_model_without_a_converter_goes_on_to_the_next_target(make: Any, tmp_path: Path) -> None:
    from sklearn.base import BaseEstimator, RegressorMixin

    class Own(RegressorMixin, BaseEstimator):  # type: ignore[misc, unused-ignore]
        def fit(self, x: Any, _y: Any) -> Any:
            self.width_ = x.shape[1]
            return self

        def predict(self, x: Any) -> Any:
            return np.asarray(x).sum(axis=1)

    x = np.random.default_rng(0).normal(size=(8, 3))
    how = {"signature": make.tensor_signature("float64", x=3), "serialization_format": "cloudpickle"}
    model = make.fetched(tmp_path, "sklearn", Own().fit(x, None), {"x": x}, **how)
    found = make.compiled(model, make.spec_for("onnxruntime", "eager"), tmp_path / "cache")
    assert found.chosen.target == "eager"
    (lost,) = [r for r in found.rows if r.candidate.target == "onnxruntime"]
    assert lost.outcome in ("lost", "skipped")
    assert "Own" in lost.reason


def replaced(monkeypatch: pytest.MonkeyPatch, **classes: str) -> None:
    """These targets compile with a class of `toys.wrong`."""
    for target, name in classes.items():
        monkeypatch.setitem(COMPILERS, target, f"toys.wrong:{name}")


@pytest.mark.usefixtures("toys")
def test_a_corrupted_weight_in_real_artifacts_is_refused(
    make: Any, classifier: FetchedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, onnxruntime="CorruptedWeight")
    with pytest.raises(ParityFailed) as refused:
        make.compiled(classifier, make.spec_for("onnxruntime", "xla"), tmp_path / "cache")
    sentence = str(refused.value)
    assert "fraud-detector version 1 compiled to " in sentence
    assert "does not answer as its source does: output 'output', row " in sentence
    assert "they differ by" in sentence
    assert "The others: xla fp32: " in sentence


CHANGED = {
    "OtherScaling": ("sklearn uniform", "output 'prediction', row 0: the source says"),
    "SwappedOutputs": ("onnx", "the outputs 'floor' and 'minus' are swapped"),
    "OnlyOneRow": ("onnx", "does not answer 2 rows: its batch dimension is frozen, or "),
}


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("wrong", CHANGED)
def test_real_artifacts_that_were_changed_are_refused(
    wrong: str, models: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, sentence = CHANGED[wrong]
    replaced(monkeypatch, onnxruntime=wrong)
    with pytest.raises(ParityFailed) as refused:
        make.compiled(models[kind](), make.spec_for("onnxruntime"), tmp_path / "cache")
    assert sentence in str(refused.value)


def test_a_one_row_example_froze_the_batch(make: Any, tmp_path: Path) -> None:
    model = make.torch_pt2(tmp_path, make.mlp(), rows=1)
    with pytest.raises(Unusable, match=r"must answer any number of rows, but for 2 rows it raises"):
        make.compiled(model, make.spec_for("onnxruntime"), tmp_path / "cache")


def test_a_pickle_that_nobody_vouches_for_is_not_opened_also_when_somebody_else_did(
    make: Any, models: Any, tmp_path: Path
) -> None:
    """The cache is shared: an artifact that was made by trusting a pickle is for those who trust it."""
    model = models["sklearn uniform"]()
    assert make.compiled(model, make.spec_for("eager"), tmp_path / "cache").chosen is not None
    with pytest.raises(Untrusted):
        make.compiled(model, make.spec_for("eager"), tmp_path / "cache", Trust())
