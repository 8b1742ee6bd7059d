"""Tells people what happens to a rollout, beside the loop: a thread for each receiver, so that none waits for another.

The log is the queue. Each thread reads what is new in it, tells it in its order, and notes in the store how far it has
come: what a driver that was killed has not told, the next one tells. What is taken and not noted is told twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from lockgate.flows.notify.message import Message
from lockgate.flows.notify.receivers import Receiver, receivers
from lockgate.flows.notify.words import About, kind_of, message
from lockgate.flows.spec import Spec
from lockgate.registry.location import locate
from lockgate.rollout.errors import AlreadyOpen, Fenced, StoreDown
from lockgate.rollout.progress import Progress
from lockgate.rollout.state import State
from lockgate.rollout.store import Event, Rollout, Store

_LOG = logging.getLogger("lockgate.notify")
PAUSES = (1.0, 5.0, 30.0, 30.0)
"""Seconds between the tries to tell one thing; then it is given up."""
LINGER = 10.0
"""Seconds that the end of a drive waits for what is not told yet: the third try has been by then."""
_LOOKED_BACK = 5
"""Rollouts of the spec that are looked at for what an earlier driver has not told."""


class Watch(Protocol):
    """A driver's `Watcher`."""

    def __call__(self, event: Event, progress: Progress | None) -> None: ...


@dataclass
class Teller:
    """One receiver's thread."""

    receiver: Receiver
    store: Store
    spec: Spec
    run: str
    since: float
    pauses: Sequence[float]
    lost: int = 0
    """Messages that were given up."""
    behind: bool = False
    """The store did not answer: it is to look again, whether or not there is something new."""
    _wake: threading.Event = field(default_factory=threading.Event)
    _last: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """There may be something new. Costs nothing and waits for nobody."""
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"notify {self.receiver.key}", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Once more, then end."""
        self._last.set()
        self.look()

    def join(self, within: float) -> bool:
        """Whether it ended; one that did not is told to leave the rest to the next driver."""
        if self._thread is None:
            return True
        self._thread.join(within)
        self._stop.set()
        self._wake.set()
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            ends = self._last.is_set()
            try:
                self._tell_all()
                self.behind = False
            except StoreDown as error:
                self.behind = True
                _LOG.warning("%s is told later: %s", self.receiver.name, error)
            except Exception:  # noqa: BLE001 - a mistake of ours must not end the rollout's messages
                _LOG.exception("what happened could not be told to %s", self.receiver.name)
            if ends:
                return

    def _tell_all(self) -> None:
        for rollout in reversed(self.store.rollouts(self.spec.name)[:_LOOKED_BACK]):
            noted = self.store.noted(rollout.id, self._note)
            if rollout.closed_at is None or rollout.opened_at >= self.since or noted is not None:
                self._tell(rollout, int(noted or 0))

    @property
    def _note(self) -> str:
        return f"notified:{self.receiver.key}"

    def _tell(self, rollout: Rollout, told: int) -> None:
        """What is in its log after the sequence `told`."""
        before: Event | None = None
        for event in self.store.events(rollout.id):
            if event.sequence > told:
                kind = kind_of(rollout, before.state if before else State(), event)
                if kind in self.receiver.on:
                    about = About(rollout, self.spec.hide, locate().registry, self.run)
                    if not self._send(message(about, kind, (before, event), time.time())):
                        return
                self.store.note(rollout.id, self._note, event.sequence)
            before = event

    def _send(self, said: Message) -> bool:
        """Told, or given up; False when there was no time left to do either."""
        why = ""
        for pause in (0.0, *self.pauses):
            if self._stop.wait(pause):
                return False
            if not (why := self.receiver.send(said)):
                return True
            _LOG.info("%s was not told of %s yet: %s", self.receiver.name, said.title, why)
        self.lost += 1
        _LOG.warning(
            "%s was not told of %s: %s, %d times; given up (%d so far)",
            *(self.receiver.name, said.title, why, 1 + len(self.pauses), self.lost),
        )
        return True


class Notifier:
    """A `Watcher` for the rollouts of one spec. `look` never blocks and never fails.

    Whatever is not told yet when the `with` is left has `linger` seconds; what then remains, the next driver tells. A
    rollout that failed before anybody looked is told of as well.
    """

    def __init__(
        self, store: Store, spec: Spec, run: str = "", *, pauses: Sequence[float] = PAUSES, linger: float = LINGER
    ) -> None:
        """`run`: address of the Prefect run that drives, where there is one."""
        since = time.time()
        self._tellers = [Teller(to, store, spec, run, since, pauses) for to in receivers(spec)]
        self._linger = linger
        self._seen = 0
        self._looked = False

    @property
    def lost(self) -> int:
        """Messages that were given up."""
        return sum(teller.lost for teller in self._tellers)

    def look(self, event: Event) -> None:
        """Something may have happened: `event` is the last line of the log."""
        news = not self._looked or event.sequence != self._seen
        self._looked, self._seen = True, event.sequence
        for teller in self._tellers:
            if news or teller.behind:
                teller.look()

    def beside(self, watch: Watch) -> Watch:
        """A `Watcher` that shows every tick to both."""

        def both(event: Event, progress: Progress | None) -> None:
            self.look(event)
            watch(event, progress)

        return both

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Another driver tells what happens to its rollout; and who is interrupted waits for nobody.
        ours = error is None or (isinstance(error, Exception) and not isinstance(error, AlreadyOpen | Fenced))
        if ours and (self._looked or error):
            for teller in self._tellers:
                teller.finish()
        deadline = time.monotonic() + (self._linger if ours else 0.0)
        for teller in self._tellers:
            if not teller.join(max(0.0, deadline - time.monotonic())):
                _LOG.warning(
                    "%s is not told everything yet: it did not answer in time; the next run of %s tells it the rest",
                    *(teller.receiver.name, teller.spec.name),
                )
