"""What users did, in the ledger: feedback meets the request or the user that it names, in any order."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from lockgate.monitoring.feedback.exposures import number
from lockgate.monitoring.feedback.ledger_file import note, time_of
from lockgate.monitoring.feedback.ledger_words import Look, Measure
from lockgate.monitoring.feedback.store import Stored

_PATIENCE = 600.0
"""Seconds that feedback waits for its request: captured traffic is on its way for about one."""
_MOST_WAITING = 20_000
_KINDS = ("matched", "late", "early", "unmatched")
_MET = """
SELECT w.sequence, coalesce(r.unit, u.unit), w.metric, w.at, w.value, w.key, k.first, k.late FROM waiting w
LEFT JOIN requests r ON r.request = w.name
LEFT JOIN units u ON u.unit = w.name
LEFT JOIN units k ON k.unit = coalesce(r.unit, u.unit)
WHERE r.unit IS NOT NULL OR u.unit IS NOT NULL
"""
_WAIT = """
INSERT OR IGNORE INTO waiting SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE key = ?6)
"""
_TOO_MANY = (
    "DELETE FROM waiting WHERE sequence IN (SELECT sequence FROM waiting ORDER BY sequence DESC LIMIT -1 OFFSET ?)"
)

Named = tuple[int, int, str, float, float, int | None]
"""Sequence, the number of a user or a request, metric, time, value, the number of the key."""
_Met = tuple[int, int, str, float, float, int | None, float | None, float | None]


def named(came: Iterable[Stored], measures: Mapping[str, Measure], began: float, before: int) -> Iterator[Named]:
    """What is usable of the feedback that came: nothing of before the step began. `before`: added to its sequences."""
    for one in came:
        row, sequence = one.row, one.sequence + before
        if row.metric not in measures or not math.isfinite(row.value) or not began <= row.at < math.inf:
            continue
        key = number(row.key, b"key") if row.key is not None else None
        if row.unit:
            yield sequence, number(row.unit, b"unit"), row.metric, row.at, row.value, key
        elif row.request_id:
            yield sequence, number(row.request_id, b"request"), row.metric, row.at, row.value, key


def mark(one: Stored) -> int:
    """Tells this row of one file from the row with the same sequence of another one."""
    row = one.row
    told = one.received, row.metric, row.value, row.at, row.request_id, row.unit, row.key
    return number(repr(told), b"row")


def keep(database: sqlite3.Connection, came: Iterable[Named], measures: Mapping[str, Measure], look: Look) -> None:
    """Feedback that came, and what waited for requests that came now."""
    new = ((*row, look.now) for row in came)
    database.executemany(_WAIT, new)
    met: list[_Met] = database.execute(_MET).fetchall()
    database.executemany("DELETE FROM waiting WHERE sequence = ?", [row[:1] for row in met])
    rows = [(metric, unit, at, sequence, value, key) for sequence, unit, metric, at, value, key, _, _ in met]
    database.executemany("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", rows)
    old = database.execute("DELETE FROM waiting WHERE noticed < ?", (look.now - _PATIENCE,)).rowcount
    old += database.execute(_TOO_MANY, (_MOST_WAITING,)).rowcount
    kinds = [_kind(row, measures, look) for row in met] + ["unmatched"] * old
    for kind in set(kinds):
        note(database, kind, time_of(database, kind, 0) + kinds.count(kind))


def notes(database: sqlite3.Connection) -> dict[str, int]:
    found = {kind: int(time_of(database, kind, 0)) for kind in _KINDS}
    (waiting,) = database.execute("SELECT count(*) FROM waiting").fetchone()
    return found | {"waiting": waiting}


def _kind(row: _Met, measures: Mapping[str, Measure], look: Look) -> str:
    _, _, metric, at, _, _, first, late = row
    if first is None or metric not in measures:
        return "matched"  # the user comes in with the next request
    window = measures[metric].window
    over = max(first + measures[metric].settled, late or 0.0) <= look.since
    if over or at > first + window:
        return "late"
    return "early" if at < first else "matched"
