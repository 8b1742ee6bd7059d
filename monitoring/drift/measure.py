"""One feature of the reference against live rows: every distance and share, and nothing decided yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lockgate.monitoring.drift.aspects import Aspect, aspects, missing
from lockgate.monitoring.drift.chance import two_shares
from lockgate.monitoring.drift.columns import Array, Column
from lockgate.monitoring.drift.distance import apart, design_effect
from lockgate.monitoring.drift.labels import Labels
from lockgate.monitoring.drift.profile import Bins, Feature
from lockgate.monitoring.drift.quantiles import SEVERAL, Numbers
from lockgate.monitoring.drift.words import Distance, Share

LEAST_INDEPENDENT = 100
"""Independent rows with a value; with fewer, distances say nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """`live`: what the distances are of, for the sentences about them, and the `groups` of all rows."""

    feature: Feature
    rows: int
    missing: Share
    distances: tuple[Distance, ...] = ()
    new: Share | None = None
    outside: Share | None = None
    live: Mapping[str, Aspect] = field(default_factory=dict)
    groups: Array | None = None

    @property
    def chances(self) -> tuple[float, ...]:
        """Of every test: of the distances, of the missing, of the new, of what lies outside."""
        shares = [share.chance if share else 1.0 for share in (self.missing, self.new, self.outside)]
        return (*(distance.chance for distance in self.distances), *shares)

    def several(self, aspect: Aspect, which: Array) -> bool:
        """Whether some of an aspect's rows come from so many requests, or users, that they are no single person's."""
        if self.groups is None:
            return bool(np.count_nonzero(which) >= SEVERAL)
        return len(np.unique(self.groups[aspect.rows[which]])) >= SEVERAL


def measure(feature: Feature, found: Column, groups: Array | None) -> Measured:
    """`found` in the feature's form; `groups` (rows,) or None."""
    lacks = missing(feature.kind, found)
    present = found.rows - int(lacks.sum())
    live = {name: aspect for name, aspect in aspects(feature.kind, found).items() if name in feature.aspects}
    distances = (_distance(name, aspect, feature.aspects[name], groups) for name, aspect in live.items())
    value, bins = live.get("value"), feature.aspects.get("value")
    return Measured(
        feature,
        present,
        _share(lacks, groups, feature.missing, feature.rows),
        tuple(sorted((of for of in distances if of), key=lambda of: -of.psi)),
        _new(value, bins, groups) if value and isinstance(bins, Labels) and bins.closed else None,
        _outside(value, bins, groups) if value and isinstance(bins, Numbers) else None,
        live,
        groups,
    )


def _distance(name: str, aspect: Aspect, bins: Bins, groups: Array | None) -> Distance | None:
    """None where there are too few rows, live or in the reference."""
    places, counts = _places(aspect, bins), np.array(bins.counts)
    group = None if groups is None else groups[aspect.rows]
    if name == "value":  # what the reference has none of has tests of its own: a logarithm of nothing says little
        seen = (counts > 0)[places]
        places, group = places[seen], None if group is None else group[seen]
    effect = design_effect(places, group)
    if min(len(places) / effect, counts.sum()) < LEAST_INDEPENDENT:
        return None
    found = apart(np.bincount(places, minlength=len(counts)), counts, effect)
    return Distance(name, found.psi, found.raw, found.chance, len(places), effect)


def _places(aspect: Aspect, bins: Bins) -> Array:
    if isinstance(bins, Numbers):
        return bins.place(aspect.values)
    return bins.place(aspect.values, aspect.labels or ())


def _new(value: Aspect, bins: Labels, groups: Array | None) -> Share:
    """A label that one row of the reference has is new to all its other rows: so often are labels new by themselves."""
    new = bins.unknown(value.labels or ())[value.values] if value.labels else np.zeros(len(value.values), bool)
    return _share(new, None if groups is None else groups[value.rows], bins.once, sum(bins.counts))


def _outside(value: Aspect, bins: Numbers, groups: Array | None) -> Share:
    """The least and the most of the reference lie outside what all its other rows have."""
    beyond = bins.outside(value.values)
    rows = sum(bins.counts)
    share = _share(beyond, None if groups is None else groups[value.rows], min(rows, bins.infinite + 2), rows)
    return Share(share.live, bins.infinite / rows, share.chance)


def _share(has: Array, groups: Array | None, others: int, of_others: int) -> Share:
    if not len(has) or not of_others:
        return Share(0.0, others / of_others if of_others else 0.0)
    effect = design_effect(has.astype(np.int64), groups)
    some, of = int(has.sum() / effect), int(len(has) / effect)
    return Share(float(has.mean()), others / of_others, two_shares(some, of, others, of_others))
