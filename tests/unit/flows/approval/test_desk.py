"""What is asked of people in the registry, and what becomes of what they decide there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows.approval import desk as the_desk
from lockgate.flows.approval.asking import placed
from lockgate.flows.approval.desk import Desk
from lockgate.flows.approval.said import decide
from lockgate.flows.home import Home
from lockgate.flows.hooks import wake
from lockgate.registry.approvals import Request
from lockgate.rollout.errors import NotNow
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Asked, Broke, Built, Commanded, Decided, Judged, Voided
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Outcome, Phase

GATES = {"errors": {"metric": "error_rate"}}
FACTS = {"candidate_digest": "b" * 64, "candidate_bento": "fraud:b"}
DAY = 86_400.0


@dataclass
class Office:
    """A rollout in its approval step, the registry where it asks, and the desk between them."""

    world: Any
    store: Store
    registry: Any
    rollout: Rollout
    desk: Desk
    now: float = field(default_factory=time.time)

    @property
    def version(self) -> Any:
        return self.registry.resolve("fraud", "2")

    @property
    def event(self) -> Event:
        return self.store.last(self.rollout.id)

    def happen(self, happening: Any) -> Event:
        return self.store.append(self.rollout, self.event, happening, self.now)

    def looks(self) -> list[Any]:
        """What the desk has to say at its next reading: it works in a thread, which is waited for."""
        self.now += the_desk.EVERY
        assert self.desk.look(self.event, self.now) == []
        self.desk.join()
        return self.desk.look(self.event, self.now)

    def asked(self) -> Request:
        """The question is on the page and in the log."""
        (happening,) = self.looks()
        assert isinstance(happening, Asked)
        self.happen(happening)
        request = self.registry.page(self.version).request
        assert request.digest == self.event.state.asked
        return request

    def restart(self) -> None:
        self.desk = Desk(self.world, self.rollout)


@pytest.fixture
def office_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_registry: Any) -> Callable[..., Office]:
    monkeypatch.setattr("lockgate.flows.builds.known", lambda *_: None)

    def make(**approval: Any) -> Office:
        steps = [{"shadow": {}}, {"approval": approval}, {"canary": {"weight": 50}}]
        spec = RolloutSpec.model_validate({"steps": steps, "gates": GATES})
        registry = fake_registry()
        registry.put("fraud", 2)
        store = Store(f"sqlite:///{tmp_path / 'state.db'}")
        rollout = Rollout("fraud-1", "fraud", spec, {"model": "fraud", "stable": "1", "candidate": "2"}, {}, 1.0, None)
        store.open(rollout, 1.0)
        world = SimpleNamespace(
            store=store, registry=registry, home=Home(tmp_path, ""), spec=SimpleNamespace(name="fraud", rollout=spec)
        )
        it = Office(world, store, registry, rollout, Desk(world, rollout))  # type: ignore[arg-type]
        it.happen(Built(FACTS))
        it.happen(Judged(Verdict(Outcome.PASS, (), 1000, 0.05, "fine", 1)))
        assert it.event.state.phase is Phase.WAITING
        return it

    return make


@pytest.fixture
def office(office_of: Callable[..., Office]) -> Office:
    return office_of()


def test_it_asks_with_the_evidence_and_what_the_step_wants(office_of: Callable[..., Office]) -> None:
    office = office_of(role="risk-leads", required=2, expires="1h")
    request = office.asked()
    assert (request.role, request.required, request.not_author) == ("risk-leads", 2, True)
    assert (request.artifact, request.expires_at) == ("b" * 64, request.asked_at + 3600)
    assert "fraud" in office.registry.pages["fraud", "2"].evidence
    kept = [name for _, _, name in office.registry.files]
    assert f"lockgate/approval-{request.digest[:12]}/evidence.json" in kept


def test_what_a_person_writes_on_the_page_goes_into_the_log(office: Office) -> None:
    office.asked()
    assert office.looks() == []
    office.registry.person_says(office.version, "approved: fine with me")
    (decided,) = office.looks()
    assert (decided.approved, decided.by, decided.comment, decided.verified) == (True, "", "fine with me", False)
    assert office.happen(decided).state.phase is Phase.PROGRESSING


def test_a_person_whom_the_server_knows_is_named(office: Office) -> None:
    office.registry.people = True
    office.asked()
    office.registry.person_says(office.version, "rejected: too slow", "bob", verified=True)
    (decided,) = office.looks()
    assert (decided.approved, decided.by, decided.verified) == (False, "bob", True)
    assert office.happen(decided).state.ending == "rejected"


def test_the_same_word_counts_once(office_of: Callable[..., Office]) -> None:
    office = office_of(required=2)
    office.registry.people = True
    office.asked()
    office.registry.person_says(office.version, "approved", "bob", verified=True)
    (first,) = office.looks()
    office.happen(first)
    assert office.looks() == [], "the files are looked at"
    assert office.looks() == []
    assert office.event.state.phase is Phase.WAITING


def test_where_several_are_asked_a_word_without_a_name_is_none(office_of: Callable[..., Office]) -> None:
    office = office_of(required=2)
    office.asked()
    office.registry.person_says(office.version, "approved")
    assert office.looks() == []


def test_a_rejection_stands_against_an_approval_of_the_same_seconds(office_of: Callable[..., Office]) -> None:
    office = office_of(required=2)
    office.registry.people = True
    office.asked()
    office.registry.person_says(office.version, "approved", "bob", verified=True)
    office.registry.person_says(office.version, "rejected", "carol", verified=True)
    assert [d.by for d in office.looks()] == ["carol", "bob"]


def test_a_slip_of_the_pen_is_asked_again(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.asked()
    office.registry.person_says(office.version, "aproved")
    assert office.looks() == []
    assert "says 'aproved', which is no answer" in caplog.text


def test_an_author_whom_the_server_knows_does_not_count(office: Office) -> None:
    """The server refuses it already; one without that rule, or a forged row, is not believed either."""
    office.registry.people = True
    office.asked()
    office.registry.pages["fraud", "2"].author = "alice"
    office.registry.person_says(office.version, "approved", "alice", verified=True)
    assert office.looks() == []


def test_evidence_that_was_edited_voids_what_was_asked_and_it_is_asked_anew(office: Office) -> None:
    office.asked()
    office.registry.person_says(office.version, "approved")
    office.registry.person_edits(office.version, "everything is fine")
    (voided,) = office.looks()
    assert isinstance(voided, Voided)
    assert "was changed" in voided.reason
    office.happen(voided)
    again = office.asked()
    assert office.registry.page(office.version).approval == "pending"
    assert again.asked_at == round(office.now, 3)


def test_files_that_changed_end_the_rollout_after_the_approval(office: Office) -> None:
    """Beside what people decide: a download of minutes loses nobody's word, and keeps nothing waiting."""
    office.asked()
    office.registry.person_says(office.version, "approved")
    office.registry.changed.add(("fraud", "2"))
    (decided,) = office.looks()
    office.happen(decided)
    office.looks()  # the page is closed first
    (broke,) = office.looks()
    assert isinstance(broke, Broke)
    assert "are not those that were tried" in broke.reason
    assert office.happen(broke).state.phase is Phase.ROLLING_BACK


