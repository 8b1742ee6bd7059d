"""The page that an approver decides on: short enough for every registry, and never what somebody else wrote into it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.flows.approval import evidence, words
from lockgate.flows.approval.document import Evidence, Links
from lockgate.registry.approvals import Request
from lockgate.registry.words import EVIDENCE_ROOM, Run
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built
from lockgate.rollout.store import Store

from .conftest import BUILD, EVIL, FACTS, GATES, SEVERAL, gate, happen, judged, rollout_of, waiting

RUN = Run("7", "f" * 32, "lockgate/approval-1")


EXAMPLE = {"gate": "g", "request_id": "r1", "inputs": {"x": 1}, "stable": 0.9, "candidate": 0.1}


def request(digest: str = "d" * 64, **more: Any) -> Request:
    return Request("fraud-1", 2, digest, "b" * 64, 1_795_280_309.0, 1_795_366_709.0, **{"role": "risk-leads", **more})


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [row.replace("&emsp;", "").strip("|").split("|") for row in text.splitlines() if row.startswith("|")]


def test_one_screen_says_what_is_asked_what_was_found_and_how_to_decide(store: Store) -> None:
    found = evidence.gather(store, waiting(store), author="carol", build=BUILD, links=Links("http://prefect/runs/1"))
    text = evidence.page(found, request(found.digest), RUN, people=True)
    assert text.startswith(
        "## Promote fraud version 5 in place of version 4?\n\n**2 of 2 steps passed; every gate passed.**"
    )
    assert [" canary 5 % ", " latency ", " 8.4 ms ", " 8.1 ms ", " 11.7 ms ", " PASS "] in rows(text)
    assert [row[1] for row in rows(text)].count(" agreement ") == 1  # it has no vote there
    assert "registered by carol" in text
    assert "256 rows, largest difference 1.2e-07 in score; 99.80% of the labels" in text
    for way in ("`approved: why`", "`rejected: why`", '`lockgate approve fraud --comment "why"`', "buttons"):
        assert way in text
    assert "one person with the role risk-leads, who did not register the version." in text
    assert "2026-11-22 16:58 UTC (1d after it was asked)" in text
    assert found.digest[:12] in text
    assert "(#/experiments/7/runs/" + "f" * 32 + "/artifacts/lockgate/approval-1/evidence.html)" in text
    assert "(get-artifact?path=lockgate%2Fapproval-1%2Fgates.png&run_uuid=" + "f" * 32 + ")" in text
    assert "[Prefect](http://prefect/runs/1)" in text
    assert "not verified" not in text


def test_where_nobody_knows_people_it_says_so(store: Store) -> None:
    found = evidence.gather(store, waiting(store))
    text = evidence.page(found, request(required=2, not_author=False), people=False)
    assert "Identity not verified" in text
    assert "2 people with the role risk-leads. " in text


def test_that_nobody_knows_who_registered_it_is_said_where_that_lets_everybody_decide(store: Store) -> None:
    it = waiting(store)
    says = "Who registered it is not known, so nobody is refused for that."
    unknown, known = evidence.gather(store, it), evidence.gather(store, it, author="carol")
    assert says in evidence.page(unknown, request(), people=True)
    assert says not in evidence.page(unknown, request(not_author=False), people=True)
    assert says not in evidence.page(known, request(), people=True)
    assert "not known, so nobody is refused for that" in evidence.files(unknown)["evidence.html"].decode()
    assert "nobody is refused" not in evidence.files(known)["evidence.html"].decode()


def test_in_the_middle_it_asks_to_go_on(store: Store) -> None:
    steps = [{"approval": {"on_expiry": "renew"}}, {"canary": {"weight": 5}}]
    it = rollout_of(store, RolloutSpec.model_validate({"steps": steps, "gates": {"errors": {"metric": "error_rate"}}}))
    happen(store, it, Built(FACTS))
    text = evidence.page(evidence.gather(store, it), request())
    assert text.startswith("## Let fraud version 5 go on to canary 5 %?\n\n**No step came before this one")
    assert "then it is asked again" in text
    assert "get-artifact" not in text


def test_what_did_not_pass_is_said_first(store: Store) -> None:
    it = rollout_of(store)
    short = (gate("errors", word="undecided"), *GATES[1:])
    happen(store, it, Built(FACTS), judged(*short))
    found = evidence.gather(store, it)
    blind = {
        "outcome": "error",
        "reason": "no | data",
        "gates": [],
        "requests": 0,
        "looks": 0,
        "alpha": 0.05,
        "others": {},
    }
    document = {**found.document, "steps": [*found.document["steps"], {**found.document["steps"][0], "verdict": blind}]}
    text = evidence.page(Evidence(document), request())
    assert "1 of 4 gates did not pass: errors UNDECIDED." in text
    assert rows(text)[-1] == [" shadow 100 % ", *["  "] * 4, " ERROR: no &#124; data "]


def test_the_winner_of_several_is_named_and_what_it_was_not_tried_in(store: Store) -> None:
    it = rollout_of(store, SEVERAL, blue="6")
    happen(store, it, Built(FACTS), judged(GATES[0]), judged(GATES[0], others={"blue": (GATES[0],)}, winner="blue"))
    text = evidence.page(evidence.gather(store, it), request())
    assert "## Promote fraud version 6 in place of version 4?" in text
    assert "It is blue, the best of 2 challengers" in text.replace("&#40;", "(")
    assert "In shadow 100 % it was not tried: version 5 was." in text


def test_what_comes_from_outside_stands_there_as_it_is(store: Store) -> None:
    it = waiting(store, model=EVIL)
    example = {"gate": "g", "request_id": EVIL, "inputs": {EVIL: EVIL}, "stable": EVIL, "candidate": EVIL}
    store.note(it.id, "disagreements", [example] * 5)
    found = evidence.gather(store, it, author=EVIL, links=Links(f"http://x/{EVIL}", "javascript:alert(1)"))
    text = evidence.page(found, request(role=EVIL), RUN)
    assert not re.search(r"<|javascript:|\]\(javascript|@who|http://x\.y|www\.z|:smile|\u202e|\x00", text)
    assert {len(row) for row in rows(text)} == {6, 4}
    assert re.search(r"… and [2-4] more in evidence\.json", text)


def test_where_there_is_no_room_what_passed_goes_first(store: Store) -> None:
    it = rollout_of(store)
    store.note(it.id, "disagreements", [EXAMPLE] * 5)
    many = [gate(f"gate_with_a_long_name_{i}") for i in range(60)]
    happen(store, it, Built(FACTS), judged(*many, gate("late", word="undecided")))
    text = evidence.page(evidence.gather(store, it), request(), RUN)
    assert len(text) <= EVIDENCE_ROOM
    assert " late " in [row[1] for row in rows(text)]
    assert [row[0] for row in rows(text)].count(" r1 ") == 3
    assert "get-artifact" in text
    shown = sum(row[0].startswith((" shadow", " canary")) for row in rows(text))
    assert shown > 20
    assert f"… and {62 - shown} more in evidence.json" in text


name = st.text(max_size=60) | st.just(EVIL)
figure = st.none() | st.floats() | st.floats(-1e3, 1e3)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """As `gather` makes them, of rollouts that nobody has."""
    verdict = st.fixed_dictionaries({"outcome": st.sampled_from(sorted(words.OUTCOMES)), "reason": name})
    gates = st.lists(
        st.builds(lambda n, m, v: {**NUMBERS, **v, "gate": n, "metric": m}, name, metric, figures), max_size=25
    )
    steps = draw(st.lists(st.tuples(name, verdict, gates), max_size=8))
    side = st.fixed_dictionaries(dict.fromkeys(("version", "target", "precision", "digest"), name))
    told = [
        {"step": n, "state": "passed", "challengers": ["candidate"], "verdict": {**v, "gates": g, "others": {}}}
        for n, v, g in steps
    ]
    every = [gate_ for *_, g in steps for gate_ in g]
    return {
        "name": draw(name),
        "asks": {"next": draw(name), "steps": len(steps), "on_expiry": "rollback"},
        "change": {"model": draw(name), "variant": "candidate", "stable": draw(side), "candidate": draw(side)}
        | {"registered_by": draw(name)},
        "challengers": [],
        "parity": {"sentence": draw(name), "evidence": None},
        "steps": told,
        "gates": every,
        "agreement": every[:7],
        "prediction_drift": every[7:9],
        "input_drift": draw(st.none() | st.fixed_dictionaries({"says": name})),
        "drift": [],
        "said": draw(st.lists(st.fixed_dictionaries({"what": name, "by": name, "comment": name}), max_size=9)),
        "disagreements": draw(st.lists(st.fixed_dictionaries(dict.fromkeys(ANSWER, name)), max_size=9)),
    }


NUMBERS = {"votes": True, "sentence": "g: pass"}
ANSWER = ("request_id", "stable", "candidate", "inputs")
metric = st.sampled_from(["error_rate", "latency", "disagreement", "query", "ab"])
figures = st.fixed_dictionaries(
    {
        "outcome": st.sampled_from(sorted(words.OUTCOMES)),
        "candidate": figure,
        "stable": figure,
        "limit": figure,
        "effect": figure,
        "interval": st.none() | st.tuples(st.floats(), st.floats()),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(documents(), name, name)
def test_it_is_never_longer_than_there_is_room_and_no_table_is_cut(
    document: dict[str, Any], role: str, url: str
) -> None:
    found = Evidence(words.plain(document), Links(f"http://{url}", url), {"gates.png": b"x"})
    text = evidence.page(found, request(role=role), RUN)
    assert len(text) <= EVIDENCE_ROOM
    assert "`approved: why`" in text
    assert "d" * 12 in text
    assert "\x00" not in text
    assert "<" not in text
    lines = text.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            assert line.endswith("|")
            assert line.count("|") == (before.count("|") if before.startswith("|") else line.count("|")) in (7, 5)


@settings(max_examples=300)
@given(st.text() | st.just(EVIL * 3), st.integers(1, 120))
def test_escaped_text_keeps_to_its_room_and_means_nothing(text: str, room: int) -> None:
    written = words.markdown(text, room)
    assert len(written) <= room
    plain = re.sub(r"&#\d+;", "", written)
    assert not re.search(r"[\\`*\[\]{}<>#|!@~&\n\r\x00]|://|www\.", plain)


def test_escaped_text_is_read_as_it_was_written() -> None:
    from html import unescape

    assert unescape(words.markdown(r"a_b *c* <d> [e](f) `g` \h |i|", 300)) == r"a_b *c* <d> [e](f) `g` \h |i|"
    assert words.markdown("dep_delay 12.5 %") == "dep_delay 12.5 %"


@pytest.mark.parametrize(
    ("value", "metric_", "shown"),
    [
        (None, "latency", "no data"),
        (0.0123, "error_rate", "1.23%"),
        (8.44, "latency", "8.4 ms"),
        ("nan", "latency", "not a number"),
        ("-inf", "query", "-∞"),
        (1e300, "latency", "1e+300 ms"),
        (0.25, "ab", "0.25"),
    ],
)
def test_numbers_have_their_units(value: Any, metric_: str, shown: str) -> None:
    assert words.number(value, metric_) == shown
