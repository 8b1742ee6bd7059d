"""From a rollout in the store to its end, with the spec it was opened with."""

from __future__ import annotations

from lockgate.flows import wanted
from lockgate.flows.drive import Watcher, drive
from lockgate.flows.errors import NothingToDo
from lockgate.flows.lease import owner
from lockgate.flows.outbox import Outbox
from lockgate.flows.release import Say, release
from lockgate.flows.spec import Spec
from lockgate.flows.world import world
from lockgate.rollout.state import State
from lockgate.rollout.store import Rollout


def resume(rollout: Rollout, say: Say, watch: Watcher, outbox: Outbox | None = None) -> State:
    """Build what is not built yet, then drive. Raises `Fenced` when somebody else drives it.

    It may have been asked for long ago: a rollout that is closed by now, or of a pipeline that `lockgate down` stopped,
    is left as it is.
    """
    with world(Spec.of(dict(rollout.document))) as it:
        known = it.store.rollout(rollout.id)
        if known.closed_at is not None or wanted.stopped(it.home, known.model):
            say(f"{known.id} is over, or was stopped with `lockgate down`")
            return it.store.last(known.id).state
        me = owner()
        try:
            released = release(it, me, say, known)
        except NothingToDo as stopped:  # at this very moment
            say(str(stopped))
            return it.store.last(known.id).state
        return drive(it, released, me, watch, outbox=outbox)
