"""Rows of the store's tables as values, or a sentence that names the row that is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Select, bindparam, select

from lockgate.rollout.database import RECOVERY
from lockgate.rollout.errors import Unreadable
from lockgate.rollout.spec import STORED, RolloutSpec
from lockgate.rollout.state import HAPPENING, STATE, Happening, State
from lockgate.rollout.tables import events, rollouts


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout as it was opened. `subject` says what it is about (versions, digests); `document` is the whole spec."""

    id: str
    model: str
    spec: RolloutSpec
    subject: Mapping[str, str]
    document: Mapping[str, Any]
    opened_at: float
    closed_at: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log: what happened, and the state after it."""

    sequence: int
    at: float
    happening: Happening
    state: State


def event_at(db: Connection, rollout_id: str, number: int) -> Event:
    query = select(events).where(events.c.rollout == rollout_id, events.c.sequence == number)
    try:
        return event_of(db.execute(query).mappings().one())
    except ValueError as odd:
        raise unreadable(f"event {number} of {rollout_id}", odd) from odd


_LAST = select(events).where(events.c.rollout == bindparam("rollout")).order_by(events.c.sequence.desc()).limit(1)
"""Asked in every tick, and so made once."""


def last_of(db: Connection, rollout_id: str) -> Event | None:
    """Its last event; None where there is none, or it cannot be read."""
    with suppress(ValueError):
        row = db.execute(_LAST, {"rollout": rollout_id}).mappings().first()
        return event_of(row) if row else None
    return None


def rollouts_of(
    db: Connection, query: Select[Any], told: Callable[[Unreadable], object] | None = None
) -> list[Rollout]:
    """`told`: of those that cannot be read, which are left out; without it the first one raises."""
    with suppress(ValueError):
        return [_rollout(row) for row in db.execute(query).mappings()]
    found = []
    for name in db.execute(query.with_only_columns(rollouts.c.id)).scalars().all():
        try:
            found.append(_rollout(db.execute(select(rollouts).where(rollouts.c.id == name)).mappings().one()))
        except ValueError as its:
            odd = unreadable(f"the spec of {name}", its)
            if told is None:
                raise odd from its
            told(odd)
    return found


def _rollout(row: Mapping[Any, Any]) -> Rollout:
    return Rollout(
        row["id"],
        row["model"],
        RolloutSpec.model_validate(row["spec"], context=STORED),
        row["subject"],
        row["document"],
        row["opened_at"],
        row["closed_at"],
    )


def event_of(row: Mapping[Any, Any]) -> Event:
    return Event(
        row["sequence"], row["at"], HAPPENING.validate_python(row["happening"]), STATE.validate_python(row["state"])
    )


def unreadable(what: str, error: ValueError) -> Unreadable:
    why, newer = next(iter(str(error).splitlines()), ""), ""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        if first["type"] in {"union_tag_invalid", "extra_forbidden"}:
            newer = "A newer Lockgate may have written it: then upgrade this one. Else it is damaged"
    return Unreadable(f"{what} cannot be read: {why}. {newer or 'It is damaged'}; {RECOVERY}")
