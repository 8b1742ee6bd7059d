"""Approvals as values, and how they stand on a model version's page in the registry: as tags that a person can edit.

    lockgate.approval           what the person edits: `pending` becomes `approved` or `rejected`, a comment behind a
                                colon (`approved: the p99 is fine`); when it is over, what came of it
    lockgate.approval_request   what is asked, as JSON: written by the pipeline alone
    lockgate.approvals          who decided, as a JSON list: written by the registry's server alone (`lockgate-auth`)
    lockgate.author             who registered the version: written by the registry's server alone

and on the registered model `lockgate.open`: the rollout of it that is open, written by the pipeline alone.

A decision without a signature was made by nobody knows whom: `verified` says so wherever it is shown.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

APPROVAL, REQUEST, DECISIONS = "lockgate.approval", "lockgate.approval_request", "lockgate.approvals"
AUTHOR, OPEN = "lockgate.author", "lockgate.open"
PENDING = "pending"
WRITING = "being asked"
"""Of `lockgate.approval` while a request is written: whatever a person said on the one before no longer counts."""
SEEN = "X-Lockgate-Request"
"""Header of a request that decides: digest of what was looked at, so that no other request is answered by it."""
KEY = "LOCKGATE_APPROVAL_KEY"
"""The environment variable that holds what the server signs with, and the pipeline checks with."""
_SAID = re.compile(r"\s*(approved|rejected)\s*(?::\s*(.*))?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Request:
    """What a person is asked. `digest` names the evidence that they see, `artifact` what would be promoted."""

    rollout: str
    step: int
    digest: str
    artifact: str
    asked_at: float
    """Unix seconds, like `expires_at`."""
    expires_at: float
    role: str = ""
    """Who may decide, by a role of the registry; anybody who may edit the version, where it is empty."""
    not_author: bool = True
    required: int = 1
    """Approvals, by as many people."""

    def text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of(cls, text: str) -> Request | None:
        """None for what is no request: a person, or another version of Lockgate, wrote it."""
        try:
            found = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        whole = isinstance(found.step, int) and isinstance(found.required, int)
        timed = isinstance(found.asked_at, int | float) and isinstance(found.expires_at, int | float)
        words = all(isinstance(value, str) for value in (found.rollout, found.digest, found.artifact, found.role))
        return found if whole and timed and words else None


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person decided on a request. `by` is empty, and `verified` False, where the registry keeps no names."""

    approved: bool
    by: str
    at: float
    comment: str = ""
    digest: str = ""
    """Of the request that it answers."""
    verified: bool = False
    signature: str = ""
    note: str = ""
    """What the server adds, and signs too: a rule that it could not judge."""


@dataclass(frozen=True, slots=True)
class Page:
    """What stands on a version's page now, as far as an approval depends on it."""

    approval: str
    request: Request | None
    decisions: tuple[Decision, ...]
    evidence: str
    """sha256 of the evidence as it stands on the page; empty when none does."""
    author: str = ""
    """Who registered the version, where the registry's server knows it."""


def said(value: str) -> tuple[bool, str] | None:
    """Whether `lockgate.approval` approves, and the comment; None for what is neither approved nor rejected."""
    match = _SAID.fullmatch(value)
    return (match[1].lower() == "approved", (match[2] or "").strip()) if match else None


def key() -> bytes | None:
    """What decisions are signed with; None where nobody has set it."""
    value = os.environ.get(KEY, "")
    return value.encode() if value else None


def signed(decision: Decision, name: str, version: str, secret: bytes) -> Decision:
    """With the signature of a server that knows who it was."""
    return replace(decision, signature=_signature(decision, name, version, secret))


def checked(decision: Decision, name: str, version: str, secret: bytes | None) -> Decision:
    """`verified` is whether the signature holds: a copied, edited or forged decision's does not."""
    good = secret is not None and hmac.compare_digest(
        _signature(decision, name, version, secret).encode(), decision.signature.encode()
    )
    return replace(decision, verified=good)


def _signature(decision: Decision, name: str, version: str, secret: bytes) -> str:
    d = decision
    said_ = [name, version, d.digest, d.approved, d.by, round(d.at, 3), d.comment]
    text = json.dumps([*said_, d.note] if d.note else said_)
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def decisions_text(decisions: tuple[Decision, ...]) -> str:
    """For `lockgate.approvals`."""
    return json.dumps([_written(decision) for decision in decisions])


def _written(decision: Decision) -> dict[str, Any]:
    """Without what only the reader knows, and as it was before there were notes where there is none."""
    left = {"verified"} if decision.note else {"verified", "note"}
    return {key: value for key, value in asdict(decision).items() if key not in left}


def decisions_of(tags: Mapping[str, str]) -> tuple[Decision, ...]:
    """As they stand in the tags, none of them checked; what cannot be read is none."""
    try:
        found = json.loads(tags.get(DECISIONS) or "[]")
    except (ValueError, RecursionError):
        return ()
    read = [_decision(item) for item in found] if isinstance(found, list) else []
    return tuple(decision for decision in read if decision is not None)


def counted(tags: Mapping[str, str], name: str, version: str, people: Callable[[], bool]) -> tuple[Decision, ...]:
    """The decisions in a version's tags that may count.

    Where the key is set, only what is signed with it counts: a copy, a forgery and an edit that went around the server
    are none. Without the key, those of a server that knows people (`people` asks it) have names that are not verified;
    elsewhere the edited `lockgate.approval` is one decision by nobody known, at nobody knows when (`at` is 0).
    """
    if secret := key():
        found = (checked(decision, name, version, secret) for decision in decisions_of(tags))
        return tuple(decision for decision in found if decision.verified)
    request, edited = Request.of(tags.get(REQUEST, "")), said(tags.get(APPROVAL, ""))
    if DECISIONS in tags or edited:
        if people():
            return decisions_of(tags)
        if request and edited:
            return (Decision(approved=edited[0], by="", at=0.0, comment=edited[1], digest=request.digest),)
    return ()


def _decision(item: Any) -> Decision | None:
    """None for what is no decision, so that nothing behind this has to doubt its types."""
    try:
        d = Decision(**{**item, "verified": False})
        for text in _texts(d):
            text.encode()
    except (TypeError, AttributeError, UnicodeEncodeError):
        return None
    plain = isinstance(d.approved, bool) and isinstance(d.at, int | float) and not isinstance(d.at, bool)
    return d if plain and all(isinstance(text, str) for text in _texts(d)) else None


def _texts(d: Decision) -> tuple[str, ...]:
    return d.by, d.comment, d.digest, d.signature, d.note
