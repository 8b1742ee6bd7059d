"""The gates `latency` with a margin: the candidate's quantiles against stable's.

Harm is looked for in the whole distribution, at edges of the histogram, so it is the same evidence for every quantile;
which gate fails by it is told by its own quantile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lockgate.rollout.analysis import bets, buckets
from lockgate.rollout.analysis.bets import Array, Bets
from lockgate.rollout.analysis.kinds import (
    LEAST_TO_FAIL,
    LEAST_TO_PASS,
    SURE,
    Z95,
    Terms,
    at_the_look,
    at_the_step,
    outcome_of,
)
from lockgate.rollout.analysis.scatter import Scatter, design_effect, no_scatter, scattered
from lockgate.rollout.analysis.seen import BatchTally, Seen, share_of
from lockgate.rollout.analysis.told import Told, gate_verdict, latency_sentence
from lockgate.rollout.gates import Latency
from lockgate.rollout.verdict import GateVerdict

RATIOS: Array = 1.25 * 1.8 ** np.arange(6.0)
LEAST_OF_STABLE = 200
"""Latencies of stable in earlier looks of the step, before anything is compared with them or fails by them."""
_NO_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of R rollouts and G gates."""

    edges: Array
    """(1, E): of the histograms in milliseconds, without the last one, infinity."""
    stable: Array
    """(R, E + 1): cumulative counts of this step."""
    candidate: Array
    slots: Array
    """(R, SLOTS): edges at which the sides are compared; 0 is none. Fixed for the rollout, once stable is known."""
    harm: Bets
    """By slot."""
    safety: Bets
    """By gate."""
    scatter: Scatter
    """By slot."""
    effect: Array
    """(R, G): the design effect of the last look, near the gate's limit."""
    failed: Array
    """(R, G)"""


