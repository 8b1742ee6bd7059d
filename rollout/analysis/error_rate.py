"""The gate `error_rate`: the candidate's share of failed requests against stable's, or against a limit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lockgate.rollout.analysis import bets, odds
from lockgate.rollout.analysis.bets import Array, Bets
from lockgate.rollout.analysis.kinds import (
    LEAST_TO_FAIL,
    LEAST_TO_PASS,
    SURE,
    Z99,
    Terms,
    at_the_look,
    at_the_step,
    outcome_of,
)
from lockgate.rollout.analysis.scatter import Scatter, between_replicas, design_effect, no_scatter, scattered
from lockgate.rollout.analysis.seen import Seen, share_of
from lockgate.rollout.analysis.told import Told, errors_sentence, gate_verdict
from lockgate.rollout.gates import ErrorRate
from lockgate.rollout.verdict import GateVerdict


@dataclass(frozen=True, slots=True)
class Errors:
    """Counts are of this step, each (R,)."""

    requests: Array
    errors: Array
    stable_requests: Array
    stable_errors: Array
    harm: Bets
    safety: Bets
    scatter: Scatter
    odds: Array
    """(R, O): see `odds`; (R, 0) where nobody asks for it."""
    effect: Array
    """(R,): the design effect of the last look."""
    failed: Array


class ErrorRateKind:
    def __init__(self, name: str, gate: ErrorRate, terms: Terms, *, explain: bool = True) -> None:
        self.names = (name,)
        self._gate, self._terms, self._explain = gate, terms, explain

    def begin(self, rollouts: int) -> Errors:
        zero = np.zeros(rollouts)
        return Errors(
            requests=zero,
            errors=zero,
            stable_requests=zero,
            stable_errors=zero,
            harm=bets.no_bets(rollouts, len(bets.WORSE if self._gate.max else bets.RATIOS)),
            safety=bets.no_bets(rollouts, len(bets.BETTER)),
            scatter=no_scatter(rollouts, 1),
            odds=np.zeros((rollouts, len(odds.GRID) if self._explain and not self._gate.max else 0)),
            effect=zero + self._terms.profile.design_effect,
            failed=zero,
        )

    def enter(self, state: Errors, *, shadow: bool) -> Errors:  # noqa: ARG002 - copies fail like requests
        zero = np.zeros_like(state.requests)
        return replace(
            state,
            requests=zero,
            errors=zero,
            stable_requests=zero,
            stable_errors=zero,
            harm=at_the_step(state.harm, self._terms),
            safety=bets.started(bets.no_bets(*state.safety.log.shape), 1.0),
            odds=np.zeros_like(state.odds),
        )

    def look(self, state: Errors, seen: Seen) -> Errors:
        n, bad, others, theirs = (
            seen.candidate.requests,
            seen.candidate.failed,
            seen.stable.requests,
            seen.stable.failed,
        )
        harm, safety, effect = self._evidence(state, seen)
        scatter = scattered(state.scatter, theirs[:, None], others)
        if seen.replicas is not None:
            scatter = between_replicas(scatter, *seen.replicas)
        after = replace(
            state,
            requests=state.requests + n,
            errors=state.errors + bad,
            stable_requests=state.stable_requests + others,
            stable_errors=state.stable_errors + theirs,
            harm=harm,
            safety=safety,
            scatter=scatter,
            effect=effect,
        )
        if state.odds.size:
            after = replace(after, odds=state.odds + odds.likelihood((bad, theirs), (n, others)) / effect[:, None])
        return replace(after, failed=np.maximum(state.failed, self._fails(after)))

    def _evidence(self, state: Errors, seen: Seen) -> tuple[Bets, Bets, Array]:
        """Both bets after the look, and the design effect of the bet on harm."""
        n, others = seen.candidate.requests, seen.stable.requests
        bad, theirs = seen.candidate.failed, seen.stable.failed
        least, share = self._terms.profile.design_effect, share_of(seen)
        measured = design_effect(state.scatter, least, share)
        if self._gate.max is not None:
            limit, effect = np.full_like(n, self._gate.max), measured
            harm = bets.one_sample(bad, n, limit, bets.WORSE)
        else:
            # From earlier looks only: a bet must not know what it is about.
            low, _ = bets.interval(state.stable_errors / measured[:, 0], state.stable_requests / measured[:, 0], Z99)
            limit = low + self._gate.margin
            expected = (bad + theirs) * n / np.maximum(n + others, 1.0)  # the totals it may know
            effect = design_effect(state.scatter, least, share, expected[:, None])
            harm = bets.conditional((bad, theirs), (n, others), self._terms.profile.ratio, bets.RATIOS)
        safety = bets.one_sample(bad, n, limit, bets.BETTER)
        started = at_the_look(state.harm, self._terms, n)
        return bets.settled(started, harm / effect), bets.settled(state.safety, safety / measured), effect[:, 0]

    def _fails(self, state: Errors) -> Array:
        """Harm is proven, there was clearly more of it in this step than tolerated, and more than a request or two."""
        proven = self._terms.proven(bets.log_capital(state.harm)) * (state.requests >= LEAST_TO_FAIL)
        if self._gate.max is not None:
            return proven
        n, others = state.requests, np.maximum(state.stable_requests, 1)
        tolerated, theirs = self._limit(state) * n, n * state.stable_errors / others
        error = np.sqrt(state.effect * (tolerated + theirs * n / others))
        known = state.stable_requests >= LEAST_TO_PASS
        return proven * known * (state.errors > tolerated + SURE * error)

    def _limit(self, state: Errors) -> Array:
        if self._gate.max is not None:
            return np.full_like(state.requests, self._gate.max)
        return state.stable_errors / np.maximum(state.stable_requests, 1) + self._gate.margin

    def outcomes(self, state: Errors) -> Array:
        safe = self._terms.safe(bets.log_capital(state.safety))
        enough = state.requests >= LEAST_TO_PASS
        if self._gate.max is None:
            enough &= state.stable_requests >= LEAST_TO_PASS
        return outcome_of(state.failed, safe * enough)[:, None]

    def votes(self, state: Errors) -> Array:
        return np.ones((len(state.requests), 1))

    def told(self, state: Errors) -> tuple[GateVerdict, ...]:
        n, others, bad = (int(count[0]) for count in (state.requests, state.stable_requests, state.errors))
        stable = float(state.stable_errors[0]) / others if others else None
        told = Told(
            outcome=float(self.outcomes(state)[0, 0]),
            requests=(n, others),
            candidate=bad / n if n else None,
            stable=stable,
            limit=float(self._limit(state)[0]) if others or self._gate.max is not None else None,
            evidence=(float(bets.log_capital(state.harm)[0]), float(bets.log_capital(state.safety)[0])),
            effect=float(state.effect[0]),
            needs_stable=self._gate.max is None,
        )
        times = odds.at_least(state.odds[0], self._terms, stable or 0.0)
        return (gate_verdict(self.names[0], self._gate, self._terms, told, errors_sentence(told, bad, times)),)
