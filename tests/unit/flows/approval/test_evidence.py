"""What an approver is told: from the log, the same for the same log, and whatever the rollout was like."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from typing import Any

import pytest

from lockgate.flows import report
from lockgate.flows.approval import evidence, pictures
from lockgate.flows.approval.document import Evidence, Links
from lockgate.rollout.analysis.analysis import Evidence as Seen
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built, Commanded, Drifted
from lockgate.rollout.store import Store, opened

from .conftest import BUILD, EVIL, FACTS, GATES, SEVERAL, Page, approval, gate, happen, judged, rollout_of, waiting

EXAMPLE = {"gate": "agreement", "request_id": "r1", "at": 1100.0, "inputs": {"x": [1, 2]}, "far": 0.5}
EXAMPLE |= {"stable": 0.9, "candidate": 0.1}


def test_it_says_what_changes_what_was_proven_and_what_every_step_came_to(store: Store) -> None:
    it = waiting(store)
    store.note(it.id, report.DISAGREEMENTS, [EXAMPLE])
    found = evidence.gather(store, it, author="carol", build=BUILD)
    document = found.document
    change = document["change"]
    assert (change["stable"]["version"], change["candidate"]["version"]) == ("4", "5")
    assert (change["stable"]["precision"], change["candidate"]["precision"]) == ("fp32", "int8")
    assert (change["candidate"]["digest"], change["registered_by"]) == ("b" * 64, "carol")
    assert document["parity"]["evidence"]["agreement"] == 0.998
    assert [row["outcome"] for row in document["compiled"]] == ["chosen", "slower", "refused"]
    assert [s["step"] for s in document["steps"]] == ["shadow 100 %", "canary 5 %"]
    assert {s["state"] for s in document["steps"]} == {"passed"}
    assert [g["candidate"] for g in document["steps"][1]["verdict"]["gates"][:2]] == [0.002, 8.4]
    assert [g["step"] for g in document["agreement"]] == ["shadow 100 %"]
    assert document["disagreements"] == [EXAMPLE]
    assert document["asks"]["role"] == "risk-leads"


def test_the_digest_is_the_sha256_of_the_file_that_is_kept(store: Store) -> None:
    found = evidence.gather(store, waiting(store))
    kept = evidence.files(found)["evidence.json"]
    assert hashlib.sha256(kept).hexdigest() == found.digest
    assert json.loads(kept) == found.document


def test_what_goes_on_while_people_think_does_not_change_it(store: Store) -> None:
    it = waiting(store)
    before = evidence.gather(store, it, author="carol", build=BUILD)
    verdict = judged(gate("errors", candidate=0.004)).verdict
    store.save_progress(it.id, Progress(1, 5000.0, Seen(), verdict=verdict))
    store.lease(it.id, "another driver", 6000.0, 15.0)
    links = Links("http://prefect/another-run")
    assert evidence.gather(store, it, author="carol", build=BUILD, links=links).digest == before.digest


@pytest.mark.parametrize("what", ["a number", "a decision", "the author", "drift", "an answer"])
def test_another_number_or_word_is_other_evidence(store: Store, tmp_path: Any, what: str) -> None:
    before = evidence.gather(store, waiting(store), author="carol")
    with opened(f"sqlite:///{tmp_path / 'other.db'}") as other:
        it = rollout_of(other)
        odd = gate("errors", candidate=0.0021) if what == "a number" else GATES[0]
        quiet = gate("agreement", "disagreement", votes=False)
        happen(other, it, Built(FACTS), judged(odd, *GATES[1:]), judged(*GATES[:2], quiet, GATES[3]))
        if what == "a decision":
            happen(other, it, *approval("c" * 64))
        if what == "drift":
            other.note(it.id, evidence.DRIFT, {"says": "amount drifts"})
        if what == "an answer":
            other.note(it.id, report.DISAGREEMENTS, [EXAMPLE])
        after = evidence.gather(other, it, author="bob" if what == "the author" else "carol")
    assert after.digest != before.digest


def test_a_table_of_another_artifact_is_left_out(store: Store) -> None:
    it = rollout_of(store)
    happen(store, it, Built(FACTS | {"candidate_digest": "c" * 64}), judged(*GATES), judged(*GATES))
    found = evidence.gather(store, it, build=BUILD)
    assert (found.document["compiled"], found.document["parity"]["evidence"]) == ([], None)


def test_an_approval_that_comes_first_says_that_nothing_was_judged(store: Store) -> None:
    spec = {"steps": [{"approval": {}}, {"canary": {"weight": 5}}], "gates": {"errors": {"metric": "error_rate"}}}
    it = rollout_of(store, RolloutSpec.model_validate(spec))
    happen(store, it, Built(FACTS))
    found = evidence.gather(store, it)
    assert (found.document["steps"], found.document["gates"], found.document["asks"]["next"]) == ([], [], "canary 5 %")
    assert set(evidence.files(found)) >= {"evidence.json", "evidence.html", "gates.csv", "disagreements.csv"}
    assert "gates.png" not in found.pictures


def test_the_winner_of_several_is_named_with_its_own_gates(store: Store) -> None:
    it = rollout_of(store, SEVERAL, blue="6")
    blue = {key.replace("candidate", "blue"): value for key, value in FACTS.items() if "candidate" in key}
    mine, its = gate("errors", candidate=0.005), gate("errors", candidate=0.001)
    verdict = judged(mine, others={"blue": (its,)}, winner="blue")
    happen(store, it, Built(FACTS | blue), judged(mine), verdict)
    found = evidence.gather(store, it)
    assert (found.candidate, found.document["change"]["variant"]) == ("6", "blue")
    assert [g["candidate"] for g in found.document["gates"]] == [0.001]
    rows = list(csv.reader(io.StringIO(evidence.files(found)["gates.csv"].decode())))
    assert [row[1] for row in rows] == ["challenger", "candidate", "candidate", "blue"]


def test_numbers_that_json_has_no_word_for_are_told_nevertheless(store: Store) -> None:
    it = rollout_of(store)
    odd = gate("errors", candidate=math.nan, stable=None, limit=math.inf, effect=math.inf, interval=(-math.inf, 1.0))
    happen(store, it, Built(FACTS), judged(odd), judged(odd))
    found = evidence.gather(store, it)
    assert found.document["gates"][0]["candidate"] == "nan"
    text = Page(evidence.files(found)["evidence.html"]).text
    assert "not a number" in text
    assert "∞" in text


def test_what_people_said_and_drift_are_part_of_it(store: Store) -> None:
    it = rollout_of(store)
    drift = Drifted(True, "amount drifts", "hold", 0.4)  # noqa: FBT003
    resumed = Commanded("resume", "bob", "a campaign")
    happen(store, it, Built(FACTS), judged(*GATES), drift, resumed, judged(*GATES))
    document = evidence.gather(store, it).document
    assert [(d["drifting"], d["action"]) for d in document["drift"]] == [(True, "hold")]
    assert [(s["what"], s["by"], s["comment"]) for s in document["said"]] == [("resume", "bob", "a campaign")]


def test_no_two_questions_have_the_same_digest(store: Store) -> None:
    it = waiting(store)
    first, second = (evidence.gather(store, it, asked_at=at) for at in (5000.0, 5000.001))
    assert first.digest != second.digest


def evil(store: Store) -> Evidence:
    """Everything that comes from outside means harm."""
    it = waiting(store, model=EVIL, candidate="5")
    answers = {"inputs": {EVIL: EVIL}, "stable": EVIL, "candidate": [EVIL, "\ud800"]}
    example = {**EXAMPLE, **answers, "request_id": f"={EVIL}"}
    store.note(it.id, report.DISAGREEMENTS, [example])
    store.note(it.id, evidence.DRIFT, {"says": EVIL, "features": [{"name": EVIL, "says": EVIL}]})
    return evidence.gather(store, it, author=EVIL, links=Links("javascript:alert(1)", f"http://x/{EVIL}"))


def test_the_page_is_well_formed_and_nothing_from_outside_is_an_element(store: Store) -> None:
    html = evidence.files(evil(store))["evidence.html"]
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert {a["href"][:7] for tag, a in page.tags if tag == "a" and a["href"]} <= {"http://"}
    assert page.text.count("<script>alert(1)</script>") > 5
    assert b"\xe2\x80\xae" not in html  # what would turn the text around
    loaded = [a["src"] for tag, a in page.tags if tag == "img"]
    assert all(src and src.startswith("data:image/png;base64,") for src in loaded)


def test_a_spreadsheet_takes_no_answer_for_a_formula(store: Store) -> None:
    rows = list(csv.reader(io.StringIO(evidence.files(evil(store))["disagreements.csv"].decode())))
    assert rows[1][1].startswith("'=")
    assert len(rows) == 2


def test_without_matplotlib_there_are_no_pictures_and_the_page_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda _: None)
    found = evidence.gather(store, waiting(store), build=BUILD)
    assert not found.pictures
    assert "matplotlib is not installed" in Page(evidence.files(found)["evidence.html"]).text


def test_pictures_are_drawn_whatever_things_are_called(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    it = rollout_of(store, model=r"$\frac{ 模型 %")
    many = [gate(f"g{i}", "query", candidate=float(i), stable=None, limit=3.0) for i in range(30)]
    ab = gate("uplift", "ab", candidate=0.11, stable=0.1, limit=0.1, effect=0.1, interval=(0.02, 0.2))
    happen(store, it, Built(FACTS), judged(ab, *many), judged(ab, *many))
    found = evidence.gather(store, it, build=BUILD)
    assert set(found.pictures) == {"gates.png", "compile.png", "timeline.png"}
    assert all(png.startswith(b"\x89PNG") for png in found.pictures.values())
    assert not caplog.records


def test_a_picture_that_cannot_be_drawn_stops_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> bytes:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(pictures, "gates", broken)
    assert set(evidence.gather(store, waiting(store)).pictures) == {"timeline.png"}
    assert "could not be drawn" in caplog.text
