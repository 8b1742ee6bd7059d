"""The gate `disagreement`: the shadow must not differ from stable more often than tolerated, beyond stable's noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lockgate.rollout.analysis import bets
from lockgate.rollout.analysis.bets import Array, Bets
from lockgate.rollout.analysis.kinds import (
    LEAST_TO_FAIL,
    LEAST_TO_PASS,
    PASS,
    Z99,
    Terms,
    at_the_look,
    at_the_step,
    outcome_of,
)
from lockgate.rollout.analysis.seen import Seen
from lockgate.rollout.analysis.told import Told, disagreement_sentence, gate_verdict
from lockgate.rollout.gates import Disagreement
from lockgate.rollout.verdict import GateVerdict

_LEAST_ECHOES = 20


@dataclass(frozen=True, slots=True)
class Answers:
    """Each (R,)."""

    compared: Array
    """In the last shadow step."""
    differing: Array
    echoed: Array
    """In the rollout: stable's noise is its own."""
    echoes_differing: Array
    harm: Bets
    safety: Bets
    shadow: Array
    """1 in a shadow step."""
    passed: Array
    """1 when the last shadow step ended with a pass."""
    failed: Array


class DisagreementKind:
    def __init__(self, name: str, gate: Disagreement, terms: Terms) -> None:
        self.names = (name,)
        self._gate, self._terms = gate, terms

    def begin(self, rollouts: int) -> Answers:
        zero = np.zeros(rollouts)
        harm, safety = bets.no_bets(rollouts, len(bets.WORSE)), bets.no_bets(rollouts, len(bets.BETTER))
        return Answers(zero, zero, zero, zero, harm, safety, zero, zero, zero)

    def enter(self, state: Answers, *, shadow: bool) -> Answers:
        passed = np.where(state.shadow > 0, self.outcomes(state)[:, 0] == PASS, state.passed)
        state = replace(state, passed=passed.astype(np.float64), harm=at_the_step(state.harm, self._terms))
        zero = np.zeros_like(state.compared)
        if not shadow:
            return replace(state, shadow=zero)
        safety = bets.started(bets.no_bets(*state.safety.log.shape), 1.0)
        return replace(state, shadow=zero + 1, compared=zero, differing=zero, safety=safety)

    def look(self, state: Answers, seen: Seen) -> Answers:
        pairs = seen.pairs.get(self.names[0])
        if pairs is None or not state.shadow.any():
            return state
        effect, n = self._terms.profile.design_effect, pairs.compared
        low, _ = self._noise(state)
        # Against the limit itself: with few echoes their interval is wide, and bets against it would only be lost.
        harm = bets.one_sample(pairs.differing, n, np.full_like(n, self._gate.max), bets.WORSE) / effect
        safety = bets.one_sample(pairs.differing, n, self._gate.max + low, bets.BETTER) / effect
        after = replace(
            state,
            compared=state.compared + n,
            differing=state.differing + pairs.differing,
            echoed=state.echoed + pairs.echoed,
            echoes_differing=state.echoes_differing + pairs.echoes_differing,
            harm=bets.settled(at_the_look(state.harm, self._terms, n), harm),
            safety=bets.settled(state.safety, safety),
        )
        return replace(after, failed=np.maximum(state.failed, self._fails(after)))

    def _fails(self, state: Answers) -> Array:
        """More than the limit is proven, and there is more than the limit and stable's noise at its worst."""
        _, noise = self._noise(state)
        proven = self._terms.proven(bets.log_capital(state.harm)) * (state.compared >= LEAST_TO_FAIL)
        return proven * (state.differing > (self._gate.max + noise) * state.compared)

    def _noise(self, state: Answers) -> tuple[Array, Array]:
        """The interval of stable's own disagreement; none where nothing is asked twice."""
        effect = self._terms.profile.design_effect
        low, high = bets.interval(state.echoes_differing / effect, state.echoed / effect, Z99)
        # The first few say little, and somebody looks at them every second: until there are enough, anything may be.
        known = np.where(state.echoed >= _LEAST_ECHOES, high, 1.0)
        return low, known if self._terms.echoes else np.zeros_like(high)

    def outcomes(self, state: Answers) -> Array:
        safe = self._terms.safe(bets.log_capital(state.safety)) * (state.compared >= LEAST_TO_PASS)
        return outcome_of(state.failed, np.where(state.shadow > 0, safe, state.passed))[:, None]

    def votes(self, state: Answers) -> Array:
        """Where no answers are compared, only what they proved before counts."""
        return np.maximum(state.shadow, np.abs(self.outcomes(state)[:, 0]))[:, None]

    def told(self, state: Answers) -> tuple[GateVerdict, ...]:
        compared, differing = int(state.compared[0]), int(state.differing[0])
        echoed, noisy = int(state.echoed[0]), int(state.echoes_differing[0])
        noise = noisy / echoed if echoed else None
        told = Told(
            outcome=float(self.outcomes(state)[0, 0]),
            requests=(compared, echoed),
            candidate=differing / compared if compared else None,
            stable=noise,
            limit=self._gate.max + (noise or 0.0),
            evidence=(float(bets.log_capital(state.harm)[0]), float(bets.log_capital(state.safety)[0])),
            effect=self._terms.profile.design_effect,
            votes=bool(self.votes(state)[0, 0]),
            needs_stable=False,
        )
        sentence = disagreement_sentence(told, (differing, compared), (noisy, echoed))
        return (gate_verdict(self.names[0], self._gate, self._terms, told, sentence),)
