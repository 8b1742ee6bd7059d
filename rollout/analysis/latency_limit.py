"""The gate `latency` with an absolute limit: the candidate's quantile against `max`. Stable need not answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lockgate.rollout.analysis import bets, buckets
from lockgate.rollout.analysis.bets import Array, Bets
from lockgate.rollout.analysis.kinds import (
    LEAST_TO_FAIL,
    LEAST_TO_PASS,
    Terms,
    at_the_look,
    at_the_step,
    outcome_of,
)
from lockgate.rollout.analysis.latency import counts_of, edges_of, shown_quantile
from lockgate.rollout.analysis.scatter import Scatter, design_effect, no_scatter, scattered
from lockgate.rollout.analysis.seen import Seen, share_of
from lockgate.rollout.analysis.told import Told, gate_verdict, latency_sentence
from lockgate.rollout.gates import Latency
from lockgate.rollout.verdict import GateVerdict


@dataclass(frozen=True, slots=True)
class Slow:
    """Of R rollouts."""

    edges: Array
    """(1, E): of the histograms in milliseconds, without the last one, infinity."""
    stable: Array
    """(R, E + 1): cumulative counts of this step; only to be shown."""
    candidate: Array
    slow: Array
    """(R,): requests of the candidate in this step that were surely slower."""
    harm: Bets
    safety: Bets
    scatter: Scatter
    effect: Array
    """(R,): the design effect of the last look."""
    failed: Array


class LatencyLimitKind:
    def __init__(self, name: str, gate: Latency, terms: Terms) -> None:
        self.names = (name,)
        self._gate, self._terms = gate, terms
        self._limit = (gate.max or 0.0) * 1000

    def begin(self, rollouts: int) -> Slow:
        zero = np.zeros(rollouts)
        return Slow(
            edges=np.zeros((1, 0)),
            stable=np.zeros((rollouts, 0)),
            candidate=np.zeros((rollouts, 0)),
            slow=zero,
            harm=bets.no_bets(rollouts, len(bets.WORSE)),
            safety=bets.no_bets(rollouts, len(bets.BETTER)),
            scatter=no_scatter(rollouts, 1),
            effect=zero + self._terms.profile.design_effect,
            failed=zero,
        )

    def enter(self, state: Slow, *, shadow: bool) -> Slow:  # noqa: ARG002 - copies are slow like requests
        return replace(
            state,
            stable=np.zeros_like(state.stable),
            candidate=np.zeros_like(state.candidate),
            slow=np.zeros_like(state.slow),
            harm=at_the_step(state.harm, self._terms),
            safety=bets.started(bets.no_bets(*state.safety.log.shape), 1.0),
        )

    def look(self, state: Slow, seen: Seen) -> Slow:
        edges = edges_of(seen)
        if not seen.warm or edges is None:
            return state
        if not np.array_equal(edges[:-1], state.edges[0]):
            nothing = np.zeros((len(state.slow), len(edges)))
            state = replace(
                state, edges=edges[None, :-1], stable=nothing, candidate=nothing, slow=np.zeros_like(state.slow)
            )
        stable, candidate = counts_of(seen.stable, state.stable), counts_of(seen.candidate, state.candidate)
        limit = np.full_like(state.slow, self._limit)
        slow, n = buckets.above(edges, candidate, limit), candidate[:, -1]
        perhaps = buckets.perhaps_above(edges, candidate, limit)
        share, least = np.full_like(n, 1 - self._gate.quantile), self._terms.profile.design_effect
        effect = design_effect(state.scatter, least, share_of(seen))[:, 0]
        harm = bets.one_sample(slow, n, share, bets.WORSE) / effect[:, None]
        safety = bets.one_sample(perhaps, n, share, bets.BETTER) / effect[:, None]
        after = replace(
            state,
            stable=state.stable + stable,
            candidate=state.candidate + candidate,
            slow=state.slow + slow,
            harm=bets.settled(at_the_look(state.harm, self._terms, n), harm),
            safety=bets.settled(state.safety, safety),
            scatter=scattered(state.scatter, buckets.above(edges, stable, limit)[:, None], stable[:, -1]),
            effect=effect,
        )
        proven = self._terms.proven(bets.log_capital(after.harm))
        return replace(after, failed=np.maximum(state.failed, proven * (after.candidate[:, -1] >= LEAST_TO_FAIL)))

    def outcomes(self, state: Slow) -> Array:
        safe = self._terms.safe(bets.log_capital(state.safety))
        enough = state.candidate[:, -1] >= LEAST_TO_PASS if state.candidate.shape[1] else np.zeros_like(safe)
        return outcome_of(state.failed, safe * enough)[:, None]

    def votes(self, state: Slow) -> Array:
        return np.ones((len(state.slow), 1))

    def told(self, state: Slow) -> tuple[GateVerdict, ...]:
        outcome = float(self.outcomes(state)[0, 0])
        if not state.candidate.shape[1]:
            state = replace(state, stable=np.zeros((1, 1)), candidate=np.zeros((1, 1)))
        told = Told(
            outcome=outcome,
            requests=(int(state.candidate[0, -1]), int(state.stable[0, -1])),
            candidate=shown_quantile(state.edges, state.candidate, self._gate.quantile),
            stable=shown_quantile(state.edges, state.stable, self._gate.quantile),
            limit=self._limit,
            evidence=(float(bets.log_capital(state.harm)[0]), float(bets.log_capital(state.safety)[0])),
            effect=float(state.effect[0]),
            needs_stable=False,
        )
        sentence = latency_sentence(told, self._gate, int(state.slow[0]))
        return (gate_verdict(self.names[0], self._gate, self._terms, told, sentence),)
