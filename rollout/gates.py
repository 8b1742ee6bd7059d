"""The gates: named conditions that every step must meet. What each is judged by is in `rollout/analysis`."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from lockgate.monitoring.units import Margin, Seconds, Share
from lockgate.rollout.metrics import MetricName
from lockgate.rollout.section import Section


class ErrorRate(Section):
    """Fails when the candidate's share of failed requests exceeds stable's by more than the margin."""

    metric: Literal["error_rate"] = Field(description="What is measured.")
    margin: Share = Field(default=0.005, description="Tolerated harm, as a difference of shares.")
    max: Share | None = Field(
        default=None,
        gt=0,
        description="An absolute limit of the candidate's share of failed requests in place of the comparison.",
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        _check_limits(self)
        return self


class Latency(Section):
    """Fails when the candidate's quantile exceeds stable's by more than the margin."""

    metric: Literal["latency"] = Field(description="What is measured.")
    quantile: float = Field(default=0.99, gt=0, lt=1, description="Which quantile of the latencies is compared.")
    margin: Margin = Field(default=0.2, description="Tolerated harm, relative to stable's quantile.")
    slack: Seconds = Field(default=0.002, description="And this much, for models that answer in a few milliseconds.")
    max: Seconds | None = Field(
        default=None,
        gt=0,
        description="An absolute limit of the candidate's quantile in place of the comparison.",
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        _check_limits(self)
        return self


def _check_limits(gate: ErrorRate | Latency) -> None:
    # What is stored has every field in it: only a value of the user's own is a contradiction.
    both = [
        name
        for name in ("margin", "slack")
        if name in gate.model_fields_set and getattr(gate, name) != type(gate).model_fields[name].default
    ]
    if gate.max is not None and both:
        raise ValueError(f"max: an absolute limit does not look at stable; leave out {' and '.join(both)}, or max")


class Compare(Section):
    """When two answers to the same request are the same."""

    by: Literal["auto", "label", "score", "rank", "cosine", "function"] = Field(
        default="auto",
        description=(
            "`label`: the same class (of scores that sum to 1, the largest). `score`: equal within atol and rtol."
            " `rank`: the order of the scores correlates at least as `least` says. `cosine`: embeddings point the same"
            " way, at least as `least` says. `function`: what yours says. `auto`: label or score, by the output."
        ),
    )
    output: str | None = Field(default=None, description="Which output is compared; the first one by default.")
    atol: float = Field(default=0.001, ge=0, description="Of `score`: tolerated difference.")
    rtol: float = Field(default=0.01, ge=0, description="Of `score`: tolerated difference, relative to stable's.")
    least: float = Field(
        default=0.99, gt=-1, le=1, description="Of `rank` and `cosine`: the least correlation or similarity."
    )
    function: str | None = Field(
        default=None,
        description=(
            "Of `function`: `module:name` of a function of stable's and the candidate's answers (arrays with one row"
            " for each answer) that returns for each row whether they agree."
        ),
        json_schema_extra={"pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"},
    )

    @model_validator(mode="after")
    def _named_function(self) -> Self:
        if (self.by == "function") != (self.function is not None):
            missing = "function: name yours as `module:name`" if self.function is None else "by: write `by: function`"
            raise ValueError(f"{missing} when answers are to be compared by a function")
        if self.function and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.function):
            raise ValueError(f"function: {self.function!r} is not `module:name`, like my_metrics:same_answer")
        return self


class Disagreement(Section):
    """Fails when too many of the shadow's answers differ from stable's, beyond stable's own noise."""

    metric: Literal["disagreement"] = Field(description="What is measured.")
    max: Share = Field(default=0.01, gt=0, lt=1, description="The tolerated share of requests answered differently.")
    compare: Compare = Field(default=Compare(), description="When two answers are the same.")


class PredictionDrift(Section):
    """Fails when the candidate's predictions are distributed differently from stable's on the same traffic."""

    metric: Literal["prediction_drift"] = Field(description="What is measured.")
    max: Share = Field(
        default=0.1, gt=0, lt=1, description="The tolerated distance: the largest difference of cumulative shares."
    )
    output: str | None = Field(default=None, description="Which output is compared; the first one by default.")


class Mean(Section):
    """Fails when a business metric is worse on the candidate's side than on stable's by more than the margin."""

    metric: Literal["mean"] = Field(description="What is measured.")
    of: MetricName = Field(
        description="The business metric, by its name in `metrics`; one that is not there is binary feedback."
    )
    margin: Margin = Field(default=0.05, description="Tolerated harm, relative to stable's mean.")


class Query(Section):
    """Fails when a Prometheus query's value leaves its limits more often than tolerated."""

    metric: Literal["query"] = Field(default="query", description="Need not be written.")
    query: str = Field(
        min_length=1,
        description="PromQL with one value as its result; `$variant`, `$model`, `$version` and `$name` are filled in.",
    )
    min: float | None = Field(default=None, description="The value must not be lower.")
    max: float | None = Field(default=None, description="The value must not be higher.")
    every: Seconds = Field(default=15.0, gt=0, description="Time from one measurement to the next.")
    count: int = Field(default=3, ge=1, description="Measurements within the limits that let a step pass.")
    failure_limit: int = Field(default=0, ge=0, description="Measurements outside the limits that are tolerated.")
    no_data: Literal["undecided", "fail"] = Field(
        default="undecided", description="What an empty result, or NaN, is: never a pass."
    )
    on_error: Literal["undecided", "fail"] = Field(
        default="undecided", description="What a source that does not answer is: never a pass."
    )

    @model_validator(mode="after")
    def _a_limit(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("query: needs a limit; add max or min")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"max: is below min, {self.min:g}; no value can meet both")
        return self


def _query_without_metric(value: object) -> object:
    """A query says what is measured by itself."""
    return {"metric": "query", **value} if isinstance(value, dict) and "query" in value else value


Gate = Annotated[
    Annotated[ErrorRate | Latency | Disagreement | PredictionDrift | Mean | Query, Field(discriminator="metric")],
    BeforeValidator(_query_without_metric),
]


def _gate_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError("a gate's name starts with a lowercase letter and goes on with those, digits and '_'")
    return value


GateName = Annotated[
    str, AfterValidator(_gate_name), WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9_]*$"})
]