class LatencyKind:
    def __init__(self, gates: Mapping[str, Latency], terms: Terms) -> None:
        self.names = tuple(gates)
        self._gates, self._terms = tuple(gates.values()), terms

    def begin(self, rollouts: int) -> Latencies:
        gates = len(self._gates)
        return Latencies(
            edges=np.zeros((1, 0)),
            stable=np.zeros((rollouts, 0)),
            candidate=np.zeros((rollouts, 0)),
            slots=np.zeros((rollouts, buckets.SLOTS)),
            harm=bets.no_bets(rollouts, buckets.SLOTS, len(RATIOS)),
            safety=bets.no_bets(rollouts, gates, len(bets.BETTER)),
            scatter=no_scatter(rollouts, buckets.SLOTS),
            effect=np.full((rollouts, gates), self._terms.profile.design_effect),
            failed=np.zeros((rollouts, gates)),
        )

    def enter(self, state: Latencies, *, shadow: bool) -> Latencies:  # noqa: ARG002 - copies are slow like requests
        return replace(
            state,
            stable=np.zeros_like(state.stable),
            candidate=np.zeros_like(state.candidate),
            harm=at_the_step(state.harm, self._terms),
            safety=bets.started(bets.no_bets(*state.safety.log.shape), 1.0),
        )

    def look(self, state: Latencies, seen: Seen) -> Latencies:
        edges = edges_of(seen)
        if not seen.warm or edges is None:
            return state
        if not np.array_equal(edges[:-1], state.edges[0]):  # another router counts otherwise: begin again
            nothing = np.zeros((len(state.slots), len(edges)))
            state = replace(state, edges=edges[None, :-1], stable=nothing, candidate=nothing)
        stable, candidate = counts_of(seen.stable, state.stable), counts_of(seen.candidate, state.candidate)
        known = state.stable[:, -1] >= LEAST_OF_STABLE
        fresh = known & (state.slots == 0).all(axis=1)
        if fresh.any():
            state = replace(state, slots=np.where(fresh[:, None], buckets.chosen(edges, state.stable), state.slots))
        share, before = share_of(seen), state.scatter
        state = self._harmed(state, edges, (candidate, stable), share)
        effect = design_effect(before, self._terms.profile.design_effect, share)
        state = self._safe(state, edges, np.where(known[:, None], candidate, 0.0), effect)
        state = replace(state, stable=state.stable + stable, candidate=state.candidate + candidate)
        return replace(state, failed=np.maximum(state.failed, self._fails(state)))

    def _harmed(self, state: Latencies, edges: Array, counts: tuple[Array, Array], share: Array | float) -> Latencies:
        profile, used = self._terms.profile, state.slots > 0
        slow, theirs = (np.where(used, buckets.above(edges, c, state.slots), 0.0) for c in counts)
        n, others = (c[:, -1:] for c in counts)
        expected = (slow + theirs) * n / np.maximum(n + others, 1.0)
        effect = design_effect(state.scatter, profile.design_effect, share, expected)
        ratios = bets.conditional((slow, theirs), (n, others), profile.ratio, RATIOS)
        harm = bets.settled(at_the_look(state.harm, self._terms, n[:, 0]), ratios / effect[..., None])
        compared = np.where(used.any(axis=1), others[:, 0], 0.0)  # before there are slots, nothing was counted at them
        return replace(state, harm=harm, scatter=scattered(state.scatter, theirs, compared))

    def _safe(self, state: Latencies, edges: Array, candidate: Array, effect: Array) -> Latencies:
        """Bets that fewer than tolerated are slower than the least that the limit can be, by the looks before."""
        logs, effects = [], []
        for gate in self._gates:
            least = self._limit(state, gate, Z95)
            far = np.abs(np.log(np.maximum(state.slots, _NO_EDGE)) - np.log(np.maximum(least, _NO_EDGE))[:, None])
            near = np.take_along_axis(effect, far.argmin(axis=1)[:, None], axis=1)
            slow = buckets.perhaps_above(edges, candidate, least)
            log = bets.one_sample(slow, candidate[:, -1], np.full_like(least, 1 - gate.quantile), bets.BETTER)
            logs.append(log / near)
            effects.append(near[:, 0])
        safety = bets.settled(state.safety, np.stack(logs, axis=1))
        return replace(state, safety=safety, effect=np.stack(effects, axis=1))

    def _limit(self, state: Latencies, gate: Latency, z: float = 0.0) -> Array:
        """(R,) milliseconds, by stable's quantile in this step, or by the lower end of its interval for `z`."""
        total, q = state.stable[:, -1], gate.quantile
        low = bets.interval(np.round(q * total), total, z)[0] if z else q
        edges = np.append(state.edges[0], np.inf)
        return buckets.quantile(edges, state.stable, low) * (1 + gate.margin) + gate.slack * 1000

    def _slow(self, state: Latencies, gate: Latency) -> Array:
        """(R,): the candidate's requests in this step that were surely slower than the limit."""
        edges = np.append(state.edges[0], np.inf)
        return buckets.above(edges, state.candidate, self._limit(state, gate))

    def log_harm(self, state: Latencies) -> Array:
        """(R,): averaged over the slots in use; before there are any, nothing was bet."""
        each, used = bets.log_capital(state.harm), state.slots > 0
        number = used.sum(axis=1)
        log = np.logaddexp.reduce(np.where(used, each, bets.NOTHING), axis=1) - np.log(np.maximum(number, 1))
        return np.where(number > 0, log, 0.0)

    def _fails(self, state: Latencies) -> Array:
        """Harm is proven, and the gate's own quantile is clearly beyond its limit in this step."""
        proven = self._terms.proven(self.log_harm(state))
        n = state.candidate[:, -1]
        beyond = []
        for g, gate in enumerate(self._gates):
            tolerated = (1 - gate.quantile) * n
            error = np.sqrt(state.effect[:, g] * tolerated * gate.quantile)
            beyond.append(self._slow(state, gate) > tolerated + SURE * error)
        enough = (n >= LEAST_TO_FAIL) & (state.stable[:, -1] >= LEAST_OF_STABLE)
        return (proven * enough)[:, None] * np.stack(beyond, axis=1)

    def outcomes(self, state: Latencies) -> Array:
        safe = self._terms.safe(bets.log_capital(state.safety))
        if not state.stable.shape[1]:
            return outcome_of(state.failed, np.zeros_like(safe))
        fewest = np.minimum(state.stable[:, -1], state.candidate[:, -1])
        return outcome_of(state.failed, safe * (fewest >= LEAST_TO_PASS)[:, None])

    def votes(self, state: Latencies) -> Array:
        return np.ones((len(state.slots), len(self._gates)))

    def told(self, state: Latencies) -> tuple[GateVerdict, ...]:
        outcomes = self.outcomes(state)[0]
        if not state.stable.shape[1]:
            state = replace(state, stable=np.zeros((1, 1)), candidate=np.zeros((1, 1)))
        harm, safety = float(self.log_harm(state)[0]), bets.log_capital(state.safety)[0]
        said = []
        for g, (name, gate) in enumerate(zip(self.names, self._gates, strict=True)):
            told = Told(
                outcome=float(outcomes[g]),
                requests=(int(state.candidate[0, -1]), int(state.stable[0, -1])),
                candidate=shown_quantile(state.edges, state.candidate, gate.quantile),
                stable=shown_quantile(state.edges, state.stable, gate.quantile),
                limit=float(self._limit(state, gate)[0]) if state.stable[0, -1] else None,
                evidence=(harm, float(safety[g])),
                effect=float(state.effect[0, g]),
            )
            sentence = latency_sentence(told, gate, int(self._slow(state, gate)[0]))
            said.append(gate_verdict(name, gate, self._terms, told, sentence))
        return tuple(said)


def shown_quantile(edges: Array, counts: Array, q: float) -> float | None:
    """Of the first rollout; None without data."""
    return float(buckets.quantile(np.append(edges[0], np.inf), counts, q)[0]) if counts[0, -1] else None


def edges_of(seen: Seen) -> Array | None:
    """Of the look's histograms; None where it has none, or two that cannot be compared."""
    stable, candidate = seen.stable.edges, seen.candidate.edges
    if not stable.size or not candidate.size:
        return stable if stable.size else candidate if candidate.size else None
    return stable if np.array_equal(stable, candidate) else None


def counts_of(tally: BatchTally, like: Array) -> Array:
    return tally.counts if tally.counts.size else np.zeros_like(like)
