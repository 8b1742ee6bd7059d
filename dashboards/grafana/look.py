"""Colours and texts that all dashboards share.

The colours are Okabe and Ito's, which people who are colour-blind tell apart. A colour never stands alone: what it says
is also said by a word, a number or a dash.
"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    Threshold,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

from lockgate.monitoring.catalog import OUTCOMES, PHASES

BLUE, ORANGE, PURPLE, GREEN, RED, YELLOW, SKY, GREY, QUIET = (
    *("#0072B2", "#E69F00", "#CC79A7", "#009E73"),
    *("#D55E00", "#F0E442", "#56B4E9", "#7F8790", "#454B54"),
)
STABLE, CANDIDATE, SHADOW = SKY, ORANGE, PURPLE

_PHASE_COLOURS = {
    "pending": GREY,
    "building": GREY,
    "progressing": SKY,
    "waiting": YELLOW,
    "promoting": BLUE,
    "probation": BLUE,
    "succeeded": GREEN,
    "rolling_back": RED,
    "rolled_back": RED,
    "failed": PURPLE,
}
_OUTCOME_COLOURS = {"undecided": GREY, "pass": GREEN, "error": PURPLE, "fail": RED}


def texts(words: dict[str, tuple[str, str]]) -> list[ValueMapping]:
    """By the value as text: what is shown instead, and its colour."""
    results = {
        value: ValueMappingResult(text=text, color=colour, index=i)
        for i, (value, (text, colour)) in enumerate(words.items())
    }
    return [ValueMap(results)]


def phases() -> list[ValueMapping]:
    """Of `phase_number`."""
    return texts({str(i): (phase.replace("_", " "), _PHASE_COLOURS[phase]) for i, phase in enumerate(PHASES, 1)})


def outcomes() -> list[ValueMapping]:
    """Of `lockgate_gate_outcome`."""
    return texts({f"{number:g}": (word, _OUTCOME_COLOURS[word]) for word, number in OUTCOMES.items()})


def yes_no(yes: str, no: str, yes_colour: str, no_colour: str = QUIET) -> list[ValueMapping]:
    """Of a series that is 0 or 1."""
    return texts({"0": (no, no_colour), "1": (yes, yes_colour)})


def steps(base: str, *above: tuple[float, str]) -> list[Threshold]:
    return [Threshold(None, base), *(Threshold(value, colour) for value, colour in above)]


def fixed(colour: str) -> DynamicConfigValue:
    """For an override."""
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def shades(colour: str) -> DynamicConfigValue:
    """For an override: the colour for one series, and lighter and darker ones where there are more."""
    return DynamicConfigValue("color", {"mode": "shades", "fixedColor": colour})


def dashed(*lengths: int) -> DynamicConfigValue:
    """For an override: lengths of dashes and gaps in pixels."""
    return DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": list(lengths or (8, 6))})
