"""Trees of XGBoost or LightGBM in the library's own file, which holds no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import source
from ..engines.feeds import feed
from ..fingerprint import gpus
from ..words import About, Device, Job, Model, Precision

_FILES = {"xgboost": "model.ubj", "lightgbm": "model.txt"}
_DTYPES = {"xgboost": "float32", "lightgbm": "float64"}
"""What each compares with its thresholds."""


def needs(about: About) -> set[str]:
    return {about.flavour}


def refuses(about: About, precision: Precision, device: Device) -> str | None:
    if precision != "fp32":
        return f"{about.flavour} compares {_DTYPES[about.flavour]} values with its thresholds, whatever the precision"
    if device == "cpu":
        return None
    if about.flavour == "lightgbm":
        return "lightgbm predicts on the CPU only"
    if not gpus():
        return "no NVIDIA GPU here"
    if "xgboost-cpu" in source.versions(needs(about)):
        return "xgboost-cpu is built without CUDA; install xgboost"
    return None


def write(model: Model, job: Job, into: Path) -> dict[str, Any]:
    library = model.about.flavour
    booster(model).save_model(into / _FILES[library])
    return {
        "engine": "boosted",
        "library": library,
        "file": _FILES[library],
        "device": job.device,
        "classes": classes(model),
        "feeds": [rows(model, _DTYPES[library])],
        "packages": source.versions(needs(model.about)),
    }


def booster(model: Model) -> Any:
    """What the source answers with: no trees after the best iteration, and softmax's probabilities, not its label."""
    native = model.native
    if hasattr(native, "booster_"):  # of a LightGBM estimator
        return native.booster_
    if not hasattr(native, "get_booster"):
        return native
    found = native.get_booster()
    if "best_iteration" in found.attributes() and native.booster != "gblinear":
        found = found[: native.best_iteration + 1]
    if classes(model) is not None and native.objective == "multi:softmax":
        found = found.copy()
        found.set_param({"objective": "multi:softprob"})
    return found


def classes(model: Model) -> list[Any] | None:
    """A classifier's labels in the order of its probabilities; None where the scores are the answer."""
    found = getattr(model.native, "classes_", None)  # which XGBoost's other estimators lack
    return None if found is None else list(found.tolist())


def names(model: Model) -> list[str]:
    """The columns as the trees count them: by the names that the trees know, else in the signature's order."""
    inputs = [i.name for i in model.about.inputs]
    native = booster(model)
    known = (native.feature_names or []) if model.about.flavour == "xgboost" else native.feature_name()
    return list(known) if set(known) == set(inputs) else inputs


def rows(model: Model, dtype: str, to: str = "") -> dict[str, Any]:
    """The one argument: a matrix with a column per feature."""
    if model.about.inputs[0].column:
        return feed(names(model), dtype, "matrix", to)
    return feed([model.about.inputs[0].name], dtype, to=to)


def learner(native: Any) -> Any:
    """XGBoost's own account of a booster: its objective, what its trees are, how many outputs it has."""
    return json.loads(native.save_config())["learner"]
