"""What no test can beat: the expected requests until a regression is proven."""

from __future__ import annotations

import math


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of Bernoulli `p` from `q`, in nats: evidence per request."""
    return sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)


def sprt(stable: float, candidate: float, alpha: float) -> float:
    """Candidate requests of Wald's one-sided SPRT that knows both rates (Wald 1945, without overshoot)."""
    return math.log(1 / alpha) / divergence(candidate, stable)


def conditional(stable: float, candidate: float, weight: float, alpha: float) -> float:
    """Candidate requests when the common rate of the null must be learned from the same traffic.

    Both sides may have the rate that fits the mixture best, so the evidence is what both differ from that one: at a
    small weight stable gives it away, at 50 % the candidate's own failures hide half of the difference.
    """
    both = weight * candidate + (1 - weight) * stable
    evidence = weight * divergence(candidate, both) + (1 - weight) * divergence(stable, both)
    return math.log(1 / alpha) * weight / evidence
