"""A torch module as it was logged: an exported program (pt2), or a pickle that its owner vouched for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .. import pickles, source
from ..words import About, Device, Job, Model, Precision


def needs(about: About) -> set[str]:  # noqa: ARG001 - each writer's form
    return {"torch"}


def refuses(about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG001
    if device != "cpu" or precision != "fp32":
        return "not there yet"
    return None


def write(model: Model, job: Job, into: Path) -> dict[str, Any]:  # noqa: ARG001
    packages = needs(model.about)
    if model.about.storage == "pt2":
        shutil.copyfile(model.about.file, into / "model.pt2")
    else:
        packages |= pickles.write(model, into / "model.pkl")
    return {
        "engine": "torch",
        "storage": model.about.storage,
        "file": "model.pt2" if model.about.storage == "pt2" else "model.pkl",
        "feeds": source.tensors(model),
        "packages": source.versions(packages),
    }
