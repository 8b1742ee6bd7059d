"""What fits on a page, and that it comes back as it was."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.body import Head
from lockgate.services.serving.capture_page import Page, weight
from lockgate.services.serving.capture_queue import Queue


def head(inputs: Any, outputs: Any, rows: int = 1, **more: Any) -> Head:
    return Head(**{"id": b"r", **more}, rows=rows, inputs=inputs, outputs=outputs)


def add(page: Page, request: Head) -> bool:
    return page.add(request, 1.5, 0.25)


def numbers(*values: float) -> Any:
    return np.array(values, float)


def test_columns_of_every_kind_come_back() -> None:
    page = Page(["a", "b"], 0)
    times = np.array(["2026-01-01", "2026-01-02"], "datetime64[ns]")
    tensor = np.arange(8, dtype="float32").reshape(2, 2, 2)
    inputs = {"a": times, "b": np.array(["x", None], object)}
    assert add(page, head(inputs, {"y": tensor, "ok": np.array([True, False])}, 2, id=b"one"))
    first = {k: v[:1] for k, v in inputs.items()}
    assert add(page, head(first, {"y": tensor[:1], "ok": np.array([True])}, unit=b"me"))
    part = page.part()
    np.testing.assert_array_equal(part.values["input.a"][0], times[[0, 1, 0]])
    assert part.values["input.b"][0].tolist() == ["x", None, "x"]
    np.testing.assert_array_equal(part.values["output.y"][0], tensor[[0, 1, 0]])
    assert part.values["output.ok"][0].tolist() == [True, False, True]
    assert part.counts.tolist() == [2, 1]
    ids, _, kinds, units, status, at, seconds, rows = (list(values) for values in part.about)
    assert (ids, kinds, units, status) == ([b"one", b"r"], [0, 0], [b"", b"me"], [200, 200])
    assert (at, seconds, rows) == ([1.5, 1.5], [0.25, 0.25], [2, 1])


def test_columns_of_one_matrix() -> None:
    page = Page(["a", "b"], 2)
    matrix = np.arange(6.0).reshape(3, 2)
    assert add(page, head(dict(zip("ab", matrix.T, strict=True)), {"y": matrix[:, 1]}, 3))
    assert add(page, head(dict(zip("ab", matrix[:1].copy().T, strict=True)), {"y": matrix[:1, 1]}))
    values = page.part().values
    assert [values[f"input.{n}"][0].tolist() for n in "ab"] == [[0, 2, 4, 0], [1, 3, 5, 1]]
    assert values["output.y"][0].tolist() == [1, 3, 5, 1]


def test_columns_that_came_by_themselves_are_no_matrix() -> None:
    apart = {"a": numbers(1), "b": numbers(2)}
    together = dict(zip("ab", np.array([[3.0, 4.0]]).T, strict=True))
    page = Page(["a", "b"], 2)
    assert add(page, head(together, {}))
    assert not add(page, head(apart, {}))
    page = Page(["a", "b"], 2)
    assert add(page, head(apart, {}))
    assert add(page, head(together, {}))
    assert page.part().values["input.b"][0].tolist() == [2, 4]


@pytest.mark.parametrize(
    "unlike",
    [
        head({"x": numbers(1)}, {"z": numbers(1)}),
        head({"x": numbers(1)}, {"y": numbers(1), "z": numbers(1)}),
        head({"x": numbers(1)}, {"y": np.array([1])}),  # another type
        head({"x": numbers(1)}, {"y": numbers(1, 2)}),  # more rows than were asked
        head({"x": numbers(1)}, {"y": np.zeros((1, 2))}),
        head({"x": numbers(1)}, {"y": np.array(1.0)}),  # no rows at all
    ],
)
def test_what_is_unlike_the_first_one_changes_nothing(unlike: Head) -> None:
    page = Page(["x"], 0)
    assert add(page, head({"x": numbers(1)}, {"y": numbers(1)}))
    size = page.size
    assert not add(page, unlike)
    assert (page.count, page.size) == (1, size)
    assert len(page.part().values["input.x"][0]) == 1


@pytest.mark.parametrize("value", [np.zeros((1, 20_000)), np.array(1.0), np.array([["a", "b"]], object)])
def test_what_no_page_begins_with(value: Any) -> None:
    page = Page(["x"], 0)
    assert not add(page, head({"x": numbers(1)}, {"y": value}))
    assert add(page, head({"x": numbers(1)}, {"y": numbers(1)}))


def test_variants_that_a_client_makes_up_do_not_pile_up() -> None:
    page = Page(["x"], 0)
    taken = [add(page, head({"x": numbers(1)}, {}, variant=str(i).encode())) for i in range(200)]
    assert sum(taken) == 101
    assert list(page.part().about[1])[:2] == [b"0", b"1"]


def test_a_page_that_tore_is_thrown_away() -> None:
    queue = Queue(["x"], 0)
    good = head({"x": numbers(1)}, {"y": numbers(1)})
    assert queue.pack(good, 1.0, 0.1)
    with pytest.raises(KeyError):
        queue.pack(head({"other": numbers(1)}, {"y": numbers(1)}), 1.0, 0.1)
    assert queue.tear() == 1
    assert queue.turn() is None
    assert queue.pack(good, 1.0, 0.1)


def test_a_page_weighs_until_it_is_written() -> None:
    queue = Queue(["x"], 0)
    queue.most_bytes = 1000
    good = head({"x": np.zeros((1, 50))}, {"y": numbers(1)})
    while queue.pack(good, 1.0, 0.1):
        pass
    assert queue.turn() is not None
    assert not queue.pack(good, 1.0, 0.1)
    queue.done()
    assert queue.pack(good, 1.0, 0.1)


@pytest.mark.parametrize(
    "item",
    [
        [1.5] * 10,
        [[0.5] * 300] * 300,
        [[i / 7 for i in range(50)] for _ in range(3)],
        [{"box": [0.1, 0.2, 0.3, 0.4], "label": "cat" * 100}] * 50,
        {"vector": list(range(10_000)), "name": "x"},
        {f"k{i}": "text" * 50 for i in range(100)},
        (b"x" * 5000, None),
        [np.zeros(1000), np.zeros(1000)],
        [],
        None,
    ],
)
def test_objects_weigh_about_what_they_take(item: Any) -> None:
    def real(of: Any) -> int:
        if isinstance(of, dict):
            return sys.getsizeof(of) + sum(sys.getsizeof(key) + real(value) for key, value in of.items())
        return sys.getsizeof(of) + (sum(map(real, of)) if isinstance(of, list | tuple) else 0)

    assert real(item) / 2 <= weight(item) <= 5 * real(item) + 64


def test_an_object_that_holds_itself() -> None:
    endless: list[Any] = [1] * 5
    endless[0] = endless
    assert 0 < weight(endless) < 10**6
