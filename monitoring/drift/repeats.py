"""Which captured rows are one request seen twice, and which belong together.

A request id is what the client says it is: one gateway may send the same with every request. So a row is only dropped
as a repeat where its id is otherwise never met twice on one side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.drift.columns import Array
from lockgate.monitoring.drift.sentences import percent

_FAILOVER = 60_000_000
"""Microseconds within which two sides answer one request."""
_FAMILIAR = 30
"""Users who must be known for rows to be taken together by user; an id that repeats and has more than its part of the
rows among as many is no client's."""
_WORTH = 0.01
"""Of the rows must have an id that repeats for it to be said."""


def first_seen(rows: Any) -> Array:
    """(rows,) whether it is to be counted: of one request that both sides answered, the later answer.

    `rows`: a table as `captured.ABOUT` says. Requests without an id are taken as they are.
    """
    ids, at, row = codes(rows.column("request_id")), _numbers(rows, "at"), _numbers(rows, "row")
    order = np.lexsort((-at, row, ids))
    ids, at, row, again = ids[order], at[order], row[order], repeated(rows)[order]
    twice = np.zeros(len(ids), bool)
    alike = (ids[1:] == ids[:-1]) & (row[1:] == row[:-1]) & (ids[1:] >= 0) & ~again[1:]
    twice[1:] = alike & (at[:-1] - at[1:] <= _FAILOVER)
    found = np.empty(len(ids), bool)
    found[order] = ~twice
    return found


def repeated(rows: Any) -> Array:
    """(rows,) whether its request id names several requests: one side has seen the id and row more than once."""
    ids = codes(rows.column("request_id"))
    of = _alike(ids, _numbers(rows, "row"), codes(rows.column("digest")))
    several = (np.bincount(of, minlength=1)[of] > 1) & (ids >= 0)
    named = np.zeros(ids.max(initial=-1) + 2, bool)  # the last one is that of no id
    named[ids[several]] = True
    return named[ids]


def groups(rows: Any) -> Array:
    """(rows,) the number of what each row belongs to: rows of one are alike.

    By user where enough of them are known; rows without a user by request; rows that have neither stand alone. An id
    that repeats too often to be one client's is taken with the time of the answer, which rows of one request share.
    """
    users, ids = codes(rows.column("unit")), codes(rows.column("request_id"))
    if users.max(initial=-1) + 1 < _FAMILIAR:
        users = np.full(len(users), -1)
    many = np.bincount(ids[ids >= 0], minlength=1)
    crowded = repeated(rows) & (ids >= 0) & (many[ids] > max(1, len(ids) // _FAMILIAR))
    at = np.where(crowded, _numbers(rows, "at"), 0)
    alone = np.where((users < 0) & (ids < 0), np.arange(1, len(ids) + 1), 0)
    return _alike(users, np.where(users < 0, ids, -1), np.where(users < 0, at, 0), alone)


def _alike(*columns: Array) -> Array:
    """(rows,) the same number, from 0 on, for rows that are the same in all columns."""
    order = np.lexsort(columns)
    differs = np.zeros(len(order), bool)
    for of in columns:
        differs[1:] |= of[order][1:] != of[order][:-1]
    found = np.empty(len(order), np.int64)
    found[order] = np.cumsum(differs)
    return found


def says(rows: Any) -> tuple[str, ...]:
    """A sentence where request ids repeat."""
    ids, again = codes(rows.column("request_id")), repeated(rows)
    if not len(ids) or again.mean() < _WORTH:
        return ()
    of_ids = len(np.unique(ids[again])) / len(np.unique(ids[ids >= 0]))
    return (f"{percent(of_ids)} of the request ids repeat, in {percent(again.mean())} of the rows: each row counts",)


def codes(column: Any) -> Array:
    """(rows,) a number for each text, from 0 on; -1 where there is none, or an empty one."""
    there = pc.if_else(pc.equal(column, ""), None, column).combine_chunks().dictionary_encode()
    return np.asarray(there.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def _numbers(rows: Any, name: str) -> Array:
    return np.asarray(rows.column(name).to_numpy(), np.int64)
