"""What somebody tries to do in the registry, what stands there, and what comes of it: as values. No vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lockgate.registry.approvals import Decision

PIPELINE, BREAK_GLASS = "lockgate-pipeline", "lockgate-break-glass"
"""Roles of MLflow's basic-auth: of the pipeline's own user, and of those who may override in an emergency."""
AUTHOR, ALERT = "lockgate.author", "lockgate.alert"
OPEN, ROLLOUT = "lockgate.open", "lockgate.rollout"
CHAMPION, CHALLENGER = "champion", "challenger"

Outcome = Literal["allowed", "refused", "break-glass", "failed"]


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SetTag:
    model: str
    version: str
    """Empty: a tag of the registered model."""
    key: str
    value: str
    seen: str = ""
    """Digest of the request that the person looked at; empty where nobody says (MLflow's own UI)."""


@dataclass(frozen=True, slots=True)
class DeleteTag:
    model: str
    version: str
    key: str


@dataclass(frozen=True, slots=True)
class MoveAlias:
    model: str
    alias: str
    version: str


@dataclass(frozen=True, slots=True)
class DeleteAlias:
    model: str
    alias: str


@dataclass(frozen=True, slots=True)
class CreateModel:
    model: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Register:
    """A new version; `Promote model` in MLflow's UI copies the tags of another one."""

    model: str
    source: str
    tags: Mapping[str, str]
    prompt: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class DeleteModel:
    model: str


@dataclass(frozen=True, slots=True)
class RenameModel:
    model: str
    to: str


Operation = (
    SetTag
    | DeleteTag
    | MoveAlias
    | DeleteAlias
    | CreateModel
    | Register
    | Describe
    | DeleteVersion
    | DeleteModel
    | RenameModel
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the registry holds before the operation. `tags` and `decisions` are of the operation's version, if any."""

    version: str = ""
    """As the registry writes it: a request may say `05`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    model_tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    """Those on this very version whose signature holds."""
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The tags of every version of the model by its number; only for what removes a version, or moves the model."""


@dataclass(frozen=True, slots=True)
class Ruling:
    outcome: Outcome
    reason: str = ""
    recorded: bool = True
    """Whether the audit keeps it; a refusal always."""
    decision: Decision | None = None
    """What the server signs and writes before the tag."""
    kept: tuple[Decision, ...] = ()
    """Decisions on the same request that go on standing beside it."""
    instead: str | None = None
    """The tag's value, where it is not what was sent."""
    dropped: tuple[str, ...] = ()
    """Tags that a new version does not get."""
    alert: str = ""


def ours(key: str) -> bool:
    """However somebody spells it: a database may not tell `Lockgate.` from `lockgate.`."""
    return key.strip().casefold().startswith("lockgate.")
