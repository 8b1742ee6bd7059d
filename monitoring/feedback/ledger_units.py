"""Users and their arms, in the ledger.

A user's first request says the arm. Rows come out of order: an earlier request that comes later corrects arm and time
as long as the user has not been handed out as an arrival; after that it only says whether the user crossed. A user of
stable crosses to each challenger once, and a user of a challenger to stable; between two challengers nobody crosses.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.feedback.exposures import NOBODY, STABLE, Array, Exposures, settled
from lockgate.monitoring.feedback.ledger_words import GRACE, Look
from lockgate.monitoring.measurement import Arrivals

_LATE = "CASE WHEN {first} <= :edge AND {first} > :origin_edge THEN :now END"
_DUE = "CASE WHEN {at} + :grace <= :since AND {at} + :grace > :origin THEN :now ELSE {at} + :grace END"
_OPEN = "(units.first > :edge OR coalesce(units.late, 0) > :since)"
_EARLIER = "({new}.first, {new}.arm) < (units.first, units.arm)"
_UPSERT = f"""
INSERT INTO units (unit, arm, first, late)
SELECT unit, arm, first, {_LATE.format(first="first")} FROM batch WHERE true ORDER BY unit
ON CONFLICT (unit) DO UPDATE SET arm = excluded.arm, first = excluded.first, late = excluded.late
WHERE {_OPEN} AND {_EARLIER.format(new="excluded")}
"""  # noqa: S608 - made of the constants above
_MOVING = f"""
INSERT INTO moving
SELECT unit, units.arm, batch.arm, max(units.first, batch.first), {_OPEN} AND {_EARLIER.format(new="batch")}
FROM batch CROSS JOIN units USING (unit) WHERE units.arm <> batch.arm
"""  # noqa: S608
"""Known users who come in another arm; `earlier`: that one is theirs from now on."""
_KNOWN_CROSS = f"""
INSERT OR IGNORE INTO crossings
SELECT unit, CASE WHEN earlier THEN old ELSE new END, {_DUE.format(at="at")} FROM moving
"""  # noqa: S608
_CROSS = f"""
INSERT OR IGNORE INTO crossings SELECT unit, elsewhere.arm, {_DUE.format(at="max(units.first, elsewhere.at)")}
FROM elsewhere CROSS JOIN units USING (unit) WHERE elsewhere.arm <> units.arm
"""  # noqa: S608
_CROSSERS = """
SELECT first, units.arm, crossings.arm FROM crossings CROSS JOIN units USING (unit) WHERE due > :since AND due <= :now
"""
_SLICES = 128


def keep(database: sqlite3.Connection, found: Exposures, shares: Sequence[tuple[float, float]], look: Look) -> None:
    """`shares`: from when on, in unix seconds, the candidate had which chance. Every request tells of its user."""
    named = found.where(found.requests != NOBODY)
    named = named.where(np.argsort(named.requests))
    # A request without a sticky header is its own user, whom feedback finds by the same number.
    named = named.where(named.requests != named.units)
    rows = zip(named.requests.tolist(), named.units.tolist(), named.at.tolist(), strict=True)
    database.executemany("INSERT OR IGNORE INTO requests VALUES (?, ?, ?)", rows)
    firsts, elsewhere = _firsts(found.where(settled(found, shares)))
    for table in ("batch", "elsewhere", "moving"):
        database.execute(f"DELETE FROM {table}")  # noqa: S608 - one of these
    database.executemany("INSERT INTO batch VALUES (?, ?, ?)", firsts)
    database.executemany("INSERT INTO elsewhere VALUES (?, ?, ?)", elsewhere)
    for statement in (_MOVING, _UPSERT, _KNOWN_CROSS, _CROSS):
        database.execute(statement, look.times)


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


@dataclass(frozen=True, slots=True)
class Arrived:
    """`users`: (n, 2), when they were first seen, and their arm. `crossers`: (m, 3), and in which other one."""

    users: Array
    crossers: Array


def arrived(database: sqlite3.Connection, look: Look) -> Arrived:
    """Of all arms."""
    return Arrived(due(database, look), rows_of(database, _CROSSERS, look.times, width=3))


def arrivals(came: Arrived, arm: int, shares: Sequence[tuple[float, float]]) -> tuple[Arrivals, ...]:
    """Of stable and this arm, by the chance with which a user of the two got the arm."""
    users = came.users[np.isin(came.users[:, 1], (STABLE, arm))]
    crossers = came.crossers[(np.sort(came.crossers[:, 1:], axis=1) == (STABLE, arm)).all(axis=1)]
    share, crossed = share_of(users[:, 0], shares), share_of(crossers[:, 0], shares)
    return tuple(
        Arrivals(
            share=one,
            stable=int(((share == one) & (users[:, 1] == STABLE)).sum()),
            candidate=int(((share == one) & (users[:, 1] == arm)).sum()),
            crossed=int((crossed == one).sum()),
        )
        for one in np.unique(np.concatenate([share, crossed])).tolist()
    )


def share_of(first: Array, shares: Sequence[tuple[float, float]]) -> Array:
    """The chance that was in force at these times; before the first one, the first. All (n,)."""
    starts, chances = np.array(sorted(shares), float).T
    return np.asarray(chances[np.maximum(np.searchsorted(starts, first, side="right") - 1, 0)])


def rows_of(database: sqlite3.Connection, statement: str, times: Mapping[str, float | str], *, width: int) -> Array:
    """What a statement finds, as numbers, (rows, width); NULL is NaN."""
    return np.array(database.execute(statement, times).fetchall(), float).reshape(-1, width)


_User = tuple[int, int, float]


def _firsts(found: Exposures) -> tuple[list[_User], list[_User]]:
    """Of each user the arm of the first request, and when that was; and the same of each other arm, if any."""
    order = np.lexsort((found.arms, found.at, found.units))
    units, arms, at = found.units[order], found.arms[order], found.at[order]
    first = np.diff(units, prepend=units[:1] - 1) != 0
    away = np.flatnonzero(arms != arms[first][np.cumsum(first) - 1])
    _, index = np.unique(np.stack([units[away], arms[away]]), axis=1, return_index=True)

    def of(which: Array) -> list[_User]:
        return list(zip(units[which].tolist(), arms[which].tolist(), at[which].tolist(), strict=True))

    return of(first), of(away[index])
