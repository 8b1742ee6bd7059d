"""The reference as a value: how each input (and prediction, where it has them) was distributed in training rows.

It is made once, kept as JSON, and holds counts: no row of the training data. Names of frequent labels are in it, and
short digests of rare ones; of numbers five quantiles, and the least and the greatest rounded outward; of an input that
is redacted there is nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, TypeAdapter, ValidationError

from lockgate.monitoring.drift.aspects import Kind, aspects, missing
from lockgate.monitoring.drift.columns import TRUTHS, Column, as_label, as_number, column
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.labels import MOST_KNOWN, Labels
from lockgate.monitoring.drift.quantiles import SHOWN, Numbers

Role = Literal["input", "output"]
MOST_ELEMENTS = 64
"""A vector's elements are features of their own up to so many; of a longer one a few things are compared."""

Bins = Annotated[Numbers | Labels, Discriminator("of")]


@dataclass(frozen=True, slots=True)
class Feature:
    """What is compared by itself: a column, or one element of a column of short vectors (`x[3]`).

    `missing`: of `rows`. `size`: elements of the column's vectors. `aspects`: by name; none where only the missing
    ones are counted.
    """

    name: str
    column: str
    role: Role
    kind: Kind
    rows: int
    missing: int
    aspects: Mapping[str, Bins]
    element: int | None = None
    size: int = 0

    def fit(self, found: Column) -> Column | None:
        """A live column in this feature's form; None where it has values of another type."""
        if self.element is not None:
            return (
                found.element(self.element) if (found.form, found.values.shape[-1]) == ("vector", self.size) else None
            )
        if self.kind == "number":
            return as_number(found)
        if self.kind == "category":
            return self._truths(as_label(found))
        if self.kind == "text":
            return as_label(found)
        fits = found.form == self.kind and (self.kind != "vector" or found.values.shape[1] == self.size)
        return found if fits or self.kind == "nothing" else None

    def _truths(self, found: Column | None) -> Column | None:
        """0 and 1 in place of truth values, which is how some clients send them."""
        bins = self.aspects.get("value")
        if found is None or not isinstance(bins, Labels) or not set(bins.names) <= set(TRUTHS):
            return found
        plain = tuple({"0": TRUTHS[0], "1": TRUTHS[1]}.get(label, label) for label in found.labels)
        return Column("label", found.missing, found.values, plain)


@dataclass(frozen=True, slots=True)
class Profile:
    """`left_out`: columns of which nothing is compared, and why: sentences. `source`: where the rows came from.

    `notes`: sentences about how the rows were read.
    """

    features: tuple[Feature, ...]
    rows: int
    left_out: Mapping[str, str]
    source: str = ""
    notes: tuple[str, ...] = ()
    format: Literal[2] = 2

    def to_json(self) -> bytes:
        return _PROFILE.dump_json(self)

    @classmethod
    def of_json(cls, found: bytes | str) -> Profile:
        """Raises `NoReference`."""
        says = "it is no profile that this version of Lockgate can read"
        try:
            profile = _PROFILE.validate_json(found)
        except ValidationError as reason:
            first = reason.errors()[0]
            at = ".".join(map(str, first["loc"])) or "its text"
            raise NoReference(f"{says}: {at}: {first['msg']}") from None
        for feature in profile.features:
            if not all(_whole(bins) for bins in feature.aspects.values()):
                raise NoReference(f"{says}: the counts of {feature.name} are not those of its bins")
        return profile


def _whole(bins: Numbers | Labels) -> bool:
    if isinstance(bins, Labels):
        return len(bins.counts) == len(bins.names) + bins.pooled and bins.pooled > 0
    return len(bins.counts) == len(bins.edges) + 1 and len(bins.quantiles) == len(SHOWN)


_PROFILE: TypeAdapter[Profile] = TypeAdapter(Profile)


def profile_of(
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any] | None = None,
    redact: Collection[str] = (),
    source: str = "",
    elements: Mapping[str, Sequence[str]] | None = None,
) -> Profile:
    """Of columns of training rows: numpy (rows, ...), Arrow, pandas, torch or lists, by the name of the input.

    `outputs`: the model's predictions for these rows, likewise. `redact`: inputs of which nothing may be kept.
    `elements`: what the elements of an input are called, where it is rows of numbers; by their places otherwise.
    """
    features: list[Feature] = []
    left_out = dict.fromkeys((name for name in inputs if name in redact), "it is redacted: nothing of it is kept")
    rows = 0
    for role, columns in _roles(inputs, outputs or {}):
        for name, values in columns.items():
            if name in redact and role == "input":
                continue
            found = column(values)
            rows = max(rows, found.rows)
            if found.form == "odd":
                left_out[name] = "its values are neither numbers, truth values, texts, times nor lists of numbers"
            else:
                features += _features(name, role, found, (elements or {}).get(name, ()))
    return Profile(tuple(features), rows, left_out, source)


def _roles(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[tuple[Role, Mapping[str, Any]], ...]:
    return ("input", inputs), ("output", outputs)


def _features(name: str, role: Role, found: Column, called: Sequence[str]) -> list[Feature]:
    size = found.values.shape[1] if found.form == "vector" else 0
    if not 0 < size <= MOST_ELEMENTS:
        return [_feature(Feature(name, name, role, _kind(found), found.rows, 0, {}, size=size), found)]
    known = called if len(called) == size else range(size)
    names = [f"{name}[{of}]" for of in known] if size > 1 else [name]
    bare = [Feature(of, name, role, "number", found.rows, 0, {}, i, size) for i, of in enumerate(names)]
    return [_feature(feature, found.element(i)) for i, feature in enumerate(bare)]


def _feature(bare: Feature, found: Column) -> Feature:
    made = {at: aspect.bins(bare.kind, at) for at, aspect in aspects(bare.kind, found).items()}
    bins = {at: of for at, of in made.items() if of is not None}
    return replace(bare, missing=int(missing(bare.kind, found).sum()), aspects=bins)


def _kind(found: Column) -> Kind:
    if found.form == "label":
        there = found.values[~found.missing]
        return "category" if len(np.unique(there)) <= min(MOST_KNOWN, max(2, len(there) // 2)) else "text"
    kinds: Mapping[str, Kind] = {
        "number": "number",
        "vector": "vector",
        "ragged": "ragged",
        "time": "time",
        "nothing": "nothing",
    }
    return kinds[found.form]
