"""The `steps:` of a rollout: tagged by their one key."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from lockgate.monitoring.units import Percent, PercentOrNone, Seconds, Share, seconds_text
from lockgate.rollout.metrics import MetricName
from lockgate.rollout.section import Section


class Hold(Section):
    """The least that a step lasts."""

    min_requests: int = Field(default=100, ge=1, description="Requests that the candidate must have answered.")
    duration: Seconds | None = Field(default=None, description="And this long.")


def _variant(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", value) or value in _TAKEN:
        raise ValueError(
            f"{value!r} is not a challenger's name; write up to 31 lowercase letters, digits and '-', starting with a"
            f" letter, and none of {', '.join(_TAKEN)}"
        )
    return value


_TAKEN = ("stable", "candidate", "model", "shadow", "echo")
VariantName = Annotated[
    str, AfterValidator(_variant), WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9-]{0,30}$"})
]


def _listed(value: object) -> object:
    """What a step's kind was read from is no JSON any more, and a list no tuple."""
    return tuple(value) if isinstance(value, list) else value


class _Lasting(Section):
    hold: Hold = Field(default=Hold(), description="The least that the step lasts.")
    timeout: Seconds = Field(default=3600.0, description="A step that has not ended by then ends as on_timeout says.")
    on_timeout: Literal["rollback", "hold"] = Field(
        default="rollback", description="`rollback`, or `hold` and wait for a person's `promote` or `abort`."
    )

    @model_validator(mode="after")
    def _ends_after_its_hold(self) -> Self:
        if self.hold.duration and self.hold.duration >= self.timeout:
            raise ValueError(
                f"hold.duration: {seconds_text(self.hold.duration)} is never reached; the step's timeout ends it after "
                f"{seconds_text(self.timeout)}"
            )
        return self


class _Step(_Lasting):
    until: Literal["decided", "held"] = Field(
        default="decided",
        description="`decided`: every gate must pass. `held`: going on needs only that no gate fails.",
    )


class Shadow(_Step):
    """A copy of live requests goes to the candidate; its answers are thrown away."""

    percent: Percent = Field(default=100.0, description="Share of live requests that are copied.")
    echo: PercentOrNone = Field(
        default=10.0,
        description=(
            "Share of live requests that stable answers twice, where a gate compares answers: stable's own noise is no"
            " disagreement."
        ),
    )


class Canary(_Step):
    """Live requests are answered by the candidate."""

    weight: Percent = Field(lt=100, description="Share of live requests that the candidate answers.")


class Ab(_Lasting):
    """Users are split between stable and the candidate, until it is proven which of them does better.

    It ends with a proof that the candidate is better, or that it is not better by the minimum effect; and every gate
    guards it as in any other step.
    """

    weight: Percent = Field(lt=100, description="Share of users that the candidate answers.")
    metric: MetricName = Field(
        description="What is to become better, by its name in `metrics`; one that is not there is binary feedback."
    )
    minimum_effect: Share = Field(
        default=0.0,
        description=(
            "The least that is worth a new version, relative to stable's mean. Proven to be less, the candidate goes"
            " back; with 0, only when it is proven to be worse."
        ),
    )
    allocation: Literal["fixed", "thompson"] = Field(
        default="fixed",
        description=(
            "`thompson`: the weight follows the chance that the candidate is better (Thompson sampling), between a"
            " fifth of `weight` and what leaves stable a fifth of its share."
        ),
    )
    others: Annotated[tuple[VariantName, ...], BeforeValidator(_listed)] = Field(
        default=(),
        max_length=8,
        description=(
            "More challengers, by their names in `model.others`: they take part in this step alone, share `weight` with"
            " the candidate equally, and the best one that is proven better is promoted."
        ),
    )
    until: ClassVar[Literal["decided", "held"]] = "decided"

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.others)) < len(self.others):
            raise ValueError("others: names a challenger twice")
        if self.others and self.allocation == "thompson":
            raise ValueError("allocation: is `fixed` with others; several challengers cannot share by chance yet")
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """Every challenger of the step."""
        return ("candidate", *self.others)


