"""The fast way for columns makes what the careful way makes, and what it refuses gets the same sentences."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.services.serving.refusals import BadRequest
from lockgate.services.serving.rows import Rows
from lockgate.services.serving.schema import Schema

KINDS = ("double", "float", "long", "integer", "boolean", "string", "datetime")
SCHEMA = Schema.of(
    [{"type": kind, "name": kind, "required": True} for kind in KINDS]
    + [{"type": kind, "name": f"maybe {kind}", "required": False} for kind in KINDS]
)
UNIFORM = Schema.of([{"type": "double", "name": name, "required": True} for name in "abc"])
RIGHT = {
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "long": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "string": st.text(max_size=5),
    "datetime": st.sampled_from(["2026-01-31", "2026-01-31T12:00:00.5+02:00", "1678-01-01T00:00:00Z"]),
}
ODD = st.sampled_from(
    (None, True, 0, -0.0, 1.5, 2.0, 2**31, 2**63, 2.0**63, 1e39, 3.4028235677973366e38, 1e308, "", "now", [], {}, [1.5])
)
ROW = st.fixed_dictionaries(
    {kind: RIGHT[kind] for kind in KINDS}, optional={f"maybe {kind}": RIGHT[kind] | st.none() for kind in KINDS}
)
QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def outcome(schema: Schema, body: bytes) -> Any:
    try:
        return {name: (v.dtype, v.shape, v.tolist()) for name, v in schema.decode("", body).items()}
    except BadRequest as refused:
        return refused.status, str(refused)


def same(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = outcome(SCHEMA, body)
    with monkeypatch.context() as patch:
        for way in ("one", "records", "lists"):
            patch.setattr(Rows, way, lambda *_: None)
        careful = outcome(SCHEMA, body)
    np.testing.assert_equal(found, careful)
    return found


def forms(rows: list[dict[str, Any]]) -> list[bytes]:
    names = list({name: None for row in rows for name in row})
    found: list[Any] = [{"rows": rows}]
    if all(len(row) == len(names) for row in rows):
        found.append({"dataframe_split": {"columns": names, "data": [[row[name] for name in names] for row in rows]}})
        found.append({"inputs": {name: [row[name] for row in rows] for name in names}})
    return [json.dumps(one, ensure_ascii=True).encode() for one in found]


@QUICK
@given(rows=st.lists(ROW, min_size=1, max_size=3), name=st.sampled_from(SCHEMA.names), odd=ODD, spoil=st.booleans())
def test_the_fast_way_makes_what_the_careful_way_makes(
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    name: str,
    odd: Any,
    spoil: bool,  # noqa: FBT001
) -> None:
    """`spoil`: a value that may be wrong in one of its columns, with the sentence about it."""
    if spoil:
        rows[-1][name] = odd
    for body in forms(rows):
        same(body, monkeypatch)


@pytest.mark.parametrize("rows", [1, 2])
def test_the_fast_way_is_taken(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    row = {"double": 1, "float": 0.5, "long": 2, "integer": 3, "boolean": True, "string": "a", "datetime": "2026-01-31"}
    row |= {"maybe long": 1, "maybe integer": 1, "maybe boolean": False}  # no value of theirs stands for nothing

    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(Schema, "complete", never)
    for body in forms([row] * rows):
        assert not isinstance(outcome(SCHEMA, body), tuple)


@pytest.mark.parametrize(
    "sent",
    [
        {"rows": [{"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}]},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5, 6]]}},
        {"inputs": {"c": [3, 6], "a": [1, 4], "b": [2, 5]}},
    ],
)
def test_columns_of_one_type_are_one_matrix(sent: Any) -> None:
    """Capture keeps that as it is: one copy in place of one for each column."""
    found = UNIFORM.decode("", json.dumps(sent).encode())
    whole = found["a"].base
    assert whole is not None
    assert whole.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert [value.tolist() for value in found.values()] == [[1, 4], [2, 5], [3, 6]]
