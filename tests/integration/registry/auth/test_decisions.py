"""Who approves what, on the real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.registry.approvals import APPROVAL, DECISIONS, REQUEST, checked, decisions_of
from lockgate.registry.errors import Refused
from lockgate.registry.mlflow_registry import MlflowRegistry

PASSWORD = "a password of twelve characters"  # noqa: S105 - of people who live as long as the tests
KEY = b"the key of these tests, and of nothing else"
ROUNDS = 6
Refusal = Callable[[httpx.Response], str]


def test_an_approval_is_signed_by_the_server_and_recorded(world: Any, model: str) -> None:
    request = world.ask(model)

    assert world.bob.decide(model, "approved: the p99 is fine").is_success

    tags = world.alice.tags(model)
    (decision,) = [checked(d, model, "1", KEY) for d in decisions_of(tags)]
    assert (decision.by, decision.approved, decision.comment) == ("bob", True, "the p99 is fine")
    assert decision.digest == request.digest
    assert decision.verified
    assert not checked(decision, model, "2", KEY).verified
    assert tags[APPROVAL] == "approved: the p99 is fine"
    row = world.rows(model)[-1]
    assert (row["user"], row["roles"], row["key"], row["version"]) == ("bob", ["risk-leads"], APPROVAL, "1")
    assert (row["old"], row["new"], row["outcome"]) == ("pending", "approved: the p99 is fine", "allowed")
    assert (row["address"], bool(row["request"])) == ("127.0.0.1", True)
    assert "signature" not in json.dumps(row)


def test_a_rejection_is_a_decision_too(world: Any, model: str) -> None:
    world.ask(model)

    assert world.bob.decide(model, "rejected").is_success

    (decision,) = decisions_of(world.alice.tags(model))
    assert not decision.approved


def test_the_pipelines_own_user_approves_nothing(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model)

    for value in ("approved: go", "rejected"):
        told = refused(world.pipeline.decide(model, value))
        assert "approve as a person: set MLFLOW_TRACKING_USERNAME to your own name" in told

    assert world.alice.tags(model)[APPROVAL] == "pending"
    assert world.bob.decide(model, "approved: go").is_success, "and nobody else is kept from it"
    assert world.pipeline.decide(model, "approved by bob").is_success, "what came of it is the pipeline's word"


def test_nobody_decides_while_it_is_being_asked(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model)
    assert world.pipeline.decide(model, "being asked").is_success

    assert "wait a moment" in refused(world.bob.decide(model, "approved"))

    assert world.pipeline.decide(model, "pending").is_success
    assert world.bob.decide(model, "approved").is_success


def test_what_the_server_could_not_judge_is_signed_and_recorded(world: Any, model: str) -> None:
    world.forget_author(model)
    world.ask(model)

    assert world.bob.decide(model, "approved").is_success

    (decision,) = [checked(d, model, "1", KEY) for d in decisions_of(world.alice.tags(model))]
    assert decision.verified
    assert decision.note == "author unknown: the version was registered before lockgate-auth"
    assert world.rows(model)[-1]["reason"] == decision.note


def test_who_decides_in_the_terminal_answers_what_they_looked_at(
    world: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    looked_at = world.ask(model)
    registry = MlflowRegistry(tmp_path, world.server.uri)
    version = registry.resolve(model, "1")
    pen = registry._pen(version)  # what it goes by was read before the next line
    now = world.ask(model, digest="e" * 64)

    with pytest.raises(Refused, match="changed while you looked at it; read it again"):
        pen.decide(looked_at, "approved")
    registry.decide(version, now, approve=True, comment="")

    assert [d.digest for d in decisions_of(world.alice.tags(model))] == [now.digest]


def test_nothing_pending_is_nothing_to_approve(world: Any, model: str, refused: Refusal) -> None:
    assert "nothing is asked of" in refused(world.bob.decide(model, "approved"))


def test_a_decision_stands(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model)
    assert world.bob.decide(model, "approved").is_success

    assert "says 'approved'" in refused(world.bob.decide(model, "rejected"))
    assert "says 'approved'" in refused(world.carol.decide(model, "approved"))


def test_the_wrong_people_are_told_why(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model)

    assert "alice has not the role risk-leads" in refused(world.alice.decide(model, "approved"))
    assert "root has not the role risk-leads" in refused(world.root.decide(model, "approved"))
    assert "lockgate.approval is removed by the pipeline alone" in refused(world.alice.untag(model, APPROVAL))
    assert world.dave.decide(model, "approved").status_code == 403
    assert httpx.post(f"{world.server.uri}/api/2.0/mlflow/model-versions/set-tag", json={}).status_code == 401
    assert [(r["user"], r["outcome"]) for r in world.rows(model)][-4:] == [
        ("alice", "refused"),
        ("root", "refused"),
        ("alice", "refused"),
        ("dave", "refused"),
    ]
    assert world.alice.tags(model)[APPROVAL] == "pending"
    assert DECISIONS in world.alice.tags(model)


def test_a_typo_is_told_what_to_write(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model)

    assert "'aproved' is no decision; write approved or rejected" in refused(world.bob.decide(model, "aproved"))


def test_the_author_does_not_approve_what_they_registered(world: Any, numbers: Any, refused: Refusal) -> None:
    name = f"carols-{next(numbers)}"
    assert world.carol.call("POST", "registered-models/create", {"name": name}).is_success
    assert world.carol.register(name, tags={"lockgate.author": "alice"}).is_success
    assert world.carol.tags(name) == {"lockgate.author": "carol"}, "forged, and set right"
    world.ask(name)

    assert "carol registered this version" in refused(world.carol.decide(name, "approved"))
    assert "written by the server alone" in refused(world.carol.tag(name, "lockgate.author", "alice"))
    assert "written by the server alone" in refused(world.root.untag(name, "lockgate.author"))
    assert "written by the server alone" in refused(world.pipeline.tag(name, "lockgate.author", "alice"))
    assert world.bob.decide(name, "approved").is_success


def test_an_expired_request_is_not_decided(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model, expires_at=1_700_000_000.0)

    assert "expired at 2023-11-14 22:13 UTC" in refused(world.bob.decide(model, "approved"))


def test_what_was_not_looked_at_is_not_approved(world: Any, model: str, refused: Refusal) -> None:
    request = world.ask(model)

    assert "changed while you looked" in refused(world.bob.decide(model, "approved", X_Lockgate_Request="e" * 64))
    assert world.bob.decide(model, "approved", X_Lockgate_Request=request.digest).is_success


def test_two_approvals_come_from_two_people(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model, required=2)

    assert world.bob.decide(model, "approved: one").is_success
    assert world.alice.tags(model)[APPROVAL] == "pending"
    assert "bob has approved this already; 2 different people must" in refused(world.bob.decide(model, "approved"))
    assert world.carol.decide(model, "approved: two").is_success

    tags = world.alice.tags(model)
    assert tags[APPROVAL] == "approved: two"
    assert [(d.by, d.comment) for d in decisions_of(tags)] == [("bob", "one"), ("carol", "two")]
    assert "pending until somebody else has approved too" in world.rows(model)[-3]["reason"]


def test_approvals_of_a_request_that_was_replaced_count_for_nothing(world: Any, model: str) -> None:
    world.ask(model, required=2)
    assert world.bob.decide(model, "approved").is_success
    world.ask(model, required=2, digest="e" * 64)

    assert world.carol.decide(model, "approved").is_success

    tags = world.alice.tags(model)
    assert tags[APPROVAL] == "pending"
    assert [d.by for d in decisions_of(tags)] == ["carol"]


def _together(*actions: Callable[[], httpx.Response]) -> list[httpx.Response]:
    barrier, answers = threading.Barrier(len(actions)), [httpx.Response(0)] * len(actions)

    def run(place: int, action: Callable[[], httpx.Response]) -> None:
        barrier.wait()
        answers[place] = action()

    threads = [threading.Thread(target=run, args=(i, action)) for i, action in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("required", [1, 2])
def test_two_people_who_decide_at_once_are_both_seen(world: Any, model: str, required: int) -> None:
    for _ in range(ROUNDS):
        world.ask(model, required=required)

        answers = _together(
            lambda: world.bob.decide(model, "approved: b"), lambda: world.carol.decide(model, "approved: c")
        )

        tags = world.alice.tags(model)
        assert sorted(a.status_code for a in answers) == ([200, 403] if required == 1 else [200, 200])
        assert len(decisions_of(tags)) == required
        assert tags[APPROVAL].startswith("approved: ")


def test_one_person_who_clicks_twice_is_one_person(world: Any, model: str) -> None:
    world.ask(model, required=2)

    answers = _together(*[lambda: world.bob.decide(model, "approved")] * 2)

    assert sorted(a.status_code for a in answers) == [200, 403]
    assert world.alice.tags(model)[APPROVAL] == "pending"


BODIES = ["double-encoded", "form", "a number for a version", "no JSON at all", "two spellings"]


@pytest.mark.parametrize("kind", BODIES)
def test_no_odd_body_gets_past_the_rules(world: Any, model: str, kind: str) -> None:
    world.ask(model)
    tag: dict[str, Any] = {"name": model, "version": "1", "key": APPROVAL, "value": "approved"}
    path, head = "/ajax-api/2.0/mlflow/model-versions/set-tag", {"Content-Type": "application/json"}
    sent = {
        "double-encoded": lambda: world.alice.http.post(path, content=json.dumps(json.dumps(tag)), headers=head),
        "form": lambda: world.alice.http.post(path, data=tag),
        "a number for a version": lambda: world.alice.http.post(path, json=tag | {"version": 1}),
        "no JSON at all": lambda: world.alice.http.post(path, content=b"{", headers=head),
        "two spellings": lambda: world.alice.http.post(f"{path}?value=pending", json=tag | {"Value": "x"}),
    }

    answer = sent[kind]()

    assert answer.status_code in (400, 403), answer.text
    tags = world.alice.tags(model)
    assert (tags[APPROVAL], tags[DECISIONS]) == ("pending", "[]")


def test_a_version_by_another_spelling_is_the_same_version(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model)

    assert "alice has not the role" in refused(world.alice.tag(model, APPROVAL, "approved", "01"))
    world.bob.tag(model, APPROVAL, "approved", "01")

    assert all(checked(d, model, "1", KEY).verified for d in decisions_of(world.alice.tags(model)))


def test_the_description_is_left_alone_while_people_decide(world: Any, model: str, refused: Refusal) -> None:
    body = {"name": model, "version": "1", "description": "all is well"}
    assert world.alice.call("PATCH", "model-versions/update", body).is_success
    world.ask(model)

    assert "is the evidence that people decide on now" in refused(
        world.alice.call("PATCH", "model-versions/update", body)
    )
    assert world.pipeline.call("PATCH", "model-versions/update", body).is_success
    assert world.bob.decide(model, "rejected").is_success
    assert world.alice.call("PATCH", "model-versions/update", body).is_success


def test_nobody_but_the_pipeline_writes_what_the_pipeline_says(world: Any, model: str, refused: Refusal) -> None:
    world.ask(model)

    for person in (world.alice, world.root, world.gail):
        for key in (REQUEST, DECISIONS, "lockgate.phase", "Lockgate.phase"):
            assert f"{key} is written by the pipeline alone" in refused(person.tag(model, key, "x"))
        assert "lockgate.open is written by the pipeline alone" in refused(
            person.model_tag(model, "lockgate.open", "x")
        )
    made = {"name": f"{model}-b", "tags": [{"key": "lockgate.open", "value": "x"}]}
    assert "lockgate.open is written by the pipeline alone" in refused(
        world.alice.call("POST", "registered-models/create", made)
    )
    assert world.pipeline.tag(model, "lockgate.phase", "waiting").is_success
    assert world.pipeline.untag(model, "lockgate.phase").is_success
