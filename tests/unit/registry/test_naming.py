from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.errors import Unusable
from lockgate.registry.naming import Input, input_names, inputs, matrix, takes_columns
from lockgate.registry.words import FetchedModel, ModelVersion


def tensor(name: str | None = None, shape: tuple[int, ...] = (-1, 3), dtype: str = "float32") -> dict[str, Any]:
    named = {"name": name} if name else {}
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}, **named}


def column(name: str, kind: str = "double", **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, **more}


def names(*items: dict[str, Any]) -> tuple[str, ...]:
    version = ModelVersion("m", "1", "")
    return input_names(FetchedModel(version, Path(), "", "onnx", {"inputs": items, "outputs": None}, {}))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([tensor()], ("input",)),
        ([tensor("x")], ("x",)),
        ([tensor(), tensor()], ("input_0", "input_1")),
        ([tensor("b"), tensor()], ("b", "input_1")),
        ([column("z"), column("a")], ("z", "a")),
    ],
)
def test_the_rule(items: list[dict[str, Any]], expected: tuple[str, ...]) -> None:
    assert names(*items) == expected


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(Unusable, match="names an input twice: x"):
        names(tensor("x"), tensor("x"))
    with pytest.raises(Unusable, match="names an input twice: input_1"):
        names(tensor("input_1"), tensor())


def test_a_column_without_a_name_is_refused() -> None:
    with pytest.raises(Unusable, match="a column without a name; log the model with a pandas DataFrame"):
        names({"type": "double"})


@pytest.mark.parametrize("kind", ["binary", "object", "array", "map", "any"])
def test_a_column_of_an_odd_type_is_refused(kind: str) -> None:
    with pytest.raises(Unusable, match=rf"column 'a' of the signature is of type '{kind}'; a column may be double,"):
        names(column("a", kind))


def test_dtypes_and_shapes() -> None:
    items = [tensor("t", (-1, 2, -1), "float64"), tensor("s", (-1,), "str"), column("c", "long", required=False)]

    assert inputs({"inputs": items}) == (
        Input("t", "float64", (-1, 2, -1), column=False),
        Input("s", "object", (-1,), column=False),
        Input("c", "int64", (-1,), column=True, required=False),
    )


def test_columns_and_tensors_are_told_apart() -> None:
    assert takes_columns({"inputs": [column("a")]})
    assert not takes_columns({"inputs": [tensor("a")]})


def test_the_matrix_has_the_signatures_order_and_gaps_for_what_is_left_out() -> None:
    found = inputs({"inputs": [column("b"), column("a", "long"), column("c", required=False)]})

    table = matrix({"a": np.array([1, 2]), "b": np.array([0.5, 1.5])}, found, "float32")

    np.testing.assert_array_equal(table, np.array([[0.5, 1, np.nan], [1.5, 2, np.nan]], "float32"))
