"""A person's word to a rollout: recorded in its log, acted on by whoever drives it."""

from __future__ import annotations

import getpass
import time
from typing import Literal

from lockgate.rollout.errors import Fenced
from lockgate.rollout.state import Commanded, Decided
from lockgate.rollout.store import Event, Rollout, Store

_TRIES = 20


def say(
    name: str,
    command: Literal["promote", "abort", "pause", "resume"],
    comment: str,
    variant: str = "",
    *,
    break_glass: bool = False,
) -> str:
    """Record the command; a sentence about what follows. Raises `NoRollout`, `NotNow`."""
    from lockgate.flows.cli.options import named, the_store

    with the_store() as store:
        rollout = named(store, name)
        event = record(store, rollout, Commanded(command, getpass.getuser(), comment, variant, break_glass))
        driven = store.holder(rollout.id, time.time())
    follows = f"driven by {driven}" if driven else "nobody drives it now: `lockgate run` carries this out"
    return f"{rollout.id}: {command} recorded, the rollout is {event.state.phase.replace('_', ' ')}; {follows}"


def record(store: Store, rollout: Rollout, said: Commanded | Decided) -> Event:
    """Append to the log, after whatever the controller records in the same moment."""
    for _ in range(_TRIES):
        try:
            return store.append(rollout, store.last(rollout.id), said, time.time())
        except Fenced:
            continue
    raise Fenced(f"{rollout.id}: the log moved {_TRIES} times while this was recorded; say it again")