def test_files_that_change_after_the_approval_are_not_promoted(office: Office) -> None:
    request = office.asked()
    office.happen(Decided(approved=True, by="bob", digest=request.digest, verified=True))
    office.happen(Judged(Verdict(Outcome.PASS, (), 1000, 0.05, "fine", 2)))
    assert office.event.state.phase is Phase.PROMOTING
    office.registry.changed.add(("fraud", "2"))
    assert office.desk.look(office.event, office.now) == []
    assert office.desk.cleared(office.event, office.now + 2) is False
    office.desk.join()
    broke = office.desk.cleared(office.event, office.now + 2)
    assert isinstance(broke, Broke)


def test_unchanged_files_are_cleared_once(office: Office) -> None:
    office.asked()
    office.happen(Commanded("promote", "me", "I know", break_glass=True))
    assert office.desk.cleared(office.event, office.now + 2) is False
    office.desk.join()
    assert office.desk.cleared(office.event, office.now + 2) is True
    office.registry.down = True
    assert office.desk.cleared(office.event, office.now + 9) is True


def test_a_rollout_without_approvals_is_cleared_at_once(office: Office) -> None:
    spec = RolloutSpec.model_validate({"steps": [{"canary": {"weight": 5}}], "gates": GATES})
    rollout = Rollout("fraud-2", "other", spec, office.rollout.subject, {}, 1.0, None)
    assert Desk(office.world, rollout).cleared(office.event, office.now) is True


