"""Approval steps: nobody is promoted whom nobody approved, and time, gates and people each have their say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lockgate.rollout.advance import advance, label, routes
from lockgate.rollout.errors import NotNow
from lockgate.rollout.spec import ApprovalStep, RolloutSpec
from lockgate.rollout.state import (
    STATE,
    Allocated,
    Asked,
    Broke,
    Built,
    Commanded,
    Decided,
    Drifted,
    Dropped,
    Happening,
    Judged,
    Opened,
    Settled,
    State,
    Voided,
)
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import WHOLE, Endpoint, Outcome, Phase, Routes

SpecOf = Callable[..., RolloutSpec]
VerdictOf = Callable[..., Verdict]
SIDES = {name: (Endpoint("127.0.0.1", 1 + i),) for i, name in enumerate(("stable", "candidate", "small"))}
SHADOW, CANARY, MORE = {"shadow": {"percent": 100}}, {"canary": {"weight": 5}}, {"canary": {"weight": 25}}
AB = {"ab": {"weight": 60, "metric": "conversion", "timeout": "7d", "others": ["small"]}}
DAY = 86_400.0

# What an approval step in the middle becomes, at 200 s; `=` is the very same state, `!` is NotNow. What was asked
# expires at 1000 s. `+1` is an approval that was given.
TABLE = """
             ask           approve       reject stale void           pass error fail promote glass     abort pause          resume  drift          over
