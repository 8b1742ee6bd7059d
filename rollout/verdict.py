"""Verdicts carry their arithmetic, so that a person can check them."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.rollout.words import Outcome


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One gate's word, with its numbers.

    Units of `candidate`, `stable` and `limit` are the metric's own: a share of requests for error_rate,
    milliseconds for latency.
    """

    gate: str
    metric: str
    outcome: Outcome
    candidate: float | None
    """The estimate; None without data."""
    stable: float | None
    limit: float | None
    """What the candidate must not exceed: stable's value plus the margin."""
    candidate_requests: int
    stable_requests: int
    harm: float
    """Evidence that the limit is exceeded, as an e-value; `fail` from `fails_from` on."""
    safety: float
    """Evidence that it is not, as an e-value; `pass` from `passes_from` on."""
    sentence: str
    fails_from: float = 0.0
    """Gates times steps over alpha: the chance of a false `fail` is spent over all of them."""
    passes_from: float = 0.0
    """One over alpha: every gate must pass, so nothing is divided."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of all gates at one moment; the worst wins. Without gates that could be judged it is undecided."""

    outcome: Outcome
    gates: tuple[GateVerdict, ...]
    requests: int
    """Requests that the candidate answered in this step."""
    alpha: float
    """Chance of a false `fail` that is allowed over the whole rollout."""
    reason: str = ""


_SEVERITY = (Outcome.PASS, Outcome.UNDECIDED, Outcome.ERROR, Outcome.FAIL)


def worst(outcomes: list[Outcome]) -> Outcome:
    return max(outcomes, key=_SEVERITY.index, default=Outcome.UNDECIDED)
