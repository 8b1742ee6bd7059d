"""An outage: what proves one, what does not, and how often a candidate that is as good as stable is taken for one."""

from __future__ import annotations

from itertools import product
from math import comb, exp, isclose

import numpy as np
import pytest

from lockgate.monitoring.measurement import Tally
from lockgate.rollout.analysis.outage import CHANCE, LASTS, LEAST, fails_from, log_evidence, proven, ticked, told
from lockgate.rollout.analysis.words import Run

Tick = tuple[int, int, int, int]
"""The candidate's requests and failures, and stable's."""
HEALTHY, FAILING = (1, 0, 19, 0), (1, 1, 19, 0)


def after(*ticks: Tick, run: Run | None = None, second: float = 1.0) -> Run:
    """The run after ticks of a second."""
    run = run or Run()
    for i, (n, bad, others, theirs) in enumerate(ticks, 1):
        run = ticked(run, 1000.0 + second * i, Tally(n, bad), Tally(others, theirs))
    return run


def ticks_until(tick: Tick, run: Run | None = None, most: int = 200) -> int | None:
    """How many of these ticks prove an outage."""
    ticks = range(1, most + 1)
    return next((i for i in ticks if proven(after(*[tick] * i, run=run))), None)


@pytest.mark.parametrize(
    ("share", "ticks"),
    [(0.05, 5), (0.1, 4), (0.25, 4), (0.5, 4)],
)
def test_at_twenty_requests_a_second_it_takes_seconds(share: float, ticks: int) -> None:
    """The fourth tick ends three seconds after the first one."""
    n = round(20 * share)
    assert ticks_until((n, n, 20 - n, 0)) == ticks


def test_copies_that_all_fail_are_one_too() -> None:
    assert ticks_until((20, 20, 20, 0)) == 4


@pytest.mark.parametrize("theirs", [19, 18, 17])
def test_what_stable_fails_as_well_is_nobodys_fault(theirs: int) -> None:
    """19 of 19 never proves anything, and a little less takes so much longer that it is not the same outage."""
    ticks = ticks_until((1, 1, 19, theirs))
    assert ticks is None or ticks > 60


def test_a_stable_that_fails_some_takes_more() -> None:
    assert ticks_until((1, 1, 19, 2)) == 7


@pytest.mark.parametrize(
    "ticks",
    [
        [],
        [(0, 0, 20, 0)] * 100,
        [(1, 1, 0, 0)] * 100,
        [FAILING] * (LEAST - 1) + [HEALTHY],
        [FAILING] * (LEAST - 1),
        [FAILING, FAILING, HEALTHY] * 30,
        [(3, 2, 17, 0)] * 100,
    ],
    ids=["nothing", "idle", "alone", "recovered", "four", "two of three", "two of three in every tick"],
)
def test_what_is_no_outage(ticks: list[Tick]) -> None:
    assert not any(proven(after(*ticks[:i])) for i in range(len(ticks) + 1))


def test_a_moment_is_none_however_much_failed() -> None:
    """A replica that is started again, a pause of a second or two."""
    assert not proven(after((500, 500, 500, 0), (500, 500, 500, 0)))
    assert proven(after((500, 500, 500, 0), (500, 500, 500, 0), second=LASTS))


def test_four_failures_are_none_however_unlikely() -> None:
    """Where one request of a hundred is the candidate's, they would prove it."""
    assert [proven(after(*[(1, 1, 99, 0)] * n)) for n in (LEAST - 1, LEAST)] == [False, True]


def test_silence_in_between_changes_nothing() -> None:
    """A candidate that hangs answers nothing until its requests are given up."""
    quiet = (0, 0, 19, 0)
    run = after(FAILING, quiet, FAILING, quiet, quiet, FAILING, FAILING, FAILING)
    assert proven(run)
    assert run.ticks == after(*[FAILING] * 5).ticks


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    run = ticked(after(*[FAILING] * 4), 5.0, Tally(1, 1), Tally(19, 0))
    assert proven(run)


def test_failures_that_are_counted_before_their_request_are_not_too_many() -> None:
    assert after((2, 3, 10, 12), (2, 3, 10, 12)).ticks == ((2, 10, 10),)


def test_a_success_ends_the_run_and_the_next_one_needs_more() -> None:
    several = after(*[FAILING, FAILING, HEALTHY] * 30)
    assert (several.number, several.failed) == (30, 0)
    assert [ticks_until(FAILING, Run(number)) for number in (0, 1, 10, 30)] == [5, 5, 6, 7]


def test_single_failures_open_nothing() -> None:
    assert after(*[FAILING, HEALTHY] * 1000).number == 0


def test_while_stable_answers_nothing_a_run_needs_no_room() -> None:
    run = after(*[(1, 1, 19, 19)] * 3600)
    assert (len(run.ticks), run.failed, log_evidence(run)) == (1, 3600, pytest.approx(0.0, abs=1e-6))


def test_each_tick_is_a_fair_bet() -> None:
    """Exactly: the e-value's expectation over all ways in which the failures can fall is 1, whatever the totals are."""
    for n, others in product(range(1, 6), range(8)):
        for bad in range(n, n + others + 1):
            lost = after((2, 2, 0, 0), (n, n, others, bad - n))
            chance = comb(others, bad - n) / comb(n + others, bad)  # of this e-value; else the run is over
            assert isclose(chance * exp(log_evidence(lost)), 1.0)


def test_the_chance_is_spent_over_all_runs_and_challengers() -> None:
    for challengers in (1, 3):
        spent = sum(challengers / fails_from(Run(number), challengers) for number in range(1, 100_000))
        assert CHANCE * 0.999 < spent < CHANCE


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_a_candidate_that_is_equal_is_hardly_ever_taken_for_one(rate: float) -> None:
    """Of 100 rollouts a tenth of one may be, whatever the rate is; a rule of five failures alone takes all at 0.5."""
    rng, ticks = np.random.default_rng(7), 2000
    alarms = fives = 0
    for _ in range(100):
        n = rng.binomial(20, 0.05, ticks)
        bad, theirs = rng.binomial(n, rate), rng.binomial(20 - n, rate)
        run, proved, most = Run(), False, 0
        for i in np.flatnonzero(n).tolist():
            run = ticked(run, float(i), Tally(int(n[i]), int(bad[i])), Tally(int(20 - n[i]), int(theirs[i])))
            proved, most = proved or proven(run), max(most, run.failed)
        alarms, fives = alarms + proved, fives + (most >= LEAST)
    assert alarms == 0
    assert fives == {0.01: 0, 0.1: 1, 0.5: 100}[rate]


def test_the_sentence_says_it_all() -> None:
    gate = told("outage", after(*[FAILING] * 5, (1, 1, 19, 1)))
    assert gate.sentence == ("outage: fail, candidate failed 6 of its last 6 requests, while stable answered 75 of 76")
    assert (gate.candidate, gate.stable, gate.candidate_requests, gate.stable_requests) == (1.0, 1 / 76, 6, 76)
    assert gate.harm > gate.fails_from == 2000
