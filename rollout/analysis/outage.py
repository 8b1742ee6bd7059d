"""An outage: everything that a challenger answers fails, and stable's answers do not.

It is looked for at every tick, between looks too, so that nobody waits for the next look of a step that is days old. A
run of failures opens a bet, and each tick after it is a fair one: of its requests `m` failed, the challenger answered
`n` of `N`, and if failing had nothing to do with who answers, all of those `n` would be among the `m` with a chance of

    C(N - n, m - n) / C(N, m)

So one over the product of these chances is an e-value. Whatever the common rate is, and however it changes, that
reaches `x` in at most one of `x` runs; run `r` needs `r (r + 1) / CHANCE`, and the sum over all runs is `CHANCE`.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, lgamma, log

from lockgate.monitoring.measurement import Tally
from lockgate.rollout.analysis.words import Run
from lockgate.rollout.verdict import GateVerdict
from lockgate.rollout.words import Outcome

OPENS = 2
"""Failures in a row from which on bets are made. They are no evidence: a single one opens nothing."""
LEAST = 5
"""Failures in a row that an outage has at least,"""
LASTS = 3.0
"""and seconds from the first tick to the last: what is restarted, or held up for a moment, comes back sooner."""
CHANCE = 0.001
"""Of a false alarm, over the whole rollout and all of its challengers."""
_MOST = 1e12
"""What an e-value is shown as at most."""


def ticked(run: Run, at: float, candidate: Tally, stable: Tally) -> Run:
    """With one tick more, whose tallies these are. Where the challenger answered nothing, nothing is said."""
    answered, failed = candidate.requests, min(candidate.errors, candidate.requests)
    if answered <= 0:
        return run
    if failed < answered:
        return Run(run.number)
    run = replace(run, since=run.since if run.failed else at, at=at)
    if run.opening < OPENS:
        failed += run.opening
        return replace(run, opening=failed, number=run.number + (failed >= OPENS))
    return replace(run, ticks=_with(run.ticks, (answered, stable.requests, min(stable.errors, stable.requests))))


def proven(run: Run, challengers: int = 1) -> bool:
    """`challengers`: how many there are in the rollout. A clock that was set back holds nothing up."""
    lasted = not 0 <= run.at - run.since < LASTS
    return lasted and run.failed >= LEAST and log_evidence(run) >= log(fails_from(run, challengers))


def log_evidence(run: Run) -> float:
    return sum(_log_ways(n + others, n + bad) - _log_ways(others, bad) for n, others, bad in run.ticks)


def fails_from(run: Run, challengers: int = 1) -> float:
    number = max(run.number, 1)
    return challengers * number * (number + 1) / CHANCE


def told(name: str, run: Run, challengers: int = 1) -> GateVerdict:
    """Of an outage that is proven, as a gate that has failed."""
    n, others, bad = run.failed, sum(tick[1] for tick in run.ticks), sum(tick[2] for tick in run.ticks)
    return GateVerdict(
        gate=name,
        metric="error_rate",
        outcome=Outcome.FAIL,
        candidate=1.0,
        stable=bad / others if others else None,
        limit=None,
        candidate_requests=n,
        stable_requests=others,
        harm=exp(min(log_evidence(run), log(_MOST))),
        safety=0.0,
        sentence=(
            f"{name}: {Outcome.FAIL}, candidate failed {n} of its last {n} requests, while stable answered"
            f" {others - bad} of {others}"
        ),
        fails_from=fails_from(run, challengers),
    )


def _with(ticks: tuple[tuple[int, int, int], ...], tick: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    """While stable answers nothing either, ticks say nothing, and are kept as one: that may last."""
    if ticks and all(others == bad for _, others, bad in (ticks[-1], tick)):
        last = ticks[-1]
        return (*ticks[:-1], (last[0] + tick[0], last[1] + tick[1], last[2] + tick[2]))
    return (*ticks, tick)


def _log_ways(n: int, k: int) -> float:
    """To choose `k` of `n`."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
