"""Whether a version answers worse than it once did, by the labels that came.

It does when two things hold. It is *proven* that its losses have grown beyond the baseline: the e-detector of
`evidence` has reached the window over `LEVEL`. A baseline that was found in the rows of a reference is taken at the
worst that these rows leave room for, or its own error would be called the version's. So while a version is no worse
than the baseline, one window in a hundred is called worse, at the most; and however often anybody looks, there are on
average a hundred windows of labels or more between two such calls. And the change is *large*: since it began, the
measure is worse than the limit, which is the baseline with its margin.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lockgate.monitoring.drift.age import moment
from lockgate.monitoring.drift.sentences import percent
from lockgate.monitoring.performance import losses as of_losses
from lockgate.monitoring.performance.evidence import Evidence, evidence
from lockgate.monitoring.performance.words import LEAST, Asked, Baseline, Labelled, Performance

LEVEL = 0.01
_FEWEST = 100
"""Labelled requests since it began: of fewer the measure says too little."""
_PARTIAL = 0.5
"""With a smaller share of the requests labelled, it is said that these may not be like the others."""
_UNITS = (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))


def judge(asked: Asked, found: Labelled, baseline: Baseline) -> Performance:
    """Fewer than `LEAST` labelled requests decide nothing."""
    n = len(found.losses)
    if n < LEAST:
        return undecided(asked, found.why or f"{n} labelled requests so far, and it takes {LEAST}", found)
    claim = of_losses.loss(asked.measure, baseline.doubtless)
    proof = evidence(found.losses, claim, of_losses.counts_whole(asked.measure))
    limit = of_losses.limit(asked.measure, baseline.value, asked.margin)
    begins = min(proof.begins, n - _FEWEST)
    recent = of_losses.value(asked.measure, found.losses[begins:])
    needed = float(np.log(asked.window / LEVEL))
    drifting = proof.log >= needed and of_losses.worse(asked.measure, recent, limit)
    bare = Performance(
        asked.measure,
        asked.label,
        drifting=drifting,
        undecided=False,
        says="",
        labelled=n,
        coverage=found.coverage,
        lag=float(np.median(found.lag)),
        received=found.received,
        output=found.output,
        value=of_losses.value(asked.measure, found.losses),
        baseline=baseline.value,
        at_worst=baseline.at_worst,
        limit=limit,
        recent=recent,
        recent_labelled=n - begins,
        since=float(found.at[begins:].min()),
        proof=proof.log,
        proven_from=needed,
        notes=found.notes,
    )
    return _said(bare, proof)


def undecided(asked: Asked, why: str, found: Labelled | None = None) -> Performance:
    many = 0 if found is None else len(found.losses)
    return Performance(
        asked.measure,
        asked.label,
        drifting=False,
        undecided=True,
        says=f"no verdict about performance: {why}",
        labelled=many,
        coverage=found.coverage if found else 0.0,
        lag=float(np.median(found.lag)) if found and many else 0.0,
        received=found.received if found else 0.0,
        output=found.output if found else "",
        notes=found.notes if found else (),
    )


def _said(of: Performance, proof: Evidence) -> Performance:
    return replace(of, says=f"{_verdict(of, proof)}; {_ground(of)}")


def _verdict(of: Performance, proof: Evidence) -> str:
    now, name = f"{of.value:.4g}", of.measure
    whole = f"{name} is {now} over the latest {of.labelled:,} labelled requests, the baseline is {of.baseline:.4g}"
    if of.at_worst is not None:
        whole += f" ({of.at_worst:.4g} at worst, by the rows of its reference)"
    if of.drifting:
        return (
            f"{whole}: it became worse, {of.recent:.4g} over the {of.recent_labelled:,} since {moment(of.since)},"
            f" and the limit is {of.limit:.4g}"
        )
    if of_losses.worse(of.measure, of.value or 0.0, of.limit or 0.0):
        return f"{whole}: that is worse than the limit of {of.limit:.4g}, and may be chance"
    return (
        f"{whole}: no worse than the limit of {of.limit:.4g}"
        if proof.log < of.proven_from
        else (f"{whole}: proven worse, and within the limit of {of.limit:.4g}")
    )


def _ground(of: Performance) -> str:
    """On which part of the requests it rests."""
    says = f"{percent(of.coverage)} of the requests of that time have a label, half of them within {_long(of.lag)}"
    return says + ("; they may not be like the others" if of.coverage < _PARTIAL else "")


def _long(seconds: float) -> str:
    name, unit = next((of for of in _UNITS if seconds >= of[1]), _UNITS[-1])
    many = f"{seconds / unit:.1f}".removesuffix(".0")
    return f"{many} {name}{'s' * (many != '1')}"
