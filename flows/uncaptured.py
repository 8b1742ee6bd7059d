"""What a rollout cannot have while somebody else serves a side of it: nobody captures what that side answers."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.monitoring.spec import Capture, DriftSpec, MonitoringSpec, ReferenceSpec
from lockgate.rollout.gates import Disagreement, Mean, PredictionDrift
from lockgate.rollout.spec import AbStep, RolloutSpec, ShadowStep
from lockgate.rollout.steps import Shadow

_WHY = "nothing captures what a server that somebody else runs (service.external) answers"
_INSTEAD = "use error_rate, latency, a query, or a mean of counters (`promql`)"
_ECHO = Shadow().echo


def judged(rollout: RolloutSpec) -> Iterator[str]:
    """Gates and steps that look at captured traffic, each in a sentence that begins with its path."""
    for name, gate in rollout.gates.items():
        if isinstance(gate, Disagreement | PredictionDrift):
            yield f"rollout.gates.{name}: {gate.metric} compares answers, and {_WHY}; {_INSTEAD}"
        elif isinstance(gate, Mean) and not rollout.metric(gate.of).promql:
            yield (
                f"rollout.gates.{name}: users are counted from captured traffic, and {_WHY}; give"
                f" rollout.metrics.{gate.of} a `promql`, or use error_rate, latency or a query"
            )
    for index, step in enumerate(rollout.steps):
        if isinstance(step, AbStep):
            yield (
                f"rollout.steps[{index}].ab: its users are counted from captured traffic, and {_WHY}; use `canary`"
                " steps with a gate on a mean of counters (`promql`)"
            )
        elif isinstance(step, ShadowStep) and step.shadow.echo not in (0, _ECHO):
            yield f"rollout.steps[{index}].shadow.echo: stable's noise is told by its answers, and {_WHY}; leave it out"


def monitored(monitoring: MonitoringSpec) -> Iterator[str]:
    """The same of what would be done with captured traffic."""
    if monitoring.capture.sample and monitoring.capture != Capture():
        yield f"monitoring.capture: {_WHY}; leave it out, or capture where the model is served"
    if monitoring.redact:
        yield f"monitoring.redact: there is nothing to redact, for {_WHY}; leave it out"
    if monitoring.drift != DriftSpec() or monitoring.reference != ReferenceSpec():
        field = "drift" if monitoring.drift != DriftSpec() else "reference"
        yield f"monitoring.{field}: live inputs are those of captured traffic, and {_WHY}; leave it out"
    if monitoring.performance:
        yield f"monitoring.performance: labels are joined with captured answers, and {_WHY}; leave it out"
