"""The body of `POST /feedback` as rows, or every mistake in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import chain, islice
from typing import Any

import orjson

from lockgate.monitoring.feedback.errors import Invalid
from lockgate.monitoring.feedback.form_label import label_of, of_label
from lockgate.monitoring.feedback.names import is_request_id, once, request_id, unit
from lockgate.monitoring.feedback.settings import Settings
from lockgate.monitoring.feedback.store import Row, Told
from lockgate.monitoring.units import seconds_text

MOST_ROWS = 1000
_MOST_SENTENCES = 100
_FIELDS = ("metric", "value", "user", "request_id", "at", "id", "label", "row")
_AHEAD = 300.0
_GREATEST = 1e100
"""Of a value: its square, and a sum of many, must still be numbers."""
_LONGEST_ID = 128
_SHOWN = 60
"""Characters of a name, in sentences and in what is compared with known names."""
_NAMES_SHOWN = 3


class NotJson(Invalid):
    """The body is not JSON."""


@dataclass(frozen=True, slots=True)
class Sent:
    """When a request came, in unix seconds, and the value of its sticky header, if it has one.

    `several`: it has the header several times, so that it says of nobody who it was.
    """

    now: float
    user: bytes = b""
    several: bool = False


def rows(body: bytes, settings: Settings, sent: Sent) -> list[Told]:
    """Raises `NotJson`, or `Invalid` with a sentence for each mistake of each row."""
    try:
        found = orjson.loads(body)
    except ValueError as reason:
        raise NotJson(['the body is not JSON; send an object like {"metric": "conversion", "value": 1}']) from reason
    listed = found if isinstance(found, list) else [found]
    if not 1 <= len(listed) <= MOST_ROWS:
        raise Invalid([f"the body has {len(listed)} rows; send 1 to {MOST_ROWS} at once"])
    reads = [_Reading(row, settings, sent) for row in listed]
    every = chain.from_iterable(_numbered(i, read.mistakes()) for i, read in enumerate(reads, 1))
    if wrong := list(islice(every, _MOST_SENTENCES)):  # the others cost time, and nobody reads them
        raise Invalid([*wrong, *(["and more mistakes"] if next(every, None) else [])])
    return [read.row() for read in reads]


def _numbered(i: int, mistakes: Iterator[str]) -> Iterator[str]:
    return (f"row {i}: {mistake}" for mistake in mistakes)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One row of the body."""

    found: Any
    settings: Settings
    sent: Sent

    def mistakes(self) -> Iterator[str]:
        if not isinstance(self.found, dict):
            yield "must be an object with the fields " + ", ".join(_FIELDS)
            return
        yield from _of_fields(self.found)
        if "label" in self.found:
            yield from of_label(self.found, self.settings.labels)
        else:
            yield from _of_metric(self.found, self.settings.metrics)
            yield from _of_user(self.found, self.sent)
        yield from _of_at(self.found.get("at"), self.sent.now, self.settings.keep)
        if (name := self.found.get("id")) is not None and not 1 <= len(_text(name)) <= _LONGEST_ID:
            yield f"id: must be a text of 1 to {_LONGEST_ID} characters"

    def row(self) -> Told:
        """Without a mistake."""
        found, key = self.found, self.settings.key
        at, of, named = found.get("at"), found.get("request_id"), found.get("id")
        if "label" in found:
            once_ = None if named is None else once(f"label {found['label']}", _text(named), key)
            return label_of(found, self.sent.now if at is None else _seconds(at), once_)
        user = None if of is not None else _text(found["user"]) if found.get("user") is not None else self.sent.user
        return Row(
            metric=found["metric"],
            value=float(found["value"]),
            at=self.sent.now if at is None else _seconds(at),
            request_id=None if of is None else request_id(of),
            unit=None if user is None else unit(user, key),
            key=None if named is None else once(found["metric"], _text(named), key),
        )


def _of_fields(found: Mapping[str, Any]) -> Iterator[str]:
    """One sentence, however many unknown fields there are."""
    unknown = len(found) - sum(name in found for name in _FIELDS)
    if not unknown:
        return
    first = islice((name for name in found if name not in _FIELDS), _NAMES_SHOWN)
    if unknown == 1:
        yield from (f"unknown field {_shown(name)}{_nearest(name, _FIELDS)}" for name in first)
        return
    more = f" and {unknown - _NAMES_SHOWN} more" if unknown > _NAMES_SHOWN else ""
    yield f"unknown fields {', '.join(map(_shown, first))}{more}; a row may have {', '.join(_FIELDS)}"


def _of_metric(found: Mapping[str, Any], metrics: Mapping[str, str]) -> Iterator[str]:
    if "row" in found:
        yield "row: is for labels; an outcome is of a whole request"
    name, value = found.get("metric"), found.get("value")
    if name is None:
        yield "metric: is missing; name what the value is of" + (f", like {min(metrics)!r}" if metrics else "")
    elif name not in metrics if isinstance(name, str) else True:
        known = f" (known: {', '.join(sorted(metrics))})" if metrics else ", and none that is told by feedback"
        yield f"metric: there is no metric {_shown(name)}{_nearest(name, list(metrics)) or known}"
    kind = metrics.get(name, "") if isinstance(name, str) else ""
    if value is None:
        yield "value: is missing"
    elif not isinstance(value, int | float):
        yield "value: must be a number"
    elif kind == "binary" and value not in (0, 1):
        yield f"value: {name} is binary, so send 0, 1, true or false"
    elif kind == "continuous" and isinstance(value, bool):
        yield f"value: {name} is continuous, so send a number"
    elif not abs(value) <= _GREATEST:
        yield f"value: must be between -{_GREATEST:g} and {_GREATEST:g}"


def _of_user(found: Mapping[str, Any], sent: Sent) -> Iterator[str]:
    user, of = found.get("user"), found.get("request_id")
    if user is not None and of is not None:
        yield "user: send either user or request_id, not both"
    elif user is None and of is None and sent.several:
        yield "user: the request has its sticky header several times; send it once, or send user or request_id"
    elif user is None and of is None and not sent.user:
        yield "user: is missing; send user or request_id, or the sticky header with the request"
    if user is not None and not _text(user).strip():
        yield "user: must be a text that is not empty"
    if of is not None and not is_request_id(of):
        yield "request_id: must be the x-request-id of the answered request"


def _of_at(value: object, now: float, keep: float) -> Iterator[str]:
    if value is None:
        return
    try:
        at = _seconds(value)
    except (ValueError, OverflowError):
        yield "at: must be a time with its zone like 2030-01-31T12:00:00Z, or unix seconds"
        return
    if at > now + _AHEAD:
        # Some 30,000 years ahead are unix milliseconds.
        hint = (
            "; send seconds, not milliseconds" if abs(at / 1000 - now) < keep + _AHEAD else "; see the sender's clock"
        )
        yield f"at: is more than {seconds_text(_AHEAD)} in the future{hint}"
    elif at < now - keep:
        yield f"at: is longer ago than feedback is kept, {seconds_text(keep)}"


def _seconds(value: object) -> float:
    """Unix seconds. Raises ValueError and OverflowError."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("it has no zone")
        return moment.timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("it is no number")
    return float(value)


def _text(value: object) -> str:
    """Names may be numbers; whatever else is no text is empty."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _nearest(name: object, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1) if isinstance(name, str) and len(name) <= _SHOWN else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(name: object) -> str:
    return repr(name[:_SHOWN]) if isinstance(name, str) else "without a text as its name"
