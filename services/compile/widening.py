"""Threads of an engine's call: twice as many, again and again, while that pays."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from . import cache as shelf
from . import making
from .errors import Lost
from .prober import Prober
from .race import Race, Rounds
from .words import Candidate, Options, Row

PAYS = 1.3
"""Times as fast with twice the threads. What brings less is better spent on another replica."""
QUICK = 0.0005
"""Seconds. A faster call is left alone: it runs on the event loop, and waking a thread costs a good part of it."""

_DIGITS = 16
"""Of the base's digest, in the name of a copy with more threads."""

Start = Callable[[int], AbstractContextManager[Prober]]
"""A fresh process that holds the artifact, with so many threads; raises `Lost`."""


def worth(row: Row, options: Options) -> bool:
    """Whether there are more threads to be had, and calls that are long enough to share among them."""
    longest = max((t.p50 for t in row.timings if t.batch in options.objective.batch_sizes), default=0.0)
    return options.most_threads > options.threads and longest >= QUICK


def widen(row: Row, first: Prober, start: Start, options: Options) -> tuple[Row, float]:
    """The row with as many threads as paid, and how many times as fast it is. `first` has the threads of the search.

    What was measured and proven there is in the row, and a word about each number that was tried in its reason.
    """
    found, said, gain, before = row, [row.reason] if row.reason else [], 1.0, first
    with ExitStack() as running:
        while (more := min(2 * found.threads, options.most_threads)) > found.threads:
            try:
                prober = running.enter_context(start(more))
                times, wider = _tried(found, before, prober, options)
            except Lost as lost:
                said.append(f"{more} threads: {lost}")
                break
            said.append(f"{more} threads: {times:.2f} times as fast as {found.threads}")
            if times < PAYS:
                said[-1] += ", not taken"
                break
            found, gain, before = replace(wider, threads=more), gain * times, prober
    return replace(found, reason="; ".join(said)), gain


def _tried(row: Row, narrow: Prober, wide: Prober, options: Options) -> tuple[float, Row]:
    """How many times as fast the wider one is, and its figures: called in turn, as candidates are. Raises `Lost`."""
    memory = wide.memory(max(options.objective.batch_sizes))
    evidence = wide.prove(options.tolerance, options.max_batch)
    if not evidence.passed:
        raise Lost(f"refused, {evidence.reason}")
    if reason := options.objective.exceeded(memory, wide.load_seconds):
        raise Lost(f"over a limit, {reason}")
    probers = {Candidate("narrow"): narrow, Candidate("wide"): wide}
    old, new = probers
    race = Race(lambda who, *call: probers[who].time(*call), options.objective, Rounds(), _raise)
    race.enter(old)
    race.enter(new)
    race.run(final=False)
    if max(race.times(old, new)) >= PAYS:
        race.run(final=True)
    extra = [n for n in options.also_measure if n not in options.objective.batch_sizes]
    race.measure([new], extra, Rounds().least)
    found = replace(row, timings=race.timings(new), parity=evidence, memory=memory, load_seconds=wide.load_seconds)
    return statistics.median(race.times(old, new)), found


def _raise(_who: Candidate, reason: str) -> None:
    raise Lost(reason)


def settle(base: tuple[Path, str], threads: int, cache: Path, key: str) -> tuple[Path, str]:
    """An artifact, by folder and digest, as another one, to be served with so many threads: its folder and digest.

    An artifact that was built again is another base, whose copy has another name. Raises `Lost` and `OSError`.
    """
    place, digest = base
    name = f"{key}-{digest[:_DIGITS]}-{threads}-threads"
    with shelf.workshop(cache, name) as workshop:
        made = shelf.load(cache / name)
        if made is None:
            making.widened(place, digest, threads, workshop / "built")
            shelf.store(workshop / "built", cache / name, 0.0)
            made = shelf.load(cache / name)
    if made is None:
        raise Lost(f"its files changed in {cache} while it was copied")
    return cache / name / shelf.ARTIFACT, made["digest"]
