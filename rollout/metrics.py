"""Business metrics: what users did after they were answered, and where that is told."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from lockgate.monitoring.units import Seconds, seconds_text
from lockgate.rollout.section import Section

_SCHEMES = "sqlite, postgresql"
LOOKED = 60.0
"""Seconds of patience with a database: looks are up to 30 s apart, and a query may take as long again."""


def _database(value: str) -> str:
    if not re.match(r"^(sqlite|postgresql|postgres)(\+[a-z0-9]+)?://", value):
        raise ValueError(
            f"is no database's address; write it like postgresql://user@host/name (known: {_SCHEMES}), best as a"
            " reference to the environment like ${WAREHOUSE_URL}"
        )
    return value


class Sql(Section):
    """Outcomes that a database keeps."""

    url: Annotated[str, AfterValidator(_database)] = Field(description="The database, as an SQLAlchemy URL.")
    query: str = Field(
        min_length=1,
        description=(
            "A SELECT with the columns `value`, `at` (a timestamp or unix seconds) and `user` or `request_id`, of what"
            " came at `:since` or later and before `:until`, both unix seconds."
        ),
    )
    every: Seconds = Field(default=60.0, gt=0, description="Time from one query to the next.")
    late: Seconds = Field(
        default=3600.0, description="Rows may be written this long after their `at`: each query looks so far back."
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if ":since" not in self.query:
            raise ValueError("query: must ask for what is new only; use `:since`, like `where paid_at >= :since`")
        return self


class PromQL(Section):
    """Counters that an application exports with the label `variant`, which it reads from `x-lockgate-variant`.

    They are read once the metric's `window` has passed since the users were split so: what is done before that was
    begun by users who were split in another way.
    """

    units: str = Field(min_length=1, description="Counts who was asked, like `sum by (variant) (offers_shown_total)`.")
    hits: str = Field(
        min_length=1, description="Counts those that did it, like `sum by (variant) (offers_taken_total)`."
    )
    every: Seconds = Field(default=15.0, gt=0, description="Time from one measurement to the next.")


class Metric(Section):
    """One number for each user (for each request, where the sticky header is missing): what came of the answer."""

    kind: Literal["binary", "continuous"] = Field(
        default="binary", description="`binary`: it happened or not. `continuous`: how much, like revenue."
    )
    better: Literal["higher", "lower"] = Field(default="higher", description="Which way is good.")
    window: Seconds = Field(
        default=3600.0, gt=0, description="What happens this long after a user's first request in the step counts."
    )
    take: Literal["sum", "mean"] = Field(
        default="sum",
        description=(
            "Of a user's values when `continuous`: their `sum`, 0 for users without any, or their `mean`, where users"
            " without any are left out."
        ),
    )
    lowest: float | None = Field(default=None, description="Lower values of a user count as this one.")
    highest: float | None = Field(
        default=None,
        description="Higher values of a user count as this one; learned from the first thousand users by default.",
    )
    sql: Sql | None = Field(default=None, description="Read from a database, in place of POST /feedback.")
    promql: PromQL | None = Field(
        default=None, description="Read from Prometheus counters, in place of POST /feedback."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sql and self.promql:
            raise ValueError("promql: the metric has a source already, sql; leave one of them out")
        if self.promql and self.kind != "binary":
            raise ValueError("promql: counters tell how many, not how much; use it for `kind: binary`")
        return self

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "binary":
            for name in ("lowest", "highest"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: is for continuous metrics; this one is binary")
            if self.take != "sum":
                raise ValueError("take: is for continuous metrics; this one is binary")
        if self.lowest is not None and self.highest is not None and self.lowest >= self.highest:
            raise ValueError(f"highest: must be above lowest, {self.lowest:g}")
        return self

    @property
    def fed(self) -> bool:
        """Whether its outcomes come to `POST /feedback`."""
        return not self.sql and not self.promql

    @property
    def delay(self) -> float:
        """Seconds that its source may take to tell what happened."""
        return self.sql.late + self.sql.every + LOOKED if self.sql else 0.0

    def too_long(self, timeout: float) -> str:
        """Why a step with this timeout would never see it, or nothing."""
        if self.window + self.delay < timeout:
            return ""
        waits = f" and the {seconds_text(self.delay)} that its database may take" if self.delay else ""
        is_are = "are" if waits else "is"
        return (
            f"its window of {seconds_text(self.window)}{waits} {is_are} not over when the step's timeout of"
            f" {seconds_text(timeout)} is; lengthen the timeout or shorten the window"
        )


def _metric_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError("a metric's name starts with a lowercase letter and goes on with those, digits and '_'")
    return value


MetricName = Annotated[
    str, AfterValidator(_metric_name), WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9_]*$"})
]
