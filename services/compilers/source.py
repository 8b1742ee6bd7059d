"""What every compiler asks of a source model: its inputs as arguments, its outputs' names, its libraries."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import numpy as np

from lockgate.registry.words import SourceModel
from lockgate.services.serving.engines.feeds import feed
from lockgate.services.serving.schema import Schema


def schema(model: SourceModel) -> Schema:
    """Raises ValueError with a sentence when no API can be derived from the signature."""
    return Schema.of(model.fetched.signature["inputs"], tuple(model.fetched.example))


def tensors(model: SourceModel) -> list[dict[str, Any]]:
    """Each tensor an argument; columns become one float matrix, as MLflow feeds PyTorch models."""
    found = schema(model)
    if found.columns:
        return [feed(found.names, "float32", "matrix")]
    by_name = {f.name: f for f in found.fields}
    return [feed([name], by_name[name].dtype) for name in _order(model, found.names)]


def _order(model: SourceModel, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of `forward`'s parameters where a pickled module has them by the signature's names, else the signature's."""
    if model.storage != "pickle":
        return names
    try:
        first = tuple(inspect.signature(model.native.forward).parameters)[: len(names)]
    except (TypeError, ValueError):  # TorchScript
        return names
    return first if set(first) == set(names) else names


def outputs(model: SourceModel) -> list[dict[str, Any]]:
    """Names and row shapes of what the source answers: that decides."""
    answer = model.run(model.fetched.example)
    return [{"name": name, "row_shape": list(value.shape[1:])} for name, value in answer.items()]


def missing(modules: Iterable[str]) -> str | None:
    """One line naming the modules that are not installed, or None."""
    absent = [name for name in sorted(modules) if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed" if absent else None


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Installed distributions that provide these modules, as a bento pins them."""
    providers = packages_distributions()
    found = {}
    for module in sorted(modules):
        for name in sorted(set(providers.get(module, ()))):
            with contextlib.suppress(PackageNotFoundError):
                found[name] = version(name).partition("+")[0]
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn about their own deprecations and missing extras, which say nothing about the model."""
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
