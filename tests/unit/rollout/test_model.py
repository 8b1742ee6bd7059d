"""Whatever happens in whatever order, with clocks that jump and two drivers with stale knowledge: what always holds."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lockgate.rollout.advance import advance, fold, routes
from lockgate.rollout.errors import AlreadyOpen, Fenced, NotNow
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import (
    Asked,
    Broke,
    Built,
    Commanded,
    Decided,
    Drifted,
    Happening,
    Judged,
    Settled,
    State,
    Voided,
)
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import WHOLE, Endpoint, Outcome, Phase

SPEC = RolloutSpec.model_validate(
    {
        "steps": [
            {"shadow": {"timeout": "10m"}},
            {"canary": {"weight": 5, "until": "held", "hold": {"duration": "30s"}, "on_timeout": "hold"}},
            {"approval": {"required": 2, "expires": "1h", "on_expiry": "renew"}},
            {"canary": {"weight": 25, "timeout": "10m"}},
            {"approval": {"expires": "1h"}},
        ],
        "gates": {"errors": {"metric": "error_rate"}},
    }
)
SIDES = {"stable": (Endpoint("127.0.0.1", 1),), "candidate": (Endpoint("127.0.0.1", 2),)}
ENOUGH = 100
"""Hold's min_requests where the spec says nothing."""

ARROWS = {
    Phase.BUILDING: {Phase.PROGRESSING, Phase.FAILED},
    Phase.PROGRESSING: {Phase.WAITING, Phase.PROMOTING, Phase.ROLLING_BACK},
    Phase.WAITING: {Phase.PROGRESSING, Phase.PROMOTING, Phase.ROLLING_BACK},
    Phase.PROMOTING: {Phase.SUCCEEDED, Phase.ROLLING_BACK},
    Phase.ROLLING_BACK: {Phase.ROLLED_BACK},
}
"""As drawn atop advance.py; every phase may also stay."""

APPROVALS = {2: 2, 4: 1}
"""How many, by step."""

NAMES = st.sampled_from(["one", "other"])
FRESH = st.sampled_from([True, True, False])
"""Has the driver looked at the log just now?"""
PEOPLE, DIGESTS = st.sampled_from(["ada", "bob", ""]), st.sampled_from(["one", "one", "other", ""])
COMMANDS = st.sampled_from(["pause", "resume", "resume", "promote", "pause", "resume", "resume", "abort"])


Moves = list[tuple[Event, Event]]
"""Each event of the log with the one after it."""


