"""What a run would do, before anything is touched. Loads no vendor: the registry is read the quick way."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from lockgate.flows import wanted
from lockgate.flows.home import home
from lockgate.flows.spec import Spec
from lockgate.registry.errors import NoSuchVersion
from lockgate.registry.quick import resolve_quickly
from lockgate.registry.words import ModelVersion
from lockgate.rollout.gates import Disagreement, ErrorRate, Gate, Latency, Mean, PredictionDrift, Query
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import AbStep, ApprovalStep, RolloutSpec, Step, label, options
from lockgate.services import external as servers
from lockgate.services.words import Bento


def plan(spec: Spec, serving: Callable[[ModelVersion], Bento | None] | None = None) -> dict[str, Any]:
    """Resolved versions, targets, steps, gates and ports, as JSON values. Raises `NoSuchVersion`, `RegistryDown`.

    `serving`: what answers as this version; by default what was brought up last, which takes no vendor to find out.
    """
    named = _named(spec)
    found = dict(zip(named, resolved(spec, list(named.values())), strict=True))
    stable, candidate = found["stable"], found["candidate"]
    now = _serves(spec, stable, (serving or _brought_up(spec))(stable))
    where = {side: external(spec, of) for side, of in found.items()}
    where |= {"stable": now["at"]} if now else {}
    return {
        "name": spec.name,
        "model": spec.model.name,
        "stable": _version(spec.model.stable, stable),
        "candidate": _version(spec.model.candidate, candidate),
        "others": {name: _version(reference, found[name]) for name, reference in spec.model.others.items()},
        "targets": list(spec.service.compile.targets),
        "precision": list(spec.service.compile.precision),
        "objective": spec.service.compile.objective.model_dump(mode="json", exclude_none=True),
        "parity": spec.service.compile.parity.model_dump(mode="json"),
        "replicas": spec.service.replicas.min,
        "external": where if spec.service.external else None,
        "serves": now,
        "steps": [_step(spec.rollout, step) for step in spec.rollout.steps],
        "gates": {name: gate_in_words(gate) for name, gate in spec.rollout.gates.items()},
        "profile": spec.rollout.profile,
        "alpha": PROFILES[spec.rollout.profile].alpha,
        "ports": {key: _port(getattr(spec.rollout.traffic, key)) for key in ("listen", "metrics")},
        "does": _does(stable, candidate),
    }


def _brought_up(spec: Spec) -> Callable[[ModelVersion], Bento | None]:
    mark = wanted.read(home(), spec.name)
    bento = mark.stable if mark else None
    return lambda of: bento if bento and (bento.model, bento.version) == (of.name, of.version) else None


def _serves(spec: Spec, stable: ModelVersion, bento: Bento | None) -> dict[str, Any] | None:
    """Where stable goes on until the candidate is promoted; None where that is as the spec says."""
    served = servers.read(home().external(spec.name), bento.tag) if bento else None
    at = list(served.places) if served else []
    if bento is None or at == external(spec, stable):
        return None
    where = f"at {', '.join(at)}, where somebody else serves it" if served else f"as the bento {bento.tag}"
    words = f"stable goes on {where}, until the candidate is promoted and takes its place"
    return {"bento": bento.tag, "at": at, "ready": served.ready if served else "", "words": words}


def external(spec: Spec, version: ModelVersion) -> list[str]:
    """Where somebody else serves a version; or why that is no address, after `!`."""
    try:
        return list(spec.service.external.at(version.version)) if spec.service.external else []
    except ValueError as error:
        return [f"! {error}"]


def versions(spec: Spec) -> dict[str, ModelVersion]:
    """Of stable, the candidate and the others. `NoSuchVersion` says little where it does not take MLflow to see it."""
    named = _named(spec)
    references = list(named.values())
    return dict(zip(named, _quickly(spec, references) or _asked(spec, references), strict=True))


def _named(spec: Spec) -> dict[str, str]:
    return {"stable": spec.model.stable, "candidate": spec.model.candidate, **spec.model.others}


def resolved(spec: Spec, references: Sequence[str]) -> list[ModelVersion]:
    """Versions of the spec's model, without importing MLflow where its tracking store allows."""
    found = None
    with suppress(NoSuchVersion):  # MLflow is asked what there is instead
        found = _quickly(spec, references)
    return found or _asked(spec, references)


def _quickly(spec: Spec, references: Sequence[str]) -> list[ModelVersion] | None:
    uri = os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI")
    return resolve_quickly(uri, spec.model.name, references)


def _asked(spec: Spec, references: Sequence[str]) -> list[ModelVersion]:
    from lockgate.registry.mlflow_registry import MlflowRegistry

    registry = MlflowRegistry(home().models)
    return [registry.resolve(spec.model.name, reference) for reference in references]


def gate_in_words(gate: Gate) -> str:
    match gate:
        case ErrorRate(max=None):
            return f"the candidate's share of failed requests is at most stable's + {gate.margin:.3g}"
        case ErrorRate():
            return f"the candidate's share of failed requests is at most {gate.max:.3g}"
        case Latency(max=None):
            return (
                f"the candidate's p{gate.quantile * 100:g} latency is at most stable's + {gate.margin:.0%}"
                f" + {gate.slack * 1000:g} ms"
            )
        case Latency():
            return f"the candidate's p{gate.quantile * 100:g} latency is at most {(gate.max or 0) * 1000:g} ms"
        case Disagreement():
            return f"at most {gate.max:.3g} of the answers differ from stable's, beyond stable's own noise"
        case PredictionDrift():
            return f"the candidate's predictions are at most {gate.max:g} away from stable's"
        case Mean():
            return f"{gate.of} is worse than stable's by at most {gate.margin:.3g} of it"
        case Query():
            return f"{_limits(gate)}: {gate.query}"


def _limits(gate: Query) -> str:
    limits = {"at least": gate.min, "at most": gate.max}
    return " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if limit is not None)


def _version(reference: str, version: ModelVersion) -> dict[str, Any]:
    return {"reference": reference, "version": version.version, "source": version.source}


def _step(spec: RolloutSpec, step: Step) -> dict[str, Any]:
    if isinstance(step, ApprovalStep):
        asked_for = step.approval.model_dump(mode="json", exclude={"expires"})
        return {"step": label(step), "approval": {**asked_for, "expires_seconds": step.approval.expires}}
    asked = options(step)
    return {
        "step": label(step),
        "approval": None,
        "min_requests": asked.hold.min_requests,
        "min_seconds": asked.hold.duration or 0,
        "until": asked.until,
        "timeout_seconds": asked.timeout,
        "on_timeout": asked.on_timeout,
        "test": _test(spec, step),
    }


def _test(spec: RolloutSpec, step: Step) -> str:
    """What an `ab` step tests, in words; of another step, nothing."""
    if not isinstance(step, AbStep):
        return ""
    metric, least = spec.metric(step.ab.metric), step.ab.minimum_effect
    by = f" by at least {least:.3g} of stable's" if least else ""
    return f"{step.ab.metric} gets {metric.better} with the candidate{by}"


def _port(address: str) -> dict[str, str]:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            return {"address": address, "state": f"in use ({error.strerror})"}
    return {"address": address, "state": "free"}


def _does(stable: ModelVersion, candidate: ModelVersion) -> str:
    if stable.version == candidate.version:
        return "nothing, unless `service` was changed: stable and candidate are the same version"
    return f"rolls {candidate} out against version {stable.version}"
