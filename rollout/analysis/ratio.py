"""Whether users come to both sides as the routes say: without that, a comparison of the two proves nothing.

Sample-ratio mismatch. Of the users who arrive with the chance w, each is the candidate's with just that chance, whoever
came before. Bets on "the odds are t times those" for 48 t, the same t for whatever w, multiply the capital by

    t^candidate / (w t + 1 - w)^all

which is fair while the split is right, at any look. An error of the assignment tilts the odds of all users alike,
so what was seen at one share counts at the next one too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.seen import BatchArrivals

_UP: Array = 0.01 * 1.3 ** np.arange(24.0)
TILTS: Array = np.concatenate([-_UP[::-1], _UP])
"""Logarithms of how many times the right odds: from 1 % to 60 times, both ways."""
ALARM = 1000.0
"""The evidence from which on the split is wrong: by chance in one of so many tests."""
MOST_CROSSED, LEAST_CROSSED = 0.01, 20
"""Users who are seen on both sides, where the split is fixed: a share of all, and a number."""
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of this step; (R,) but for `log`."""

    log: Array
    """(R, T): the logarithm of the capital, by tilt."""
    candidate: Array
    stable: Array
    expected: Array
    """How many should have been the candidate's."""
    crossed: Array


def begin(rollouts: int) -> Ratio:
    zero = np.zeros(rollouts)
    return Ratio(np.zeros((rollouts, len(TILTS))), zero, zero, zero, zero)


def look(state: Ratio, arrivals: tuple[BatchArrivals, ...]) -> Ratio:
    for came in arrivals:
        share = np.clip(np.broadcast_to(np.asarray(came.share, dtype=np.float64), state.stable.shape), 0.0, 1.0)
        every = came.candidate + came.stable
        # A user where none should be is evidence, but one alone could be a moment between two routes.
        w = np.clip(share, _TINY, 1 - _TINY)[:, None]
        gain = came.candidate[:, None] * TILTS - every[:, None] * np.log(w * np.exp(TILTS) + 1 - w)
        state = replace(
            state,
            log=state.log + gain,
            candidate=state.candidate + came.candidate,
            stable=state.stable + came.stable,
            expected=state.expected + every * share,
            crossed=state.crossed + came.crossed,
        )
    return state


def log_evidence(state: Ratio) -> Array:
    """(R,): the log e-value against "users come as the routes say"."""
    most = state.log.max(axis=1)
    return np.asarray(most + np.log(np.exp(state.log - most[:, None]).mean(axis=1)))


def mismatched(state: Ratio) -> Array:
    """(R,): 1 where both sides' users are not as many as they should be."""
    return np.asarray(log_evidence(state) >= log(ALARM), dtype=np.float64)


def crossing(state: Ratio) -> Array:
    """(R,): 1 where too many users are seen on both sides; where the split moves, some have to be."""
    every = state.candidate + state.stable
    many = (state.crossed >= LEAST_CROSSED) & (state.crossed > MOST_CROSSED * every)
    return np.asarray(many, dtype=np.float64)
