"""What is told of a rollout, event by event, in the words that people read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lockgate.flows.notify.message import Mood
from lockgate.flows.notify.words import About, kind_of, message
from lockgate.rollout.advance import advance
from lockgate.rollout.approving import LATE
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
    Opened,
    Settled,
    State,
    Voided,
)
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Outcome

MLFLOW = "http://bob:hunter2@mlflow:5000/"
PAGE = "http://mlflow:5000/#/models/fraud%20detector/versions/8"

PASSED = "every step passed."


def rollout(approval: dict[str, Any] | None = None, **canary: Any) -> Rollout:
    steps: list[dict[str, Any]] = [{"canary": {"weight": 5, **canary}}]
    steps += [] if approval is None else [{"approval": approval}]
    spec = RolloutSpec.model_validate({"steps": steps, "gates": {"errors": {"metric": "error_rate"}}})
    subject = {"model": "fraud detector", "stable": "7", "candidate": "8"}
    return Rollout("fraud-1", "fraud", spec, subject, {}, 1000.0, None)


def judged(outcome: Outcome, reason: str = "") -> Judged:
    return Judged(Verdict(outcome, (), 10_000, 0.05, reason))


def log(of: Rollout, *happened: Happening | tuple[float, Happening]) -> list[Event]:
    """One every second from 1001 on, where no time is given."""
    events, state = [], State()
    for number, item in enumerate(happened, 1):
        at, said = item if isinstance(item, tuple) else (1000.0 + number, item)
        state = advance(of.spec, state, said, at)
        events.append(Event(number, at, said, state))
    return events


def told(of: Rollout, events: list[Event], now: float = 1000.0, run: str = "") -> list[tuple[str, str]]:
    """(kind, text) of everything that is told."""
    about = About(of, lambda text: text.replace("hunter3", "${SECRET}"), MLFLOW, run)
    found: list[tuple[str, str]] = []
    for before, event in zip([None, *events], events, strict=False):
        if kind := kind_of(of, before.state if before else State(), event):
            found.append((kind, message(about, kind, (before, event), now).text))
    return found


def last(of: Rollout, *happened: Happening | tuple[float, Happening]) -> tuple[str, str]:
    return told(of, log(of, *happened))[-1]


BEGUN = (Opened(), Built({}))
ASKS = (*BEGUN, judged(Outcome.PASS), Asked("d1", "a1", 90_000.0))


def test_a_promotion_from_its_begin() -> None:
    of = rollout()
    assert told(of, log(of, *BEGUN, judged(Outcome.PASS), Settled())) == [
        ("started", f"fraud detector version 8 is being rolled out beside version 7, first canary 5 %. {PAGE}"),
        (
            "promoted",
            f"fraud detector version 8 is promoted and answers all traffic in place of version 7. Why: {PASSED} {PAGE}",
        ),
    ]


def test_a_rollback_says_why_once_it_is_done() -> None:
    of = rollout()
    assert told(of, log(of, *BEGUN, judged(Outcome.FAIL, "errors: 5 % > 1 %"), Settled()))[1:] == [
        (
            "rolled_back",
            f"fraud detector version 8 is rolled back: version 7 answers all traffic. Why: errors: 5 % > 1 %. {PAGE}",
        )
    ]


def test_a_candidate_that_cannot_be_built() -> None:
    kind, text = last(rollout(), Opened(), Broke("no signature; log it with one", refused=True))
    assert kind == "failed"
    assert "was not rolled out, and traffic is as it was. Why: no signature; log it with one." in text


def test_an_approval_says_until_when_and_how() -> None:
    kind, text = last(rollout({}), *ASKS)
    assert kind == "approval_pending"
    assert text == (
        "fraud detector version 8 asks for approval to go on in place of version 7, until 1970-01-02 01:00 UTC. Approve"
        f" or reject it on its page in MLflow, or with `lockgate approve fraud` or `lockgate reject fraud`. {PAGE}"
    )


def test_asking_again_says_why() -> None:
    kind, text = last(rollout({}), *ASKS, Voided("the artifact is another"), Asked("d2", "a2", 90_000.0))
    assert kind == "approval_pending"
    assert "the artifact is another." in text


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            Decided(approved=True, by="ann", comment="looks good", digest="d1", verified=True),
            "approved",
            ["approved by ann. Why: looks good."],
        ),
        (
            Decided(approved=True, by="", comment="", digest="d1"),
            "approved",
            ["approved by somebody (identity not verified)."],
        ),
        (
            Decided(approved=False, by="ann", comment="p99 is bad", digest="d1", verified=True),
            "rejected",
            ["rejected by ann. Why: p99 is bad.", "All traffic goes back to stable."],
        ),
    ],
)
def test_a_decision_says_whose_it_is(said: Decided, kind: str, words: list[str]) -> None:
    found = last(rollout({}), *ASKS, said)
    assert found[0] == kind
    assert all(word in found[1] for word in words)


def test_one_of_several_approvals() -> None:
    _, text = last(
        rollout({"required": 2}), *ASKS, Decided(approved=True, by="ann", comment="", digest="d1", verified=True)
    )
    assert "That is 1 of 2 approvals." in text


def test_nobody_came_in_time() -> None:
    kind, text = last(rollout({}), *ASKS, (90_001.0 + LATE, judged(Outcome.PASS)))
    assert (kind, "All traffic goes back to stable." in text) == ("expired", True)
    of = rollout({"on_expiry": "renew"})
    kind, text = last(of, *ASKS, (90_001.0 + LATE, judged(Outcome.PASS)))
    assert (kind, "It is asked again." in text) == ("expired", True)


def test_a_step_whose_time_is_over_asks_for_a_word() -> None:
    of = rollout(on_timeout="hold", timeout="60s")
    kind, text = last(of, *BEGUN, (2000.0, judged(Outcome.UNDECIDED)))
    assert kind == "waiting"
    assert "`lockgate promote fraud` or `lockgate abort fraud` ends it." in text
    assert "was undecided when its timeout" in text


def test_drift_that_holds_and_its_end() -> None:
    of = rollout()
    drifts = Drifted(drifting=True, reason="3 of 4 inputs drift", share=0.75)
    found = told(of, log(of, *BEGUN, drifts, Drifted(drifting=False, reason="1 of 4 inputs drifts")))
    assert [kind for kind, _ in found[1:]] == ["drift", "drift"]
    assert (
        "The inputs of fraud drift, in the rollout of fraud detector version 8. Why: 3 of 4 inputs drift."
        in found[1][1]
    )
    assert "`lockgate resume fraud` goes on" in found[1][1]
    assert "no longer drift" in found[2][1]
    assert "resume" not in found[2][1]


def test_most_of_the_log_is_told_to_nobody() -> None:
    of = rollout()
    kept = log(of, *BEGUN, Commanded("pause", "ann"), judged(Outcome.UNDECIDED), Commanded("resume", "ann"))
    assert [kind for kind, _ in told(of, kept)] == ["started"]


def test_no_secret_no_alarm_and_no_novel() -> None:
    why = "hunter3 at http://ann:hunter2@db/x?key=hunter2 <!channel> @everyone @champion <@U1> \u202e" + "x" * 900
    _, text = last(rollout(), *BEGUN, Commanded("abort", "ann", why), Settled())
    assert "hunter" not in text
    assert "${SECRET} at http://db/x" in text
    assert not any(call in text for call in ("<!channel", "@everyone", "<@U1", "\u202e"))
    assert "@champion" in text
    assert len(text) < 700


def test_what_is_late_says_so_and_the_run_is_linked() -> None:
    of = rollout()
    ((_, text),) = told(of, log(of, *BEGUN), now=1603.0, run="http://prefect/runs/1")
    assert text.startswith("1970-01-01 00:16 UTC: fraud detector")
    assert text.endswith(f"{PAGE} http://prefect/runs/1")


def test_programs_get_the_same_by_name() -> None:
    of = rollout({})
    events = log(of, *ASKS)
    said = message(About(of, str, MLFLOW), "approval_pending", (events[-2], events[-1]), 1000.0)
    assert (said.title, said.mood) == ("fraud: approval pending", Mood.ASKS)
    assert json.loads(json.dumps(said.facts)) == {
        "version": 1,
        "id": "fraud-1:4",
        "event": "approval_pending",
        "name": "fraud",
        "rollout": "fraud-1",
        "model": "fraud detector",
        "stable_version": "7",
        "candidate_version": "8",
        "phase": "waiting",
        "step": "approval",
        "at": 1004.0,
        "expires_at": 90_000.0,
        "reason": "",
        "links": {"mlflow": PAGE, "prefect": ""},
    }


LABELS = "2 of 3 inputs drift: amount, country; 1 severely; country: 'jane@example.org' is 40% of them, it was 0%"


@pytest.mark.parametrize("action", ["hold", "alert", "rollback"])
def test_of_drift_no_label_and_no_value_of_a_client_is_told(action: Any) -> None:
    of = rollout()
    ends = (Settled(),) if action == "rollback" else ()
    found = told(of, log(of, *BEGUN, Drifted(drifting=True, reason=LABELS, action=action), *ends))[1:]
    assert [kind for kind, _ in found] == ["drift", "rolled_back"][: 1 + len(ends)]
    assert all("Why: 2 of 3 inputs drift: amount, country." in text for _, text in found)
    assert not any("jane" in text or "severely" in text for _, text in found)


def test_an_approval_is_of_the_step_that_it_ended() -> None:
    of = rollout()
    steps = [{"canary": {"weight": 5}}, {"approval": {"role": "risk-leads"}}, {"canary": {"weight": 50}}]
    gates = {"errors": {"metric": "error_rate"}}
    of = replace(of, spec=RolloutSpec.model_validate({"steps": steps, "gates": gates}))
    yes = Decided(approved=True, by="ann", digest="d1", verified=True)
    events = log(of, *ASKS, yes)
    assert events[-1].state.step == 2
    said = message(About(of, str), "approved", (events[-2], events[-1]), 1000.0)
    assert said.facts["step"] == "approval by risk-leads"


def test_nobody_is_alarmed_by_a_name() -> None:
    _, text = last(rollout({}), *ASKS, Decided(approved=True, by="@everyone\u202e", digest="d1", verified=True))
    assert "approved by @ everyone\ufffd." in text
