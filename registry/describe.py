"""What `lockgate init` writes a spec from: what a registered model is, and what loading it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import source_boosted, source_keras, source_pyfunc, source_tensorflow
from .checked import inside, mlmodel, options
from .naming import Input, inputs
from .spec import Trust
from .words import FetchedModel, Flavour, ModelVersion, Registry


class Listing(Registry, Protocol):
    """A registry that also says which versions there are."""

    def versions(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """Every version of a model, newest first, with its aliases."""


@dataclass(frozen=True, slots=True)
class Description:
    """`needs` is the `model.trust` without which the version does not load; its default where nothing is asked for."""

    version: ModelVersion
    versions: Mapping[str, tuple[str, ...]]
    flavour: Flavour
    storage: str
    inputs: tuple[Input, ...]
    rows: int
    needs: Trust


def describe(registry: Listing, name: str, reference: str) -> Description:
    """Fetch a version and look at its files, without loading it. Raises what `resolve` and `fetch` raise."""
    fetched = registry.fetch(registry.resolve(name, reference))
    storage, needs = _storage(fetched)
    return Description(
        version=fetched.version,
        versions=registry.versions(name),
        flavour=fetched.flavour,
        storage=storage,
        inputs=inputs(fetched.signature),
        rows=len(next(iter(fetched.example.values()))),
        needs=needs,
    )


def _storage(fetched: FetchedModel) -> tuple[str, Trust]:
    flavour = options(mlmodel(fetched.path), fetched.flavour)
    if fetched.flavour == "onnx":
        return "onnx", Trust()
    if fetched.flavour == "pytorch":
        pickled = (Path(fetched.path) / flavour.get("model_data", "data") / "model.pth").is_file()
        return ("pickle", Trust(pickle=True)) if pickled else ("pt2", Trust(pickle=bool(flavour.get("code"))))
    if fetched.flavour == "keras":
        return source_keras.storage(fetched.path, flavour)
    if fetched.flavour == "tensorflow":
        return source_tensorflow.storage(fetched.path, flavour)
    if fetched.flavour in ("xgboost", "lightgbm"):
        return source_boosted.storage(fetched.path, fetched.flavour, flavour)
    if fetched.flavour == "pyfunc":
        return source_pyfunc.storage(flavour)
    storage = flavour.get("serialization_format", "pickle")
    if storage != "skops":
        return storage, Trust(pickle=True)
    from .source_sklearn import unknown_types

    return storage, Trust(types=unknown_types(inside(fetched.path, flavour.get("pickled_model", "model.skops"))))
