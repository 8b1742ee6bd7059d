"""One pipeline that is wanted up: what of it died is started again.

Whoever drives a rollout brings back what dies meanwhile, so nothing is done here then; but while a rollout is being
built, which takes minutes and looks at nothing, and while nobody drives it, this does. Two who start the same at the
same moment meet at a lock: Envoy's, the feedback server's, the bento's. Replicas of a candidate are a driver's alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import psutil

from lockgate.flows import feedback, feedback_process, restarts, wanted
from lockgate.flows.backoff import Backoff
from lockgate.flows.home import Home
from lockgate.flows.lease import driver, owner
from lockgate.flows.release import bento_of
from lockgate.flows.spec import Spec
from lockgate.flows.wanted import Wanted
from lockgate.flows.world import World, world
from lockgate.rollout.controller import LEASE
from lockgate.rollout.errors import RouterDown, RouterError, StoreDown
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Phase, Routes
from lockgate.services.errors import NotReady
from lockgate.services.words import Bento

_LOG = logging.getLogger("lockgate.supervise")
_EARLY = (Phase.PENDING, Phase.BUILDING)
_TROUBLE = (RouterError, NotReady, StoreDown, OSError, psutil.Error, ValueError)


@dataclass(frozen=True, slots=True)
class Part:
    """Something that must run. `name` is the series' label, `called` what people call it."""

    name: str
    called: str
    runs: Callable[[], bool]
    start: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _View:
    """What is to be looked after now. `mark`: what was wanted when it was opened. `rollout`: the open one."""

    mark: Wanted
    world: World
    rollout: Rollout | None
    stable: Bento


@dataclass
class Keeper:
    """Starts one part again, beside the loop: a start takes seconds, and others must not wait for it."""

    backoff: Backoff = field(default_factory=Backoff)
    _thread: threading.Thread | None = None

    def look(self, part: Part, now: float, start: Callable[[Part], bool]) -> None:
        if self.busy:
            return
        if part.runs():
            self.backoff.up(now)
        elif self.backoff.due(now):
            thread = threading.Thread(target=self._start, args=(part, start), name=part.name, daemon=True)
            thread.start()
            self._thread = thread

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _start(self, part: Part, start: Callable[[Part], bool]) -> None:
        began = time.monotonic()
        try:
            if not start(part):
                return
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try must not come a second later
            pause = self.backoff.tried(time.monotonic())
            why = str(error).partition("\n")[0] or type(error).__name__
            unforeseen = not isinstance(error, _TROUBLE)
            said = "%s could not be started again, next try in %.0f s: %s"
            _LOG.warning(said, part.called, pause, why, exc_info=unforeseen)
        else:
            self.backoff.tried(time.monotonic())
            _LOG.warning("%s was gone and was started again in %.1f s", part.called, time.monotonic() - began)


