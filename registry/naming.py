"""What the inputs of a model are called: one rule for the example, the source model, the compiled one and the service.

A signature's input keeps its name. A lone tensor without one is `input`; of several, the i-th is `input_<i>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import Unusable
from .words import Arrays, FetchedModel

COLUMN_DTYPES = {
    "double": "float64",
    "float": "float32",
    "integer": "int32",
    "long": "int64",
    "boolean": "bool",
    "string": "object",
    "datetime": "datetime64[ns]",
}


@dataclass(frozen=True, slots=True)
class Input:
    """`shape` begins with the row, mostly -1; a column's is `(-1,)`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    column: bool
    required: bool = True

    def missing(self, rows: int) -> np.ndarray[Any, Any]:
        """Stands in for an optional column that is left out."""
        if np.dtype(self.dtype).kind == "f":
            return np.full(rows, np.nan, self.dtype)
        return np.full(rows, None, object)


def inputs(signature: Mapping[str, Any]) -> tuple[Input, ...]:
    """The inputs in the signature's order. Raises `Unusable` for what cannot be a named array."""
    items = signature["inputs"]
    found = tuple(_input(item, i, len(items)) for i, item in enumerate(items))
    names = [f.name for f in found]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise Unusable(f"the signature names an input twice: {', '.join(repeated)}; give each input its own name")
    return found


def input_names(fetched: FetchedModel) -> tuple[str, ...]:
    return tuple(i.name for i in inputs(fetched.signature))


def takes_columns(signature: Mapping[str, Any]) -> bool:
    """True when the model takes a table with named columns, False when it takes tensors."""
    return inputs(signature)[0].column


def rows_of(x: Arrays) -> int:
    return len(next(iter(x.values())))


def matrix(x: Arrays, found: tuple[Input, ...], dtype: str) -> np.ndarray[Any, Any]:
    """The columns side by side, in the signature's order, as `(rows, columns)`."""
    rows = rows_of(x)
    return np.column_stack([np.asarray(x.get(i.name, i.missing(rows))).astype(dtype) for i in found])


def _input(item: Mapping[str, Any], place: int, count: int) -> Input:
    if item["type"] == "tensor":
        spec = item["tensor-spec"]
        name = item.get("name") or ("input" if count == 1 else f"input_{place}")
        dtype = "object" if spec["dtype"] in {"str", "object"} else np.dtype(spec["dtype"]).name
        return Input(name, dtype, tuple(int(d) for d in spec["shape"]), column=False)
    name = item.get("name")
    if name is None:
        raise Unusable(
            "the signature has a column without a name; log the model with a pandas DataFrame, or with a numpy array, "
            "as input_example"
        )
    if item["type"] not in COLUMN_DTYPES:
        known = ", ".join(COLUMN_DTYPES)
        raise Unusable(f"column {name!r} of the signature is of type {item['type']!r}; a column may be {known}")
    return Input(str(name), COLUMN_DTYPES[item["type"]], (-1,), column=True, required=item.get("required", True))
