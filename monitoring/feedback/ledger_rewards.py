"""What the users did whose windows closed: sums over stable and a challenger, by the chance with which they got it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.feedback.exposures import STABLE, Array
from lockgate.monitoring.feedback.ledger_units import rows_of, share_of
from lockgate.monitoring.feedback.ledger_words import Look, Measure
from lockgate.monitoring.measurement import Arm, Group

_LEAST_UNITS, _LEAST_VALUES = 1000, 50
_TAIL = 0.005
"""Share of the values other than 0 that lies beyond a learned limit."""

_VALUES = """
SELECT u.first, u.arm, count(o.value), total(o.value), max(o.value), max(u.first + :length, coalesce(u.late, 0)) AS due
FROM {both}
ON o.metric = :metric AND o.unit = u.unit AND o.at BETWEEN u.first AND u.first + :window
WHERE {which} GROUP BY u.unit
"""
_ALL = "units u LEFT JOIN outcomes o"
_WITH_VALUES = "outcomes o CROSS JOIN units u"
"""In that order: while there are few values, many users need not be read."""
_ON_TIME = "u.first > :after AND u.first <= :until AND coalesce(u.late, 0) <= :now"
_NOTICED_LATE = "u.late > :since AND u.late <= :now AND u.first <= :after"
_CLOSED = "u.first <= :until AND coalesce(u.late, 0) <= :now"
_WHEN_MANY = f"""
SELECT max(u.first + :length, coalesce(u.late, 0)) AS due FROM units u WHERE {_CLOSED}
ORDER BY due LIMIT 1 OFFSET {_LEAST_UNITS - 1}
"""  # noqa: S608 - made of the constants above


@dataclass(frozen=True, slots=True)
class _Limits:
    """`learned`: when, in unix seconds; from then on users are handed out, those of before with the first ones."""

    lowest: float
    highest: float
    learned: float = -np.inf


@dataclass(frozen=True, slots=True)
class Closed:
    """Users of all arms whose windows closed: first seen, arm and value; all (users,)."""

    first: Array
    arm: Array
    value: Array


def closed(database: sqlite3.Connection, metric: str, measure: Measure, look: Look) -> Closed:
    """Those who are due."""
    limits = _limits(database, metric, measure, look)
    if limits is None or limits.learned > look.now:
        return Closed(np.empty(0), np.empty(0), np.empty(0))
    times = _times(metric, measure, look)
    if limits.learned > look.since:
        times["after"] = -np.inf
    which = [_VALUES.format(both=_ALL, which=which) for which in (_ON_TIME, _NOTICED_LATE)]
    found = rows_of(database, " UNION ALL ".join(which), times, width=6)
    values, counted = _values(found, measure)
    return Closed(found[counted, 0], found[counted, 1], np.clip(values, limits.lowest, limits.highest)[counted])


def rewards(of: Closed, arm: int, shares: Sequence[tuple[float, float]]) -> tuple[Group, ...]:
    """Of stable and this arm, by the chance with which a user of the two got the arm."""
    share = share_of(of.first, shares)

    def one(chance: float, which: int) -> Arm:
        with np.errstate(all="ignore"):
            values = of.value[(share == chance) & (of.arm == which)]
            return Arm(len(values), float(values.sum()), float((values * values).sum()))

    ours = np.isin(of.arm, (STABLE, arm))
    return tuple(Group(chance, one(chance, STABLE), one(chance, arm)) for chance in np.unique(share[ours]).tolist())


def _values(found: Array, measure: Measure) -> tuple[Array, Array]:
    """Each user's value, and which of them count, both (users,). `found`: the columns of `_VALUES`."""
    count, total, most = found[:, 2], found[:, 3], np.nan_to_num(found[:, 4])
    if measure.kind == "binary":
        return (most > 0).astype(float), np.ones(len(found), bool)
    if measure.take == "mean":
        return total / np.maximum(count, 1), (count > 0) & ~np.isnan(total)
    return total, ~np.isnan(total)


def _limits(database: sqlite3.Connection, metric: str, measure: Measure, look: Look) -> _Limits | None:
    """Those that are given, and those that were learned; None while there is too little to learn from."""
    if measure.kind == "binary":
        return _Limits(0.0, 1.0)
    if measure.lowest is not None and measure.highest is not None:
        return _Limits(measure.lowest, measure.highest)
    known = database.execute("SELECT lowest, highest, learned FROM limits WHERE metric = ?", (metric,)).fetchone()
    if known is None:
        known = _learned(database, metric, measure, look)
        if known is None:
            return None
        database.execute("INSERT INTO limits VALUES (?, ?, ?, ?)", (metric, *known))
    lowest = measure.lowest if measure.lowest is not None else known[0]
    highest = measure.highest if measure.highest is not None else known[1]
    return _Limits(min(lowest, highest), max(lowest, highest), known[2])


def _learned(
    database: sqlite3.Connection, metric: str, measure: Measure, look: Look
) -> tuple[float, float, float] | None:
    """From the values of the first users whose windows closed, of all arms together, which are not 0.

    Of the first 1000 users, or of more while there are not yet 50 such values. 0 always lies within the limits.
    """
    times = _times(metric, measure, look)
    statement = _VALUES.format(both=_WITH_VALUES, which=_CLOSED) + " ORDER BY due"
    found = rows_of(database, statement, times, width=6)
    values, counted = _values(found, measure)
    values, when = values[counted & (values != 0)], found[counted & (values != 0), 5]
    many = database.execute(_WHEN_MANY, times).fetchone() if len(values) >= _LEAST_VALUES else None
    if many is None:
        return None
    enough = max(float(many[0]), float(when[_LEAST_VALUES - 1]))
    low, high = np.quantile(values[when <= enough], [_TAIL, 1 - _TAIL])
    # A file that was made anew learns again what was known before.
    return min(0.0, float(low)), max(0.0, float(high)), enough if enough <= look.origin else look.now


def _times(metric: str, measure: Measure, look: Look) -> dict[str, float | str]:
    length = measure.settled
    edges = {"after": look.since - length, "until": look.now - length}
    return {**look.times, **edges, "window": measure.window, "length": length, "metric": metric}
