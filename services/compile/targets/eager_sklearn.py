"""A scikit-learn estimator: skops with the types that its owner trusts, or a pickle that they vouched for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .. import pickles, source
from ..engines.feeds import feed
from ..words import About, Device, Job, Model, Precision


def needs(about: About) -> set[str]:
    found = {"sklearn", "threadpoolctl", "skops" if about.storage == "skops" else "cloudpickle"}
    return found | ({"pandas"} if about.inputs[0].column else set())


def refuses(about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG001
    if device != "cpu":
        return "scikit-learn runs on the CPU only"
    return None if precision == "fp32" else f"scikit-learn has no {precision}; it computes as it was fitted"


def write(model: Model, job: Job, into: Path) -> dict[str, Any]:  # noqa: ARG001
    about, packages = model.about, needs(model.about)
    manifest: dict[str, Any] = {"engine": "sklearn", "storage": about.storage, "feeds": []}
    if about.storage == "skops":
        import skops.io

        manifest["file"] = "model.skops"
        shutil.copyfile(about.file, into / "model.skops")
        # The registry loaded this file, so its owner trusts every type in it.
        manifest["trusted"] = skops.io.get_untrusted_types(file=about.file)
    else:
        manifest["file"] = "model.pkl"
        packages |= pickles.write(model, into / "model.pkl")
    manifest["columns"] = [i.name for i in about.inputs] if about.inputs[0].column else None
    if not manifest["columns"]:
        manifest["feeds"] = [feed([i.name], i.dtype) for i in about.inputs]
    return manifest | {"packages": source.versions(packages)}
