"""The store, read for many rollouts at once: no scrape loads the specs of rollouts that were over long ago."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, make_url, select

from lockgate.rollout.store import Store
from lockgate.rollout.tables import events, leases, rollouts

_PATIENCE = "5"
"""Seconds for a connection to a database that may not be there: a scrape waits 10."""


@dataclass(frozen=True, slots=True)
class Head:
    """A rollout in a few words. `name` is the pipeline's."""

    id: str
    name: str
    closed_at: float | None


class Reader(Store):
    """Raises `StoreDown` where the store does."""

    def __init__(self, url: str) -> None:
        at = make_url(url)
        if at.get_backend_name() in ("postgresql", "postgres") and "connect_timeout" not in at.query:
            at = at.update_query_dict({"connect_timeout": _PATIENCE})
        super().__init__(at.render_as_string(hide_password=False))

    def heads(self) -> list[Head]:
        """Every rollout, oldest first."""
        columns = (rollouts.c.id, rollouts.c.model, rollouts.c.closed_at)
        with self._engine.begin() as db:
            found = db.execute(select(*columns).order_by(rollouts.c.opened_at, rollouts.c.id)).all()
        return [Head(*row) for row in found]

    def phases(self, ids: Collection[str]) -> dict[str, str]:
        """The phase that each of these rollouts is in."""
        last = (
            select(events.c.rollout, func.max(events.c.sequence).label("sequence"))
            .where(events.c.rollout.in_(list(ids)))
            .group_by(events.c.rollout)
            .subquery()
        )
        at = (events.c.rollout == last.c.rollout) & (events.c.sequence == last.c.sequence)
        query = select(events.c.rollout, events.c.state["phase"].as_string()).join(last, at)
        with self._engine.begin() as db:
            return dict(db.execute(query).tuples().all())

    def leased_until(self, rollout_id: str) -> float:
        """When the lease ends, in unix seconds; 0 where nobody has it."""
        query = select(leases.c.until).where(leases.c.rollout == rollout_id)
        with self._engine.begin() as db:
            return float(db.execute(query).scalar() or 0.0)
