"""What the replay's log and the rollouts' history say together: who was asked when, and whether the split was right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

GRACE = 1.0
"""Seconds in which a weight must take effect; requests of that second belong to no step."""
_CONFIDENCE = 0.99
_DRIVEN = ("progressing", "waiting")


@dataclass(frozen=True, slots=True)
class Span:
    """One state of a rollout and how long it lasted. Times are unix seconds."""

    candidate: str
    """The version that wants to serve."""
    phase: str
    step: str
    weight: float
    """Percent of live requests that the candidate answers."""
    start: float
    end: float
    reason: str
    """Why it ended."""

    @property
    def label(self) -> str:
        return self.step if self.phase in _DRIVEN else self.phase.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Split:
    """One canary step: how many users the candidate got, and the 99 % binomial bounds for that.

    A user always gets the same variant, so it is users who are drawn independently, not their requests.
    """

    candidate: str
    step: str
    requests: int
    requests_candidate: int
    users: int
    users_candidate: int
    low: int
    high: int
    torn: int
    """Users who got both variants within the step."""

    @property
    def within(self) -> bool:
        return self.low <= self.users_candidate <= self.high and not self.torn


def read_requests(log: Path) -> pd.DataFrame:
    """The replay's log, in the order of the requests. A last line that was cut off is left out."""
    lines = log.read_bytes().splitlines()
    rows = [json.loads(line) for line in lines if line.endswith(b"}")]
    return pd.DataFrame(rows).sort_values("due", ignore_index=True)


def read_counters(log: Path) -> pd.DataFrame:
    """What happened between one look and the next, per second."""
    looks = pd.DataFrame([json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()])
    if looks.empty:
        return pd.DataFrame(columns=["at", "copies", "copies_failed", "live", "live_failed"])
    counts = looks.drop(columns="at").diff().clip(lower=0).div(looks["at"].diff(), axis=0)
    return counts.assign(at=looks["at"]).dropna()


def spans(rollout: dict[str, Any]) -> list[Span]:
    """The states of one rollout of `lockgate history --json`, in order."""
    events = rollout["events"]
    ends = [*(e["at"] for e in events[1:]), rollout["closed_at"] or events[-1]["at"]]
    reasons = [*(e["reason"] for e in events[1:]), rollout["reason"]]
    return [
        Span(
            candidate=rollout["candidate_version"],
            phase=event["phase"],
            step=event["step"],
            weight=event["weight_percent"],
            start=event["at"],
            end=end,
            reason=reason,
        )
        for event, end, reason in zip(events, ends, reasons, strict=True)
    ]


def splits(requests: pd.DataFrame, rollouts: list[dict[str, Any]]) -> list[Split]:
    """Every canary step that lasted longer than its grace, held against its bounds."""
    steps = [s for r in rollouts for s in spans(r) if s.phase in _DRIVEN and s.weight > 0]
    found = []
    for step in steps:
        there = requests[(requests["sent"] >= step.start + GRACE) & (requests["sent"] < step.end)]
        if len(there):
            found.append(_split(step, there))
    return found


def _split(step: Span, there: pd.DataFrame) -> Split:
    from scipy.stats import binom

    candidate = there["variant"] == "candidate"
    users = candidate.groupby(there["user"]).mean()
    low, high = binom.interval(_CONFIDENCE, len(users), step.weight / 100)
    return Split(
        candidate=step.candidate,
        step=step.step,
        requests=len(there),
        requests_candidate=int(candidate.sum()),
        users=len(users),
        users_candidate=int((users > 0).sum()),
        low=int(low),
        high=int(high),
        torn=int(((users > 0) & (users < 1)).sum()),
    )


def moved_back(requests: pd.DataFrame, rollouts: list[dict[str, Any]]) -> int:
    """Users who had the candidate in one canary step and stable in a later one of the same rollout."""
    count = 0
    for rollout in rollouts:
        had: set[str] = set()
        for step in (s for s in spans(rollout) if s.phase in _DRIVEN and s.weight > 0):
            there = requests[(requests["sent"] >= step.start + GRACE) & (requests["sent"] < step.end)]
            candidate = there["variant"] == "candidate"
            count += len(had & set(there.loc[~candidate, "user"]))
            had |= set(there.loc[candidate, "user"])
    return count


def per_second(requests: pd.DataFrame, start: float) -> pd.DataFrame:
    """Requests, failures, p50 and p99 in milliseconds, by second since `start` and version."""
    second = np.floor(requests["due"] - start).astype(int).rename("second")
    groups = requests.groupby([second, requests["version"]])
    return pd.DataFrame(
        {
            "requests": groups.size(),
            "failed": groups["ok"].apply(lambda ok: int((~ok.astype(bool)).sum())),
            "p50": groups["ms"].quantile(0.5),
            "p99": groups["ms"].quantile(0.99),
        }
    ).reset_index()
