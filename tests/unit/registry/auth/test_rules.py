from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.registry.approvals import APPROVAL, DECISIONS, REQUEST, Decision, Request
from lockgate.registry.auth.rules import concerns, judge
from lockgate.registry.auth.words import (
    CreateModel,
    DeleteAlias,
    DeleteModel,
    DeleteTag,
    DeleteVersion,
    Describe,
    MoveAlias,
    Operation,
    Person,
    Register,
    RenameModel,
    Ruling,
    SetTag,
    Standing,
)

NOW = 1_000_000.0
ALICE, DAVE = Person("alice"), Person("dave")
BOB, CAROL = Person("bob", frozenset({"risk-leads"})), Person("carol", frozenset({"risk-leads"}))
PIPELINE = Person("pipeline", frozenset({"lockgate-pipeline"}))
GAIL = Person("gail", frozenset({"lockgate-break-glass"}))
ROOT = Person("root")
PAST = {"lockgate.rollout": "r-6"}
REQ = Request("r-7", 2, "digest", "artifact", NOW - 60, NOW + 3600, role="risk-leads")
OPEN_TO_ALL = replace(REQ, not_author=False)


def asked(request: Request = REQ, author: str | None = "alice", *decisions: Decision) -> Standing:
    tags = {APPROVAL: "pending", REQUEST: request.text()}
    tags |= {} if author is None else {"lockgate.author": author}
    return Standing("5", tags, {"lockgate.open": "r-7"}, {"champion": "4", "challenger": "5"}, decisions)


def decided(person: Person, value: str, there: Standing | None = None, seen: str = "", now: float = NOW) -> Ruling:
    return judge(SetTag("fraud", "5", APPROVAL, value, seen), person, there or asked(), now)


def test_an_approver_approves_with_a_comment() -> None:
    ruling = decided(BOB, " Approved : the p99 is fine ")

    assert (ruling.outcome, ruling.reason, ruling.instead) == ("allowed", "", None)
    assert ruling.decision == Decision(approved=True, by="bob", at=NOW, comment="the p99 is fine", digest="digest")


def test_an_approver_rejects() -> None:
    ruling = decided(BOB, "rejected: not before Monday")

    assert ruling.outcome == "allowed"
    assert ruling.decision is not None
    assert not ruling.decision.approved


