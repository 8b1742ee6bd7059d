"""Captured traffic through the spec's own steps and judge, offline: what comes out, as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.flows.foreseen import duration
from lockgate.flows.rehearsal.captured import Captured, captured
from lockgate.flows.rehearsal.draws import EDGES, Draws
from lockgate.flows.rehearsal.errors import BadTraffic
from lockgate.flows.rehearsal.faults import Fault
from lockgate.flows.rehearsal.replay import Replay, Replayed, Step
from lockgate.flows.spec import Spec
from lockgate.rollout.analysis.forecast import seconds_needed
from lockgate.rollout.analysis.forecast_traffic import Traffic
from lockgate.rollout.gates import Disagreement, Mean, PredictionDrift, Query
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import AB_GATE, AbStep, RolloutSpec, ShadowStep, label

_SEED = 1


def rehearse(
    spec: Spec, traffic: Path, candidate_traffic: Path | None, faults: tuple[Fault, ...], shuffles: int
) -> dict[str, Any]:
    """As if people approved at once. Raises `BadTraffic` where the traffic will not do."""
    rollout = spec.rollout.without_approvals()
    gates = {name: gate for name, gate in rollout.gates.items() if isinstance(gate, Disagreement)}
    it = captured(traffic, candidate_traffic, gates)
    equal = _replay(rollout, it, shuffles)
    if equal.ran_out.mean() > 0.5:
        raise BadTraffic(_too_little(rollout, it))
    return {
        "name": spec.name,
        "traffic": _traffic(it),
        "shuffles": shuffles,
        "alpha": PROFILES[rollout.profile].alpha,
        "left_out": _left_out(rollout),
        "not_compared": _not_compared(it),
        "equal": _told(rollout, equal),
        "candidate": _told(rollout, _replay(rollout, it, shuffles, real=True)) if it.candidate else None,
        "faults": [_found(rollout, fault, _replay(rollout, it, shuffles, fault=fault)) for fault in faults],
    }


def _replay(
    spec: RolloutSpec, it: Captured, shuffles: int, *, real: bool = False, fault: Fault | None = None
) -> Replayed:
    return Replay(_as_captured(spec, it), Draws(it, shuffles, _SEED, real=real, fault=fault)).run()


def _as_captured(spec: RolloutSpec, it: Captured) -> RolloutSpec:
    """Where stable answered nothing twice, its noise is not waited for."""
    if any(of.echoed.any() for of in it.pairs.values()):
        return spec
    quiet = [
        step.model_copy(update={"shadow": step.shadow.model_copy(update={"echo": 0.0})})
        if isinstance(step, ShadowStep)
        else step
        for step in spec.steps
    ]
    return spec.model_copy(update={"steps": tuple(quiet)})


def _too_little(spec: RolloutSpec, it: Captured) -> str:
    seconds = seconds_needed(spec, _like(it))
    return (
        f"{len(it.at):,} requests in {duration(it.seconds)} are too little for these steps: an equal candidate takes"
        f" about {seconds * it.rps:,.0f} ({duration(seconds)} at {it.rps:.3g}/s); capture longer, or rehearse fewer"
        " steps, or wider margins"
    )


def _like(it: Captured) -> Traffic:
    counts = np.histogram(it.stable.seconds * 1000, np.concatenate(([-np.inf], EDGES)))[0]
    shares = tuple(float(share) for share in counts / counts.sum())
    return Traffic(it.rps, float(it.stable.failed.mean()), tuple(EDGES.tolist()), shares)


def _traffic(it: Captured) -> dict[str, Any]:
    p50, p99 = (float(np.quantile(it.stable.seconds, q)) * 1000 for q in (0.5, 0.99))
    return {
        "requests": len(it.at),
        "seconds": it.seconds,
        "rps": it.rps,
        "error_rate": float(it.stable.failed.mean()),
        "p50_ms": p50,
        "p99_ms": p99,
        "replicas": len(set(it.replica[it.replica >= 0].tolist())),
        "candidate_answers": int(it.candidate.present.sum()) if it.candidate else 0,
        "shuffled": it.shuffled,
    }


def _left_out(spec: RolloutSpec) -> dict[str, str]:
    """Gates that captured traffic says nothing about, by name."""
    why = {
        Query: "captured traffic holds no Prometheus",
        PredictionDrift: "it is judged in a rollout only",
        Mean: "captured traffic does not hold what users did",
    }
    left = {name: why[type(gate)] for name, gate in spec.gates.items() if type(gate) in why}
    return left | ({AB_GATE: why[Mean]} if any(isinstance(step, AbStep) for step in spec.steps) else {})


def _not_compared(it: Captured) -> dict[str, str]:
    """Gates for which no answer of the candidate could be held against stable's, by name."""
    why = (
        "no request has both an answer of stable and one of the candidate to a copy of it (kind shadow)"
        if it.routed
        else "it was captured without a router, which says whose answer it is (variant); capture it at the address of"
        " a pipeline with a shadow step"
    )
    return {name: why for name, of in it.pairs.items() if it.candidate and not of.compared.any()}


def _told(spec: RolloutSpec, replayed: Replayed) -> dict[str, Any]:
    return {
        "rolled_back": int(replayed.failed.sum()),
        "passed": int(replayed.passed.sum()),
        "timed_out": int(replayed.timed_out.sum()),
        "ran_out": int(replayed.ran_out.sum()),
        "steps": [_step(spec, step) for step in replayed.steps],
    }


def _step(spec: RolloutSpec, step: Step) -> dict[str, Any]:
    passed, reached = step.trial.passed, step.reached
    sentences = {gate.gate: gate.sentence for gate in step.verdict.gates} if step.verdict else {}
    return {
        "step": label(spec.steps[step.index]),
        "reached": int(reached.sum()),
        "passed": int((reached & np.isfinite(passed.seconds)).sum()),
        "requests": _quantiles(passed.requests),
        "seconds": _quantiles(passed.seconds),
        "gates": [
            {
                "gate": name,
                "pass": int((reached & (step.outcomes[name] > 0)).sum()),
                "undecided": int((reached & (step.outcomes[name] == 0)).sum()),
                "fail": int((reached & (step.outcomes[name] < 0)).sum()),
                "sentence": sentences.get(name, ""),
            }
            for name in spec.gates
            if name in step.outcomes
        ],
    }


def _found(spec: RolloutSpec, fault: Fault, replayed: Replayed) -> dict[str, Any]:
    """How soon a fault that was there from the start was found."""
    failed = replayed.failed
    by = {
        name: sum(int((step.reached & (step.outcomes[name] < 0)).sum()) for step in replayed.steps)
        for name in spec.gates
        if name in replayed.steps[0].outcomes
    }
    return {
        "fault": str(fault),
        "found": int(failed.sum()),
        "passed": int(replayed.passed.sum()),
        "requests": _quantiles(replayed.requests[failed]),
        "seconds": _quantiles(replayed.seconds[failed]),
        "gates": {name: count for name, count in by.items() if count},
    }


def _quantiles(values: NDArray[Any]) -> dict[str, float | None]:
    values = values[np.isfinite(values)]
    if not len(values):
        return {"median": None, "most": None}
    median, most = np.quantile(values, (0.5, 0.9), method="higher")
    return {"median": float(median), "most": float(most)}
