"""Which rollout of a registered model is open, said in the registry itself: to people, and to other pipelines."""

from __future__ import annotations

from contextlib import suppress

from lockgate.flows.world import World
from lockgate.registry.errors import RegistryError
from lockgate.rollout.errors import AlreadyOpen, NoRollout
from lockgate.rollout.store import Rollout


def check(world: World) -> None:
    """Raise `AlreadyOpen` when another pipeline, or another spec of this one, has a rollout of the model open.

    A rollout of ours that is over was announced by a pipeline that was killed: it keeps nobody.
    """
    model = world.spec.model.name
    other = world.registry.announced(model)
    if not other or _over(world, other):
        return
    raise AlreadyOpen(
        f"another pipeline has a rollout of {model} open, {other}: two would move @champion against one another. Let it"
        " end, or abort it there; if that pipeline is gone for good, delete the registered model's tag lockgate.open in"
        " MLflow (with lockgate-auth, as a user with the role lockgate-pipeline)"
    )


def opened(world: World, rollout: Rollout) -> None:
    with suppress(RegistryError):  # it is said again by whoever drives
        world.registry.announce(rollout.subject["model"], rollout.id)


def over(world: World, rollout: Rollout) -> None:
    """Nothing where another one was announced since."""
    with suppress(RegistryError):  # whoever opens the next one knows that this one is over
        if world.registry.announced(rollout.subject["model"]) == rollout.id:
            world.registry.announce(rollout.subject["model"], "")


def _over(world: World, rollout_id: str) -> bool:
    try:
        return world.store.rollout(rollout_id).closed_at is not None
    except NoRollout:
        return False
