"""Verdicts carry their arithmetic, so that a person can check them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.rollout.words import Outcome


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One gate's word, with its numbers.

    Units of `candidate`, `stable` and `limit` are the metric's own: a share of requests for error_rate, milliseconds
    for latency, a share of answers for disagreement (stable's is its own noise), a distance from 0 to 1 for
    prediction_drift, and whatever a query measures.
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
    """Gates over alpha: the chance of a false `fail` is spent over all of them."""
    passes_from: float = 0.0
    """One over alpha: every gate must pass, so nothing is divided."""
    design_effect: float = 1.0
    """What the logarithms of both were divided by in the last look: requests are not independent."""
    share: float = 0.0
    """The gate's part of alpha; 0 for a query, whose readings are counted: `harm` and `safety` are those counts."""
    votes: bool = True
    """False where it has nothing to say: answers are compared in shadow steps only."""
    effect: float | None = None
    """Of a business metric: the candidate's mean over stable's, less 1; None where there is no estimate."""
    interval: tuple[float, float] | None = None
    """Where the effect is, at any moment, but for alpha; None where it may be anywhere."""


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
    looks: int = 0
    """How many looks of the rollout it is made of; 0 when there was nothing to look at."""
    others: Mapping[str, tuple[GateVerdict, ...]] = field(default_factory=dict)
    """Gates of the challengers beside the candidate, by name."""
    dropped: tuple[str, ...] = ()
    """Challengers that failed while others did not."""
    winner: str = "candidate"
    """Of a pass: which challenger is to be promoted."""
    ahead: str = ""
    """Of several challengers, while it is not decided: the best one of those that pass, for when time is over."""


GONE = "no replica of the candidate is up"
"""Why a verdict is set aside: what was counted before promotes nothing dead."""

_SEVERITY = (Outcome.PASS, Outcome.UNDECIDED, Outcome.ERROR, Outcome.FAIL)


def worst(outcomes: list[Outcome]) -> Outcome:
    return max(outcomes, key=_SEVERITY.index, default=Outcome.UNDECIDED)
