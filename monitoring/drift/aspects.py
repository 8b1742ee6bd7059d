"""What of a feature is compared: its value, or several things about it where the value has too much in it.

Text: its length, its kind of characters, and one of its words. Vectors of many elements: mean, spread, length, and a
few projections on fixed random directions. A shift of a vector that none of these feels is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from lockgate.monitoring.drift.columns import Array, Column, number
from lockgate.monitoring.drift.labels import Labels, classes, hashed, labels_of
from lockgate.monitoring.drift.quantiles import Numbers, numbers

Kind = Literal["number", "category", "text", "vector", "ragged", "time", "nothing"]
CHARACTERS = ("none", "digits", "capitals", "latin letters", "other letters", "signs")
_WORDS = 32
PROJECTIONS = 8
_SEED = 5
_CHUNK = 2**22
"""Elements that are worked on at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Aspect:
    """One number or label of each row that has one. `rows`: which rows those are."""

    rows: Array
    values: Array
    labels: tuple[str, ...] | None = None

    def bins(self, kind: Kind, name: str) -> Numbers | Labels | None:
        if self.labels is None:
            return numbers(self.values)
        if kind == "category":
            return labels_of(self.values, self.labels)
        if name == "words":
            return hashed(self.values, self.labels, _WORDS)
        return classes(self.values, self.labels)


def aspects(kind: Kind, found: Column) -> dict[str, Aspect]:
    """By name. `found` has the form that belongs to the kind; nothing of a kind whose values are not compared."""
    with np.errstate(all="ignore"):
        return _OF[kind](found) if kind in _OF else {}


def missing(kind: Kind, found: Column) -> Array:
    """(rows,) whether a row has no value; of vectors of many elements, or many lengths, also where one is no number."""
    if kind == "vector":
        step = max(1, _CHUNK // found.values.shape[1])
        parts = (found.values[i : i + step] for i in range(0, found.rows, step))
        lacks = np.concatenate([~np.isfinite(of).all(axis=1) for of in parts] or [found.missing])
        return np.asarray(found.missing | lacks)
    if kind == "ragged":
        lacks = found.missing.copy()
        lacks[~found.missing] = [not np.isfinite(vector).all() for vector in found.vectors]
        return lacks
    return found.missing


def _number(found: Column) -> dict[str, Aspect]:
    rows = np.flatnonzero(~found.missing)
    return {"value": Aspect(rows, found.values[rows])}


def _category(found: Column) -> dict[str, Aspect]:
    rows = np.flatnonzero(~found.missing)
    return {"value": Aspect(rows, found.values[rows], found.labels)}


def _text(found: Column) -> dict[str, Aspect]:
    rows = np.flatnonzero(~found.missing)
    codes = found.values[rows]
    words = [_word(label) for label in found.labels]
    known = tuple(dict.fromkeys(words))
    places = {word: i for i, word in enumerate(known)}
    lengths = np.array([len(label) for label in found.labels], np.float32)
    characters = np.array([CHARACTERS.index(_characters(label)) for label in found.labels], np.int64)
    return {
        "length": Aspect(rows, lengths[codes]),
        "characters": Aspect(rows, characters[codes], CHARACTERS),
        "words": Aspect(rows, np.array([places[word] for word in words], np.int64)[codes], known),
    }


def _word(label: str) -> str:
    """One of its words, always the same: counts of all words would not be those of independent rows."""
    words = label.split()
    return words[crc32(label.encode()) % len(words)].casefold() if words else ""


def _characters(label: str) -> str:
    """What most of its characters are."""
    plain = "".join(label[:200].split())
    if not plain:
        return "none"
    letters = sum(map(str.isalpha, plain))
    if 2 * sum(map(str.isdigit, plain)) > len(plain):
        return "digits"
    if 2 * letters <= len(plain):
        return "signs"
    if 2 * sum(map(str.isascii, plain)) <= len(plain):
        return "other letters"
    return "capitals" if plain.isupper() else "latin letters"


def _vector(found: Column) -> dict[str, Aspect]:
    of = np.arange(len(found.values))
    step = max(1, _CHUNK // found.values.shape[1])
    directions = _directions(found.values.shape[1])
    measured = np.concatenate([_of_rows(found.values[i : i + step], directions) for i in of[::step]] or [_NONE])
    whole = np.flatnonzero(np.isfinite(measured).all(axis=1))
    names = ("mean", "spread", "length", *(f"direction {i + 1}" for i in range(PROJECTIONS)))
    return {name: Aspect(whole, measured[whole, i]) for i, name in enumerate(names)}


_NONE = np.zeros((0, 3 + PROJECTIONS), np.float32)


def _of_rows(values: Array, directions: Array) -> Array:
    plain = values.astype(np.float64)
    about = (plain.mean(axis=1), plain.std(axis=1), np.sqrt((plain**2).sum(axis=1)))
    return np.column_stack([*about, plain @ directions]).astype(np.float32)


def _directions(size: int) -> Array:
    """(size, PROJECTIONS) of +-1 / sqrt(size), the same on every machine: raw bits are, random floats may not be."""
    bits = np.random.PCG64(_SEED).random_raw(size)
    signs = (bits[:, None] >> np.arange(PROJECTIONS, dtype=np.uint64)) & np.uint64(1)
    return np.asarray((2 * signs.astype(np.float64) - 1) / np.sqrt(size))


def _ragged(found: Column) -> dict[str, Aspect]:
    rows = np.flatnonzero(~found.missing)
    sizes = np.array([len(vector) for vector in found.vectors], np.float32)
    means = number(np.array([vector.mean() if len(vector) else np.nan for vector in found.vectors]))
    spreads = number(np.array([vector.std() if len(vector) else np.nan for vector in found.vectors]))
    return {
        "elements": Aspect(rows, sizes),
        "mean": Aspect(rows[~means.missing], means.values[~means.missing]),
        "spread": Aspect(rows[~spreads.missing], spreads.values[~spreads.missing]),
    }


_OF: Mapping[Kind, Callable[[Column], dict[str, Aspect]]] = {
    "number": _number,
    "category": _category,
    "text": _text,
    "vector": _vector,
    "ragged": _ragged,
}
