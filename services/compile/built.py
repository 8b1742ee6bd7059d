"""What the cache has, or a process builds: the source's answers, and artifacts. Builders of the same one wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from . import cache as shelf
from . import making
from .apart import call
from .errors import Lost
from .words import About, Model, Options


def answers(about: About, open_model: Callable[[], Model], options: Options, cache: Path) -> Path:
    """The folder with the source's own answers, which every artifact is held against."""
    name = f"source-{shelf.reference_key(about, options)}"
    place = cache / name
    with shelf.workshop(cache, name) as workshop:
        if shelf.load(place) is None:
            built, began = workshop / "built", time.monotonic()
            work = partial(making.answers, open_model, options.tolerance, options.max_batch, built / shelf.ARTIFACT)
            call(work, workshop, options.limits, making.QUIET)
            shelf.store(built, place, time.monotonic() - began)
    return place / shelf.ARTIFACT


def artifact(about: About, work: making.Work, cache: Path) -> tuple[Mapping[str, Any], bool]:
    """What is known of it (see `cache.load`), and whether it was there. Raises `Lost`, and what compiling raises."""
    name = shelf.key(about, work.candidate, work.options)
    with shelf.workshop(cache, name) as workshop:
        cached = shelf.load(cache / name)
        if cached is None:
            began = time.monotonic()
            there = partial(making.artifact, work, workshop / "built")
            call(there, workshop, work.options.limits, {**making.QUIET, **work.compiler.environment(about)})
            shelf.store(workshop / "built", cache / name, time.monotonic() - began)
        made = cached or shelf.load(cache / name)
    if made is None:
        raise Lost(f"its files changed in {cache} while it was built")
    return made, cached is not None
