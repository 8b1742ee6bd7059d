"""Looks → verdict: at any moment, whether the candidate is proven harmful, proven safe, or neither.

The statistics are in `docs/verdicts.md`. Everything here is pure: the same looks give the same evidence and the same
verdict, which is how `lockgate verify` checks a rollout that is over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from lockgate.rollout.analysis import outage
from lockgate.rollout.analysis.ab import AbKind
from lockgate.rollout.analysis.allocation import due, moved
from lockgate.rollout.analysis.disagreement import DisagreementKind
from lockgate.rollout.analysis.error_rate import ErrorRateKind
from lockgate.rollout.analysis.evidence import Evidence, keep, kept_state
from lockgate.rollout.analysis.kinds import BatchKind, Kind, Terms, terms_of
from lockgate.rollout.analysis.latency import LatencyKind
from lockgate.rollout.analysis.latency_limit import LatencyLimitKind
from lockgate.rollout.analysis.mean import MeanKind
from lockgate.rollout.analysis.prediction_drift import PredictionDriftKind
from lockgate.rollout.analysis.query import QueryKind
from lockgate.rollout.analysis.seen import seen_of
from lockgate.rollout.analysis.several import best_of
from lockgate.rollout.analysis.words import Look, Run, beside
from lockgate.rollout.gates import Disagreement, ErrorRate, Gate, Latency, Mean, PredictionDrift, Query
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import AB_GATE, OUTAGE_GATE, AbStep, RolloutSpec, ShadowStep
from lockgate.rollout.state import Allocated, State
from lockgate.rollout.verdict import GateVerdict, Verdict, worst
from lockgate.rollout.words import Outcome

__all__ = ["Analysis", "Evidence", "blind", "kinds_in_batch"]


def blind(spec: RolloutSpec, why: str) -> Verdict:
    """The verdict when there was nothing to measure with."""
    return Verdict(Outcome.ERROR, (), 0, PROFILES[spec.profile].alpha, why)


def kinds_in_batch(gates: Mapping[str, Gate], terms: Terms, *, explain: bool) -> list[BatchKind[Any]]:
    """The kinds of gates that can be simulated. Without `explain` nothing is computed that only sentences tell."""
    kinds: list[BatchKind[Any]] = []
    compared = {n: g for n, g in gates.items() if isinstance(g, Latency) and g.max is None}
    if compared:
        kinds.append(LatencyKind(compared, terms))
    for name, gate in gates.items():
        if isinstance(gate, ErrorRate):
            kinds.append(ErrorRateKind(name, gate, terms, explain=explain))
        elif isinstance(gate, Latency) and gate.max is not None:
            kinds.append(LatencyLimitKind(name, gate, terms))
        elif isinstance(gate, Disagreement):
            kinds.append(DisagreementKind(name, gate, terms))
    return kinds


class Analysis:
    """Judges one rollout by its spec."""

    def __init__(self, spec: RolloutSpec, judges: tuple[type[Any], ...] | None = None) -> None:
        """`judges`: the kinds of gates that have a say; all of them by default."""
        self._spec, terms = spec, terms_of(spec)
        self._gates = {n: gate for n, gate in spec.gates.items() if judges is None or isinstance(gate, judges)}
        self._beside = Analysis(spec, _OF_OTHERS) if spec.others and judges is None else None
        kinds: list[Kind[Any]] = [*kinds_in_batch(self._gates, terms, explain=True)]
        for name, gate in self._gates.items():
            if isinstance(gate, PredictionDrift):
                kinds.append(PredictionDriftKind(name, gate, terms))
            elif isinstance(gate, Mean):
                kinds.append(MeanKind(name, gate, spec.metric(gate.of), terms))
            elif isinstance(gate, Query):
                kinds.append(QueryKind(name, gate))
        self._kinds = {",".join(kind.names): kind for kind in kinds}
        self._like = {key: kind.begin(1) for key, kind in self._kinds.items()}
        self._tests = {
            index: AbKind(AB_GATE, step.ab, spec.metric(step.ab.metric), terms, len(step.ab.arms))
            for index, step in enumerate(spec.steps)
            if isinstance(step, AbStep)
        }

    def begin(self) -> Evidence:
        """Of a rollout that nobody has looked at."""
        return Evidence(kept={key: keep(state) for key, state in self._like.items()})

    def look(self, evidence: Evidence, look: Look) -> Evidence:
        """With one more look. One at another step than the last look's enters that step first."""
        others = dict(evidence.others)
        if self._beside:
            none = self._beside.begin()
            others |= {n: self._beside.look(others.get(n, none), beside(look, came)) for n, came in look.others.items()}
        return replace(self._look(evidence, look), others=others)

    def _look(self, evidence: Evidence, look: Look) -> Evidence:
        if evidence.failed:
            return replace(evidence, looks=evidence.looks + 1)
        states, requests = self._in_step(evidence, look.step), evidence.requests if look.step == evidence.step else 0
        seen = seen_of(look)
        states = {key: self._kind(key, look.step).look(state, seen) for key, state in states.items()}
        told = self._told(states, look.step)
        return Evidence(
            step=look.step,
            looks=evidence.looks + 1,
            requests=requests + look.candidate.requests,
            failed=self._out(look.run) or any(gate.outcome is Outcome.FAIL for gate in told.values()),
            kept={key: keep(state) for key, state in states.items()},
            blind=self._blind(evidence.blind, look),
            run=look.run,
        )

    def verdict(self, evidence: Evidence, step: int, dropped: Collection[str] = ()) -> Verdict:
        """On `step`. Where the last look was at another one, nothing is known of it yet.

        `dropped`: challengers that are out of the step already.
        """
        own = self._verdict(evidence, step)
        test = self._tests.get(step)
        if self._beside is None or test is None or len(test.ab.arms) == 1:
            return own
        none = self._beside.begin()
        of = {name: self._beside.verdict(evidence.others.get(name, none), step) for name in test.ab.others}
        return best_of({"candidate": own, **of}, test.metric, dropped)

    def _verdict(self, evidence: Evidence, step: int) -> Verdict:
        told = self._told(self._in_step(evidence, step), step)
        names = (*self._gates, *([AB_GATE] if step in self._tests else []))
        gates = tuple(_unless_blind(told[name], evidence.blind.get(name)) for name in names)
        if self._out(evidence.run):
            gates = (outage.told(OUTAGE_GATE, evidence.run, len(self._spec.challengers)), *gates)
        outcome = worst([gate.outcome for gate in gates if gate.votes])
        return Verdict(
            outcome=outcome,
            gates=gates,
            requests=evidence.requests if step == evidence.step else 0,
            alpha=PROFILES[self._spec.profile].alpha,
            reason="; ".join(g.sentence for g in gates if g.votes and g.outcome is outcome) or _NO_VOTES,
            looks=evidence.looks,
        )

    def allocation(self, evidence: Evidence, state: State, began: float, now: float) -> Allocated | None:
        """The share of users that the candidate is to get from now on, where the `ab` step moves it and it is time.

        `began`: when the step's routes were on, in unix seconds.
        """
        test = self._tests.get(state.step)
        if test is None or not self.allocates(state.step) or evidence.step != state.step:
            return None
        if AB_GATE in evidence.blind or not due(test.ab, test.metric, state, began, now):
            return None
        return self.share_of(evidence, state)

    def allocates(self, step: int) -> bool:
        """Whether users may be shared out in another way while this step goes on."""
        return step in self._tests and self._tests[step].ab.allocation != "fixed"

    def share_of(self, evidence: Evidence, state: State) -> Allocated | None:
        """What `allocation` says when it is time; None while too little is known of both sides."""
        test = self._tests.get(state.step)
        if test is None or evidence.step != state.step:
            return None
        trial = self._in_step(evidence, state.step)[AB_GATE]
        found = moved(test.ab, state, float(test.chance(trial)[0])) if test.known(trial)[0] else None
        return replace(found, looks=evidence.looks) if found else None

    def _out(self, run: Run) -> bool:
        return outage.proven(run, len(self._spec.challengers))

    def _kind(self, key: str, step: int) -> Kind[Any]:
        return self._tests[step] if key == AB_GATE else self._kinds[key]

    def _in_step(self, evidence: Evidence, step: int) -> dict[str, Any]:
        """The test of an `ab` step is its own: it begins with nothing, and is forgotten with the step."""
        states = {key: kept_state(like, evidence.kept[key]) for key, like in self._like.items()}
        test = self._tests.get(step)
        if step == evidence.step:
            return states | ({AB_GATE: kept_state(test.begin(1), evidence.kept[AB_GATE])} if test else {})
        shadow = is_shadow(self._spec, step)
        states = {key: self._kinds[key].enter(state, shadow=shadow) for key, state in states.items()}
        return states | ({AB_GATE: test.enter(test.begin(1), shadow=False)} if test else {})

    def _blind(self, before: Mapping[str, str], look: Look) -> dict[str, str]:
        """A source that said nothing speaks again with the next look; a query, with its next reading."""
        gates = self._gates
        waiting = {n: why for n, why in before.items() if isinstance(gates.get(n), Query) and n not in look.readings}
        idle = () if is_shadow(self._spec, look.step) else Disagreement
        came = {n: why for n, why in look.blind.items() if n in gates and not isinstance(gates[n], idle)}
        if look.step in self._tests and AB_GATE in look.blind:
            came[AB_GATE] = look.blind[AB_GATE]
        return {**waiting, **came}

    def _told(self, states: Mapping[str, Any], step: int) -> dict[str, GateVerdict]:
        return {gate.gate: gate for key, state in states.items() for gate in self._kind(key, step).told(state)}


_OF_OTHERS = (ErrorRate, Latency, Mean)
"""Kinds of gates that judge more challengers than the candidate: their answers are compared with nobody's."""
_NO_VOTES = "no gate has anything to say in this step"


def is_shadow(spec: RolloutSpec, step: int) -> bool:
    return 0 <= step < len(spec.steps) and isinstance(spec.steps[step], ShadowStep)


def _unless_blind(gate: GateVerdict, why: str | None) -> GateVerdict:
    if why is None or gate.outcome is Outcome.FAIL:
        return gate
    return replace(gate, outcome=Outcome.ERROR, sentence=f"{gate.gate}: {Outcome.ERROR}, {why}")
