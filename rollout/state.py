"""A rollout's state, and what can happen to it. The state is the fold of what happened: see `advance`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Discriminator, TypeAdapter

from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Phase

Ending = Literal["", "gate", "undecided", "by_hand", "refused", "broken", "rejected", "expired", "drift"]


@dataclass(frozen=True, slots=True)
class State:
    """Where a rollout is. Times are unix seconds."""

    phase: Phase = Phase.PENDING
    step: int = 0
    since: float = 0.0
    """When the step, or the phase where there is none, began; time spent paused is added."""
    paused_at: float | None = None
    reason: str = ""
    """Why the rollout left its steps: a sentence."""
    ending: Ending = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was built, by name: bento tags, digests. The rollout itself reads none of it."""
    weight: int | None = None
    """The candidate's share of the requests, where an `ab` step has moved it from what the spec says."""
    weighed_at: float = 0.0
    """When that was."""
    dropped: tuple[str, ...] = ()
    """Challengers of an `ab` step with several that are out of it: stable answers their users."""
    winner: str = "candidate"
    """Which challenger is promoted."""
    asked: str = ""
    """Digest of the evidence that a person is asked to approve; empty while nobody is asked."""
    expires_at: float = 0.0
    """When what was asked is void."""
    vouched: bool = False
    """Whether only approvals count that the registry's server vouches for."""
    approvals: tuple[str, ...] = ()
    """Who approved what is asked now; empty names are people whom nobody knows."""
    held: str = ""
    """Why no step goes on although nobody paused: the inputs have drifted. A sentence."""
    held_at: float = 0.0
    """Since when."""
    drift_accepted: bool = False
    """A person let the rollout go on in spite of drift."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The rollout was asked for."""

    kind: Literal["opened"] = "opened"


@dataclass(frozen=True, slots=True)
class Built:
    """Both sides are served; the steps can begin."""

    facts: Mapping[str, str]
    kind: Literal["built"] = "built"


@dataclass(frozen=True, slots=True)
class Judged:
    verdict: Verdict
    kind: Literal["judged"] = "judged"


@dataclass(frozen=True, slots=True)
class Commanded:
    """A person's word."""

    command: Literal["promote", "abort", "pause", "resume"]
    by: str
    comment: str = ""
    variant: str = ""
    """Of `promote`, where there are several challengers; the candidate by default."""
    break_glass: bool = False
    """Of `promote`: without the approvals that the spec asks for."""
    kind: Literal["commanded"] = "commanded"


@dataclass(frozen=True, slots=True)
class Broke:
    """Something that the rollout cannot do without is lost, and it was not the gates that said so."""

    reason: str
    refused: bool = False
    """The candidate itself cannot be served: parity, signature, readiness."""
    kind: Literal["broke"] = "broke"


@dataclass(frozen=True, slots=True)
class Allocated:
    """An `ab` step gives the candidate another share of the users, in ten-thousandths."""

    weight: int
    reason: str
    looks: int = 0
    """How many looks of the rollout it is made of."""
    kind: Literal["allocated"] = "allocated"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A challenger of an `ab` step with several cannot be served any more."""

    variant: str
    reason: str
    kind: Literal["dropped"] = "dropped"


@dataclass(frozen=True, slots=True)
class Asked:
    """A person is asked to approve, in an approval step."""

    digest: str
    """Of the evidence that they see."""
    artifact: str
    """Digest of what would be promoted."""
    expires_at: float
    vouched: bool = False
    """Whether the registry's server knows people: then an approval that it does not vouch for is none."""
    kind: Literal["asked"] = "asked"


@dataclass(frozen=True, slots=True)
class Decided:
    """A person approved or rejected what was asked."""

    approved: bool
    by: str
    """Empty where nobody knows."""
    comment: str = ""
    digest: str = ""
    """Of the evidence that was decided on."""
    verified: bool = False
    """Whether the registry's server vouches for who it was."""
    via: Literal["mlflow", "cli"] = "mlflow"
    said_at: float = 0.0
    """When, by the clock of who took it; unix seconds."""
    kind: Literal["decided"] = "decided"


@dataclass(frozen=True, slots=True)
class Voided:
    """What was asked, and every approval of it, no longer holds: it is not what would be promoted."""

    reason: str
    kind: Literal["voided"] = "voided"


@dataclass(frozen=True, slots=True)
class Drifted:
    """Live inputs are, or are no longer, distributed differently from the reference. Nobody is to blame."""

    drifting: bool
    reason: str
    action: Literal["hold", "alert", "rollback"] = "hold"
    share: float = 0.0
    """Of the inputs that drift."""
    kind: Literal["drifted"] = "drifted"


@dataclass(frozen=True, slots=True)
class Settled:
    """What the phase asks for is done and verified: traffic, and the alias where it had to move."""

    kind: Literal["settled"] = "settled"


Happening = Annotated[
    Opened | Built | Judged | Allocated | Dropped | Asked | Decided | Voided | Drifted | Commanded | Broke | Settled,
    Discriminator("kind"),
]

HAPPENING: TypeAdapter[Happening] = TypeAdapter(Happening)
STATE: TypeAdapter[State] = TypeAdapter(State)
