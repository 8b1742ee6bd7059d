"""Faults that a rehearsal puts into the candidate's answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lockgate.monitoring.units import share

_NAMES = "latency=x2, errors=2%, labels=2%"


@dataclass(frozen=True, slots=True)
class Fault:
    """`latency`: each request takes `amount` times as long. `errors`, `labels`: such a share fails, or has others."""

    kind: Literal["latency", "errors", "labels"]
    amount: float
    text: str

    def __str__(self) -> str:
        return self.text


def faults(text: str) -> tuple[Fault, ...]:
    """From `latency=x2,errors=2%`. Raises `ValueError`: a sentence."""
    return tuple(_fault(one.strip()) for one in text.split(",") if one.strip())


def _fault(text: str) -> Fault:
    kind, _, amount = text.partition("=")
    if kind == "latency" and (times := re.fullmatch(r"x([0-9]+(?:\.[0-9]+)?)", amount)) and float(times[1]) > 1:
        return Fault("latency", float(times[1]), text)
    if kind in {"errors", "labels"} and amount:
        try:
            found = share(float(amount) if amount.replace(".", "", 1).isdigit() else amount)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
        if 0 < found <= 1:
            return Fault("errors" if kind == "errors" else "labels", found, text)
    raise ValueError(f"{text!r} is no fault; write {_NAMES}, or several of them with commas")
