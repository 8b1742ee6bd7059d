"""What a rollout's looks have proven so far, as a value that is stored as JSON: no infinity, no NaN, no loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from lockgate.rollout.analysis.words import Run

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kept:
    """A kind's state by the names of its fields; arrays are flat."""

    numbers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one rollout. `Analysis` makes it and reads it."""

    step: int | None = None
    """The one of the last look; None before the first."""
    looks: int = 0
    requests: int = 0
    """What the candidate answered in this step."""
    failed: bool = False
    """A gate has failed. Whatever comes later changes nothing."""
    kept: Mapping[str, Kept] = field(default_factory=dict)
    """By the names of the gates that share a state."""
    blind: Mapping[str, str] = field(default_factory=dict)
    """Gates whose source says nothing, by name, and why."""
    others: Mapping[str, Evidence] = field(default_factory=dict)
    """Of the challengers beside the candidate, by name."""
    run: Run = field(default_factory=Run)
    """Of failures, as the last look had it; one that is an outage stays."""


def keep(state: Any) -> Kept:
    """A state of one rollout: dataclasses of arrays whose first axis is 1, and of tuples of words."""
    numbers: dict[str, tuple[float, ...]] = {}
    words: dict[str, tuple[str, ...]] = {}
    _take(state, "", numbers, words)
    return Kept(numbers, words)


def kept_state(like: T, kept: Kept) -> T:
    """The state, in the shape of `like`. An array that is empty in `like` has as many columns as were kept."""
    return _give(like, "", kept)  # type: ignore[no-any-return]


def _take(state: Any, at: str, numbers: dict[str, tuple[float, ...]], words: dict[str, tuple[str, ...]]) -> None:
    for each in fields(state):
        value, name = getattr(state, each.name), at + each.name
        if is_dataclass(value):
            _take(value, name + ".", numbers, words)
        elif isinstance(value, tuple):
            words[name] = value
        else:
            numbers[name] = tuple(np.asarray(value, dtype=np.float64).ravel().tolist())


def _give(like: Any, at: str, kept: Kept) -> Any:
    found = {}
    for each in fields(like):
        value, name = getattr(like, each.name), at + each.name
        if is_dataclass(value):
            found[each.name] = _give(value, name + ".", kept)
        elif isinstance(value, tuple):
            found[each.name] = kept.words[name]
        else:
            array = np.array(kept.numbers[name], dtype=np.float64)
            found[each.name] = array.reshape(value.shape if value.size else (1, -1))
    return type(like)(**found)
