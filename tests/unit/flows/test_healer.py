"""Whose replicas are brought back, and that nobody waits for another one's."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lockgate.flows.healer import Healer
from lockgate.flows.home import Home
from lockgate.rollout.state import State
from lockgate.rollout.words import Phase
from lockgate.services.words import Replica

SIDES = ("stable", "candidate", "small")
FACTS = {f"{s}_{what}": f"{s}-{what}" for s in SIDES for what in ("bento", "digest", "version", "target", "precision")}


@dataclass
class Machine:
    """Replicas that come up, but for those that never stay."""

    dying: set[str]
    up: set[str] = field(default_factory=set)
    started: list[str] = field(default_factory=list)

    sentence: str = ""

    def watch(self, stable: Any) -> dict[str, str]:
        self.spared = stable
        return {f"{side}-bento": self.sentence for side in self.dying if self.sentence}

    def replicas(self) -> list[Any]:
        return [Replica(side, f"{side}-bento", "127.0.0.1", 1, 0) for side in self.up]

    def start(self, bento: Any, count: int) -> None:  # noqa: ARG002 - the port's
        side = bento.tag.removesuffix("-bento")
        self.started.append(side)
        self.up |= {side} - self.dying


def healer(machine: Machine) -> Healer:
    spec = SimpleNamespace(
        name="toy",
        service=SimpleNamespace(replicas=SimpleNamespace(min=1)),
        rollout=SimpleNamespace(challengers=("candidate", "small")),
        model=SimpleNamespace(name="toy"),
    )
    world = SimpleNamespace(
        spec=spec,
        home=Home(Path("/nowhere"), ""),  # no folder of a pipeline: nothing is counted there
        platform=machine,
    )
    return Healer(world, FACTS)  # type: ignore[arg-type]


def looked(machine: Machine, state: State, times: int = 12) -> Healer:
    it = healer(machine)
    for _ in range(times):
        it.look(state)
        it.join()
    return it


def test_one_that_keeps_dying_leaves_nobody_else_without_replicas() -> None:
    machine = Machine({"candidate"}, up={"stable"})
    looked(machine, State(Phase.PROGRESSING))
    assert "small" in machine.up


def test_who_was_dropped_is_left_alone() -> None:
    machine = Machine(set(), up={"stable"})
    looked(machine, State(Phase.PROGRESSING, dropped=("candidate",)))
    assert machine.started == ["small"]


def test_in_the_end_only_the_winner_is_brought_back_and_as_often_as_it_takes() -> None:
    machine = Machine({"small"})
    looked(machine, State(Phase.PROMOTING, winner="small"))
    assert Counter(machine.started) == {"stable": 1, "small": 12}


def test_who_is_ended_for_its_memory_is_given_up_with_the_sentence() -> None:
    machine = Machine({"candidate"}, up={"stable", "small"}, sentence="it takes 3000 MiB of memory")
    it = looked(machine, State(Phase.PROGRESSING), times=3)
    assert it.gave_up("candidate") == ""
    it = looked(machine, State(Phase.PROGRESSING), times=4)
    assert it.gave_up("candidate") == (
        "the candidate's replicas died 3 times, the last one of which we ended: it takes 3000 MiB of memory"
    )
    assert it.gave_up("small") == ""


def test_the_machine_spares_whom_clients_depend_on() -> None:
    machine = Machine(set())
    looked(machine, State(Phase.PROGRESSING), times=1)
    assert machine.spared == {"stable-bento"}
    looked(machine, State(Phase.PROMOTING), times=1)
    assert machine.spared == {"stable-bento", "candidate-bento"}


@dataclass
class Slow(Machine):
    """Its candidate takes long to start."""

    ready: threading.Event = field(default_factory=threading.Event)

    def start(self, bento: Any, count: int) -> None:
        if bento.tag == "candidate-bento":
            self.ready.wait(60)
        super().start(bento, count)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_stable_does_not_wait_for_a_candidate_that_takes_long() -> None:
    machine = Slow(set(), up={"stable", "small"})
    it, state = healer(machine), State(Phase.PROGRESSING)
    it.look(state)
    machine.up.remove("stable")  # while the candidate is being started
    it.look(state)
    try:
        until(lambda: "stable" in machine.up)
        for _ in range(5):
            it.look(state)
        assert it.deaths == {"candidate": 1, "stable": 1}  # one start is one death, however often it is looked at
        assert machine.started == ["stable"]
    finally:
        machine.ready.set()
    it.join()
    assert machine.started == ["stable", "candidate"]
    it.look(state)
    assert it.deaths == {"candidate": 1, "stable": 1}


def test_a_start_that_ends_while_replicas_are_listed_is_no_death() -> None:
    machine = Slow(set(), up={"stable", "small"})
    it, state = healer(machine), State(Phase.PROGRESSING)
    it.look(state)
    listed = machine.replicas

    def ends_meanwhile() -> list[Any]:
        before = listed()
        machine.ready.set()
        it.join()
        return before

    machine.replicas = ends_meanwhile  # type: ignore[method-assign]
    it.look(state)
    assert it.deaths == {"candidate": 1}
