"""Code of its author's gets arrays of its own, and its answers are its caller's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lockgate.services.compile.engines.pyfunc import PyfuncEngine

LONE = {"columns": None, "named": False, "parameters": None}


def engine(predict: Any, **manifest: Any) -> PyfuncEngine:
    return PyfuncEngine(predict, {**LONE, **manifest})


def read_only() -> Any:
    """As npy and v2's bytes are read."""
    return np.frombuffer(np.array([[255, 0]], "float32").tobytes(), "float32").reshape(1, 2)


def test_it_may_write_into_what_it_is_asked() -> None:
    def lone(x: Any) -> Any:
        x /= 255
        return x

    def named(x: Any) -> Any:
        x["a"] /= 255
        x["b"] += 1
        return x

    assert engine(lone).run({"x": read_only()})["prediction"].tolist() == [[1, 0]]
    found = engine(named, named=True).run({"a": read_only(), "b": np.ones(1)})
    assert {name: value.tolist() for name, value in found.items()} == {"a": [[1, 0]], "b": [2]}


def test_what_may_be_written_is_not_copied_first() -> None:
    x = np.ones((1, 2))
    seen: list[Any] = []
    engine(lambda given: seen.append(given) or given).run({"x": x})
    assert seen[0] is x


@pytest.mark.parametrize("wrapped", [lambda kept: kept, lambda kept: {"a": kept}], ids=["an array", "a mapping"])
def test_an_answer_stays_what_it_was(wrapped: Any) -> None:
    """Although the model answers in the same array each time."""
    kept = np.zeros(1)

    def predict(x: Any) -> Any:
        kept[:] = x
        return wrapped(kept)

    one = engine(predict)
    first, second = (next(iter(one.run({"x": np.full(1, value)}).values())) for value in (1.0, 2.0))
    assert (first.tolist(), second.tolist()) == ([1], [2])
