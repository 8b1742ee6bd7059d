"""How named inputs become what a model's call wants, and its outputs named arrays. Written by compilers as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..words import Arrays

Layout = Literal["tensor", "matrix", "column"]


def feed(of: Sequence[str], dtype: str, layout: Layout = "tensor", to: str = "") -> dict[str, Any]:
    """One argument: a tensor as it is, columns side by side as a matrix, or one column as a matrix of width 1."""
    return {"of": list(of), "dtype": dtype, "layout": layout, "to": to}


def take(fed: Mapping[str, Any], x: Arrays) -> np.ndarray[Any, Any]:
    """Contiguous and writable: compiled kernels were seen to answer wrongly, without an error, for strided inputs."""
    if fed["layout"] == "matrix":
        return np.stack([x[name] for name in fed["of"]], axis=1).astype(fed["dtype"], copy=False)
    value = x[fed["of"][0]]
    if fed["layout"] == "column":
        value = value.reshape(-1, 1)
    found = np.ascontiguousarray(value, fed["dtype"])
    return found if found.flags.writeable else found.copy()


def name_outputs(wanted: Sequence[Mapping[str, Any]], values: Iterable[Any]) -> Arrays:
    """`wanted` holds the names in order, and a row's shape where the library adds or drops a dimension of 1."""
    return {
        want["name"]: _shaped(np.asarray(value), want.get("row_shape"))
        for want, value in zip(wanted, values, strict=False)
    }


def _shaped(value: np.ndarray[Any, Any], row_shape: Sequence[int] | None) -> np.ndarray[Any, Any]:
    return value if row_shape is None else value.reshape(len(value), *row_shape)
