"""Who is told that drift begins or ends: each receiver once, whatever else fails."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.flows.drift_known import Known
from lockgate.flows.notify.message import Message
from lockgate.flows.notify.receivers import receivers
from lockgate.flows.spec import Spec

Say = Callable[[str], None]


def told(spec: Spec, known: Known, drifting: bool, message: Message, say: Say) -> dict[str, bool]:  # noqa: FBT001
    """What each receiver knows by now: whether it was told of drift last. `drifting`: what the look has just found."""
    found = dict(known.told)
    for to in receivers(spec):
        if "drift" not in to.on or found.get(to.key, False) == known.drifting:
            continue
        if known.drifting and not drifting:
            continue  # it may be over: the next look knows
        if why := to.send(message):
            say(f"{to.name} was not told of drift, the next look does it: {why}")
        else:
            found[to.key] = known.drifting
    return found
