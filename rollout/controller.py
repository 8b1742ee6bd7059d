"""One rollout's tick: measure → judge → advance → record → apply routes → verify what the data plane serves.

Routes are a function of the state and are compared with what is served on every tick, so a crash between any two
lines heals on the next one. Nothing here waits for anything but the router and the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from lockgate.rollout.advance import advance, routes
from lockgate.rollout.errors import Fenced, RouterDown, SourceDown
from lockgate.rollout.judge import blind, judge
from lockgate.rollout.ports import MetricSource, Router
from lockgate.rollout.progress import Progress, begun
from lockgate.rollout.state import Happening, Judged, State
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Endpoint, Outcome, Phase

LEASE = 15.0
"""Seconds that a controller which says nothing more is believed to live."""

Sides = Mapping[str, tuple[Endpoint, ...]]
_UNROUTED = (Phase.PENDING, Phase.BUILDING, Phase.FAILED)
"""Traffic is as it was before the rollout."""


class Controller:
    """Drives one rollout. `sides` tells the endpoints of `stable` and `candidate` now."""

    def __init__(
        self, rollout: Rollout, store: Store, router: Router, source: MetricSource, sides: Callable[[], Sides]
    ) -> None:
        self.rollout = rollout
        self._store = store
        self._router = router
        self._source = source
        self._sides = sides

    def tick(self, owner: str, now: float) -> Event:
        """One turn of the loop; the state it left. Raises `Fenced` when somebody else drives this rollout."""
        if not self._store.lease(self.rollout.id, owner, now, LEASE):
            holder = self._store.holder(self.rollout.id, now) or "another controller"
            raise Fenced(f"{self.rollout.id} is driven by {holder}")
        last = self._store.last(self.rollout.id)
        if last.state.phase.stepping:
            last = self._weigh(last, now)
        self.conform(last.state, now)
        return last

    def record(self, after: Event, happening: Happening, now: float) -> Event:
        return self._store.append(self.rollout, after, happening, now)

    def conform(self, state: State, now: float) -> None:
        """Make the data plane serve what the state asks for, and start a step's counts when its routes are on."""
        if state.phase in _UNROUTED:
            return
        wanted = routes(self.rollout.spec, state, self._sides(), self.rollout.id)
        if not wanted.stable:
            return  # its replicas are coming back; whatever is served now, nothing better can be
        if self._router.applied() != wanted:
            self._router.apply(wanted)
        if state.phase.stepping:
            progress = self._store.progress(self.rollout.id)
            if progress is None or progress.index != state.step:
                with suppress(SourceDown):  # the next tick begins the step instead
                    self._store.save_progress(self.rollout.id, begun(state.step, now, self._source.measure()))

    def _weigh(self, last: Event, now: float) -> Event:
        progress = self._store.progress(self.rollout.id)
        if progress is None or progress.index != last.state.step:
            # Its timeout runs nevertheless: counts that never begin must not keep a rollout open for ever.
            verdict = blind(self.rollout.spec, "the step's counts have not begun")
        else:
            verdict, progress = self._judge(progress, last.state, now)
            self._store.save_progress(self.rollout.id, replace(progress, verdict=verdict))
        happening = Judged(verdict)
        if advance(self.rollout.spec, last.state, happening, now) == last.state:
            return last  # the log holds what changed something; the numbers of the moment are in `progress`
        return self.record(last, happening, now)

    def _judge(self, progress: Progress, state: State, now: float) -> tuple[Verdict, Progress]:
        try:
            progress = progress.counted(now, self._source.measure())
        except (SourceDown, RouterDown) as error:
            return blind(self.rollout.spec, str(error)), progress
        verdict = judge(self.rollout.spec, *progress.sides(self.rollout.spec.steps[state.step]))
        if not self._sides()["candidate"] and verdict.outcome is not Outcome.FAIL:  # old counts promote nothing dead
            verdict = replace(verdict, outcome=Outcome.ERROR, reason="no replica of the candidate is up")
        return verdict, progress
