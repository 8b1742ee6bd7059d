"""The rollouts' memory: an append-only event log per rollout, in SQLite or, by URL, PostgreSQL.

The unique key (rollout, sequence) is the fence: of two controllers that act on the same state, one loses the write.
A unique index keeps one open rollout per model. The lease says who drives; it is only a courtesy, the fence decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Text, bindparam, cast, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from lockgate.rollout.advance import advance
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.database import connected
from lockgate.rollout.errors import AlreadyOpen, Fenced, NoRollout, Unreadable
from lockgate.rollout.progress import Progress
from lockgate.rollout.rows import Event, Rollout, event_at, event_of, last_of, rollouts_of, unreadable
from lockgate.rollout.state import HAPPENING, STATE, Happening, Opened, State
from lockgate.rollout.tables import events, leases, looks, notes, progress, rollouts

__all__ = ["Event", "Rollout", "Store", "opened"]

_PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)
_LOOK: TypeAdapter[Look] = TypeAdapter(Look)
_FRESH = 0.8
"""Share of its time that a lease has left when it is renewed."""

# Asked in every tick, and so made once.
_LEASE = select(leases.c.owner, leases.c.until).where(leases.c.rollout == bindparam("rollout"))
_KEPT = select(cast(progress.c.document, Text)).where(progress.c.rollout == bindparam("rollout"))
_SAVED = update(progress).where(progress.c.rollout == bindparam("of"))
_LOCKED = select(progress.c.document).where(progress.c.rollout == bindparam("rollout")).with_for_update()
_LOOKED = insert(looks)


class Store:
    def __init__(self, url: str) -> None:
        self._engine = connected(url)

    def close(self) -> None:
        self._engine.dispose()

    def open(self, rollout: Rollout, now: float) -> None:
        """Write the rollout and its first event. Raises `AlreadyOpen` when the model has an open one."""
        try:
            with self._engine.begin() as db:
                db.execute(
                    insert(rollouts).values(
                        id=rollout.id,
                        model=rollout.model,
                        spec=rollout.spec.model_dump(mode="json"),
                        subject=dict(rollout.subject),
                        document=dict(rollout.document),
                        opened_at=now,
                    )
                )
                db.execute(insert(leases).values(rollout=rollout.id, owner="", until=0.0))
                _append(db, rollout, Event(0, now, Opened(), State()), Opened(), now)
        except IntegrityError as error:
            open_one = self.open_of(rollout.model)
            if open_one is None:
                raise AlreadyOpen(
                    f"{rollout.model} had an open rollout a moment ago, or there is a {rollout.id} already; try again"
                ) from error
            raise AlreadyOpen(
                f"{rollout.model} has an open rollout, {open_one.id}: finish it with `lockgate run`, or end it with"
                f" `lockgate abort {open_one.id}`"
            ) from error

    def rollout(self, rollout_id: str) -> Rollout:
        with self._engine.begin() as db:
            found = rollouts_of(db, select(rollouts).where(rollouts.c.id == rollout_id))
        if not found:
            raise NoRollout(f"there is no rollout {rollout_id}; `lockgate status` lists the open ones")
        return found[0]

    def open_of(self, model: str) -> Rollout | None:
        query = select(rollouts).where(rollouts.c.model == model, rollouts.c.closed_at.is_(None))
        with self._engine.begin() as db:
            return next(iter(rollouts_of(db, query)), None)

    def rollouts(self, model: str | None = None, told: Callable[[Unreadable], object] | None = None) -> list[Rollout]:
        """Newest first. `told`: of those that cannot be read, which are left out; without it the first one raises."""
        query = select(rollouts).order_by(rollouts.c.opened_at.desc(), rollouts.c.id.desc())
        if model is not None:
            query = query.where(rollouts.c.model == model)
        with self._engine.begin() as db:
            return rollouts_of(db, query, told)

    def close_rollout(self, rollout_id: str, now: float) -> None:
        with self._engine.begin() as db:
            db.execute(
                update(rollouts)
                .where(rollouts.c.id == rollout_id, rollouts.c.closed_at.is_(None))
                .values(closed_at=now)
            )

    def events(self, rollout_id: str) -> list[Event]:
        """In their order. Raises `Unreadable`, with the first one that is."""
        mine = events.c.rollout == rollout_id
        query = select(events).where(mine).order_by(events.c.sequence)
        with self._engine.begin() as db:
            try:
                return [event_of(row) for row in db.execute(query).mappings()]
            except ValueError as odd:  # JSON's and pydantic's
                for number in (
                    db.execute(select(events.c.sequence).where(mine).order_by(events.c.sequence)).scalars().all()
                ):
                    event_at(db, rollout_id, number)
                raise unreadable(f"the log of {rollout_id}", odd) from odd

    def last(self, rollout_id: str) -> Event:
        highest = select(func.max(events.c.sequence)).where(events.c.rollout == rollout_id)
        with self._engine.begin() as db:
            found = last_of(db, rollout_id)
            if found is None:
                number = db.execute(highest).scalar()
                if number is None:
                    raise NoRollout(f"there is no rollout {rollout_id}")
                return event_at(db, rollout_id, number)
        return found

    def append(self, rollout: Rollout, after: Event, happening: Happening, now: float, owner: str = "") -> Event:
        """Record what happened after `after`. `owner`: who drives; people need none.

        Raises `Fenced` when somebody else recorded something first, or has taken the owner's lease.
        """
        try:
            with self._engine.begin() as db:
                if owner:
                    _held(db, rollout.id, owner)
                return _append(db, rollout, after, happening, now)
        except IntegrityError as error:
            self.last(rollout.id)  # or NoRollout
            raise Fenced(f"another controller recorded event {after.sequence + 1} of {rollout.id} first") from error

    def lease(self, rollout_id: str, owner: str, now: float, ttl: float) -> bool:
        """Take the lease until `now + ttl`, or renew it where it is not fresh; False when somebody else holds it.

        A lease that ends later than twice `ttl` from now was taken before the clock was set back: it holds nobody off.
        """
        with self._engine.begin() as db:
            held = db.execute(_LEASE, {"rollout": rollout_id}).first()
        if held and held.owner == owner and now + ttl * _FRESH <= held.until <= now + ttl:
            return True  # a write waits for the disk, and a tick comes every second
        free = (leases.c.owner == owner) | (leases.c.until < now) | (leases.c.until > now + 2 * ttl)
        with self._engine.begin() as db:
            done = db.execute(
                update(leases).where(leases.c.rollout == rollout_id, free).values(owner=owner, until=now + ttl)
            )
        return bool(done.rowcount)

    def release(self, rollout_id: str, owner: str) -> None:
        with self._engine.begin() as db:
            db.execute(
                update(leases)
                .where(leases.c.rollout == rollout_id, leases.c.owner == owner)
                .values(owner="", until=0.0)
            )

    def holder(self, rollout_id: str, now: float) -> str:
        """Who drives the rollout now; empty when nobody does."""
        with self._engine.begin() as db:
            held = db.execute(_LEASE, {"rollout": rollout_id}).first()
        return str(held.owner) if held and held.until >= now else ""

    def save_progress(self, rollout_id: str, value: Progress, look: Look | None = None) -> None:
        """Record a look, and what is known with it: both or neither.

        Raises `Fenced` when another controller looked first: what was known before is not written back.
        """
        document = json.loads(_PROGRESS.dump_json(value))  # dump_python would leave infinity as it is
        number = value.evidence.looks
        try:
            with self._engine.begin() as db:
                if _looks(db, rollout_id) > number:
                    raise Fenced(f"another controller has looked at {rollout_id} since")
                if look is not None:
                    seen = json.loads(_LOOK.dump_json(look))
                    db.execute(_LOOKED, {"rollout": rollout_id, "number": number, "at": look.at, "document": seen})
                done = db.execute(_SAVED, {"of": rollout_id, "document": document})
                if not done.rowcount:
                    db.execute(insert(progress).values(rollout=rollout_id, document=document))
        except IntegrityError as error:
            if look is not None:
                raise Fenced(f"another controller recorded look {number} of {rollout_id} first") from error
            # Whoever else inserted the row at this moment has counted as much as we have: theirs stands.

    def looks(self, rollout_id: str) -> Iterator[Look]:
        """In their order."""
        query, number = select(looks.c.document).where(looks.c.rollout == rollout_id).order_by(looks.c.number), 1
        with self._engine.connect() as db:
            try:
                for row in db.execute(query.execution_options(yield_per=500)):
                    yield _LOOK.validate_python(row[0])
                    number += 1
            except ValueError as odd:
                raise unreadable(f"look {number} of {rollout_id}", odd) from odd

    def note(self, rollout_id: str, name: str, document: Any) -> None:
        """Keep something to show, in place of what was kept by this name."""
        at = (notes.c.rollout == rollout_id) & (notes.c.name == name)
        with self._engine.begin() as db:
            done = db.execute(update(notes).where(at).values(document=document))
        if not done.rowcount:
            with suppress(IntegrityError), self._engine.begin() as db:  # else somebody else's is as good
                db.execute(insert(notes).values(rollout=rollout_id, name=name, document=document))

    def noted(self, rollout_id: str, name: str) -> Any:
        """What was kept by this name; None when nothing was."""
        query = select(notes.c.document).where((notes.c.rollout == rollout_id) & (notes.c.name == name))
        with self._engine.begin() as db:
            return db.execute(query).scalar()

    def progress(self, rollout_id: str) -> Progress | None:
        """None where nothing is kept, or it cannot be read: the evidence is computed anew from the looks."""
        with self._engine.begin() as db:
            document = db.execute(_KEPT, {"rollout": rollout_id}).scalar()
        with suppress(ValueError):  # JSON's and pydantic's
            return _progress_of(document) if document else None
        return None


@lru_cache(maxsize=2)
def _progress_of(document: str) -> Progress:
    """It is read several times in a tick, and seldom another one than in the tick before."""
    return _PROGRESS.validate_json(document)


def _held(db: Connection, rollout_id: str, owner: str) -> None:
    """Nobody takes the lease between this and the end of the transaction: it is written, not read."""
    mine = (leases.c.rollout == rollout_id) & (leases.c.owner == owner)
    if not db.execute(update(leases).where(mine).values(owner=owner)).rowcount:
        raise Fenced(f"another controller has taken {rollout_id}")


def _looks(db: Connection, rollout_id: str) -> int:
    """How many looks the progress that is kept is made of."""
    try:
        document = db.execute(_LOCKED, {"rollout": rollout_id}).scalar() or {}
        return int((document.get("evidence") or {}).get("looks", 0))
    except (ValueError, TypeError, AttributeError):  # damaged: it is written anew, from the looks
        return 0


def _append(db: Connection, rollout: Rollout, after: Event, happening: Happening, now: float) -> Event:
    line = Event(after.sequence + 1, now, happening, advance(rollout.spec, after.state, happening, now))
    db.execute(
        insert(events).values(
            rollout=rollout.id,
            sequence=line.sequence,
            at=now,
            happening=HAPPENING.dump_python(happening, mode="json"),
            state=STATE.dump_python(line.state, mode="json"),
        )
    )
    return line


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        store.close()
