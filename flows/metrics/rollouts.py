"""One rollout at this moment as samples: where it is, what its gates say, who drives it, whom it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lockgate.flows.metrics.reader import Reader
from lockgate.flows.metrics.sheet import Sheet
from lockgate.monitoring.catalog import OUTCOMES, PHASES
from lockgate.rollout.advance import mirror, weight
from lockgate.rollout.approving import approval_at
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec, ShadowStep, kind_of, label, options
from lockgate.rollout.state import Judged, State
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.verdict import GateVerdict
from lockgate.rollout.words import WHOLE, Phase


def put(sheet: Sheet, store: Reader, rollout: Rollout, now: float) -> State:
    """Everything but drift and artifacts. The state that it is in."""
    name, state = rollout.model, store.last(rollout.id).state
    progress = store.progress(rollout.id)
    _where(sheet, rollout, state)
    _step(sheet, rollout, state)
    for variant, share in shares(rollout.spec, state).items():
        sheet.put("lockgate_rollout_weight_ratio", share, name=name, variant=variant)
    if progress is not None and progress.index == rollout.spec.judged(state.step):
        _judged(sheet, rollout, progress)
    _driven(sheet, name, store.leased_until(rollout.id), now)
    _asked(sheet, rollout, state)
    return state


def shares(spec: RolloutSpec, state: State) -> dict[str, float]:
    """What share of the live requests each variant answers, from 0 to 1."""
    found = dict.fromkeys(spec.challengers, 0.0)
    if state.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
        found[state.winner] = 1.0
    judged = spec.judged(state.step)
    if state.phase.stepping and judged is not None:
        arms = spec.challengers_at(judged)
        each = weight(spec.steps[judged], state) / WHOLE / len(arms)
        found |= {arm: 0.0 if arm in state.dropped else each for arm in arms}
    return {"stable": max(0.0, 1.0 - sum(found.values())), **found}


def to_decision(spec: RolloutSpec, events: Sequence[Event]) -> int | None:
    """Requests that the candidate answered until the verdicts that moved the rollout; None where none did."""
    answered: dict[int | None, int] = {}
    before = State()
    for event in events:
        if isinstance(said := event.happening, Judged):
            step = spec.judged(before.step)
            answered[step] = max(answered.get(step, 0), said.verdict.requests)
        before = event.state
    return sum(answered.values()) if answered else None


def _where(sheet: Sheet, rollout: Rollout, state: State) -> None:
    name, subject = rollout.model, rollout.subject
    sheet.put(
        "lockgate_rollout_info",
        1,
        name=name,
        model=subject.get("model", ""),
        rollout=rollout.id,
        stable_version=subject.get("stable", ""),
        candidate_version=subject.get(state.winner, ""),
    )
    for phase in PHASES:
        sheet.put("lockgate_rollout_phase", phase == state.phase, name=name, phase=phase)
    sheet.put("lockgate_rollout_open", rollout.closed_at is None, name=name)
    sheet.put("lockgate_rollout_opened_timestamp_seconds", rollout.opened_at, name=name)
    sheet.put("lockgate_rollout_closed_timestamp_seconds", rollout.closed_at, name=name)
    sheet.put("lockgate_rollout_paused", state.paused_at is not None, name=name)
    sheet.put("lockgate_rollout_held", bool(state.held), name=name)


def _step(sheet: Sheet, rollout: Rollout, state: State) -> None:
    name, spec = rollout.model, rollout.spec
    begun = bool(state.facts)
    sheet.put("lockgate_rollout_step", state.step + 1 if begun else 0, name=name)
    sheet.put("lockgate_rollout_steps", len(spec.steps), name=name)
    if not begun:
        return
    step, judged = spec.steps[state.step], spec.judged(state.step)
    sheet.put("lockgate_rollout_step_info", 1, name=name, kind=kind_of(step), step=label(step))
    sheet.put("lockgate_rollout_step_since_timestamp_seconds", state.since, name=name)
    copied = mirror(spec.steps[judged]) if state.phase.stepping and judged is not None else 0
    sheet.put("lockgate_rollout_mirror_ratio", copied / WHOLE, name=name)
    if state.phase is Phase.PROGRESSING:
        sheet.put("lockgate_rollout_step_timeout_seconds", options(step).timeout, name=name)


def _judged(sheet: Sheet, rollout: Rollout, progress: Progress) -> None:
    name = rollout.model
    for variant, gates in _gates(progress):
        for gate in gates:
            if gate.votes:
                _gate(sheet, name, variant, gate)
    for variant, answered in _answered(rollout.spec, progress).items():
        sheet.put("lockgate_rollout_step_requests", answered, name=name, variant=variant)


def _gates(progress: Progress) -> Iterator[tuple[str, tuple[GateVerdict, ...]]]:
    if verdict := progress.verdict:
        yield "candidate", verdict.gates
        yield from verdict.others.items()


def _gate(sheet: Sheet, name: str, variant: str, gate: GateVerdict) -> None:
    lowest, highest = gate.interval or (None, None)
    numbers = {
        "outcome": OUTCOMES[gate.outcome],
        "candidate": gate.candidate,
        "stable": gate.stable,
        "limit": gate.limit,
        "harm": gate.harm,
        "fails_from": gate.fails_from,
        "safety": gate.safety,
        "passes_from": gate.passes_from,
        "effect_ratio": gate.effect,
        "effect_lowest_ratio": lowest,
        "effect_highest_ratio": highest,
    }
    for what, value in numbers.items():
        sheet.put(f"lockgate_gate_{what}", value, name=name, variant=variant, gate=gate.gate, metric=gate.metric)


def _answered(spec: RolloutSpec, progress: Progress) -> dict[str, int]:
    counts, shadow = progress.step, isinstance(spec.steps[progress.index], ShadowStep)
    others = {variant: tally.requests for variant, tally in counts.others.items()}
    candidate = counts.shadow if shadow else counts.candidate
    return {"stable": counts.stable.requests, "candidate": candidate.requests, **others}


def _driven(sheet: Sheet, name: str, until: float, now: float) -> None:
    sheet.put("lockgate_controller_driven", until >= now, name=name)
    sheet.put("lockgate_controller_lease_timestamp_seconds", until or None, name=name)


def _asked(sheet: Sheet, rollout: Rollout, state: State) -> None:
    approval = approval_at(rollout.spec, state)
    if approval is None:
        return
    about = {"name": rollout.model, "role": approval.role}
    asked = bool(state.asked)
    sheet.put("lockgate_approval_pending", asked, **about)
    sheet.put("lockgate_approval_approvals", len(state.approvals), **about)
    sheet.put("lockgate_approval_required", approval.required, **about)
    if asked:
        sheet.put("lockgate_approval_asked_timestamp_seconds", state.expires_at - approval.expires, **about)
        sheet.put("lockgate_approval_expires_timestamp_seconds", state.expires_at, **about)