REFUSED = [
    ("aproved", "'aproved' is no decision; write approved or rejected"),
    ("pending", "'pending' is no decision"),
    ("", "'' is no decision"),
    ("yes" * 40, "…' is no decision"),
    ("approved: " + "x" * 2001, "the comment has 2001 characters; at most 2000"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED)
def test_what_is_no_decision_is_told_how_to_write_one(value: str, reason: str) -> None:
    ruling = decided(BOB, value)

    assert ruling.outcome == "refused"
    assert reason in ruling.reason


@pytest.mark.parametrize("there", [Standing("5"), replace(asked(), tags={APPROVAL: "approved: fine"})])
def test_nothing_is_decided_where_nothing_is_asked(there: Standing) -> None:
    assert "nothing is asked of fraud version 5 now" in decided(BOB, "approved", there).reason


def test_a_request_that_nobody_can_read_is_not_approved() -> None:
    there = replace(asked(), tags={APPROVAL: "pending", REQUEST: "{"})

    assert "cannot be read" in decided(BOB, "approved", there).reason


def test_a_request_expires_at_its_very_second() -> None:
    assert decided(BOB, "approved", now=REQ.expires_at - 0.001).outcome == "allowed"
    assert "expired at 1970-01-12 14:46 UTC" in decided(BOB, "approved", now=REQ.expires_at).reason


def test_a_request_for_a_role_is_decided_by_that_role_alone() -> None:
    for person in (DAVE, ROOT, GAIL):
        for value in ("approved", "rejected"):
            assert (
                decided(person, value).reason == f"{person.name} has not the role risk-leads, which this request is for"
            )

    anybody = asked(replace(REQ, role=""))
    assert decided(DAVE, "approved", anybody).outcome == "allowed"


def test_the_author_may_reject_and_not_approve() -> None:
    own = asked(REQ, "carol")

    assert "carol registered this version, and somebody else must approve it" in decided(CAROL, "approved", own).reason
    assert decided(CAROL, "rejected", own).outcome == "allowed"
    assert decided(CAROL, "approved", asked(replace(REQ, not_author=False), "carol")).outcome == "allowed"


def test_an_unknown_author_keeps_nobody_and_is_recorded() -> None:
    ruling = decided(BOB, "approved", asked(REQ, None))

    assert ruling.outcome == "allowed"
    assert ruling.reason.startswith("author unknown")
    assert ruling.decision is not None
    assert ruling.decision.note == ruling.reason, "and it is signed"
    assert decided(BOB, "approved").decision == replace(ruling.decision, note="")
    for free in (decided(BOB, "rejected", asked(REQ, None)), decided(BOB, "approved", asked(OPEN_TO_ALL, None))):
        assert free.decision is not None
        assert (free.reason, free.decision.note) == ("", "")


def test_two_approvals_are_by_two_people() -> None:
    two, bobs = replace(REQ, required=2), Decision(approved=True, by="bob", at=NOW, digest="digest", verified=True)

    first = decided(BOB, "approved", asked(two))
    assert (first.outcome, first.instead) == ("allowed", "pending")
    second = decided(CAROL, "approved", asked(two, "alice", bobs))
    assert (second.outcome, second.instead, second.kept) == ("allowed", None, (bobs,))
    again = decided(BOB, "approved", asked(two, "alice", bobs))
    assert "bob has approved this already; 2 different people must" in again.reason
    assert decided(BOB, "rejected", asked(two, "alice", bobs)).instead is None


def test_an_approval_of_other_evidence_counts_for_nothing() -> None:
    two, old = replace(REQ, required=2), Decision(approved=True, by="bob", at=NOW, digest="older", verified=True)

    ruling = decided(CAROL, "approved", asked(two, "alice", old))

    assert (ruling.instead, ruling.kept) == ("pending", ())


def test_who_looked_at_another_request_decides_nothing() -> None:
    assert "changed while you looked at it" in decided(BOB, "approved", seen="older").reason
    assert decided(BOB, "approved", seen="digest").outcome == "allowed"


@pytest.mark.parametrize("person", [ALICE, BOB, ROOT, GAIL])
@pytest.mark.parametrize("key", [REQUEST, DECISIONS, "lockgate.phase", " Lockgate.Approval", "LOCKGATE.x"])
def test_only_the_pipeline_writes_its_tags(person: Person, key: str) -> None:
    writes: list[Operation] = [
        SetTag("fraud", "5", key, "x"),
        DeleteTag("fraud", "5", key),
        SetTag("fraud", "", key, "x"),
        DeleteTag("fraud", "", key),
        CreateModel("fraud", {key: "x"}),
    ]
    for operation in writes:
        assert f"is written by the pipeline alone (role lockgate-pipeline), and {person.name} has not that role" in (
            judge(operation, person, asked(), NOW).reason
        )
        assert judge(operation, PIPELINE, asked(), NOW) == Ruling("allowed")


@pytest.mark.parametrize("value", ["approved: go", " Rejected ", "approved:"])
@pytest.mark.parametrize("role", ["risk-leads", ""])
def test_the_pipeline_decides_nothing(value: str, role: str) -> None:
    ruling = decided(PIPELINE, value, asked(replace(REQ, role=role)))

    assert ruling.outcome == "refused"
    assert "approve as a person: set MLFLOW_TRACKING_USERNAME to your own name" in ruling.reason
    assert "nothing is asked" in decided(PIPELINE, value, Standing("5")).reason


def test_a_user_of_the_pipeline_who_has_the_role_is_a_person() -> None:
    both = Person("peter", frozenset({"lockgate-pipeline", "risk-leads"}))

    ruling = decided(both, "approved: go")

    assert ruling.decision is not None
    assert ruling.decision.by == "peter"
    assert "peter registered this version" in decided(both, "approved", asked(author="peter")).reason


@pytest.mark.parametrize("value", ["pending", "being asked", "approved by ann", "void: expired", ""])
def test_the_pipeline_says_what_is_asked_and_what_came_of_it(value: str) -> None:
    for there in (Standing("5"), asked()):
        assert decided(PIPELINE, value, there) == Ruling("allowed")


def test_nobody_decides_while_it_is_being_asked() -> None:
    writing = {APPROVAL: "being asked", REQUEST: REQ.text(), "lockgate.author": "alice"}

    assert "wait a moment" in decided(BOB, "approved", replace(asked(), tags=writing)).reason


def test_the_approval_of_a_model_is_no_tag_that_a_person_edits() -> None:
    assert judge(SetTag("fraud", "", APPROVAL, "approved"), BOB, asked(), NOW).outcome == "refused"


def test_a_person_does_not_remove_the_question() -> None:
    assert "write 'rejected: why' into it" in judge(DeleteTag("fraud", "5", APPROVAL), BOB, asked(), NOW).reason


@pytest.mark.parametrize("person", [ALICE, BOB, ROOT, PIPELINE])
def test_nobody_writes_who_the_author_is(person: Person) -> None:
    for operation in (SetTag("fraud", "5", "lockgate.author", "dave"), DeleteTag("fraud", "5", "lockgate.author")):
        assert "written by the server alone" in judge(operation, person, asked(), NOW).reason


def test_tags_and_aliases_of_ones_own_are_nobodys_business() -> None:
    for operation in (
        SetTag("fraud", "5", "approval", "approved"),
        DeleteTag("fraud", "", "lockgate"),
        MoveAlias("fraud", "Champion", "5"),
        DeleteAlias("fraud", "previous"),
        CreateModel("fraud", {"team": "risk"}),
    ):
        assert not concerns(operation)
        assert judge(operation, ALICE, asked(), NOW) == Ruling("allowed", recorded=False)


@pytest.mark.parametrize("operation", [MoveAlias("fraud", "champion", "5"), DeleteAlias("fraud", "champion")])
def test_the_champion_stays_while_a_rollout_is_open(operation: Operation) -> None:
    for person in (ALICE, BOB, ROOT):
        assert (
            "moved by the pipeline alone while the rollout r-7 is open" in judge(operation, person, asked(), NOW).reason
        )
    assert judge(operation, PIPELINE, asked(), NOW) == Ruling("allowed")
    assert judge(operation, GAIL, asked(), NOW).outcome == "break-glass"
    assert judge(operation, ALICE, replace(asked(), model_tags={}), NOW) == Ruling("allowed")


def test_the_challenger_is_free_and_recorded() -> None:
    assert judge(MoveAlias("fraud", "challenger", "6"), ALICE, asked(), NOW) == Ruling("allowed")


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (Standing("5", PAST, {}, {"champion": "5"}), "fraud version 5 is @champion of a model that Lockgate rolls out"),
        (Standing("5", {}, {}, {"champion": "5"}, versions={"4": PAST}), "fraud version 5 is @champion"),
        (Standing("5", {}, {"lockgate.open": "r-7"}, {"champion": "5"}), "fraud version 5 is @champion"),
        (asked(), "is part of the open rollout r-7"),
        (replace(asked(), model_tags={}, aliases={}), "is part of the open rollout r-7"),
        (Standing("5", {"lockgate.rollout": "r-7"}, {"lockgate.open": "r-7"}), "is part of the open rollout r-7"),
        (Standing("5", {}, {"lockgate.open": "r-7"}, {"challenger": "5"}), "is part of the open rollout r-7"),
    ],
)
def test_a_version_that_is_needed_is_not_deleted(there: Standing, reason: str) -> None:
    operation = DeleteVersion("fraud", "5")

    for person in (ALICE, ROOT, PIPELINE):
        assert reason in judge(operation, person, there, NOW).reason
    assert judge(operation, GAIL, there, NOW).outcome == "break-glass"


