"""A story at one moment, as samples. What is not in the catalog, or has other labels, is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lockgate.dashboards.grafana.sample.counters import Counters
from lockgate.dashboards.grafana.sample.machine import gpus, performance
from lockgate.dashboards.grafana.sample.moment import Moment, Sample, sample
from lockgate.dashboards.grafana.sample.stories import Gate, Stage, Story
from lockgate.monitoring.catalog import OUTCOMES, PHASES

_WARM, _THRESHOLD, _SEVERE, _SHARE = 0.08, 0.1, 0.25, 0.3
_BAR, _GATES = 20.0, 20.0


def samples(story: Story, counters: Counters, moment: Moment) -> Iterator[Sample]:
    """All but what the exporter says of itself."""
    stage = story.stage(moment.at)
    yield from _rollout(story, counters, moment, stage)
    yield from _control(story, moment, stage)
    if stage.step:
        for name, gate in story.gates.items():
            yield from _gate(story, name, gate, moment)
    yield from _drift(story, moment)
    yield from performance(story, moment)
    yield from _artifacts(story)


def exporter() -> Iterator[Sample]:
    """What it says of itself."""
    yield sample("lockgate_store_up", 1)
    yield sample("lockgate_exporter_scrape_errors_total", 0)
    yield sample("lockgate_exporter_collect_seconds", 0.021)
    yield from gpus()


def _rollout(story: Story, counters: Counters, moment: Moment, stage: Stage) -> Iterator[Sample]:
    of = {"name": story.name}
    over = stage.phase in ("succeeded", "rolled_back", "failed")
    versions = {"stable_version": story.stable.version, "candidate_version": story.candidate.version}
    yield sample("lockgate_rollout_info", 1, **of, model=story.model, rollout=f"{story.name}-0042", **versions)
    yield sample("lockgate_rollout_open", not over, **of)
    for phase in PHASES:
        yield sample("lockgate_rollout_phase", phase == stage.phase, **of, phase=phase)
    yield sample("lockgate_rollout_step", stage.step, **of)
    yield sample("lockgate_rollout_steps", story.steps, **of)
    if stage.step:
        yield sample("lockgate_rollout_step_info", 1, **of, kind=stage.kind, step=stage.text)
        yield sample("lockgate_rollout_step_since_timestamp_seconds", moment.when(stage.start), **of)
        yield sample("lockgate_rollout_step_timeout_seconds", moment.length, **of)
    for variant, weight in {"stable": 1 - stage.weight, "candidate": stage.weight}.items():
        yield sample("lockgate_rollout_weight_ratio", weight, **of, variant=variant)
        yield sample("lockgate_rollout_step_requests", counters.in_step[variant], **of, variant=variant)
    yield sample("lockgate_rollout_mirror_ratio", stage.mirror, **of)
    yield sample("lockgate_rollout_opened_timestamp_seconds", moment.when(0.0), **of)
    if over:
        yield sample("lockgate_rollout_closed_timestamp_seconds", moment.when(story.stages[-1].start), **of)
    for outcome, many in story.ended.items():
        yield sample("lockgate_rollouts_total", many + (over and outcome == stage.phase), **of, outcome=outcome)
    yield sample("lockgate_rollout_requests_to_decision", 90 * story.rate, **of)


def _control(story: Story, moment: Moment, stage: Stage) -> Iterator[Sample]:
    of = {"name": story.name}
    driven = stage.phase not in ("succeeded", "rolled_back", "failed")
    yield sample("lockgate_rollout_paused", story.holds("paused", moment.at), **of)
    yield sample("lockgate_rollout_held", story.holds("held", moment.at), **of)
    yield sample("lockgate_controller_driven", driven, **of)
    if driven:
        yield sample("lockgate_controller_lease_timestamp_seconds", moment.now + 20, **of)
    if stage.kind == "approval":
        asked = {**of, "role": "risk-leads"}
        yield sample("lockgate_approval_pending", story.holds("pending", moment.at), **asked)
        yield sample("lockgate_approval_asked_timestamp_seconds", moment.when(stage.start), **asked)
        yield sample("lockgate_approval_expires_timestamp_seconds", moment.when(stage.start) + 86_400, **asked)
        yield sample("lockgate_approval_approvals", 1, **asked)
        yield sample("lockgate_approval_required", 2, **asked)


def _gate(story: Story, name: str, gate: Gate, moment: Moment) -> Iterator[Sample]:
    """Its estimates settle, and its evidence grows, as requests come in."""
    of = {"name": story.name, "variant": "candidate", "gate": name, "metric": gate.metric}
    start = next(stage.start for stage in story.stages if stage.step)
    stop = next((stage.start for stage in story.stages if stage.phase == "rolling_back"), 1.0)
    grown = min(1.0, (min(moment.at, stop) - start) / (stop - start))
    wobble = 0.25 * math.sin(40 * moment.at + len(name)) * (1 - grown) * (1 - grown)
    safety, harm = (math.exp(of_ * grown**0.7 + 2 * wobble) for of_ in (gate.safety, gate.harm))
    fails = _GATES * len(story.gates)
    outcome = "fail" if harm >= fails else "pass" if safety >= _BAR else "undecided"
    for what, value in {
        "outcome": OUTCOMES[outcome],
        "candidate": gate.candidate * (1 + wobble),
        "stable": gate.stable * (1 + wobble / 3),
        "limit": gate.limit * (1 + wobble / 3),
        "harm": harm,
        "fails_from": fails,
        "safety": safety,
        "passes_from": _BAR,
    }.items():
        yield sample(f"lockgate_gate_{what}", value, **of)
    if gate.effect is not None:
        around = 0.012 + 0.25 * (1 - grown) ** 2
        yield sample("lockgate_gate_effect_ratio", gate.effect + wobble / 4, **of)
        yield sample("lockgate_gate_effect_lowest_ratio", gate.effect + wobble / 4 - around, **of)
        yield sample("lockgate_gate_effect_highest_ratio", gate.effect + wobble / 4 + around, **of)


def _drift(story: Story, moment: Moment) -> Iterator[Sample]:
    """It grows from the middle of the story to two thirds of it, and then falls by a third."""
    of = {"name": story.name}
    grown = min(1.0, max(0.0, (moment.at - 0.4) / 0.2)) * (1 if moment.at < 0.66 else 0.7)
    drifting = 0
    for i, (feature, last) in enumerate(story.features.items()):
        psi = max(0.0, last * (_WARM + (1 - _WARM) * grown) + 0.004 * math.sin(60 * moment.at + 2 * i))
        drifts = psi > _THRESHOLD
        drifting += drifts
        yield sample("lockgate_drift_psi", psi, **of, feature=feature)
        yield sample("lockgate_drift_missing_ratio", 0.04 * (i % 4 == 1) * (1 + grown), **of, feature=feature)
        yield sample("lockgate_drift_drifting", drifts, **of, feature=feature)
    share = drifting / len(story.features)
    worst = max(story.features.values()) * grown > _SEVERE
    yield sample("lockgate_drift_detected", share >= _SHARE or worst, **of)
    yield sample("lockgate_drift_share_ratio", share, **of)
    yield sample("lockgate_drift_share_limit_ratio", _SHARE, **of)
    yield sample("lockgate_drift_threshold", _THRESHOLD, **of)
    yield sample("lockgate_drift_rows", 5000, **of)
    yield sample("lockgate_drift_compared_timestamp_seconds", moment.now - 12, **of)


def _artifacts(story: Story) -> Iterator[Sample]:
    for variant in ("stable", "candidate"):
        side = getattr(story, variant)
        of = {"name": story.name, "variant": variant}
        facts = {"version": side.version, "target": side.target, "precision": side.precision}
        yield sample("lockgate_artifact_info", 1, **of, **facts)
        yield sample("lockgate_parity_max_abs_error", 3.1e-3 if side.precision == "int8" else 2.4e-6, **of)
        yield sample("lockgate_parity_agreement_ratio", 0.9994 if side.precision == "int8" else 1.0, **of)
        yield sample("lockgate_compile_seconds", 41.0 if side.target == "aotinductor" else 6.2, **of)
        for quantile, times in {"0.5": 0.45, "0.99": 0.9}.items():
            seconds = side.latency * times
            yield sample("lockgate_artifact_latency_seconds", seconds, **of, batch="1", quantile=quantile)
