"""Requests and decisions as values, and which of the decisions in a version's tags count."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from lockgate.registry.approvals import (
    APPROVAL,
    DECISIONS,
    KEY,
    REQUEST,
    Decision,
    Request,
    checked,
    counted,
    decisions_of,
    decisions_text,
    key,
    said,
    signed,
)

SECRET = b"the key of the server and of the pipeline"
ASKED = Request(rollout="r-1", step=2, digest="d1", artifact="a1", asked_at=1000.5, expires_at=2000.0, role="leads")
ANN = Decision(approved=True, by="ann", at=1500.123, comment="fine: go", digest="d1")


def yes() -> bool:
    return True


def no() -> bool:
    return False


def never() -> bool:
    raise AssertionError("nobody needs to be asked for this")


def tags(*decisions: Decision, approval: str = "pending") -> dict[str, str]:
    there = {REQUEST: ASKED.text(), APPROVAL: approval}
    return there | ({DECISIONS: decisions_text(decisions)} if decisions else {})


def found(there: dict[str, str], people: Callable[[], bool] = never) -> tuple[Decision, ...]:
    return counted(there, "fraud", "2", people)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET.decode())


def test_a_request_is_read_as_it_was_written() -> None:
    assert Request.of(ASKED.text()) == ASKED
    assert Request.of(replace(ASKED, asked_at=1, expires_at=float("inf")).text()) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pending",
        "[]",
        "null",
        '["r"]',
        "{}",
        json.dumps({**asdict(ASKED), "more": 1}),
        json.dumps({**asdict(ASKED), "step": "2"}),
        json.dumps({**asdict(ASKED), "expires_at": "soon"}),
        json.dumps({**asdict(ASKED), "digest": None}),
        "[" * 90_000,
    ],
)
def test_what_is_no_request_is_none(text: str) -> None:
    assert Request.of(text) is None


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("approved", (True, "")),
        (" REJECTED ", (False, "")),
        ("approved: the p99\nis fine: really ", (True, "the p99\nis fine: really")),
        ("approved:", (True, "")),
        ("approved the p99 is fine", None),
        ("not approved", None),
        ("approvedish", None),
        ("pending", None),
        ("", None),
    ],
)
def test_what_a_person_wrote_into_the_tag(value: str, meant: Any) -> None:
    assert said(value) == meant


def test_decisions_are_read_as_they_were_written_but_never_verified() -> None:
    both = (signed(ANN, "fraud", "2", SECRET), Decision(approved=False, by="bob", at=2.0, digest="d1"))
    there = {DECISIONS: decisions_text(tuple(replace(d, verified=True) for d in both))}

    assert decisions_of(there) == both
    assert decisions_of({}) == ()


def test_a_decision_that_claims_to_be_verified_is_not() -> None:
    claimed = {DECISIONS: json.dumps([{**asdict(ANN), "verified": True}])}

    assert [d.verified for d in decisions_of(claimed)] == [False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"approved": "no"},
        {"approved": 1},
        {"at": "now"},
        {"at": True},
        {"by": None},
        {"by": ["ann"]},
        {"by": "\ud800"},
        {"signature": 7},
        {"more": "x"},
        {"note": 7},
        {"note": "\ud800"},
    ],
)
def test_what_is_no_decision_hides_no_other(wrong: dict[str, Any]) -> None:
    there = {DECISIONS: json.dumps([{**asdict(ANN), **wrong}, "x", None, asdict(ANN)])}

    assert decisions_of(there) == (ANN,)


@pytest.mark.parametrize("text", ["", "x", "{}", "3", '{"by": "ann"}', "[" * 90_000])
def test_what_is_no_list_of_decisions_is_none(text: str) -> None:
    assert decisions_of({DECISIONS: text}) == ()


@pytest.mark.parametrize(
    "other",
    [
        {"approved": False},
        {"by": "bob"},
        {"at": 1501.0},
        {"comment": "fine"},
        {"digest": "d2"},
        {"note": "author unknown"},
        {"signature": ""},
        {"signature": "é"},
    ],
)
def test_a_signature_holds_for_exactly_what_was_decided(other: dict[str, Any]) -> None:
    good = signed(ANN, "fraud", "2", SECRET)

    assert checked(good, "fraud", "2", SECRET).verified
    assert not checked(replace(good, **other), "fraud", "2", SECRET).verified
    for name, version, secret in (("fraud", "3", SECRET), ("other", "2", SECRET), ("fraud", "2", b"x")):
        assert not checked(good, name, version, secret).verified
    assert not checked(good, "fraud", "2", None).verified


def test_what_the_server_adds_is_signed_and_kept() -> None:
    noted = signed(replace(ANN, note="author unknown"), "fraud", "2", SECRET)

    assert decisions_of({DECISIONS: decisions_text((noted,))}) == (noted,)
    assert checked(noted, "fraud", "2", SECRET).verified
    assert not checked(replace(noted, note=""), "fraud", "2", SECRET).verified
    assert "note" not in decisions_text((ANN,)), "who reads without notes reads it as before"


def test_an_empty_key_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "")

    assert key() is None


@pytest.mark.usefixtures("_key")
def test_with_the_key_only_what_is_signed_with_it_counts() -> None:
    good = signed(ANN, "fraud", "2", SECRET)
    copied = signed(ANN, "other", "1", SECRET)
    tampered = replace(good, by="boss")
    by_another = signed(replace(ANN, by="eve"), "fraud", "2", b"eve's own key")

    assert found(tags(copied, tampered, by_another, ANN, good)) == (replace(good, verified=True),)
    assert found(tags(approval="approved")) == (), "and an edit that no server signed does not"


def test_without_the_key_a_server_that_knows_people_is_believed_but_not_verified() -> None:
    good = signed(ANN, "fraud", "2", SECRET)

    assert found(tags(good, approval="approved"), yes) == (good,)
    assert not good.verified
    assert found(tags(approval="approved"), yes) == (), "nobody was written down by it"


def test_without_such_a_server_a_list_of_decisions_is_not_believed() -> None:
    assert found(tags(ANN), no) == ()
    assert [d.by for d in found(tags(ANN, approval="approved: fine"), no)] == [""]


def test_an_edited_tag_answers_only_what_is_asked() -> None:
    (decision,) = found(tags(approval="rejected: not today"), no)

    assert decision == Decision(approved=False, by="", at=0.0, comment="not today", digest="d1")
    assert found({APPROVAL: "approved"}, no) == ()
    assert found({APPROVAL: "approved", REQUEST: "nonsense"}, no) == ()


def test_where_nothing_was_decided_no_server_is_asked() -> None:
    assert found(tags()) == ()
    assert found({}) == ()
    assert found(tags(approval="approved by ann")) == ()
