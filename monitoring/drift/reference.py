"""The rows that a version was trained on, from a file: as many as are needed, as the model's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.drift.errors import NoReference

MOST_ROWS = 100_000
_SEED = 7
_LARGEST = 512 * 2**20
"""Bytes of sampled rows that are held at once."""
_BATCH = 16_384
_BLOCK = 2**25
"""Bytes of a CSV file that are read at once."""
_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Columns by the name of the model's input, or output. `notes`: inputs that are not there, and other sentences.

    `elements`: of an input that is rows of numbers, what each of them is called, where the reference says so.
    """

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    rows: int
    notes: tuple[str, ...] = ()
    elements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def rows_of_file(path: Path, inputs: Mapping[str, int], outputs: Sequence[str] = (), most: int = MOST_ROWS) -> Rows:
    """A sample of a Parquet or CSV file, always the same. Raises `NoReference`.

    `inputs`: the model's, by name, with the elements of one row where these are a fixed number, else 0. Columns of
    other names are passed over.
    """
    with _sentences(path):
        return rows_of_table(_sampled(path, most), inputs, outputs)


def columns_of_file(path: Path, names: Sequence[str], most: int = MOST_ROWS) -> dict[str, Any]:
    """Those columns of the same sample. Raises `NoReference` where the file lacks one."""
    with _sentences(path):
        table = _sampled(path, most)
    if lacks := [name for name in names if name not in table.column_names]:
        has = ", ".join(table.column_names[:10])
        raise NoReference(f"{path.name} has no column {' and no column '.join(lacks)}; it has {has}")
    return {name: table.column(name) for name in names}


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Raises `NoReference` for a file that is none, or cannot be read."""
    if not path.is_file():
        raise NoReference(f"{path} does not exist; log it with the model, or name another in monitoring.reference")
    if not path.name.endswith(_SUFFIXES):
        raise NoReference(f"{path.name} is neither Parquet nor CSV: its name ends with none of {', '.join(_SUFFIXES)}")
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as reason:
        why = (str(reason).splitlines() or [type(reason).__name__])[0][:200]
        raise NoReference(
            f"{path.name} cannot be read as {'CSV' if '.csv' in path.name else 'Parquet'}: {why}"
        ) from None


def rows_of_table(table: Any, inputs: Mapping[str, int], outputs: Sequence[str] = ()) -> Rows:
    """Of an Arrow table or a pandas frame. Raises `NoReference` when it has none of the inputs."""
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    names = set(table.column_names)
    found: dict[str, Any] = {name: table.column(name) for name in inputs if name in names}
    answers = {name: table.column(name) for name in outputs if name in names and name not in found}
    notes = [f"{name}: the reference has no such column; it is not compared" for name in inputs if name not in found]
    elements: dict[str, tuple[str, ...]] = {}
    if not found and (matrix := _matrix(table, inputs, answers)):
        (name, columns, values) = matrix
        found, elements = {name: values}, {name: columns}
        notes = [f"{name}: its {len(columns)} elements are taken to be the reference's columns, in their order"]
    if not table.num_rows or not found:
        has = ", ".join(sorted(names)[:10]) or "no column"
        what = "no rows" if not table.num_rows else f"none of the model's inputs {', '.join(inputs)}: it has {has}"
        raise NoReference(f"the reference has {what}")
    return Rows(found, answers, table.num_rows, tuple(notes), elements)


def _matrix(
    table: Any, inputs: Mapping[str, int], answers: Mapping[str, Any]
) -> tuple[str, tuple[str, ...], Any] | None:
    """The model's only input is rows of d numbers, and the table has d columns of numbers besides its outputs."""
    if len(inputs) != 1:
        return None
    ((name, size),) = inputs.items()
    columns = [at for at in table.column_names if at not in answers]
    if not size or len(columns) != size or not all(_numeric(table.field(at).type) for at in columns):
        return None
    as_floats = (table.column(at).cast(pa.float64(), safe=False).to_numpy() for at in columns)
    return name, tuple(columns), np.column_stack([np.asarray(of, np.float32) for of in as_floats])


def _numeric(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _sampled(path: Path, most: int) -> Any:
    """Rows of the whole file, each as likely as any other; fewer where rows are large."""
    chosen: list[Any] = []
    rng, seen, share = np.random.Generator(np.random.PCG64(_SEED)), 0, 1.0
    size = 0
    for batch in _batches(path):
        seen += batch.num_rows
        kept = batch if share == 1.0 else batch.filter(pa.array(rng.random(batch.num_rows) < share))
        chosen.append(kept)
        size += kept.nbytes
        while sum(of.num_rows for of in chosen) > 2 * most or size > _LARGEST:
            share /= 2
            chosen = [of.filter(pa.array(rng.random(of.num_rows) < 0.5)) for of in chosen]
            size = sum(of.nbytes for of in chosen)
            if not any(of.num_rows for of in chosen):
                raise NoReference(f"{path.name} has rows of more than {_LARGEST // 2**20} MiB")
    table = pa.Table.from_batches(chosen) if chosen else pa.table({})
    if table.num_rows > most:
        table = table.take(pa.array(np.sort(rng.permutation(table.num_rows)[:most])))
    return table


def _batches(path: Path) -> Iterator[Any]:
    if ".csv" in path.name:
        from pyarrow import csv  # type: ignore[import-untyped, unused-ignore]

        options = csv.ReadOptions(block_size=_BLOCK)  # of the first one the columns' types are guessed
        with csv.open_csv(path, options, convert_options=csv.ConvertOptions(strings_can_be_null=True)) as opened:
            yield from opened
        return
    from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

    with path.open("rb") as file, parquet.ParquetFile(file) as opened:
        yield from opened.iter_batches(_BATCH)
