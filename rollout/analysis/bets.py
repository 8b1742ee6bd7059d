"""The arithmetic of always-valid evidence, for many rollouts at once: the first axis of every array is the rollout.

An e-process is a bettor's capital: it bets on alternatives to a claim, and its expected capital never grows while the
claim is true. So it reaches `x` with a chance of at most `1/x`, however often it is looked at (Ville's inequality).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RATIOS: Array = 1.25 * 1.6 ** np.arange(10.0)
"""Alternatives of `conditional`: how many times as often as tolerated the candidate's requests are bad."""
WORSE: Array = np.array([1.5, 2.0, 3.0, 5.0, 10.0, 20.0])
BETTER: Array = np.array([0.1, 0.2, 0.35, 0.5, 0.65, 0.8])
"""Alternatives of `one_sample`: parts of the limit."""
NOTHING = -1e300
"""The logarithm of no capital; a number, so that JSON can keep it."""
_TINY = 1e-300
_MOST = 1e12
"""What an e-value is shown as at most."""


@dataclass(frozen=True, slots=True)
class Bets:
    """Capital by alternative."""

    log: Array
    """(R, ..., J): its logarithm."""
    left: Array
    """(R,): the part of the first capital that no bet was started with yet."""


def no_bets(*shape: int) -> Bets:
    """`shape` is (R, ..., J)."""
    return Bets(np.full(shape, NOTHING), np.ones(shape[0]))


def started(bets: Bets, mass: Array | float) -> Bets:
    """Bets that begin now, beside those under way, with `mass` (R,) of the first capital."""
    mass = np.minimum(mass, bets.left)
    log = _beside(np.log(np.maximum(mass, _TINY)), bets.log.ndim)
    grown = np.where(_beside(mass, bets.log.ndim) > 0, np.logaddexp(bets.log, log), bets.log)
    return replace(bets, log=grown, left=bets.left - mass)


def settled(bets: Bets, log_ratios: Array) -> Bets:
    """After a look; `log_ratios` (R, ..., J) are the logarithms of what each alternative's capital is multiplied by."""
    return replace(bets, log=bets.log + log_ratios)


def log_capital(bets: Bets) -> Array:
    """(R, ...): the logarithm of the e-value, averaged over the alternatives."""
    most = bets.log.max(axis=-1)
    mean = most + np.log(np.exp(bets.log - most[..., None]).mean(axis=-1))
    return np.asarray(np.logaddexp(mean, np.log(np.maximum(_beside(bets.left, mean.ndim), _TINY))))


def shown(log_e: Array) -> Array:
    return np.asarray(np.exp(np.minimum(log_e, np.log(_MOST))))


def conditional(bad: tuple[Array, Array], requests: tuple[Array, Array], ratio: float, ratios: Array) -> Array:
    """Log e-values (..., J) of one look against "the candidate's odds of a bad request are at most `ratio` x stable's".

    Both pairs are (the candidate's, stable's). Of all bad requests of the look, how many are the candidate's? Whatever
    the common rate, their number is hypergeometric, and drawing with replacement bounds its generating function
    (Hoeffding 1963), in either of two ways; both depend on the totals only, so the smaller bound may be taken.
    """
    (mine, theirs), (n, others) = bad, requests
    every, total = mine + theirs, np.maximum(n + others, 1.0)
    share = (n / total)[..., None]
    bound = every[..., None] * np.log((share * ratio * ratios + 1 - share) / (share * ratio + 1 - share))
    if ratio == 1.0:
        bound = np.minimum(bound, n[..., None] * np.log1p((every / total)[..., None] * (ratios - 1)))
    return mine[..., None] * np.log(ratios) - bound


def one_sample(bad: Array, requests: Array, limit: Array, parts: Array) -> Array:
    """(..., J): log e-values against "the share of bad requests is on the other side of `limit`"."""
    p0 = np.clip(limit, 1e-9, 1 - 1e-9)[..., None]
    q = np.minimum(p0 * parts, (1 + p0) / 2)
    good = (requests - bad)[..., None]
    return bad[..., None] * np.log(q / p0) + good * np.log((1 - q) / (1 - p0))


def interval(bad: Array, requests: Array, z: float) -> tuple[Array, Array]:
    """Wilson's score interval of a share; (0, 1) without data. `z`: 2.576 for 99 %, 1.96 for 95 %."""
    some = requests > 0
    n = np.where(some, requests, 1.0)
    share, z2 = bad / n, z * z
    centre, width = share + z2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = np.where(some, np.maximum((centre - width) / (1 + z2 / n), 0.0), 0.0)
    return low, np.where(some, np.minimum((centre + width) / (1 + z2 / n), 1.0), 1.0)


def _beside(value: Any, dimensions: int) -> Array:
    """(R,) or a number, with as many axes of length 1 behind it as broadcast against `dimensions` axes."""
    array = np.asarray(value, dtype=np.float64)
    return array.reshape(array.shape + (1,) * (dimensions - array.ndim)) if array.ndim else array
