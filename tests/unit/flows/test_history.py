"""The story of a model over all its rollouts: values, files, the terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from lockgate.flows import history, history_view, report, view
from lockgate.flows.cli.history import command
from lockgate.flows.history_page import html
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Asked, Built, Commanded, Decided, Drifted, Judged, Settled
from lockgate.rollout.store import Rollout, Store, opened
from lockgate.rollout.verdict import GateVerdict, Verdict
from lockgate.rollout.words import Outcome

SPEC = RolloutSpec.model_validate(
    {
        "steps": [{"canary": {"weight": 5}}, {"approval": {"role": "risk-leads"}}],
        "gates": {"errors": {"metric": "error_rate"}},
    }
)
FACTS = {"candidate_target": "onnxruntime", "candidate_precision": "int8", "candidate_digest": "b" * 64}
FACTS |= {"candidate_parity": "256 rows, largest difference 1e-07 in score", "candidate_bento": "fraud:b"}
EVIL = "<script>alert(1)</script>\u202e\x00 [bold]x[/bold]"
COMPLETE = {"verified": True, "said_at": 1300.0}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with opened(url) as it:
        yield it


def judged(word: str = "pass") -> Judged:
    sentence = f"errors: {word}, candidate failed 2 of 1000 requests (0.20%)"
    gate = GateVerdict("errors", "error_rate", Outcome(word), 0.002, 0.001, 0.006, 1000, 19_000, 0.5, 40.0, sentence)
    return Judged(Verdict(Outcome(word), (gate,), 1000, 0.05, sentence, 7))


def went(store: Store, number: int, *happened: Any, model: str = "fraud-detector", of: RolloutSpec = SPEC) -> Rollout:
    """A rollout of its own day, whose events are a minute apart."""
    opened_at = 86_400.0 * number
    subject = {"model": model, "stable": str(number), "candidate": str(number + 1)}
    it = Rollout(f"fraud-{number}", "fraud", of, subject, {}, opened_at, None)
    store.open(it, opened_at)
    for one in happened:
        last = store.last(it.id)
        store.append(it, last, one, last.at + 60.0)
    store.close_rollout(it.id, opened_at + 3600.0)
    return it


def asked(word: bool, by: str = "ada", comment: str = "p99 is fine", **more: Any) -> tuple[Asked, Decided]:  # noqa: FBT001
    return Asked("d" * 64, "b" * 64, 1e9), Decided(word, by, comment, "d" * 64, **more)


@pytest.fixture
def rollouts(store: Store) -> list[Rollout]:
    """Approved; rejected by nobody known; failed; past the approval by hand."""
    drift = Drifted(True, "amount drifts", "hold", 0.4)  # noqa: FBT003
    first = went(store, 1, Built(FACTS), judged(), *asked(True, **COMPLETE), Settled())  # noqa: FBT003
    store.note(first.id, history.AUTHORS, {"2": "carol"})
    resumed = Commanded("resume", "bob", "a campaign")
    no = asked(False, "", "not before Monday")  # noqa: FBT003
    return [
        first,
        went(store, 2, Built(FACTS), drift, resumed, judged(), *no, Settled()),
        went(store, 3, Built(FACTS), judged("fail"), Settled()),
        went(store, 4, Built(FACTS), Commanded("promote", "root", "an outage", break_glass=True), Settled()),
    ]


def text(what: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_story_tells_who_what_and_why(store: Store, rollouts: list[Rollout]) -> None:
    first, second, third, fourth = history.tell(store, rollouts)
    outcomes = [s["outcome"] for s in (first, second, third, fourth)]
    assert outcomes == [
        "promoted",
        "rolled back",
        "rolled back",
        "promoted",
    ]
    assert first["registered_by"] == "carol"
    assert first["served"]["candidate"]["parity"].startswith("256 rows")
    assert first["verdicts"][0]["verdict"]["gates"][0]["candidate"] == 0.002
    decision = first["decisions"][0]
    assert (decision["what"], decision["by"], decision["verified"]) == ("approved", "ada", True)
    assert (decision["comment"], decision["said_at"]) == ("p99 is fine", 1300.0)
    assert [d["what"] for d in second["decisions"]] == ["resume", "rejected"]
    assert (second["decisions"][1]["by"], second["decisions"][1]["verified"]) == ("", False)
    assert [d["reason"] for d in second["drift"]] == ["amount drifts"]
    assert "errors: fail" in third["reason"]
    assert fourth["decisions"][0]["what"] == "promote, break-glass"
    assert [s["state"] for s in fourth["verdicts"]] == ["skipped"]


def test_an_approval_is_of_the_step_that_it_ended(store: Store) -> None:
    canary = [{"canary": {"weight": weight}} for weight in (5, 50)]
    steps = [canary[0], {"approval": {"role": "risk-leads"}}, canary[1], {"approval": {"role": "board"}}]
    of = RolloutSpec.model_validate({"steps": steps, "gates": {"errors": {"metric": "error_rate"}}})
    promoted = Commanded("promote", "ann", "an outage", break_glass=True)
    it = went(store, 1, Built(FACTS), judged(), *asked(True, **COMPLETE), promoted, Settled(), of=of)  # noqa: FBT003
    told = history.tell(store, [it])[0]
    assert [(d["what"], d["step"]) for d in told["decisions"]] == [
        ("approved", "approval by risk-leads"),
        ("promote, break-glass", "canary 50 %"),
    ]
    assert [s["state"] for s in told["steps"]] == ["passed", "passed", "skipped", "skipped"]


TERMINAL = "\x1b[2J\x1b]0;owned\x07\x1b[1;32mpromoted\x9b2J\u202e"
"""Clears the screen, names the window, and says something else."""


def test_a_terminal_obeys_nobodys_comment(store: Store) -> None:
    it = went(
        store,
        1,
        Built(FACTS | {"candidate_parity": TERMINAL}),
        Drifted(True, TERMINAL, "hold", 0.4),  # noqa: FBT003
        Commanded("resume", TERMINAL, TERMINAL),
        judged(),
        *asked(False, TERMINAL, f"{TERMINAL}; {TERMINAL}"),  # noqa: FBT003
        model=TERMINAL,
    )
    store.note(it.id, history.AUTHORS, {"2": TERMINAL})
    example = {"gate": "errors", "request_id": TERMINAL, "inputs": {TERMINAL: TERMINAL}, "stable": 0, "candidate": 1}
    store.note(it.id, report.DISAGREEMENTS, [example])
    story = history.tell(store, [it])[0]
    story |= {"reason": TERMINAL, "held": TERMINAL, "gates": [{**GATE, "sentence": TERMINAL}]}
    story["others"] = [{"name": "blue", "version": "7", "dropped": False, "gates": story["gates"]}]
    waits = {**story, "phase": "waiting", "approval": {**WAITS, "approvals": [TERMINAL]}}
    for what in (history_view.rollout(story), history_view.table([story]), view.rollout(story), view.rollout(waits)):
        shown = text(what, 400)
        assert "owned" in shown
        assert not set(shown) & set("\x1b\x07\x9b\u202e")


GATE = {"gate": "errors", "metric": "error_rate", "outcome": "pass", "interval": [0, 1], "candidate": 0.1}
GATE |= {"stable": 0.1, "limit": 0.2, "candidate_requests": 1, "stable_requests": 1}
WAITS = {"role": "risk-leads", "required": 2, "asked": "d", "expires_at": 1e9, "not_author": True}


def test_what_it_told_before_is_still_there(store: Store, rollouts: list[Rollout]) -> None:
    told = history.tell(store, rollouts)[0]
    assert {"rollout", "phase", "steps", "facts", "events", "reason", "ending"} <= set(told)
    assert [e["what"] for e in told["events"]][:3] == ["opened", "built", "judged"]


def test_the_files_are_of_this_rollout_and_those_before_it(store: Store, rollouts: list[Rollout]) -> None:
    files = history.files(store, rollouts[1])
    assert [s["rollout"] for s in json.loads(files["history.json"])] == ["fraud-2", "fraud-1"]
    page = files["history.html"].decode()
    assert "fraud-1" in page
    assert "fraud-3" not in page


def test_the_terminal_shows_every_rollout_and_all_in_one_table(store: Store, rollouts: list[Rollout]) -> None:
    stories = history.tell(store, rollouts)
    one = text(history_view.rollout(stories[0]))
    assert "version 2 is onnxruntime int8, registered by carol: 256 rows" in one
    assert "candidate failed 2 of 1000 requests" in one
    table = " ".join(text(history_view.table(stories), 300).split())
    assert "approved by ada: p99 is fine" in table
    assert "rejected by somebody (identity not verified): not before Monday" in table
    assert "» canary 5 %" in table
    assert max(map(len, text(history_view.table(stories), 100).splitlines())) <= 100


class Closed(HTMLParser):
    """Whether what is opened is closed; the elements, and the text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open, self.seen, self.text = list[str](), set[str](), ""
        self.feed(page.decode())
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.seen.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_takes_nobodys_word_for_an_element(store: Store) -> None:
    it = went(store, 1, Built(FACTS), judged(), *asked(False, EVIL, EVIL), Settled(), model=EVIL)  # noqa: FBT003
    page = Closed(html(EVIL, history.tell(store, [it])))
    assert "script" not in page.seen
    assert page.text.count("<script>alert(1)</script>") > 4
    assert "\u202e" not in page.text
    assert "not verified" in page.text


