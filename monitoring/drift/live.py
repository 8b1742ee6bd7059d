"""The latest live rows, out of captured traffic: both variants' together, every request once.

Copies (shadow, echo) and testers' requests (forced) are left out, and so is what was refused or failed. Files are read
one at a time, the latest first, and only as far back as the window reaches; the values of chosen rows alone are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.drift import captured, repeats
from lockgate.monitoring.drift.captured import ABOUT, Spoilt
from lockgate.monitoring.drift.columns import Array, text
from lockgate.monitoring.drift.words import Window
from lockgate.monitoring.traffic.form import INPUT, OUTPUT, started

_LARGEST = 256 * 2**20
"""Bytes of a window."""
_SPARE = 2
"""Rows that are looked at, for one that there may be room for."""
_SECOND = 1e6
"""Microseconds."""

_Files = list[tuple[Path, float]]


def live(capture: Path, rows: int, until: float | None = None, *, outputs: bool = True) -> Window:
    """At most `rows` live rows that were answered before `until`, in unix seconds, from the capture folder.

    The rows are in no order. Never raises over what the folder holds: files that cannot be read are left out and named
    in `problems`.
    """
    spoilt: dict[Path, str] = {}
    known: dict[Path, tuple[Any, int]] = {}
    while True:
        files = [of for of in captured.files(capture) if of[0] not in spoilt]
        try:
            chosen = _chosen(files, known, rows, until)
            return _window(*_values(chosen, [path for path, _ in files], outputs=outputs), spoilt)
        except Spoilt as reason:  # older rows take the place of those that are lost with it
            spoilt[reason.path] = str(reason)


def of_table(table: Any) -> Window:
    """A window of any table of rows, like a file's: each column an input, each row by itself."""
    return Window({name: table.column(name) for name in table.column_names}, rows=table.num_rows)


def _chosen(files: _Files, known: dict[Path, tuple[Any, int]], rows: int, until: float | None) -> Any:
    """What is known about the latest rows, with the number of each one's file. Raises `Spoilt`."""
    chosen, size, read = ABOUT.append(pa.field("file", pa.int64())).empty_table(), 0, 0
    for number, (path, ended) in enumerate(files):
        since = _reaches(chosen, max(1, min(rows, _SPARE * _LARGEST * read // size)) if size else rows)
        if since is not None and ended < since:
            break
        if until is not None and started(path.with_suffix("")) >= until:
            continue
        if path not in known:
            known[path] = captured.about(path)
        came, of_all = known[path]
        size, read = size + _size(path), read + of_all  # on the disk, where a row is hardly larger than in memory
        came = came.append_column("file", pa.array(np.full(came.num_rows, number)))
        chosen = _latest(pa.concat_tables([chosen, _between(came, since, until)]), rows)
    return chosen


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _between(rows: Any, since: float | None, until: float | None) -> Any:
    for limit, keeps in ((since, pc.greater_equal), (until, pc.less)):
        if limit is not None:
            rows = rows.filter(keeps(rows.column("at"), int(limit * _SECOND)))
    return rows


def _reaches(chosen: Any, rows: int) -> float | None:
    """When the earliest row was answered, once there are enough."""
    if chosen.num_rows < rows:
        return None
    return float(chosen.column("at")[rows - 1].as_py() / _SECOND)


def _latest(rows: Any, most: int) -> Any:
    """The latest first."""
    order = pc.sort_indices(rows, [("at", "descending"), ("request_id", "ascending"), ("row", "ascending")])
    rows = rows.take(order)
    return rows.filter(pa.array(repeats.first_seen(rows))).slice(0, most)


def _values(chosen: Any, paths: list[Path], *, outputs: bool) -> tuple[Any, Any]:
    """Of as many of the chosen rows as there is room for: what is known about them, and their values.

    Raises `Spoilt`.
    """
    of_file, place = (np.asarray(chosen.column(name).to_numpy(), np.int64) for name in ("file", "place"))
    limit, held = len(of_file), list[tuple[Array, Any]]()
    for file in dict.fromkeys(of_file.tolist()):
        mine = np.flatnonzero(of_file[:limit] == file)
        if len(mine):
            mine = mine[np.argsort(place[mine])]
            held.append((mine, captured.values(paths[file], place[mine], outputs=outputs)))
            limit = min(limit, _room(held))
            held = [_within(*of, limit) for of in held]
    whole = np.concatenate([rows for rows, _ in held] or [np.zeros(0, np.int64)])
    return chosen.take(pa.array(whole)), _joined([table for _, table in held])


def _room(held: list[tuple[Array, Any]]) -> int:
    """Rows that a window has room for, if all are as large as these."""
    size, rows = sum(table.nbytes for _, table in held), sum(len(mine) for mine, _ in held)
    return max(1, _LARGEST * rows // max(1, int(size)))


def _within(mine: Array, table: Any, limit: int) -> tuple[Array, Any]:
    """A copy where not all are: a part of a table would keep the whole in memory."""
    inside = mine < limit
    return (mine, table) if inside.all() else (mine[inside], table.filter(pa.array(inside)))


def _joined(tables: list[Any]) -> Any:
    """One under the other; a column that is text in one and something else in another becomes text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    except pa.ArrowException:
        kinds: dict[str, set[Any]] = {}
        for table in tables:
            for field in table.schema:
                kinds.setdefault(field.name, set()).add(field.type)
        mixed = [name for name, of in kinds.items() if len(of) > 1]
        return pa.concat_tables([_as_text(table, mixed) for table in tables], promote_options="permissive")


def _as_text(table: Any, names: list[str]) -> Any:
    for name in set(names) & set(table.column_names):
        if table.column(name).type != pa.string():
            plain = [None if value is None else text(value) for value in table.column(name).to_pylist()]
            table = table.set_column(table.column_names.index(name), name, pa.array(plain, pa.string()))
    return table


def _window(rows: Any, table: Any, spoilt: dict[Path, str]) -> Window:
    names, problems = table.column_names, tuple(filter(None, spoilt.values()))
    at = np.asarray(rows.column("at").to_numpy(), np.float64) / _SECOND
    return Window(
        {name.removeprefix(INPUT): table.column(name) for name in names if name.startswith(INPUT)},
        {name.removeprefix(OUTPUT): table.column(name) for name in names if name.startswith(OUTPUT)},
        rows.num_rows,
        repeats.groups(rows) if len(at) else None,
        float(at.min(initial=np.inf)) if len(at) else 0.0,
        float(at.max(initial=-np.inf)) if len(at) else 0.0,
        problems,
        at,
        repeats.says(rows),
    )
