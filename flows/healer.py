"""Replicas that died are started again beside the loop of who drives: a start takes seconds, and a tick must not wait.

Each side has a start of its own: the clients of stable do not wait for a candidate that takes minutes to come up.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from lockgate.flows import restarts
from lockgate.flows.release import bento_of
from lockgate.flows.world import World
from lockgate.rollout.state import State
from lockgate.rollout.words import Phase
from lockgate.services.errors import NotReady
from lockgate.services.words import EXTERNAL, Bento

_LOG = logging.getLogger("lockgate.drive")
_DEATHS = 3
"""Of a candidate's replicas in one drive, before it is given up."""


@dataclass
class Healer:
    """What it remembers is how often replicas of each side were found gone, and why."""

    world: World
    facts: Mapping[str, str]
    deaths: dict[str, int] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    """What the platform ended a replica for, by the tag of its bento."""
    _starts: dict[str, threading.Thread] = field(default_factory=dict)
    """The last one of each side."""

    def look(self, state: State) -> None:
        """What is needed in this state: nobody who was dropped, and in the end only the winner beside stable."""
        spared = {"stable"} if state.phase.stepping else {"stable", state.winner}
        self.why |= self.world.platform.watch({self.facts[f"{side}_bento"] for side in spared})
        # Asked before the replicas are listed: a start that ends in between is no death.
        idle = [side for side in self._needed(state) if not self._starting(side)]
        count = self.world.spec.service.replicas.min
        running = Counter(replica.bento for replica in self.world.platform.replicas() if replica.runs)
        for side in idle:
            bento = bento_of(self.facts, side, self.world.spec.model.name)
            if running[bento.tag] < count:
                self._begin(side, bento, count)

    def gave_up(self, side: str) -> str:
        """Why this side is given up; nothing while it is not."""
        if self.deaths.get(side, 0) <= _DEATHS:
            return ""
        name = "the candidate" if side == "candidate" else side
        if self.facts.get(f"{side}_target") == EXTERNAL:
            return f"{name}, which is served elsewhere, was found gone {_DEATHS} times"
        return f"{name}'s replicas died {_DEATHS} times{self._said(side)}"

    def join(self) -> None:
        for start in self._starts.values():
            start.join()

    def _said(self, side: str) -> str:
        sentence = self.why.get(self.facts[f"{side}_bento"])
        return f", the last one of which we ended: {sentence}" if sentence else ""

    def _needed(self, state: State) -> list[str]:
        if state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            return ["stable"]
        if not state.phase.stepping:
            return [state.winner] if state.phase is Phase.SUCCEEDED else ["stable", state.winner]
        return ["stable", *(side for side in self.world.spec.rollout.challengers if side not in state.dropped)]

    def _starting(self, side: str) -> bool:
        start = self._starts.get(side)
        return start is not None and start.is_alive()

    def _begin(self, side: str, bento: Bento, count: int) -> None:
        self.deaths[side] = self.deaths.get(side, 0) + 1
        then = "it is waited for" if bento.target == EXTERNAL else "another one is started"
        _LOG.warning("a replica of %s is gone%s; %s", side, self._said(side), then)
        start = threading.Thread(target=self._start, args=(side, bento, count), name=f"healer {side}", daemon=True)
        start.start()
        self._starts[side] = start

    def _start(self, side: str, bento: Bento, count: int) -> None:
        with suppress(NotReady, OSError):  # the next look counts it as another death
            self.world.platform.start(bento, count)
            restarts.count(self.world.home, self.world.spec.name, side)
