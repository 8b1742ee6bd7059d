"""What the audit keeps of an operation."""

from __future__ import annotations

import uuid
from dataclasses import replace

from lockgate.registry.auth.audit import Entry
from lockgate.registry.auth.words import (
    AUTHOR,
    CreateModel,
    DeleteAlias,
    DeleteModel,
    DeleteTag,
    DeleteVersion,
    Describe,
    MoveAlias,
    Operation,
    Person,
    Register,
    RenameModel,
    Ruling,
    SetTag,
    Standing,
    ours,
)

_WHAT: dict[type, str] = {
    SetTag: "set tag",
    DeleteTag: "delete tag",
    MoveAlias: "move alias",
    DeleteAlias: "delete alias",
    CreateModel: "create model",
    Register: "register version",
    Describe: "edit description",
    DeleteVersion: "delete version",
    DeleteModel: "delete model",
    RenameModel: "rename model",
}


def entry(operation: Operation, person: Person, standing: Standing, ruling: Ruling, at: float) -> Entry:
    """Without the request's address and number: `from_where` adds them."""
    said = _said(operation, person, standing)
    reason = ruling.reason
    if ruling.instead is not None:
        reason = f"{reason}; " if reason else ""
        reason += f"{ruling.instead} until {_others(ruling)} approved too"
    return replace(said, at=at, outcome=ruling.outcome, reason=reason)


def from_where(entry: Entry, address: str | None, request_id: str | None) -> Entry:
    """`request_id` is what a proxy gave the request; one is made up where none did."""
    return replace(entry, address=address or "", request=request_id or uuid.uuid4().hex)


def _others(ruling: Ruling) -> str:
    return "others have" if ruling.kept else "somebody else has"


def _said(operation: Operation, person: Person, standing: Standing) -> Entry:
    version = standing.version or getattr(operation, "version", "")
    key, old, new = _change(operation, person, standing)
    return Entry(0.0, person.name, tuple(person.roles), _WHAT[type(operation)], operation.model, version, key, old, new)


def _change(operation: Operation, person: Person, standing: Standing) -> tuple[str, str | None, str | None]:
    """What is changed, from what, and to what; None where there is no such value."""
    match operation:
        case SetTag() | DeleteTag():
            tags = standing.tags if operation.version else standing.model_tags
            new = operation.value if isinstance(operation, SetTag) else None
            return operation.key, tags.get(operation.key), new
        case MoveAlias() | DeleteAlias():
            new = operation.version if isinstance(operation, MoveAlias) else None
            return f"@{operation.alias}", standing.aliases.get(operation.alias), new
        case CreateModel():
            return ", ".join(key for key in operation.tags if ours(key)), None, None
        case Register():
            return AUTHOR, None, person.name
        case RenameModel():
            return "name", operation.model, operation.to
        case _:
            return "", None, None
