"""The `monitoring:` section: what is kept of the live traffic, and where metrics are asked for."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from lockgate.monitoring.units import Bytes, Margin, PercentOrNone, Seconds, Share


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Capture(_Section):
    """What every replica keeps of the requests that it answered: inputs, outputs, request id, time. As Parquet."""

    sample: PercentOrNone = Field(
        default=100.0,
        description="Share of the requests that are kept, chosen by request id, so both sides keep the same.",
    )
    keep: Seconds = Field(default=7 * 86_400.0, description="Files that are older are deleted.")
    max_size: Bytes = Field(
        default=2**30, description="Of each side; beyond it the oldest files are deleted. And of all feedback."
    )


class ReferenceSpec(_Section):
    """What live inputs are compared with: the data that the version was trained on."""

    artifact: str = Field(
        default="reference.parquet",
        min_length=1,
        description=(
            "A Parquet or CSV file of training rows among the version's files, or those of the run that logged it."
        ),
    )
    data_set: bool = Field(
        default=False,
        description=(
            "Without such a file, also take the data set that the run logged; whoever logs a run then chooses what"
            " this machine reads."
        ),
    )


class DriftSpec(_Section):
    """How live inputs are compared with the reference. It may hold or end a rollout, and never blames the candidate."""

    every: Seconds = Field(default=900.0, ge=10, description="Time between two comparisons.")
    window: int = Field(default=5000, ge=200, le=500_000, description="The latest requests that are compared, in rows.")
    threshold: float = Field(
        default=0.1, gt=0, description="An input drifts when its PSI, less what chance adds, is larger, and proven."
    )
    share: Share = Field(
        default=0.3, gt=0, description="The data set drifts when this share of its inputs does, or one severely."
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="Inputs whose drift is expected, like a date: they are left out."
    )
    on_drift: Literal["hold", "alert", "rollback"] = Field(
        default="hold",
        description=(
            "`hold`: no step goes on until it is over, or a person's `resume`. `alert`: it is only said. `rollback`:"
            " all traffic goes back to stable, and the rollout ends."
        ),
    )


def _label(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError("a label's name starts with a lowercase letter and goes on with those, digits and '_'")
    return value


LabelName = Annotated[str, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9_]*$"})]


class PerformanceSpec(_Section):
    """How well the version that serves answers, by labels that come to `POST /feedback`. It is said, and holds nobody.

    It is looked at every `monitoring.drift.every`.
    """

    label: LabelName = Field(description="What the truth about a request is called in `POST /feedback`.")
    measure: Literal["accuracy", "log_loss", "mae", "rmse"] = Field(
        default="accuracy",
        description="`accuracy` of classes, `log_loss` of probabilities, `mae` or `rmse` of numbers.",
    )
    output: str = Field(default="", description="The output that predicts it; the model's first one by default.")
    baseline: float | None = Field(
        default=None,
        description=(
            "What the measure was on rows that the model had not seen. By default that of the reference, where that has"
            " columns called like the output and the label."
        ),
    )
    margin: Margin = Field(
        default=0.05, description="Of the baseline: performance drifts when it is worse by more, and proven worse."
    )
    window: int = Field(default=5000, ge=200, le=100_000, description="The latest requests with a label.")

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        if self.baseline is not None and not 0 < self.baseline < (1 if self.measure == "accuracy" else float("inf")):
            between = "between 0 and 1" if self.measure == "accuracy" else "above 0"
            raise ValueError(f"baseline: {self.measure} must be {between}")
        if self.measure == "accuracy" and self.margin >= 1:
            raise ValueError("margin: accuracy cannot be worse by as much; write less than 100%")
        return self


def _url(value: str) -> str:
    at = urlsplit(value)
    if "?" in value or "#" in value or "@" in at.path:  # none of it is repeated: it may be a part of a password
        raise ValueError(
            "an address of a server has no ? and no #, and @ only behind the user and the password; in those write"
            " / as %2F, ? as %3F, # as %23 and @ as %40"
        )
    if at.scheme not in ("http", "https") or not at.hostname:
        raise ValueError(f"{value!r} is not an address of a server; write it like http://127.0.0.1:9090")
    return value  # as it was written: what came from the environment is known by its text


Url = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://.+"})]


class MonitoringSpec(_Section):
    """What is kept of the live traffic, and where metrics are asked for."""

    capture: Capture = Field(default=Capture(), description="What replicas keep of the requests that they answered.")
    redact: dict[str, Literal["hash", "drop"]] = Field(
        default={},
        description="Inputs that are never kept as they are, by name: `hash` keeps a keyed digest, `drop` nothing.",
    )
    reference: ReferenceSpec = Field(default=ReferenceSpec(), description="What live inputs are compared with.")
    drift: DriftSpec = Field(default=DriftSpec(), description="How live inputs are compared with it.")
    performance: PerformanceSpec | None = Field(
        default=None, description="How well the version that serves answers, by labels that come later."
    )
    prometheus: Url | None = Field(
        default=None, description="Address of the Prometheus that `query` gates ask, like http://127.0.0.1:9090."
    )

    @model_validator(mode="after")
    def _joined(self) -> Self:
        if self.performance and not self.capture.sample:
            raise ValueError(
                "performance: labels are compared with captured answers, and monitoring.capture.sample is 0; raise it"
            )
        return self
