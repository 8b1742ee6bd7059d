"""The `rollout:` section: who gets the traffic, step by step, and what must hold at each."""

from __future__ import annotations

import re
from difflib import get_close_matches
from ipaddress import IPv4Address
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from lockgate.monitoring.units import Bytes, Percent, PercentOrNone, Seconds, Share, seconds_text
from lockgate.rollout.gates import Disagreement, Gate, GateName, Mean
from lockgate.rollout.metrics import Metric, MetricName


class _Section(BaseModel):
    """A check across fields starts its sentence with the field that is to blame: `field.below: sentence`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError(f"{value!r} is not a header's name; use letters, digits and '-', like x-user-id")
    return value


def _address(value: object) -> str:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > _LAST_PORT:
        raise ValueError("needs an address and a port from 1 to 65535, like 127.0.0.1:8080")
    try:
        IPv4Address(host)
    except ValueError:
        raise ValueError(f"{value!r} needs an IPv4 address before the port, like 127.0.0.1:8080") from None
    return str(value)


AB_GATE = "ab"
"""How the test of an `ab` step is called among the gates."""
_LAST_PORT = 65_535
Address = Annotated[
    str,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3}){3}:[1-9][0-9]{0,4}$"}),
]


class HeaderName(_Section):
    """A request header."""

    header: Annotated[str, AfterValidator(_header)] = Field(
        description="Name of a request header.", json_schema_extra={"pattern": "^[A-Za-z0-9-]+$"}
    )


class Failover(_Section):
    """A request that the candidate fails is answered by stable, and still counted against the candidate."""

    deadline: Seconds = Field(default=2.0, description="The candidate's time for one request before stable answers.")


class Traffic(_Section):
    """Where clients send to, and how a request finds its variant."""

    listen: Address = Field(default="127.0.0.1:8080", description="Address and port that clients send to.")
    metrics: Address = Field(
        default="127.0.0.1:9901", description="Address and port of the router's Prometheus metrics."
    )
    sticky: HeaderName = Field(
        default=HeaderName(header="x-user-id"), description="Requests with the same value get the same variant."
    )
    force: HeaderName = Field(
        default=HeaderName(header="x-lockgate-variant"), description="`stable` or `candidate` picks the variant."
    )
    failover: Failover = Field(default=Failover(), description="When stable answers in the candidate's place.")
    timeout: Seconds = Field(default=10.0, description="The whole request, retries included.")
    max_body: Bytes = Field(default=16 * 2**20, le=256 * 2**20, description="Larger bodies are refused with 413.")

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        (host, port), (other, same) = self.listen.split(":"), self.metrics.split(":")
        if port == same and (host == other or "0.0.0.0" in {host, other}):  # noqa: S104 - compared, never bound
            raise ValueError(f"metrics: {self.metrics} is taken by listen, {self.listen}; choose another port")
        return self

    @model_validator(mode="after")
    def _two_headers(self) -> Self:
        if self.sticky.header.lower() == self.force.header.lower():
            raise ValueError(f"force.header: {self.force.header!r} is the sticky header too; choose another one")
        return self

    @model_validator(mode="after")
    def _stable_gets_its_turn(self) -> Self:
        if self.failover.deadline >= self.timeout:
            raise ValueError(
                f"failover.deadline: {seconds_text(self.failover.deadline)} leaves stable no time to answer; it must "
                f"be shorter than the traffic's timeout of {seconds_text(self.timeout)}"
            )
        return self


class Hold(_Section):
    """The least that a step lasts."""

    min_requests: int = Field(default=100, ge=1, description="Requests that the candidate must have answered.")
    duration: Seconds | None = Field(default=None, description="And this long.")


class _Lasting(_Section):
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
    until: ClassVar[Literal["decided", "held"]] = "decided"


class ShadowStep(_Section):
    """A step that only watches."""

    shadow: Shadow = Field(description="A copy of live requests goes to the candidate; its answers are thrown away.")


class CanaryStep(_Section):
    """A step that serves."""

    canary: Canary = Field(description="Live requests are answered by the candidate.")


class AbStep(_Section):
    """A step that compares what users do."""

    ab: Ab = Field(description="Users are split between both sides, until it is proven which does better.")


_STEPS: dict[str, type[_Section]] = {"shadow": ShadowStep, "canary": CanaryStep, "ab": AbStep}
_KINDS = tuple(_STEPS)


def _one_kind(value: object) -> object:
    """A mapping with exactly one key says what step it is; everything else gets a sentence of its own."""
    if not isinstance(value, dict):
        if isinstance(value, ShadowStep | CanaryStep | AbStep):
            return value
        raise ValueError("a step is a mapping with one key, like `canary: {weight: 5}`")
    known = [key for key in value if key in _KINDS]
    if len(known) > 1:
        raise ValueError(f"{' and '.join(known)} are two steps; start each with its own '-'")
    if strange := [str(key) for key in value if key not in _KINDS]:
        raise ValueError(_strange_kind(strange, known))
    if not known:
        raise ValueError("an empty step; write shadow, canary or ab, like `canary: {weight: 5}`")
    return value


def _strange_kind(strange: list[str], known: list[str]) -> str:
    if known:
        return f"{', '.join(strange)} beside {known[0]}; indent its fields so that they stand below {known[0]}"
    near = get_close_matches(strange[0], _KINDS, n=1)
    question = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown step {strange[0]!r}; this version knows shadow, canary and ab{question}"


def _kind(value: object) -> str:
    """Which member of the union a step is, so that its errors are about that member alone."""
    if isinstance(value, dict):
        return str(next(iter(value)))
    return next(kind for kind, of in _STEPS.items() if isinstance(value, of))


Step = Annotated[
    Annotated[ShadowStep, Tag("shadow")] | Annotated[CanaryStep, Tag("canary")] | Annotated[AbStep, Tag("ab")],
    Discriminator(_kind),
    BeforeValidator(_one_kind),
]


def options(step: Step) -> Shadow | Canary | Ab:
    """What stands below the step's one key."""
    match step:
        case ShadowStep():
            return step.shadow
        case CanaryStep():
            return step.canary
        case AbStep():
            return step.ab


