"""When the live rows were answered, and whether that is so long ago that they say nothing about now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from lockgate.monitoring.drift.words import Comparison

_UNITS = (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0))


def aged(found: Comparison, now: float, most: float) -> Comparison:
    """Undecided where the latest row is older than `most` seconds at `now`, in unix seconds."""
    age = now - found.until
    if found.undecided or not found.until or age <= most:
        return found
    features = tuple(replace(of, outcome="undecided", says="") for of in found.features)
    says = f"no verdict about drift: the latest live row was answered {_long(age)} ago, at {moment(found.until)}"
    return replace(found, features=features, drifting=False, severe=False, undecided=True, share=0.0, says=says)


def span(found: Comparison) -> str:
    """`answered ... to ...`, or nothing where nobody knows."""
    return f"answered {moment(found.since)} to {moment(found.until)}" if found.until else ""


def moment(at: float) -> str:
    """`at`: unix seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _long(seconds: float) -> str:
    name, unit = next((of for of in _UNITS if seconds >= 2 * of[1]), _UNITS[-1])
    return f"{seconds / unit:.0f} {name}s"