class Approval(Section):
    """A person looks at the evidence and lets the rollout go on, or not.

    Traffic stays as the step before has left it, and its gates go on judging.
    """

    role: str = Field(
        default="",
        max_length=100,
        description="Who may approve, by a role of the MLflow server; whoever may edit the version, by default.",
    )
    required: int = Field(default=1, ge=1, le=9, description="Approvals, by as many people.")
    not_author: bool = Field(default=True, description="Nobody approves a version that they registered themselves.")
    expires: Seconds = Field(default=86_400.0, gt=0, description="What was asked is void after this time.")
    on_expiry: Literal["rollback", "renew"] = Field(
        default="rollback", description="`rollback`, or `renew`: ask again, with the evidence as it is by then."
    )


class ShadowStep(Section):
    """A step that only watches."""

    shadow: Shadow = Field(description="A copy of live requests goes to the candidate; its answers are thrown away.")


class CanaryStep(Section):
    """A step that serves."""

    canary: Canary = Field(description="Live requests are answered by the candidate.")


class AbStep(Section):
    """A step that compares what users do."""

    ab: Ab = Field(description="Users are split between both sides, until it is proven which does better.")


class ApprovalStep(Section):
    """A step that waits for a person."""

    approval: Approval = Field(description="A person approves or rejects on the version's page in MLflow.")


_STEPS: dict[str, type[Section]] = {
    "shadow": ShadowStep,
    "canary": CanaryStep,
    "approval": ApprovalStep,
    "ab": AbStep,
}
_KINDS = tuple(_STEPS)


def _one_kind(value: object) -> object:
    """A mapping with exactly one key says what step it is; everything else gets a sentence of its own."""
    if not isinstance(value, dict):
        if isinstance(value, ShadowStep | CanaryStep | ApprovalStep | AbStep):
            return value
        raise ValueError("a step is a mapping with one key, like `canary: {weight: 5}`")
    known = [key for key in value if key in _KINDS]
    if len(known) > 1:
        raise ValueError(f"{' and '.join(known)} are two steps; start each with its own '-'")
    if strange := [str(key) for key in value if key not in _KINDS]:
        raise ValueError(_strange_kind(strange, known))
    if not known:
        raise ValueError("an empty step; write shadow, canary, approval or ab, like `canary: {weight: 5}`")
    return value


def _strange_kind(strange: list[str], known: list[str]) -> str:
    if known:
        return f"{', '.join(strange)} beside {known[0]}; indent its fields so that they stand below {known[0]}"
    near = get_close_matches(strange[0], _KINDS, n=1)
    question = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown step {strange[0]!r}; this version knows shadow, canary, approval and ab{question}"


def _kind(value: object) -> str:
    """Which member of the union a step is, so that its errors are about that member alone."""
    if isinstance(value, dict):
        return str(next(iter(value)))
    return next(kind for kind, of in _STEPS.items() if isinstance(value, of))


Step = Annotated[
    Annotated[ShadowStep, Tag("shadow")]
    | Annotated[CanaryStep, Tag("canary")]
    | Annotated[ApprovalStep, Tag("approval")]
    | Annotated[AbStep, Tag("ab")],
    Discriminator(_kind),
    BeforeValidator(_one_kind),
]


def options(step: Step) -> Shadow | Canary | Ab:
    """What stands below the step's one key. Raises `TypeError` of an approval: nothing in it is judged by itself."""
    match step:
        case ApprovalStep():
            raise TypeError("an approval step is judged as the step before it; see RolloutSpec.judged")
        case ShadowStep():
            return step.shadow
        case CanaryStep():
            return step.canary
        case AbStep():
            return step.ab


def kind_of(step: Step) -> str:
    """The step's one key."""
    return _kind(step)


def challengers(step: Step) -> tuple[str, ...]:
    """Who is tried in this step, by name: the candidate, and in an `ab` step perhaps others beside it."""
    return step.ab.arms if isinstance(step, AbStep) else ("candidate",)


def weight_of(step: Step) -> float:
    """Percent of the live requests that the candidate answers. Raises `TypeError` of an approval, like `options`."""
    below = options(step)
    return 0.0 if isinstance(below, Shadow) else below.weight


def label(step: Step) -> str:
    """The step in a few words, for people."""
    match step:
        case ApprovalStep():
            return f"approval by {step.approval.role}" if step.approval.role else "approval"
        case ShadowStep():
            return f"shadow {step.shadow.percent:g} %"
        case CanaryStep() | AbStep():
            return f"{kind_of(step)} {weight_of(step):g} %"
