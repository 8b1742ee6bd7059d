"""How many times as often at least: the lower end of an always-valid interval of the ratio of failures."""

from __future__ import annotations

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.kinds import Terms

GRID: Array = 1.25 ** np.arange(30.0)
"""Ratios of the candidate's odds of a failed request to stable's."""
_ALTERNATIVES = np.array([1, 3, 5, 7, 10, 13])
"""Places further in the grid."""


def likelihood(bad: tuple[Array, Array], requests: tuple[Array, Array]) -> Array:
    """(R, O): the log likelihood of one look by ratio; see `bets.conditional` for its arguments."""
    (mine, theirs), (n, others) = bad, requests
    share = (n / np.maximum(n + others, 1.0))[:, None]
    return mine[:, None] * np.log(GRID) - (mine + theirs)[:, None] * np.log(share * GRID + 1 - share)


def at_least(logs: Array, terms: Terms, stable: float) -> float | None:
    """The largest ratio that this step's `logs` (O,) rule out, as a ratio of shares; None below 1.

    The gate's part of alpha is shared by the steps. `stable`: its share of failed requests.
    """
    if not logs.size:
        return None
    places = np.arange(len(GRID) - _ALTERNATIVES[-1])
    gains = logs[places[:, None] + _ALTERNATIVES] - logs[places][:, None]
    most = gains.max(axis=1)
    log_e = most + np.log(np.exp(gains - most[:, None]).mean(axis=1))
    kept = np.flatnonzero(log_e < np.log(terms.fails_from * terms.steps))
    ruled_out = int(kept[0]) if kept.size else len(places)
    if not ruled_out:
        return None
    ratio = float(GRID[ruled_out - 1])
    return ratio / (1 - stable + stable * ratio)
