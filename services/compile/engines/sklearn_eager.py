"""scikit-learn as it was logged: skops with the types its owner trusts, or a pickle that its owner vouched for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..words import Arrays
from . import feeds, pools


class SklearnEngine:
    """`columns` of the manifest: the names of the frame that the model was fitted on; none for a matrix."""

    def __init__(self, estimator: Any, manifest: Mapping[str, Any]) -> None:
        self._estimator = estimator
        self._columns = manifest.get("columns")
        self._feeds = manifest["feeds"]
        self._outputs = manifest["outputs"]

    def run(self, x: Arrays) -> Arrays:
        rows = self._frame(x) if self._columns else feeds.take(self._feeds[0], x)
        return feeds.name_outputs(self._outputs, self._answers(rows))

    def _frame(self, x: Arrays) -> Any:
        import pandas as pd

        return pd.DataFrame({name: x[name] for name in self._columns or ()})

    def _answers(self, rows: Any) -> list[Any]:
        if [o["name"] for o in self._outputs] == ["label", "probabilities"]:
            return [self._estimator.predict(rows), self._estimator.predict_proba(rows)]
        return [self._estimator.predict(rows)]


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> SklearnEngine:
    """`threads` is OpenMP's, which scikit-learn's own kernels use."""
    with pools.limited(threads):
        return SklearnEngine(_estimator(folder / manifest["file"], manifest), manifest)


def _estimator(path: Path, manifest: Mapping[str, Any]) -> Any:
    if manifest["storage"] == "skops":
        import skops.io

        return skops.io.load(path, trusted=list(manifest["trusted"]))
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    # A pickle gets here only when the spec's `model.trust.pickle` let the registry load it.
    return cloudpickle.loads(path.read_bytes())
