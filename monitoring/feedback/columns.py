"""The columns of a query's answer, and one row of it as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.names import request_id, unit

_AHEAD = 300.0
_GREATEST = 1e100


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each column is; None where the query has none."""

    value: int
    at: int
    user: int | None
    request_id: int | None
    id: int | None

    @classmethod
    def of(cls, names: Sequence[str]) -> Columns:
        """Other columns do not matter. Raises `Unavailable`."""
        place = {name.lower(): i for i, name in reversed(list(enumerate(names)))}
        has = f"it has {', '.join(names)}" if names else "it has none"
        for name in ("value", "at"):
            if name not in place:
                raise Unavailable(f"it needs a column `{name}`; {has}")
        if "user" not in place and "request_id" not in place:
            raise Unavailable(f"it needs a column `user` or `request_id`; {has}")
        return cls(place["value"], place["at"], place.get("user"), place.get("request_id"), place.get("id"))


@dataclass(frozen=True, slots=True)
class Given:
    """One row. `at`: unix seconds."""

    value: float
    at: float
    user: str | None
    request_id: str | None
    id: str | None

    def who(self, key: bytes) -> tuple[str | None, str | None]:
        """The unit and the request id; one of them is None."""
        if self.user is not None:
            return unit(self.user, key), None
        return None, None if self.request_id is None else request_id(self.request_id)


def given(columns: Columns, row: Sequence[Any], kind: str, until: float) -> Given | None:
    """None: it has no value, or nobody whose it is. Raises `Unavailable`, with a sentence that repeats no value."""
    user, of, name = (_text(row, place) for place in (columns.user, columns.request_id, columns.id))
    if row[columns.value] is None or not (user or of):
        return None
    return Given(
        _value(row[columns.value], kind), _at(row[columns.at], until), user or None, None if user else of, name or None
    )


def _text(row: Sequence[Any], place: int | None) -> str | None:
    value = None if place is None else row[place]
    return None if value is None else value.hex() if isinstance(value, bytes) else str(value)


def _value(value: object, kind: str) -> float:
    if not isinstance(value, int | float | Decimal):
        raise Unavailable(f"`value` is {_kind(value)} in a row; cast it to a number")
    number = float(value)
    if not abs(number) <= _GREATEST:
        raise Unavailable("`value` is no finite number in a row; leave such rows out")
    if kind == "binary" and number not in (0, 1):
        raise Unavailable("`value` is neither 0 nor 1 in a row, and the metric is binary; say `kind: continuous`")
    return number


def _at(value: object, until: float) -> float:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Unavailable("`at` is no time in a row; cast it to a timestamp or to unix seconds") from None
    if isinstance(value, datetime):
        found = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        found = float(value)
    else:
        raise Unavailable(f"`at` is {_kind(value)} in a row; cast it to a timestamp or to unix seconds")
    if found > until + _AHEAD:
        raise Unavailable(
            "`at` is in the future in a row; it must be in seconds, times without a zone must be UTC, and `:until`"
            " leaves out what is still to come"
        )
    return found


def _kind(value: object) -> str:
    return "null" if value is None else f"of the type {type(value).__name__}"
