"""How much more stable's own counts vary than those of independent requests would: the design effect.

Requests come in clumps (one client's retries, one replica's hiccup), and evidence from a clump of three is that of one
request. So the logarithm of every e-value is divided by the design effect, by what was measured *before* the look:

    D = (deviations seen + PRIOR x assumed) / (blocks seen + PRIOR)

A deviation is (k - m w)² over its variance, for a block of looks and the one before it, and for stable's replicas
within a look: 1 on average for independent requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lockgate.rollout.analysis.bets import Array

SCALES = (1, 10)
"""Looks in a block. Clumps that last longer than a look are seen only in longer blocks."""
PRIOR: Array = np.array([5.0, 2.0])
"""Blocks of each scale that the assumption weighs as much as."""
_CLUMP, _WOBBLE = 2.0, 16.0
"""Of the assumption: before anything is measured, clumps are taken for twice as bad again as the profile says, and a
replica's rate for wobbling by a quarter, which matters more the more bad requests a look has."""
_MOST = 4.0
_JUMP, _STEADY = 4.0, 1.5
"""A block counts as at most this many times the mean so far: one incident of both sides is not a clump."""
_LONG_JUMP = 16.0
"""And a long one as at most this: an incident that begins in one and ends in another spoils four, of not many."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """Bad requests of stable, of E kinds (edges of a histogram, or 1), in the blocks of each scale S."""

    looks: Array
    """(R,)"""
    before: Array
    """(R, E, S): bad requests of the last full block."""
    before_of: Array
    """(R, S): of so many."""
    block: Array
    """(R, E, S), and of this one."""
    block_of: Array
    total: Array
    """(R, E, S): the sum of deviations."""
    blocks: Array
    """(R, E, S): how many there were."""
    apart: Array
    """(R,): the same between stable's replicas."""
    apart_looks: Array


def no_scatter(rollouts: int, kinds: int) -> Scatter:
    one, by_scale = np.zeros(rollouts), np.zeros((rollouts, len(SCALES)))
    by_kind = np.zeros((rollouts, kinds, len(SCALES)))
    return Scatter(one, by_kind, by_scale, by_kind, by_scale, by_kind, by_kind, one, one)


def design_effect(scatter: Scatter, least: float, share: Array | float = 0.0, expected: Array | float = 0.0) -> Array:
    """(R, E): at least `least`.

    `share` (R,): how many times a stable replica's requests the candidate answers, as one replica; what a replica's
    hiccup adds grows with the requests that it answers. `expected` (R, E): bad requests of the candidate in this look,
    by the totals of both sides.
    """
    more = np.maximum(np.asarray(share) - 1.0, 0.0)
    looks = (PRIOR * _assumed(scatter, least, expected) + scatter.total) / (PRIOR + scatter.blocks)
    looks += more.reshape(-1, 1, 1) * _surely(scatter.total, scatter.blocks)
    apart = (PRIOR[0] + scatter.apart) / (PRIOR[0] + scatter.apart_looks)
    apart = apart + more * _surely(scatter.apart, scatter.apart_looks)
    return np.maximum(np.maximum(looks.max(axis=-1), apart[:, None]), least)  # type: ignore[no-any-return]


def _assumed(scatter: Scatter, least: float, expected: Array | float) -> Array:
    """(R, E, S): before anything is measured. A profile that starts from 1 assumes nothing."""
    often = np.broadcast_to(np.asarray(expected) / _WOBBLE, scatter.before.shape[:2])
    doubt = np.stack([1 + often, np.minimum(often * SCALES[1], _MOST)], axis=-1)
    return least + (least - 1) * _CLUMP * doubt


def _surely(total: Array, blocks: Array) -> Array:
    """What the mean deviation has above 1, less its standard error."""
    n = np.maximum(blocks, 1.0)
    return np.maximum(total / n * (1 - np.sqrt(2 / n)) - 1, 0.0)  # type: ignore[no-any-return]


def scattered(scatter: Scatter, bad: Array, requests: Array) -> Scatter:
    """After a look at stable: `bad` (R, E) of `requests` (R,)."""
    looks = scatter.looks + 1
    block, block_of = scatter.block + bad[..., None], scatter.block_of + requests[:, None]
    full = np.array([looks[0] % scale == 0 for scale in SCALES])  # rollouts that are judged together look together
    deviation, known = _deviation(scatter.before, scatter.before_of[:, None], block, block_of[:, None])
    known = known & full
    counted = _no_jump(deviation, scatter.total, scatter.blocks)
    return replace(
        scatter,
        looks=looks,
        before=np.where(full, block, scatter.before),
        before_of=np.where(full, block_of, scatter.before_of),
        block=np.where(full, 0.0, block),
        block_of=np.where(full, 0.0, block_of),
        total=scatter.total + np.where(known, np.minimum(counted, [np.inf, _LONG_JUMP]), 0.0),
        blocks=scatter.blocks + known,
    )


def between_replicas(scatter: Scatter, requests: Array, bad: Array) -> Scatter:
    """After a look at stable's replicas, both (R, P). Replicas that answered nothing, or alone, say nothing."""
    if requests.shape[1] < 2:
        return scatter
    rest, rest_of = bad.sum(axis=1, keepdims=True) - bad, requests.sum(axis=1, keepdims=True) - requests
    deviation, known = _deviation(rest, rest_of, bad, requests)
    replicas = known.sum(axis=1)
    mean = np.where(known, deviation, 0.0).sum(axis=1) / np.maximum(replicas, 1)
    return replace(
        scatter,
        apart=scatter.apart + _no_jump(mean, scatter.apart, scatter.apart_looks),
        apart_looks=scatter.apart_looks + (replicas > 0),
    )


def _no_jump(deviation: Array, total: Array, blocks: Array) -> Array:
    return np.minimum(deviation, _JUMP * np.maximum(total / np.maximum(blocks, 1.0), _STEADY))


def _deviation(bad: Array, requests: Array, more: Array, of: Array) -> tuple[Array, Array]:
    """(k - m w)² over its variance when `more` of `of` are drawn from the bad requests of both, and where it is known.

    1 on average for independent requests of one rate.
    """
    every, total = bad + more, requests + of
    safe = np.maximum(total, 2.0)
    share = of / safe
    variance = every * share * (1 - share) * (safe - every) / (safe - 1)
    known = (variance > 0) & (requests > 0) & (of > 0)
    return (more - every * share) ** 2 / np.where(known, variance, 1.0), known
