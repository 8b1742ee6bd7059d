"""What a search needs of a target, and a replica of an engine. One target, one engine per file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from .words import About, Arrays, Device, Job, Model, Precision


class Engine(Protocol):
    """A loaded artifact. Inputs and outputs are named arrays whose first dimension is the row."""

    def run(self, x: Arrays) -> Arrays: ...


class Compiler(ABC):
    """Makes one kind of artifact. Importing its module loads no vendor."""

    target: ClassVar[str]
    heavy: ClassVar[bool] = False
    """It takes minutes: tried after the others, and only while it can still win."""
    legacy: ClassVar[bool] = False
    """Its own authors advise against it: the table says so."""
    alike: ClassVar[str | None] = None
    """A target whose kernels are the same but that starts faster: when that one was measured, this one is not tried."""

    @abstractmethod
    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        """None, or one line: why this machine cannot compile this model to this target. Loads no vendor."""

    def environment(self, about: About) -> Mapping[str, str]:  # noqa: ARG002 - most need none
        """Variables of the process that compiles, before anything is imported there."""
        return {}

    @abstractmethod
    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        """Write the artifact's files under `into`; return what its engine needs to know (JSON values).

        The mapping holds at least `engine` (which engine loads it), `file` (relative to `into`), `feeds`, `outputs`,
        `packages` (what loading needs, pinned) and `portable`: another machine of the same system may load the files,
        because machine code is made from them there; it must then be proven there. Raises `Unsupported` for what only
        the loaded model shows.
        """
