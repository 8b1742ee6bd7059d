"""`lockgate up`: stable is resolved and served. Rollouts may end meanwhile, after which another version is stable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from lockgate.flows.capture import configure
from lockgate.flows.errors import Overtaken
from lockgate.flows.plan import resolved
from lockgate.flows.release import Say, serve_stable
from lockgate.flows.stable import stable_bento
from lockgate.flows.tidy import tidy_alone
from lockgate.flows.world import World
from lockgate.registry.words import ModelVersion
from lockgate.rollout.errors import RouterError
from lockgate.rollout.store import Rollout
from lockgate.services.words import Bento


def bring_up(world: World, say: Say, began: float, *, restart_router: bool) -> tuple[ModelVersion, Bento]:
    """Which version answers from now on, as which bento. `began`: when the command did, in unix seconds.

    Raises `Overtaken` when a rollout ended meanwhile: what was started is stopped then, and the routes stay.
    """
    rollouts = Rollouts.of(world)
    if world.store.open_of(world.spec.name) is None:  # else what is captured stays as its rollout was opened with
        configure(world.home, world.spec)
    (version,) = resolved(world.spec, [world.spec.model.stable])
    bento = stable_bento(world, version, say)
    try:
        with _restarted(world, say, wanted=restart_router):
            serve_stable(world, bento, say, partial(rollouts.check, world, version), began)
    except Overtaken:
        tidy_alone(world)
        raise
    return version, bento


@contextmanager
def _restarted(world: World, say: Say, *, wanted: bool) -> Iterator[None]:
    """Where that is wanted, the router is ended and started in the `with`; whatever went wrong there, it goes on."""
    if not wanted:
        yield
        return
    say("ending the router; it goes on with the same routes")
    world.router.stop()
    try:
        yield
    finally:
        with suppress(RouterError):
            world.router.start_again()


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Those of a pipeline as they were when a command began. `going`: the one that went on; empty without one."""

    going: str
    newest: str

    @classmethod
    def of(cls, world: World) -> Rollouts:
        """To be asked before stable is resolved."""
        opened, newest = world.store.open_of(world.spec.name), _newest(world)
        going = opened.id if opened and not _over(world, opened.id) else ""
        return cls(going, newest.id if newest else "")

    def check(self, world: World, stable: ModelVersion) -> None:
        """Raise `Overtaken` when another version may be stable by now. A rollout that goes on leaves it as it is."""
        newest = _newest(world)
        came = newest if newest and newest.id != self.newest else None
        for one in (self.going, came.id if came else ""):
            if one and _over(world, one):
                raise Overtaken(f"{one} ended while this was under way; run `lockgate up` again")
        if came and came.subject["stable"] != stable.version:
            raise Overtaken(
                f"{came.id} was opened while this was under way, and stable is version {came.subject['stable']} there;"
                " run `lockgate up` again"
            )


def _newest(world: World) -> Rollout | None:
    return next(iter(world.store.rollouts(world.spec.name)), None)


def _over(world: World, rollout: str) -> bool:
    return world.store.last(rollout).state.phase.over
