"""A SavedModel as it was logged, called as its author's process would call it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import fingerprint, source
from ..engines.feeds import feed
from ..errors import Unsupported
from ..words import About, Device, Job, Model, Precision

FOLDER = "saved_model"


def needs(about: About) -> set[str]:  # noqa: ARG001 - each writer's form
    return {"tensorflow"}


def refuses(about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG001
    if precision != "fp32":
        return f"a SavedModel computes as it was traced; it has no {precision}"
    return "no NVIDIA GPU here" if device == "cuda" and not fingerprint.gpus() else None


def write(model: Model, job: Job, into: Path) -> dict[str, Any]:
    shutil.copytree(model.about.file, into / FOLDER)
    return manifest(model, job)


def manifest(model: Model, job: Job) -> dict[str, Any]:
    name, form, feeds = called(model)
    return {
        "engine": "savedmodel",
        "file": FOLDER,
        "device": job.device,
        "keras": True,  # an author's SavedModel may hold what only Keras registers
        "function": name,
        "form": form,
        "feeds": feeds,
        "outputs": [{"name": want["name"]} for want in source.outputs(model)],
        "packages": source.versions(["tensorflow"]),
    }


def called(model: Model) -> tuple[str, str, list[dict[str, Any]]]:
    """The function's name, how it takes its tensors (each, list, mapping, keywords), and what feeds each."""
    name, (args, keywords) = function(model.native)
    first = args[0] if args else None
    if keywords:
        return name, "keywords", _feeds(model, keywords)
    if isinstance(first, Mapping):
        return name, "mapping", _feeds(model, first)
    if isinstance(first, list | tuple):
        return name, "list", _feeds(model, {s.name: s for s in first})
    return name, "each", _feeds(model, {s.name: s for s in args if hasattr(s, "dtype")})


def function(native: Any) -> tuple[str, tuple[Any, Any]]:
    """`serve` of an exported Keras model, else the module itself, else its one signature; and its arguments."""
    for name in ("serve", "__call__"):
        functions = getattr(getattr(native, name, None), "concrete_functions", None)
        if functions:
            return name, functions[0].structured_input_signature
    if len(native.signatures) != 1:
        raise Unsupported("the SavedModel has neither a __call__ nor one signature")
    name, signature = next(iter(native.signatures.items()))
    return name, signature.structured_input_signature


def _feeds(model: Model, specs: Mapping[str, Any]) -> list[dict[str, Any]]:
    inputs = model.about.inputs
    names = [i.name for i in inputs]
    if inputs[0].column:
        spec = next(iter(specs.values()))
        return [feed(names, "float32", "matrix", next(iter(specs))) | {"shape": list(spec.shape[1:])}]
    order = list(specs) if set(specs) == set(names) else names
    return [_feed(name, to, spec) for name, (to, spec) in zip(order, specs.items(), strict=True)]


def _feed(name: str, to: str, spec: Any) -> dict[str, Any]:
    dtype = "object" if spec.dtype.name == "string" else spec.dtype.name
    return feed([name], dtype, to=to) | {"shape": list(spec.shape[1:])}
