"""One rollout under load, with faults in it: drivers are started, armed, lost, thawed and followed by others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.clients import Clients
from benchmarks.chaos.drivers import CRASHED, LEASE
from benchmarks.chaos.faults import BACK, BY_NAME, HAND, Point, Site, allowed
from benchmarks.chaos.invariants import broken
from benchmarks.chaos.orders import Drivers
from benchmarks.chaos.servers import NAMES
from benchmarks.chaos.stage import BROKEN, NAME, Stage
from benchmarks.chaos.strikes import FULL
from lockgate.flows.command import record
from lockgate.rollout.errors import NotNow, StoreDown
from lockgate.rollout.state import Commanded
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Phase

GOOD = ("1", "2", "4")
_LONGEST = 180.0
"""Seconds: on a machine that is busy with other things, too."""
_EVERY = 0.02
_AFTERWARDS = 25
"""Answers that are waited for when it is over."""
_BROUGHT_BACK = 0.3
"""Seconds after which a driver that ended is followed by another, as a sweep would."""


@dataclass
class Played:
    """What a round found. `fired`: when, in which phase and at which site each point was struck."""

    kind: str
    fired: dict[int, dict[str, Any]] = field(default_factory=dict)
    seen: list[Site] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    phase: str = ""
    seconds: float = 0.0
    drivers: int = 0
    windows: dict[int, float] = field(default_factory=dict)
    """Seconds in which clients were refused after the router was killed, by point."""
    unforgiven: int = 0
    """Of the failures: those for which no dead router is the reason."""
    slowest: float = 0.0


class Round:
    def __init__(self, stage: Stage, drivers: Drivers, clients: Clients, kind: str) -> None:
        self._stage, self._drivers, self._clients = stage, drivers, clients
        self._played = Played(kind)
        self._points: list[Point] = []
        self._alive: set[int] = set()
        self._current = 0
        self._frozen_until: dict[int, float] = {}
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._read = drivers.told.stat().st_size
        self._next_start = 0.0
        self._began = time.time()

    def play(self, points: Sequence[Point]) -> Played:
        self._points = sorted(points, key=lambda point: point.order)
        champion = self._stage.champions()[0]
        good = [version for version in GOOD if version != champion]
        self._versions = champion, BROKEN if self._played.kind == BACK else good[self._drivers_so_far() % len(good)]
        self._stage.alias("challenger", self._versions[1])
        failed_before = len(self._clients.failures)
        rollout = self._to_its_end()
        self._calm()
        self._judge(rollout, failed_before)
        self._played.seconds = round(time.time() - self._began, 2)
        return self._played

    def _drivers_so_far(self) -> int:
        return len(self._drivers.ended)

    def _to_its_end(self) -> Rollout | None:
        deadline = time.monotonic() + _LONGEST
        with contextlib.closing(Store(self._stage.home.store_url)) as store:
            while True:
                self._follow()
                rollout = self._ours(store)
                if rollout and rollout.closed_at:
                    return rollout
                if rollout and self._played.kind == HAND:
                    self._promote(store, rollout)
                self._keep_driven()
                if time.monotonic() > deadline:
                    self._breach(f"it was not over in {_LONGEST:g} s; it is {self._phase(store, rollout)}")
                    return rollout
                time.sleep(_EVERY)

    def _ours(self, store: Store) -> Rollout | None:
        with contextlib.suppress(StoreDown):
            return next((r for r in store.rollouts(NAME) if r.opened_at >= self._began), None)
        return None

    def _phase(self, store: Store, rollout: Rollout | None) -> str:
        return str(store.last(rollout.id).state.phase) if rollout else "not open"

    def _promote(self, store: Store, rollout: Rollout) -> None:
        with contextlib.suppress(NotNow, StoreDown):
            if store.last(rollout.id).state.phase is Phase.WAITING:
                record(store, rollout, Commanded("promote", "a person"))

    def _follow(self) -> None:
        """What drivers have told since, what is due, and who has ended."""
        with self._drivers.told.open("rb") as told:
            told.seek(self._read)
            *lines, _ = told.read().split(b"\n")
            self._read += sum(len(line) + 1 for line in lines)
        for line in lines:
            self._hear(json.loads(line))
        for one in [one for one in self._due if one[0] <= time.monotonic()]:
            self._due.remove(one)
            one[1]()
        for pid in [pid for pid in self._alive if pid in self._drivers.ended]:
            self._alive.discard(pid)
            if self._drivers.ended[pid] == CRASHED:
                log = self._drivers.log.read_text(encoding="utf-8", errors="replace")
                self._breach(f"a driver crashed: {' / '.join(log.strip().splitlines()[-40:])}")

    def _hear(self, said: dict[str, Any]) -> None:
        if "seen" in said:
            self._played.seen.append((said["seen"][0], said["seen"][1]))
        elif "fired" in said:
            where = {"phase": said["phase"], "site": said["site"], "at": said["at"]}
            self._played.fired[said["fired"]] = where
        elif said.get("frozen"):
            self._later(said["seconds"], lambda: self._thaw(said["pids"]))
            if said["pid"] in said["pids"]:
                self._frozen_until[said["pid"]] = time.monotonic() + said["seconds"]
        elif (servers := self._stage.servers) and said.get("who") in NAMES:
            self._later(said["seconds"], lambda: servers.start(said["who"]))
        elif said.get("full"):
            self._later(said["seconds"], lambda: (self._stage.home.root / FULL).unlink(missing_ok=True))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, act))

    def _thaw(self, pids: Sequence[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            self._frozen_until.pop(pid, None)

    def _keep_driven(self) -> None:
        """One driver at a time; one that is frozen for longer than its lease is replaced."""
        now = time.monotonic()
        stuck = self._frozen_until.get(self._current, 0.0) > now + LEASE / 2
        if (self._current in self._alive and not stuck) or now < self._next_start:
            return
        left = [point for point in self._points if point.number not in self._played.fired]
        self._current = self._drivers.start([self._arm(point) for point in left])
        self._alive.add(self._current)
        self._played.drivers += 1
        self._next_start = now + _BROUGHT_BACK

    def _arm(self, point: Point) -> dict[str, Any]:
        champion, challenger = self._versions
        once = self._stage.root / "struck" / f"{self._began}-{point.number}"
        once.parent.mkdir(exist_ok=True)
        return {**point.arm, "once": str(once), "version": champion if point.arm["who"] == "stable" else challenger}

    def _calm(self) -> None:
        """Everything that is due has come, every driver has ended, and clients go on being answered."""
        deadline = time.monotonic() + _LONGEST / 2
        up = 0  # who brings the router back
        while time.monotonic() < deadline:
            self._follow()
            down = not self._stage.router().running()
            if not (self._due or self._alive or down):
                break
            if down and up not in self._alive:  # nobody drives any more: `lockgate serve`, or a person, helps
                up = self._drivers.start([], up=True)
                self._alive.add(up)
            time.sleep(_EVERY)
        if self._stage.servers:
            self._stage.servers.wait()
        for pid in self._alive:
            self._breach(f"driver {pid} did not end when its rollout was over")
            os.kill(pid, signal.SIGKILL)
        try:
            self._clients.until_answered(_AFTERWARDS)
        except TimeoutError as error:
            self._breach(str(error))

    def _judge(self, rollout: Rollout | None, failed_before: int) -> None:
        played = self._played
        faults = [(point.fault, point.phase) for point in self._points if point.number in played.fired]
        if rollout is not None:
            mine = {os.getpid(), self._drivers.pid}
            played.breaches += broken(self._stage, rollout, allowed(played.kind, faults), mine)
            with self._stage.store() as store:
                played.phase = str(store.last(rollout.id).state.phase)
        time.sleep(_EVERY * 15)  # what failed last is told a fifth of a second later
        played.failures = self._clients.failures[failed_before:]
        played.slowest = max((s for at, s in self._clients.slowest if at >= self._began), default=0.0)
        self._blame()

    def _blame(self) -> None:
        """Only a router that was killed may cost requests: those under way, and those it was not there for."""
        killed = {
            point.number: self._played.fired[point.number]["at"]
            for point in self._points
            if point.number in self._played.fired and BY_NAME[point.fault].name == "kill the router"
        }
        unforgiven: Counter[str] = Counter()
        for failure in self._played.failures:
            before = [number for number, at in killed.items() if at - 0.1 <= failure["at"]]
            if not before or failure["kind"] not in {"refused", "reset"}:
                unforgiven[f"{failure['kind']}: {failure['what'].strip()}"] += 1
                continue
            last = max(before, key=killed.__getitem__)
            self._played.windows[last] = round(max(0.0, failure["at"] - killed[last]), 3)
        for what, count in unforgiven.items():
            self._breach(f"{count} requests failed, {what}")
        self._played.unforgiven = unforgiven.total()

    def _breach(self, sentence: str) -> None:
        self._played.breaches.append(sentence)
