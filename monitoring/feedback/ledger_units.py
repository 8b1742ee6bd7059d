"""Users and their arms, in the ledger.

A user's first request says the arm. Rows come out of order: an earlier request that comes later corrects arm and time
as long as the user has not been handed out as an arrival; after that it only says whether the user crossed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np

from lockgate.monitoring.feedback.exposures import NOBODY, Array, Exposures, settled
from lockgate.monitoring.feedback.ledger_words import GRACE, Look
from lockgate.monitoring.measurement import Arrivals

_LATE = "CASE WHEN {first} <= :edge AND {first} > :origin_edge THEN :now END"
_DUE = (
    "CASE WHEN {at} + :grace <= :since AND {at} + :grace > :origin THEN :now "
    "WHEN {at} IS NOT NULL THEN {at} + :grace END"
)
_OPEN = "(units.first > :edge OR coalesce(units.late, 0) > :since)"
_EARLIER = "(excluded.first, excluded.arm) < (units.first, units.arm)"
_ELSEWHERE = "excluded.arm <> units.arm"
_CROSSED = _DUE.format(at="max(units.first, excluded.first)")
_UPSERT = f"""
INSERT INTO units (unit, arm, first, late, crossed)
SELECT unit, arm, first, {_LATE.format(first="first")}, {_DUE.format(at="other")} FROM batch WHERE true ORDER BY unit
ON CONFLICT (unit) DO UPDATE SET
    arm = CASE WHEN {_OPEN} AND {_EARLIER} THEN excluded.arm ELSE units.arm END,
    first = CASE WHEN {_OPEN} AND {_EARLIER} THEN excluded.first ELSE units.first END,
    late = CASE WHEN {_OPEN} AND {_EARLIER} THEN excluded.late ELSE units.late END,
    crossed = coalesce(units.crossed, CASE WHEN {_ELSEWHERE} THEN {_CROSSED} ELSE excluded.crossed END)
WHERE (units.crossed IS NULL AND ({_ELSEWHERE} OR excluded.crossed IS NOT NULL)) OR ({_OPEN} AND {_EARLIER})
"""  # noqa: S608 - made of the constants above
_CROSSERS = "SELECT first FROM units WHERE crossed > :since AND crossed <= :now"
_SLICES = 128


def keep(database: sqlite3.Connection, found: Exposures, shares: Sequence[tuple[float, float]], look: Look) -> None:
    """`shares`: from when on, in unix seconds, the candidate had which chance. Every request tells of its user."""
    named = found.where(found.requests != NOBODY)
    named = named.where(np.argsort(named.requests))
    # A request without a sticky header is its own user, whom feedback finds by the same number.
    named = named.where(named.requests != named.units)
    rows = zip(named.requests.tolist(), named.units.tolist(), named.at.tolist(), strict=True)
    database.executemany("INSERT OR IGNORE INTO requests VALUES (?, ?, ?)", rows)
    database.execute("DELETE FROM batch")
    database.executemany("INSERT INTO batch VALUES (?, ?, ?, ?)", _firsts(found.where(settled(found, shares))))
    database.execute(_UPSERT, look.times)


def prune(database: sqlite3.Connection, look: Look, longest: float) -> None:
    """Removes requests whose users' longest windows have been handed out: of each call, from a slice of all of them.

    Their numbers are spread evenly, so that slices are of one size, and no index on the time is needed.
    """
    found = database.execute("SELECT value FROM facts WHERE name = 'slice'").fetchone()
    slice_ = (int(found[0]) + 1) % _SLICES if found else 0
    database.execute("INSERT OR REPLACE INTO facts VALUES ('slice', ?)", (slice_,))
    width = 2**64 // _SLICES
    low = slice_ * width - 2**63
    database.execute(
        "DELETE FROM requests WHERE request BETWEEN ? AND ? AND at < ?",
        (low, low + width - 1, look.since - longest - GRACE),
    )


def due(database: sqlite3.Connection, look: Look, columns: str = "first, arm") -> Array:
    """The users who are due as arrivals, (users, columns)."""
    return rows_of(
        database,
        f"SELECT {columns} FROM units WHERE first > :edge AND first <= :until AND coalesce(late, 0) <= :now "  # noqa: S608
        f"UNION ALL SELECT {columns} FROM units WHERE late > :since AND late <= :now AND first <= :edge",
        look.times | {"until": look.now - GRACE},
        width=len(columns.split(",")),
    )


def arrivals(database: sqlite3.Connection, look: Look, shares: Sequence[tuple[float, float]]) -> tuple[Arrivals, ...]:
    came = due(database, look)
    crossed = rows_of(database, _CROSSERS, look.times, width=1)
    share, crossers = share_of(came[:, 0], shares), share_of(crossed[:, 0], shares)
    return tuple(
        Arrivals(
            share=one,
            stable=int(((share == one) & (came[:, 1] == 0)).sum()),
            candidate=int(((share == one) & (came[:, 1] == 1)).sum()),
            crossed=int((crossers == one).sum()),
        )
        for one in np.unique(np.concatenate([share, crossers])).tolist()
    )


def share_of(first: Array, shares: Sequence[tuple[float, float]]) -> Array:
    """The candidate's chance that was in force at these times; before the first one, the first. All (n,)."""
    starts, chances = np.array(sorted(shares), float).T
    return np.asarray(chances[np.maximum(np.searchsorted(starts, first, side="right") - 1, 0)])


def rows_of(database: sqlite3.Connection, statement: str, times: Mapping[str, float | str], *, width: int) -> Array:
    """What a statement finds, as numbers, (rows, width); NULL is NaN."""
    return np.array(database.execute(statement, times).fetchall(), float).reshape(-1, width)


def _firsts(found: Exposures) -> list[tuple[int, int, float, float | None]]:
    """Of each user: the arm of the first request, when that was, and the first one on the other side, if any."""
    order = np.lexsort((found.arms, found.at, found.units))
    units, arms, at = found.units[order], found.arms[order], found.at[order]
    starts = np.flatnonzero(np.diff(units, prepend=units[:1] - 1)) if len(units) else np.empty(0, np.int64)
    of = np.cumsum(np.bincount(starts, minlength=len(units))[: len(units)]) - 1
    elsewhere = np.full(len(starts), np.inf)
    np.minimum.at(elsewhere, of, np.where(arms != arms[starts][of], at, np.inf))
    others = (value if value < np.inf else None for value in elsewhere.tolist())
    return list(zip(units[starts].tolist(), arms[starts].tolist(), at[starts].tolist(), others, strict=True))
