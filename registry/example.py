"""The input example as named arrays with a row dimension."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .client import first_line, quiet_import, quiet_mlflow
from .errors import Unusable
from .naming import Input
from .words import Arrays, Flavour

PT2 = Path("data") / "model.pt2"
_SAMPLE = re.compile(r"(^|/)data/sample_inputs/[^/]+\.pt$")


class NoExample(Unusable):
    """Logging the model again, with a signature and an example, mends it."""


def read_example(path: Path, flavour: Flavour, wanted: tuple[Input, ...]) -> Arrays:
    """Raises `NoExample`, and `Unusable` for one that does not fit the signature."""
    raw = _logged(path)
    if raw is None and flavour == "pytorch" and (path / PT2).is_file():
        raw = _traced(path / PT2)
    if raw is None:
        raise NoExample("has no input example, so nothing can be compared before real traffic.")
    try:
        found = _columns(raw, wanted) if wanted[0].column else _tensors(raw, wanted)
    except (KeyError, ValueError, TypeError) as error:
        raise NoExample(f"has an input example that does not fit its signature ({error}).") from error
    if len({len(a) for a in found.values()}) != 1 or not len(next(iter(found.values()))):
        raise NoExample("has an input example without rows, or whose inputs differ in their number of rows.")
    return found


def _logged(path: Path) -> Any:
    mlflow = quiet_mlflow()
    try:
        return quiet_import("mlflow.models").Model.load(str(path)).load_input_example(str(path))
    except FileNotFoundError:
        return None
    except (mlflow.MlflowException, ValueError, KeyError, TypeError) as error:
        raise NoExample(f"has an input example that cannot be read ({first_line(error)}).") from error


def _traced(archive: Path) -> Any:
    """The tensors that the module was exported with: MLflow keeps no JSON for an example of torch tensors.

    Only tensors and plain containers are unpickled (`weights_only`), so this is safe before anybody vouched for it.
    """
    import torch

    with zipfile.ZipFile(archive) as records:
        samples = [name for name in records.namelist() if _SAMPLE.search(name)]
        if not samples:
            return None
        try:
            positional, _ = torch.load(io.BytesIO(records.read(samples[0])), map_location="cpu", weights_only=True)
            return [tensor.detach().numpy() for tensor in positional]
        except (pickle.UnpicklingError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise NoExample(f"has an input example that cannot be read safely ({first_line(error)}).") from error


def _columns(raw: Any, wanted: tuple[Input, ...]) -> Arrays:
    import pandas as pd

    if isinstance(raw, Mapping):
        raw = {name: np.atleast_1d(np.asarray(value)) for name, value in raw.items()}
        frame = pd.DataFrame(raw)
    elif isinstance(raw, pd.DataFrame):
        frame = raw
    else:
        frame = pd.DataFrame(np.atleast_2d(np.asarray(raw)), columns=[i.name for i in wanted])
    return {i.name: _column(frame[i.name], i) for i in wanted if i.required or i.name in frame}


def _column(series: Any, wanted: Input) -> np.ndarray[Any, Any]:
    if wanted.dtype == "object":
        there = series.astype(object)
        return np.asarray(there.where(there.notna(), None).to_numpy(), dtype=object)
    return np.asarray(series.to_numpy(dtype=wanted.dtype))


def _tensors(raw: Any, wanted: tuple[Input, ...]) -> Arrays:
    if isinstance(raw, Mapping):
        values = [raw[i.name] for i in wanted]
    elif (isinstance(raw, list | tuple) and len(wanted) > 1) or _is_list_of_arrays(raw):
        values = list(raw)
    else:
        values = [raw]
    return {i.name: _tensor(value, i) for i, value in zip(wanted, values, strict=True)}


def _is_list_of_arrays(raw: Any) -> bool:
    return isinstance(raw, list | tuple) and bool(raw) and all(isinstance(v, np.ndarray) for v in raw)


def _tensor(value: Any, wanted: Input) -> np.ndarray[Any, Any]:
    if hasattr(value, "toarray"):  # scipy's sparse matrices
        value = value.toarray()
    elif hasattr(value, "to_numpy"):  # a frame for a model whose signature is a tensor
        value = value.to_numpy()
    array = np.ascontiguousarray(value, dtype=wanted.dtype)
    if array.ndim == len(wanted.shape) - 1:
        array = array[None]  # a single row
    free = all(w in {-1, s} for w, s in zip(wanted.shape[1:], array.shape[1:], strict=False))
    if array.ndim != len(wanted.shape) or not free:
        raise ValueError(f"input {wanted.name!r} has shape {list(array.shape)} where {list(wanted.shape)} is wanted")
    return array
