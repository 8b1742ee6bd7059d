"""The verdict on an `ab` step with several challengers: which are out of it, whether it is decided, and who wins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf

from lockgate.rollout.metrics import Metric
from lockgate.rollout.spec import AB_GATE
from lockgate.rollout.verdict import Verdict, worst
from lockgate.rollout.words import Outcome


def best_of(verdicts: Mapping[str, Verdict], metric: Metric, dropped: Collection[str] = ()) -> Verdict:
    """Of each challenger's verdict by name, the candidate's first. `dropped`: those that are out already.

    A challenger that failed is out. When all of them are, the step fails; when all that are left pass, it passes, and
    the one with the largest effect wins; one that passes is `ahead` of those that are undecided. Each was proven
    better than stable by itself, at its part of alpha; that the winner is better than the others is an estimate.
    """
    left = {
        name: verdict
        for name, verdict in verdicts.items()
        if verdict.outcome is not Outcome.FAIL and name not in dropped
    }
    out = tuple(name for name in verdicts if name not in left)
    own = verdicts["candidate"]
    told = replace(own, others={name: verdict.gates for name, verdict in verdicts.items() if name != "candidate"})
    if not left:
        return replace(told, outcome=Outcome.FAIL, reason=_said(verdicts))
    outcome = worst([verdict.outcome for verdict in left.values()])
    told = replace(told, outcome=outcome, dropped=out, requests=min(of.requests for of in left.values()))
    passing = [name for name, of in left.items() if of.outcome is Outcome.PASS]
    best = max(passing, key=lambda name: _effect(left[name], metric), default="")
    if outcome is not Outcome.PASS:
        return replace(told, ahead=best, reason=_said({name: of for name, of in left.items() if of.outcome is outcome}))
    return replace(told, winner=best, reason=_said({best: left[best], **left}))


def _said(verdicts: Mapping[str, Verdict]) -> str:
    return "; ".join(f"{name}: {verdict.reason}" for name, verdict in verdicts.items())


def _effect(verdict: Verdict, metric: Metric) -> float:
    found = next((gate.effect for gate in verdict.gates if gate.gate == AB_GATE), None)
    if found is None:
        return -inf
    return found if metric.better == "higher" else -found
