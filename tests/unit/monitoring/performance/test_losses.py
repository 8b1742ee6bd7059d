"""What each measure makes of a prediction and a label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.monitoring.performance.errors import Unfit
from lockgate.monitoring.performance.losses import limit, loss, losses, value, worse
from lockgate.monitoring.performance.words import Measure


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (["yes", "no", "no"], ["yes", "no", "yes"]),
        (np.array([1, 0, 0]), ["1", "0.0", "true"]),
        (np.array([True, False, False]), ["1", "false", "1.0"]),
        (np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]]), ["1", "0", "1"]),
        (pa.array(["yes", "no", None]), ["yes", "no", "yes"]),
        (pa.array(["yes", "no", "no"]).dictionary_encode(), ["yes", "no", "yes"]),
    ],
)
def test_a_class_is_right_or_wrong_however_it_is_written(predictions: Any, labels: list[str]) -> None:
    assert losses("accuracy", predictions, labels).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("prediction", "label"),
    [
        (["100000001"], "100000003"),
        (["00501"], "501"),
        (["1e2"], "100"),
        (np.array([16777217]), "16777216"),
        (np.array([2**53 + 1]), str(2**53)),
        (np.array([501]), "00501"),
        (np.array([16777216], np.float32), "16777217"),
        (np.array([0.1]), "0.10000000001"),
        (pa.array([None], pa.int64()), "0"),
    ],
)
def test_classes_that_are_nearly_the_same_are_not(prediction: Any, label: str) -> None:
    assert losses("accuracy", prediction, [label]).tolist() == [1]
    assert losses("accuracy", pa.chunked_array([pa.array(prediction)]), [label]).tolist() == [1]


@pytest.mark.parametrize(
    ("prediction", "label"),
    [
        (["00501"], "00501"),
        (["true"], "1"),
        (np.array([16777217]), "16777217"),
        (np.array([16777217]), "16777217.0"),
        (np.array([16777216], np.float32), "16777216"),
        (np.array([0.1], np.float32), "0.1"),
        (np.array([0.1]), "0.1"),
    ],
)
def test_classes_that_are_written_otherwise_are_the_same(prediction: Any, label: str) -> None:
    assert losses("accuracy", prediction, [label]).tolist() == [0]
    assert losses("accuracy", pa.chunked_array([pa.array(prediction)]), [label]).tolist() == [0]


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (np.zeros(3, int), ["1", "1", "1"]),
        (np.zeros(3, bool), ["true", "1", "1.0"]),
        (["legit"] * 3, ["fraud"] * 3),
        (np.array([[0.1, 0.9]] * 3), ["0", "2", "0"]),
    ],
)
def test_a_model_that_is_never_right_is_wrong(predictions: Any, labels: list[str]) -> None:
    assert losses("accuracy", predictions, labels).tolist() == [1, 1, 1]


def test_the_chance_that_was_given_to_what_happened() -> None:
    expected = -np.log([0.9, 0.8, 0.4])
    by_number = losses("log_loss", np.array([0.9, 0.2, 0.4]), ["1", "0", "true"])
    by_vector = losses("log_loss", np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]]), ["1", "0", "1"])
    assert by_number == pytest.approx(expected, abs=1e-6)
    assert by_vector == pytest.approx(expected, abs=1e-6)
    assert np.isnan(losses("log_loss", np.array([0.5, 0.5, 0.5]), ["2", "0.5", "maybe"])).all()


def test_numbers_are_away_from_each_other() -> None:
    predictions = np.array([1.0, 2.0, np.nan, 4.0])
    assert losses("mae", predictions, ["2", "2", "3", "x"])[:2].tolist() == [1, 0]
    assert losses("rmse", predictions, ["3", "2", "3", "x"])[:2].tolist() == [4, 0]
    assert np.isnan(losses("mae", predictions, ["2", "2", "3", "x"])[2:]).all()


@pytest.mark.parametrize(
    ("measure", "predictions", "says"),
    [
        ("accuracy", ["a", "b"], "no label is a value that the output ever has"),
        ("accuracy", [["a"], ["b", "c"]], "needs an output of classes, and this one is of the form"),
        ("mae", ["long", "text"], "mae needs an output of numbers"),
        ("log_loss", np.array([3.0, -2.0]), "has values that are none"),
        ("log_loss", ["a", "b"], "needs an output of probabilities"),
    ],
)
def test_what_cannot_be_compared_is_said(measure: Measure, predictions: Any, says: str) -> None:
    with pytest.raises(Unfit, match=says):
        losses(measure, predictions, ["1", "0"])


@pytest.mark.parametrize(
    ("measure", "of", "baseline", "at_most"),
    [("accuracy", 0.85, 0.92, 0.874), ("rmse", 3.0, 2.0, 2.1), ("mae", 3.0, 2.0, 2.1), ("log_loss", 0.4, 0.3, 0.315)],
)
def test_a_measure_is_the_mean_of_its_losses(measure: Measure, of: float, baseline: float, at_most: float) -> None:
    assert value(measure, np.full(3, loss(measure, of))) == pytest.approx(of)
    assert limit(measure, baseline, 0.05) == pytest.approx(at_most)
    assert worse(measure, of, at_most)
    assert not worse(measure, baseline, at_most)
