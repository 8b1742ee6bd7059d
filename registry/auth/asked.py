"""Whether a version's page asks people anything, and whether Lockgate ever had to do with a version. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.registry.approvals import APPROVAL, PENDING, REQUEST, Request
from lockgate.registry.auth.words import ALERT, AUTHOR, ours


def asked(tags: Mapping[str, str], open_rollout: str, now: float) -> Request | None:
    """What is asked on a version with these tags. `open_rollout` is what the model's `lockgate.open` says.

    A page that nobody could close stops asking when its request expires, unless its rollout is the one that is open.
    """
    request = Request.of(tags.get(REQUEST, "")) if tags.get(APPROVAL) == PENDING else None
    if request is None or (now >= request.expires_at and request.rollout != open_rollout):
        return None
    return request


def touched(tags: Mapping[str, str]) -> bool:
    """Whether a rollout wrote here: every version gets its author, and a copy may get an alert."""
    return any(ours(key) and key not in (AUTHOR, ALERT) for key in tags)
