"""The rollouts' memory: an append-only event log per rollout, in SQLite or, by URL, PostgreSQL.

The unique key (rollout, sequence) is the fence: of two controllers that act on the same state, one loses the write.
A unique index keeps one open rollout per model. The lease says who drives; it is only a courtesy, the fence decides.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import (
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from lockgate.rollout.advance import advance
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.errors import AlreadyOpen, Fenced, NoRollout, StoreDown
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import STORED, RolloutSpec
from lockgate.rollout.state import HAPPENING, STATE, Happening, Opened, State
from lockgate.rollout.tables import METADATA, events, leases, looks, notes, progress, rollouts

_TRIES = 20
_PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)
_LOOK: TypeAdapter[Look] = TypeAdapter(Look)


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


class Store:
    def __init__(self, url: str) -> None:
        at = make_url(url)
        if at.drivername in ("postgresql", "postgres"):
            at = at.set(drivername="postgresql+psycopg")
        if at.get_backend_name() == "sqlite" and at.database:
            Path(at.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(at, pool_pre_ping=True)  # a server that was restarted costs no tick
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _sqlite_pragmas)
        try:
            _create_tables(self._engine)
        except OperationalError as error:
            raise _down(self._engine, error) from error
        event.listen(self._engine, "handle_error", _translate)

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
            row = db.execute(select(rollouts).where(rollouts.c.id == rollout_id)).mappings().first()
        if row is None:
            raise NoRollout(f"there is no rollout {rollout_id}; `lockgate status` lists the open ones")
        return _rollout(row)

    def open_of(self, model: str) -> Rollout | None:
        query = select(rollouts).where(rollouts.c.model == model, rollouts.c.closed_at.is_(None))
        with self._engine.begin() as db:
            row = db.execute(query).mappings().first()
        return _rollout(row) if row else None

    def rollouts(self, model: str | None = None) -> list[Rollout]:
        """Newest first."""
        query = select(rollouts).order_by(rollouts.c.opened_at.desc(), rollouts.c.id.desc())
        if model is not None:
            query = query.where(rollouts.c.model == model)
        with self._engine.begin() as db:
            return [_rollout(row) for row in db.execute(query).mappings()]

    def close_rollout(self, rollout_id: str, now: float) -> None:
        with self._engine.begin() as db:
            db.execute(
                update(rollouts)
                .where(rollouts.c.id == rollout_id, rollouts.c.closed_at.is_(None))
                .values(closed_at=now)
            )

    def events(self, rollout_id: str) -> list[Event]:
        query = select(events).where(events.c.rollout == rollout_id).order_by(events.c.sequence)
        with self._engine.begin() as db:
            return [_event(row) for row in db.execute(query).mappings()]

    def last(self, rollout_id: str) -> Event:
        query = select(events).where(events.c.rollout == rollout_id).order_by(events.c.sequence.desc()).limit(1)
        with self._engine.begin() as db:
            row = db.execute(query).mappings().first()
        if row is None:
            raise NoRollout(f"there is no rollout {rollout_id}")
        return _event(row)

    def append(self, rollout: Rollout, after: Event, happening: Happening, now: float) -> Event:
        """Record what happened after `after`. Raises `Fenced` when somebody else recorded something first."""
        try:
            with self._engine.begin() as db:
                return _append(db, rollout, after, happening, now)
        except IntegrityError as error:
            self.last(rollout.id)  # or NoRollout
            raise Fenced(f"another controller recorded event {after.sequence + 1} of {rollout.id} first") from error

    def lease(self, rollout_id: str, owner: str, now: float, ttl: float) -> bool:
        """Take or renew the lease until `now + ttl`; False when somebody else holds it.

        A lease that ends later than twice `ttl` from now was taken before the clock was set back: it holds nobody off.
        """
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
            row = db.execute(select(leases).where(leases.c.rollout == rollout_id)).mappings().first()
        return str(row["owner"]) if row and row["until"] >= now else ""

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
                    db.execute(insert(looks).values(rollout=rollout_id, number=number, at=look.at, document=seen))
                done = db.execute(update(progress).where(progress.c.rollout == rollout_id).values(document=document))
                if not done.rowcount:
                    db.execute(insert(progress).values(rollout=rollout_id, document=document))
        except IntegrityError as error:
            if look is not None:
                raise Fenced(f"another controller recorded look {number} of {rollout_id} first") from error
            # Whoever else inserted the row at this moment has counted as much as we have: theirs stands.

    def looks(self, rollout_id: str) -> Iterator[Look]:
        """In their order."""
        query = select(looks.c.document).where(looks.c.rollout == rollout_id).order_by(looks.c.number)
        with self._engine.connect() as db:
            for row in db.execute(query.execution_options(yield_per=500)):
                yield _LOOK.validate_python(row[0])

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
        with self._engine.begin() as db:
            row = db.execute(select(progress).where(progress.c.rollout == rollout_id)).mappings().first()
        return _progress(row["document"]) if row else None


def _looks(db: Connection, rollout_id: str) -> int:
    """How many looks the progress that is kept is made of."""
    query = select(progress.c.document).where(progress.c.rollout == rollout_id).with_for_update()
    document = db.execute(query).scalar() or {}
    return int((document.get("evidence") or {}).get("looks", 0))


def _progress(document: Any) -> Progress | None:
    """None for one that an earlier version of Lockgate wrote: the evidence is computed anew from the looks."""
    try:
        return _PROGRESS.validate_python(document)
    except ValidationError:
        return None


def _create_tables(engine: Engine) -> None:
    """Create what is missing, whoever else is doing the same at this moment."""
    engine.connect().close()  # a database that cannot be reached is said at once
    for _ in range(_TRIES):  # whenever we lose, somebody else has brought it further
        with suppress(OperationalError, ProgrammingError, IntegrityError):
            return _create_missing(engine)
    return _create_missing(engine)


def _create_missing(engine: Engine) -> None:
    METADATA.create_all(engine)
    there = {index["name"] for index in inspect(engine).get_indexes(rollouts.name)}
    for index in rollouts.indexes:
        if index.name not in there:  # whoever created its table was killed
            index.create(engine)


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


def _event(row: Mapping[Any, Any]) -> Event:
    return Event(
        row["sequence"], row["at"], HAPPENING.validate_python(row["happening"]), STATE.validate_python(row["state"])
    )


def _down(engine: Engine, error: BaseException) -> StoreDown:
    where = engine.url.render_as_string(hide_password=True)
    why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return StoreDown(f"the store {where} does not answer: {why}. Is LOCKGATE_STATE_URL, or LOCKGATE_HOME, right?")


def _translate(context: ExceptionContext) -> None:
    """What the database cannot do now is a sentence, not a traceback."""
    if isinstance(context.sqlalchemy_exception, OperationalError) and context.engine is not None:
        context.chained_exception = _down(context.engine, context.sqlalchemy_exception)


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    connection.execute("pragma busy_timeout=10000")
    with suppress(sqlite3.OperationalError):  # locked: somebody else is switching; the file remembers it
        connection.execute("pragma journal_mode=wal")
    connection.execute("pragma foreign_keys=on")


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        store.close()
