"""A gate's numbers as a `GateVerdict`, with the sentence that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Protocol

import numpy as np

from lockgate.rollout.analysis import bets
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.effects import Interval, Sums, means
from lockgate.rollout.analysis.kinds import FAIL, PASS, Terms
from lockgate.rollout.gates import Latency
from lockgate.rollout.metrics import Metric
from lockgate.rollout.verdict import GateVerdict
from lockgate.rollout.words import Outcome


@dataclass(frozen=True, slots=True)
class Told:
    """One gate of one rollout; units are the metric's own."""

    outcome: float
    requests: tuple[int, int]
    """The candidate's and stable's."""
    candidate: float | None
    stable: float | None
    limit: float | None
    evidence: tuple[float, float] = (0.0, 0.0)
    """Logarithms of the e-values for harm and for safety."""
    effect: float = 1.0
    votes: bool = True
    needs_stable: bool = True


class _Gate(Protocol):
    @property
    def metric(self) -> str: ...


def word(outcome: float) -> Outcome:
    return {FAIL: Outcome.FAIL, PASS: Outcome.PASS}.get(outcome, Outcome.UNDECIDED)


def gate_verdict(name: str, gate: _Gate, terms: Terms, told: Told, figures: str) -> GateVerdict:
    outcome, (mine, others) = word(told.outcome), told.requests
    if told.votes and (not mine or (not others and told.needs_stable)):
        nothing = f"no data from {'stable' if mine else 'the candidate'} yet"
        sentence = f"{name}: {'failed in an earlier step' if outcome is Outcome.FAIL else nothing}"
    else:
        sentence = f"{name}: {outcome}, {figures}"
    harm, safety = (float(bets.shown(np.array(log_e))) for log_e in told.evidence)
    return GateVerdict(
        gate=name,
        metric=gate.metric,
        outcome=outcome,
        candidate=told.candidate,
        stable=told.stable,
        limit=told.limit,
        candidate_requests=mine,
        stable_requests=others,
        harm=harm,
        safety=safety,
        sentence=sentence,
        fails_from=terms.fails_from,
        passes_from=terms.passes_from,
        design_effect=told.effect,
        share=1 / terms.votes,
        votes=told.votes,
    )


def errors_sentence(told: Told, bad: int, times: float | None) -> str:
    """`bad`: failed requests. `times`: as often as stable at least, where that was proven."""
    share, stable = told.candidate or 0.0, f", stable {told.stable:.2%}" if told.stable is not None else ""
    text = f"candidate failed {bad} of {told.requests[0]} requests ({share:.2%}){stable}, limit {told.limit or 0:.2%}"
    if told.outcome == FAIL and times is not None and times >= _WORTH_SAYING:
        text += f"; that is at least {times:.1f} times as often as stable"
    return text


_WORTH_SAYING = 1.05


def latency_sentence(told: Told, gate: Latency, slow: int) -> str:
    stable = f" stable's {told.stable:.1f} ms," if told.stable is not None else ""
    return (
        f"candidate's p{gate.quantile * 100:g} is {told.candidate or 0:.1f} ms,{stable}"
        f" limit {told.limit or 0:.1f} ms, {slow} of {told.requests[0]} requests were slower than that"
    )


def disagreement_sentence(told: Told, pairs: tuple[int, int], echoes: tuple[int, int]) -> str:
    """Both are (differing, all)."""
    (differing, compared), (noisy, echoed) = pairs, echoes
    noise = f"stable differs from itself in {noisy} of {echoed}" if echoed else "stable was not asked twice"
    before = "" if told.votes else "; no answers are compared in this step, and this gate does not vote"
    return (
        f"candidate differs from stable in {differing} of {compared} answers ({told.candidate or 0:.2%}),"
        f" {noise}, limit {told.limit or 0:.2%}{before}"
    )


def drift_sentence(told: Told, width: float) -> str:
    distance = told.candidate or 0.0
    return f"predictions differ by {distance:.3f} (±{width:.3f}), limit {told.limit or 0:.3f}"


def query_sentence(counts: tuple[int, int, int], last: float | None, limits: tuple[float, float], why: str) -> str:
    """`counts`: readings within the limits, outside, and without a value. `limits`: least and most, or infinity."""
    within, outside, empty = counts
    text = f"{within} readings within {_span(*limits)}, {outside} outside"
    if empty:
        text += f", {empty} without a value"
    if last is not None:
        text += f", the last one {last:g}"
    return f"{text}; the source does not answer: {why}" if why else text


def _span(low: float, high: float) -> str:
    if low == -inf:
        return f"at most {high:g}"
    return f"at least {low:g}" if high == inf else f"{low:g} to {high:g}"


