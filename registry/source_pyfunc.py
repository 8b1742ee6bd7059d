"""Python code of its author's: MLflow's pyfunc. There is no way to load one without running that code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .client import quiet_import
from .errors import Untrusted, Unusable
from .naming import Input, inputs, rows_of
from .spec import Trust
from .trusted import pickle_sentence
from .words import Arrays, FetchedModel, SourceModel


def load(fetched: FetchedModel, flavour: Mapping[str, Any], trust: Trust) -> SourceModel:
    stored, _ = storage(flavour)
    if not trust.pickle:
        raise Untrusted(pickle_sentence(fetched.version, "pyfunc", stored))
    pyfunc = quiet_import("mlflow.pyfunc")
    with warnings.catch_warnings():  # of type hints that the code has, or has not
        warnings.simplefilter("ignore")
        native = pyfunc.load_model(str(fetched.path), suppress_warnings=True)
    found = inputs(fetched.signature)
    named = fetched.signature["inputs"][0].get("name") is not None

    def run(x: Arrays) -> Arrays:
        if found[0].column:
            return _outputs(native.predict(_frame(x, found)))
        return _outputs(native.predict({i.name: x[i.name] for i in found} if named else x[found[0].name]))

    return SourceModel(fetched, native, stored, "MLmodel", run)


def storage(flavour: Mapping[str, Any]) -> tuple[str, Trust]:
    """`code` for a model from code, `cloudpickle` for a pickled one, `module` for a loader module of its author's."""
    if "model_code_path" in flavour:
        return "code", Trust(pickle=True)
    return ("cloudpickle" if "python_model" in flavour else "module"), Trust(pickle=True)


def _frame(x: Arrays, found: tuple[Input, ...]) -> Any:
    """An optional column that is left out is empty."""
    import pandas as pd

    rows = rows_of(x)
    return pd.DataFrame({i.name: x.get(i.name, i.missing(rows)) for i in found})


def _outputs(answer: Any) -> Arrays:
    """A table's columns, a mapping's values; whatever else has rows is `prediction`."""
    if hasattr(answer, "columns") or isinstance(answer, Mapping):
        return {str(name): _array(answer[name]) for name in answer}
    return {"prediction": _array(answer)}


def _array(value: Any) -> np.ndarray[Any, Any]:
    if not isinstance(value, np.ndarray | list) and not hasattr(value, "to_numpy"):
        raise Unusable(f"predict answers with a {type(value).__name__} where an array, a list or a table is wanted")
    array = np.asarray(value)
    if array.dtype.kind == "O" and not all(isinstance(v, str) for v in array.ravel()):
        other = next(v for v in array.ravel() if not isinstance(v, str))
        raise Unusable(f"predict answers with a {type(other).__name__} in each row where a number or text is wanted")
    return array
