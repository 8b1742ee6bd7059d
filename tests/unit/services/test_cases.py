"""Samples, batches, layouts and edges that parity is tried on, and how they are kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lockgate.services.compile import arrays
from lockgate.services.compile.cases import Case, edges, first, strided, tried
from lockgate.services.compile.sample import sample
from lockgate.services.compile.words import Arrays, Input

EXAMPLE: Arrays = {
    "f": np.array([1.0, 3.5], "float32"),
    "code": np.array([3.0, 7.0]),
    "i": np.array([4, 9], "int32"),
    "s": np.array(["x", None], object),
    "image": np.arange(8, dtype="float32").reshape(2, 2, 2),
}


def test_the_sample_keeps_dtypes_range_and_the_example() -> None:
    found = sample(EXAMPLE, 50)
    for name, value in EXAMPLE.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == (50, *value.shape[1:])
        assert found[name][:2].tolist() == value.tolist()
    assert ((found["f"] >= 1) & (found["f"] <= 3.5)).all()
    assert len(set(found["f"].tolist())) > 10
    assert set(found["code"].tolist()) == {3, 7}
    assert set(found["i"].tolist()) == {4, 9}
    assert set(found["s"].tolist()) == {"x", None}
    assert sample(EXAMPLE, 50)["f"].tolist() == found["f"].tolist()


def test_codes_with_a_gap_stay_codes() -> None:
    """A gap is no whole number, yet between two codes lies none that the model knows."""
    found = sample({"code": np.array([3.0, np.nan, 7.0])}, 60)["code"]
    assert set(found[~np.isnan(found)].tolist()) == {3.0, 7.0}
    assert np.isnan(found).any()


def test_infinities_and_gaps_give_no_warning() -> None:
    assert len(sample({"f": np.array([1.5, np.inf, -np.inf, np.nan])}, 60)["f"]) == 60


def test_one_example_row_is_varied() -> None:
    found = sample({"f": np.array([10.5])}, 20)["f"]
    assert len(set(found.tolist())) > 15
    assert ((found >= 9.4) & (found <= 11.6)).all()


def test_large_rows_give_a_smaller_sample() -> None:
    assert len(sample({"x": np.zeros((1, 4 * 2**20))}, 256)["x"]) == 2


def test_batches_begin_again_after_the_last_row_and_are_contiguous() -> None:
    found = first({"x": np.arange(6.0).reshape(3, 2)[:, ::-1]}, 5)["x"]
    assert found[:, 0].tolist() == [1, 3, 5, 1, 3]
    assert found.flags.c_contiguous


def test_sizes_that_the_signature_leaves_free_are_tried_shorter_and_longer() -> None:
    x = {"ids": np.arange(12).reshape(3, 4), "mask": np.ones((3, 2, 1)), "width": np.arange(9.0).reshape(3, 3)}
    shapes = {"ids": (-1, -1), "mask": (-1, 2, -1), "width": (-1, 3)}
    found = edges(x, tuple(Input(n, x[n].dtype.name, shape, column=False) for n, shape in shapes.items()))
    shorter, longer = found["shorter rows"], found["longer rows"]
    assert (shorter["ids"][1].tolist(), longer["ids"][1].tolist()) == ([4, 5], [4, 5, 6, 7, 4, 5])
    assert (shorter["mask"].shape, longer["mask"].shape) == ((3, 2, 1), (3, 2, 2))
    for case in (shorter, longer):
        assert case["width"].tolist() == x["width"].tolist()
    fixed = tuple(Input(n, v.dtype.name, (-1, *v.shape[1:]), column=False) for n, v in x.items())
    assert not {"shorter rows", "longer rows"} & set(edges(x, fixed))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_strided_has_the_same_values_and_is_not_contiguous(rows: int) -> None:
    x = {"matrix": np.arange(15.0).reshape(5, 3), "image": np.arange(60.0).reshape(5, 3, 4)}
    given = first(x, rows)
    for name, value in strided(given).items():
        assert not value.flags.c_contiguous, f"{name} of {rows} rows"
        assert np.array_equal(value, given[name])
    assert strided({"column": np.arange(5.0)})["column"].strides == (16,)


@pytest.mark.parametrize(("largest", "sizes"), [(64, [1, 2, 64]), (2, [1, 2]), (1, [1, 2])])
def test_batches_of_1_2_and_the_largest_are_always_tried(largest: int, sizes: list[int]) -> None:
    x = {"x": np.arange(6.0).reshape(3, 2)}
    names = [c.name for c in tried(Case("sample", x, x), (), largest)]
    for n in sizes:
        assert f"a batch of {n}" in names
        assert f"a strided batch of {n}" in names
    assert names[-1] == "sample"


def columns(**required: bool) -> tuple[Input, ...]:
    return tuple(Input(n, EXAMPLE[n].dtype.name, (-1,), column=True, required=r) for n, r in required.items())


def test_edges_keep_the_order_and_the_types_of_the_inputs() -> None:
    x = {name: EXAMPLE[name] for name in ("s", "f", "code", "i")}
    found = edges(x, columns(s=True, f=True, code=True, i=True))
    assert list(found) == ["zeros", "extremes"]
    for given in found.values():
        assert list(given) == list(x)
        assert [v.dtype for v in given.values()] == [v.dtype for v in x.values()]
    zeros, extremes = found["zeros"], found["extremes"]
    assert (zeros["f"].tolist(), zeros["i"].tolist(), zeros["s"].tolist()) == ([0, 0], [0, 0], ["x", None])
    assert extremes["f"].tolist() == [1.0, 3.5, -24.0, 28.5]
    assert extremes["code"].tolist() == [3, 7, 3, 7]
    assert extremes["i"].tolist() == [4, 9, 4, 9]
    assert extremes["s"].tolist() == ["x", None, "x", None]


def test_text_of_fixed_width_is_not_emptied() -> None:
    assert edges({"s": np.array(["ab", "cd"])}, ())["zeros"]["s"].tolist() == ["ab", "cd"]
    assert "extremes" not in edges({"s": np.array(["ab", "cd"])}, ())


def test_extremes_are_of_what_is_not_missing() -> None:
    found = edges({"f": np.array([np.nan, 1.5, 2.5])}, ())["extremes"]["f"]
    assert found.tolist() == [1.5, 2.5, -8.5, 12.5]


def test_gaps_come_only_where_they_may() -> None:
    x = {"f": np.array([1.5, 2.5, 3.5, 4.5], "float32"), "code": np.array([3.0, 7.0, 3.0, 7.0])}
    found = edges(x, columns(f=False, code=True))["missing values"]
    assert np.isnan(found["f"]).tolist() == [True, False, True, False]
    assert found["code"].tolist() == [3, 7, 3, 7]
    assert x["f"].tolist() == [1.5, 2.5, 3.5, 4.5]
    assert "missing values" not in edges(x, columns(f=True, code=True))


def test_arrays_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    groups = {
        "x": {
            **EXAMPLE,
            "text": np.array(["ä", ""]),
            "half": np.array([1.5], "float16"),
            "flag": np.array([True]),
            "numbers": np.array([np.int64(5), np.float32(2.5), None, "5"], object),
            "table": np.array([["a", None], ["b", 3]], object),
            "none": np.array([], object),
        },
        "empty": {},
    }
    arrays.save(tmp_path / "a.npz", groups)
    found = arrays.load(tmp_path / "a.npz")
    assert list(found) == ["x", "empty"]
    assert list(found["x"]) == list(groups["x"])
    for name, value in groups["x"].items():
        assert found["x"][name].dtype == value.dtype
        assert found["x"][name].tolist() == value.tolist()


def test_reading_arrays_unpickles_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", about=np.array('{"groups": ["x"], "names": [["x", "a", "<f8"]]}'), x0=EXAMPLE["s"])
    with pytest.raises(ValueError, match="allow_pickle=False"):
        arrays.load(tmp_path / "bad.npz")
