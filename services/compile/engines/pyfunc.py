"""Python code of its author's, loaded by the module that its MLmodel names, which for most is MLflow's own."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..bytecode import keep_out
from ..words import Arrays
from . import pools

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


class PyfuncEngine:
    """Without MLflow's check of the input against the signature: the service has done that."""

    def __init__(self, predict: Any, manifest: Mapping[str, Any]) -> None:
        self._predict = predict
        self._columns = manifest["columns"]
        self._named = manifest["named"]
        takes = manifest["parameters"] is not None and "params" in inspect.signature(predict).parameters
        self._parameters = {"params": manifest["parameters"]} if takes else {}

    def run(self, x: Arrays) -> Arrays:
        return _outputs(self._predict(self._given(x), **self._parameters))

    def _given(self, x: Arrays) -> Any:
        """A table, tensors by their names, or the lone tensor that has none: its author may write into all of them."""
        if self._columns:
            import pandas as pd

            return pd.DataFrame({name: x[name] for name in self._columns})
        own = {name: value if value.flags.writeable else value.copy() for name, value in x.items()}
        return own if self._named else next(iter(own.values()))


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> PyfuncEngine:
    """A pickle or a model's code gets here only when the spec's `model.trust.pickle` let the registry load it."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    path = folder / manifest["file"]
    keep_out(path)
    if manifest["code"]:
        sys.path.insert(0, str(path / manifest["code"]))
    config = [manifest["config"]] if manifest["config"] else []
    with pools.limited(threads), warnings.catch_warnings():  # MLflow's about its own type hints
        warnings.simplefilter("ignore")
        loader = import_module(manifest["loader"])
        # The name is MLflow's contract with loader modules.
        loaded = loader._load_pyfunc(str(path / manifest["data"]), *config)  # noqa: SLF001
    return PyfuncEngine(getattr(loaded, manifest["call"]), manifest)


def _outputs(answer: Any) -> Arrays:
    """A table's columns, a mapping's values; whatever else has rows is `prediction`: as in the registry.

    Copies: the next call may answer in the same arrays, while these still wait to be sent.
    """
    if hasattr(answer, "columns") or isinstance(answer, Mapping):
        return {str(name): np.array(answer[name]) for name in answer}
    return {"prediction": np.array(answer)}
