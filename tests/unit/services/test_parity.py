from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lockgate.registry.words import Arrays, FetchedModel, ModelVersion, SourceModel
from lockgate.services.calibration import sample
from lockgate.services.compare import compare
from lockgate.services.errors import ParityFailed
from lockgate.services.parity import Reference
from lockgate.services.spec import Parity

WHO = ("the source", "onnxruntime")
STRICT = Parity(rows=32)


def linear(x: Arrays) -> Arrays:
    return {"scores": np.stack([x["x"].sum(axis=1), 1 - x["x"].sum(axis=1)], axis=1)}


def model(run: Any = linear, example_rows: int = 4) -> SourceModel:
    from pathlib import Path

    example = {"x": np.random.default_rng(1).normal(size=(example_rows, 3))}
    fetched = FetchedModel(ModelVersion("fraud", "3", ""), Path(), "d", "sklearn", {}, example)
    return SourceModel(fetched, None, "skops", "", run)


@dataclass
class Runs:
    run: Any


def test_equal_outputs_pass() -> None:
    evidence = Reference(model(), STRICT).prove(Runs(linear), "onnxruntime")
    assert evidence.passed
    assert (evidence.rows, evidence.agreement, evidence.max_abs_error) == (32, 1.0, 0.0)


def test_an_engine_off_by_a_factor_is_refused_with_the_largest_difference() -> None:
    def off(x: Arrays) -> Arrays:
        found = linear(x)
        found["scores"][5:6] *= 1.5 if len(x["x"]) > 5 else 1
        return found

    evidence = Reference(model(), STRICT).prove(Runs(off), "onnxruntime")
    assert not evidence.passed
    assert evidence.worst_output == "scores"
    assert "output 'scores', row 5, position" in evidence.reason
    assert "the source says" in evidence.reason
    assert "onnxruntime says" in evidence.reason


def test_an_engine_that_misreads_strided_input_is_refused() -> None:
    def contiguous_only(x: Arrays) -> Arrays:
        return linear(x if x["x"].flags.c_contiguous else {"x": x["x"] + 1})

    evidence = Reference(model(), STRICT).prove(Runs(contiguous_only), "onnxruntime")
    assert not evidence.passed
    assert "strided input" in evidence.reason


@pytest.mark.parametrize("size", [1, 2])
def test_an_engine_wrong_at_one_batch_size_is_refused(size: int) -> None:
    def wrong(x: Arrays) -> Arrays:
        return linear(x if len(x["x"]) != size else {"x": x["x"] * 2})

    evidence = Reference(model(), STRICT).prove(Runs(wrong), "onnxruntime")
    assert not evidence.passed
    assert f"a batch of {size}" in evidence.reason


def test_an_engine_with_a_frozen_batch_is_refused() -> None:
    def frozen(x: Arrays) -> Arrays:
        if len(x["x"]) == 2:
            raise RuntimeError("expected 1")
        return linear(x)

    evidence = Reference(model(), STRICT).prove(Runs(frozen), "onnxruntime")
    assert "does not answer 2 rows: its batch dimension is frozen" in evidence.reason


def test_a_source_with_a_frozen_batch_is_refused_with_what_to_do() -> None:
    def frozen(x: Arrays) -> Arrays:
        assert len(x["x"]) == 1, "Guard failed: x.size()[0] == 1"
        return linear(x)

    with pytest.raises(ParityFailed) as refused:
        Reference(model(frozen, example_rows=1), STRICT)
    assert "fraud version 3 does not answer 2 rows like those of its input example, which has 1" in str(refused.value)
    assert "batch dimension is frozen, log it again with an input example of two rows or more" in str(refused.value)


def test_rows_that_influence_one_another_are_refused() -> None:
    def normalised_over_the_batch(x: Arrays) -> Arrays:
        return {"y": x["x"].sum(axis=1) - x["x"].mean()}

    with pytest.raises(ParityFailed, match="answers the same row differently in batches"):
        Reference(model(normalised_over_the_batch), STRICT)


