"""The audit's rows as a chain: each carries the hash of the one before, so that none is changed or lost unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from lockgate.registry.auth.audit_table import audit

START = "0" * 64
"""What the first row carries, and the head of an audit without rows."""
_COLUMNS = tuple(c.name for c in audit.columns if c.name != "hash")
_AT_ONCE = 500
"""Rows that are read in one transaction: SQLite commits nothing while somebody reads."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Where the chain of rows does not hold."""

    sequence: int
    reason: str


def hash_of(row: Mapping[str, Any]) -> str:
    """In hexadecimal digits; of everything in the row but its hash."""
    text = json.dumps([row[name] for name in _COLUMNS], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(engine: Engine, head: str = "") -> Broken | None:
    """None when every row is as it was written, in its place; `head`: a hash of `Audit.head` that was noted earlier."""
    previous, last, noted = START, 0, head in ("", START)
    for row in _rows(engine):
        if row["sequence"] != last + 1:
            return Broken(last + 1, f"row {last + 1} is missing")
        if row["previous"] != previous:
            return Broken(row["sequence"], "it does not carry the hash of the row before")
        if row["hash"] != hash_of(row):
            return Broken(row["sequence"], "it is not as it was written")
        previous, last = row["hash"], row["sequence"]
        noted = noted or previous == head
    if not noted:
        return Broken(last + 1, f"no row has the hash that was noted: the rows after {last} were cut off")
    return None


def _rows(engine: Engine) -> Iterator[dict[str, Any]]:
    """Oldest first; nothing is locked while the caller looks at one."""
    last = 0
    while True:
        query = select(audit).where(audit.c.sequence > last).order_by(audit.c.sequence).limit(_AT_ONCE)
        with engine.connect() as db:
            found = [dict(row) for row in db.execute(query).mappings()]
        yield from found
        if len(found) < _AT_ONCE:
            return
        last = found[-1]["sequence"]
