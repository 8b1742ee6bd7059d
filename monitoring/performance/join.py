"""Labels meet the answers that they are about, by request id: the captured traffic of one version, and feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

from lockgate.monitoring.drift import captured
from lockgate.monitoring.drift.captured import ABOUT, Spoilt
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.labels import StoredLabel
from lockgate.monitoring.feedback.store import Reader
from lockgate.monitoring.performance.errors import Unfit
from lockgate.monitoring.performance.losses import losses
from lockgate.monitoring.performance.words import NONE, Asked, Labelled
from lockgate.monitoring.traffic.form import OUTPUT, prefix

_SECOND = 1e6
"""Microseconds."""
_READ = (1, 2, 4, 8)
"""Windows of requests whose labels are read, one after the other, while too few are of this version."""
_MOST = 100_000
"""Requests whose labels are read at once."""
_NEVER_RIGHT = (
    "no label is what was predicted, and all count as wrong; if that is not so, see monitoring.performance.output, and"
    " how the labels are written"
)
_ID, _ROW = "request_id", "row"

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Captured:
    """What is known about every live row of a version, with the number of its file. `spoilt`: about damaged files."""

    rows: Any
    paths: list[Path]
    spoilt: list[str]


@dataclass(frozen=True, slots=True)
class _Met:
    """Rows that have a label: which label, when they were answered, what was predicted, by which output. Aligned."""

    label: _Ints
    at: NDArray[np.float64]
    predicted: Any
    output: str


def labelled(asked: Asked, capture: Path, feedback: Path, digest: str) -> Labelled:
    """The latest labelled requests of the version with this digest. Never raises over what the files hold."""
    reader = Reader(feedback)
    try:
        there = _captured(capture / prefix(digest))
        told = _told(asked, reader, there.rows.column(_ID))
    except Unavailable as reason:
        return _nothing(str(reason))
    if not told:
        return _nothing(f"no label {asked.label!r} has come so far; send it to POST /feedback with its request_id")
    if not there.rows.num_rows:
        return _nothing("nothing is captured of the version that serves", there.spoilt)
    try:
        found = _joined(asked, told, there)
        return replace(found, coverage=_coverage(asked, reader, there.rows, found.at))
    except Unavailable as reason:
        return _nothing(str(reason), there.spoilt)
    except Spoilt as reason:
        return _nothing(str(reason) or "captured files went while they were read; the next look knows", there.spoilt)
    except Unfit as reason:
        return _nothing(str(reason), there.spoilt)


def _nothing(why: str, notes: Sequence[str] = ()) -> Labelled:
    return Labelled(NONE, NONE, NONE, notes=tuple(notes), why=why)


def _told(asked: Asked, reader: Reader, captured_ids: Any) -> list[StoredLabel]:
    """Labels of the requests that had one last: so many that those of this version fill the window, if there are."""
    told, requests, known = list[StoredLabel](), 0, 0
    for windows in _READ:
        limit = min(windows * asked.window, _MOST)
        page = reader.labels_of_requests(asked.label, limit, requests)
        ids = list({one.label.request_id for one in page})
        known += int(pc.sum(pc.is_in(pa.array(ids, pa.string()), value_set=captured_ids)).as_py() or 0)
        told += page
        requests += len(ids)
        if known >= asked.window or len(ids) < limit:
            break
    return _latest(told)


def _latest(told: Sequence[StoredLabel]) -> list[StoredLabel]:
    """Of each row the last label that came: it corrects those before."""
    found = {(one.label.request_id, one.label.row): one for one in told}
    return sorted(found.values(), key=lambda one: one.sequence)


def _captured(folder: Path) -> _Captured:
    tables, paths, spoilt = [], list[Path](), list[str]()
    for path, _ in captured.files(folder):
        try:
            table, _ = captured.about(path)
        except Spoilt as reason:
            spoilt += [str(reason)] if str(reason) else []
        else:
            tables.append(table.append_column("file", pa.array(np.full(table.num_rows, len(paths)))))
            paths.append(path)
    empty = ABOUT.append(pa.field("file", pa.int64())).empty_table()
    return _Captured(pa.concat_tables(tables) if tables else empty, paths, spoilt)


def _joined(asked: Asked, told: Sequence[StoredLabel], there: _Captured) -> Labelled:
    """Raises `Spoilt`, `Unfit`."""
    rows = there.rows
    places = {(one.label.request_id, one.label.row): i for i, one in enumerate(told)}
    named = pa.array({one.label.request_id for one in told}, pa.string())
    some = rows.filter(pc.is_in(rows.column(_ID), value_set=named))
    ids, of_row = some.column(_ID).to_pylist(), some.column(_ROW).to_pylist()
    which = np.array([places.get(key, -1) for key in zip(ids, of_row, strict=True)], np.int64)
    seen = np.bincount(which[which >= 0], minlength=len(told))
    once = (which >= 0) & (seen[which] == 1)
    notes = [*there.spoilt, *_notes(asked, told, seen)]
    if not once.any():
        return _nothing(f"none of the {len(told):,} labels is of a request that is captured of it", notes)
    some, which = some.filter(pa.array(once)), which[once]
    met = _met(some, which, there.paths, asked.output)
    of = losses(asked.measure, met.predicted, [told[i].label.value for i in met.label])
    if odd := int(np.isnan(of).sum()):
        notes.append(f"{odd:,} labels or predictions are none that {asked.measure} knows; they are left out")
    if asked.measure == "accuracy" and of.all():
        notes.append(_NEVER_RIGHT)
    found = _by_request(asked, told, met, of)
    if not len(found.losses):
        return _nothing(f"no label is one that {asked.measure} knows", notes)
    return replace(found, output=met.output, notes=tuple(notes))


def _met(some: Any, which: _Ints, paths: Sequence[Path], output: str) -> _Met:
    """With the predictions of these rows, file by file. Raises `Spoilt`, `Unfit`."""
    found: list[tuple[_Ints, Any]] = []
    file, place = (np.asarray(some.column(name).to_numpy(), np.int64) for name in ("file", "place"))
    for number in np.unique(file).tolist():
        mine = np.flatnonzero(file == number)
        mine = mine[np.argsort(place[mine])]
        table = captured.values(paths[number], place[mine], inputs=False)
        found.append((mine, _predicted(table, output)))
    order = np.concatenate([mine for mine, _ in found])
    names = {name for _, (name, _) in found}
    if len(names) > 1:
        raise Unfit(f"the captured answers have different outputs; name one of {', '.join(sorted(names))}")
    at = np.asarray(some.column("at").to_numpy(), np.float64)[order] / _SECOND
    together = pa.chunked_array([chunk for _, (_, values) in found for chunk in values.chunks])
    return _Met(which[order], at, together, names.pop())


def _predicted(table: Any, output: str) -> tuple[str, Any]:
    """The name and the values of the output. Raises `Unfit`."""
    names = [name.removeprefix(OUTPUT) for name in table.column_names]
    if output and output not in names:
        raise Unfit(f"the model has no output {output!r}; it has {', '.join(names) or 'none'}")
    if not names:
        raise Unfit("the captured answers have no output")
    name = output or names[0]
    values = table.column(OUTPUT + name)
    if pa.types.is_dictionary(values.type):  # those of several files have dictionaries of their own
        values = values.cast(values.type.value_type)
    return name, values


def _by_request(asked: Asked, told: Sequence[StoredLabel], met: _Met, of: NDArray[np.float64]) -> Labelled:
    """Rows of one request fail together, so a request is one observation: the mean of its rows."""
    ids: dict[str, list[int]] = {}
    for i, label in enumerate(met.label.tolist()):
        if not np.isnan(of[i]):
            ids.setdefault(told[label].label.request_id, []).append(i)
    came = {name: max(int(met.label[i]) for i in mine) for name, mine in ids.items()}
    window = sorted(ids, key=came.__getitem__)[-asked.window :]
    loss = np.array([float(of[ids[name]].mean()) for name in window])
    at = np.array([float(met.at[ids[name][0]]) for name in window])
    received = np.array([told[came[name]].received for name in window])
    return Labelled(loss, at, np.maximum(received - at, 0.0), received=float(received.max(initial=0.0)))


def _coverage(asked: Asked, reader: Reader, rows: Any, at: NDArray[np.float64]) -> float:
    """Of the requests that were answered while those of the window were, the share with a label. Raises `Unavailable`.

    Labels come later than answers, and some of these came before those of the window.
    """
    if not len(at):
        return 0.0
    when = np.asarray(rows.column("at").to_numpy(), np.float64) / _SECOND
    inside = (when >= at.min()) & (when <= at.max())
    every = set(rows.filter(pa.array(inside)).column(_ID).to_pylist()) - {None, ""}
    return len(every.intersection(reader.labelled_since(asked.label, at.min()))) / len(every) if every else 0.0


def _notes(asked: Asked, told: Sequence[StoredLabel], seen: _Ints) -> list[str]:
    notes = []
    if several := int((seen > 1).sum()):
        notes.append(f"{several:,} labels name a request id that several requests have; they are left out")
    if unknown := int((seen == 0).sum()):
        notes.append(
            f"{unknown:,} of the latest {len(told):,} labels {asked.label!r} are of no request that is captured of this"
            " version: of another version, or no longer kept (monitoring.capture.keep)"
        )
    return notes