def test_a_driver_that_was_killed_goes_on_with_the_same_question(office: Office) -> None:
    office.now += the_desk.EVERY
    office.desk.look(office.event, office.now)
    office.desk.join()  # on the page, and not in the log
    before = office.registry.page(office.version).request
    office.registry.person_says(office.version, "approved: quick")
    office.restart()
    assert office.asked() == before
    (decided,) = office.looks()
    assert decided.comment == "quick"


def test_a_page_that_somebody_emptied_asks_again_what_was_asked(office: Office) -> None:
    request = office.asked()
    del office.registry.pages["fraud", "2"]
    assert office.looks() == []
    assert office.registry.page(office.version).request == request


def test_a_copied_approval_of_another_rollout_is_no_answer(office: Office) -> None:
    request = office.asked()
    page = office.registry.pages["fraud", "2"]
    page.request, page.approval = Request(**{**_fields(request), "rollout": "other-1"}), "approved"
    assert office.looks() == []
    assert office.registry.page(office.version).approval == "pending"


def _fields(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in Request.__slots__}


@pytest.mark.parametrize(
    ("happening", "says"),
    [
        (Decided(approved=False, by="bob", verified=True), "rejected by bob"),
        (Decided(approved=True, by="sam", via="cli"), "approved by sam (identity not verified)"),
        (Commanded("abort", "sam", "no"), "void: abort by sam: no"),
    ],
)
def test_when_it_is_over_the_page_says_how(office: Office, happening: Any, says: str) -> None:
    request = office.asked()
    if isinstance(happening, Decided):
        happening = Decided(**{**{n: getattr(happening, n) for n in Decided.__slots__}, "digest": request.digest})
    office.happen(happening)
    assert office.looks() == []
    assert office.registry.page(office.version).approval == says
    assert placed(office.store, office.rollout).closed  # type: ignore[union-attr]


def test_an_expired_question_is_closed_with_the_rollout(office: Office) -> None:
    office.asked()
    office.now += DAY + 100
    office.happen(Judged(Verdict(Outcome.UNDECIDED, (), 0, 0.05, "", 2)))
    assert office.event.state.ending == "expired"
    office.desk.close(office.event.state)
    assert office.registry.page(office.version).approval.startswith("void: ")


def test_a_registry_that_is_down_costs_the_loop_nothing(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.registry.down = True
    assert office.looks() == []
    assert "could not be kept up" in caplog.text
    office.registry.down = False
    assert office.looks() == [], "not at once"
    office.asked()


def test_a_webhook_makes_the_next_reading_come_at_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.asked()
    office.looks()
    office.registry.person_says(office.version, "approved")
    assert office.desk.look(office.event, office.now + 0.1) == []
    office.desk.join()
    assert office.desk.look(office.event, office.now + 0.2) == [], "it is not time yet"
    monkeypatch.setattr("lockgate.flows.hooks.time.time", lambda: office.now + 0.3)
    wake(office.world.home, "fraud")
    office.desk.look(office.event, office.now + 0.4)
    office.desk.join()
    (decided,) = office.desk.look(office.event, office.now + 0.4)
    assert decided.approved


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.PROMOTING])
def test_a_version_that_is_gone_ends_the_rollout(office: Office, phase: Phase) -> None:
    request = office.asked()
    if phase is Phase.PROMOTING:
        office.happen(Decided(approved=True, by="bob", digest=request.digest))
        office.happen(Judged(Verdict(Outcome.PASS, (), 1000, 0.05, "fine", 2)))
        office.desk.cleared(office.event, office.now + 2)
        del office.registry.models["fraud"]["2"]
        office.restart()
        assert office.desk.cleared(office.event, office.now + 2) is False
        office.desk.join()
        broke = office.desk.cleared(office.event, office.now + 2)
    else:
        del office.registry.models["fraud"]["2"]
        (broke,) = office.looks()
    assert isinstance(broke, Broke)
    assert office.happen(broke).state.phase is Phase.ROLLING_BACK


