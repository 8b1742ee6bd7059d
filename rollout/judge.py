"""Measurements → verdict, behind one function: `judge`.

Every gate asks about a share of the candidate's requests: those that failed, or those that were slower than
stable's quantile plus the margin. Two one-sample e-processes are computed from the step's counts, one for "the share is
above the limit" and one for "it is below"; by Ville's inequality each reaches `1/alpha` with a chance of at most
alpha when its claim is false, however often it is looked at. Stable's own share enters by the end of its
confidence interval that speaks against the claim. Requests come in clumps (one client's retries, one replica's
hiccup), so the evidence is divided by a design effect.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def _gate(name: str, gate: Gate, sides: tuple[Tally, Tally], alphas: tuple[float, float], deff: float) -> GateVerdict:
    stable, candidate = sides
    bad, n, above, below, numbers = (
        _errors(gate, stable, candidate) if isinstance(gate, ErrorRate) else _slow(gate, stable, candidate)
    )
    harm, safety = _evidence(bad, n, above, _WORSE, deff), _evidence(bad, n, below, _BETTER, deff)
    few = min(n, numbers["stable_requests"])
    if few < MIN_REQUESTS:
        outcome = Outcome.UNDECIDED
    elif harm >= 1 / alphas[1]:
        outcome = Outcome.FAIL
    else:
        outcome = Outcome.PASS if safety >= 1 / alphas[0] else Outcome.UNDECIDED
    return GateVerdict(
        gate=name,
        metric=gate.metric,
        outcome=outcome,
        candidate=numbers["candidate"] if n else None,
        stable=numbers["stable"] if numbers["stable_requests"] else None,
        limit=numbers["limit"] if numbers["stable_requests"] else None,
        candidate_requests=n,
        stable_requests=int(numbers["stable_requests"]),
        harm=min(harm, 1e12),
        safety=min(safety, 1e12),
        sentence=_sentence(name, gate, outcome, numbers, (bad, n)),
    )


_Question = tuple[int, int, float, float, Mapping[str, float]]
"""Bad requests of the candidate, all of them, the share that proves harm when exceeded, the one that proves safety."""


def _errors(gate: ErrorRate, stable: Tally, candidate: Tally) -> _Question:
    low, high = interval(stable.errors, stable.requests)
    share = stable.errors / stable.requests if stable.requests else 0.0
    mine = candidate.errors / candidate.requests if candidate.requests else 0.0
    numbers = {
        "candidate": mine,
        "stable": share,
        "limit": share + gate.margin,
        "stable_requests": stable.requests,
    }
    return candidate.errors, candidate.requests, high + gate.margin, low + gate.margin, numbers


def _slow(gate: Latency, stable: Tally, candidate: Tally) -> _Question:
    reference = stable.latency.quantile(gate.quantile)
    limit = reference * (1 + gate.margin) + gate.slack * 1000
    slow, n = candidate.latency.above(limit), candidate.latency.total
    tail = 1 - gate.quantile
    _, high = interval(stable.latency.above(limit), stable.latency.total)
    numbers = {
        "candidate": candidate.latency.quantile(gate.quantile),
        "stable": reference,
        "limit": limit,
        "stable_requests": stable.latency.total,
    }
    return slow, n, max(tail, high), tail, numbers


def _evidence(bad: int, n: int, limit: float, ratios: tuple[float, ...], deff: float) -> float:
    """E-value against "the share of bad requests is on the other side of `limit`", averaged over alternatives."""
    p0 = min(max(limit, 1e-9), 1 - 1e-9)
    total = 0.0
    for ratio in ratios:
        q = min(p0 * ratio, (1 + p0) / 2)
        log_e = (bad * log(q / p0) + (n - bad) * log((1 - q) / (1 - p0))) / deff
        total += exp(min(log_e, 700.0))
    return total / len(ratios)


def interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of `k` in `n`; (0, infinity) without data, so that nothing is proven by it."""
    if n == 0:
        return 0.0, inf
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2 = k / n, z * z
    centre, half = (p + z2 / (2 * n)) / (1 + z2 / n), z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _sentence(name: str, gate: Gate, outcome: Outcome, numbers: Mapping[str, float], count: tuple[int, int]) -> str:
    bad, n = count
    if not n or not numbers["stable_requests"]:
        return f"{name}: no data from {'the candidate' if not n else 'stable'} yet"
    if isinstance(gate, ErrorRate):
        figures = (
            f"candidate failed {bad} of {n} requests ({numbers['candidate']:.2%}),"
            f" stable {numbers['stable']:.2%}, limit {numbers['limit']:.2%}"
        )
    else:
        figures = (
            f"candidate's p{gate.quantile * 100:g} is {numbers['candidate']:.1f} ms,"
            f" stable's {numbers['stable']:.1f} ms,"
            f" limit {numbers['limit']:.1f} ms; {bad} of {n} requests were slower than that"
        )
    return f"{name}: {outcome}, {figures}"
