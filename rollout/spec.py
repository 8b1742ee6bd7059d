"""The `rollout:` section: who gets the traffic, step by step, and what must hold at each."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from lockgate.monitoring.units import Seconds
from lockgate.rollout import order
from lockgate.rollout.gates import Disagreement, Gate, GateName, Mean, Query
from lockgate.rollout.metrics import Metric, MetricName
from lockgate.rollout.section import Section
from lockgate.rollout.steps import (
    Ab,
    AbStep,
    Approval,
    ApprovalStep,
    Canary,
    CanaryStep,
    Hold,
    Shadow,
    ShadowStep,
    Step,
    challengers,
    kind_of,
    label,
    options,
    weight_of,
)
from lockgate.rollout.traffic import Failover, HeaderName, Traffic

__all__ = [
    "AB_GATE",
    "OUTAGE_GATE",
    "STORED",
    "Ab",
    "AbStep",
    "Approval",
    "ApprovalStep",
    "Canary",
    "CanaryStep",
    "Failover",
    "HeaderName",
    "Hold",
    "RolloutSpec",
    "Shadow",
    "ShadowStep",
    "Step",
    "Traffic",
    "WarmUp",
    "challengers",
    "kind_of",
    "label",
    "options",
    "weight_of",
]

_ROUNDED = 1e-6
_HIDDEN = "postgresql://hidden"
STORED = "stored"
"""The context in which a spec is read that was checked when it was stored, perhaps by an earlier version."""
AB_GATE = "ab"
"""How the test of an `ab` step is called among the gates."""
OUTAGE_GATE = "outage"
"""How what is looked for in every rollout is called among them: a challenger that fails everything."""


class WarmUp(Section):
    """The first requests after a step's routes are on, or after a replica of either side came: they prove no slowness.

    It ends with whichever comes first.
    """

    requests: int = Field(default=100, ge=0, description="Requests that the candidate answers first.")
    duration: Seconds = Field(default=30.0, description="Or this long.")


class RolloutSpec(Section):
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
    def _in_order(self) -> Self:
        order.check(self.steps)
        return self

    @model_validator(mode="after")
    def _routable(self, info: ValidationInfo) -> Self:
        """The router knows ten-thousandths: less is nothing to it, and more than all but one is all."""
        if info.context == STORED:  # by an earlier version that rounded
            return self
        for index, step in self.judged_steps:
            below = options(step)
            shares = {name: getattr(below, name, 0.0) for name in ("weight", "percent", "echo")}
            for name, value in shares.items():
                if abs(value * 100 - round(value * 100)) > _ROUNDED:
                    raise ValueError(
                        f"steps[{index}].{kind_of(step)}.{name}: {value:g} % has too many digits; the router splits"
                        " traffic in steps of 0.01 %"
                    )
        return self

    def judged(self, index: int) -> int | None:
        """The step whose routes and gates are in force in this one: an approval leaves both as they are before it.

        None where nothing comes before it: stable answers everything, and nothing is judged.
        """
        return order.judged(self.steps, index)

    @property
    def judged_steps(self) -> tuple[tuple[int, Step], ...]:
        """Every step that is no approval, with its index."""
        return tuple((i, step) for i, step in enumerate(self.steps) if not isinstance(step, ApprovalStep))

    def without_approvals(self) -> Self:
        """For what foresees and rehearses: nobody can say what a person will, or when."""
        return self.model_copy(update={"steps": tuple(step for _, step in self.judged_steps)})

    def challengers_at(self, index: int) -> tuple[str, ...]:
        """Who is tried in this step, by name; in an approval, who is in the step before it."""
        judged = self.judged(index)
        return ("candidate",) if judged is None else challengers(self.steps[judged])

    @property
    def challengers(self) -> tuple[str, ...]:
        """Everybody who is tried in some step, by name; the candidate first."""
        return self.challengers_at(len(self.steps) - 1)

    @property
    def asks(self) -> bool:
        """Whether people are asked in some step."""
        return any(isinstance(step, ApprovalStep) for step in self.steps)

    @property
    def others(self) -> tuple[str, ...]:
        """Challengers beside the candidate, by name."""
        return self.challengers[1:]

    @model_validator(mode="after")
    def _known_metrics(self, info: ValidationInfo) -> Self:
        """A metric that is not declared is binary feedback, unless it looks like a slip of the pen."""
        if info.context == STORED:
            return self
        for index, step in enumerate(self.steps):
            if isinstance(step, AbStep):
                self._check_metric(f"steps[{index}].ab.metric", step.ab.metric)
                self._check_split(index, step.ab)
                if why := self.metric(step.ab.metric).too_long(step.ab.timeout):
                    raise ValueError(f"steps[{index}].ab.timeout: {step.ab.metric} cannot be judged: {why}")
        for name, gate in self.gates.items():
            if isinstance(gate, Mean):
                self._check_metric(f"gates.{name}.of", gate.of)
                self._check_guarded(gate)
        if AB_GATE in self.gates:
            raise ValueError(f"gates.{AB_GATE}: is what the A/B test itself is called; choose another name")
        if OUTAGE_GATE in self.gates:
            raise ValueError(f"gates.{OUTAGE_GATE}: is looked for in every rollout; choose another name")
        return self

    def without_secrets(self, hide: Callable[[str], str]) -> Self:
        """As it is stored: nobody who decides needs to know where a database is, or asks Prometheus.

        `hide`: replaces in a text what came from the environment.
        """
        gates = {
            name: gate.model_copy(update={"query": hide(gate.query)}) if isinstance(gate, Query) else gate
            for name, gate in self.gates.items()
        }
        hidden = {
            name: metric.model_copy(update={"sql": metric.sql.model_copy(update={"url": _HIDDEN})})
            for name, metric in self.metrics.items()
            if metric.sql
        }
        clients = self.traffic.clients and self.traffic.clients.hidden()
        traffic = self.traffic.model_copy(update={"clients": clients})
        return self.model_copy(update={"metrics": {**self.metrics, **hidden}, "gates": gates, "traffic": traffic})

    def _check_metric(self, at: str, name: str) -> None:
        if name not in self.metrics and (near := get_close_matches(name, self.metrics, n=1)):
            raise ValueError(f"{at}: there is no metric {name!r} in rollout.metrics; did you mean {near[0]!r}?")

    def _check_split(self, index: int, ab: Ab) -> None:
        """Whether the metric's source can tell users apart by how they were split."""
        if ab.others and self.metric(ab.metric).promql:
            raise ValueError(
                f"steps[{index}].ab.others: counters are read for stable and the candidate only; tell"
                f" {ab.metric} by POST /feedback, or test one challenger"
            )
        if ab.allocation == "thompson" and self.metric(ab.metric).take == "mean":
            raise ValueError(
                f"steps[{index}].ab.allocation: of {ab.metric} only users with a value are counted, whose"
                " share is not known beforehand; use `fixed`, or `take: sum`"
            )
        if ab.allocation == "thompson" and self.metric(ab.metric).promql:
            raise ValueError(
                f"steps[{index}].ab.allocation: counters do not tell users by the share that was theirs; use"
                f" `fixed`, or tell {ab.metric} by POST /feedback"
            )

    def _check_guarded(self, gate: Mean) -> None:
        if self.others and self.metric(gate.of).promql:
            last, _ = self.judged_steps[-1]
            raise ValueError(
                f"steps[{last}].ab.others: counters are read for stable and the candidate only, and a"
                f" gate asks for {gate.of}; tell it by POST /feedback, or test one challenger"
            )
        for index, step in self.judged_steps:
            asked = options(step)
            why = self.metric(gate.of).too_long(asked.timeout)
            if why and asked.until == "decided" and not isinstance(step, ShadowStep):
                at = f"steps[{index}].{kind_of(step)}.timeout"
                raise ValueError(f"{at}: {gate.of}, which a gate asks for, cannot be judged: {why}")

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

    @model_validator(mode="after")
    def _shadows_decided(self) -> Self:
        """Nobody is answered by the candidate in a shadow step, so nobody does anything because of it."""
        if all(isinstance(gate, Mean) for gate in self.gates.values()):
            for index, step in enumerate(self.steps):
                if isinstance(step, ShadowStep) and step.shadow.until == "decided":
                    raise ValueError(
                        f"steps[{index}].shadow: no gate can decide it, for users do nothing because of a shadow; add a"
                        " gate like `errors: {metric: error_rate}`, or let it last `until: held`"
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
