"""What performance is compared with: a number of the spec, or what the measure is on the version's reference.

<home>/references/<digest>-performance-….json    that number, and what it may be at worst; or why there is none
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from lockgate.flows import drift, drift_now
from lockgate.flows.capture import alone, read_settings, write_private
from lockgate.flows.drift_now import Whose
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.performance.baseline import baseline_of_file
from lockgate.monitoring.performance.words import Asked, Baseline

_HOUR = 3600.0
"""Seconds after which it is asked again for what was not there: somebody may have logged it meanwhile."""


def baseline(spec: Spec, where: Home, whose: Whose, asked: Asked, now: float | None = None) -> Baseline:
    """Made once for each version. `now`: unix seconds. Raises `NoReference`, `RegistryError`."""
    given = spec.monitoring.performance
    if given and given.baseline is not None:
        return Baseline(given.baseline)
    now = time.time() if now is None else now
    path = _path(where, spec, whose, asked)
    kept = read_settings(path)
    found, at_worst = kept.get("baseline"), kept.get("at_worst")
    if isinstance(found, int | float) and isinstance(at_worst, int | float):
        return Baseline(float(found), float(at_worst))
    if (why := kept.get("why")) and 0 <= now - kept.get("at", 0.0) < _HOUR:
        raise NoReference(str(why))
    try:
        made = _made(spec, where, whose, asked)
    except NoReference as reason:
        _keep(path, {"why": f"{reason}; or give monitoring.performance.baseline", "at": now})
        raise
    _keep(path, {"baseline": made.value, "at_worst": made.at_worst})
    return made


def _made(spec: Spec, where: Home, whose: Whose, asked: Asked) -> Baseline:
    registry = drift_now.registry_of(where)
    fetched = registry.fetch(registry.resolve(spec.model.name, whose.reference))
    outputs = drift.outputs_of(fetched)
    if not asked.output and not outputs:
        raise NoReference("the model's outputs have no names, so no column of the reference is known to be one")
    with drift.file_of(fetched, spec, registry.training_file) as path:
        return baseline_of_file(path, replace(asked, output=asked.output or outputs[0]))


def _path(where: Home, spec: Spec, whose: Whose, asked: Asked) -> Path:
    """Another one where it would be made of something else."""
    limits = {name: value for name, value in asdict(asked).items() if name not in ("margin", "window")}
    made_of = json.dumps([spec.monitoring.reference.model_dump(mode="json"), whose.reference, limits])
    return (
        where.references / f"{whose.digest[:40]}-performance-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.json"
    )


def _keep(path: Path, document: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(path.parent):
        write_private(path, document)
