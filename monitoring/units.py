"""Durations, shares and sizes as people write them in a spec: `250ms`, `30m`, `0.5%`, `16MiB`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_NUMBER = r"\d+(?:\.\d+)?"


def seconds(value: object) -> float:
    """Seconds from `250ms`, `5s`, `30m`, `2h`, `7d`; several parts may follow one another (`1h30m`)."""
    if isinstance(value, str):
        parts: list[tuple[str, str]] = re.findall(rf"({_NUMBER})(ms|s|m|h|d)", value)
        if parts and "".join(n + u for n, u in parts) == value.strip():
            return sum(float(n) * _SECONDS[u] for n, u in parts)
    raise ValueError(f"{value!r} is not a duration; write a number and a unit (ms, s, m, h, d), like 250ms or 1h30m")


def share(value: object) -> float:
    """A share between 0 and 1 from `0.5%` or a bare fraction like `0.005`."""
    number: float | None = None
    if isinstance(value, str) and (match := re.fullmatch(rf"({_NUMBER})\s*%", value.strip())):
        number = float(match[1]) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    if number is None:
        raise ValueError(f"{value!r} is not a share; write a percentage like 0.5% or a fraction like 0.005")
    return number


def percent(value: object) -> float:
    """A percentage between 0 and 100 from `5`, `2.5` or `5%`."""
    if isinstance(value, str) and (match := re.fullmatch(rf"({_NUMBER})\s*%", value.strip())):
        return float(match[1])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"{value!r} is not a percentage; write a number from 0 to 100, like 5 or 5%")


def size(value: object) -> int:
    """Bytes from `16MiB`, `1GB` or `512B`."""
    if isinstance(value, str) and (match := re.fullmatch(rf"({_NUMBER})\s*(B|[KMG]i?B)", value.strip())):
        return int(float(match[1]) * _BYTES[match[2]])
    raise ValueError(f"{value!r} is not a size; write a number and a unit (B, KiB, MiB, GiB), like 16MiB")


def _written(unit: str) -> PlainSerializer:
    """Written as JSON, a quantity keeps its unit, so that it can be read again."""
    return PlainSerializer(
        lambda v: f"{v:.9f}".rstrip("0").rstrip(".") + unit, return_type=str, when_used="json-unless-none"
    )


def _text(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


def _number_or_percent(example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": rf"^{_NUMBER}\s*%$"}], "examples": [example]}
    )


Seconds = Annotated[
    float, BeforeValidator(seconds), Field(gt=0), _written("s"), _text(rf"^({_NUMBER}(ms|s|m|h|d))+$", "30m")
]
Share = Annotated[float, BeforeValidator(share), Field(ge=0, le=1), _number_or_percent("0.5%")]
Margin = Annotated[float, BeforeValidator(share), Field(ge=0), _number_or_percent("20%")]
Percent = Annotated[float, BeforeValidator(percent), Field(gt=0, le=100), _number_or_percent("5%")]
Bytes = Annotated[
    int, BeforeValidator(size), Field(gt=0), _written("B"), _text(rf"^{_NUMBER}\s*(B|[KMG]i?B)$", "16MiB")
]
