"""XGBoost or LightGBM on a matrix of floats, where NaN is a missing value; without pandas and scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..words import Array, Arrays
from . import feeds

Score = Callable[[Array], Array]


class BoostedEngine:
    """`classes` of the manifest: a classifier's labels in the order of its probabilities; None where scores answer."""

    def __init__(self, score: Score, manifest: Mapping[str, Any]) -> None:
        self._score = score
        self._feed = manifest["feeds"][0]
        self._outputs = manifest["outputs"]
        self._classes = None if manifest["classes"] is None else np.asarray(manifest["classes"])

    def run(self, x: Arrays) -> Arrays:
        return feeds.name_outputs(self._outputs, self._answers(self._score(feeds.take(self._feed, x))))

    def _answers(self, scores: Array) -> list[Array]:
        if self._classes is None:
            return [scores]
        if scores.ndim == 1:  # of two classes only the second's is told
            scores = np.stack([1 - scores, scores], axis=1)
        return [self._classes[np.argmax(scores, axis=1)], scores]


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> BoostedEngine:
    path = folder / manifest["file"]
    score = _lightgbm(path, threads) if manifest["library"] == "lightgbm" else _xgboost(path, manifest, threads)
    return BoostedEngine(score, manifest)


def _lightgbm(path: Path, threads: int | None) -> Score:
    import lightgbm

    booster = lightgbm.Booster(model_file=path)
    options: dict[str, Any] = {} if threads is None else {"num_threads": threads}
    return lambda rows: np.asarray(booster.predict(rows, **options))


def _xgboost(path: Path, manifest: Mapping[str, Any], threads: int | None) -> Score:
    """A device that XGBoost silently replaces by the CPU is an error."""
    import xgboost

    booster = xgboost.Booster({} if threads is None else {"nthread": threads}, model_file=path)
    booster.set_param({"device": manifest["device"]})
    config = json.loads(booster.save_config())["learner"]
    found = config["generic_param"]["device"]
    if not found.startswith(manifest["device"]):
        raise RuntimeError(f"XGBoost fell back from {manifest['device']} to {found}")
    if manifest["device"] == "cpu" and config["gradient_booster"]["name"] != "gblinear":
        return lambda rows: np.asarray(booster.inplace_predict(rows, validate_features=False))
    options = {} if threads is None else {"nthread": threads}
    return lambda rows: np.asarray(booster.predict(xgboost.DMatrix(rows, **options), validate_features=False))