def weight_of(step: Step) -> float:
    """Percent of the live requests that the candidate answers."""
    below = options(step)
    return 0.0 if isinstance(below, Shadow) else below.weight


class WarmUp(_Section):
    """The first requests after a step's routes are on, or after a replica of either side came: they prove no slowness.

    It ends with whichever comes first.
    """

    requests: int = Field(default=100, ge=0, description="Requests that the candidate answers first.")
    duration: Seconds = Field(default=30.0, description="Or this long.")


class RolloutSpec(_Section):
    """Who gets the traffic, step by step, and what must hold at each step."""

    traffic: Traffic = Field(default=Traffic(), description="Where clients send to, and how a request is routed.")
    steps: tuple[Step, ...] = Field(
        min_length=1, description="In their order; after the last one the candidate is promoted."
    )
    gates: dict[GateName, Gate] = Field(
        min_length=1,
        description="Named conditions that every step must meet; each compares candidate with stable.",
        json_schema_extra={"additionalProperties": False},
    )
    metrics: dict[MetricName, Metric] = Field(
        default={},
        description="Business metrics, which `ab` steps and `mean` gates name.",
        json_schema_extra={"additionalProperties": False},
    )
    profile: Literal["fast", "default", "strict"] = Field(
        default="default", description="How sure a verdict must be: alpha 0.05, 0.05 or 0.01; see docs/verdicts.md."
    )
    warm_up: WarmUp = Field(default=WarmUp(), description="Latencies that are left out of every latency gate.")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        """Weights rise, so that no user is moved back from candidate to stable by a step."""
        before = 0.0
        for index, step in enumerate(self.steps):
            if isinstance(step, ShadowStep):
                continue
            kind, weight = _kind(step), weight_of(step)
            if weight < before or (weight == before and isinstance(step, CanaryStep)):
                raise ValueError(
                    f"steps[{index}].{kind}.weight: weights must rise from step to step; {weight:g} follows {before:g}"
                )
            before = weight
        return self

    @model_validator(mode="after")
    def _known_metrics(self) -> Self:
        """A metric that is not declared is binary feedback, unless it looks like a slip of the pen."""
        for index, step in enumerate(self.steps):
            if isinstance(step, AbStep):
                self._check_metric(f"steps[{index}].ab.metric", step.ab.metric)
                if why := self.metric(step.ab.metric).too_long(step.ab.timeout):
                    raise ValueError(f"steps[{index}].ab.timeout: {step.ab.metric} cannot be judged: {why}")
        for name, gate in self.gates.items():
            if isinstance(gate, Mean):
                self._check_metric(f"gates.{name}.of", gate.of)
        if AB_GATE in self.gates:
            raise ValueError(f"gates.{AB_GATE}: is what the A/B test itself is called; choose another name")
        return self

    def _check_metric(self, at: str, name: str) -> None:
        if name not in self.metrics and (near := get_close_matches(name, self.metrics, n=1)):
            raise ValueError(f"{at}: there is no metric {name!r} in rollout.metrics; did you mean {near[0]!r}?")

    def metric(self, name: str) -> Metric:
        return self.metrics.get(name) or Metric()

    @property
    def business(self) -> dict[str, Metric]:
        """Every metric that a step or a gate looks at, or that is declared, by name."""
        steps = [step.ab.metric for step in self.steps if isinstance(step, AbStep)]
        gates = [gate.of for gate in self.gates.values() if isinstance(gate, Mean)]
        return {name: self.metric(name) for name in dict.fromkeys((*self.metrics, *steps, *gates))}

    @model_validator(mode="after")
    def _answers_to_compare(self) -> Self:
        """Answers are compared where both sides answer the same requests."""
        if any(isinstance(step, ShadowStep) for step in self.steps):
            return self._something_to_decide()
        for name, gate in self.gates.items():
            if isinstance(gate, Disagreement):
                raise ValueError(
                    f"gates.{name}: answers are compared in a shadow step, and there is none; begin the steps with"
                    " `shadow: {percent: 100}`, or leave this gate out"
                )
        return self

    def _something_to_decide(self) -> Self:
        """Where answers are all that is judged, a canary is decided only by what a shadow proved before it."""
        if not all(isinstance(gate, Disagreement) for gate in self.gates.values()):
            return self
        proven = False
        for index, step in enumerate(self.steps):
            if isinstance(step, ShadowStep):
                proven = proven or step.shadow.until == "decided"
            elif isinstance(step, CanaryStep) and step.canary.until == "decided" and not proven:
                raise ValueError(
                    f"steps[{index}].canary: no gate can decide it, for answers are compared in shadow steps only; add"
                    " a gate like `errors: {metric: error_rate}`, or begin with a shadow that lasts `until: decided`"
                )
        return self
