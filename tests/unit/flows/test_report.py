"""What the store knows, as JSON, for the terminal and for Prefect."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lockgate.flows import report, view
from lockgate.flows.evidence import Evidence, markdown
from lockgate.flows.outbox import Outbox
from lockgate.flows.watch import Follow, Terminal
from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.analysis import Evidence as Seen
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built, Commanded, Judged, Settled
from lockgate.rollout.store import Rollout, Store, opened
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Counts

SPEC = RolloutSpec.model_validate(
    {
        "steps": [{"shadow": {"percent": 100}}, {"canary": {"weight": 12.5}}],
        "gates": {"errors": {"metric": "error_rate", "margin": "1%"}, "latency": {"metric": "latency"}},
    }
)
FACTS = {"stable_bento": "toy:a", "candidate_bento": "toy:b"}
MANY = Tally(5000, 0, Histogram((1.0, 2.0, float("inf")), (4900, 5000, 5000)))
BROKEN = Tally(500, 100, Histogram((1.0, 2.0, float("inf")), (490, 500, 500)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(f"sqlite:///{tmp_path / 'state.db'}") as it:
        yield it


@pytest.fixture
def rollout(store: Store) -> Rollout:
    subject = {"model": "toy|model", "stable": "1", "candidate": "2"}
    it = Rollout("toy-1", "toy", SPEC, subject, {}, 1000.0, None)
    store.open(it, 1000.0)
    return it


def judge(spec: RolloutSpec, stable: Tally, candidate: Tally) -> Verdict:
    """After three looks at the same traffic."""
    analysis = Analysis(spec)
    evidence = analysis.begin()
    for at in (1.0, 2.0, 3.0):
        evidence = analysis.look(evidence, Look(0, at, stable, candidate))
    return analysis.verdict(evidence, 0)


def shown(what: Any) -> str:
    console = Console(file=io.StringIO(), width=110, highlight=False)
    console.print(what)
    out = console.file
    assert isinstance(out, io.StringIO)
    return out.getvalue()


def happen(store: Store, rollout: Rollout, *happened: Any) -> None:
    for i, one in enumerate(happened):
        store.append(rollout, store.last(rollout.id), one, 1001.0 + i)


def test_a_rollout_that_is_judged(store: Store, rollout: Rollout) -> None:
    verdict = judge(SPEC, MANY, BROKEN)
    happen(store, rollout, Built(FACTS))
    store.save_progress(rollout.id, Progress(0, 1002.0, Seen(), verdict=verdict))
    status = report.status(store, rollout, now=1010.0)
    assert (status["phase"], status["weight_percent"], status["step_seconds"]) == ("progressing", 0.0, 9.0)
    assert [s["state"] for s in status["steps"]] == ["now", "ahead"]
    assert json.loads(json.dumps(status))["gates"][0]["outcome"] == "fail"
    text = shown(view.rollout(status))
    assert "▶ shadow 100 %" in text
    assert "20.00%" in text
    assert "500 / 5000" in text
    assert "nobody drives this rollout" in text


def test_nobody_believes_that_the_shadow_saw_everything(store: Store, rollout: Rollout) -> None:
    happen(store, rollout, Built(FACTS))
    store.save_progress(rollout.id, Progress(0, 1002.0, Seen(), step=Counts(shadow=Tally(900), shed=100)))
    status = report.status(store, rollout)
    assert status["copies"] == {"answered": 900, "shed": 100}
    assert "the shadow saw 900 of 1,000 copies: 100 (10.0%) were shed" in shown(view.rollout(status))
    store.save_progress(rollout.id, Progress(0, 1003.0, Seen(), step=Counts(shadow=Tally(900))))
    assert "shed" not in shown(view.rollout(report.status(store, rollout)))


def test_the_share_follows_the_steps(store: Store, rollout: Rollout) -> None:
    passing = judge(SPEC, MANY, MANY)
    assert passing.outcome == "pass"
    happen(store, rollout, Built(FACTS), Judged(passing))
    assert report.status(store, rollout)["weight_percent"] == 12.5
    happen(store, rollout, Commanded("promote", "ada", "I looked"), Settled())
    told = report.history(store, rollout)
    assert told["weight_percent"] == 100.0
    assert [e["what"] for e in told["events"]] == ["opened", "built", "judged", "promote", "settled"]
    text = shown(view.events(told["events"]))
    assert "promote by ada" in text
    assert "I looked" in text
    assert "12.5 %  verdict pass" in text


def test_one_that_failed_while_it_was_built_reached_no_step(store: Store, rollout: Rollout) -> None:
    happen(store, rollout, Commanded("abort", "ada"))
    assert [s["state"] for s in report.status(store, rollout)["steps"]] == ["not reached", "not reached"]


def test_the_markdown_is_one_table_whatever_is_said(store: Store, rollout: Rollout) -> None:
    happen(store, rollout, Built(FACTS), Commanded("abort", "ada", "a | b\nc"))
    told = report.history(store, rollout)
    text = markdown(told, told["events"])
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len(rows) == 2 + 3
    assert {row.replace("\\|", "").count("|") for row in rows} == {7}


def test_evidence_is_put_on_a_change_and_then_only_now_and_then(store: Store, rollout: Rollout) -> None:
    happen(store, rollout, Built(FACTS))
    put: list[str] = []
    outbox = Outbox()
    outbox.put = lambda what, _: put.append(what)  # type: ignore[method-assign]
    evidence = Evidence(store, rollout, outbox, "http://127.0.0.1:5000")
    verdict = judge(SPEC, MANY, BROKEN)
    for at in (1002.0, 1003.0, 1004.0, 1033.0):
        progress = Progress(0, at, Seen(), verdict=verdict)
        store.save_progress(rollout.id, progress)
        evidence(store.last(rollout.id), progress)
    tables = [what for what in put if "table" in what]
    assert (len(tables), len(put)) == (2, 4)


def test_lines_say_what_happened_and_keep_brackets(store: Store, rollout: Rollout) -> None:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    terminal = Terminal(console)
    terminal.say("output [0, 1] differs")
    happen(store, rollout, Built(FACTS), Judged(judge(SPEC, MANY, BROKEN)))
    Follow(terminal, store, rollout)(store.last(rollout.id), None)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "output [0, 1] differs" in text
    assert "built → progressing, shadow 100 %" in text
    assert "verdict fail → rolling back" in text
    assert "opened" not in text


def test_the_answers_that_differ_most_are_shown(store: Store, rollout: Rollout) -> None:
    happen(store, rollout, Built(FACTS))
    example = {
        "gate": "agreement", "request_id": "r|1", "at": 1.0, "inputs": {"x": [1.0, 2.5]},
        "stable": "yes", "candidate": "no", "far": 1.0,
    }  # fmt: skip
    store.note(rollout.id, report.DISAGREEMENTS, [example])
    status = report.status(store, rollout, now=1010.0)
    assert status["disagreements"] == [example]
    for text in (shown(view.rollout(status)), markdown(status, [])):
        assert all(word in text for word in ("agreement", "yes", "no", "2.5"))
    assert "r\\|1" in markdown(status, [])
