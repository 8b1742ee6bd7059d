"""Records as columns: every kind of value comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.services.serving.capture_columns import Columns, Source, parts
from lockgate.services.serving.capture_settings import Settings
from lockgate.services.serving.schema import Schema

SOURCE = Source("7", "d" * 64, "r1")


def tensor(name: str, dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "name": name, "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}


def columns(*items: dict[str, Any], **redact: str) -> Columns:
    found = Columns(Schema.of(items).fields, SOURCE)
    found.follow(Settings(1.0, 60, 2**30, redact, b"", b"key"))
    return found


def table(made: Columns, *records: Any) -> pa.Table:
    return pa.Table.from_batches(made.batches(parts(records)))


def test_what_every_row_says_of_its_request(make: Any) -> None:
    made = columns(tensor("x", "float32", 2))
    one = make.record("r-1", variant="candidate", kind=1, unit="me")
    many = make.record("r-2", {"x": np.zeros((3, 2), "float32")}, {"score": np.arange(3.0)}, kind=2, rows=3)
    first, *others = table(made, one, many).to_pylist()
    assert {k: first[k] for k in ("request_id", "row", "rows", "variant", "kind", "status")} == {
        "request_id": "r-1",
        "row": 0,
        "rows": 1,
        "variant": "candidate",
        "kind": "shadow",
        "status": 200,
    }
    assert (first["model_version"], first["digest"], first["replica"]) == ("7", "d" * 64, "r1")
    assert first["at"].isoformat() == "2023-11-14T22:13:20.250000+00:00"
    assert first["seconds"] == pytest.approx(0.002)
    assert len(first["unit"]) == 16
    assert [(r["request_id"], r["row"], r["rows"], r["kind"], r["unit"]) for r in others] == [
        ("r-2", i, 3, "echo", None) for i in range(3)
    ]
    assert [r["output.score"] for r in others] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("kind", "value", "type_"),
    [
        ("long", np.array([2**60]), pa.int64()),
        ("boolean", np.array([True]), pa.bool_()),
        ("string", np.array(["Zürich"], object), pa.string()),
        ("datetime", np.array(["2026-01-31T12:00:00"], "datetime64[ns]"), pa.timestamp("ns")),
        ("float", np.array([np.nan], "float32"), pa.float32()),
    ],
)
def test_columns_keep_their_type(make: Any, kind: str, value: Any, type_: pa.DataType) -> None:
    found = table(columns({"type": kind, "name": "c"}), make.record(inputs={"c": value})).column("input.c")
    assert found.type == type_
    assert found.null_count == 0
    np.testing.assert_array_equal(found.to_numpy(), value)


def test_a_tensor_is_flat_and_says_its_shape(make: Any) -> None:
    value = np.arange(12.0).reshape(2, 2, 3)
    found = table(columns(tensor("x", "float64", 2, 3)), make.record(inputs={"x": value}, outputs={}))
    field = found.schema.field("input.x")
    assert (field.type, json.loads(field.metadata[b"shape"])) == (pa.list_(pa.float64()), [2, 3])
    assert found.column("input.x").to_pylist() == value.reshape(2, 6).tolist()


def test_a_shape_that_varies_is_a_list(make: Any) -> None:
    made = columns(tensor("ids", "int64", -1))
    short, long = (make.record(inputs={"ids": np.arange(n).reshape(1, n)}, outputs={}) for n in (2, 5))
    found = table(made, short, long)
    assert found.schema.field("input.ids").type == pa.list_(pa.int64())
    assert found.column("input.ids").to_pylist() == [[0, 1], [0, 1, 2, 3, 4]]


def test_a_value_that_was_not_kept_is_null(make: Any) -> None:
    found = table(columns(tensor("x", "float32", 2)), make.record(inputs={}, outputs={"y": np.zeros(1)}))
    assert found.column("input.x").to_pylist() == [None]
    assert found.column("output.y").to_pylist() == [0.0]


def test_a_failed_request_is_one_record_without_values(make: Any) -> None:
    made = columns(tensor("x", "float32", 2))
    found = table(made, make.record("ok"), make.record("bad", status=503)).to_pylist()
    failed = next(r for r in found if r["request_id"] == "bad")
    assert (failed["row"], failed["rows"], failed["status"]) == (0, 0, 503)
    assert failed["input.x"] is failed["output.score"] is None


def test_outputs_that_change_widen_their_column(make: Any) -> None:
    made = columns(tensor("x", "float32", 2))
    kinds = []
    for value in (np.array([1]), np.array([0.5]), np.array([1]), np.array(["no"], object), np.array([[1.0, 2.0]])):
        found = table(made, make.record(outputs={"y": value}))
        kinds.append((str(found.schema.field("output.y").type), found.column("output.y").to_pylist()))
    assert kinds == [
        ("int64", [1]),
        ("double", [0.5]),
        ("double", [1.0]),
        ("string", ["no"]),
        ("list<item: string>", [["1.0", "2.0"]]),
    ]


def test_outputs_of_different_shapes_in_one_batch(make: Any) -> None:
    made = columns(tensor("x", "float32", 2))
    values = (np.array([[1.0, 2.0]]), np.array([[3.0]]))
    found = table(made, *(make.record(outputs={"y": value}) for value in values))
    assert found.column("output.y").to_pylist() == [[1.0, 2.0], [3.0]]


def test_answers_with_different_names(make: Any) -> None:
    made = columns(tensor("x", "float32", 2))
    found = table(made, *(make.record(name, outputs={name: np.zeros(1)}) for name in "ab")).to_pylist()
    assert [(r["request_id"], r["output.a"], r["output.b"]) for r in found] == [("a", 0.0, None), ("b", None, 0.0)]


def test_objects_are_text_and_a_long_one_is_null(make: Any) -> None:
    made = columns({"type": "string", "name": "c"})
    odd = np.array([{"a": 1}, None, 2.5, "x" * 70_000, "\ud800"], object)
    found = table(made, make.record(inputs={"c": odd}, outputs={"y": odd}, rows=5))
    assert found.column("output.y").to_pylist() == ['{"a":1}', None, "2.5", None, "?"]


def test_a_long_text_among_others_is_null(make: Any) -> None:
    texts = np.array(["short", "x" * 70_000, ""], object)
    found = table(columns({"type": "string", "name": "c"}), make.record(inputs={"c": texts}, outputs={}, rows=3))
    assert found.column("input.c").to_pylist() == ["short", None, ""]


def test_hashed_and_dropped_inputs(make: Any) -> None:
    items = [{"type": "string", "name": "name"}, {"type": "long", "name": "age"}, {"type": "long", "name": "income"}]
    made = columns(*items, name="hash", age="hash", income="drop")
    people = {"name": np.array(["ann", "bob", "ann"], object), "age": np.array([9, 9, 8]), "income": np.arange(3)}
    found = table(made, make.record(inputs=people, outputs={}, rows=3))
    assert "input.income" not in found.column_names
    names, ages = found.column("input.name").to_pylist(), found.column("input.age").to_pylist()
    assert names[0] == names[2] != names[1]
    assert ages[0] == ages[1] != ages[2]
    assert all(len(v) == 16 and int(v, 16) >= 0 for v in names + ages)


def test_the_hash_needs_the_key(make: Any) -> None:
    made = columns({"type": "string", "name": "c"}, c="hash")
    value = make.record(inputs={"c": np.array(["ann"], object)}, outputs={}, unit="ann")
    first = table(made, value).to_pylist()[0]
    assert first["unit"] == first["input.c"]  # the same key, the same value
    made.follow(Settings(1.0, 60, 2**30, {"c": "hash"}, b"", b"other"))
    second = table(made, value).to_pylist()[0]
    assert second["unit"] != first["unit"]
    assert second["input.c"] != first["input.c"]


def test_names_that_are_no_inputs_are_told() -> None:
    made = columns(tensor("x", "float32", 2))
    assert made.follow(Settings(1.0, 60, 2**30, {"x": "hash", "agee": "drop"}, b"", b"k")) == ["agee"]


def test_a_value_that_no_column_holds_leaves_the_schema_as_it_was(make: Any) -> None:
    made = columns(tensor("x", "float32", 2))
    table(made, make.record())
    with pytest.raises(pa.ArrowException):
        table(made, make.record(outputs={"score": np.array([1j])}))
    assert table(made, make.record()).column("output.score").to_pylist() == [0.5]
