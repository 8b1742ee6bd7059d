"""Named arrays on disk, without pickles: strings are kept as JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .words import Array, Arrays


def save(path: Path, groups: Mapping[str, Arrays]) -> None:
    """Each group under its name; an empty group is kept too."""
    stored: dict[str, Array] = {}
    names: list[list[str]] = []
    for group, arrays in groups.items():
        for name, value in arrays.items():
            names.append([group, name, value.dtype.str if value.dtype != object else "object"])
            stored[f"x{len(names) - 1}"] = value if value.dtype != object else _text(value)
    about = json.dumps({"groups": list(groups), "names": names})
    np.savez(path, allow_pickle=False, about=np.array(about), **stored)


def load(path: Path) -> dict[str, Arrays]:
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        found: dict[str, Arrays] = {group: {} for group in about["groups"]}
        for i, (group, name, dtype) in enumerate(about["names"]):
            value = stored[f"x{i}"]
            found[group][name] = value if dtype != "object" else _objects(value)
    return found


def _text(value: Array) -> Array:
    return np.array([json.dumps(item, default=_plain) for item in value.flat], dtype=str).reshape(value.shape)


def _plain(item: object) -> object:
    """A number of numpy's stays one: as text it would differ from the same number."""
    return item.item() if isinstance(item, np.generic) else str(item)


def _objects(value: Array) -> Array:
    found = np.empty(value.shape, object)
    for i, item in enumerate(value.flat):
        found.flat[i] = json.loads(str(item))
    return found
