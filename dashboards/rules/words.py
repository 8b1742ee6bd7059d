"""Rules as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["critical", "warning", "info"]
"""critical: clients are hurt, or nobody watches. warning: a person should look today. info: good to know."""


@dataclass(frozen=True, slots=True)
class Recording:
    """`series`: its name in the catalog."""

    series: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """`waits`: how long `expr` must hold, as Prometheus writes it. `todo`: sentences for whoever gets it.

    `summary` and `description` are Prometheus templates.
    """

    name: str
    severity: Severity
    expr: str
    waits: str
    summary: str
    description: str
    todo: str


@dataclass(frozen=True, slots=True)
class Case:
    """One test of an alert: the samples, a minute apart, by series, and what is said of them at minute `at`.

    Values are in promtool's notation: `0+60x30`. Without `labels` the alert must not fire.
    """

    alert: str
    given: str
    series: dict[str, str]
    at: int
    labels: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    description: str = ""