@dataclass(frozen=True, slots=True)
class EffectTold:
    """The effect on a business metric, of one rollout."""

    estimate: float
    low: float
    high: float
    """Infinite where nothing bounds it."""
    alpha: float
    metric: Metric

    @property
    def bounds(self) -> tuple[float, float] | None:
        return (self.low, self.high) if isfinite(self.low) and isfinite(self.high) else None


def effect_told(interval: Interval, alpha: float, metric: Metric) -> EffectTold:
    """Of the first rollout."""
    estimate, low, high = (float(each[0]) for each in (interval.estimate, interval.low, interval.high))
    return EffectTold(estimate, low, high, alpha, metric)


def worst_mean(stable: float, effect: float) -> float:
    """The candidate's mean at an effect, which is relative to the size of stable's."""
    return stable + abs(stable) * effect


def users_told(sums: Sums, outcome: float, worst: float, evidence: tuple[Array, Array]) -> Told:
    """Of a business metric. `worst`: the effect at the limit. `evidence`: for harm and for safety, each (R,)."""
    (mine, theirs), (n, others) = means(sums)[0], sums.units[0]
    harm, safety = evidence
    return Told(
        outcome=outcome,
        requests=(int(n), int(others)),
        candidate=float(mine) if n else None,
        stable=float(theirs) if others else None,
        limit=worst_mean(float(theirs), worst) if others else None,
        evidence=(float(harm[0]), float(safety[0])),
    )


def with_effect(verdict: GateVerdict, effect: EffectTold) -> GateVerdict:
    """There is none without users on both sides, nor beside a stable whose mean is 0."""
    known = verdict.candidate_requests and verdict.stable
    return replace(verdict, effect=effect.estimate if known else None, interval=effect.bounds)


def ab_sentence(told: Told, effect: EffectTold, metric: str, least: float) -> str:
    """`least`: the minimum effect."""
    return f"{metric}{_found(told, effect, least)}: {_figures(told, effect)}"


def invalid_sentence(counts: Sequence[float], log_e: float | None) -> str:
    """`counts` of users: the candidate's, stable's, how many should be the candidate's, and those seen on both sides.

    `log_e`: the evidence that the split is wrong; None where too many were seen on both sides.
    """
    mine, theirs, expected, crossed = counts
    every = max(mine + theirs, 1.0)
    if log_e is None:
        what = f"{crossed:,.0f} of {every:,.0f} users ({crossed / every:.1%}) were answered by both sides"
        why = "who is assigned to a side does not stay there"
    else:
        e_value = float(bets.shown(np.array(log_e)))
        should = _percent(expected / every)
        what = f"{mine:,.0f} of {every:,.0f} users got the candidate where {should} should have (e-value {e_value:.2g})"
        why = "who is assigned, or who is captured, is not what the routes say"
    return f"the test is invalid: {what}; {why}"


def mean_sentence(told: Told, effect: EffectTold, metric: str) -> str:
    if not told.votes:
        return f"{metric} is not judged: the candidate answers nobody in this step, and this gate does not vote"
    worse = " is worse with the candidate" if told.outcome == FAIL else ""
    return f"{metric}{worse}: {_figures(told, effect)}; limit {_value(told.limit or 0.0, effect.metric)}"


def _found(told: Told, effect: EffectTold, least: float) -> str:
    """What the interval says of a test that is decided."""
    low, high = (effect.low, effect.high) if effect.metric.better == "higher" else (-effect.high, -effect.low)
    if told.outcome == PASS:
        return " is better with the candidate"
    if told.outcome != FAIL:
        return ""
    if high < 0:
        return " is worse with the candidate"
    if low > 0:
        return f" is better with the candidate, but by less than {_percent(least)}"
    return f" is not better by {_percent(least)} with the candidate" if least else " is not better with the candidate"


def _figures(told: Told, effect: EffectTold) -> str:
    mine, theirs = (_value(each or 0.0, effect.metric) for each in (told.candidate, told.stable))
    n, others = told.requests
    if not told.stable:
        return f"{mine} against {theirs}, where there is no ratio, of {n:,} and {others:,} users"
    return f"{mine} against {theirs}, {effect.estimate:+.1%} ({_where(effect)}), of {n:,} and {others:,} users"


def _where(effect: EffectTold) -> str:
    """The interval, in words."""
    if effect.low == -inf and effect.high == inf:
        return "too early to say more"
    at_most, at_least = f"{effect.high:+.1%}", f"{effect.low:+.1%}"
    span = f"between {at_least} and {at_most}"
    if effect.bounds is None:
        span = f"at most {at_most}" if effect.low == -inf else f"at least {at_least}"
    return f"at any moment {span}, alpha {_percent(effect.alpha)}"


def _value(mean: float, metric: Metric) -> str:
    return f"{mean:.2%}" if metric.kind == "binary" else f"{mean:,.4g}"


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
