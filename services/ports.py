"""What the pipeline needs of a compiler and of a place to run replicas. One adapter per file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lockgate.registry.words import Arrays, SourceModel
from lockgate.services.words import Bento, Replica


class Engine(Protocol):
    """A loaded artifact. Inputs and outputs are named arrays whose first dimension is the row."""

    def run(self, x: Arrays) -> Arrays: ...


class Compiler(Protocol):
    """Makes one kind of artifact."""

    target: str

    def supports(self, model: SourceModel) -> str | None:
        """None, or one line: why this machine cannot compile this model to this target."""

    def compile(self, model: SourceModel, into: Path) -> Mapping[str, Any]:
        """Write the artifact's files under `into`; return what its engine needs to know (JSON values).

        The mapping holds at least `engine` (which engine loads it) and `file` (relative to `into`).
        """


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