unasked      asked         !             !      !     unasked        =    =     back !       promoting back  unasked-paused =       unasked-held   =
asked        =             next          back   !     unasked        =    =     back !       promoting back  asked-paused   =       asked-held     =
asked-paused =             asked-paused+1 back  !     unasked-paused =    =     back !       promoting back  =              asked   asked-paused-held =
asked-held   =             asked-held+1  back   !     unasked-held   =    =     back !       promoting back  asked-paused-held asked =             asked
"""  # noqa: E501 - a table is read by its columns
_HEAD, *_ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [(row[0], what, after) for row in _ROWS for what, after in zip(_HEAD, row[1:], strict=True)]


def approval(**options: object) -> dict[str, Any]:
    return {"approval": {"role": "risk-leads", **options}}


def approve(by: str = "ada", digest: str = "d", **more: Any) -> Decided:
    return Decided(approved=True, by=by, digest=digest, **more)


def reject(by: str = "ada", comment: str = "", digest: str = "d") -> Decided:
    return Decided(approved=False, by=by, comment=comment, digest=digest)


def waiting(step: int = 1, asked: str = "d", expires_at: float = 1000.0, **more: Any) -> State:
    expires_at = expires_at if asked else 0.0
    return State(Phase.WAITING, step=step, since=100.0, asked=asked, expires_at=expires_at, **more)


def in_words(state: State) -> str:
    if state.phase is Phase.PROGRESSING and state.step == 2:
        return "next"
    if state.phase is not Phase.WAITING:
        return {"rolling_back": "back"}.get(state.phase, str(state.phase))
    flags = ("-paused" if state.paused_at is not None else "") + ("-held" if state.held else "")
    given = f"+{len(state.approvals)}" if state.approvals else ""
    return ("asked" if state.asked else "unasked") + flags + given


@pytest.fixture
def middle(spec_of: SpecOf) -> RolloutSpec:
    return spec_of(CANARY, approval(), MORE)


@pytest.mark.parametrize(("row", "what", "after"), CELLS, ids=[f"{row}-{what}" for row, what, _ in CELLS])
def test_everything_that_can_happen_while_people_are_asked(
    row: str, what: str, after: str, middle: RolloutSpec, verdict_of: VerdictOf
) -> None:
    state = waiting(asked="d" if row.startswith("asked") else "")
    if row.endswith("-paused"):
        state = replace(state, paused_at=150.0)
    if row.endswith("-held"):
        state = replace(state, held="x drifts", held_at=150.0)
    happenings: dict[str, Happening] = {
        "ask": Asked("d", "a", 1000.0),
        "approve": approve(),
        "reject": reject(),
        "stale": approve(digest="of something else"),
        "void": Voided("the artifact changed"),
        "glass": Commanded("promote", "ada", "it is on fire", break_glass=True),
        "drift": Drifted(drifting=True, reason="x drifts"),
        "over": Drifted(drifting=False, reason="x is as it was"),
    }
    happening = happenings.get(what) or (
        Judged(verdict_of(what)) if what in list(Outcome) else Commanded(what, "ada")  # type: ignore[arg-type]
    )
    if after == "!":
        with pytest.raises(NotNow):
            advance(middle, state, happening, 200.0)
        return
    new = advance(middle, state, happening, 200.0)
    if after == "=":
        assert new == state
    else:
        assert in_words(new) == after
        assert new != state


@pytest.mark.parametrize("what", [Asked("d", "a", 9.0), approve(), reject(), Voided("why")])
@pytest.mark.parametrize("phase", list(Phase))
def test_only_approval_steps_ask_and_hear_people(phase: Phase, what: Happening, spec_of: SpecOf) -> None:
    with pytest.raises(NotNow, match=f"the rollout is {phase}.* and waits for nobody's approval"):
        advance(spec_of(CANARY, approval()), State(phase, step=0, asked="d"), what, 1.0)


class TestComingIn:
    def test_it_waits_from_its_first_moment(self, middle: RolloutSpec, verdict_of: VerdictOf) -> None:
        state = advance(middle, State(Phase.PROGRESSING), Judged(verdict_of("pass")), 60.0)
        assert (state.phase, state.step, state.since, state.asked) == (Phase.WAITING, 1, 60.0, "")

    def test_traffic_stays_as_the_step_before_left_it(self, spec_of: SpecOf) -> None:
        for before in (SHADOW, CANARY):
            spec = spec_of(before, approval(), MORE)
            assert routes(spec, waiting(), SIDES, "s") == routes(spec, State(Phase.PROGRESSING), SIDES, "s")
        assert routes(spec_of(CANARY, approval()), waiting(), {**SIDES, "candidate": ()}, "s").weight == 0

    def test_a_share_that_was_moved_stays_until_the_next_step(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        ab = {"ab": {"weight": 20, "metric": "conversion", "timeout": "7d"}}
        spec = spec_of(ab, approval(), {"canary": {"weight": 50}})
        state = advance(spec, State(Phase.PROGRESSING), Allocated(4000, "why"), 50.0)
        state = advance(spec, state, Judged(verdict_of("pass")), 60.0)
        assert routes(spec, state, SIDES, "s").weight == 4000
        with pytest.raises(NotNow):
            advance(spec, state, Allocated(5000, "why"), 61.0)
        state = advance(spec, replace(state, asked="d", expires_at=1e9), approve(), 70.0)
        assert (state.step, routes(spec, state, SIDES, "s").weight) == (2, 5000)

    def test_as_the_first_step_stable_answers_everything(self, spec_of: SpecOf) -> None:
        spec = spec_of(approval(), CANARY)
        state = advance(spec, State(Phase.BUILDING), Built({}), 1.0)
        assert (state.phase, state.step) == (Phase.WAITING, 0)
        assert routes(spec, state, SIDES, "s") == Routes(SIDES["stable"], salt="s")
        assert (spec.judged(0), spec.judged(1), spec.challengers_at(0)) == (None, 1, ("candidate",))
        state = advance(spec, replace(state, asked="d", expires_at=9.0), approve(), 2.0)
        assert (state.phase, state.step, state.since) == (Phase.PROGRESSING, 1, 2.0)

    def test_what_was_approved_once_is_not_approved_for_the_next_time(
        self, spec_of: SpecOf, verdict_of: VerdictOf
    ) -> None:
        spec = spec_of(approval(), CANARY, approval())
        state = advance(spec, waiting(0), approve(), 2.0)
        assert (state.asked, state.expires_at, state.approvals) == ("", 0.0, ())
        state = advance(spec, state, Judged(verdict_of("pass")), 60.0)
        assert advance(spec, state, Judged(verdict_of("pass")), 61.0) == state

    def test_as_the_last_step_an_approval_promotes_and_says_whose(self, spec_of: SpecOf) -> None:
        spec = spec_of(CANARY, approval(required=2))
        state = advance(spec, waiting(), approve("ada"), 200.0)
        assert (state.phase, state.approvals) == (Phase.WAITING, ("ada",))
        state = advance(spec, state, approve("bob"), 201.0)
        assert (state.phase, state.ending) == (Phase.PROMOTING, "")
        assert state.reason == "every step passed, approved by ada and bob"
        assert (state.asked, state.expires_at, state.approvals) == ("", 0.0, ())


class TestPeople:
    def test_the_same_person_is_one_however_often(self, spec_of: SpecOf) -> None:
        spec = spec_of(CANARY, approval(required=2))
        state = advance(spec, waiting(), approve("ada"), 200.0)
        with pytest.raises(NotNow, match="it is approved by ada already, and each approval is another person's"):
            advance(spec, state, approve("ada"), 201.0)

    def test_where_several_are_asked_somebody_without_a_name_approves_nothing(self, spec_of: SpecOf) -> None:
        """It may be one of the others, who has said it in the terminal too."""
        spec = spec_of(CANARY, approval(required=2))
        with pytest.raises(NotNow, match="nobody knows whether this is another one"):
            advance(spec, waiting(approvals=("ada",)), approve(""), 200.0)
        assert advance(spec_of(CANARY, approval()), waiting(), approve(""), 200.0).phase is Phase.PROMOTING

    def test_where_the_server_vouches_for_people_nobody_else_approves(self, middle: RolloutSpec) -> None:
        state = advance(middle, waiting(asked=""), Asked("d", "a", 1000.0, vouched=True), 100.0)
        with pytest.raises(NotNow, match="the registry's server vouches for who approves here"):
            advance(middle, state, approve("bob"), 200.0)
        assert advance(middle, state, approve("bob", verified=True, said_at=200.0), 200.0).step == 2
        assert advance(middle, state, reject("bob"), 200.0).ending == "rejected"

    def test_one_who_approved_may_still_reject(self, spec_of: SpecOf) -> None:
        spec = spec_of(CANARY, approval(required=2))
        state = advance(spec, waiting(approvals=("ada",)), reject("ada", "I looked again"), 200.0)
        assert (state.phase, state.ending) == (Phase.ROLLING_BACK, "rejected")
        assert state.reason == "rejected by ada: I looked again"
        assert advance(spec, waiting(), reject(""), 1.0).reason == "rejected by somebody"

    def test_only_what_is_asked_now_can_be_decided(self, middle: RolloutSpec) -> None:
        for state, said in (
            (waiting(), approve(digest="")),
            (waiting(), reject(digest="older")),
            (waiting(asked=""), approve(digest="")),
        ):
            with pytest.raises(NotNow, match="the decision is on other evidence than what is asked now"):
                advance(middle, state, said, 200.0)

    def test_what_has_no_digest_is_not_asked(self, middle: RolloutSpec) -> None:
        with pytest.raises(NotNow, match="cannot ask"):
            advance(middle, waiting(asked=""), Asked("", "a", 1000.0), 200.0)

    def test_other_evidence_is_asked_anew_and_nobody_has_approved_it(self, spec_of: SpecOf) -> None:
        spec = spec_of(CANARY, approval(required=2))
        state = advance(spec, waiting(approvals=("ada",)), Asked("other", "a", 2000.0), 200.0)
        assert (state.asked, state.expires_at, state.approvals) == ("other", 2000.0, ())
        state = advance(spec, waiting(approvals=("ada",)), Voided("the artifact changed"), 300.0)
        assert (state.asked, state.approvals, state.since, state.phase) == ("", (), 300.0, Phase.WAITING)


class TestGates:
    def test_one_that_fails_rolls_back(self, middle: RolloutSpec, verdict_of: VerdictOf) -> None:
        for more in ({}, {"paused_at": 150.0}, {"held": "x drifts", "held_at": 150.0}):
            state = advance(middle, waiting(**more), Judged(verdict_of("fail")), 200.0)
            assert (state.phase, state.ending, state.reason) == (Phase.ROLLING_BACK, "gate", "errors: fail")
            assert (state.asked, state.held, state.paused_at) == ("", "", None)

    def test_however_well_they_pass_nobody_is_promoted(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        spec = spec_of(CANARY, approval())
        assert advance(spec, waiting(), Judged(verdict_of("pass", 10**9)), 999.0) == waiting()

    def test_a_candidate_that_cannot_be_served_goes_back(self, middle: RolloutSpec) -> None:
        state = advance(middle, waiting(), Broke("the candidate's replicas died 3 times"), 200.0)
        assert (state.phase, state.ending) == (Phase.ROLLING_BACK, "broken")


class TestTime:
    @pytest.mark.parametrize(("now", "phase"), [(1059.9, Phase.WAITING), (1060.0, Phase.ROLLING_BACK)])
    def test_what_was_asked_expires(self, now: float, phase: Phase, middle: RolloutSpec, verdict_of: VerdictOf) -> None:
        state = advance(middle, waiting(), Judged(verdict_of("pass")), now)
        assert state.phase is phase
        if phase is Phase.ROLLING_BACK:
            assert state.ending == "expired"
            assert state.reason == "approval by risk-leads: it had 0 of 1 approvals when its time of 1d ended"

    def test_too_few_approvals_are_none(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        spec = spec_of(CANARY, approval(required=2))
        state = advance(spec, waiting(approvals=("ada",)), Judged(verdict_of("pass")), 1060.0)
        assert "it had 1 of 2 approvals" in state.reason

    @pytest.mark.parametrize(("late", "phase"), [(-0.1, Phase.WAITING), (0.0, Phase.ROLLING_BACK)])
    def test_so_does_what_nobody_could_be_asked(
        self, late: float, phase: Phase, middle: RolloutSpec, verdict_of: VerdictOf
    ) -> None:
        state = advance(middle, waiting(asked=""), Judged(verdict_of("error")), 100.0 + DAY + late)
        assert state.phase is phase
        assert "nobody could be asked" in state.reason or phase is Phase.WAITING

    def test_or_it_is_asked_anew(self, spec_of: SpecOf, verdict_of: VerdictOf) -> None:
        spec = spec_of(CANARY, approval(on_expiry="renew", required=2))
        state = advance(spec, waiting(approvals=("ada",)), Judged(verdict_of("pass")), 1060.0)
        assert (state.phase, state.asked, state.approvals, state.since) == (Phase.WAITING, "", (), 1060.0)
        assert state.reason.endswith("ended; it is asked anew")
        assert advance(spec, state, Judged(verdict_of("pass")), 1e9) == state  # whoever asks still has to
        state = advance(spec, state, Asked("e", "a", 2000.0), 1061.0)
        assert (state.asked, state.reason) == ("e", "")
        with pytest.raises(NotNow, match="other evidence"):
            advance(spec, state, approve("bob"), 1062.0)

    def test_a_word_that_came_too_late_approves_nothing(self, middle: RolloutSpec) -> None:
        with pytest.raises(NotNow, match="what was asked is void, for its time is over"):
            advance(middle, waiting(), approve(said_at=900.0), 1000.0)  # its own clock is nobody's word
        late = approve(verified=True, said_at=1000.0)
        with pytest.raises(NotNow, match="void"):
            advance(middle, waiting(), late, 1000.0)

    def test_one_that_was_said_in_time_and_heard_late_counts(self, middle: RolloutSpec) -> None:
        assert advance(middle, waiting(), approve(verified=True, said_at=999.0), 1500.0).step == 2

    def test_a_rejection_is_never_too_late(self, middle: RolloutSpec) -> None:
        assert advance(middle, waiting(), reject(), 5000.0).ending == "rejected"

    def test_voiding_gives_people_the_whole_time_again(self, middle: RolloutSpec, verdict_of: VerdictOf) -> None:
        state = advance(middle, waiting(), Voided("changed"), 900.0)
        assert advance(middle, state, Judged(verdict_of("pass")), 100.0 + DAY).phase is Phase.WAITING
        assert advance(middle, state, Judged(verdict_of("pass")), 900.0 + DAY).ending == "expired"


class TestStandingStill:
    @pytest.mark.parametrize("by", ["pause", "drift"])
    def test_approvals_are_taken_and_the_step_goes_on_afterwards(
        self, by: str, middle: RolloutSpec, verdict_of: VerdictOf
    ) -> None:
        stop, go = {
            "pause": (Commanded("pause", "ada"), Commanded("resume", "ada")),
            "drift": (Drifted(drifting=True, reason="x drifts"), Drifted(drifting=False, reason="over")),
        }[by]
        state = advance(middle, waiting(), stop, 150.0)
        state = advance(middle, state, approve(), 200.0)
        assert (state.step, state.approvals) == (1, ("ada",))
        assert advance(middle, state, Judged(verdict_of("pass")), 5000.0) == state  # approved: nothing expires
        state = advance(middle, state, go, 5000.0)
        assert state.approvals == ("ada",)
        state = advance(middle, state, Judged(verdict_of("error")), 5001.0)
        assert (state.phase, state.step) == (Phase.PROGRESSING, 2)

    @pytest.mark.parametrize("go", [Commanded("resume", "ada"), Drifted(drifting=False, reason="over")])
    def test_what_expired_meanwhile_is_asked_anew(
        self, go: Happening, middle: RolloutSpec, verdict_of: VerdictOf
    ) -> None:
        state = advance(middle, waiting(), Drifted(drifting=True, reason="x drifts"), 150.0)
        assert advance(middle, state, Judged(verdict_of("pass")), 5000.0) == state
        state = advance(middle, state, go, 5000.0)
        assert (state.phase, state.asked, state.since, state.held) == (Phase.WAITING, "", 5000.0, "")
        assert advance(middle, state, Judged(verdict_of("pass")), 5000.0 + DAY - 1).phase is Phase.WAITING

    def test_what_did_not_is_still_asked(self, middle: RolloutSpec) -> None:
        state = advance(middle, waiting(), Commanded("pause", "ada"), 150.0)
        state = advance(middle, state, Commanded("resume", "ada"), 999.0)
        assert (state.asked, state.expires_at) == ("d", 1000.0)


class TestBreakGlass:
    GLASS = Commanded("promote", "ada", "the vendor's outage", break_glass=True)

    def test_promoting_by_hand_is_not_going_past_an_approval(self, middle: RolloutSpec) -> None:
        with pytest.raises(NotNow, match=r"approval by risk-leads is not passed; .* --break-glass"):
            advance(middle, waiting(), Commanded("promote", "ada", "please"), 200.0)

    @pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.WAITING])
    def test_from_a_step_before_it_goes_on_to_the_approval(self, phase: Phase, middle: RolloutSpec) -> None:
        """Also from one that its timeout has left waiting: nothing else would ever bring it on."""
        state = advance(middle, State(phase, paused_at=5.0), Commanded("promote", "ada", "please"), 200.0)
        assert (state.phase, state.step, state.since, state.paused_at) == (Phase.WAITING, 1, 200.0, None)

    @pytest.mark.parametrize("step", [0, 1])
    def test_broken_glass_goes_past_it(self, step: int, middle: RolloutSpec) -> None:
        state = advance(middle, waiting() if step else State(Phase.PROGRESSING), self.GLASS, 200.0)
        assert (state.phase, state.ending) == (Phase.PROMOTING, "by_hand")
        assert state.reason == "promote by ada without the approval: the vendor's outage"

    @pytest.mark.parametrize("comment", ["", "  \n"])
    def test_it_needs_a_reason(self, comment: str, middle: RolloutSpec) -> None:
        said = Commanded("promote", "ada", comment, break_glass=True)
        with pytest.raises(NotNow, match="say why, with --comment"):
            advance(middle, waiting(), said, 200.0)

    def test_behind_the_approval_it_is_a_word_like_any_other(self, middle: RolloutSpec) -> None:
        behind = State(Phase.PROGRESSING, step=2)
        assert advance(middle, behind, Commanded("promote", "ada"), 1.0).reason == "promote by ada"
        assert advance(middle, behind, self.GLASS, 1.0).reason == "promote by ada: the vendor's outage"


class TestSeveralChallengers:
    @pytest.fixture
    def spec(self, spec_of: SpecOf) -> RolloutSpec:
        return spec_of(CANARY, AB, approval())

    def won(self, **more: Any) -> State:
        return waiting(2, winner="small", **more)

    def verdict(self, dropped: tuple[str, ...], verdict_of: VerdictOf) -> Verdict:
        gates = verdict_of("fail").gates
        return replace(verdict_of("pass"), dropped=dropped, others={"small": gates}, winner="candidate")

    def test_everybody_keeps_their_share_and_the_winner_is_asked_for(
        self, spec: RolloutSpec, verdict_of: VerdictOf
    ) -> None:
        passed = replace(verdict_of("pass"), winner="small")
        before = State(Phase.PROGRESSING, step=1)
        state = advance(spec, before, Judged(passed), 60.0)
        assert (state.phase, state.step, state.winner) == (Phase.WAITING, 2, "small")
        assert routes(spec, state, SIDES, "s") == routes(spec, before, SIDES, "s")
        assert spec.challengers == spec.challengers_at(2) == ("candidate", "small")
        assert advance(spec, state, Judged(verdict_of("pass")), 61.0).winner == "small"
        state = advance(spec, replace(state, asked="d", expires_at=99.0), approve(), 62.0)
        assert (state.phase, routes(spec, state, SIDES, "s").candidate) == (Phase.PROMOTING, SIDES["small"])

    def test_a_loser_that_fails_is_dropped_and_people_are_still_asked(
        self, spec: RolloutSpec, verdict_of: VerdictOf
    ) -> None:
        state = advance(spec, self.won(), Judged(self.verdict(("candidate",), verdict_of)), 200.0)
        assert (state.phase, state.dropped, state.asked) == (Phase.WAITING, ("candidate",), "d")
        assert advance(spec, self.won(), Dropped("candidate", "it died"), 200.0).dropped == ("candidate",)

    def test_the_winner_that_fails_takes_all_back(self, spec: RolloutSpec, verdict_of: VerdictOf) -> None:
        state = advance(spec, self.won(), Judged(self.verdict(("small",), verdict_of)), 200.0)
        assert (state.phase, state.ending) == (Phase.ROLLING_BACK, "gate")
        assert state.reason == "small, which was to be approved, failed: errors: fail"
        state = advance(spec, self.won(), Dropped("small", "it died"), 200.0)
        assert (state.phase, state.ending, state.reason) == (Phase.ROLLING_BACK, "broken", "it died")

    def test_breaking_the_glass_promotes_the_winner_unless_another_is_named(self, spec: RolloutSpec) -> None:
        glass = TestBreakGlass.GLASS
        assert advance(spec, self.won(), glass, 200.0).winner == "small"
        assert advance(spec, self.won(), replace(glass, variant="candidate"), 200.0).winner == "candidate"
        with pytest.raises(NotNow, match="it was dropped"):
            advance(spec, self.won(dropped=("candidate",)), replace(glass, variant="candidate"), 200.0)


class TestSpecs:
    def test_a_step_says_whose_approval_it_is(self, spec_of: SpecOf) -> None:
        steps = spec_of(CANARY, approval(), MORE, {"approval": {}}).steps
        assert [label(step) for step in steps[1::2]] == ["approval by risk-leads", "approval"]

    def test_alpha_is_not_spent_on_them(self, spec_of: SpecOf) -> None:
        from lockgate.rollout.analysis.kinds import terms_of

        assert terms_of(spec_of(CANARY, approval(), MORE, approval())) == terms_of(spec_of(CANARY, MORE))

    def test_what_foresees_leaves_them_out(self, spec_of: SpecOf) -> None:
        spec = spec_of(approval(), CANARY, approval(), MORE, approval())
        assert spec.without_approvals() == spec_of(CANARY, MORE)
        assert [index for index, _ in spec.judged_steps] == [1, 3]

    @pytest.mark.parametrize(
        ("steps", "said"),
        [
            ([CANARY, approval(), approval()], "steps\\[2\\].approval: follows another approval"),
            ([approval()], "steps\\[0\\].approval: nothing is judged"),
            ([MORE, approval(), CANARY], "steps\\[2\\].canary.weight: weights must rise"),
            ([AB, approval(), {"canary": {"weight": 70}}], "steps\\[0\\].ab.others: several challengers meet"),
        ],
    )
    def test_rows_that_make_no_sense(self, steps: list[dict[str, Any]], said: str, spec_of: SpecOf) -> None:
        with pytest.raises(ValidationError, match=said):
            spec_of(*steps)

    def test_a_state_of_before_is_read(self) -> None:
        """What an earlier version stored knows nothing of approvals and drift."""
        old = {"phase": "waiting", "step": 2, "since": 5.0, "reason": "a timeout", "winner": "candidate"}
        assert STATE.validate_python(old) == State(Phase.WAITING, 2, 5.0, reason="a timeout")


ROWS = [
    [CANARY, approval(required=2)],
    [approval(required=2), SHADOW, approval(required=2)],
    [approval(), CANARY, approval(required=2, on_expiry="renew"), MORE, approval()],
]
PEOPLE = st.sampled_from(["ada", "bob", ""])
DIGESTS = st.sampled_from(["one", "one", "one", "other"])
THINGS = st.one_of(
    st.builds(Asked, DIGESTS, st.just("a"), st.sampled_from([1e9, 1e9, 10.0])),
    st.builds(approve, PEOPLE, DIGESTS),
    st.builds(approve, PEOPLE, DIGESTS),
    st.builds(reject, PEOPLE, st.just(""), st.sampled_from(["other", "none", "one"])),
    st.just(Voided("changed")),
    st.builds(Drifted, st.booleans(), st.just("x drifts"), st.sampled_from(["hold", "alert", "hold"])),
    st.builds(Commanded, st.sampled_from(["pause", "resume", "promote"]), PEOPLE, st.sampled_from(["", "why"])),
    st.just("pass"),
    st.just("undecided"),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 1.0, 5000.0]), THINGS), min_size=20, max_size=60),
    st.sampled_from(ROWS),
)
def test_no_approval_no_promotion(
    spec_of: SpecOf, verdict_of: VerdictOf, happened: list[tuple[float, Any]], row: list[dict[str, Any]]
) -> None:
    """Whoever says what in whatever order: behind an approval step is only what enough people approved, at once."""
    spec, now = spec_of(*row), 0.0
    state = advance(spec, advance(spec, State(), Opened(), now), Built({}), now)
    asked, approved = "", set[str]()
    for passed, thing in happened:
        now += passed
        happening = Judged(verdict_of(thing)) if isinstance(thing, str) else thing
        try:
            new = advance(spec, state, happening, now)
        except NotNow:
            continue
        if isinstance(happening, Asked | Voided):
            asked, approved = getattr(happening, "digest", ""), set()
        if isinstance(happening, Decided) and happening.approved and happening.digest == asked:
            approved.add(happening.by)
        here = spec.steps[state.step]
        went_on = new.step > state.step or new.phase is Phase.PROMOTING is not state.phase
        if went_on and isinstance(here, ApprovalStep):
            assert asked
            assert len(approved) >= here.approval.required
            assert state.paused_at is None
            assert not state.held
        if not new.asked:
            asked, approved = "", set()
        assert new.phase is not Phase.PROMOTING or new.step == len(spec.steps) - 1
        state = new
    assert routes(spec, state, SIDES, "s").weight in {0, 500, 2500, WHOLE}


def test_the_last_word_is_the_log_s(spec_of: SpecOf) -> None:
    """What ends a rollout settles it as ever."""
    spec = spec_of(CANARY, approval())
    state = advance(spec, advance(spec, waiting(), reject(), 1.0), Settled(), 2.0)
    assert (state.phase, state.ending) == (Phase.ROLLED_BACK, "rejected")
