"""What people are shown of approvals and of drift: as JSON, on the terminal, in Prefect, and what a command says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from lockgate.flows import report, view
from lockgate.flows.cli import cli
from lockgate.flows.evidence import markdown
from lockgate.flows.watch import sentence
from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.approving import LATE
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Allocated, Asked, Built, Commanded, Decided, Drifted, Happening, Judged, Voided
from lockgate.rollout.store import Event, Rollout, Store, opened
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Outcome

GATES = {"errors": {"metric": "error_rate", "margin": "1%"}}
AB = {"ab": {"weight": 20, "metric": "conversion", "timeout": "7d", "allocation": "thompson"}}
APPROVAL = {"approval": {"role": "risk-leads", "required": 2}}
PASS = Verdict(Outcome.PASS, (), 5000, 0.05, "errors: pass")
ASKED = Asked("d" * 64, "a" * 64, 90_000.0)
MANY = Tally(5000, 0, Histogram((1.0, float("inf")), (4900, 5000)))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    monkeypatch.setenv("LOCKGATE_STATE_URL", url)
    with opened(url) as it:
        yield it


def rollout(store: Store, *steps: dict[str, Any]) -> Rollout:
    spec = RolloutSpec.model_validate({"steps": steps or ({"canary": {"weight": 5}}, APPROVAL), "gates": GATES})
    it = Rollout("toy-1", "toy", spec, {"model": "toy-model", "stable": "1", "candidate": "2"}, {}, 1000.0, None)
    store.open(it, 1000.0)
    happen(store, it, Built({"candidate_bento": "toy:b"}), Judged(PASS))
    return it


def happen(store: Store, rollout: Rollout, *happened: Happening) -> Event:
    for one in happened:
        event = store.append(rollout, store.last(rollout.id), one, 1001.0)
    return event


def shown(status: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(view.rollout(status))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def approve(by: str, comment: str = "", **more: Any) -> Decided:
    return Decided(approved=True, by=by, comment=comment, digest=ASKED.digest, **more)


class TestStatus:
    def test_nothing_is_asked_in_other_steps(self, store: Store) -> None:
        it = rollout(store, {"canary": {"weight": 5}}, {"canary": {"weight": 10}}, APPROVAL)
        status = report.status(store, it, now=1002.0)
        assert (status["approval"], status["held"]) == (None, "")

    def test_what_is_asked_of_whom_and_who_said_what(self, store: Store) -> None:
        it = rollout(store)
        before = report.status(store, it, now=1002.0)
        assert before["approval"]["asked"] == ""
        assert "waiting for approval by risk-leads, 0 of 2 so far; the evidence is being put on the" in shown(before)
        happen(store, it, ASKED, approve("ada"))
        status = json.loads(json.dumps(report.status(store, it, now=1002.0)))
        assert status["approval"] == {
            "asked": ASKED.digest,
            "expires_at": 90_000.0,
            "role": "risk-leads",
            "required": 2,
            "approvals": ["ada"],
            "not_author": True,
        }
        text = shown(status)
        assert f"1 of 2 so far (ada), until {view.moment(90_000.0)}" in text
        assert "the page of toy-model version 2 in MLflow" in text
        assert "`lockgate approve toy --comment ...` or `lockgate reject toy --comment ...`" in text
        assert "lockgate promote" not in text

    def test_the_share_and_the_gates_are_those_of_the_step_before(self, store: Store) -> None:
        it = rollout(store, AB, APPROVAL)
        analysis = Analysis(it.spec)
        evidence = analysis.look(analysis.begin(), Look(0, 1.0, MANY, MANY))
        store.save_progress(it.id, Progress(0, 1.0, evidence, verdict=analysis.verdict(evidence, 0)))
        status = report.status(store, it, now=1002.0)
        assert status["weight_percent"] == 20.0
        assert [step["weight"] for step in status["steps"]] == [0.2, 0.2]
        assert [step["kind"] for step in status["steps"]] == ["ab", "approval"]
        assert [gate["gate"] for gate in status["gates"]] == ["errors", "ab"]
        assert status["requests"] == 5000

    def test_a_share_that_was_moved_is_still_in_force(self, store: Store) -> None:
        it = rollout(store, {"canary": {"weight": 5}}, AB, APPROVAL)
        happen(store, it, Allocated(3000, "why"), Judged(PASS))
        status = report.status(store, it, now=1002.0)
        assert (status["weight_percent"], status["steps"][2]["weight"]) == (30.0, 0.3)

    def test_as_the_first_step_it_has_no_share(self, store: Store) -> None:
        it = rollout(store, APPROVAL, {"canary": {"weight": 5}})
        status = report.status(store, it, now=1002.0)
        assert (status["weight_percent"], status["gates"], status["phase"]) == (0.0, [], "waiting")
        assert (status["steps"][0]["weight"], status["steps"][0]["mirror"]) == (0.0, 0.0)

    def test_the_winner_is_known_when_people_are_asked_for_it(self, store: Store) -> None:
        ab = {"ab": {**AB["ab"], "allocation": "fixed", "others": ["small"]}}
        it = rollout(store, {"canary": {"weight": 5}}, ab, APPROVAL)
        it.subject["small"] = "3"  # type: ignore[index]
        assert report.status(store, it)["winner"] == ""
        happen(store, it, Judged(Verdict(Outcome.PASS, (), 5000, 0.05, winner="small")))
        status = report.status(store, it)
        assert (status["winner"], status["candidate_version"]) == ("small", "3")
        assert status["weight_percent"] == 20.0

    def test_drift_holds_and_says_what_to_do(self, store: Store) -> None:
        it = rollout(store)
        happen(store, it, Drifted(drifting=True, reason="amount drifts"))
        status = report.status(store, it, now=1002.0)
        assert status["held"] == "amount drifts"
        text = shown(status)
        assert "waiting (held)" in text
        assert "held: amount drifts; `lockgate resume toy` lets it go on nevertheless" in text
        said = markdown(status, [])
        assert "Held: amount drifts; `lockgate resume toy`" in said
        assert "waiting for approval by risk-leads" in said

    def test_a_step_that_a_person_promoted_past_was_not_passed(self, store: Store) -> None:
        it = rollout(store)
        happen(store, it, Commanded("promote", "ada", "an outage", break_glass=True))
        assert [step["state"] for step in report.status(store, it)["steps"]] == ["passed", "skipped"]

    def test_steps_that_a_promotion_left_out_on_its_way_to_an_approval_were_not_passed(self, store: Store) -> None:
        it = rollout(store, {"canary": {"weight": 5}}, {"canary": {"weight": 10}}, {"canary": {"weight": 20}}, APPROVAL)
        happen(store, it, Commanded("promote", "ada", "please"))
        steps = report.status(store, it)["steps"]
        assert [step["state"] for step in steps] == ["passed", "skipped", "skipped", "now"]

    def test_one_that_waits_before_an_approval_says_what_promoting_takes(self, store: Store) -> None:
        late = {"canary": {"weight": 10, "timeout": "1m", "on_timeout": "hold"}}
        it = rollout(store, {"canary": {"weight": 5}}, late, APPROVAL)
        store.append(it, store.last(it.id), Judged(Verdict(Outcome.UNDECIDED, (), 0, 0.05)), 2000.0)
        text = shown(report.status(store, it))
        assert "`lockgate promote toy --break-glass --comment ...` or `lockgate abort toy`" in text


class TestLines:
    @pytest.mark.parametrize(
        ("said", "headline", "reason"),
        [
            (approve("ada", "the p99 is fine", verified=True), "approved by ada", "the p99 is fine"),
            (approve("ada"), "approved by ada (identity not verified)", ""),
            (Decided(approved=False, by="", digest=ASKED.digest), "rejected (identity not verified)", ""),
            (
                Decided(approved=False, by="bob", comment="too slow", digest=ASKED.digest, verified=True),
                "rejected by bob",
                "too slow",
            ),
            (Voided("the artifact changed"), "voided", "the artifact changed"),
            (Drifted(drifting=True, reason="amount drifts"), "drifted", "amount drifts"),
            (Drifted(drifting=False, reason="as before"), "drift over", "as before"),
            (
                Commanded("promote", "ada", "an outage", break_glass=True),
                "promote, break-glass by ada",
                "promote by ada without the approval: an outage",
            ),
        ],
    )
    def test_each_says_what_happened_and_why(self, said: Happening, headline: str, reason: str, store: Store) -> None:
        it = rollout(store)
        event = happen(store, it, ASKED, said)
        line = json.loads(json.dumps(report.line(it.spec, event)))
        assert (report.headline(line), line["reason"]) == (headline, reason)
        assert line["step"] == "approval by risk-leads"
        for text in (sentence(it, event), markdown(report.status(store, it), [line])):
            assert headline in text
        table = io.StringIO()
        Console(file=table, width=200).print(view.events([line]))
        assert headline in table.getvalue()

    def test_who_decided_is_a_field_of_its_own(self, store: Store) -> None:
        it = rollout(store)
        line = report.line(it.spec, happen(store, it, ASKED, approve("ada", "fine", verified=True)))
        assert {key: line[key] for key in ("what", "by", "comment", "verified")} == {
            "what": "approved",
            "by": "ada",
            "comment": "fine",
            "verified": True,
        }

    def test_what_was_asked_is_named(self, store: Store) -> None:
        it = rollout(store)
        event = happen(store, it, ASKED)
        assert report.line(it.spec, event)["reason"] == f"the evidence is {'d' * 12}"
        assert sentence(it, event).startswith("asked → waiting, approval by risk-leads\n")

    def test_what_expired_says_so_and_not_what_the_gates_said(self, store: Store) -> None:
        it = rollout(store)
        happen(store, it, ASKED)
        event = store.append(it, store.last(it.id), Judged(PASS), 90_000.0 + LATE)
        reason = report.line(it.spec, event)["reason"]
        assert reason == "approval by risk-leads: it had 0 of 2 approvals when its time of 1d ended"

    def test_the_verdict_that_led_here_says_what_the_gates_said(self, store: Store) -> None:
        it = rollout(store)
        assert report.line(it.spec, store.last(it.id))["reason"] == "errors: pass"


class TestPromote:
    def run(self, *words: str) -> Result:
        return CliRunner().invoke(cli, ["promote", "toy", *words])

    def test_stands_still_before_an_approval(self, store: Store) -> None:
        rollout(store)
        result = self.run("--comment", "please")
        assert result.exit_code != 0
        assert "approval by risk-leads is not passed" in str(result.exception) + result.output

    @pytest.mark.parametrize("words", [(), ("--comment", " ")])
    def test_breaks_the_glass_for_a_reason_only(self, words: tuple[str, ...], store: Store) -> None:
        it = rollout(store)
        result = self.run("--break-glass", *words)
        assert result.exit_code == 2
        assert "say why, with --comment" in result.output
        assert store.last(it.id).happening.kind == "judged"

    def test_with_one_it_goes_past_it_and_the_log_says_so(self, store: Store) -> None:
        it = rollout(store)
        result = self.run("--break-glass", "--comment", "an outage")
        assert result.exit_code == 0, result.output
        assert "promote recorded, the rollout is promoting" in result.output
        event = store.last(it.id)
        assert isinstance(event.happening, Commanded)
        assert event.happening.break_glass
        assert event.state.reason.endswith("without the approval: an outage")
