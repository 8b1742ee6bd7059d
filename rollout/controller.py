"""One rollout's tick: measure → judge → advance → record → apply routes → verify what the data plane serves.

What was counted is judged at looks, which may be half a minute apart. But every tick measures: an outage waits for no
look, and the tick that finds one takes the traffic away.

Routes are a function of the state and are compared with what is served on every tick, so a crash between any two
lines heals on the next one. Nothing here waits for anything but the router and the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import reduce

from lockgate.rollout.advance import advance, routes
from lockgate.rollout.analysis.analysis import Analysis, Evidence, blind
from lockgate.rollout.errors import Fenced, RouterDown, SourceDown
from lockgate.rollout.moves import still
from lockgate.rollout.ports import MetricSource, Nothing, Observer, Router, Span
from lockgate.rollout.progress import Progress, begun
from lockgate.rollout.state import Happening, Judged, State
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verdict import GONE, Verdict
from lockgate.rollout.watch import Watch, watch
from lockgate.rollout.words import Counts, Endpoint, Outcome, Phase, Routes

LEASE = 15.0
"""Seconds that a controller which says nothing more is believed to live."""

Sides = Mapping[str, tuple[Endpoint, ...]]
_UNROUTED = (Phase.PENDING, Phase.BUILDING, Phase.FAILED)
"""Traffic is as it was before the rollout."""


class Controller:
    """Drives one rollout. `sides` tells the endpoints of `stable` and `candidate` now."""

    def __init__(  # noqa: PLR0913, PLR0917 - everything that a tick needs
        self,
        rollout: Rollout,
        store: Store,
        router: Router,
        sources: tuple[MetricSource, Observer] | MetricSource,
        sides: Callable[[], Sides],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock`: unix seconds, for what takes a moment within a tick; without it a tick takes no time."""
        self.rollout = rollout
        self._store = store
        self._router = router
        self._source, self._observer = sources if isinstance(sources, tuple) else (sources, Nothing())
        self._sides, self._clock = sides, clock
        self._analysis = Analysis(rollout.spec)
        self._owner = ""
        self._watch: Watch | None = None
        self._up: Sides | None = None
        """Who is up, while a tick goes on: it asks several times, and to find out is a look at every replica."""

    def tick(self, owner: str, now: float) -> Event:
        """One turn of the loop; the state it left. Raises `Fenced` when somebody else drives this rollout."""
        if not self._store.lease(self.rollout.id, owner, now, LEASE):
            holder = self._store.holder(self.rollout.id, now) or "another controller"
            raise Fenced(f"{self.rollout.id} is driven by {holder}")
        self._owner = owner
        last = self._store.last(self.rollout.id)
        try:
            if last.state.phase.stepping:
                self._up = self._sides()
                last = self._weigh(last, now)
            self.conform(last.state, now)
        finally:
            self._up = None
        return last

    def record(self, after: Event, happening: Happening, now: float) -> Event:
        return self._store.append(self.rollout, after, happening, now, self._owner)

    def unmoved(self, state: State) -> bool:
        """Asked right before what the fence cannot hold up. False when a later rollout has begun.

        Raises `Fenced` when this is not the rollout's state any more.
        """
        if state.phase.over:
            return self._is_the_last()
        if self._store.last(self.rollout.id).state != state:
            raise Fenced(f"{self.rollout.id} went on while this controller acted on what was before")
        return True

    def _is_the_last(self) -> bool:
        """Also once it is closed: what somebody who slept in between has applied too late is put right."""
        if self._store.rollout(self.rollout.id).closed_at is None:
            return True
        if self._store.open_of(self.rollout.model) is not None:
            return False
        return self._store.rollouts(self.rollout.model)[0].id == self.rollout.id

    def conform(self, state: State, now: float) -> None:
        """Make the data plane serve what the state asks for, and start a step's counts when its routes are on."""
        if state.phase in _UNROUTED:
            return
        wanted = self._wanted(state)
        if not wanted.stable:
            return  # its replicas are coming back; whatever is served now, nothing better can be
        if self._router.applied() != wanted:
            moved = self._share(state, now, wanted)
            if not self._router.apply(wanted, lambda: self._still(state, wanted)):
                return  # the next rollout may be under way; or replicas came and went, and the next tick sees them
            if moved:
                self._store.save_progress(self.rollout.id, moved.on(now, self._later(now)))
        if state.phase.stepping:
            self._begin(state, self._later(now), wanted)

    def _still(self, state: State, wanted: Routes) -> bool:
        """Looked at anew: to get here takes a moment."""
        self._up = None
        return self.unmoved(state) and self._wanted(state) == wanted

    def _wanted(self, state: State) -> Routes:
        return routes(self.rollout.spec, state, self._seen_up(), self.rollout.id)

    def _seen_up(self) -> Sides:
        return self._sides() if self._up is None else self._up

    def _later(self, now: float) -> float:
        """When something that was begun at `now` was done."""
        return max(now, self._clock()) if self._clock else now

    def _share(self, state: State, now: float, wanted: Routes) -> Progress | None:
        """Write down how users are about to be split in this step: nobody comes with an unknown share."""
        progress = self._progress(state) if state.phase.stepping else None
        if progress is None or (moved := progress.shared(now, wanted)) is progress:
            return None
        self._store.save_progress(self.rollout.id, moved)
        return moved

    def _progress(self, state: State) -> Progress | None:
        """The counts of the step that is judged now: in an approval, those of the step before it go on."""
        progress = self._store.progress(self.rollout.id)
        return progress if progress and progress.index == self.rollout.spec.judged(state.step) else None

    def _begin(self, state: State, now: float, wanted: Routes) -> None:
        """The counts of a step whose routes are on. `now`: when they were seen to be."""
        progress, judged = self._store.progress(self.rollout.id), self.rollout.spec.judged(state.step)
        if judged is None or (progress is not None and progress.index == judged):
            return
        evidence = progress.evidence if progress else self._evidence()
        with suppress(SourceDown):  # the next tick begins the step instead
            seen = self._source.measure()
            first = begun(judged, now, seen, evidence, self._servers())
            first = first.shared(now, wanted) if progress else self._remembered(first, wanted)
            self._store.save_progress(self.rollout.id, first)

    def _remembered(self, first: Progress, wanted: Routes) -> Progress:
        """Of a step whose progress was lost: how its users were split until now, from the log."""
        spec, sides, began = self.rollout.spec, self._seen_up(), first.at
        for event in self._store.events(self.rollout.id):
            if event.state.phase.stepping and spec.judged(event.state.step) == first.index:
                began = min(began, event.at)
                first = first.shared(event.at, routes(spec, event.state, sides, self.rollout.id))
        return replace(first, began=began).shared(first.at, wanted)

    def _weigh(self, last: Event, now: float) -> Event:
        progress = self._progress(last.state)
        if progress is None:
            # Its timeout runs nevertheless: counts that never begin must not keep a rollout open for ever.
            none = self.rollout.spec.judged(last.state.step) is None
            why = "no step before it is judged" if none else "the step's counts have not begun"
            verdict = blind(self.rollout.spec, why)
        else:
            verdict = self._judge(progress, last.state, now)
        happening = Judged(verdict)
        if advance(self.rollout.spec, last.state, happening, now) == last.state:
            return self._allocate(last, now)  # the log holds what changed something; `progress` has the numbers
        return self.record(last, happening, now)

    def _allocate(self, last: Event, now: float) -> Event:
        """An `ab` step may give the candidate another share, by what was proven of it."""
        state = last.state
        if not self._analysis.allocates(state.step) or state.phase is not Phase.PROGRESSING or still(state):
            return last
        progress = self._progress(state)
        if progress is None:
            return last
        moved = self._analysis.allocation(progress.evidence, last.state, progress.began, now)
        return self.record(last, moved, now) if moved else last

    def _judge(self, progress: Progress, state: State, now: float) -> Verdict:
        """The verdict with what came since the last look, where one is due or there is an outage; else what it was."""
        verdict, step = progress.verdict, self.rollout.spec.steps[progress.index]
        before = verdict if verdict and verdict.reason != GONE and not progress.due(now) else None
        try:
            seen = self._source.measure()
        except (SourceDown, RouterDown) as error:
            if before:
                return self._as_before(before, progress, state)
            verdict = blind(self.rollout.spec, str(error))
            self._store.save_progress(self.rollout.id, replace(progress, verdict=verdict))
            return verdict
        watched = self._watched(progress, now, seen)
        if before and not watched.alarms(len(self.rollout.spec.challengers)):
            return self._as_before(before, progress, state)
        observed = self._observer.observe(
            Span(progress.index, progress.at, now, progress.began, progress.shares, progress.others)
        )
        progress, warm = progress.warmed(now, self._servers(), self.rollout.spec.warm_up, step)
        progress, look = progress.look(now, seen, observed, step)
        look = watched.told(replace(look, warm=warm))
        evidence = self._analysis.look(progress.evidence, look)
        verdict = self._alive(self._analysis.verdict(evidence, progress.index, state.dropped))
        progress = replace(progress, evidence=evidence, verdict=verdict)
        self._store.save_progress(self.rollout.id, progress, look)
        return verdict

    def _as_before(self, verdict: Verdict, progress: Progress, state: State) -> Verdict:
        """What was said of all is not what is said of the rest."""
        if verdict.looks and not set(state.dropped) <= set(verdict.dropped):
            verdict = self._analysis.verdict(progress.evidence, progress.index, state.dropped)
        return self._alive(verdict)

    def _watched(self, progress: Progress, now: float, seen: Counts) -> Watch:
        """With this tick. Whoever takes over goes on from the last look."""
        last = self._watch if self._watch and self._watch.index == progress.index else watch(progress)
        up = [name for name, servers in self._seen_up().items() if servers]
        spec = self.rollout.spec
        self._watch = last.ticked(now, seen, spec.steps[progress.index], up, spec.traffic.failover.deadline)
        return self._watch

    def _alive(self, verdict: Verdict) -> Verdict:
        """Old counts promote nothing dead."""
        sides = self._seen_up()
        if verdict.ahead and not sides.get(verdict.ahead):
            verdict = replace(verdict, ahead="")
        waits = bool(verdict.others) and verdict.outcome is not Outcome.PASS  # the others may be up
        if sides.get(verdict.winner) or verdict.outcome is Outcome.FAIL or waits:
            return verdict
        return replace(verdict, outcome=Outcome.ERROR, reason=GONE)

    def _evidence(self) -> Evidence:
        """From the log: what is kept beside it is not there, or cannot be read."""
        return reduce(self._analysis.look, self._store.looks(self.rollout.id), self._analysis.begin())

    def _servers(self) -> tuple[str, ...]:
        return tuple(sorted(str(endpoint) for side in self._seen_up().values() for endpoint in side))
