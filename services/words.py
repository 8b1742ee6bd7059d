"""Artifacts, bentos and replicas as values. No vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ParityEvidence:
    """How far the compiled outputs are from the source model's, over all rows compared."""

    rows: int
    max_abs_error: float
    mean_abs_error: float
    agreement: float
    """Share of rows with the same label; 1.0 for outputs that are no labels or scores."""
    worst_output: str
    """The output head with the largest error."""
    passed: bool
    reason: str = ""
    """Why it did not pass: a sentence with the largest difference."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled model on disk: `path/manifest.json` beside the target's files."""

    path: Path
    target: str
    digest: str
    """sha256 of the artifact's files."""
    parity: ParityEvidence
    manifest: Mapping[str, Any]
    skipped: tuple[tuple[str, str], ...] = ()
    """Targets that were tried before this one, each with the reason why it is not served."""


@dataclass(frozen=True, slots=True)
class Bento:
    """A packaged service; `bentoml serve <tag>` starts it."""

    tag: str
    model: str
    version: str
    digest: str
    """Of the artifact inside."""
    target: str


@dataclass(frozen=True, slots=True)
class Build:
    """A bento, and what was proven of the artifact inside."""

    bento: Bento
    parity: ParityEvidence
    skipped: tuple[tuple[str, str], ...] = ()


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
