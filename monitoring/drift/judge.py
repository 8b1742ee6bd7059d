"""Live rows against the reference: which inputs drift, and whether all together do.

An input drifts when its PSI, less what chance adds, is above the threshold, and it is proven. So it does when many
more (or fewer) of its values are missing, new, or outside all that the reference has, by more than `BURST` of the rows,
and proven. Proven means Benjamini and Hochberg's procedure over all tests of all features at `LEVEL`: not one window in
a thousand has a false flag, by chance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from lockgate.monitoring.drift import sentences
from lockgate.monitoring.drift.chance import proven
from lockgate.monitoring.drift.columns import Column, column
from lockgate.monitoring.drift.measure import Measured, measure
from lockgate.monitoring.drift.profile import Feature, Profile
from lockgate.monitoring.drift.summary import summary
from lockgate.monitoring.drift.words import LEAST_ROWS, Compared, Comparison, Outcome, Share, Window

LEVEL = 0.001
BURST = 0.05
SEVERE = 0.25
"""PSI, and share of the rows in a burst."""


def compare(
    profile: Profile, window: Window, threshold: float = 0.1, share: float = 0.3, ignore: Collection[str] = ()
) -> Comparison:
    """`threshold`: of PSI. `share`: of the inputs that must drift for the whole to drift; one severely is enough.

    `ignore`: inputs that move by themselves, like a weekday; a name, or that of one element (`x[3]`).
    Never raises over what the columns hold: what cannot be compared is in the notes.
    """
    profile = replace(profile, features=tuple(of for of in profile.features if not {of.name, of.column} & {*ignore}))
    notes = [*profile.notes, *(f"{name}: {why}" for name, why in profile.left_out.items())]
    notes += [f"{name}: it is ignored" for name in ignore] + list(_unknown(profile, window, ignore))
    measured = list(_measured(profile, window, notes))
    chances = [chance for found in measured for chance in found.chances]
    few = min(window.rows, profile.rows) < LEAST_ROWS
    accepted = iter([False] * len(chances) if few else proven(chances, LEVEL))
    judged = (_judged(found, [next(accepted) for _ in found.chances], threshold) for found in measured)
    features = tuple(replace(of, outcome="undecided") if few else of for of in judged)
    return summary(features, profile, window, share, notes)


def _unknown(profile: Profile, window: Window, ignore: Collection[str]) -> Iterator[str]:
    known = {feature.column for feature in profile.features if feature.role == "input"} | {*profile.left_out, *ignore}
    known |= {note.partition(": ")[0] for note in profile.notes}
    for name in window.inputs:
        if name not in known:
            yield f"{name}: the live requests have it and the reference does not; it is not compared"


def _measured(profile: Profile, window: Window, notes: list[str]) -> Iterator[Measured]:
    groups = None if window.groups is None else np.unique(window.groups, return_inverse=True)[1]
    for (role, name), features in groupby(profile.features, lambda of: (of.role, of.column)):
        columns: Mapping[str, Any] = window.inputs if role == "input" else window.outputs
        if name not in columns:
            if columns:
                notes.append(f"{name}: the reference has it and the live requests do not; it is not compared")
            continue
        found = column(columns[name])
        for feature in features:
            fitting = feature.fit(found)
            if fitting is None:
                notes.append(_unlike(feature, found))
                break
            odd = int(fitting.missing.sum() - found.missing.sum())
            if found.form == "label" and odd:
                notes.append(f"{name}: {odd:,} row{'s' * (odd != 1)} with text that is no number: it counts as missing")
            yield measure(feature, fitting, groups if groups is not None and len(groups) == fitting.rows else None)


def _unlike(feature: Feature, found: Column) -> str:
    size = feature.size or 1
    if found.form == "vector" and feature.size and found.values.shape[1] != size:
        return f"{feature.column}: has {found.values.shape[1]} elements, in the reference {size}; it is not compared"
    before = "vector" if feature.element is not None else feature.kind
    return (
        f"{feature.column}: came as {_FORMS[found.form]}, in the reference it is {_FORMS[before]}; it is not compared"
    )


_FORMS: Mapping[str, str] = {
    "number": "numbers",
    "label": "text",
    "category": "categories",
    "text": "text",
    "vector": "lists of numbers of one length",
    "ragged": "lists of numbers of many lengths",
    "time": "times",
    "nothing": "nothing but missing values",
    "odd": "something that is neither numbers, text nor times",
}


def _judged(found: Measured, accepted: Sequence[bool], threshold: float) -> Compared:
    far = [of for of, ok in zip(found.distances, accepted, strict=False) if ok and of.psi > threshold]
    bursts = [
        (burst, says)
        for share, ok, says in zip((found.new, found.outside, found.missing), _last(accepted), _SAYS, strict=True)
        if ok and (burst := _burst(share, both=says is sentences.of_missing)) > BURST
    ]
    reasons = [sentences.of_distance(found, far[0].aspect)] if far else []
    reasons += [says(found) for _, says in bursts]
    severe = any(of.psi > SEVERE for of in far) or any(burst > SEVERE for burst, _ in bursts)
    outcome: Outcome = "severe" if severe else "drifts" if reasons else "same"
    if not reasons and found.feature.aspects and not found.distances:
        outcome, reasons = "undecided", [_too_few(found)]
    about, says = found.feature, f"{found.feature.name}: {'; '.join(reasons)}" if reasons else ""
    more = (found.distances, found.new, found.outside, says)
    return Compared(about.name, about.role, about.kind, outcome, found.rows, found.missing, *more)


_SAYS = (sentences.of_new, sentences.of_outside, sentences.of_missing)


def _last(accepted: Sequence[bool]) -> tuple[bool, bool, bool]:
    missing, new, outside = accepted[-3:]
    return new, outside, missing


def _burst(share: Share | None, *, both: bool) -> float:
    """By what share of the rows more; or fewer, where `both` matter."""
    more = share.live - share.reference if share else 0.0
    return abs(more) if both else more


def _too_few(found: Measured) -> str:
    reference = found.feature.rows - found.feature.missing
    return f"{found.rows} rows with a value, {reference} in the reference: too few independent ones to tell"
