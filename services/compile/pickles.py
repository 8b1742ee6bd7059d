"""Pickles for a bento. A class from the author's own files travels inside the pickle: the bento has no such file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from .words import Model

_OURS = {__name__.partition(".")[0], "builtins", "__main__"}


def write(model: Model, path: Path) -> set[str]:
    """Pickle the model that is in memory; returns the installed modules that unpickling needs."""
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    roots = {root for part in _parts(model) if (root := type(part).__module__.partition(".")[0])}
    installed = roots & set(packages_distributions())
    own = [type(part).__module__ for part in _parts(model) if type(part).__module__.partition(".")[0] not in installed]
    with _by_value(cloudpickle, {sys.modules[name] for name in own if name in sys.modules and name not in _OURS}):
        if model.about.flavour == "pytorch":
            import torch

            torch.save(model.native, path, pickle_module=cloudpickle)
        else:
            path.write_bytes(cloudpickle.dumps(model.native))
    return installed | {"cloudpickle"}


def _parts(model: Model) -> Iterator[Any]:
    """The model and what it is made of: submodules of a torch module, steps of a pipeline."""
    if model.about.flavour == "pytorch":
        yield from model.native.modules()
        return
    yield model.native
    if hasattr(model.native, "get_params"):
        yield from (v for v in model.native.get_params(deep=True).values() if hasattr(v, "get_params"))


@contextlib.contextmanager
def _by_value(cloudpickle: Any, modules: set[ModuleType]) -> Iterator[None]:
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
