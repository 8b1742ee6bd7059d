"""Evidence that a mean of losses has grown: an e-detector, which may be looked at as often as anybody likes.

Losses in the order in which they became known; the claim to be refuted is that each is, on average and whatever came
before, at most the baseline. A bet on the contrary that began with the j-th loss has the wealth
prod (1 + lambda (x / baseline - 1)), which nobody expects to grow while the claim holds (Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 2024; for losses that are only bounded below, as
lambda is at most 1). Shiryaev and Roberts' sum over all beginnings j, mixed over several lambda, is the e-detector
of Shin, Ramdas and Rinaldo ("E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2024):
the mean number of losses until it first reaches c is at least c while the claim holds. It is summed over the beginnings
in the window only, which makes it smaller and so keeps that; and it makes the sum a function of the window alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]

_BETS = np.geomspace(0.001, 0.6, 18)
"""Small ones find small changes in many losses, large ones large changes in few."""
_MOST = 20.0
"""Baselines that one loss counts for, at most, where no other limit is given: a single outlier proves nothing. A loss
that counts for less only takes from the evidence, so nothing is claimed wrongly by it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """`log`: the natural logarithm of the detector. `begins`: which loss of the window says most that it began there.

    Where `log` is low, `begins` says nothing.
    """

    log: float
    begins: int


def evidence(losses: Losses, baseline: float, whole: float = 0.0) -> Evidence:
    """`losses`: (n,), none below 0, in the order in which they became known. `baseline`: above 0.

    `whole`: a loss up to this counts as it is, however many baselines that are. Where a good model is hardly ever
    wrong, being wrong is many baselines, and nothing else tells that it became worse.
    """
    if not len(losses):
        return Evidence(-np.inf, 0)
    gains = np.minimum(losses / baseline, max(_MOST, whole / baseline)) - 1
    steps = np.log1p(_BETS[:, None] * gains)  # (bets, n)
    since = np.flip(np.cumsum(np.flip(steps, 1), 1), 1)  # (bets, n): from j to the last one
    by_beginning = _log_mean(since)
    top = float(by_beginning.max())
    log = top + float(np.log(np.exp(by_beginning - top).sum()))
    return Evidence(log, int(by_beginning.argmax()))


def _log_mean(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of the mean over the first axis of what these are logarithms of."""
    top = logs.max(0)
    found: NDArray[np.float64] = top + np.log(np.exp(logs - top).mean(0))
    return found