class Pipeline:
    """`look` once a second, from one thread. What it remembers is how often it had to start what."""

    def __init__(self, home: Home, name: str) -> None:
        self._home, self._name = home, name
        self._keepers: dict[str, Keeper] = {}
        self._open = ExitStack()
        self._view_of: tuple[Wanted, str] | None = None
        self._view: _View | None = None
        self._told = ""

    def look(self, now: float) -> None:
        """Never raises for what is wrong with one pipeline: that is said once, and looked at again."""
        try:
            self._look(now)
            self._told = ""
        except _TROUBLE as error:
            why = str(error).partition("\n")[0]
            if why != self._told:
                _LOG.warning("%s cannot be looked after now: %s", self._name, why)
            self._told = why

    def close(self) -> None:
        for keeper in self._keepers.values():
            keeper.join()
        self._forget()

    def _look(self, now: float) -> None:
        mark = wanted.read(self._home, self._name)
        if mark is None or not mark.up:
            self._forget()
            return
        try:
            view = self._seen(mark)
            driven = self._driven(view)
        except StoreDown:  # nobody knows who drives, but Envoy's lock lets no two of us start it
            if self._view is not None:
                self._keep(self._view, next(self._parts(self._view)), now)
            raise
        if driven:
            return
        parts = list(self._parts(view))
        for part in parts:
            self._keep(view, part, now)
        view.world.platform.watch({view.stable.tag})
        if not self._keepers["router"].busy:  # who left, or died, gets no requests while another one is started
            self._route(view)

    def _keep(self, view: _View, part: Part, now: float) -> None:
        self._keepers.setdefault(part.name, Keeper()).look(part, now, partial(self._start, view))

    def _seen(self, mark: Wanted) -> _View:
        """Opened anew whenever what is wanted, or the open rollout, is another one."""
        opened = self._view.world.store.open_of(self._name) if self._view else None
        key = (mark, opened.id if opened else "")
        if self._view is None or key != self._view_of:
            self._forget()
            spec = Spec.of(mark.document)
            it = self._open.enter_context(world(spec, self._home))
            opened = it.store.open_of(self._name)
            if opened and opened.document != mark.document:
                self._open.close()
                it = self._open.enter_context(world(Spec.of(opened.document), self._home))
            self._view_of = (mark, opened.id if opened else "")
            self._view = _View(mark, it, opened, mark.stable) if mark.stable else None
        if self._view is None:
            raise ValueError("nothing is known of what served; `lockgate up` says it")
        return self._current(self._view)

    def _current(self, view: _View) -> _View:
        """A rollout that is over and not closed yet has another stable."""
        if view.rollout is None:
            return view
        state = view.world.store.last(view.rollout.id).state
        side = state.winner if state.phase is Phase.SUCCEEDED else "stable"
        if f"{side}_bento" not in state.facts:
            return view
        return replace(view, stable=bento_of(state.facts, side, view.world.spec.model.name))

    def _forget(self) -> None:
        self._open.close()
        self._view = self._view_of = None

    @staticmethod
    def _driven(view: _View) -> bool:
        """Whether somebody looks after it already, once a second."""
        store, rollout = view.world.store, view.rollout
        if rollout is None or not driver(store, rollout):
            return False
        return store.last(rollout.id).state.phase not in _EARLY

    def _parts(self, view: _View) -> Iterator[Part]:
        """The router comes first."""
        it, name = view.world, self._name
        count = it.spec.service.replicas.min
        yield Part("router", f"{name}: Envoy", it.router.running, lambda: _start_router(view))
        yield Part(
            "stable",
            f"{name}: a replica of {view.stable.tag}",
            lambda: sum(one.runs for one in it.served(view.stable.tag)) >= count,
            lambda: _start_stable(view, count),
        )
        if feedback.needed(it.spec):
            folder = self._home.feedback(name).resolve()
            yield Part(
                "feedback",
                f"{name}: the feedback server",
                lambda: feedback_process.find(folder) is not None,
                # With the settings of what this view is of, which nobody may have written yet: a `lockgate up` that
                # came while a rollout was open is taken up when that is over.
                lambda: feedback.ensure(self._home, it.spec),
            )

    def _start(self, view: _View, part: Part) -> bool:
        """Whether it was started: `lockgate down`, `up` with another stable, or a driver may have come first."""
        with wanted.restarting(self._home, self._name) as mark:
            if mark != view.mark or part.runs():
                return False
            try:
                part.start()
            except _TROUBLE:
                if wanted.stopped(self._home, self._name):  # `lockgate down` ends what is being started, too
                    return False
                raise
        restarts.count(self._home, self._name, part.name)
        return True

    def _route(self, view: _View) -> None:
        """Where stable's replicas are now, requests go; the split stays as it is."""
        it = view.world
        stable = it.sides({"stable_bento": view.stable.tag})["stable"]
        if not stable or not it.router.running() or set(it.router.applied().stable) == set(stable):
            return
        with wanted.restarting(self._home, self._name) as mark:
            if mark != view.mark:
                return
            if view.rollout is None or it.store.last(view.rollout.id).state.phase in _EARLY:
                served = it.router.applied()
                # Whoever began to drive meanwhile has routed: its copies and shares must not be taken away again.
                it.router.apply(replace(served, stable=stable), lambda: it.router.applied() == served)
                return
            me = owner()
            if it.store.lease(view.rollout.id, me, time.time(), LEASE):  # else somebody drives it by now
                mine = partial(_mine, it.store, view.rollout.id, me)
                try:
                    it.router.apply(replace(it.router.applied(), stable=stable), mine)
                finally:
                    it.store.release(view.rollout.id, me)


def _mine(store: Store, rollout: str, me: str) -> bool:
    return store.holder(rollout, time.time()) == me


def _start_router(view: _View) -> None:
    try:
        view.world.router.start_again()
    except RouterDown:
        stable = view.world.sides({"stable_bento": view.stable.tag})["stable"]
        if not stable or view.world.router.known():  # this spec may be older than what protects the address
            raise
        view.world.router.start(Routes(stable))


def _start_stable(view: _View, count: int) -> None:
    view.world.platform.start(view.stable, count)
    view.world.platform.watch({view.stable.tag})
