"""What was found of each feature, as one decision about all and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.monitoring.drift.measure import LEAST_INDEPENDENT
from lockgate.monitoring.drift.profile import Profile
from lockgate.monitoring.drift.sentences import percent
from lockgate.monitoring.drift.words import LEAST_ROWS, Compared, Comparison, Window

_NAMED = 3
_MANY = 10
"""That are named, of those that could not be compared."""


def summary(
    features: tuple[Compared, ...], profile: Profile, window: Window, share: float, notes: Sequence[str]
) -> Comparison:
    """Only inputs count: what a model answers is a matter of the gates. `share`: from which on the whole drifts."""
    inputs = [of for of in features if of.role == "input"]
    every = [feature.name for feature in profile.features if feature.role == "input"]
    drifted = [of for of in inputs if of.drifts]
    severe = any(of.outcome == "severe" for of in drifted)
    found = len(drifted) / len(every) if every else 0.0
    drifting = severe or bool(drifted and found >= share)
    decided = [of for of in inputs if of.outcome != "undecided"]
    undecided = not drifting and _too_few(inputs, every, window)
    return Comparison(
        features,
        drifting=drifting,
        severe=severe,
        undecided=undecided,
        share=found,
        rows=window.rows,
        reference_rows=profile.rows,
        says=_no_verdict(inputs, profile, window) if undecided else _says(drifted, len(decided), len(every), share),
        notes=(*notes, *window.notes, *window.problems),
        since=window.since,
        until=window.until,
    )


def _too_few(inputs: Sequence[Compared], every: Sequence[str], window: Window) -> bool:
    """Whether fewer than half of the inputs were compared, but for those that hardly a row of the reference has."""
    decided = sum(of.outcome != "undecided" for of in inputs)
    rare = (window.rows * (1 - of.missing.reference) < LEAST_INDEPENDENT for of in inputs if of.outcome == "undecided")
    return not decided or 2 * decided < len(every) - sum(rare)


def _no_verdict(inputs: Sequence[Compared], profile: Profile, window: Window) -> str:
    return f"no verdict about drift: {_why(inputs, profile, window)}"


def _why(inputs: Sequence[Compared], profile: Profile, window: Window) -> str:
    if window.rows < LEAST_ROWS:
        return f"{window.rows} live rows so far, and it takes {LEAST_ROWS}"
    if profile.rows < LEAST_ROWS:
        return f"the reference has {profile.rows} rows, and it takes {LEAST_ROWS}"
    every = {feature.name: feature.column for feature in profile.features if feature.role == "input"}
    columns = [*dict.fromkeys(every.values())]
    if not set(columns) & set(window.inputs):
        live = _list([*window.inputs], _MANY)
        has = _list(columns, _MANY)
        return f"no live input is one of the reference's: live requests have {live}; the reference has {has}"
    if inputs and all(of.outcome == "undecided" for of in inputs):
        return inputs[0].says or "too few rows have a value"
    left = _list([name for name in every if name not in {of.name for of in inputs if of.outcome != "undecided"}], _MANY)
    if not inputs:
        return f"no live input is of the kind that it is in the reference: {left}"
    drifted, decided = [of for of in inputs if of.drifts], sum(of.outcome != "undecided" for of in inputs)
    return f"{_says(drifted, decided, len(every), 1.0)} ({left})"


def _says(drifted: Sequence[Compared], decided: int, every: int, share: float) -> str:
    """`decided`: how many of `every` input could be compared."""
    inputs = f"{decided} {'compared ' * (decided < every)}input{'s' * (decided != 1)}"
    rest = f"; {every - decided} could not be compared" if decided < every else ""
    if not drifted:
        return f"none of {inputs} drifts{rest}"
    worst = sorted(drifted, key=lambda of: (of.outcome != "severe", -(of.psi or 0.0), of.name))
    severe = sum(of.outcome == "severe" for of in worst)
    many = f"{len(worst)} of {inputs} drift{'s' * (len(worst) == 1)}: {_list([of.name for of in worst], _NAMED)}"
    if severe:
        return f"{many}; {severe} severely{rest}"
    if len(worst) / every >= share:
        return many + rest
    return f"{many}; the data as a whole does not, up to {percent(share)} of the inputs{rest}"


def _list(names: Sequence[str], most: int) -> str:
    return (", ".join(names[:most]) + (", ..." if len(names) > most else "")) or "none"
