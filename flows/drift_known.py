"""What the looks at a pipeline's live inputs have come to, and who was told what of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from lockgate.flows.capture import read_settings, write_private
from lockgate.monitoring.drift.words import Comparison, Window

CALM = 2
"""Looks without drift, one after another, before it is over: a rollout must not be held and let go in turn."""
FRESH = 0.1
"""Of a window that must have been answered since the look before, or it is the same one again."""
_REFERENCES = 8
"""That are remembered, those that were looked at last."""


@dataclass(frozen=True, slots=True)
class Known:
    """Of one reference. `calm`: looks without drift since the last with it, `CALM` at most.

    `seen`: until when the rows were answered that counted last.
    `told`: by receiver, whether it was told of drift last. `page_at`: when the last page of it was kept, 0 where that
    was before the drift began or ended; unix seconds, as `at` of the last look.
    """

    drifting: bool = False
    calm: int = 0
    seen: float = 0.0
    told: Mapping[str, bool] = field(default_factory=dict)
    page_at: float = 0.0
    at: float = 0.0

    def after(self, found: Comparison, window: Window, now: float) -> Self:
        """What cannot be decided changes nothing, and a look without drift at hardly any new row neither."""
        if found.undecided:
            return replace(self, at=now)
        counts = found.drifting or self._is_fresh(window)
        calm = 0 if found.drifting else min(CALM, self.calm + counts)
        drifting = found.drifting or (self.drifting and calm < CALM)
        page_at = self.page_at if drifting == self.drifting else 0.0
        seen = found.until if counts else self.seen
        return replace(self, drifting=drifting, calm=calm, seen=seen, page_at=page_at, at=now)

    def _is_fresh(self, window: Window) -> bool:
        came = 0 if window.at is None else int(np.count_nonzero(window.at > self.seen))
        return came > 0 and came >= FRESH * window.rows


@dataclass(frozen=True, slots=True)
class Memory:
    """The file `path`, as far as it is about the reference `key`. One process at a time writes it."""

    path: Path
    key: str
    say: Callable[[str], None]

    def known(self) -> Known:
        """Nothing where there is no file, a damaged one, or one of an older version."""
        found = self._all().get(self.key, {})
        told = found.get("told")
        return Known(
            bool(found.get("drifting")),
            int(found.get("calm") or 0),
            float(found.get("seen") or 0.0),
            {str(to): bool(of) for to, of in told.items()} if isinstance(told, dict) else {},
            float(found.get("page_at") or 0.0),
            float(found.get("at") or 0.0),
        )

    def keep(self, known: Known) -> None:
        every = self._all() | {self.key: asdict(known)}
        latest = sorted(every, key=lambda key: float(every[key].get("at") or 0.0))[-_REFERENCES:]
        try:
            write_private(self.path, {"references": {key: every[key] for key in latest}})
        except OSError as error:
            self.say(f"{self.path} could not be written, and what was told may be told again: {error}")

    def _all(self) -> dict[str, dict[str, Any]]:
        found = read_settings(self.path).get("references")
        return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
