"""Trouble in a log: one line for each kind of it, and not again soon: a full disk may come and go all the time."""

from __future__ import annotations

import logging
from time import monotonic

log = logging.getLogger("lockgate.feedback")

_QUIET = 600.0


class Said:
    """Of one kind of work. Used by one thread."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._trouble = False

    def trouble(self, sentence: str) -> None:
        now = monotonic()
        if now - self._said.get(sentence, -_QUIET) >= _QUIET:
            self._said[sentence] = now
            self._trouble = True
            log.warning("%s", sentence)

    def well(self, sentence: str) -> None:
        """It works, perhaps again."""
        if self._trouble:
            self._trouble = False
            log.warning("%s", sentence)
