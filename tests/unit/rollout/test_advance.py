"""`advance` and `routes`: every phase with everything that can happen to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.rollout.advance import advance, fold, label, mirror, routes, weight
from lockgate.rollout.errors import NotNow
from lockgate.rollout.spec import CanaryStep, RolloutSpec
from lockgate.rollout.state import Broke, Built, Commanded, Happening, Judged, Opened, Settled, State
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import WHOLE, Endpoint, Phase, Routes

SpecOf = Callable[..., RolloutSpec]
VerdictOf = Callable[..., Verdict]
Happen = Callable[[str], Happening]

# What each phase becomes; `=` is the very same state, `!` is NotNow. `paused` is progressing, held by a person.
TABLE = """
             opened   built       pass        undecided error fail         promote   abort        pause  resume      broke        settled
pending      building !           =           =         =     =            !         failed       !      !           failed       !
building     !        progressing =           =         =     =            !         failed       !      !           failed       !
progressing  !        !           progressing =         =     rolling_back promoting rolling_back paused =           rolling_back !
paused       !        !           =           =         =     rolling_back promoting rolling_back =      progressing rolling_back !
waiting      !        !           =           =         =     rolling_back promoting rolling_back paused =           rolling_back !
promoting    !        !           =           =         =     =            !         rolling_back !      !           rolling_back succeeded
probation    !        !           =           =         =     =            !         !            !      !           =            !
succeeded    !        !           =           =         =     =            !         !            !      !           =            !
rolling_back !        !           =           =         =     =            !         !            !      !           =            rolled_back
rolled_back  !        !           =           =         =     =            !         !            !      !           =            !
failed       !        !           =           =         =     =            !         !            !      !           =            !
"""  # noqa: E501 - a table is read by its columns
_HEAD, *_ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [(row[0], what, after) for row in _ROWS for what, after in zip(_HEAD, row[1:], strict=True)]
VERDICTS = ("pass", "undecided", "error", "fail")
COMMANDS = ("promote", "abort", "pause", "resume")

SIDES = {"stable": (Endpoint("127.0.0.1", 1),), "candidate": (Endpoint("127.0.0.1", 2), Endpoint("127.0.0.1", 3))}


def at(phase: str, now: float = 100.0) -> State:
    if phase == "paused":
        return State(Phase.PROGRESSING, since=now, paused_at=now)
    return State(Phase(phase), since=now)


def passed_through(state: State) -> str:
    return "paused" if state.paused_at is not None else str(state.phase)


@pytest.fixture
def happen(verdict_of: VerdictOf) -> Happen:
    def make(what: str) -> Happening:
        if what in VERDICTS:
            return Judged(verdict_of(what))
        if what in COMMANDS:
            return Commanded(what, "ada", "because")
        return {
            "opened": Opened(),
            "built": Built({"a": "b"}),
            "broke": Broke("the disk is full"),
            "settled": Settled(),
        }[what]

    return make


def test_the_table_names_every_phase_and_every_happening() -> None:
    assert {row[0] for row in _ROWS} - {"paused"} == set(Phase)
    assert {*_HEAD} - {*VERDICTS, *COMMANDS} == {"opened", "built", "broke", "settled"}


@pytest.mark.parametrize(("phase", "what", "after"), CELLS, ids=[f"{p}-{w}" for p, w, _ in CELLS])
def test_every_phase_and_everything_that_can_happen_to_it(
    phase: str, what: str, after: str, spec_of: SpecOf, happen: Happen
) -> None:
    state = at(phase)
    if after == "!":
        with pytest.raises(NotNow, match=str(state.phase)):
            advance(spec_of(), state, happen(what), 200.0)
        return
    new = advance(spec_of(), state, happen(what), 200.0)
    if after == "=":
        assert new == state
    else:
        assert passed_through(new) == after
        assert new != state


class TestAStepEnds:
    STEP: ClassVar[dict[str, object]] = {
        "weight": 5,
        "hold": {"min_requests": 200, "duration": "60s"},
        "timeout": "10m",
    }

    def spec(self, spec_of: SpecOf, **changes: object) -> RolloutSpec:
        return spec_of({"canary": {**self.STEP, **changes}}, {"canary": {"weight": 50}})

    @pytest.mark.parametrize(
        "case",
        [
            ("pass", 200, 60.0, True),
            ("pass", 199, 60.0, False),
            ("pass", 200, 59.9, False),
            ("undecided", 10_000, 599.0, False),
            ("error", 10_000, 599.0, False),
        ],
    )
    def test_when_it_passed_with_enough_requests_for_long_enough(
        self, case: tuple[str, int, float, bool], spec_of: SpecOf, verdict_of: VerdictOf
    ) -> None:
        outcome, requests, after, ends = case
        state = advance(self.spec(spec_of), at("progressing", 0.0), Judged(verdict_of(outcome, requests)), after)
        assert (state.phase, state.step) == (Phase.PROGRESSING, 1 if ends else 0)
        assert state.since == (after if ends else 0.0)

    @pytest.mark.parametrize(
        "case",
        [("undecided", 200, 60.0, 1), ("pass", 200, 60.0, 1), ("undecided", 199, 60.0, 0), ("error", 200, 60.0, 0)],
    )
    def test_until_held_needs_only_that_no_gate_fails(
        self, case: tuple[str, int, float, int], spec_of: SpecOf, verdict_of: VerdictOf
    ) -> None:
        outcome, requests, after, step = case
        spec = self.spec(spec_of, until="held")
        assert advance(spec, at("progressing", 0.0), Judged(verdict_of(outcome, requests)), after).step == step

    @pytest.mark.parametrize("outcome", ["pass", "undecided", "error"])
    def test_by_rolling_back_when_its_time_is_over(self, outcome: str, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        spec, judged = self.spec(spec_of), Judged(verdict_of(outcome, 10))
        assert advance(spec, at("progressing", 0.0), judged, 599.9).phase is Phase.PROGRESSING
        state = advance(spec, at("progressing", 0.0), judged, 600.0)
        assert (state.phase, state.ending) == (Phase.ROLLING_BACK, "undecided")
        assert state.reason == f"canary 5 % was {outcome} when its timeout of 600 s ended"

    def test_by_waiting_for_a_person_where_the_spec_says_so(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        spec = self.spec(spec_of, on_timeout="hold")
        state = advance(spec, at("progressing", 0.0), Judged(verdict_of("undecided")), 600.0)
        assert (state.phase, state.ending, state.step) == (Phase.WAITING, "", 0)
        assert advance(spec, state, Judged(verdict_of("pass")), 9e9) == state
        assert advance(spec, state, Commanded("promote", "ada"), 9e9).phase is Phase.PROMOTING

    def test_a_pass_in_the_last_moment_counts(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        assert advance(self.spec(spec_of), at("progressing", 0.0), Judged(verdict_of("pass")), 600.0).step == 1

    def test_the_last_one_promotes(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        state = replace(at("progressing", 0.0), step=1)
        assert advance(self.spec(spec_of), state, Judged(verdict_of("pass")), 60.0).phase is Phase.PROMOTING


class TestPause:
    def test_does_not_count_against_the_timeout_nor_for_the_hold(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        spec = spec_of(
            {"canary": {"weight": 5, "hold": {"duration": "60s"}, "timeout": "10m"}}, {"canary": {"weight": 9}}
        )
        said = {c: Commanded(c, "ada") for c in COMMANDS}
        state = advance(spec, at("progressing", 0.0), said["pause"], 50.0)
        assert advance(spec, state, Judged(verdict_of("pass")), 5000.0) == state
        state = advance(spec, state, said["resume"], 5050.0)
        assert state.since == 5000.0
        assert state.paused_at is None
        assert advance(spec, state, Judged(verdict_of("pass")), 5059.0).step == 0
        assert advance(spec, state, Judged(verdict_of("pass")), 5060.0).step == 1
        assert advance(spec, state, Judged(verdict_of("undecided")), 5599.0).phase is Phase.PROGRESSING
        assert advance(spec, state, Judged(verdict_of("undecided")), 5600.0).phase is Phase.ROLLING_BACK

    def test_a_second_pause_does_not_begin_it_anew(self, spec_of: SpecOf) -> None:
        state = advance(spec_of(), at("progressing", 0.0), Commanded("pause", "ada"), 10.0)
        assert advance(spec_of(), state, Commanded("pause", "bob"), 20.0).paused_at == 10.0

    @pytest.mark.parametrize("what", ["fail", "abort", "promote", "broke"])
    def test_ends_with_the_steps(self, what: str, spec_of: SpecOf, happen: Happen) -> None:
        assert advance(spec_of(), at("paused"), happen(what), 200.0).paused_at is None

    def test_a_clock_that_was_set_back_meanwhile_is_no_time_passed(self, spec_of: SpecOf) -> None:
        state = advance(spec_of(), at("progressing", 1000.0), Commanded("pause", "ada"), 1010.0)
        assert advance(spec_of(), state, Commanded("resume", "ada"), 400.0).since == 390.0


@pytest.mark.parametrize(
    "case",
    [
        ("progressing", "fail", "gate", "errors: fail"),
        ("waiting", "fail", "gate", "errors: fail"),
        ("paused", "fail", "gate", "errors: fail"),
        ("progressing", "abort", "by_hand", "abort by ada: because"),
        ("building", "abort", "by_hand", "abort by ada: because"),
        ("progressing", "promote", "by_hand", "promote by ada: because"),
        ("progressing", "broke", "broken", "the disk is full"),
        ("promoting", "broke", "broken", "the disk is full"),
        ("building", "broke", "broken", "the disk is full"),
    ],
)
def test_every_end_says_why(case: tuple[str, str, str, str], spec_of: SpecOf, happen: Happen) -> None:
    phase, what, ending, reason = case
    state = advance(spec_of(), at(phase), happen(what), 200.0)
    assert (state.ending, state.reason, state.since) == (ending, reason, 200.0)


def test_a_candidate_that_cannot_be_served_is_refused(spec_of: SpecOf) -> None:
    state = advance(spec_of(), at("building"), Broke("no signature", refused=True), 1.0)
    assert (state.phase, state.ending) == (Phase.FAILED, "refused")


def test_a_command_without_a_comment(spec_of: SpecOf) -> None:
    assert advance(spec_of(), at("waiting"), Commanded("abort", "ada"), 1.0).reason == "abort by ada"


def test_what_was_built_is_kept_to_the_end(spec_of: SpecOf, verdict_of: VerdictOf) -> None:
    happened = [(0.0, Opened()), (1.0, Built({"bento": "x"})), (2.0, Judged(verdict_of("fail"))), (3.0, Settled())]
    state = fold(spec_of(), happened)
    assert (state.phase, state.facts) == (Phase.ROLLED_BACK, {"bento": "x"})


class TestRoutes:
    STABLE, CANDIDATE = SIDES["stable"], SIDES["candidate"]

    @pytest.mark.parametrize(
        ("phase", "step", "expected"),
        [
            ("pending", 0, Routes(STABLE, salt="s")),
            ("building", 0, Routes(STABLE, salt="s")),
            ("progressing", 0, Routes(STABLE, CANDIDATE, mirror=WHOLE, salt="s")),
            ("progressing", 1, Routes(STABLE, CANDIDATE, weight=500, salt="s")),
            ("progressing", 2, Routes(STABLE, CANDIDATE, weight=2500, salt="s")),
            ("paused", 0, Routes(STABLE, CANDIDATE, mirror=WHOLE, salt="s")),
            ("waiting", 2, Routes(STABLE, CANDIDATE, weight=2500, salt="s")),
            ("promoting", 2, Routes(STABLE, CANDIDATE, weight=WHOLE, salt="s")),
            ("succeeded", 2, Routes(CANDIDATE, salt="s")),
            ("rolling_back", 2, Routes(STABLE, CANDIDATE, salt="s")),
            ("rolled_back", 2, Routes(STABLE, salt="s")),
            ("failed", 0, Routes(STABLE, salt="s")),
        ],
    )
    def test_of_each_phase(self, phase: str, step: int, expected: Routes, spec_of: SpecOf) -> None:
        assert routes(spec_of(), replace(at(phase), step=step), SIDES, "s") == expected

    @pytest.mark.parametrize("phase", list(Phase))
    def test_without_a_replica_of_the_candidate_stable_answers_everything(self, phase: str, spec_of: SpecOf) -> None:
        sides = {"stable": self.STABLE, "candidate": ()}
        assert routes(spec_of(), at(phase), sides, "s") == Routes(self.STABLE, salt="s")

    @given(st.lists(st.integers(1, 9999), min_size=1, max_size=6, unique=True).map(sorted), st.booleans())
    def test_weights_never_fall_from_step_to_step(self, spec_of: SpecOf, shares: list[int], shadow: bool) -> None:  # noqa: FBT001 - hypothesis passes it
        steps = [{"canary": {"weight": f"{share / 100:.2f}%"}} for share in shares]
        spec = spec_of(*([{"shadow": {"percent": 50}}] if shadow else []), *steps)
        served = [routes(spec, replace(at("progressing"), step=i), SIDES, "s").weight for i in range(len(spec.steps))]
        assert served == ([0] if shadow else []) + shares  # ten-thousandths, exactly
        assert max(served) < routes(spec, at("promoting"), SIDES, "s").weight == WHOLE


def test_a_step_says_what_it_is(spec_of: SpecOf) -> None:
    steps = spec_of({"shadow": {"percent": 12.5}}, {"canary": {"weight": 2.5}}).steps
    assert [(label(s), weight(s), mirror(s)) for s in steps] == [("shadow 12.5 %", 0, 1250), ("canary 2.5 %", 250, 0)]
    assert isinstance(steps[1], CanaryStep)
