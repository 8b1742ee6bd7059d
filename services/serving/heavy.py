"""Which rows are larger than the one by which the engine was found to be fast: those are no call for the event loop."""

from __future__ import annotations

from collections.abc import Callable

from .schema import Arrays, Schema

_LEAST = 2**10
"""Bytes that are never heavy: an example may be one word."""
_LONG = 16 * 2**10
"""Bytes of a body that has texts. What they say takes longer the more they are, whatever the example's were."""
Heavy = Callable[[Arrays, int], bool]
"""Inputs, and bytes of their body."""


def free(schema: Schema) -> list[str]:
    """Inputs that have as many values in a row as the client says."""
    return [f.name for f in schema.fields if -1 in f.shape[1:]]


def most(schema: Schema, rows: int, example: Arrays) -> int:
    """Bytes of those in so many rows like the example's first."""
    return max(_LEAST, rows * sum(example[name][:1].nbytes for name in free(schema) if name in example))


def of(schema: Schema, most_bytes: int) -> Heavy | None:
    """None where every row is as large as any other, so that it is enough to count them."""
    names = free(schema)
    texts = any(f.dtype == "object" for f in schema.fields)
    if not names and not texts:
        return None

    def heavy(x: Arrays, length: int) -> bool:
        return (texts and length > _LONG) or sum(x[name].nbytes for name in names) > most_bytes

    return heavy