def test_the_command_writes_json_with_stable_keys_and_a_page(
    url: str, rollouts: list[Rollout], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_STATE_URL", url)
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    run = CliRunner()
    told = json.loads(run.invoke(command, ["fraud", "--json"], catch_exceptions=False).stdout)
    assert [s["rollout"] for s in told] == [r.id for r in rollouts]  # the newest is last
    keys = {"format", "outcome", "registered_by", "served", "verdicts", "decisions", "drift", "timeline", "events"}
    assert keys <= set(told[0])
    at = tmp_path / "story.html"
    assert run.invoke(command, ["fraud", "--html", str(at), "--last", "2"], catch_exceptions=False).exit_code == 0
    assert "fraud: 2 rollouts" in Closed(at.read_bytes()).text
    shown = run.invoke(command, ["fraud-2"], catch_exceptions=False).stdout
    assert "rejected" in shown
    assert "opened   " not in shown  # one rollout needs no table


def test_brackets_in_a_comment_stay_brackets(url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    went(store, 1, Built(FACTS), judged(), *asked(False, "ada", "[red]no[/red]"), Settled())  # noqa: FBT003
    went(store, 2, Built(FACTS), judged("fail"), Settled())
    monkeypatch.setenv("LOCKGATE_STATE_URL", url)
    assert "[red]no[/red]" in CliRunner().invoke(command, ["fraud"], catch_exceptions=False).stdout
