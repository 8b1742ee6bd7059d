"""Bentos and replicas as values. No vendor."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.services.compile.words import ParityEvidence, Row

EXTERNAL = "external"
"""The target of what somebody else serves."""


@dataclass(frozen=True, slots=True)
class Bento:
    """A packaged service; `bentoml serve <tag>` starts it. Or, of target `external`, one that somebody else serves."""

    tag: str
    model: str
    version: str
    digest: str
    """Of the artifact inside; of what somebody else serves, of where that is."""
    target: str
    precision: str = "fp32"
    seal: str = ""
    """sha256 of the bento's own files, its code and arguments; empty where nobody remembers it."""

    @property
    def form(self) -> str:
        """What it was compiled to, in words."""
        return f"{self.target} {self.precision}" if self.precision else self.target


@dataclass(frozen=True, slots=True)
class Build:
    """A bento, what was proven of the artifact inside, and what became of the other candidates."""

    bento: Bento
    parity: ParityEvidence | None
    """None where somebody else serves it: nothing is proven of that."""
    rows: tuple[Row, ...] = ()
    """The search's table, in the spec's order."""
    places: tuple[str, ...] = ()
    """HOST:PORT, where somebody else serves it."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One served bento with an address."""

    id: str
    bento: str
    """Full tag."""
    host: str
    port: int
    pid: int
    ready: bool = True
    """It has answered since it was started; before that it must get no traffic."""

    @property
    def runs(self) -> bool:
        """As far as one can tell: of what somebody else runs, only what is ready is known to be there."""
        return self.ready or not self.bento.startswith(f"{EXTERNAL}/")
