"""JSON's lists as arrays of what a field wants, without numpy's guesses.

`np.asarray([1, True])` is `[1, 1]`; with a text among the numbers all of them become texts as long as the longest, so
that one megabyte among ten thousand numbers asks for 40 GB. Here each value's type is looked at before numpy sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from .refusals import BadRequest

Array = np.ndarray[Any, Any]

EXACT = 2**53
"""Up to here a float is the integer that its text said."""
TIMES = "1678 to 2261"
"""Years that nanoseconds since 1970 can count."""
WIDEST = 8
"""Bytes of the numbers that JSON's own fit in; setting numpy's error state takes longer than making a short array."""
_TIME = re.compile(
    r"(\d{4}-\d\d(?:-\d\d)?)(?:[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(?:([Zz])|([+-])([01]\d|2[0-3]):?([0-5]\d))?)?"
)
_YEARS = range(1678, 2262)


def flat(name: str, value: Any, wanted: tuple[int, ...]) -> tuple[list[Any], tuple[int, ...]]:
    """The values in `wanted`'s nesting one after the other, and their shape; raises `BadRequest`."""
    level: list[Any] = [value]
    shape: tuple[int, ...] = ()
    for size in wanted:
        if set(map(type, level)) != {list}:
            raise _no_lists(name, level, shape, wanted)
        lengths = set(map(len, level))
        if len(lengths) > 1:
            raise BadRequest(f"input {name!r} is ragged: its rows differ in length")
        shape = (*shape, len(level[0]))
        if size not in (-1, shape[-1]):
            raise BadRequest(misfit(name, shape, wanted))
        level = list(chain.from_iterable(level))
    if list in set(map(type, level)):
        raise BadRequest(f"input {name!r} has lists within lists where {shown(wanted)} is wanted")
    return level, shape


def held(shape: Sequence[int], size: int) -> bool:
    """Whether so many bytes can say it: also lists that are empty are made one by one when somebody writes them.

    It looks no further than that: the product of many large sizes is a number that takes minutes.
    """
    many, most = 1, 8 * size
    for of in shape:
        many *= of or 1
        if many > most:
            return False
    return True


def misfit(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return f"input {name!r} has shape {list(shape)!r:.80} where {shown(wanted)} is wanted"


def shown(wanted: tuple[int, ...]) -> str:
    return f"[{', '.join('n' if size < 0 else str(size) for size in wanted)}]"


def _no_lists(name: str, level: list[Any], shape: tuple[int, ...], wanted: tuple[int, ...]) -> BadRequest:
    odd = next((v for v in level if type(v) is not list), None)
    if level and type(odd) not in (int, float):
        return BadRequest(f"input {name!r} holds {named(odd)} where a list is wanted: its shape is {shown(wanted)}")
    return BadRequest(misfit(name, shape, wanted))


def numbers(name: str, values: list[Any], want: np.dtype[Any], *, nulls: bool) -> Array:
    """`nulls` become NaN. Raises `BadRequest` for what is no number of this dtype."""
    kinds = _kinds(name, values, {bool} if want.kind == "b" else {int, float}, want.name, nulls=nulls)
    if type(None) in kinds:
        values = [np.nan if value is None else value for value in values]
    try:
        if want.kind in "iu" and float in kinds:
            values = [value if type(value) is int else _whole(value) for value in values]
        if want.itemsize == WIDEST:
            return np.array(values, want)
        with np.errstate(over="ignore"):  # becomes infinity, which the caller refuses
            return np.array(values, want)
    except (OverflowError, ValueError):
        raise BadRequest(f"input {name!r} holds a value that is no {want.name}") from None


def _whole(value: float) -> int:
    if not value.is_integer() or abs(value) > EXACT:
        raise ValueError(value)
    return int(value)


def texts(name: str, values: list[Any], *, nulls: bool) -> Array:
    _kinds(name, values, {str}, "strings", nulls=nulls)
    found = np.empty(len(values), object)
    found[:] = values
    return found


def times(name: str, values: list[Any], *, nulls: bool) -> Array:
    """ISO 8601 as nanoseconds of UTC; a time without an offset is UTC. Null becomes NaT."""
    _kinds(name, values, {str}, "times like '2026-01-31T12:00:00'", nulls=nulls)
    read = [("NaT", 0) if value is None else _time(name, value) for value in values]
    try:
        found = np.array([text for text, _ in read], "datetime64[ns]")
    except ValueError as bad:
        raise BadRequest(f"input {name!r} holds no time: {bad}") from None
    if any(minutes for _, minutes in read):
        found -= np.array([minutes for _, minutes in read], "timedelta64[m]")
    return found


def _time(name: str, value: str) -> tuple[str, int]:
    """Without its offset, and that in minutes. Numpy alone would take 'now', and wrap the year 9999 around to 1816."""
    found = _TIME.fullmatch(value) if len(value) < 64 and value.isascii() else None
    if found is None:
        raise BadRequest(f"input {name!r} wants times like '2026-01-31T12:00:00' and holds {named(value, text=True)}")
    if int(value[:4]) not in _YEARS:
        raise BadRequest(f"input {name!r} holds a time outside of the years {TIMES}: {value}")
    day, clock, _, sign, hours, minutes = found.groups()
    offset = int(hours) * 60 + int(minutes) if sign else 0
    return (f"{day}T{clock}" if clock else day), -offset if sign == "-" else offset


def _kinds(name: str, values: list[Any], allowed: Iterable[type], what: str, *, nulls: bool) -> set[type]:
    kinds = set(map(type, values))
    if odd := kinds - {*allowed, *([type(None)] if nulls else [])}:
        raise BadRequest(f"input {name!r} wants {what} and holds {named(next(v for v in values if type(v) in odd))}")
    return kinds


def named(item: Any, *, text: bool = False) -> str:
    """For a sentence: never long, and without a text that somebody may not want to see again, unless that is asked."""
    if item is None:
        return "null"
    if isinstance(item, str) and text:
        return f"{item[:40]!r}"
    words = {str: "a string", dict: "an object", list: "a list", bool: "true or false", bytes: "bytes"}
    return words.get(type(item)) or f"a value like {item!r:.40}"
