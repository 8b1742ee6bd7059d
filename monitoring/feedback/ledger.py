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
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import numpy as np

from lockgate.monitoring.feedback import ledger_outcomes, ledger_units
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.exposures import CANDIDATE, OTHERS, Exposed, Exposures, Traffic, joined
from lockgate.monitoring.feedback.ledger_file import File, TakenOver, fact, note, time_of
from lockgate.monitoring.feedback.ledger_rewards import closed, rewards
from lockgate.monitoring.feedback.ledger_words import GRACE, Came, Look, Measure, Told
from lockgate.monitoring.feedback.store import Reader
from lockgate.monitoring.measurement import Arrivals

__all__ = ["GRACE", "Came", "Ledger", "Measure", "Shares", "Told", "Traffic"]

Shares = Sequence[tuple[float, float]]
"""From when on (unix seconds) which chance was in force."""

_NONE: Mapping[str, Shares] = MappingProxyType({})
_SOME = 0.5
"""Any chance: what it is, is another one for each challenger."""
_WRITTEN = 120.0
"""Seconds after which an answered request is in the captured files for certain."""
_MOST_ROWS = 40_000
"""Of feedback, in one call: they take about half a second, in which the rollout's loop waits."""
_EARLIER = 300.0
"""Seconds by which the clocks of who writes feedback and who begins steps may differ."""
_SET_BACK = 60.0
"""Seconds for which a clock that was set back is waited for without a word."""


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
        self._unseen = math.inf
        """What the first look since was at that this file does not know of: the looks before may not be recorded."""

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
        after a change, were under way at it, or came while the only challenger's chance was 0 or 1, count for nobody's
        arm: such a user comes in with the next request. Nothing comes while `now` is not later than what was looked at
        already.
        """
        pairs = {CANDIDATE: sorted(shares)}
        pairs |= {OTHERS + i: sorted(others[one]) for i, one in enumerate(self._others) if one in others}
        if unknown := [one for one in others if one not in self._others]:
            return Came(blind=f"the ledger was not opened for the challenger {unknown[0]}; this is a defect, report it")
        if not all(pairs.values()):
            return Came(blind="it is not known with which chance users got a challenger; this is a defect, report it")
        self._since, self._unseen = min(self._since, since), min(self._unseen, since)
        try:
            came = self._came(self._unseen, now, pairs)
        except TakenOver:
            self._forget()
            return Came(blind=f"another driver has taken {self._path} over; the next look takes it back")
        except sqlite3.Error as reason:
            self._forget()
            return Came(blind=f"{self._path} cannot be used ({reason}); see the file and whether its disk is full")
        except OSError as reason:
            self._forget()
            return Came(blind=f"{self._path} cannot be used ({reason.strerror}); see the folder and its permissions")
        except Exception as reason:  # noqa: BLE001 - data that nobody foresaw must not stop the rollout's loop
            self._forget()
            return Came(blind=f"the ledger cannot be kept ({type(reason).__name__}: {reason}); this is a defect")
        self._unseen = math.inf
        return came

    def _forget(self) -> None:
        """What was read and not committed is read again."""
        self._file.close()
        self._exposed, self._held = None, joined([])

    def _came(self, since: float, now: float, pairs: Mapping[int, Shares]) -> Came:
        """`pairs`: the shares by the challenger's arm."""
        with self._file.writing() as database:
            look = self._look(database, since, now)
            if look.now <= look.since:
                return Came(blind=_behind(look), notes=ledger_outcomes.notes(database))
            found, whole = self._captured(database, now)
            ledger_units.keep(database, found, self._changes(pairs), look)
            blind = self._exposed.silent(self._gone(pairs)) if self._exposed else ""
            try:
                left = self._told(database, look) if whole else ""
            except Unavailable as reason:
                left = str(reason)
            blind = blind or left
            if blind or not whole:
                note(database, "told", look.since)  # what was told after it was never recorded
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

    def _gone(self, pairs: Mapping[int, Shares]) -> list[str]:
        """Others that were dropped."""
        chances = {name: pairs[OTHERS + i][-1][1] for i, name in enumerate(self._others) if OTHERS + i in pairs}
        return [name for name in self._others if not chances.get(name)]

    def _changes(self, pairs: Mapping[int, Shares]) -> Shares:
        """When the routes changed, and the chance by which users were split from then on.

        Of several challengers some split goes on whatever becomes of one of them; see `_arrivals`.
        """
        if self._others:
            return [(at, _SOME) for at in sorted({self._began, *(at for shares in pairs.values() for at, _ in shares)})]
        shares = pairs[CANDIDATE]
        return [(self._began, float(ledger_units.share_of(np.array([self._began]), shares)[0])), *shares]

    def _arrivals(self, arrived: ledger_units.Arrived, arm: int, shares: Shares) -> tuple[Arrivals, ...]:
        """Where a challenger was without replicas, it was we who sent its users to the other side."""
        came = ledger_units.arrivals(arrived, arm, shares)
        if self._others and not all(0 < chance < 1 for _, chance in shares):
            return tuple(replace(one, crossed=0) for one in came)
        return came

    def _pairs(self, database: sqlite3.Connection, look: Look, pairs: Mapping[int, Shares]) -> dict[int, Told]:
        arrived = ledger_units.arrived(database, look)
        ended = {name: closed(database, name, of, look) for name, of in self._measures.items()}
        return {
            arm: Told(
                {name: rewards(of, arm, shares) for name, of in ended.items()},
                self._arrivals(arrived, arm, shares),
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

    def _told(self, database: sqlite3.Connection, look: Look) -> str:
        """Takes in what feedback came; says so where that is not all there is."""
        if not self._measures:
            return ""
        read, before = self._read(database)
        rows = self._feedback.after(read, _MOST_ROWS)
        named = ledger_outcomes.named(rows, self._measures, self._began, before)
        ledger_outcomes.keep(database, named, self._measures, look)
        if rows:
            note(database, "feedback", rows[-1].sequence)
            note(database, "feedback_mark", ledger_outcomes.mark(rows[-1]))
        left = self._feedback.last() - rows[-1].sequence if len(rows) == _MOST_ROWS else 0
        return f"feedback is still to be read ({left:,} more); the next looks do so" if left > 0 else ""

    def _read(self, database: sqlite3.Connection) -> tuple[int, int]:
        """The sequence after which feedback was not read yet, and what is added to the sequences of this file.

        What was read before is known by its last row. Where that is gone, all before it was pruned as well, or it is
        another file, which numbers its rows from 1; no file at all may come back.
        """
        read, before = int(time_of(database, "feedback", 0)), int(time_of(database, "feedback_before", 0))
        if mark := fact(database, "feedback_mark"):
            last = self._feedback.after(read - 1, 1)
            if not self._feedback.last() or (
                last and (last[0].sequence, ledger_outcomes.mark(last[0])) == (read, mark)
            ):
                return read, before
            before += read
            note(database, "feedback_before", before)
            note(database, "feedback_mark", "")
        return self._feedback.before(self._began - _EARLIER), before

    def _look(self, database: sqlite3.Connection, since: float, now: float) -> Look:
        """What is told next: from the last recorded look on, or from the last one that could be told.

        A clock that was set back makes `since` smaller than one that was heard before: that one counts.
        """
        recorded = max(since, time_of(database, "recorded", since))
        origin = time_of(database, "origin", self._since)
        note(database, "recorded", recorded)
        note(database, "origin", origin)
        return Look(min(recorded, time_of(database, "told", origin)), now, origin)


def _behind(look: Look) -> str:
    if look.since - look.now <= _SET_BACK:
        return ""
    return (
        f"the clock is {look.since - look.now:.0f} s before what was looked at already, and nothing comes until it is"
        " past that; wait for it, or start the rollout anew"
    )
