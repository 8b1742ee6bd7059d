"""The rivals beside one another on the same traffic, with the settings that they are given here."""

from __future__ import annotations

import numpy as np

from benchmarks.detection.rivals import Argo, Flagger, Kayenta, error_rates, quantiles
from benchmarks.detection.traffic import P99, Arm, Bools, Floats, Ints, Split

FLAGGER, ARGO = Flagger(), Argo()
KAYENTA, KAYENTA_ONCE = Kayenta(every=5), Kayenta(every=30)
MINUTE, MINUTES = 60.0, 30
MOST_ERRORS = {0.001: 0.01, 0.01: 0.015}
"""By stable's own rate: Flagger's documented limit, and half-way to the fault, which somebody had to know."""
MOST_MS = 1.25 * P99
"""Somebody had to know stable's p99 for this one."""
RULES = {
    "Flagger": f"a check a minute, failed above the limit; rolled back at {FLAGGER.threshold} failed checks",
    "Argo": f"a {ARGO.interval}-minute window every {ARGO.interval} minutes; more than {ARGO.failure_limit} failed",
    "Kayenta 5m": f"Mann-Whitney on minutes, {KAYENTA.confidence:.0%} interval, tolerance {KAYENTA.tolerance:g},"
    f" below {KAYENTA.marginal:g} points; every {KAYENTA.every} minutes",
    "Kayenta 30m": f"the same, once after {KAYENTA_ONCE.every} minutes",
}
LIMITS = (
    f"Flagger's and Argo's limits: {MOST_ERRORS[0.001]:.0%} errors where stable has 0.1 % (Flagger's documents),"
    f" {MOST_ERRORS[0.01]:.1%} where it has 1 %, and a p99 of {MOST_MS:g} ms where stable's is {P99:g} ms."
)


class Windows:
    """Sums looks to windows of `seconds`; looks never cross their ends."""

    def __init__(self, seconds: float, *, latency: bool) -> None:
        self._seconds, self._latency = seconds, latency
        self._sums: tuple[Arm, Arm] | None = None
        self._lasted = 0.0
        self.errors: tuple[list[Floats], list[Floats]] = ([], [])
        """Of the candidate and of stable, by window: shares of failed requests; and the same of p99 below."""
        self.p99: tuple[list[Floats], list[Floats]] = ([], [])

    def add(self, split: Split, seconds: float) -> None:
        new = (split.candidate, split.stable)
        self._sums = (self._sums[0].plus(new[0]), self._sums[1].plus(new[1])) if self._sums else new
        self._lasted += seconds
        if self._lasted < self._seconds - 1e-6:
            return
        for side, arm in enumerate(self._sums):
            self.errors[side].append(error_rates(arm.requests, arm.errors))
            if self._latency:
                self.p99[side].append(quantiles(arm.counts, 0.99))
        self._sums, self._lasted = None, 0.0


class Field:
    """Collects what the rivals see of a rollout of half an hour."""

    def __init__(self, *, latency: bool) -> None:
        self._minutes = Windows(MINUTE, latency=latency)
        self._windows = Windows(MINUTE * ARGO.interval, latency=latency)
        self._latency = latency
        self._requests: list[Ints] = []
        self._before = 0.0

    def add(self, split: Split, seconds: float) -> None:
        self._minutes.add(split, seconds)
        self._windows.add(split, seconds)
        before = self._requests[-1] if self._requests else np.zeros_like(split.candidate.requests)
        if self._before % MINUTE == 0:
            self._requests.append(before.copy())
        self._requests[-1] = self._requests[-1] + split.candidate.requests
        self._before += seconds

    def errors(self, most: float) -> dict[str, Floats]:
        """Candidate requests at the rollback of each rule, (rollouts,); infinite where there was none."""
        return self._rolled(self._minutes.errors, self._windows.errors, most)

    def latency(self, most_ms: float) -> dict[str, Floats]:
        return self._rolled(self._minutes.p99, self._windows.p99, most_ms)

    def _rolled(
        self, minutes: tuple[list[Floats], list[Floats]], windows: tuple[list[Floats], list[Floats]], most: float
    ) -> dict[str, Floats]:
        mine, theirs = (np.stack(side, axis=1) for side in minutes)
        found = (
            FLAGGER.minutes(_misses(mine, most)),
            ARGO.minutes(_misses(np.stack(windows[0], axis=1), most)),
            KAYENTA.minutes((mine, theirs)),
            KAYENTA_ONCE.minutes((mine, theirs)),
        )
        return {rule: self._at(minute) for rule, minute in zip(RULES, found, strict=True)}

    def _at(self, minute: Ints) -> Floats:
        requests = np.stack(self._requests, axis=1)
        at = np.take_along_axis(requests, np.maximum(minute - 1, 0)[:, None], axis=1)[:, 0]
        return np.where(minute > 0, at, np.inf)


def _misses(values: Floats, most: float) -> Bools:
    """Above the limit; no value is a failed check too."""
    return ~(values <= most)
