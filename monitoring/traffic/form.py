"""What captured traffic looks like on the disk: folders, file names, columns. The replicas write it.

<capture>/<first 12 hex of the digest>/<replica>-<start in unix ms>.arrows    an Arrow stream, while it grows
<capture>/<first 12 hex of the digest>/<replica>-<start in unix ms>.parquet   the same rows, once it was rotated
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

GROWING = ".arrows"
ROTATED = ".parquet"
INPUT = "input."
OUTPUT = "output."
KEPT_ROWS = 64
"""Of one request, at most."""
_PREFIX = 12

Wanted = Callable[[str], bool]
"""Which columns are read, by name; `at` always is."""


def prefix(digest: str) -> str:
    """What the folder of one side is called."""
    return digest[:_PREFIX]


def started(stem: Path) -> float:
    """When the file was begun, in unix seconds; 0 where its name does not say."""
    _, _, tail = stem.name.rpartition("-")
    return int(tail) / 1000 if tail.isascii() and tail.isdigit() and len(tail) < _PREFIX + 4 else 0.0


def chosen(names: Iterable[str], wanted: Wanted | None) -> list[str]:
    """Of a file's columns those that are wanted."""
    return [name for name in names if wanted is None or name == "at" or wanted(name)]


def refusal(schema: Any) -> str:
    """Why a file with this schema is no captured traffic, or nothing."""
    found = {field.name: field.type for field in schema}
    if len(found) < len(schema):
        return "it has two columns of one name"
    if missing := [name for name in _COLUMNS if name not in found]:
        return f"it has no column {', '.join(missing)}"
    if wrong := [f"{name} is {found[name]}" for name, fits in _COLUMNS.items() if not fits(found[name])]:
        return f"its column {', '.join(wrong)}"
    return ""


def _text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_COLUMNS = {
    "request_id": _text,
    "row": pa.types.is_integer,
    "rows": pa.types.is_integer,
    "at": pa.types.is_timestamp,
    "variant": _text,
    "kind": _text,
    "status": pa.types.is_integer,
    "digest": _text,
}
"""Those that readers rely on, and what they must be."""
