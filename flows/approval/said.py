"""`lockgate approve` and `lockgate reject`: the word of whoever types it.

Where the registry's server knows people, it is said there, as the person whose credentials are in the environment, and
the server's rules hold. Elsewhere it goes straight into the rollout's log, and nobody vouches for the name.
"""

from __future__ import annotations

import getpass
import time

from lockgate.flows.approval import hearing
from lockgate.flows.approval.asking import Placed, placed, version_of
from lockgate.flows.command import record
from lockgate.flows.hooks import wake
from lockgate.registry.approvals import said
from lockgate.registry.words import Registry
from lockgate.rollout.approving import approval_at
from lockgate.rollout.errors import NotNow
from lockgate.rollout.state import Decided, State
from lockgate.rollout.store import Rollout, Store


def decide(name: str, *, approve: bool, comment: str) -> str:
    """Say it; a sentence about what follows. Raises `NoRollout`, `NotNow`, `Refused`, `RegistryDown`."""
    from lockgate.flows.cli.options import named, the_store
    from lockgate.flows.home import home
    from lockgate.registry.mlflow_registry import MlflowRegistry

    word = "approved" if approve else "rejected"
    with the_store() as store:
        rollout = named(store, name)
        state = store.last(rollout.id).state
        it = _asked(store, rollout, state)
        registry = MlflowRegistry(home().models)
        if registry.knows_people():
            registry.decide(version_of(registry, rollout, state), it.request, approve=approve, comment=comment)
            wake(home(), rollout.model)
            return f"{rollout.id}: {word} in MLflow, under your name there; {_driven(store, rollout)}"
        if approve:
            _stands(registry, rollout, state, it)
        me = getpass.getuser()
        decided = Decided(approve, me, comment, it.request.digest, verified=False, via="cli", said_at=time.time())
        event = record(store, rollout, decided)
        return (
            f"{rollout.id}: {word} by {me} (identity not verified); the rollout is"
            f" {event.state.phase.replace('_', ' ')}; {_driven(store, rollout)}"
        )


def _asked(store: Store, rollout: Rollout, state: State) -> Placed:
    if approval_at(rollout.spec, state) is None:
        where = "is over" if state.phase.over else f"is {state.phase.replace('_', ' ')}, in a step that asks nobody"
        raise NotNow(f"there is nothing to approve or reject: {rollout.id} {where}; `lockgate status` shows its steps")
    it = placed(store, rollout)
    if not state.asked or it is None or it.request.digest != state.asked:
        raise NotNow(
            f"{rollout.id} has not put its evidence on the version's page yet; look at it there in some seconds, then"
            f" say it again. {_driven(store, rollout)}"
        )
    return it


def _stands(registry: Registry, rollout: Rollout, state: State, it: Placed) -> None:
    """Raise `NotNow` where what was asked is no longer what stands there, or somebody has rejected it."""
    page = registry.page(version_of(registry, rollout, state))
    word = said(page.approval)
    if word and not word[0]:
        raise NotNow(f"cannot approve: the version's page says {page.approval!r}")
    why = hearing.edited(page, it) or hearing.changed(registry, rollout, state)
    if why:
        raise NotNow(f"cannot approve: {why}")


def _driven(store: Store, rollout: Rollout) -> str:
    driven = store.holder(rollout.id, time.time())
    return f"driven by {driven}" if driven else "nobody drives it now: `lockgate run` carries this out"
