"""What the captured answers of stable and the candidate say to the gates: the only file here that reads others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from lockgate.monitoring.answers.compare import compare
from lockgate.monitoring.answers.errors import Incomparable
from lockgate.monitoring.answers.examples import Examples
from lockgate.monitoring.answers.kept import Kept
from lockgate.monitoring.answers.meeting import Meeting, Met
from lockgate.monitoring.answers.records import (
    COLUMNS,
    Records,
    Role,
    first_output,
    gathered,
    kept_answers,
    records,
)
from lockgate.monitoring.answers.spreads import Predictions
from lockgate.monitoring.answers.words import Came, Comparison, Example
from lockgate.monitoring.measurement import Pairs, Spread
from lockgate.monitoring.traffic.form import INPUT, OUTPUT
from lockgate.monitoring.traffic.tail import Tail

_ROWS = 20_000
_TURNS = 10
"""Of so many rows, in one call: what is left then comes with the next one."""

_Found = TypeVar("_Found")


class Answers:
    """Of stable and the candidate, by their digests, from the traffic captured in `folder` since then (unix seconds).

    `disagreements`: gates that compare answers. `drifts`: gates that compare how predictions are distributed, and the
    output that they look at, the first one by default. `kept`: where the bins of the latter outlive this process.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - two sides, two kinds of gates, where, since when, what is known
        self,
        folder: Path,
        stable: str,
        candidate: str,
        disagreements: Mapping[str, Comparison],
        drifts: Mapping[str, str | None],
        since: float,
        kept: Kept | None = None,
    ) -> None:
        self._folder, self._stable, self._candidate = folder, stable, candidate
        self._gates = dict(disagreements)
        self._kept = kept
        self._fixed = kept.read() if kept else {}
        self._drifts = {gate: Predictions(output, self._fixed.get(gate)) for gate, output in drifts.items()}
        self._tail = Tail(folder, {stable, candidate}, since, self._wanted)
        self._meeting = Meeting()
        self._examples = Examples()
        self._blind: dict[str, str] = {}

    def came(self, now: float) -> Came:
        """What came since the last call. `now`, in unix seconds, says how long an answer has waited for another.

        A gate is blind from when its answers cannot be compared until they can, and while a side cannot be read.
        """
        pairs = dict.fromkeys(self._gates, Pairs())
        spreads: dict[str, Spread] = {}
        heard: set[int] = set()
        for _ in range(_TURNS):
            came = self._turn()
            if came is None:
                break
            heard |= {role for of in came for role in set(of.roles.tolist())}
            compared, echoed = self._meeting.join(came, now)
            for gate in self._gates:
                pairs[gate] = pairs[gate].plus(
                    self._tried(gate, partial(self._pairs, gate, compared, echoed)) or Pairs()
                )
            for gate, predictions in self._drifts.items():
                spread = self._tried(gate, partial(predictions.count, came))
                if spread and spread.bins:
                    spreads[gate] = spreads.get(gate, Spread()).plus(spread)
            for of in came:
                of.forget()
        self._meeting.leave(now)
        self._keep()
        return Came(pairs, spreads, self._blindness(heard))

    def _keep(self) -> None:
        fixed = {gate: predictions.fixed for gate, predictions in self._drifts.items() if predictions.fixed}
        if self._kept and len(fixed) > len(self._fixed):
            self._fixed = fixed
            self._kept.write(fixed)

    def examples(self) -> list[Example]:
        """The worst disagreements so far, gate by gate."""
        return self._examples.all()

    def _wanted(self, column: str) -> bool:
        """Inputs are shown beside answers that differ, and needed for nothing else."""
        return column in COLUMNS or column.startswith(OUTPUT) or (bool(self._gates) and column.startswith(INPUT))

    def _turn(self) -> list[Records] | None:
        """None when there is nothing more."""
        batches = self._tail.came(_ROWS)
        came = (records(batch, self._stable, self._candidate) for batch in batches)
        return [of for of in came if of] if batches else None

    def _pairs(self, gate: str, compared: Met, echoed: Met) -> Pairs | None:
        if not compared.stable and not echoed.stable:
            return None
        pairs = self._differing(gate, compared, "the candidate")
        return Pairs(*pairs, *self._differing(gate, echoed, "stable"))

    def _differing(self, gate: str, met: Met, who: str) -> tuple[int, int]:
        """How many were compared, and how many of them differ."""
        how = self._gates[gate]
        name = how.output or first_output(met.stable)
        if not name or not met.stable:
            return 0, 0
        try:
            ours, theirs = gathered(met.stable, name, "stable"), gathered(met.other, name, who)
            # An answer beside none differs; where both are missing, nothing was captured of either.
            alone = int((ours.present != theirs.present).sum())
            if alone and not (ours.present & theirs.present).any():
                return alone, alone
            rows = kept_answers(ours, theirs)
            ours, theirs = ours.take(rows), theirs.take(rows)
            found = compare(ours, theirs, how)
        except Incomparable as reason:
            raise Incomparable(f"output {name!r} {reason}") from reason
        if who != "stable":
            self._examples.note(gate, met.take(rows.tolist()), (ours, theirs), found)
        return len(rows) + alone, int(found.differ.sum()) + alone

    def _tried(self, gate: str, look: Callable[[], _Found | None]) -> _Found | None:
        try:
            found = look()
        except Incomparable as reason:
            self._blind[gate] = str(reason)
            return None
        if found is not None:
            self._blind.pop(gate, None)
        return found

    def _blindness(self, heard: set[int]) -> dict[str, str]:
        blind = dict.fromkeys(self._gates, self._meeting.missing())
        blind |= {gate: predictions.missing() for gate, predictions in self._drifts.items()} | self._blind
        silent = self._silent(self._stable, "stable", heard & {Role.STABLE})
        silent = silent or self._silent(self._candidate, "the candidate", heard & {Role.CANDIDATE, Role.LIVE})
        blind |= dict.fromkeys((*self._gates, *self._drifts), silent) if silent else {}
        return {gate: says for gate, says in blind.items() if says}

    def _silent(self, digest: str, who: str, heard: set[int]) -> str:
        if not digest:
            return f"it is not known which artifact {who} is; build it anew"
        return "" if heard else self._tail.problem(digest)
