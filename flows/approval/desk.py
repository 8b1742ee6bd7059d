"""Asks people to approve, and takes what they decide: beside the loop, so that a slow registry delays no tick.

What is asked is kept in the store (`PLACED`), so that a driver that was killed goes on with the same question. The page
in the registry is read every few seconds; a webhook only makes the next reading come sooner. Nothing here decides:
`look` returns what happened, and the log and `advance` do the rest.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from lockgate.flows.approval import asking, hearing
from lockgate.flows.approval.asking import Placed
from lockgate.flows.hooks import woken
from lockgate.flows.world import World
from lockgate.registry.errors import NoSuchVersion, RegistryError, Unusable
from lockgate.rollout.approving import approval_at
from lockgate.rollout.errors import StoreDown
from lockgate.rollout.spec import ApprovalStep
from lockgate.rollout.state import Broke, Happening, State, Voided
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.words import Phase

_LOG = logging.getLogger("lockgate.approval")
EVERY = 2.0
"""Seconds between two readings of the page."""
_PATIENCE = 30.0
"""Seconds before what failed is tried again, at most."""
_MOST_FAILURES = 5
_TO_CLOSE = 5.0
_TRIES = 3
_TELL_EVERY = 60.0

Job = Callable[[], Sequence[Happening]]


class Desk:
    """Of one rollout. `look` is called on every tick, never blocks and never raises."""

    def __init__(self, world: World, rollout: Rollout) -> None:
        self._world, self._rollout = world, rollout
        self._thread: threading.Thread | None = None
        self._came: list[Happening] = []
        self._began = self._next = 0.0
        self._failures = 0
        self._placed = asking.placed(world.store, rollout)
        self._told = 0.0
        self._checked: tuple[str, ...] = ()
        """The approvals after which the files were found to be as they were tried; `PROMOTING` for the last time."""

    def look(self, event: Event, now: float) -> list[Happening]:
        """What became of the last question, to be recorded after `event`."""
        if self._busy():
            return []
        came, self._came = self._came, []
        if came:
            return came
        if event.state.phase is Phase.PROMOTING and Phase.PROMOTING not in self._checked:
            return []  # nothing is more urgent than `cleared`
        due = now >= self._next or woken(self._world.home, self._world.spec.name, self._began)
        if due and (job := self._job(event, now)):
            self._start(job, now)
        return []

    def cleared(self, event: Event, now: float) -> Happening | bool:
        """Whether what was approved is what would be promoted: False until that is known.

        A happening where it is not. Rollouts without approvals are cleared at once.
        """
        if not self._rollout.spec.asks or Phase.PROMOTING in self._checked:
            return True
        if self._busy():
            return False
        if self._came:
            came, self._came = self._came, []
            return came[0]
        if now >= self._next:
            self._start(lambda: self._check(event.state, Phase.PROMOTING), now)
        return False

    def close(self, state: State) -> None:
        """The rollout is over: no page goes on asking. Waits no longer than some seconds."""
        self.join(_TO_CLOSE)
        for _ in range(_TRIES):
            if self._busy() or self._placed is None or self._placed.closed:
                return
            try:
                self._done(self._placed, state)
            except (RegistryError, StoreDown) as error:
                _LOG.warning("the page in the registry still asks: %s", error)

    def join(self, within: float = _TO_CLOSE) -> None:
        """`within`: seconds. What is not done by then is begun anew by whoever comes next."""
        if self._thread is not None:
            self._thread.join(within)

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _job(self, event: Event, now: float) -> Job | None:
        state, placed = event.state, self._placed
        waits = approval_at(self._rollout.spec, state) is not None
        if placed and not placed.closed and not (waits and state.asked in {"", placed.request.digest}):
            return lambda: self._done(placed, state)
        self._told = self._told or now  # whoever drives has said it at first
        if self._rollout.spec.asks and now - self._told >= _TELL_EVERY:
            return lambda: self._tell(now)
        if not state.phase.stepping:
            return None
        if waits and not state.asked:
            return lambda: self._ask(event, now)
        if waits and (placed is None or placed.request.digest != state.asked):
            return lambda: [Voided("what was asked is not known here any more; it is asked anew")]
        if (mark := self._approved(state)) and mark not in self._checked:
            return lambda: self._check(state, mark)
        if waits and placed:
            return lambda: hearing.hear(self._world.registry, self._rollout, state, placed, now)
        return None

    def _approved(self, state: State) -> str:
        """Names the approvals until now; empty before the first."""
        passed = sum(isinstance(step, ApprovalStep) for step in self._rollout.spec.steps[: state.step])
        return f"{passed}:{len(state.approvals)}" if passed or state.approvals else ""

    def _ask(self, event: Event, now: float) -> Sequence[Happening]:
        self._placed, asked = asking.ask(self._world, self._rollout, event, now)
        return [asked]

    def _done(self, placed: Placed, state: State) -> Sequence[Happening]:
        self._placed = asking.close(self._world, self._rollout, placed, state)
        return []

    def _check(self, state: State, mark: str) -> Sequence[Happening]:
        """Beside the loop and beside what people decide: files are downloaded, and what serves is not touched."""
        if changed := hearing.changed(self._world.registry, self._rollout, state):
            return [Broke(changed)]
        self._checked += (mark,)
        return []

    def _tell(self, now: float) -> Sequence[Happening]:
        """The registry's server keeps others from moving aliases while a rollout is open; it is to know of ours."""
        self._world.registry.announce(self._rollout.subject["model"], self._rollout.id)
        self._told = now
        return []

    def _start(self, job: Job, now: float) -> None:
        self._began, self._next = now, now + EVERY

        def work() -> None:
            try:
                self._came = list(job())
                self._failures = 0
            except (NoSuchVersion, Unusable) as error:  # no waiting brings it back
                self._came = [Broke(str(error))]
            except Exception as error:  # noqa: BLE001 - whatever a registry does, the rollout goes on waiting
                self._failures = min(self._failures + 1, _MOST_FAILURES)
                self._next = now + min(_PATIENCE, EVERY * 2**self._failures)
                _LOG.warning("the page in the registry could not be kept up: %s", error)

        self._thread = threading.Thread(target=work, name="approvals", daemon=True)
        self._thread.start()
