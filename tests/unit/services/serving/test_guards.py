"""Numbers that are none are found wherever a model hides them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.guards import finite
from lockgate.services.serving.refusals import BadAnswer

NAN, LARGE = float("nan"), float("inf")


def objects(*values: Any) -> Any:
    found = np.empty(len(values), object)
    found[:] = values
    return found


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (NAN, "NaN"),
        (-LARGE, "infinity"),
        (np.float64("nan"), "NaN"),
        (np.float32("inf"), "infinity"),
        ([0.5, NAN], "NaN"),
        ((1, [LARGE]), "infinity"),
        ({"cat": 0.5, "dog": NAN}, "NaN"),
        ({"scores": [{"cat": LARGE}]}, "infinity"),
        (np.array([1, np.nan], "float32"), "NaN"),
        (objects("a", NAN), "NaN"),
    ],
    ids=str,
)
def test_objects_are_looked_into(odd: Any, said: str) -> None:
    with pytest.raises(BadAnswer, match=f"the model answered {said} for output 'y' in row 2"):
        finite({"x": np.ones(3), "y": objects("a", None, odd)})


def test_a_row_has_several_objects() -> None:
    with pytest.raises(BadAnswer, match="in row 1"):
        finite({"y": np.array([["a", 1.5], ["b", NAN], ["c", NAN]], object)})


def test_everything_else_is_an_answer() -> None:
    plain = ["a", None, True, 3, 1.5, b"b", np.float32(2), np.int64(3), [1, "a", None], {"a": [0.5]}, np.ones(2)]
    finite({"y": objects(*plain), "z": np.array([["a", "b"]], object), "none": np.empty((0, 2), object)})
