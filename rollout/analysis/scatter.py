"""How much more stable's own counts vary than those of independent requests would: the design effect.

Requests come in clumps (one client's retries, one replica's hiccup), and evidence from a clump of three is that of one
request. So the logarithm of every e-value is divided by the design effect, as far as it was measured *before* the look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lockgate.rollout.analysis.bets import Array

SCALES = (1, 10)
"""Looks in a block. Clumps that last longer than a look are seen only in longer blocks."""
PRIOR = 5.0
"""Blocks that the profile's design effect weighs as much as."""
_DOUBT = 2.0
_WOBBLE = 8.0
_FIRST = 1.5
_JUMP = 16.0
"""A block counts as at most this many times the design effect so far: one incident of both sides is not a clump."""


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
    """(R, E, S): squared deviations in units of what independent requests would give, summed over blocks."""
    blocks: Array
    """(R, E, S): how many blocks had bad requests."""
    apart: Array
    """(R,): the same between stable's replicas."""
    apart_looks: Array


def no_scatter(rollouts: int, kinds: int) -> Scatter:
    one, two, three = (rollouts,), (rollouts, len(SCALES)), (rollouts, kinds, len(SCALES))
    zeros = np.zeros
    return Scatter(
        zeros(one),
        zeros(three),
        zeros(two),
        zeros(three),
        zeros(two),
        zeros(three),
        zeros(three),
        zeros(one),
        zeros(one),
    )


def design_effect(scatter: Scatter, least: float, share: Array | float = 0.0, part: Array | float = 0.0) -> Array:
    """(R, E): at least `least`.

    `share`: how many times a stable replica's requests the candidate answers, as one replica: what a replica's hiccup
    adds grows with the requests that it answers. `part`: how many times stable's requests.
    """
    more = np.asarray(np.maximum(share - 1.0, 0.0))
    looks = _looks(scatter, least, np.asarray(part))
    looks = (looks + more.reshape(-1, 1, 1) * _surely(scatter.total, scatter.blocks)).max(axis=-1)
    apart = (PRIOR + scatter.apart) / (PRIOR + scatter.apart_looks)
    apart = apart + more * _surely(scatter.apart, scatter.apart_looks)
    return np.maximum(np.maximum(looks, apart[:, None]), least)  # type: ignore[no-any-return]


def _surely(total: Array, blocks: Array) -> Array:
    """What the mean of `blocks` deviations has above 1, less its standard error."""
    n = np.maximum(blocks, 1.0)
    mean = total / n
    return np.where(blocks > 0, np.maximum(mean - 1 - mean * np.sqrt(2 / n), 0.0), 0.0)


def _looks(scatter: Scatter, least: float, part: Array) -> Array:
    """(R, E, S): by scale."""
    expected = scatter.before[..., 0] * part.reshape(-1, 1)
    first = least + (least - 1) * _DOUBT * (1 + expected / _WOBBLE)
    unmeasured = np.stack([first, *(np.full_like(first, least) for _ in SCALES[1:])], axis=-1)
    return (PRIOR * unmeasured + scatter.total) / (PRIOR + scatter.blocks)  # type: ignore[no-any-return]


def scattered(scatter: Scatter, bad: Array, requests: Array, least: float) -> Scatter:
    """After a look at stable: `bad` (R, E) of `requests` (R,)."""
    looks = scatter.looks + 1
    block, block_of = scatter.block + bad[..., None], scatter.block_of + requests[:, None]
    full = np.array([looks[0] % scale == 0 for scale in SCALES])  # rollouts that are judged together look together
    deviation, known = _deviation(scatter.before, scatter.before_of[:, None], block, block_of[:, None])
    known &= full
    most = _JUMP * np.maximum(scatter.total / np.maximum(scatter.blocks, 1.0), _FIRST)
    return replace(
        scatter,
        looks=looks,
        before=np.where(full, block, scatter.before),
        before_of=np.where(full, block_of, scatter.before_of),
        block=np.where(full, 0.0, block),
        block_of=np.where(full, 0.0, block_of),
        total=scatter.total + np.where(known, np.minimum(deviation, most), 0.0),
        blocks=scatter.blocks + known,
    )


def between_replicas(scatter: Scatter, requests: Array, bad: Array, least: float) -> Scatter:
    """After a look at stable's replicas, both (R, P). Replicas that answered nothing, or alone, say nothing."""
    if requests.shape[1] < 2:
        return scatter
    rest, rest_of = bad.sum(axis=1, keepdims=True) - bad, requests.sum(axis=1, keepdims=True) - requests
    deviation, known = _deviation(rest, rest_of, bad, requests)
    replicas = known.sum(axis=1)
    mean = np.where(known, deviation, 0.0).sum(axis=1) / np.maximum(replicas, 1)
    return replace(
        scatter,
        apart=scatter.apart + np.minimum(mean, _JUMP * np.maximum(scatter.apart / np.maximum(scatter.apart_looks, 1.0), _FIRST)),
        apart_looks=scatter.apart_looks + (replicas > 0),
    )


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
