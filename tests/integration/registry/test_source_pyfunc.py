from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.registry.client import quiet_import
from lockgate.registry.describe import describe
from lockgate.registry.errors import Untrusted, Unusable
from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust

VOUCHED = Trust(pickle=True)
CODE = """
import mlflow
import pandas as pd

class Half(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame):
        return model_input["amount"] / 2

mlflow.models.set_model(Half())
"""


@contextmanager
def unwarned() -> Iterator[None]:
    """MLflow warns of what it cannot infer from type hints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sums(answer: Any) -> Any:
    """A model whose answer has the given shape, made from `amount + weight` of its artifact."""
    pyfunc = quiet_import("mlflow.pyfunc")

    class Sum(pyfunc.PythonModel):  # type: ignore[misc]  # local: travels inside the pickle
        def load_context(self, context: Any) -> None:
            self.weight = json.loads(Path(context.artifacts["weights"]).read_text())

        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:  # noqa: ARG002
            return answer(model_input["amount"] + self.weight)

    return Sum()


def log(model: Any, rows: Any, answer: Any, **options: Any) -> str:
    signature = quiet_import("mlflow.models").infer_signature(rows, answer, options.pop("params", None))
    with unwarned():
        info = quiet_import("mlflow.pyfunc").log_model(
            python_model=model,
            name="model",
            registered_model_name="fraud",
            pip_requirements=["numpy"],
            signature=signature,
            input_example=rows[:5],
            **options,
        )
    return str(info.registered_model_version)


def load(shelf: Any, version: str, trust: Trust) -> Any:
    registry = shelf.registry()
    return load_source(registry.fetch(registry.resolve("fraud", version)), trust)


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "weights.json").write_text("2.0")
    return {"weights": str(tmp_path / "weights.json")}


ANSWERS = {
    "an array": (lambda v: v.to_numpy(), {"prediction": lambda v: v}),
    "a series": (lambda v: v, {"prediction": lambda v: v}),
    "a list": (lambda v: list(v), {"prediction": lambda v: v}),  # noqa: PLW0108
    "a table": (
        lambda v: pd.DataFrame({"sum": v, "kind": np.where(v > 2, "high", "low")}),
        {"sum": lambda v: v, "kind": lambda v: np.where(v > 2, "high", "low")},
    ),
    "a mapping": (lambda v: {"sum": v.to_numpy(), "pair": np.stack([v, v], 1)}, {"sum": lambda v: v}),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_predict_answers_has_names(shelf: Any, table: Any, weights: Any, kind: str) -> None:
    answer, wanted = ANSWERS[kind]
    version = log(sums(answer), table[0], table[1], artifacts=weights)
    source = load(shelf, version, VOUCHED)
    found = source.run({name: table[0][name].to_numpy() for name in table[0]})

    assert set(found) >= set(wanted)
    for name, want in wanted.items():
        np.testing.assert_array_equal(found[name], want(table[0]["amount"].to_numpy() + 2.0))
    check_batches(source)


def test_a_pyfunc_needs_the_users_word(shelf: Any, table: Any, weights: Any) -> None:
    version = log(sums(np.asarray), table[0], table[1], artifacts=weights)
    assert describe(shelf.registry(), "fraud", version).needs == VOUCHED

    with pytest.raises(
        Untrusted, match="fraud version 1 is stored as cloudpickle: loading it runs whatever code"
    ) as no:
        load(shelf, version, Trust())
    assert str(no.value).endswith("model:\n  trust:\n    pickle: true")
    assert load(shelf, version, VOUCHED).storage == "cloudpickle"


def test_a_model_from_code_needs_it_too(shelf: Any, table: Any, tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text(CODE)
    version = log(str(path), table[0], table[1])

    with pytest.raises(Untrusted, match="is stored as code"):
        load(shelf, version, Trust())
    source = load(shelf, version, VOUCHED)
    np.testing.assert_array_equal(source.run(source.fetched.example)["prediction"], table[0]["amount"][:5] / 2)


def test_a_lone_tensor_without_a_name_comes_alone(shelf: Any) -> None:
    values = np.arange(12.0).reshape(6, 2)

    def total(model_input: np.ndarray) -> Any:  # type: ignore[type-arg]  # the hint that MLflow knows
        return model_input.sum(axis=1)

    source = load(shelf, log(total, values, values[:, 0]), VOUCHED)
    np.testing.assert_array_equal(source.run({"input": values})["prediction"], values.sum(axis=1))


def test_tensors_with_names_come_by_them(shelf: Any) -> None:
    pair = {"left": np.arange(6.0), "right": np.ones(6)}

    def difference(model_input: np.ndarray) -> Any:  # type: ignore[type-arg]  # for a dict it has none
        return model_input["left"] - model_input["right"]

    signature = quiet_import("mlflow.models").infer_signature(pair, pair["left"])
    with unwarned():
        info = quiet_import("mlflow.pyfunc").log_model(
            python_model=difference, name="model", registered_model_name="fraud", pip_requirements=["numpy"],
            signature=signature, input_example=pair,
        )  # fmt: skip
    source = load(shelf, str(info.registered_model_version), VOUCHED)
    np.testing.assert_array_equal(source.run(pair)["prediction"], pair["left"] - 1)


def test_parameters_have_the_signatures_defaults(shelf: Any, table: Any) -> None:
    class Scaled(quiet_import("mlflow.pyfunc").PythonModel):  # type: ignore[misc]
        def predict(self, model_input: pd.DataFrame, params: Any = None) -> Any:
            return model_input["amount"] * params["scale"]

    source = load(shelf, log(Scaled(), table[0], table[1], params={"scale": 3.0}), VOUCHED)
    np.testing.assert_array_equal(source.run(source.fetched.example)["prediction"], table[0]["amount"][:5] * 3.0)


def test_an_answer_without_rows_is_refused(shelf: Any, table: Any, weights: Any) -> None:
    for answer, sentence in (
        (lambda v: float(v.sum()), "answers with a float where an array"),
        (lambda v: [{"sum": x} for x in v], "answers with a dict in each row"),
    ):
        source = load(shelf, log(sums(answer), table[0], table[1], artifacts=weights), VOUCHED)
        with pytest.raises(Unusable, match=sentence):
            source.run(source.fetched.example)


def test_a_native_flavour_comes_before_python_function(shelf: Any, champion: str) -> None:
    registry = shelf.registry()
    assert "python_function" in (shelf.files(champion) / "MLmodel").read_text()
    assert registry.fetch(registry.resolve("fraud", champion)).flavour == "sklearn"
