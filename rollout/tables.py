"""The store's tables."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table

METADATA = MetaData()

rollouts = Table(
    "lockgate_rollouts",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("model", String(255), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("subject", JSON, nullable=False),
    Column("document", JSON, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
)
Index(
    "lockgate_one_open_per_model",
    rollouts.c.model,
    unique=True,
    sqlite_where=rollouts.c.closed_at.is_(None),
    postgresql_where=rollouts.c.closed_at.is_(None),
)


def _of() -> Column[str]:
    return Column("rollout", String(64), ForeignKey(rollouts.c.id), primary_key=True)


events = Table(
    "lockgate_events",
    METADATA,
    _of(),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("happening", JSON, nullable=False),
    Column("state", JSON, nullable=False),
)

leases = Table("lockgate_leases", METADATA, _of(), Column("owner", String(255)), Column("until", Float, nullable=False))

progress = Table("lockgate_progress", METADATA, _of(), Column("document", JSON, nullable=False))

looks = Table(
    "lockgate_looks",
    METADATA,
    _of(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("document", JSON, nullable=False),
)
"""What every verdict was made of, look by look: part of the log."""

notes = Table(
    "lockgate_notes",
    METADATA,
    _of(),
    Column("name", String(64), primary_key=True),
    Column("document", JSON, nullable=False),
)
"""What people are shown beside the verdicts, like the worst disagreements. No decision is made of them."""
