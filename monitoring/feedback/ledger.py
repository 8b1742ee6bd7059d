"""The ledger of one step: which user got which variant first, and what each did within the windows of the metrics.

It tells every user once. Which look a user belongs to follows from times alone: the one in whose span (since, now] the
user's window, and `GRACE` seconds more, were over. So a look that was computed and never recorded is computed again,
by this driver or the next one. What could not be told in a look, since the traffic, the feedback or this file could
not be read or there was more than one call reads, is told in a later one.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from lockgate.monitoring.feedback import ledger_outcomes, ledger_units
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.exposures import CANDIDATE, OTHERS, Exposed, Exposures, Traffic, joined
from lockgate.monitoring.feedback.ledger_file import File, TakenOver, note, time_of
from lockgate.monitoring.feedback.ledger_rewards import closed, rewards
from lockgate.monitoring.feedback.ledger_words import GRACE, Came, Look, Measure, Told
from lockgate.monitoring.feedback.store import Reader, Stored

__all__ = ["GRACE", "Came", "Ledger", "Measure", "Shares", "Told", "Traffic"]

Shares = Sequence[tuple[float, float]]
"""From when on (unix seconds) which chance was in force."""

_NONE: Mapping[str, Shares] = MappingProxyType({})
_WRITTEN = 120.0
"""Seconds after which an answered request is in the captured files for certain."""
_ROWS, _MOST_ROWS = 10_000, 500_000
"""Of feedback: at once, and in one call."""


class Ledger:
    """`path`: its own file. `feedback`: the database of all feedback. `began`: when the step did, in unix seconds."""

    def __init__(  # noqa: PLR0913 - what it joins, and of whom
        self,
        path: Path,
        feedback: Path,
        traffic: Traffic,
        measures: Mapping[str, Measure],
        began: float,
        *,
        others: Sequence[str] = (),
    ) -> None:
        """`others`: the other challengers by their names, always in the same order; `traffic` knows their artifacts."""
        self._path, self._traffic, self._began, self._others = path, traffic, began, tuple(others)
        self._feedback = Reader(feedback)
        self._measures = dict(measures)
        self._file = File(path)
        self._exposed: Exposed | None = None
        self._held = joined([])
        """Requests that were answered after the look's time: the next one may know of other shares."""
        self._since = math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def came(self, since: float, now: float, shares: Shares, others: Mapping[str, Shares] = _NONE) -> Came:
        """What a look at `now` sees, when the last one that was recorded was at `since`. Raises nothing.

        `shares`: from when on the candidate had which chance: that a user who is either its or stable's is its.
        `others`: the same of each other challenger that is asked for. Requests that came within `SETTLING` seconds
        after a change, or were under way at it, count for nobody's arm: such a user comes in with the next request.
        Nothing comes while `now` is not later than what was looked at already.
        """
        pairs = {CANDIDATE: shares} | {OTHERS + i: others[one] for i, one in enumerate(self._others) if one in others}
        if unknown := [one for one in others if one not in self._others]:
            return Came(blind=f"the ledger was not opened for the challenger {unknown[0]}; this is a defect, report it")
        if not all(pairs.values()):
            return Came(blind="it is not known with which chance users got a challenger; this is a defect, report it")
        self._since = min(self._since, since)
        try:
            return self._came(since, now, pairs)
        except TakenOver:
            return Came(blind=f"another driver has taken {self._path} over; this one must stop")
        except sqlite3.Error as reason:
            self._forget()
            return Came(blind=f"{self._path} cannot be used ({reason}); see the file and whether its disk is full")
        except OSError as reason:
            self._forget()
            return Came(blind=f"{self._path} cannot be used ({reason.strerror}); see the folder and its permissions")
        except Exception as reason:  # noqa: BLE001 - data that nobody foresaw must not stop the rollout's loop
            self._forget()
            return Came(blind=f"the ledger cannot be kept ({type(reason).__name__}: {reason}); this is a defect")

    def _forget(self) -> None:
        """What was read and not committed is read again."""
        self._file.close()
        self._exposed, self._held = None, joined([])

    def _came(self, since: float, now: float, pairs: Mapping[int, Shares]) -> Came:
        """`pairs`: the shares by the challenger's arm."""
        with self._file.writing() as database:
            look = self._look(database, since, now)
            if look.now <= look.since:
                return Came(notes=ledger_outcomes.notes(database))
            found, whole = self._captured(database, now)
            changes = {at for shares in pairs.values() for at, _ in shares}
            ledger_units.keep(database, found, [self._began, *changes], look)
            blind = self._exposed.silent() if self._exposed else ""
            try:
                whole = whole and self._told(database, look)
            except Unavailable as reason:
                blind = blind or str(reason)
            if blind or not whole:
                return Came(blind=blind, notes=ledger_outcomes.notes(database))
            ledger_units.prune(
                database, look, max((of.window + of.delay for of in self._measures.values()), default=0.0)
            )
            note(database, "read", now - _WRITTEN)
            note(database, "told", now)
            told = self._pairs(database, look, pairs)
            others = {name: told[OTHERS + i] for i, name in enumerate(self._others) if OTHERS + i in told}
            mine, notes = told[CANDIDATE], ledger_outcomes.notes(database)
            return Came(mine.rewards, mine.arrivals, notes=notes, others=others)

    def _pairs(self, database: sqlite3.Connection, look: Look, pairs: Mapping[int, Shares]) -> dict[int, Told]:
        arrived = ledger_units.arrived(database, look)
        ended = {name: closed(database, name, of, look) for name, of in self._measures.items()}
        return {
            arm: Told(
                {name: rewards(of, arm, shares) for name, of in ended.items()},
                ledger_units.arrivals(arrived, arm, shares),
            )
            for arm, shares in pairs.items()
        }

    def _captured(self, database: sqlite3.Connection, now: float) -> tuple[Exposures, bool]:
        if self._exposed is None:
            since = max(self._began, time_of(database, "read", self._began))
            self._exposed = Exposed(self._traffic, since, self._others)
        found, whole = self._exposed.came()
        found = joined([self._held, found])
        early = (found.at > now) & (found.at <= now + GRACE)
        self._held = found.where(early)
        return found.where(~early), whole

    def _told(self, database: sqlite3.Connection, look: Look) -> bool:
        """Takes in what feedback came; whether that is all there is."""
        if not self._measures:
            return True
        read, before = int(time_of(database, "feedback", 0)), int(time_of(database, "feedback_before", 0))
        if self._feedback.last() < read:
            # It is another file, and numbers its rows from 1.
            read, before = 0, before + read
            note(database, "feedback_before", before)
        found: list[Stored] = []
        while len(found) < _MOST_ROWS and (rows := self._feedback.after(read, _ROWS)):
            found += rows
            read = rows[-1].sequence
        named = ledger_outcomes.named(found, self._measures, before)
        ledger_outcomes.keep(database, named, self._measures, look)
        note(database, "feedback", read)
        return len(found) < _MOST_ROWS

    def _look(self, database: sqlite3.Connection, since: float, now: float) -> Look:
        """What is told next: from the last recorded look on, or from the last one that could be told.

        A clock that was set back makes `since` smaller than one that was heard before: that one counts.
        """
        recorded = max(since, time_of(database, "recorded", since))
        origin = time_of(database, "origin", self._since)
        note(database, "recorded", recorded)
        note(database, "origin", origin)
        return Look(min(recorded, time_of(database, "told", origin)), now, origin)
