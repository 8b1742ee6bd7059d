"""A SavedModel: a graph with its weights, without Python code. With `buckets`, XLA compiles it for each of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..words import Arrays
from . import tf as setup


class SavedModelEngine:
    """`function` takes its tensors as the manifest's `form` says: each, a list, a mapping or keywords."""

    def __init__(self, tf: Any, function: Any, manifest: Mapping[str, Any]) -> None:
        self._tf, self._function, self._manifest = tf, function, manifest
        self._form, self._names = manifest["form"], [fed["to"] for fed in manifest["feeds"]]

    def run(self, x: Arrays) -> Arrays:
        return setup.named(self._manifest, self.call(setup.tensors(self._tf, self._manifest, x)))

    def call(self, values: list[Any]) -> Any:
        if self._form == "each":
            return self._function(*values)
        if self._form == "list":
            return self._function(values)
        by_name = dict(zip(self._names, values, strict=True))
        return self._function(by_name) if self._form == "mapping" else self._function(**by_name)


class BucketEngine:
    """XLA compiles for one shape at a time: each batch is filled up to the next bucket, and its answer cut."""

    def __init__(self, engine: SavedModelEngine, buckets: list[int]) -> None:
        self._engine, self._buckets = engine, buckets

    def run(self, x: Arrays) -> Arrays:
        rows, largest = len(next(iter(x.values()))), self._buckets[-1]
        parts = [self._padded({k: v[i : i + largest] for k, v in x.items()}) for i in range(0, rows, largest)]
        return parts[0] if len(parts) == 1 else {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    def _padded(self, x: Arrays) -> Arrays:
        rows = len(next(iter(x.values())))
        bucket = self._buckets[bisect_left(self._buckets, rows)]
        if rows == bucket:
            return self._engine.run(x)
        filled = {k: np.concatenate([v, np.repeat(v[-1:], bucket - rows, axis=0)]) for k, v in x.items()}
        return {k: v[:rows] for k, v in self._engine.run(filled).items()}

    def warm(self, x: Arrays) -> None:
        """`x` is one row: compile for every bucket now, not at somebody's request."""
        for bucket in self._buckets:
            self._engine.run({k: np.repeat(v, bucket, axis=0) for k, v in x.items()})


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> SavedModelEngine | BucketEngine:
    tf = setup.start(manifest, threads, keras=manifest.get("keras", False))
    loaded = tf.saved_model.load(str(folder / manifest["file"]))
    engine = SavedModelEngine(tf, _function(loaded, manifest["function"]), manifest)
    if not manifest.get("buckets"):
        return engine
    if not loaded.serve.concrete_functions[0].function_def.attr["_XlaMustCompile"].b:
        raise RuntimeError("the SavedModel's function is not marked for XLA, so TensorFlow would run it without")
    compiled = BucketEngine(engine, list(manifest["buckets"]))
    compiled.warm(_one_row(manifest))
    return compiled


def _function(loaded: Any, name: str) -> Any:
    """A single concrete function is called directly: that saves 0.1 ms of looking for the one that fits."""
    if name in loaded.signatures and not hasattr(loaded, name):
        return setup.Kept(loaded.signatures[name], loaded)
    found = getattr(loaded, name)
    functions = found.concrete_functions
    return setup.Kept(functions[0] if len(functions) == 1 else found, loaded)


def _one_row(manifest: Mapping[str, Any]) -> Arrays:
    """Zeros; columns of a matrix are single values."""
    found: Arrays = {}
    for fed in manifest["feeds"]:
        shape = fed["shape"] if fed["layout"] == "tensor" else ()
        found |= {name: np.zeros((1, *shape), fed["dtype"]) for name in fed["of"]}
    return found
