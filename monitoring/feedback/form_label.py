"""A label in the body of `POST /feedback`: the truth about one row of a request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from lockgate.monitoring.feedback.labels import Label
from lockgate.monitoring.feedback.names import is_request_id, request_id

_LONGEST = 256
_MOST_ROWS = 1_000_000
_SHOWN = 60


def of_label(found: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with it. `labels`: the kind of each that is known."""
    name = found["label"]
    if "metric" in found:
        yield "label: send either metric or label, not both"
    if name not in labels if isinstance(name, str) else True:
        yield f"label: {_unknown(name, labels)}"
    yield from _of_value(found.get("value"), labels.get(name, "") if isinstance(name, str) else "")
    if found.get("user") is not None:
        yield "user: a label is of a request; send request_id"
    if not is_request_id(found.get("request_id")):
        yield "request_id: must be the x-request-id of the answered request"
    row = found.get("row", 0)
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < _MOST_ROWS:
        yield "row: must be the place of the row in its request, from 0 on"


def label_of(found: Mapping[str, Any], at: float, key: str | None) -> Label:
    """Without a mistake. `at`: unix seconds."""
    value = found["value"]
    plain = ("false", "true")[value] if isinstance(value, bool) else str(value)
    return Label(found["label"], plain, at, request_id(found["request_id"]), found.get("row", 0), key)


def _unknown(name: object, labels: Mapping[str, str]) -> str:
    if not isinstance(name, str):
        return "must be the name of a label, a text"
    near = get_close_matches(name, list(labels), 1) if len(name) <= _SHOWN else []
    known = f"known: {', '.join(sorted(labels))}" if labels else "none is in the spec; see monitoring.performance"
    return f"there is no label {name[:_SHOWN]!r}" + (f"; did you mean {near[0]!r}?" if near else f" ({known})")


def _of_value(value: object, kind: str) -> Iterator[str]:
    if value is None:
        yield "value: is missing"
    elif isinstance(value, str):
        if kind == "number":
            yield "value: the label is a number, so send one"
        elif not 0 < len(value) <= _LONGEST or not value.isprintable():
            yield f"value: must be a text of 1 to {_LONGEST} characters"
    elif not isinstance(value, int | float):
        yield "value: must be a text, a number, true or false"
    elif kind == "number" and isinstance(value, bool):
        yield "value: the label is a number, so send one"
    elif not math.isfinite(value):
        yield "value: must be a finite number"
