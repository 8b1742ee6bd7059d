"""What every kind of gate has in common: how alpha is spent, and the verbs that `Analysis` and `Batch` use."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Protocol, TypeVar

import numpy as np

from lockgate.rollout.analysis.bets import Array, Bets, started
from lockgate.rollout.analysis.seen import Seen
from lockgate.rollout.gates import Query
from lockgate.rollout.profile import PROFILES, Profile
from lockgate.rollout.spec import RolloutSpec, ShadowStep
from lockgate.rollout.verdict import GateVerdict

FAIL, UNDECIDED, PASS = -1.0, 0.0, 1.0
LEAST_TO_PASS = 50
"""Requests of each side that the gate looks at, in this step."""
LEAST_TO_FAIL = 10
"""Requests of the candidate in this step: one that failed may outweigh ten thousand good ones of stable."""
SURE = 0.75
"""Standard errors by which the harm seen in a step exceeds what is tolerated, before proven harm fails a gate."""
Z95, Z99 = 1.959964, 2.575829
_AT_ONCE, _LATER = 0.5, 1 / 60
"""Of the capital: what is bet on a regression from the first look on, and then at each look of what is left."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How sure a verdict must be."""

    profile: Profile
    votes: int
    """Gates that share alpha, of every challenger: all but queries, which are not statistics."""
    steps: int
    """Those that are judged: an approval goes on with what the step before it has proven."""
    echoes: bool = True
    """Whether stable answers some requests twice, so that its own noise becomes known."""

    @property
    def fails_from(self) -> float:
        return self.votes / self.profile.alpha

    @property
    def passes_from(self) -> float:
        """All gates must pass, so nothing is divided."""
        return 1 / self.profile.alpha

    def proven(self, log_harm: Array) -> Array:
        return np.asarray(log_harm >= log(self.fails_from), dtype=np.float64)

    def safe(self, log_safety: Array) -> Array:
        return np.asarray(log_safety >= log(self.passes_from), dtype=np.float64)


def terms_of(spec: RolloutSpec) -> Terms:
    votes = sum(not isinstance(gate, Query) for gate in spec.gates.values()) * len(spec.challengers)
    echoes = any(isinstance(step, ShadowStep) and step.shadow.echo for step in spec.steps)
    return Terms(PROFILES[spec.profile], max(1, votes), len(spec.judged_steps), echoes)


def at_the_step(harm: Bets, terms: Terms) -> Bets:
    """Bets on a regression that begins with a step: the first one for `once`, each one for `steps`."""
    if terms.profile.starts == "looks":
        return harm
    return started(harm, harm.left if terms.profile.starts == "once" else 1 / terms.steps)


def at_the_look(harm: Bets, terms: Terms, requests: Array) -> Bets:
    """And on one that begins with this look, for `looks`. `requests` (R,): where there are none, nothing begins."""
    if terms.profile.starts != "looks":
        return harm
    mass = np.where(harm.left == 1.0, _AT_ONCE, harm.left * _LATER)
    return started(harm, np.where(requests > 0, mass, 0.0))


def outcome_of(failed: Array, passed: Array) -> Array:
    return np.where(failed > 0, FAIL, np.where(passed > 0, PASS, UNDECIDED))


S = TypeVar("S")


class Kind(Protocol[S]):
    """Judges one or more gates of a kind. A state `S` is a dataclass of arrays whose first axis is the rollout."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its G gates."""

    def begin(self, rollouts: int) -> S:
        """Before the first step."""

    def enter(self, state: S, *, shadow: bool) -> S:
        """A step begins: what was proven of harm stays, what was proven of safety does not."""

    def look(self, state: S, seen: Seen) -> S:
        """With what came since the look before."""

    def told(self, state: S) -> tuple[GateVerdict, ...]:
        """The first rollout's gates, in words and numbers."""


class BatchKind(Kind[S], Protocol[S]):
    """One that judges many simulated rollouts as well."""

    def outcomes(self, state: S) -> Array:
        """(R, G) of FAIL, UNDECIDED and PASS."""

    def votes(self, state: S) -> Array:
        """(R, G): 0 where a gate has nothing to say in this step."""
