"""A torch module as it was logged: an exported program (pt2), a pickle that its owner vouched for, or TorchScript."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .. import pickles, source
from ..engines.torch_script import silent
from ..words import About, Device, Job, Model, Precision
from . import torch_program, torch_refusals


def needs(about: About) -> set[str]:  # noqa: ARG001 - each writer's form
    return {"torch"}


def refuses(about: About, precision: Precision, device: Device) -> str | None:
    if precision == "int8":
        return "eager int8 is slower than fp32 (torchao quantises in Python at each call): use aotinductor"
    return torch_refusals.refusal(about, precision, device)


def write(model: Model, job: Job, into: Path) -> dict[str, Any]:
    feeds = source.tensors(model)
    manifest = {"engine": "torch", "feeds": feeds, "device": job.device, **store(model, into)}
    if job.precision != "fp32":
        _, manifest["lower"] = torch_program.lower(model, job, feeds)
    return manifest


def store(model: Model, into: Path) -> dict[str, Any]:
    """The source program under `into`, in the form that loads it again."""
    packages = needs(model.about)
    guarded = {}
    if model.about.storage == "pt2":
        storage, file = "pt2", "model.pt2"
        guarded = {"guarded": True} if source.free(model.about) else {}
        shutil.copyfile(model.about.file, into / file)
    elif torch_program.scripted(model):
        storage, file = "torchscript", "model.ts"
        with silent():
            model.native.save(str(into / file))
    else:
        storage, file = "pickle", "model.pkl"
        packages |= pickles.write(model, into / file)
    return {"storage": storage, "file": file, "packages": source.versions(packages), **guarded}
