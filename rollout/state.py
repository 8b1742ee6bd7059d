"""A rollout's state, and what can happen to it. The state is the fold of what happened: see `advance`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Discriminator, TypeAdapter

from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Phase

Ending = Literal["", "gate", "undecided", "by_hand", "refused", "broken"]


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
class Settled:
    """What the phase asks for is done and verified: traffic, and the alias where it had to move."""

    kind: Literal["settled"] = "settled"


Happening = Annotated[
    Opened | Built | Judged | Allocated | Dropped | Commanded | Broke | Settled, Discriminator("kind")
]

HAPPENING: TypeAdapter[Happening] = TypeAdapter(Happening)
STATE: TypeAdapter[State] = TypeAdapter(State)