def test_outputs_whose_first_dimension_is_no_row_are_refused() -> None:
    with pytest.raises(ParityFailed, match=r"output 'y' has shape \[\] for 32 rows"):
        Reference(model(lambda x: {"y": x["x"].mean()}), STRICT)


def one(value: Any, name: str = "y") -> Arrays:
    return {name: np.asarray(value)}


def test_nan_equals_nan_and_infinity_its_like() -> None:
    assert compare(one([np.nan, np.inf]), one([np.nan, np.inf]), STRICT, WHO).passed
    for other in ([0.0, np.inf], [np.nan, -np.inf], [np.nan, 5.0]):
        evidence = compare(one([np.nan, np.inf]), one(other), STRICT, WHO)
        assert not evidence.passed
        assert evidence.max_abs_error == np.inf


def test_tolerance_is_absolute_and_relative() -> None:
    assert compare(one([1000.0]), one([1000.9]), STRICT, WHO).passed
    assert not compare(one([1.0]), one([1.002]), STRICT, WHO).passed
    assert compare(one([0.0]), one([9e-6]), STRICT, WHO).passed


def test_the_largest_of_several_outputs_is_named() -> None:
    want = {"a": np.zeros(3), "b": np.zeros((3, 2))}
    found = {"a": np.array([0, 0.1, 0]), "b": np.array([[0, 0], [0, 0], [0, 7.0]])}
    evidence = compare(want, found, STRICT, WHO)
    assert evidence.worst_output == "b"
    assert evidence.reason.startswith(
        "output 'b', row 2, position 1: the source says 0, onnxruntime says 7 (they differ by 7"
    )


@pytest.mark.parametrize(
    ("want", "found", "sentence"),
    [
        (one([1.0]), one([1.0], "z"), r"answers the outputs \['y'\]"),
        (one([1.0]), one([[1.0]]), r"has shape \[1\] from the source and \[1, 1\]"),
        (one([1.0]), one([1]), "is float64 from the source and int64"),
    ],
)
def test_another_structure_is_refused(want: Arrays, found: Arrays, sentence: str) -> None:
    import re

    assert re.search(sentence, compare(want, found, STRICT, WHO).reason)


def test_labels_agree_by_share() -> None:
    want = one(np.zeros(1000, "int64"), "label")
    found = {"label": np.where(np.arange(1000) == 7, 1, 0)}
    assert compare(want, found, STRICT, WHO).passed  # 99.9 %
    two = {"label": np.where(np.arange(1000) % 500 == 7, 1, 0)}
    evidence = compare(want, two, STRICT, WHO)
    assert not evidence.passed
    assert "99.80% of the rows get the same label" in evidence.reason
    assert "row 7: the source says 0, onnxruntime says 1" in evidence.reason


def test_text_labels() -> None:
    assert compare(one(["a", "b"]), {"y": np.array(["a", "b"], object)}, STRICT, WHO).passed


def test_the_sample_keeps_dtypes_range_and_the_example() -> None:
    example = {
        "f": np.array([1.0, 3.5], "float32"),
        "code": np.array([3.0, 7.0]),
        "i": np.array([4, 9], "int32"),
        "s": np.array(["x", None], object),
        "image": np.arange(8, dtype="float32").reshape(2, 2, 2),
    }
    found = sample(example, 50)
    for name, value in example.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == (50, *value.shape[1:])
        assert found[name][:2].tolist() == value.tolist()
    assert ((found["f"] >= 1) & (found["f"] <= 3.5)).all()
    assert len(set(found["f"].tolist())) > 10
    assert set(found["code"].tolist()) == {3, 7}
    assert set(found["i"].tolist()) == {4, 9}
    assert set(found["s"].tolist()) == {"x", None}
    assert sample(example, 50)["f"].tolist() == found["f"].tolist()


def test_one_example_row_is_varied() -> None:
    found = sample({"f": np.array([10.5])}, 20)["f"]
    assert len(set(found.tolist())) > 15
    assert ((found >= 9.4) & (found <= 11.6)).all()


def test_large_rows_give_a_smaller_sample() -> None:
    assert len(sample({"x": np.zeros((1, 4 * 2**20))}, 256)["x"]) == 2
