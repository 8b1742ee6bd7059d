"""Durations, shares and sizes as people write them in a spec: `250ms`, `30m`, `0.5%`, `16MiB`.

They are read into plain numbers (seconds, fractions, bytes) and written to JSON in a form that can be read again.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,40})?"
_YEAR = 366 * 86400


def seconds(value: object) -> float:
    """Seconds from `250ms`, `5s`, `30m`, `2h`, `7d`; several parts may follow one another (`1h30m`)."""
    if isinstance(value, str):
        parts: list[tuple[str, str]] = re.findall(rf"({_NUMBER})(ms|s|m|h|d)", value)
        if parts and "".join(n + u for n, u in parts) == value:
            return float(sum(Decimal(n) * _SECONDS[u] for n, u in parts))
    raise ValueError(
        f"{_shown(value)} is not a duration; write a number and a unit (ms, s, m, h, d), like 250ms or 1h30m"
    )


def share(value: object) -> float:
    """A share from `0.5%` or a bare fraction like `0.005`.

    A bare number above 1 is refused: `20` where `20%` was meant would tolerate a hundred times the harm.
    """
    if isinstance(value, str) and (number := _before_percent(value)) is not None:
        return float(number / 100)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not a share; write a percentage like 0.5% or a fraction like 0.005")
    if value > 1:
        raise ValueError(f"{value!r} is more than 1; for a percentage write {value!r}%")
    return float(value)


def percent(value: object) -> float:
    """A percentage between 0 and 100 from `5`, `2.5` or `0.5%`.

    A bare number below 1 is refused: nobody can tell whether `0.05` is a twentieth or one in two thousand.
    """
    if isinstance(value, str) and (number := _before_percent(value)) is not None:
        return float(number)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not a percentage; write a number from 0 to 100, like 5 or 5%")
    if 0 < value < 1:
        raise ValueError(f"{value!r} could mean {value!r}% or {value * 100:g}%; write it with the percent sign")
    return float(value)


def size(value: object) -> int:
    """Bytes from `16MiB`, `1GB` or `512B`."""
    if isinstance(value, str) and (match := re.fullmatch(rf"({_NUMBER})\s*(B|[KMG]i?B)", value)):
        return int(Decimal(match[1]) * _BYTES[match[2]])
    raise ValueError(f"{_shown(value)} is not a size; write a number and a unit (B, KiB, MiB, GiB), like 16MiB")


def seconds_text(value: float) -> str:
    """The shortest single-unit text that `seconds` reads back to the same value: `250ms`, `1.5s`, `2h`."""
    exact = Decimal(repr(value))
    if exact < 1:
        return f"{_plain(exact * 1000)}ms"
    unit = next(u for u in ("d", "h", "m", "s") if u == "s" or exact % _SECONDS[u] == 0)
    return f"{_plain(exact / _SECONDS[unit])}{unit}"


def percent_text(value: float) -> str:
    return f"{_plain(Decimal(repr(value)))}%"


def share_text(value: float) -> str:
    return f"{_plain(Decimal(repr(value)) * 100)}%"


def size_text(value: int) -> str:
    unit = next(u for u in ("GiB", "MiB", "KiB", "B") if u == "B" or (value and value % _BYTES[u] == 0))
    return f"{value // _BYTES[unit]}{unit}"


def _before_percent(text: str) -> Decimal | None:
    match = re.fullmatch(rf"({_NUMBER})\s*%", text)
    return Decimal(match[1]) if match else None


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shown(value: object) -> str:
    """The value as YAML's reader knows it, not Python: a sentence must not speak of `None` or `True`."""
    if value is None or isinstance(value, bool):
        return {None: "an empty value", True: "true", False: "false"}[value]
    kinds: dict[type, str] = {dict: "a mapping", list: "a list"}
    return kinds.get(type(value)) or repr(value)


def _text(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


def _number_or_percent(lowest: int, highest: int, example: str) -> WithJsonSchema:
    number = {"type": "number", "minimum": lowest, "maximum": highest}
    text = {"type": "string", "pattern": rf"^{_NUMBER}\s*%$"}
    return WithJsonSchema({"anyOf": [number, text], "examples": [example]})


Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, le=_YEAR),
    PlainSerializer(seconds_text, when_used="json"),
    _text(rf"^({_NUMBER}(ms|s|m|h|d))+$", "30m"),
]
Share = Annotated[
    float,
    BeforeValidator(share),
    Field(ge=0, le=1),
    PlainSerializer(share_text, when_used="json"),
    _number_or_percent(0, 1, "0.5%"),
]
Margin = Annotated[
    float,
    BeforeValidator(share),
    Field(ge=0),
    PlainSerializer(share_text, when_used="json"),
    _number_or_percent(0, 1, "20%"),
]
Percent = Annotated[
    float,
    BeforeValidator(percent),
    Field(gt=0, le=100),
    PlainSerializer(percent_text, when_used="json"),
    _number_or_percent(1, 100, "5%"),
]
PercentOrNone = Annotated[
    float,
    BeforeValidator(percent),
    Field(ge=0, le=100),
    PlainSerializer(percent_text, when_used="json"),
    _number_or_percent(0, 100, "5%"),
]
"""0 switches something off."""
Bytes = Annotated[
    int,
    BeforeValidator(size),
    Field(gt=0),
    PlainSerializer(size_text, when_used="json"),
    _text(rf"^{_NUMBER}\s*(B|[KMG]i?B)$", "16MiB"),
]
