"""The gate `query`, and sources that say nothing."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from lockgate.monitoring.measurement import Pairs, Reading, Spread, Tally
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.words import Outcome

JudgeOf = Callable[..., Any]
PASS, FAIL, ERROR, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.ERROR, Outcome.UNDECIDED
ERR = Reading(error="connection refused")


def looks(*readings: Reading | float | None) -> list[Look]:
    """A look without a reading is None."""
    each = (r if isinstance(r, Reading) or r is None else Reading(r) for r in readings)
    return [Look(0, 0.0, readings={} if r is None else {"q": r}) for r in each]


@pytest.mark.parametrize(
    ("rule", "readings", "outcome"),
    [
        ({}, [0.1, 0.1], UNDECIDED),
        ({}, [0.1, None, 0.1, None, 0.2], PASS),
        ({}, [0.1, 0.3], FAIL),
        ({}, [0.1, 0.1, 0.1, inf], FAIL),
        ({"failure_limit": 1}, [0.3, 0.1, 0.1], UNDECIDED),
        ({"failure_limit": 1}, [0.3, 0.1, 0.1, 0.1], PASS),
        ({"failure_limit": 1}, [0.3, 0.1, 0.1, 0.1, 0.3], FAIL),
        ({"min": 0.05}, [0.04], FAIL),
        ({"min": 0.05}, [0.05, 0.2, 0.1], PASS),
        ({}, [], UNDECIDED),
        ({}, [Reading()] * 9, UNDECIDED),
        ({}, [nan] * 9, UNDECIDED),
        ({"no_data": "fail"}, [Reading()], FAIL),
        ({"no_data": "fail"}, [nan], FAIL),
        ({"no_data": "fail", "failure_limit": 2}, [nan, nan, 0.1, 0.1, 0.1], PASS),
        ({}, [ERR, ERR], UNDECIDED),
        ({}, [ERR, ERR, ERR], ERROR),
        ({}, [0.1, 0.1, 0.1, ERR, ERR, ERR], ERROR),
        ({}, [ERR, ERR, ERR, 0.1], UNDECIDED),
        ({}, [ERR, ERR, 0.1, ERR, ERR, 0.1, 0.1], PASS),
        ({"on_error": "fail"}, [ERR], FAIL),
        ({"on_error": "fail", "failure_limit": 1}, [ERR], UNDECIDED),
    ],
)
def test_readings_are_counted(judge_of: JudgeOf, rule: dict[str, Any], readings: list[Any], outcome: Outcome) -> None:
    judge = judge_of(q={"query": "x", "max": 0.2, **rule})
    judge.sees(Look(0, 0.0), *looks(*readings))
    assert judge.gate("q").outcome is outcome


def test_its_numbers_and_its_sentence(judge_of: JudgeOf) -> None:
    judge = judge_of(q={"query": "x", "max": 0.2, "min": 0.05, "failure_limit": 2, "count": 4})
    judge.sees(*looks(0.1, 0.5, nan, 0.15, ERR))
    gate = judge.gate("q")
    assert (gate.metric, gate.candidate, gate.limit, gate.share) == ("query", 0.15, 0.2, 0.0)
    assert (gate.harm, gate.fails_from, gate.safety, gate.passes_from) == (1, 3, 2, 4)
    assert gate.sentence == (
        "q: undecided, 2 readings within 0.05 to 0.2, 1 outside, 1 without a value, the last one 0.15; the source does"
        " not answer: connection refused"
    )


def test_a_step_counts_its_own_readings(judge_of: JudgeOf) -> None:
    judge = judge_of({"canary": {"weight": 5}}, {"canary": {"weight": 9}}, q={"query": "x", "max": 0.2})
    assert judge.sees(*looks(0.1, 0.1, 0.1)).outcome is PASS
    assert judge.sees(Look(1, 0.0)).outcome is UNDECIDED


GATES = {
    "e": {"metric": "error_rate"},
    "a": {"metric": "disagreement"},
    "d": {"metric": "prediction_drift"},
    "q": {"query": "x", "max": 0.2},
}
SPOKEN = {
    "e": {"stable": Tally(9, 0), "candidate": Tally(9, 0)},
    "a": {"pairs": {"a": Pairs()}},
    "d": {"spreads": {"d": Spread()}},
    "q": {"readings": {"q": Reading(0.1)}},
}


BAD = {
    "e": {"stable": Tally(10_000, 0), "candidate": Tally(10_000, 5000)},
    "a": {"pairs": {"a": Pairs(10_000, 9000)}},
    "d": {"spreads": {"d": Spread(("1", "2"), (9000, 0), (0, 9000))}},
    "q": {"readings": {"q": Reading(9.0)}},
}


@pytest.mark.parametrize("name", list(GATES))
class TestBlind:
    def test_a_source_that_says_nothing_is_an_error_until_it_speaks(self, judge_of: JudgeOf, name: str) -> None:
        judge = judge_of({"shadow": {"percent": 100, "echo": 0}}, **{name: GATES[name]})
        verdict = judge.sees(Look(0, 0.0, blind={name: "no capture to be read"}))
        assert (verdict.outcome, verdict.reason) == (ERROR, f"{name}: error, no capture to be read")
        assert judge.sees(Look(0, 0.0, **SPOKEN[name])).outcome is UNDECIDED

    def test_what_has_failed_stays_failed(self, judge_of: JudgeOf, name: str) -> None:
        judge = judge_of({"shadow": {"percent": 100, "echo": 0}}, **{name: GATES[name]})
        judge.sees(Look(0, 0.0, **BAD[name]), Look(0, 0.0, blind={name: "gone"}))
        assert judge.gate(name).outcome is FAIL

    def test_nor_does_silence_hide_what_fails_in_the_same_look(self, judge_of: JudgeOf, name: str) -> None:
        judge = judge_of({"shadow": {"percent": 100, "echo": 0}}, **{name: GATES[name]})
        judge.sees(Look(0, 0.0, blind={name: "gone"}, **BAD[name]))
        assert judge.gate(name).outcome is FAIL

    def test_the_other_gates_go_on(self, judge_of: JudgeOf, name: str) -> None:
        judge = judge_of({"shadow": {"percent": 100, "echo": 0}}, **GATES)
        verdict = judge.sees(Look(0, 0.0, blind={name: "gone"}))
        assert [g.gate for g in verdict.gates if g.outcome is ERROR] == [name]


def test_a_query_s_source_is_silent_until_its_next_reading(judge_of: JudgeOf) -> None:
    judge = judge_of(q=GATES["q"])
    judge.sees(*looks(0.1), Look(0, 0.0, blind={"q": "gone"}), Look(0, 0.0))
    assert judge.gate("q").outcome is ERROR
    assert judge.sees(*looks(0.1, 0.1)).outcome is PASS


def test_comparing_answers_is_not_needed_after_the_shadow(judge_of: JudgeOf) -> None:
    judge = judge_of({"shadow": {"percent": 100}}, {"canary": {"weight": 5}}, a=GATES["a"])
    judge.sees(*[Look(0, 0.0, pairs={"a": Pairs(500, 0)})] * 9)
    assert judge.sees(Look(1, 0.0, blind={"a": "gone"})).outcome is PASS
