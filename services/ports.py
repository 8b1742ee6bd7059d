"""What the pipeline needs of a place to run replicas. One adapter per file; compilers are in `compile/ports.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from lockgate.services.words import Bento, Replica


class Platform(Protocol):
    """Runs replicas of bentos. What it starts runs on when this process ends, and is found again."""

    def start(self, bento: Bento, count: int) -> Sequence[Replica]:
        """Bring the bento to `count` replicas that answer, adopting those that run already.

        Raises `NotReady` after the service's `ready_within`; the replicas it started are then gone.
        """

    def stop(self, replicas: Sequence[Replica]) -> None:
        """Let them finish what they answer, then end them. Stopping what is gone changes nothing.

        What somebody else runs goes as a whole: any of its replicas stands for its version.
        """

    def replicas(self) -> Sequence[Replica]:
        """Every replica that runs, whoever started it; of what somebody else runs, also those that are down."""

    def watch(self, stable: Collection[str]) -> Mapping[str, str]:
        """End replicas that take more of the machine than they might when they were started; why, by their bento's tag.

        To be repeated every second or so. `stable`: bentos that clients depend on, which the machine shall spare. Of
        those one at a time leaves, while others answer; it is no longer listed, and finishes what it answers.
        """