def test_a_version_of_a_rollout_that_is_over_is_deleted() -> None:
    for there in (
        Standing("5", {"lockgate.rollout": "r-6"}, {"lockgate.open": "r-7"}, {"champion": "4", "challenger": "6"}),
        Standing("5", {"lockgate.rollout": "r-6", APPROVAL: "rejected: no", REQUEST: REQ.text()}),
    ):
        assert judge(DeleteVersion("fraud", "5"), ALICE, there, NOW) == Ruling("allowed")


@pytest.mark.parametrize("operation", [DeleteModel("fraud"), RenameModel("fraud", "other")])
def test_a_model_that_serves_or_is_rolled_out_stays_what_it_is(operation: Operation) -> None:
    serving = Standing(aliases={"champion": "4"}, versions={"3": PAST, "4": {}})
    rolling = Standing(model_tags={"lockgate.open": "r-7"})
    asking = Standing(versions={"4": {}, "5": asked().tags})

    for there, reason in (
        (serving, "while it has a @champion and Lockgate rolls it out"),
        (rolling, "while the rollout r-7 is open"),
        (asking, "while the rollout r-7 asks people to approve version 5 of it"),
    ):
        assert reason in judge(operation, ALICE, there, NOW).reason
        assert judge(operation, GAIL, there, NOW).outcome == "break-glass"
    assert judge(operation, ALICE, Standing(), NOW) == Ruling("allowed")


