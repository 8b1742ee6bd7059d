"""From a rollout in the store to its end, with the spec it was opened with."""

from __future__ import annotations

from lockgate.flows.drive import Watcher, drive
from lockgate.flows.outbox import Outbox
from lockgate.flows.release import Say, owner, release
from lockgate.flows.spec import Spec
from lockgate.flows.world import world
from lockgate.rollout.state import State
from lockgate.rollout.store import Rollout


def resume(rollout: Rollout, say: Say, watch: Watcher, outbox: Outbox | None = None) -> State:
    """Build what is not built yet, then drive. Raises `Fenced` when somebody else drives it."""
    with world(Spec.of(dict(rollout.document))) as it:
        me = owner()
        return drive(it, release(it, me, say), me, watch, outbox=outbox)
