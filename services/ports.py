"""What the pipeline needs of a place to run replicas. One adapter per file; compilers are in `compile/ports.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lockgate.services.words import Bento, Replica


class Platform(Protocol):
    """Runs replicas of bentos. What it starts runs on when this process ends, and is found again."""

    def start(self, bento: Bento, count: int) -> Sequence[Replica]:
        """Bring the bento to `count` replicas that answer, adopting those that run already.

        Raises `NotReady` after the service's `ready_within`; the replicas it started are then gone.
        """

    def stop(self, replicas: Sequence[Replica]) -> None:
        """Let them finish what they answer, then end them. Stopping what is gone changes nothing."""

    def replicas(self) -> Sequence[Replica]:
        """Every replica that runs, whoever started it."""
