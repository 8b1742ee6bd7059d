"""Looks at the live inputs now and then while a rollout is driven, beside its loop."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Self

from lockgate.flows import drift, drift_performance
from lockgate.flows.drift_known import Known
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.flows.world import World
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.profile import Profile
from lockgate.monitoring.drift.words import Comparison, Window
from lockgate.rollout.state import Drifted
from lockgate.rollout.store import Rollout

_LOG = logging.getLogger("lockgate.drift")
_PATIENCE = 5.0
"""Seconds that `close` waits."""


class DriftWatch:
    """Of one driver. `drifting`: whether drift was told before, by a driver that came before this one.

    `side`: whose training data `profile` is of. `last`: the latest comparison that was made.
    """

    def __init__(
        self, spec: Spec, where: Home, profile: Profile | None, *, drifting: bool = False, side: str = "candidate"
    ) -> None:
        self._spec, self._where, self._profile, self._side = spec, where, profile, side
        self._known = Known(drifting=drifting)  # `drifting` is what the log says, not what was found since
        self._next = 0.0
        self._thread: threading.Thread | None = None
        self._came: tuple[Comparison, Window] | None = None
        self.last: Comparison | None = None

    @classmethod
    def of(cls, world: World, rollout: Rollout) -> Self:
        """With what the candidate was trained on, or stable, where nobody knows that of the candidate."""
        events = world.store.events(rollout.id)
        told = [event.happening.drifting for event in events if isinstance(event.happening, Drifted)]
        facts, drifting = events[-1].state.facts, bool(told and told[-1])
        for side in ("candidate", "stable"):
            try:
                profile = drift.kept(world.home, world.spec, facts.get(f"{side}_digest", ""))
            except NoReference as reason:
                _LOG.info("%s: %s", side, reason)
            else:
                return cls(world.spec, world.home, profile, drifting=drifting, side=side)
        return cls(world.spec, world.home, None, drifting=drifting)

    def look(self, now: float) -> Drifted | None:
        """That the inputs drift, or no longer do, until it is `told`. Never waits or raises.

        A comparison is made every `monitoring.drift.every`, and told by the first look after it is done.
        """
        if not self._asked or (self._thread is not None and self._thread.is_alive()):
            return None
        came, self._came = self._came, None
        if now >= self._next:
            self._next = now + self._spec.monitoring.drift.every
            self._thread = threading.Thread(target=self._work, args=(now,), name="drift", daemon=True)
            self._thread.start()
        if came is None:
            return None
        self.last = came[0]
        return self._changed(*came, now)

    @property
    def _asked(self) -> bool:
        return self._profile is not None or self._spec.monitoring.performance is not None

    def told(self, drifted: Drifted) -> None:
        """It is in the log; what is not is said again after the next comparison."""
        self._known = replace(self._known, drifting=drifted.drifting)

    def join(self, within: float | None = None) -> None:
        """Wait for the comparison under way, for at most so many seconds."""
        if self._thread is not None:
            self._thread.join(within)

    def close(self) -> None:
        """A comparison that takes longer than some seconds ends with the process, and changes nothing any more."""
        self.join(_PATIENCE)

    def _work(self, now: float) -> None:
        self._look_at_performance()
        if self._profile is not None:
            self._compare(self._profile, now)

    def _look_at_performance(self) -> None:
        """It holds nothing, so nothing comes of it here."""
        try:
            drift_performance.look(self._spec, self._where, _LOG.warning)
        except Exception:  # noqa: BLE001 - a folder that is gone must not stop the rollout's loop
            _LOG.exception("performance cannot be looked at")

    def _compare(self, profile: Profile, now: float) -> None:
        try:
            window = drift.window(self._spec, self._where, until=now)
            found = drift.compared(self._spec, profile, window, now, self._side)
            if self._side != "candidate":
                found = replace(found, notes=(*found.notes, "the candidate's training data is not known"))
            self._came = found, window
            for note in found.notes:
                _LOG.debug("%s", note)
        except Exception:  # noqa: BLE001 - a folder that is gone must not stop the rollout's loop
            _LOG.exception("live inputs cannot be compared with the reference")

    def _changed(self, found: Comparison, window: Window, now: float) -> Drifted | None:
        before, after = self._known.drifting, self._known.after(found, window, now)
        self._known = replace(after, drifting=before)
        if after.drifting == before:
            return None
        return Drifted(after.drifting, drift.reason(found), self._spec.monitoring.drift.on_drift, found.share)
