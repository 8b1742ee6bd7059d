"""Captured traffic as the replicas write it: streams that grow, and the Parquet files that they are rotated into."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

STABLE = "5" * 64
CANDIDATE = "c" * 64
BEGAN = 1_700_000_000.0


def arrow(values: Any) -> tuple[Any, dict[str, str]]:
    """An Arrow array and its field's metadata: tensors are lists, flat."""
    if isinstance(values, pa.Array):
        return values, {}
    values = values if isinstance(values, np.ndarray) else np.asarray(values)
    if values.ndim == 1:
        return pa.array(values), {}
    flat = pa.array(values.ravel())
    size = int(np.prod(values.shape[1:]))
    starts = pa.array(np.arange(len(values) + 1, dtype="int32") * size)
    return pa.ListArray.from_arrays(starts, flat), {"shape": json.dumps(values.shape[1:])}


def rows(ids: Sequence[str | None], columns: Mapping[str, Any], **given: Any) -> Any:
    """One record of each id. `columns`: like `output.label`. `given`: other columns, as lists or one for all."""
    n = len(ids)
    base = {"row": 0, "rows": 1, "variant": "stable", "kind": "live", "unit": None, "status": 200, "seconds": 0.01}
    base |= {"at": BEGAN, "model_version": "1", "digest": STABLE, "replica": "r1"} | given
    types = {"row": pa.int32(), "rows": pa.int32(), "unit": pa.string(), "status": pa.int16(), "seconds": pa.float32()}
    arrays: dict[str, Any] = {"request_id": pa.array(ids, pa.string())}
    for name, value in base.items():
        listed = list(value) if isinstance(value, list | np.ndarray) else [value] * n
        if name == "at":
            arrays[name] = pa.array([int(at * 1e6) for at in listed], pa.timestamp("us", "UTC"))
        elif name in types:
            arrays[name] = pa.array(listed, types[name])
        else:
            arrays[name] = pa.array(listed, pa.string()).dictionary_encode()
    fields = [pa.field(name, array.type) for name, array in arrays.items()]
    for name, values in columns.items():
        arrays[name], metadata = arrow(values)
        fields.append(pa.field(name, arrays[name].type, metadata=metadata))
    return pa.record_batch(list(arrays.values()), schema=pa.schema(fields))


class Replica:
    """Writes one file of one replica."""

    def __init__(self, folder: Path, digest: str, name: str, start: float = BEGAN) -> None:
        (folder / digest[:12]).mkdir(parents=True, exist_ok=True)
        self.stem = folder / digest[:12] / f"{name}-{int(start * 1000)}"
        self.growing = self.stem.with_name(self.stem.name + ".arrows")
        self.rotated = self.stem.with_name(self.stem.name + ".parquet")
        self.batches: list[Any] = []
        self._stream: Any = None
        self.sink = self.growing.open("wb")

    def write(self, batch: Any) -> Replica:
        if self._stream is None:
            self._stream = pa.ipc.new_stream(self.sink, batch.schema)
        self._stream.write_batch(batch)
        self.sink.flush()
        self.batches.append(batch)
        return self

    def rotate(self) -> Replica:
        new = self.rotated.with_name(self.rotated.name + ".new")
        parquet.write_table(pa.Table.from_batches(self.batches), new, compression="zstd")
        new.rename(self.rotated)
        self.growing.unlink(missing_ok=True)
        return self


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Callable[..., Replica]]:
    """Of the capture folder `tmp_path`: `replica(digest)`."""
    with ExitStack() as open_files:
        count = iter(range(1000))

        def made(digest: str = STABLE, start: float = BEGAN) -> Replica:
            found = Replica(tmp_path, digest, f"r{next(count)}", start)
            open_files.enter_context(found.sink)
            return found

        yield made


@pytest.fixture
def records() -> Callable[..., Any]:
    return rows
