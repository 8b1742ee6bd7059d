"""Bentos and replicas as values. No vendor."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.services.compile.words import ParityEvidence, Row


@dataclass(frozen=True, slots=True)
class Bento:
    """A packaged service; `bentoml serve <tag>` starts it."""

    tag: str
    model: str
    version: str
    digest: str
    """Of the artifact inside."""
    target: str
    precision: str = "fp32"
    seal: str = ""
    """sha256 of the bento's own files, its code and arguments; empty where nobody remembers it."""


@dataclass(frozen=True, slots=True)
class Build:
    """A bento, what was proven of the artifact inside, and what became of the other candidates."""

    bento: Bento
    parity: ParityEvidence
    rows: tuple[Row, ...] = ()
    """The search's table, in the spec's order."""


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
