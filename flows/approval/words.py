"""Words of the evidence: numbers with their units, times, and text from outside that can do a page no harm."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

OUTCOMES = {"pass": "PASS", "undecided": "UNDECIDED", "error": "ERROR", "fail": "FAIL"}
_PERCENT = ("error_rate", "disagreement", "prediction_drift")
_CUT = "…"
_MEANINGLESS = " ,/()%+=?;-'\""
"""The punctuation that means nothing to Markdown inside a line."""


def line(text: object, most: int = 200) -> str:
    """On one line, without characters that nobody sees, and cut where it is longer than `most`."""
    shown = " ".join(seen(str(text)[: 4 * most]).split())
    return shown if len(shown) <= most else shown[: most - 1] + _CUT


def seen(text: str) -> str:
    """What cannot be seen, or turns what follows around, as a sign that can."""
    return "".join(map(_seen, text))


def _seen(char: str) -> str:
    kind = unicodedata.category(char)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    return "\ufffd" if kind in ("Cf", "Cs", "Co", "Cn") else char


def markdown(text: object, room: int = 80) -> str:
    """Text from outside, for a line or a cell of Markdown, where it stands as it is. At most `room` characters there.

    Character references are the one way of escaping that MLflow's renderer and CommonMark's both know.
    """
    whole = line(text, room + 1)
    parts = [_written(*around) for around in zip(f" {whole}", whole, f"{whole[1:]} ", strict=False)]
    if sum(map(len, parts)) <= room:
        return "".join(parts)
    while sum(map(len, parts)) > room - len(_CUT):
        parts.pop()
    return "".join(parts).rstrip() + _CUT


def _written(before: str, char: str, after: str) -> str:
    inside = before.isalnum() and after.isalnum()
    harmless = (
        char.isalnum()
        or char in _MEANINGLESS
        or (char == "_" and inside)
        or (char == "." and before not in "wW")  # www. begins a link
        or (char == ":" and after == " ")  # else http://, or :smile:
        or not char.isascii()
    )
    return char if harmless else f"&#{ord(char)};"


def short(value: Any) -> str:
    """JSON in a few words: without quotes and brackets where nothing is lost to a reader."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {short(of)}" for name, of in value.items())
    if isinstance(value, list):
        return ", ".join(map(short, value))
    return "none" if value is None else str(value)


def number(value: Any, metric: str) -> str:
    """A gate's number in the metric's own unit. Takes what JSON holds for infinity and for what is no number."""
    if value is None:
        return "no data"
    value = float(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if metric in _PERCENT:
        return f"{value:.2%}" if abs(value) < _HUGE else f"{value * 100:.3g}%"
    if metric == "latency":
        return f"{value:.1f} ms" if abs(value) < _HUGE else f"{value:.3g} ms"
    return f"{value:.4g}"


_HUGE = 1e6


def figures(gate: Mapping[str, Any]) -> tuple[str, str, str]:
    """The candidate's, stable's, and the limit."""
    return tuple(number(gate.get(key), gate["metric"]) for key in ("candidate", "stable", "limit"))  # type: ignore[return-value]


def effect(gate: Mapping[str, Any]) -> str:
    """Of a business metric: how much better or worse than stable, and where that is; empty for other gates."""
    if gate.get("effect") is None:
        return ""
    where = gate.get("interval")
    span = f" ({_signed(where[0])} to {_signed(where[1])})" if where else ""
    return f"{_signed(gate['effect'])}{span}"


def _signed(share: Any) -> str:
    share = float(share)
    return f"{share:+.1%}" if abs(share) < _HUGE else "beyond all bounds"


def outcome(word: str) -> str:
    return OUTCOMES.get(word, line(word, 20).upper())


def e_value(value: Any) -> str:
    """They run from nothing to more than anybody counts."""
    value = float(value)
    if not math.isfinite(value) or abs(value) < _COUNTED:
        return number(value, "")
    return f"{value:,.0f}" if value < _HUGE else f"{value:.1e}"


_COUNTED = 1e3


def moment(at: float | None, *, exactly: bool = False) -> str:
    """In UTC: who reads it may be anywhere."""
    form = "%Y-%m-%d %H:%M:%S" if exactly else "%Y-%m-%d %H:%M UTC"
    try:
        return datetime.fromtimestamp(at, UTC).strftime(form) if at else ""
    except (OverflowError, ValueError, OSError):
        return "beyond the calendar"


_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:/?#&=%+,;-]{1,400}")


def address(url: str) -> str:
    """One that may be clicked, and means nothing to Markdown; empty where it is none."""
    return url if _ADDRESS.fullmatch(url) else ""


def plain(value: Any) -> Any:
    """As JSON holds it exactly: no NaN, no infinity, no tuples; what is none of its kinds is text."""
    if isinstance(value, Mapping):
        return {str(key): plain(of) for key, of in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(of) for of in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)