@pytest.mark.parametrize("tags", [{}, {"team": "risk"}, {"lockgate.author": "alice", "lockgate.alert": "copied"}])
def test_a_model_that_never_saw_lockgate_is_its_owners(tags: dict[str, str]) -> None:
    there = Standing("5", tags, {"team": "risk"}, {"champion": "5"}, versions={"5": tags})

    for operation in (DeleteVersion("fraud", "5"), DeleteModel("fraud"), RenameModel("fraud", "other")):
        assert judge(operation, ALICE, there, NOW) == Ruling("allowed")


@pytest.mark.parametrize("model_tags", [{}, {"lockgate.open": "r-8"}])
def test_a_page_that_nobody_closed_asks_until_it_expires(model_tags: dict[str, str]) -> None:
    there = replace(asked(), model_tags=model_tags, aliases={}, versions={"5": asked().tags})
    whole = replace(there, model_tags={})
    late = REQ.expires_at

    for operation, free in (
        (Describe("fraud", "5"), Ruling("allowed", recorded=False)),
        (DeleteVersion("fraud", "5"), Ruling("allowed")),
    ):
        assert judge(operation, ALICE, there, late - 1).outcome == "refused"
        assert judge(operation, ALICE, there, late) == free
        assert judge(operation, ALICE, asked(), late).outcome == "refused", "its rollout is the one that is open"
    assert judge(DeleteModel("fraud"), ALICE, whole, late - 1).outcome == "refused"
    assert judge(DeleteModel("fraud"), ALICE, whole, late) == Ruling("allowed")


def test_the_evidence_is_not_edited_while_people_decide_on_it() -> None:
    for person in (ALICE, ROOT, GAIL):
        assert "is the evidence that people decide on now" in judge(Describe("fraud", "5"), person, asked(), NOW).reason
    assert judge(Describe("fraud", "5"), PIPELINE, asked(), NOW).outcome == "allowed"
    assert judge(Describe("fraud", "5"), ALICE, Standing("5"), NOW).outcome == "allowed"


def test_a_copied_approval_is_left_behind_and_told_of() -> None:
    copied = {"mine": "x", APPROVAL: "approved: fine", DECISIONS: "[]", "lockgate.author": "bob"}

    ruling = judge(Register("prod", "models:/fraud/3", copied), ALICE, Standing(), NOW)

    assert ruling.outcome == "allowed"
    assert ruling.alert == "an approval of fraud version 3 was copied with its tags; it does not count here"
    assert set(ruling.dropped) == set(copied) - {"mine"}


def test_a_copy_without_an_approval_alarms_nobody() -> None:
    plain = judge(Register("prod", "models:/fraud/3", {"lockgate.author": "bob"}), ALICE, Standing(), NOW)
    told = judge(Register("prod", "s3://bucket/model", {"lockgate.phase": "succeeded"}), ALICE, Standing(), NOW)

    assert (plain.alert, plain.dropped) == ("", ("lockgate.author",))
    assert told.alert == "Lockgate's word of another version was copied with its tags; it does not count here"


def test_the_pipeline_registers_with_its_tags_and_as_itself() -> None:
    tags = {"lockgate.phase": "pending", "lockgate.author": "alice"}

    ruling = judge(Register("fraud", "runs:/1/model", tags), PIPELINE, Standing(), NOW)

    assert (ruling.dropped, ruling.alert) == (("lockgate.author",), "")
