"""The effect on what happens or does not, like a conversion: the likelihood of every odds ratio, block by block.

Of the users of a block, n the candidate's and N stable's, m did it, k of them the candidate's. Given n, N and m, k is
Fisher's noncentral hypergeometric at the odds ratio t, whatever the common rate was (Fisher 1935):

    P(k; t) = C(n, k) C(N, m - k) t^k / sum_j C(n, j) C(N, m - j) t^j

So a rate that rises and falls for both sides, and a split that changes, even by what was seen in earlier looks, cancel
out. The capital of a bet on t against t0 is the product of P(k; t) / P(k; t0) over the blocks: its expectation at t0 is
1 exactly. One mixture over all t bets against each t0 (Robbins 1970); where its capital reaches 1 / alpha, t0 is out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import numpy as np

from lockgate.rollout.analysis.bets import Array, interval
from lockgate.rollout.analysis.effects import (
    STABLE,
    Interval,
    Sums,
    added,
    anywhere,
    both,
    means,
    no_sums,
    ratio_of,
    shares_of,
)
from lockgate.rollout.analysis.hypergeometric import log_normaliser
from lockgate.rollout.analysis.kinds import LEAST_TO_PASS, Z99
from lockgate.rollout.analysis.seen import BatchGroup

_FINE, _FINE_STEP, _COARSER, _MOST = 0.05, 0.001, 1.04, 4.0


def _grid() -> Array:
    """Logarithms of odds ratios, the same on both sides of 0: in steps of 0.001 to 5 %, then of 4 % of themselves."""
    fine = np.arange(1, round(_FINE / _FINE_STEP) + 1) * _FINE_STEP
    coarse = _FINE * _COARSER ** np.arange(1, ceil(np.log(_MOST / _FINE) / np.log(_COARSER)) + 1)
    up = np.concatenate([fine, coarse])
    return np.concatenate([-up[::-1], [0.0], up])


GRID: Array = _grid()
_TYPICAL = 0.1
"""The logarithm of an odds ratio that half of the capital is bet beyond, and half within."""


def _bets() -> Array:
    """Logarithms of what is bet on each odds ratio: a Cauchy density, so that no effect is out of the question."""
    mass = np.gradient(GRID) / (1 + (GRID / _TYPICAL) ** 2)
    return np.asarray(np.log(mass / mass.sum()))


_BETS: Array = _bets()
BLOCK = 50
"""Users that are judged together: of N users, one part in N of what they say goes to learning their common rate."""
_WAITING = 4
"""Blocks under way, of different shares."""


@dataclass(frozen=True, slots=True)
class Odds:
    sums: Sums
    log: Array
    """(R, G): the log likelihood of every odds ratio, less that of 1."""
    waiting: Array
    """(R, W, 5) of blocks under way: share, the candidate's users, stable's, and those of both who did it."""


class BinaryEstimator:
    least = LEAST_TO_PASS

    def begin(self, rollouts: int) -> Odds:
        return Odds(no_sums(rollouts), np.zeros((rollouts, len(GRID))), np.zeros((rollouts, _WAITING, 5)))

    def look(self, state: Odds, groups: tuple[BatchGroup, ...]) -> Odds:
        for group in groups:
            share, counts = shares_of(group)
            units = both(group.candidate.units, group.stable.units, counts)
            did = np.clip(both(group.candidate.total, group.stable.total, counts), 0.0, units)
            state = replace(state, sums=added(state.sums, units, did, share))
            state = _joined(state, share, np.hstack([units, did]))
        return state

    def sums(self, state: Odds) -> Sums:
        return state.sums

    def interval(self, state: Odds, alpha: float) -> Interval:
        """Rounded outwards to the grid: the likelihood is log-concave, so what is beyond a point that is out is out."""
        kept = _log_e(state) < -np.log(alpha)
        kept[np.arange(len(kept)), state.log.argmax(axis=1)] = True
        low = kept.argmax(axis=1) - 1
        high = len(GRID) - kept[:, ::-1].argmax(axis=1)
        ends = [np.exp(np.concatenate([[-np.inf], GRID, [np.inf]])[end + 1]) for end in (low, high)]
        least, most = (
            pick([_effect(end, share) for share in _stable(state)], axis=0)
            for pick, end in zip((np.min, np.max), ends, strict=True)
        )
        return anywhere(Interval(ratio_of(state.sums), least, most), _known(state))

    def chance(self, state: Odds) -> Array:
        """The posterior of what was bet beforehand."""
        logs = state.log + _BETS
        mass = np.exp(logs - logs.max(axis=1, keepdims=True))
        above = mass[:, GRID > 0].sum(axis=1) + mass[:, GRID == 0].sum(axis=1) / 2
        return np.asarray(above / mass.sum(axis=1))

    def evidence(self, state: Odds, effect: float) -> tuple[Array, Array]:
        log_e, rows, best = _log_e(state), np.arange(len(state.log)), state.log.argmax(axis=1)
        above, below = [], []
        for share in _stable(state):
            at = _log_odds(effect, share)
            next_, last = np.searchsorted(GRID, at, side="left"), np.searchsorted(GRID, at, side="right") - 1
            above.append(np.where(next_ < best, log_e[rows, np.minimum(next_, len(GRID) - 1)], 0.0))
            below.append(np.where(last > best, log_e[rows, np.maximum(last, 0)], 0.0))
        known = _known(state)
        return tuple(np.where(known, np.maximum(np.min(side, axis=0), 0.0), 0.0) for side in (above, below))  # type: ignore[return-value]


def _known(state: Odds) -> Array:
    return np.asarray(state.sums.units.min(axis=1) >= LEAST_TO_PASS)


def _joined(state: Odds, share: Array, came: Array) -> Odds:
    """Users `came` (R, 4) of one share wait until they are a block; which block they join depends on counts alone."""
    rows, waiting = np.arange(len(share)), state.waiting
    some = came[:, :2].sum(axis=1) > 0
    sizes = waiting[..., 1:3].sum(axis=-1)
    same = (waiting[..., 0] == share[:, None]) & (sizes > 0)
    slot = np.where(same.any(axis=1), same.argmax(axis=1), sizes.argmin(axis=1))
    held, met = waiting[rows, slot], same.any(axis=1)
    log = state.log + _likelihood(held[:, 1:], some & ~met)
    block = came + np.where(met[:, None], held[:, 1:], 0.0)
    full = some & (block[:, :2].sum(axis=1) >= BLOCK)
    log += _likelihood(block, full)
    kept = np.where(full[:, None], 0.0, np.hstack([share[:, None], block]))
    after = waiting.copy()
    after[rows, slot] = np.where(some[:, None], kept, held)
    return replace(state, log=log, waiting=after)


def _likelihood(blocks: Array, which: Array) -> Array:
    """(R, G): what the `blocks` (R, 4) say of every odds ratio, where `which` (R,); 0 elsewhere."""
    found = np.zeros((len(blocks), len(GRID)))
    n, others, did, theirs = blocks.astype(np.int64).T
    every = did + theirs
    rows = np.flatnonzero(which & (n > 0) & (others > 0) & (every > 0) & (every < n + others))
    if rows.size:
        tables, index = np.unique(np.stack([n, others, every], axis=1)[rows], axis=0, return_inverse=True)
        normalisers = np.array([_normaliser(*table) for table in tables.tolist()])
        found[rows] = did[rows, None] * GRID - normalisers[index.ravel()]
    return found


@lru_cache(maxsize=4096)
def _normaliser(n: int, others: int, every: int) -> Array:
    logs = log_normaliser(n, others, every, GRID)
    return np.asarray(logs - logs[len(GRID) // 2])


def _log_e(state: Odds) -> Array:
    """(R, G): the log e-value of the mixture against every odds ratio."""
    mixed = state.log + _BETS
    most = mixed.max(axis=1, keepdims=True)
    return np.asarray(most + np.log(np.exp(mixed - most).sum(axis=1, keepdims=True)) - state.log)


def _stable(state: Odds) -> tuple[Array, Array]:
    """Where stable's share is: an effect follows from odds by it, and depends on it little."""
    units = state.sums.units[:, STABLE]
    low, high = interval(means(state.sums)[:, STABLE] * units, units, Z99)
    return low, np.minimum(high, 1 - 1e-9)


def _effect(odds: Array, share: Array) -> Array:
    """The candidate's share over stable's, less 1."""
    finite, some = np.where(np.isinf(odds), 1.0, odds), share > 0
    most = np.where(some, 1 / np.where(some, share, 1.0), np.inf)
    return np.where(np.isinf(odds), most, finite / (1 - share + finite * share)) - 1


def _log_odds(effect: float, share: Array) -> Array:
    """Of an effect; infinite where the candidate's share would be 1 or more."""
    mine = np.clip((1 + effect) * share, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(max(1 + effect, 0.0)) + np.log(1 - share) - np.log(1 - mine)
    return np.where(np.isnan(logs) | (mine >= 1), np.inf, logs)
