"""Linear models. Each opening is written down in the file that TOYS_LOG names."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.services.compile.words import About, Arrays, Input, Model

WEIGHTS = np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 0.25]])


def about(name: str = "linear") -> About:
    x = np.random.default_rng(5).normal(size=(8, 3))
    inputs = (Input("x", "float64", (-1, 3), column=False),)
    return About(f"{name} version 1", f"digest of {name}", "toy", "", Path(name), inputs, {"x": x})


def linear(name: str = "linear") -> Model:
    note("opened")
    return Model(about(name), WEIGHTS, answer)


def answer(x: Arrays) -> Arrays:
    scores = x["x"] @ WEIGHTS
    return {"scores": scores, "total": scores.sum(axis=1), "first": x["x"][:, 0] * 3 + 7}


def neighbours(name: str = "neighbours") -> Model:
    """A row's answer depends on the rows beside it."""
    return Model(about(name), None, lambda x: {"y": x["x"][:, 0] - x["x"].mean()})


def unopenable() -> Model:
    raise KeyError("the file is not there")


def note(line: str) -> None:
    if path := os.environ.get("TOYS_LOG"):
        with Path(path).open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")


def opener(name: str = "linear") -> Any:
    return partial(linear, name)
