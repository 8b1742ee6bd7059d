"""The sum under Fisher's noncentral hypergeometric distribution, exact to rounding, for small and large counts."""

from __future__ import annotations

from math import ceil, lgamma, sqrt

import numpy as np

from lockgate.rollout.analysis.bets import Array

_TABLE: Array = np.array([lgamma(n + 1.0) for n in range(32)])
_DEVIATIONS = 6.0


def log_factorial(n: Array) -> Array:
    """Of whole numbers from 0 on; Stirling's series from 32 on, where its error is below 1e-13."""
    x = np.maximum(n, 1.0)
    series = x * np.log(x) - x + 0.5 * np.log(2 * np.pi * x) + 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5)
    return np.where(n < len(_TABLE), _TABLE[np.minimum(n, len(_TABLE) - 1).astype(np.int64)], series)


def log_normaliser(n: int, others: int, every: int, log_odds: Array) -> Array:
    """(G,): log sum_k C(n, k) C(others, every - k) t^k at each logarithm of odds `log_odds` (G,) of t.

    k is a sum of K independent draws, where K is the number of its steps (the sum, as a polynomial in t, has real roots
    only: Vatutin and Mikhailov 1982). So Hoeffding's bound leaves less than 2 exp(-72) of it beyond 6 sqrt(K) from the
    mode, and terms there are left out.
    """
    least, most = max(0, every - others), min(n, every)
    reach = min(most - least, ceil(_DEVIATIONS * sqrt(most - least)) + 2)
    if 2 * reach >= most - least:
        k = np.arange(least, most + 1.0)[None, :]
    else:
        middle = np.clip(_mode(n, others, every, np.exp(log_odds)), least + reach, most - reach)
        k = middle[:, None] + np.arange(-reach, reach + 1.0)
    ways = -sum(log_factorial(part) for part in (k, n - k, every - k, others - every + k))
    terms = ways + k * log_odds[:, None]
    top = terms.max(axis=1)
    logs = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
    return np.asarray(logs + log_factorial(np.array([n])) + log_factorial(np.array([others])))


def _mode(n: int, others: int, every: int, odds: Array) -> Array:
    a = odds - 1
    b = (every + n + 2) * odds + others - every
    c = (every + 1.0) * (n + 1.0) * odds
    return np.floor(2 * c / (b + np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))))