def test_a_registry_that_is_down_for_a_day_is_asked_every_half_minute(office: Office) -> None:
    office.asked()
    office.registry.down = True
    for _ in range(1100):
        office.now += 31
        office.desk.look(office.event, office.now)
        office.desk.join()
    assert office.desk._next <= office.now + 31


def test_that_the_rollout_is_open_is_said_again(office: Office) -> None:
    """One word that was lost must not leave the champion to whoever moves it."""
    office.asked()
    office.now += 100
    office.desk.look(office.event, office.now)
    office.desk.join()
    assert office.registry.announced("fraud") == "fraud-1"


@pytest.fixture
def terminal(office: Office, monkeypatch: pytest.MonkeyPatch) -> Office:
    """Somebody types commands in the folder of the pipeline."""
    url = str(office.store._engine.url)
    monkeypatch.setattr("lockgate.flows.home.home", lambda: Home(office.world.home.root, url))
    monkeypatch.setattr("lockgate.registry.mlflow_registry.MlflowRegistry", lambda _: office.registry)
    monkeypatch.setattr("getpass.getuser", lambda: "sam")
    return office


def test_the_terminal_approves_and_says_that_nobody_vouches(terminal: Office) -> None:
    terminal.asked()
    said = decide("fraud", approve=True, comment="looks good")
    assert "approved by sam (identity not verified)" in said
    (decided,) = [e.happening for e in terminal.store.events("fraud-1") if isinstance(e.happening, Decided)]
    assert (decided.by, decided.comment, decided.verified, decided.via) == ("sam", "looks good", False, "cli")
    assert terminal.event.state.phase is Phase.PROGRESSING


@pytest.mark.parametrize("how", ["edited", "changed", "rejected"])
def test_the_terminal_approves_nothing_that_no_longer_stands(terminal: Office, how: str) -> None:
    terminal.asked()
    if how == "edited":
        terminal.registry.person_edits(terminal.version, "everything is fine")
    elif how == "changed":
        terminal.registry.changed.add(("fraud", "2"))
    else:
        terminal.registry.person_says(terminal.version, "rejected: no")
    with pytest.raises(NotNow, match="cannot approve"):
        decide("fraud", approve=True, comment="looks good")
    assert terminal.event.state.phase is Phase.WAITING


def test_who_leaves_the_server_out_approves_nothing(terminal: Office) -> None:
    """Without MLFLOW_TRACKING_URI the terminal sees a registry that knows nobody."""
    terminal.registry.people = True
    terminal.asked()
    terminal.registry.people = False
    with pytest.raises(NotNow, match="vouches for who approves here"):
        decide("fraud", approve=True, comment="looks good")


def test_where_the_server_knows_people_the_terminal_speaks_to_it(terminal: Office) -> None:
    terminal.registry.people, terminal.registry.me = True, "bob"
    terminal.asked()
    assert "under your name" in decide("fraud", approve=False, comment="no")
    assert not [e for e in terminal.store.events("fraud-1") if isinstance(e.happening, Decided)]
    (decided,) = terminal.looks()
    assert (decided.by, decided.approved, decided.verified) == ("bob", False, True)


def test_what_is_not_asked_cannot_be_approved(terminal: Office) -> None:
    with pytest.raises(NotNow, match="has not put its evidence"):
        decide("fraud", approve=True, comment="")
    request = terminal.asked()
    terminal.happen(Decided(approved=True, by="bob", digest=request.digest))
    with pytest.raises(NotNow, match="in a step that asks nobody"):
        decide("fraud", approve=True, comment="")
