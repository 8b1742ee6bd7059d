"""Labels: the truth about rows of requests, in a table of their own beside outcomes."""

from __future__ import annotations

from dataclasses import dataclass

TABLE = """
CREATE TABLE IF NOT EXISTS labels (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    at REAL NOT NULL,
    received REAL NOT NULL,
    request_id TEXT NOT NULL,
    row INTEGER NOT NULL,
    key TEXT UNIQUE
)
"""
ADD = (
    "INSERT INTO labels (label, value, at, received, request_id, row, key) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO NOTHING"
)
OF_REQUESTS = (
    "SELECT sequence, label, value, at, request_id, row, key, received FROM labels"
    " WHERE label = :label AND request_id IN ("
    "SELECT request_id FROM labels WHERE label = :label"
    " GROUP BY request_id ORDER BY max(sequence) DESC LIMIT :limit OFFSET :after"
    ") ORDER BY sequence"
)

SINCE = "SELECT DISTINCT request_id FROM labels WHERE label = ? AND received >= ? LIMIT 1000000"


@dataclass(frozen=True, slots=True)
class Label:
    """The truth about one row of a request. `at`: unix seconds. `key`: as of a `Row`."""

    label: str
    value: str
    at: float
    request_id: str
    row: int = 0
    key: str | None = None


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """A label as it is kept. `sequence` only ever grows. `received`: unix seconds."""

    sequence: int
    label: Label
    received: float