class Model(RuleBasedStateMachine):
    reached: ClassVar[set[Phase]] = set()
    fenced: ClassVar[int] = 0
    approved: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.store = Store("sqlite://")
        self.now = 1e6
        self.opened = 0
        self.seen: dict[str, Event] = {}
        """What each driver believes to be the last event of the rollout."""

    def teardown(self) -> None:
        self.store.close()

    @initialize(step=st.integers(0, 4))
    def the_first_has_come_to_some_step(self, step: int) -> None:
        self.open_another()
        self.built("one", fresh=True)
        for index in range(step):
            self.two_people_approve_within_the_hour("one") if index in APPROVALS else self.passes_after_a_minute("one")

    @rule()
    def open_another(self) -> None:
        had_one = self.store.open_of("fraud")
        it = Rollout(f"fraud-{self.opened}", "fraud", SPEC, {}, {}, self.now, None)
        try:
            self.store.open(it, self.now)
        except AlreadyOpen:
            assert had_one is not None
            return
        assert had_one is None
        self.opened += 1
        self.rollout = self.store.rollout(it.id)
        self.seen = dict.fromkeys(("one", "other"), self.store.last(it.id))

    @precondition(lambda self: self.last.state.phase.over)
    @rule()
    def close(self) -> None:
        self.store.close_rollout(self.rollout.id, self.now)

    @rule(seconds=st.sampled_from([0.0, 1.0, 31.0, 700.0, 4000.0, -1.0, -700.0, -1e5]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.now += seconds

    @rule(driver=NAMES)
    def look(self, driver: str) -> None:
        self.seen[driver] = self.last

    @rule(driver=NAMES, fresh=FRESH)
    def built(self, driver: str, *, fresh: bool) -> None:
        self.happens(driver, Built({"bento": "fraud:2"}), fresh=fresh)

    @rule(
        driver=NAMES,
        outcome=st.sampled_from(Outcome),
        requests=st.sampled_from([5000, 0, ENOUGH - 1, ENOUGH]),
        fresh=FRESH,
    )
    def judged(self, driver: str, outcome: Outcome, requests: int, *, fresh: bool) -> None:
        self.happens(driver, Judged(Verdict(outcome, (), requests, 0.05, str(outcome))), fresh=fresh)

    @rule(driver=NAMES)
    def passes_after_a_minute(self, driver: str) -> None:
        """What brings a rollout on, so that the later phases are reached often."""
        self.now += 60.0
        self.judged(driver, Outcome.PASS, 5000, fresh=True)

    @rule(driver=NAMES)
    def stays_undecided_until_the_timeout(self, driver: str) -> None:
        self.now += 4000.0
        self.judged(driver, Outcome.UNDECIDED, 0, fresh=True)

    @rule(driver=NAMES)
    def the_same_tick_twice(self, driver: str) -> None:
        self.look(driver)
        stale = self.seen[driver]
        self.judged(driver, Outcome.PASS, 5000, fresh=False)
        self.seen[driver] = stale
        before = self.last
        if before.sequence > stale.sequence:
            self.judged(driver, Outcome.PASS, 5000, fresh=False)
            assert self.last == before

    @rule(driver=NAMES, command=COMMANDS, fresh=FRESH)
    def a_person_says(self, driver: str, command: str, *, fresh: bool) -> None:
        self.happens(driver, Commanded(command, "ada"), fresh=fresh)  # type: ignore[arg-type]

    @rule(driver=NAMES, fresh=FRESH)
    def a_person_breaks_the_glass(self, driver: str, *, fresh: bool) -> None:
        self.happens(driver, Commanded("promote", "ada", "it burns", break_glass=True), fresh=fresh)

    @rule(driver=NAMES, drifting=st.booleans(), action=st.sampled_from(["hold", "hold", "alert", "rollback"]))
    def inputs_drift(self, driver: str, action: Literal["hold", "alert", "rollback"], *, drifting: bool) -> None:
        self.happens(driver, Drifted(drifting, "x drifts", action), fresh=True)

    @rule(driver=NAMES, what=st.sampled_from([Voided("changed"), Asked("one", "a", 1.0)]), fresh=FRESH)
    def it_is_asked(self, driver: str, what: Happening, *, fresh: bool) -> None:
        self.happens(driver, what, fresh=fresh)

    @rule(driver=NAMES, by=PEOPLE, approved=st.sampled_from([True, True, True, False]), digest=DIGESTS, fresh=FRESH)
    def a_person_decides(self, driver: str, by: str, digest: str, *, approved: bool, fresh: bool) -> None:
        self.happens(driver, Decided(approved, by, digest=digest), fresh=fresh)

    @rule(driver=NAMES)
    def two_people_approve_within_the_hour(self, driver: str) -> None:
        self.happens(driver, Asked("one", "a", self.now + 3600.0), fresh=True)
        for by in ("ada", "bob"):
            self.happens(driver, Decided(approved=True, by=by, digest="one"), fresh=True)

    @rule(driver=NAMES, what=st.sampled_from([Settled(), Settled(), Settled(), Broke("replicas died")]), fresh=FRESH)
    def ends(self, driver: str, what: Happening, *, fresh: bool) -> None:
        self.happens(driver, what, fresh=fresh)

    def happens(self, driver: str, happening: Happening, *, fresh: bool = False) -> None:
        """As a controller records it: after what it believes to be the last event."""
        if fresh:
            self.look(driver)
        before, seen = self.store.events(self.rollout.id), self.seen[driver]
        try:
            self.seen[driver] = self.store.append(self.rollout, seen, happening, self.now)
            assert seen == before[-1]
        except Fenced:
            Model.fenced += 1
            assert seen != before[-1]
            assert self.store.events(self.rollout.id) == before
        except NotNow:
            assert self.store.events(self.rollout.id) == before

    @property
    def last(self) -> Event:
        return self.store.last(self.rollout.id)

    @invariant()
    def at_most_one_rollout_is_open(self) -> None:
        assert len([r for r in self.store.rollouts("fraud") if r.closed_at is None]) <= 1

    @invariant()
    def the_log_is_sound(self) -> None:
        log = self.store.events(self.rollout.id)
        assert [e.sequence for e in log] == list(range(1, len(log) + 1))
        assert fold(SPEC, [(e.at, e.happening) for e in log]) == log[-1].state
        moves = list(pairwise(log))
        for a, b in moves:
            assert advance(SPEC, a.state, b.happening, b.at) == b.state
            assert not a.state.phase.over or a.state == b.state
        self.every_move_is_a_drawn_arrow_and_no_step_is_skipped_or_repeated(moves)
        self.it_is_promoted_by_a_pass_of_every_step_or_by_a_person(moves)
        self.the_weight_rises_only_with_the_step_and_never_after_a_fail(moves)

    def every_move_is_a_drawn_arrow_and_no_step_is_skipped_or_repeated(self, moves: Moves) -> None:
        for a, b in moves:
            Model.reached.add(b.state.phase)
            assert b.state.phase is a.state.phase or b.state.phase in ARROWS[a.state.phase]
            assert b.state.step in (a.state.step, a.state.step + 1)

    def it_is_promoted_by_a_pass_of_every_step_or_by_a_person(self, moves: Moves) -> None:
        passed = set()
        for a, b in moves:
            promoted = b.state.phase is Phase.PROMOTING is not a.state.phase
            if promoted and isinstance(b.happening, Commanded):
                assert b.happening.command == "promote"
                assert b.happening.break_glass  # the last step is an approval: no other word goes past it
            elif promoted or b.state.step > a.state.step:
                assert not a.state.held
                assert a.state.paused_at is None
                if a.state.step in APPROVALS:
                    assert self.is_approved(a.state, b.happening)
                else:
                    assert self.may_go_on(a.state, b.happening)
                passed.add(a.state.step)
                assert not promoted or passed == {0, 1, 2, 3, 4}
                Model.approved += promoted

    def the_weight_rises_only_with_the_step_and_never_after_a_fail(self, moves: Moves) -> None:
        failed = False
        for a, b in moves:
            before, after = self.weight(a.state), self.weight(b.state)
            judges = a.state.phase in (Phase.PROGRESSING, Phase.WAITING)
            failed |= judges and isinstance(b.happening, Judged) and b.happening.verdict.outcome is Outcome.FAIL
            assert after == 0 or after >= before
            assert not (failed and after > 0)

    @staticmethod
    def may_go_on(state: State, happening: Happening) -> bool:
        assert isinstance(happening, Judged)
        assert state.phase is Phase.PROGRESSING
        allowed = {Outcome.PASS, Outcome.UNDECIDED} if state.step == 1 else {Outcome.PASS}
        return happening.verdict.outcome in allowed and happening.verdict.requests >= ENOUGH

    @staticmethod
    def is_approved(state: State, happening: Happening) -> bool:
        """By as many people as it takes, of what is asked; perhaps while it was held."""
        names = set(state.approvals)
        if isinstance(happening, Decided):
            assert happening.approved
            assert happening.digest == state.asked
            names.add(happening.by)
        else:
            assert isinstance(happening, Judged)
        return bool(state.asked) and len(names) >= APPROVALS[state.step]

    @staticmethod
    def weight(state: State) -> int:
        """Of the candidate, in ten-thousandths; when it has become the stable side, all."""
        wanted = routes(SPEC, state, SIDES, "salt")
        return WHOLE if wanted.stable == SIDES["candidate"] else wanted.weight


def test_what_always_holds() -> None:
    Model.reached, Model.fenced, Model.approved = set(), 0, 0
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Model, settings=settings(max_examples=100, stateful_step_count=40, deadline=None, derandomize=True)
    )
    assert {Phase.WAITING, Phase.PROMOTING, Phase.ROLLED_BACK} <= Model.reached
    assert Model.fenced > 50
    assert Model.approved
