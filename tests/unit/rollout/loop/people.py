"""The state machine: processes, faults, people and clocks in any order, and what always holds."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lockgate.flows import wanted
from lockgate.flows.command import record
from lockgate.rollout.advance import advance, fold, weight
from lockgate.rollout.errors import NotNow
from lockgate.rollout.state import Commanded, State
from lockgate.rollout.verify import verify
from lockgate.rollout.words import WHOLE, Phase

ENDS_AT_LAST = 60
"""Turns of one undisturbed process, some of them as long as a step may last, in which any rollout ends."""
CALLS = st.one_of(st.integers(0, 70), st.integers(0, 70), st.integers(0, 250))
WHO = st.integers(0, 2)
COMMANDS = st.sampled_from(["pause", "resume", "resume", "resume", "promote", "promote", "abort"])


class Loop(RuleBasedStateMachine):
    reached: ClassVar[Counter[str]] = Counter()
    """Phases and ends, how often each was seen."""
    done: ClassVar[Counter[str]] = Counter()

    def __init__(self, kit: SimpleNamespace) -> None:
        super().__init__()
        self._kit = kit
        self._folder = Path(tempfile.mkdtemp(prefix="lockgate-loop-"))
        self.champions = {"1"}
        self.town: Any = None

    @initialize(number=st.integers(0, 2), turns=st.integers(0, 6))
    def somebody_runs_it(self, number: int, turns: int) -> None:
        self.town = self._kit.town.Town(self._kit, self._folder, self._kit.cases.document(number))
        self.town.start()
        for _ in range(turns):
            self.a_turn(0, seconds=1.0, lazy=False)

    def teardown(self) -> None:
        try:
            if self.town:
                self.the_faults_stop_and_it_ends()
        finally:
            if self.town:
                Loop.done += self.town.spy.done
                self.town.close()
            shutil.rmtree(self._folder)

    # What processes do.

    def one(self, which: int) -> Any:
        living = [p for p in self.town.processes if not p.over]
        return living[which % len(living)] if living else self.town.start()

    @rule(which=WHO, seconds=st.sampled_from([1.0, 1.0, 1.0, 20.0, 700.0]), lazy=st.sampled_from([False, False, True]))
    def a_turn(self, which: int, seconds: float, *, lazy: bool) -> None:
        self.time_passes(seconds)
        process, router = self.one(which), self.town.router
        disturbed = process.frozen or router.fake.down or router.refuses or self.town.full
        process.go(lazy=lazy)
        if not process.over and not disturbed:
            self.sound_after(process)

    @rule(which=WHO, turns=st.integers(2, 5))
    def some_turns(self, which: int, turns: int) -> None:
        for _ in range(turns):
            self.a_turn(which, 1.0, lazy=False)

    @rule(which=WHO, calls=CALLS, lazy=st.booleans())
    def is_frozen_in_a_turn(self, which: int, calls: int, *, lazy: bool) -> None:
        self.time_passes(1.0)
        self.one(which).go(calls, lazy=lazy)

    @rule(which=WHO, calls=CALLS)
    def is_killed_in_a_turn(self, which: int, calls: int) -> None:
        self.time_passes(1.0)
        process = self.one(which)
        process.go(calls)
        process.kill()

    @rule(elsewhere=st.booleans())
    def another_one_is_started(self, *, elsewhere: bool) -> None:
        if len([p for p in self.town.processes if not p.over]) < 3:
            self.town.start(elsewhere=elsewhere)

    @rule(seconds=st.sampled_from([16.0, 40.0, 700.0, 4000.0, -1.0, -20.0, -700.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.town.clock.now += seconds

    def time_passes(self, seconds: float) -> None:
        self.town.clock.now += seconds
        self.town.clock.ticks += seconds
        self.town.traffic.second()

    # What goes wrong, and comes back.

    @rule(what=st.sampled_from(["registry", "router", "stuck", "refuses", "source", "store"]), down=st.booleans())
    def a_port_is_down(self, what: str, *, down: bool) -> None:
        town = self.town
        match what:
            case "registry":
                town.registry.down = down
            case "store":
                town.full = down
            case "source":
                town.traffic.down = down
            case "refuses":
                town.router.refuses = down
            case "stuck":
                town.router.stuck = town.router.fake.down = down
            case "router":
                town.router.fake.down = True

    @precondition(lambda self: self.town.store.open_of("fraud") is not None)  # else nobody is there to see it
    @rule(which=st.integers(0, 2), broken=st.booleans())
    def replicas_die(self, which: int, *, broken: bool) -> None:
        tags = sorted({r.bento for r in self.town.machine.up.values()})
        if tags:
            tag = tags[which % len(tags)]
            self.town.machine.die(tag)
            if broken and tag != f"fraud:{self.town.champion()}":
                self.town.machine.broken.add(tag)

    @rule()
    def they_can_be_started_again(self) -> None:
        self.town.machine.broken.clear()

    @rule(bad=st.sampled_from([True, False, False, False]))
    def the_candidate_is_bad(self, *, bad: bool) -> None:
        if bad:
            self.town.traffic.bad.add(f"fraud:{self.town.registry.aliases['fraud', 'challenger']}")

    @rule(drifting=st.booleans())
    def the_inputs_drift(self, *, drifting: bool) -> None:
        self.town.drifting = drifting

    @rule(better=st.sampled_from(["candidate", "small", ""]))
    def users_like_another_one(self, better: str) -> None:
        self.town.better = better

    # What people do.

    @rule(command=COMMANDS, glass=st.booleans())
    def a_person_says(self, command: Literal["promote", "abort", "pause", "resume"], *, glass: bool) -> None:
        if self.town.rollout is not None:
            self.says(Commanded(command, "ada", "it burns", break_glass=glass))

    def says(self, said: Commanded) -> None:
        with self._kit.allowed(NotNow):
            record(self.town.store, self.town.rollout, said)

    @rule(word=st.sampled_from(["approved", "approved", "approved: fine", "rejected: no"]))
    def a_person_edits_the_page(self, word: str) -> None:
        registry = self.town.registry
        for (model, number), page in registry.pages.items():
            if page.request and page.approval == "pending" and not registry.down:
                registry.person_says(registry.resolve(model, number), word)

    @rule()
    def the_files_change(self) -> None:
        self.town.registry.changed.add(("fraud", self.town.registry.aliases["fraud", "challenger"]))

    @precondition(lambda self: self.town.store.open_of("fraud") is None)
    @rule()
    def there_is_another_challenger(self) -> None:
        aliases = self.town.registry.aliases
        aliases["fraud", "challenger"] = str(min(9, int(aliases["fraud", "challenger"]) + 2))
        aliases["fraud", "small"] = str(int(aliases["fraud", "challenger"]) - 1)
        self.town.registry.changed.clear()

    # What holds.

    @invariant()
    def the_log_is_sound(self) -> None:
        if self.town is None or self.town.rollout is None:
            return
        rollout = self.town.rollout
        spec, log = rollout.spec, self.town.store.events(rollout.id)
        assert [e.sequence for e in log] == list(range(1, len(log) + 1))
        assert fold(spec, [(e.at, e.happening) for e in log]) == log[-1].state
        Loop.reached[str(log[-1].state.phase)] += 1
        Loop.reached["held"] += bool(log[-1].state.held)
        failed = False
        for a, b in pairwise(log):
            assert advance(spec, a.state, b.happening, b.at) == b.state
            before, after = self.share(a.state), self.share(b.state)
            failed |= a.state.phase.stepping and self._kit.cases.fails(b.happening)
            assert after == 0 or after >= before
            assert not (failed and after)
            if b.state.phase is Phase.PROMOTING is not a.state.phase or b.state.step > a.state.step:
                assert self._kit.cases.may_go_on(spec, a.state, b.happening), (a, b)

    def share(self, state: State) -> int:
        """Of everybody but stable, in ten-thousandths."""
        spec = self.town.rollout.spec
        if state.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
            return WHOLE
        if not state.phase.stepping or (judged := spec.judged(state.step)) is None:
            return 0
        return weight(spec.steps[judged], state)

    @invariant()
    def there_is_one_champion_and_somebody_promoted_it(self) -> None:
        if self.town is None:
            return
        now = self.town.champion()
        if now in self.champions:
            return
        for rollout in self.town.store.rollouts("fraud"):
            for event in self.town.store.events(rollout.id):
                if event.state.phase is Phase.PROMOTING:
                    self.champions.add(rollout.subject[event.state.winner])
        assert now in self.champions

    def sound_after(self, process: Any) -> None:
        """One whole turn, with everything up: the data plane serves what the state asks for."""
        town, rollout = self.town, self.town.rollout
        if rollout is None:
            return
        driven = town.store.holder(rollout.id, town.clock.now) == process.name
        wanted = town.wanted()
        unrouted = town.last.state.phase in (Phase.PENDING, Phase.BUILDING, Phase.FAILED)
        if driven and not unrouted and wanted.stable:
            Loop.reached["sound turn"] += 1
            assert town.served() == wanted

    def the_faults_stop_and_it_ends(self) -> None:
        """Whoever was frozen goes on; whoever had died is followed by another one; people say what is asked of them."""
        town = self.town
        town.full = town.registry.down = town.traffic.down = town.router.refuses = town.router.stuck = False
        town.machine.broken.clear()
        town.drifting = False
        for process in town.processes:
            if not process.over:
                self.time_passes(1.0)
                process.go()
        last = town.last
        if last and last.state.phase.stepping and last.state.paused_at is not None:
            self.says(Commanded("resume", "ada"))
        for turn in range(ENDS_AT_LAST):
            if town.store.open_of("fraud") is None:
                break
            self.time_passes(3.0 if turn % 6 else 800.0)
            self.one(0).go()
            self.people_answer()
        self.what_is_left()

    def people_answer(self) -> None:
        """Whatever they are asked: a step whose time is over, or an approval."""
        self.a_person_edits_the_page("approved")
        last = self.town.last
        if last and last.state.phase is Phase.WAITING and not last.state.asked:
            self.says(Commanded("promote", "ada"))

    def what_is_left(self) -> None:
        town = self.town
        if (rollout := town.rollout) is None:
            return
        state = town.last.state
        assert rollout.closed_at is not None, self.told()
        assert state.phase.over
        Loop.reached[f"ended {state.phase}"] += 1
        Loop.reached[f"ended by {state.ending}"] += 1
        checks = verify(rollout.spec, town.store.events(rollout.id), town.store.looks(rollout.id))
        assert not [check for check in checks if check.wrong]
        champion = rollout.subject[state.winner if state.phase is Phase.SUCCEEDED else "stable"]
        assert town.champion() == champion, self.told()
        assert town.registry.announced("fraud") in {"", *(r.id for r in town.store.rollouts("fraud"))}
        if state.phase is not Phase.FAILED:
            assert town.served() == town.wanted(), self.told()
            assert {r.bento for r in town.machine.up.values()} == {f"fraud:{champion}"}, self.told()
            mark = wanted.read(town.home, "fraud")
            assert mark
            assert mark.stable == self._kit.plane.bento("fraud", champion), self.told()

    def told(self) -> str:
        """The end of the story, for whoever looks for the reason."""
        town = self.town
        log = town.store.events(town.rollout.id)[-6:]
        return "\n".join(
            (
                f"holder {town.store.holder(town.rollout.id, town.clock.now)!r} at {town.clock.now}",
                *(f"{e.sequence} {e.at} {e.happening} -> {e.state.phase} {e.state.step} {e.state.reason}" for e in log),
                *(f"{p.name}: over {p.over}, frozen {p.frozen}, ended {p.ended!r}" for p in town.processes),
                f"serves {town.served()}, wanted {town.wanted()}, up {town.machine.up}",
                f"pages {town.registry.pages}",
            )
        )
