"""A fetched model version becomes an artifact: the fastest of the spec's candidates that keeps parity."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lockgate.registry.spec import Trust
from lockgate.registry.words import FetchedModel
from lockgate.services.compile.errors import Lost, Unservable
from lockgate.services.compile.search import search
from lockgate.services.compile.words import Artifact, Options, Row, Search
from lockgate.services.errors import NoTarget, ParityFailed
from lockgate.services.opened import about, opened
from lockgate.services.spec import ServiceSpec

Say = Callable[[str], None]


def compile_model(fetched: FetchedModel, trust: Trust, spec: ServiceSpec, cache: Path, say: Say) -> Search:
    """The search's result; its `chosen` is what to serve. `say` gets a line for each stage.

    Raises `ParityFailed` when no candidate is left and one of them differed, naming the largest difference, or when
    the source itself cannot be served in batches; else `NoTarget`. And what loading the model raises.
    """
    found = look(fetched, trust, spec.options(flavour=fetched.flavour), cache, say)
    require(found, fetched)
    return found


def require(found: Search, fetched: FetchedModel) -> Artifact:
    """What was chosen. Raises as `compile_model` does when nothing was."""
    if found.chosen is None:
        raise _nothing_left(str(fetched.version), found.rows)
    return found.chosen


def look(fetched: FetchedModel, trust: Trust, options: Options, cache: Path, say: Say) -> Search:
    """As `compile_model`, but a search that chose nothing is returned with its table."""
    try:
        return search(about(fetched), partial(opened, fetched, trust), options, _shelf(cache, trust), say)
    except Unservable as refused:
        raise ParityFailed(f"{refused}.") from refused
    except Lost as lost:
        raise NoTarget(f"{fetched.version} could not be asked for its own answers: {lost}.") from lost


def _shelf(cache: Path, trust: Trust) -> Path:
    """What was made by trusting a model's author is found again only by those who trust as much."""
    if trust == Trust():
        return cache
    return cache / f"trusting-{hashlib.sha256(trust.model_dump_json().encode()).hexdigest()[:12]}"


def _nothing_left(version: str, rows: tuple[Row, ...]) -> NoTarget | ParityFailed:
    differed = [row for row in rows if row.outcome == "refused" and row.parity]
    if not differed:
        reasons = "; ".join(f"{row.candidate}: {row.reason}" for row in rows)
        return NoTarget(f"no candidate of service.compile can be served for {version}. {reasons}.")
    worst = max(differed, key=lambda row: row.parity.max_abs_error if row.parity else 0.0)
    others = "; ".join(f"{row.candidate}: {row.reason}" for row in rows if row is not worst)
    return ParityFailed(
        f"{version} compiled to {worst.candidate} does not answer as its source does: {worst.reason}."
        + (f" The others: {others}." if others else "")
    )
