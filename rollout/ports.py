"""What the rollout needs from the data plane. One adapter per file; all of them pass the same contract tests."""

from __future__ import annotations

from typing import Protocol

from lockgate.rollout.words import Counts, Routes


class Router(Protocol):
    """Splits live traffic between two sides."""

    def apply(self, routes: Routes) -> None:
        """Make the data plane serve `routes`; return when it does.

        Applying what is served already changes nothing. Raises `RouterRefused` when the data plane keeps what it
        served before, and `RouterDown` when it does not answer.
        """

    def applied(self) -> Routes:
        """What the data plane really serves now. Raises `RouterDown` when it does not answer."""


class MetricSource(Protocol):
    """Counts what each side answered."""

    def measure(self) -> Counts:
        """Cumulative counts, read at one moment. Raises `SourceDown` when there are none to be had."""
