"""What the capture folder holds, file by file: first what is known about the rows, then the values of chosen ones.

The rows of one file keep their places while it grows, and when it is rotated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.drift.columns import Array
from lockgate.monitoring.traffic.errors import Unreadable
from lockgate.monitoring.traffic.form import GROWING, INPUT, OUTPUT, ROTATED, Wanted
from lockgate.monitoring.traffic.rotated import Rotated
from lockgate.monitoring.traffic.stream import BROKEN, Growing, one_line

ABOUT = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int64()),
        ("at", pa.int64()),
        ("unit", pa.string()),
        ("digest", pa.string()),
        ("place", pa.int64()),
    ]
)
"""`at`: when it was answered, in unix microseconds. `place`: which row of its file it is."""
_READ = (*ABOUT.names[:-1], "kind", "rows")
_TIME = pa.timestamp("us", "UTC")


class Spoilt(Exception):
    """A sentence about a file whose rows are not to be had; empty where it only went meanwhile."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be read: {why}" if why else "")
        self.path = path


def files(capture: Path) -> list[tuple[Path, float]]:
    """With when each was written last: no row in it is later. The latest first; of a file in both forms, Parquet."""
    found: dict[Path, tuple[Path, float]] = {}
    for suffix in (GROWING, ROTATED):
        for path in capture.rglob("*" + suffix) if capture.is_dir() else ():
            try:
                found[path.with_suffix("")] = (path, path.stat().st_mtime)
            except FileNotFoundError:
                continue  # rotated or deleted meanwhile
    return sorted(found.values(), key=lambda of: (-of[1], str(of[0])))


def about(path: Path) -> tuple[Any, int]:
    """A table as `ABOUT` says of the file's live rows, and how many rows it has in all. Raises `Spoilt`.

    Of one request that failed over that is the answer that was given: failed ones have no rows.
    """
    found, place = [], 0
    try:
        for batch in _batches(path, _READ.__contains__):
            found.append(_live(batch, place))
            place += batch.num_rows
        return pa.Table.from_batches(found, ABOUT), place
    except (Unreadable, *BROKEN) as reason:
        raise Spoilt(path, one_line(reason)) from reason


def values(path: Path, places: Array, *, outputs: bool = True, inputs: bool = True) -> Any:
    """A table of the inputs, or outputs, or both, of the rows at these ascending places. Raises `Spoilt`."""

    def wanted(name: str) -> bool:
        return (inputs and name.startswith(INPUT)) or (outputs and name.startswith(OUTPUT))

    found, place = [], 0
    try:
        for batch in _batches(path, wanted):
            first, end = np.searchsorted(places, [place, place + batch.num_rows])
            if end > first:
                found.append(_plain(batch).take(pa.array(places[first:end] - place)))
            place += batch.num_rows
            if end == len(places):
                break
        table = pa.Table.from_batches(found) if found else pa.table({})
    except (Unreadable, *BROKEN) as reason:
        raise Spoilt(path, one_line(reason)) from reason
    if sum(batch.num_rows for batch in found) < len(places):
        raise Spoilt(path, "")
    return table.select([name for name in table.column_names if wanted(name)])


def _batches(path: Path, wanted: Wanted) -> Iterator[Any]:
    """Each is validated as a whole: text that is no text would only be met later, and by somebody else."""
    rotated = path.with_suffix(ROTATED)
    grows = path.suffix == GROWING and (path.exists() or not rotated.exists())  # it may have been rotated meanwhile
    source = Growing(path, wanted) if grows else Rotated(rotated, wanted=wanted)
    while (batch := source.next()) is not None:
        yield batch


def _live(batch: Any, place: int) -> Any:
    batch = _plain(batch)
    n = batch.num_rows
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["at"] = columns["at"].cast(_TIME, safe=False).cast(pa.int64())
    columns["unit"] = columns.get("unit", pa.nulls(n, pa.string()))
    columns["row"] = columns["row"].cast(pa.int64()).fill_null(0)
    columns["place"] = pa.array(np.arange(place, place + n))
    live = pc.and_(pc.equal(columns["kind"], "live"), pc.greater(columns["rows"], 0))
    arrays = [columns[name].cast(ABOUT.field(name).type) for name in ABOUT.names]
    return pa.RecordBatch.from_arrays(arrays, schema=ABOUT).filter(pc.and_(live, pc.is_valid(columns["at"])))


def _plain(batch: Any) -> Any:
    """Without dictionaries."""
    decoded = (of.dictionary_decode() if isinstance(of, pa.DictionaryArray) else of for of in batch.columns)
    return pa.RecordBatch.from_arrays([*decoded], names=batch.schema.names)
