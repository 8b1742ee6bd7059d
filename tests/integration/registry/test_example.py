"""The shapes that an input example comes in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.registry.client import quiet_import
from lockgate.registry.errors import Unusable


def fetched(shelf: Any, model: Any, signature: Any, example: Any) -> Any:
    version = shelf.log("sklearn", model, signature=signature, input_example=example)
    registry = shelf.registry()
    return registry.fetch(registry.resolve("fraud", version))


def infer(rows: Any) -> Any:
    return quiet_import("mlflow.models").infer_signature(rows, np.zeros(len(rows)))


def test_a_single_row_gets_its_dimension(shelf: Any, classifier: Any) -> None:
    found = fetched(shelf, classifier, infer(np.ones((2, 3), "float32")), np.ones(3, "float32"))

    assert found.example["input"].shape == (1, 3)
    assert found.example["input"].dtype == "float32"


def test_a_sparse_matrix_is_made_dense(shelf: Any, classifier: Any) -> None:
    from scipy.sparse import csr_matrix

    dense = np.eye(3)
    models, types = quiet_import("mlflow.models"), quiet_import("mlflow.types")
    signature = models.ModelSignature(inputs=types.Schema([types.TensorSpec(np.dtype("float64"), (-1, 3))]))

    np.testing.assert_array_equal(fetched(shelf, classifier, signature, csr_matrix(dense)).example["input"], dense)


def test_a_missing_text_is_none_and_a_missing_number_is_nan(shelf: Any, classifier: Any) -> None:
    frame = pd.DataFrame({"amount": [1.0, np.nan], "carrier": ["AA", None]})

    example = fetched(shelf, classifier, infer(frame), frame).example

    assert example["carrier"].tolist() == ["AA", None]
    np.testing.assert_array_equal(example["amount"], [1.0, np.nan])


def test_times_keep_their_nanoseconds(shelf: Any, classifier: Any) -> None:
    frame = pd.DataFrame({"at": pd.to_datetime(["2026-01-31T12:00:00", "2026-02-01T00:00:00"])})

    example = fetched(shelf, classifier, infer(frame), frame).example

    assert example["at"].dtype == "datetime64[ns]"
    assert str(example["at"][0]) == "2026-01-31T12:00:00.000000000"


def test_an_example_that_does_not_fit_is_refused(shelf: Any, classifier: Any) -> None:
    with pytest.raises(Unusable, match="has an input example that does not fit its signature"):
        fetched(shelf, classifier, infer(np.ones((2, 3))), np.ones((2, 4)))


def test_an_example_without_rows_is_refused(shelf: Any, classifier: Any) -> None:
    frame = pd.DataFrame({"amount": [1.0]})
    with pytest.raises(Unusable, match="an input example without rows"):
        fetched(shelf, classifier, infer(frame), frame[:0])
