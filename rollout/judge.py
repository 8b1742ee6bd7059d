"""Measurements → verdict, behind one function: `judge`.

Every gate asks about a share of the candidate's requests: those that failed, or those that were slower than
stable's quantile plus the margin. Two one-sample e-processes are computed from the step's counts, one for "the share is
above the limit" and one for "it is below"; by Ville's inequality each reaches `1/alpha` with a chance of at most
alpha when its claim is false, however often it is looked at. Stable's own share or quantile enters by the end of its
confidence interval that speaks against the claim, and a latency inside a bucket counts against it too. Requests come in
clumps (one client's retries, one replica's hiccup), so the evidence is divided by a design effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import NormalDist

from lockgate.monitoring.measurement import Tally
from lockgate.rollout.spec import PROFILES, ErrorRate, Gate, Latency, RolloutSpec
from lockgate.rollout.verdict import GateVerdict, Verdict, worst
from lockgate.rollout.words import Outcome

_WORSE = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_BETTER = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
_DESIGN_EFFECT = {"fast": 1.0, "default": 1.5, "strict": 1.5}
MIN_REQUESTS = 50
"""Of each side, before a gate says anything but undecided."""


def judge(spec: RolloutSpec, stable: Tally, candidate: Tally) -> Verdict:
    """The verdict on what both sides answered in one step. No data is undecided, never pass."""
    alpha = PROFILES[spec.profile]
    deff = _DESIGN_EFFECT[spec.profile]
    spent = alpha / len(spec.gates) / len(spec.steps)
    gates = tuple(_gate(name, gate, (stable, candidate), (alpha, spent), deff) for name, gate in spec.gates.items())
    outcome = worst([g.outcome for g in gates])
    reason = "; ".join(g.sentence for g in gates if g.outcome is outcome)
    return Verdict(outcome, gates, candidate.requests, alpha, reason)


def blind(spec: RolloutSpec, why: str) -> Verdict:
    """The verdict when there was nothing to measure with."""
    return Verdict(Outcome.ERROR, (), 0, PROFILES[spec.profile], why)


@dataclass(frozen=True, slots=True)
class _Question:
    """`harmed` and `unproven` are bad requests of the candidate with the share of its `requests` that is the limit."""

    harmed: tuple[int, float]
    unproven: tuple[int, float]
    bad: int
    """As the sentence counts them."""
    requests: int
    stable_requests: int
    candidate: float
    stable: float
    limit: float


def _gate(name: str, gate: Gate, sides: tuple[Tally, Tally], alphas: tuple[float, float], deff: float) -> GateVerdict:
    asked = _errors(gate, *sides) if isinstance(gate, ErrorRate) else _slow(gate, *sides)
    harm = _evidence(*asked.harmed, asked.requests, _WORSE, deff)
    safety = _evidence(*asked.unproven, asked.requests, _BETTER, deff)
    if min(asked.requests, asked.stable_requests) < MIN_REQUESTS:
        outcome = Outcome.UNDECIDED
    elif harm >= 1 / alphas[1]:
        outcome = Outcome.FAIL
    else:
        outcome = Outcome.PASS if safety >= 1 / alphas[0] else Outcome.UNDECIDED
    return GateVerdict(
        gate=name,
        metric=gate.metric,
        outcome=outcome,
        candidate=asked.candidate if asked.requests else None,
        stable=asked.stable if asked.stable_requests else None,
        limit=asked.limit if asked.stable_requests else None,
        candidate_requests=asked.requests,
        stable_requests=asked.stable_requests,
        harm=min(harm, 1e12),
        safety=min(safety, 1e12),
        fails_from=1 / alphas[1],
        passes_from=1 / alphas[0],
        sentence=_sentence(name, gate, outcome, asked),
    )


def _errors(gate: ErrorRate, stable: Tally, candidate: Tally) -> _Question:
    # A failure may be counted a moment before or after its request: never more failures than requests.
    theirs, mine = min(stable.errors, stable.requests), min(candidate.errors, candidate.requests)
    low, high = interval(theirs, stable.requests)
    share = theirs / stable.requests if stable.requests else 0.0
    return _Question(
        harmed=(mine, high + gate.margin),
        unproven=(mine, low + gate.margin),
        bad=mine,
        requests=candidate.requests,
        stable_requests=stable.requests,
        candidate=mine / candidate.requests if candidate.requests else 0.0,
        stable=share,
        limit=share + gate.margin,
    )


def _slow(gate: Latency, stable: Tally, candidate: Tally) -> _Question:
    theirs, mine = stable.latency, candidate.latency
    low, high = interval(round(gate.quantile * theirs.total), theirs.total, 0.95)
    least, limit, most = (
        theirs.quantile(min(q, 1.0)) * (1 + gate.margin) + gate.slack * 1000 for q in (low, gate.quantile, high)
    )
    # With few requests of stable even its slowest one says little of its quantile; its share beyond the limit does.
    _, theirs_beyond = interval(theirs.above(most), theirs.total, 0.95)
    return _Question(
        harmed=(mine.above(most), max(1 - gate.quantile, theirs_beyond)),
        unproven=(mine.perhaps_above(least), 1 - gate.quantile),
        bad=mine.above(limit),
        requests=mine.total,
        stable_requests=theirs.total,
        candidate=mine.quantile(gate.quantile),
        stable=theirs.quantile(gate.quantile),
        limit=limit,
    )


def _evidence(bad: int, limit: float, n: int, ratios: tuple[float, ...], deff: float) -> float:
    """E-value against "the share of bad requests is on the other side of `limit`", averaged over alternatives."""
    p0 = min(max(limit, 1e-9), 1 - 1e-9)
    total = 0.0
    for ratio in ratios:
        q = min(p0 * ratio, (1 + p0) / 2)
        log_e = (bad * log(q / p0) + (n - bad) * log((1 - q) / (1 - p0))) / deff
        total += exp(min(log_e, 700.0))
    return total / len(ratios)


def interval(k: int, n: int, confidence: float = 0.99) -> tuple[float, float]:
    """Wilson's score interval of `k` in `n`; (0, infinity) without data, so that nothing is proven by it."""
    if n == 0:
        return 0.0, inf
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2 = k / n, z * z
    centre, half = (p + z2 / (2 * n)) / (1 + z2 / n), z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _sentence(name: str, gate: Gate, outcome: Outcome, asked: _Question) -> str:
    bad, n = asked.bad, asked.requests
    if not n or not asked.stable_requests:
        return f"{name}: no data from {'the candidate' if not n else 'stable'} yet"
    if isinstance(gate, ErrorRate):
        figures = (
            f"candidate failed {bad} of {n} requests ({asked.candidate:.2%}),"
            f" stable {asked.stable:.2%}, limit {asked.limit:.2%}"
        )
    else:
        figures = (
            f"candidate's p{gate.quantile * 100:g} is {asked.candidate:.1f} ms,"
            f" stable's {asked.stable:.1f} ms,"
            f" limit {asked.limit:.1f} ms, {bad} of {n} requests were slower than that"
        )
    return f"{name}: {outcome}, {figures}"
