"""Captured traffic as one table, for work that is not under way with it: rehearsals, drift."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.traffic.errors import Unreadable
from lockgate.monitoring.traffic.form import GROWING, ROTATED, Wanted, chosen, refusal, started
from lockgate.monitoring.traffic.stream import BROKEN, Growing, one_line

_AT = pa.timestamp("us", "UTC")


def read(
    source: Path | Iterable[Path],
    columns: Sequence[str] | Wanted | None = None,
    since: float | None = None,
    until: float | None = None,
    problems: list[str] | None = None,
) -> Any:
    """A `pyarrow.Table` of the rows that were answered from `since` to before `until`, in unix seconds.

    `source`: files, or a folder that holds them at any depth. `columns`: all by default; their names, or whether
    one of some name is wanted; those that no file has are left out. Files may differ in their columns: what one
    lacks is null, and dictionaries become plain text. A file that cannot be read raises `Unreadable`, or is named in
    `problems` and left out.
    """
    wanted = columns if columns is None or callable(columns) else set(columns).__contains__
    tables = []
    for path in _files(source):
        if until is not None and started(path.with_suffix("")) >= until:
            continue
        try:
            tables.append(_within(_table(path, wanted), since, until))
        except FileNotFoundError:
            if problems is None and not isinstance(source, Path):
                raise Unreadable(f"{path} does not exist") from None
        except (Unreadable, *BROKEN) as reason:
            says = f"{path} cannot be read: {one_line(reason)}"
            if problems is None:
                raise Unreadable(says) from reason
            problems.append(says)
    return _joined([table if columns is None else _only(table, columns) for table in tables])


def _files(source: Path | Iterable[Path]) -> list[Path]:
    """Of a stream that is both growing and rotated, the Parquet file."""
    if not isinstance(source, Path):
        return list(source)
    if not source.is_dir():
        if not source.exists():
            raise Unreadable(f"{source} does not exist")
        return [source]
    rotated = {path.with_suffix("") for path in source.rglob("*" + ROTATED)}
    growing = {path.with_suffix("") for path in source.rglob("*" + GROWING)} - rotated
    found = [path.with_name(path.name + ROTATED) for path in rotated]
    return sorted(found + [path.with_name(path.name + GROWING) for path in growing])


def _table(path: Path, wanted: Wanted | None) -> Any:
    if path.suffix == GROWING:
        stream, batches = Growing(path, wanted), []
        while (batch := stream.next()) is not None:
            batches.append(batch)
        return pa.Table.from_batches(batches) if batches else pa.table({})
    from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

    with path.open("rb") as opened, parquet.ParquetFile(opened) as file:
        if why := refusal(file.schema_arrow):
            raise Unreadable(why)
        names = chosen(file.schema_arrow.names, wanted)
        return file.read(names).select(names)  # a name may begin like another: both were read


def _within(table: Any, since: float | None, until: float | None) -> Any:
    for limit, keeps in ((since, pc.greater_equal), (until, pc.less)):
        if limit is not None and table.num_rows:
            at = table.column("at").cast(_AT, safe=False)
            table = table.filter(keeps(at, pa.scalar(int(limit * 1e6), pa.int64()).cast(_AT)))
    return table


def _only(table: Any, columns: Sequence[str] | Wanted) -> Any:
    if callable(columns):
        return table.select([name for name in table.column_names if columns(name)])
    return table.select([name for name in columns if name in table.column_names])


def _joined(tables: Sequence[Any]) -> Any:
    """One under the other. A column of several types gets one that holds them all; text, where nothing else does."""
    kinds: dict[str, list[Any]] = {}
    for table in tables:
        for field in table.schema:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            if kind not in kinds.setdefault(field.name, []):
                kinds[field.name].append(kind)
    schema = pa.schema([(name, _common(of)) for name, of in kinds.items()])
    return pa.concat_tables([_as(table, schema) for table in tables]) if tables else schema.empty_table()


def _common(kinds: Sequence[Any]) -> Any:
    if len(kinds) > 1 and all(hasattr(kind, "value_type") for kind in kinds):
        return pa.list_(_common([kind.value_type for kind in kinds]))
    fields = [pa.schema([("it", kind)]) for kind in kinds]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field("it").type
    except pa.ArrowException:
        return pa.string()


def _as(table: Any, schema: Any) -> Any:
    columns = [
        _cast(table.column(field.name), field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays([*columns], schema=schema)


def _cast(column: Any, kind: Any) -> Any:
    try:
        return column.cast(kind, safe=False)
    except pa.ArrowException:
        values = (None if value is None else json.dumps(value, default=str) for value in column.to_pylist())
        return pa.chunked_array([pa.array(values, pa.string())])
