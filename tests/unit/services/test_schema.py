from __future__ import annotations

import gc
import gzip
import json
import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.services.serving.openapi import request_schema
from lockgate.services.serving.refusals import BadRequest
from lockgate.services.serving.schema import Schema


def tensor(width: int = 30, dtype: str = "float32", **more: Any) -> dict[str, Any]:
    return {"type": "tensor", "name": "x", "tensor-spec": {"dtype": dtype, "shape": [-1, width]}, **more}


def column(name: str, kind: str, *, required: bool = True) -> dict[str, Any]:
    return {"type": kind, "name": name, "required": required}


WIDE = Schema.of([tensor()], max_rows=8)
ROW = [0.5] * 30
INTEGERS = Schema.of([tensor(2, "int32")])
TABLE = Schema.of(
    [
        column("age", "double"),
        column("visits", "long"),
        column("city", "string"),
        column("income", "double", required=False),
    ]
)
TWO = Schema.of([tensor(1), {**tensor(1), "name": "y"}])
LARGEST = 3.4028235677973362e38
"""The largest double that becomes a finite float32."""
UNIFORM = Schema.of([column("a", "double"), column("b", "double")])


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("schema", "sent", "status", "sentence"),
    [
        (WIDE, b"{", 400, "the body is no JSON"),
        (WIDE, b"[]", 400, "must be a JSON object"),
        (WIDE, b"{}", 400, 'needs one of "inputs"'),
        (WIDE, body({"inputs": {}}), 422, "missing input 'x'"),
        (WIDE, body({"inputs": {"x": [[0.5] * 15] * 2}}), 422, "has shape [2, 15] where [n, 30] is wanted"),
        (WIDE, body({"inputs": {"x": [0.5] * 30}}), 422, "has shape [30] where [n, 30] is wanted"),
        (WIDE, body({"inputs": {"x": [[*ROW[1:], None]]}}), 422, "wants float32 and holds null"),
        (WIDE, body({"inputs": {"x": [[*ROW[1:], "1.5"]]}}), 422, "wants float32 and holds a string"),
        (WIDE, body({"inputs": {"x": [[*ROW[1:], {}]]}}), 422, "holds an object"),
        (WIDE, body({"inputs": {"x": [[True] * 30]}}), 422, "holds true or false"),
        (WIDE, body({"inputs": {"x": [ROW, ROW[1:]]}}), 422, "is ragged"),
        (WIDE, body({"inputs": {"x": None}}), 422, "holds null"),
        (WIDE, body({"inputs": {"x": "abc"}}), 422, "holds a string"),
        (WIDE, body({"inputs": {"x": [[*ROW[1:], 1e300]]}}), 422, "not a finite float32"),
        (WIDE, body({"inputs": {"x": []}}), 422, "has shape [0]"),
        (WIDE, body({"inputs": {"x": [ROW] * 9}}), 413, "9 rows; 1 to 8"),
        (INTEGERS, body({"inputs": [[1, 2.5]]}), 422, "holds a value that is no int32"),
        (INTEGERS, body({"inputs": [[1, 2**40]]}), 422, "holds a value that is no int32"),
        (TABLE, body({"rows": [{"age": 1, "visits": 2}]}), 422, "a row has no 'city'"),
        (TABLE, body({"rows": [{"age": 1, "visits": 2, "city": 7}]}), 422, "'city' wants strings and holds a value"),
        (TABLE, body({"rows": [{"age": 1, "visits": None, "city": "a"}]}), 422, "'visits' wants int64 and holds null"),
        (TABLE, body({"rows": [1]}), 422, "list of objects"),
        (TABLE, body({"inputs": {"age": [1], "visits": [1, 2], "city": ["a"]}}), 422, "'visits' has 2 rows"),
        (TABLE, body({"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}), 422, "rows with 1 values"),
        (WIDE, body({"inputs": {"x": [[True, *ROW[1:]]]}}), 422, "wants float32 and holds true or false"),
        (WIDE, b'{"inputs":' + b"[" * 900 + b"]" * 900 + b"}", 422, "where [n, 30] is wanted"),
        (WIDE, b'{"inputs":' + b"[" * 9000 + b"]" * 9000 + b"}", 400, "depth limit"),
        (WIDE, body({"inputs": {"x": [ROW] * 8, "y": 0}, "rows": []}), 400, "and has several"),
        (WIDE, b'{"inputs": [[1]], "inputs": [[2]]}', 400, "names a key twice"),
        (UNIFORM, b'{"rows": [{"a": 1, "b": 2, "a": 3}]}', 400, "names a key twice"),
        (TABLE, b'{"rows": [{"age": 1, "visits": 2, "city": ":", "city": "a:"}]}', 400, "names a key twice"),
        (INTEGERS, body({"inputs": [[1, True]]}), 422, "wants int32 and holds true or false"),
        (
            TABLE,
            body({"rows": [{"age": 1, "visits": 2**53 + 2.0, "city": "a"}]}),
            422,
            "'visits' holds a value that is",
        ),
        (TABLE, body({"rows": [{"age": 1, "visits": 2.0**63, "city": "a"}]}), 422, "'visits' holds a value that is no"),
        (TABLE, body({"dataframe_split": {"columns": ["age", "age"], "data": [[1, 2]]}}), 422, "each of them once"),
        (TABLE, body({"dataframe_split": {"columns": [["age"]], "data": [[1]]}}), 422, "that are names"),
        (WIDE, b"\xef\xbb\xbf{}", 400, "byte order mark"),
        (WIDE, "{}".encode("utf-16"), 400, "it is UTF-16"),
        (WIDE, "{}".encode("utf-16-le"), 400, "it is UTF-16"),
        (WIDE, gzip.compress(b"{}", mtime=0), 400, "compressed with gzip"),
        (WIDE, b'{"inputs": "\xff"}', 400, "the body is no JSON"),
        (TWO, body({"inputs": [[1]]}), 422, "carries one tensor; this model wants 'x', 'y'"),
        (TABLE, body({"dataframe_split": [1]}), 422, 'needs "columns" and "data"'),
        (UNIFORM, body({"rows": [{"a": 1, "b": "x"}]}), 422, "'b' wants float64 and holds a string"),
        (UNIFORM, body({"rows": []}), 422, "has 0 rows"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(schema: Schema, sent: bytes, status: int, sentence: str) -> None:
    with pytest.raises(BadRequest) as refused:
        schema.decode("application/json", sent)
    assert sentence in str(refused.value)
    assert refused.value.status == status


def test_a_row_count_is_looked_at_before_the_rows() -> None:
    """Nothing of these is a number, and nobody looked."""
    for sent in (
        {"inputs": {"x": [["a"]] * 9}},
        {"rows": [{}] * 9},
        {"dataframe_split": {"columns": [], "data": [[]] * 9}},
    ):
        for schema in (WIDE, Schema(TABLE.fields, max_rows=8)):
            with pytest.raises(BadRequest) as refused:
                schema.decode("", body(sent))
            assert refused.value.status in (413, 422)
    assert "9 rows; 1 to 8" in str(refused.value)


def test_a_text_among_numbers_takes_no_memory() -> None:
    """As numpy's texts these would be 4 GB."""
    with pytest.raises(BadRequest, match="holds a string"):
        Schema.of([column("a", "double")]).decode("", body({"inputs": {"a": ["x" * 10**6, *[1.5] * 999]}}))


def test_colons_in_texts_are_no_keys() -> None:
    sent = {"rows": [{"age": 1, "visits": 2, "city": 'a "b": {"c": 1} \\'}], "id": {"deep": [{"x:": 1}]}}
    assert TABLE.decode("", body(sent))["city"].tolist() == ['a "b": {"c": 1} \\']


@pytest.mark.parametrize("text", ["a:" * 9, '\\"' * 3 + ":", "\\\\", ':\\\\"', "\\n:", '":"', "\\"])
def test_a_key_twice_is_seen_beside_any_text(text: str) -> None:
    sent = body({"rows": [{"age": 1, "visits": 2, "city": text}]})
    assert TABLE.decode("", sent)["city"].tolist() == [text]
    with pytest.raises(BadRequest, match="names a key twice"):
        TABLE.decode("", sent.replace(b'"visits"', b'"age": 3, "visits"'))


@pytest.mark.parametrize("part", ["a:", "\n:", '":'])
def test_a_long_text_with_colons_takes_a_few_times_its_room(part: str) -> None:
    sent = body({"rows": [{"age": 1, "visits": 2, "city": part * 2**18}]})
    tracemalloc.start()
    try:
        TABLE.decode("", sent)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(sent)  # the parser asks for 12
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("enabled", [True, False])
def test_many_lists_are_not_searched_for_garbage_while_they_are_made(*, enabled: bool) -> None:
    searches: list[str] = []
    was, seen = gc.isenabled(), lambda phase, _: searches.append(phase)
    gc.callbacks.append(seen)
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(BadRequest, match="has shape"):
            WIDE.decode("", b'{"inputs": [[' + b"[]," * 10**5 + b"[]]]}")
        assert gc.isenabled() is enabled
        assert len(searches) < 20
    finally:
        (gc.enable if was else gc.disable)()
        gc.callbacks.remove(seen)


def test_optional_columns() -> None:
    kinds = {"double": np.nan, "string": None, "datetime": np.datetime64("NaT")}
    for kind in kinds:
        schema = Schema.of([column("a", "double"), column("b", kind, required=False)])
        for row in ({"a": 1, "b": None}, {"a": 1}):
            (value,) = schema.decode("", body({"rows": [row]}))["b"].tolist()
            assert value is None or np.isnan(value)
        assert request_schema(schema)["properties"]["rows"]["items"]["required"] == ["a"]
    for kind in ("long", "boolean"):  # no value of theirs stands for nothing, and the document says so
        schema = Schema.of([column("a", "double"), column("b", kind, required=False)])
        with pytest.raises(BadRequest, match="'b' is missing"):
            schema.decode("", body({"rows": [{"a": 1}]}))
        assert request_schema(schema)["properties"]["rows"]["items"]["required"] == ["a", "b"]
    narrow = Schema.of([column("a", "float", required=False)])
    with pytest.raises(BadRequest, match="not a finite float32"):
        narrow.decode("", body({"rows": [{"a": 1e300}]}))


def test_other_content_types_are_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        WIDE.decode("application/vnd.bentoml+pickle", b"")
    assert refused.value.status == 415


def test_tensors_by_name_and_bare() -> None:
    for sent in ({"inputs": {"x": [ROW]}}, {"inputs": [ROW]}):
        x = WIDE.decode("application/json; charset=utf-8", body(sent))["x"]
        assert (x.dtype, x.shape) == (np.float32, (1, 30))
    assert INTEGERS.decode("", body({"inputs": [[1.0, 2]]}))["x"].tolist() == [[1, 2]]


def arrow(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def test_arrow() -> None:
    kind = "application/vnd.apache.arrow.stream"
    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(60, dtype="float32")), 30)
    assert WIDE.decode(kind, arrow(pa.table({"x": rows})))["x"].shape == (2, 30)
    sent = pa.table({"age": [1.5], "visits": [2], "city": ["a"], "income": pa.array([None], pa.float64())})
    found = TABLE.decode(kind, arrow(sent))
    assert found["city"].tolist() == ["a"]
    assert np.isnan(found["income"]).all()
    with pytest.raises(BadRequest, match="no Arrow stream"):
        WIDE.decode(kind, b"nonsense")
    narrow = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(30, dtype="float32")), 15)
    with pytest.raises(BadRequest, match=r"has shape \[2, 15\] where \[n, 30\]"):
        WIDE.decode(kind, arrow(pa.table({"x": narrow})))


@pytest.mark.parametrize(
    "sent",
    [
        {"rows": [{"age": 1, "visits": 2, "city": "a", "other": 9}]},
        {"dataframe_records": [{"age": 1, "visits": 2, "city": "a"}]},
        {"dataframe_split": {"columns": ["city", "visits", "age"], "data": [["a", 2, 1]]}},
        {"inputs": {"age": [1], "visits": [2], "city": ["a"]}},
    ],
)
def test_columns_in_every_form(sent: Any) -> None:
    found = TABLE.decode("", body(sent))
    assert {name: value.dtype.name for name, value in found.items()} == {
        "age": "float64",
        "visits": "int64",
        "city": "object",
        "income": "float64",
    }
    assert found["age"].tolist() == [1.0]
    assert np.isnan(found["income"]).all()


def test_uniform_columns_come_from_one_matrix() -> None:
    for sent in (
        {"rows": [{"b": 2, "a": 1}, {"a": 3, "b": 4}]},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}},
        {"inputs": [[1, 2], [3, 4]]},
    ):
        found = UNIFORM.decode("", body(sent))
        assert {name: value.tolist() for name, value in found.items()} == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([], "has no inputs"),
        ([column("blob", "binary")], "'blob' is of type 'binary', which is not served"),
        ([tensor(3, "complex64")], "complex64, which is not served"),
        (
            [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [5, 3]}}],
            "fixes the first dimension of input 'input_0'",
        ),
    ],
)
def test_signatures_that_cannot_be_served(items: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Schema.of(items)


def test_an_unnamed_tensor_takes_the_example_name() -> None:
    item = tensor()
    del item["name"]
    assert Schema.of([item], ["pixels"]).names == ("pixels",)


def test_the_documents_bounds_are_where_numbers_end() -> None:
    one = Schema.of([column("a", "float")])
    assert np.isfinite(one.decode("", body({"inputs": {"a": [LARGEST, -LARGEST]}}))["a"]).all()
    with pytest.raises(BadRequest, match="not a finite float32"):
        one.decode("", body({"inputs": {"a": [float(np.nextafter(LARGEST, np.inf))]}}))


def test_documentation_of_tensors_and_columns() -> None:
    x = request_schema(WIDE)["properties"]["inputs"]["properties"]["x"]
    assert x["items"] == {
        "type": "array",
        "items": {"type": "number", "format": "float32", "minimum": -LARGEST, "maximum": LARGEST},
        "minItems": 30,
        "maxItems": 30,
    }
    row = request_schema(TABLE)["properties"]["rows"]["items"]
    assert row["required"] == ["age", "visits", "city"]
    assert row["properties"]["income"]["nullable"]
    assert row["properties"]["visits"]["maximum"] == 2**63 - 1
    assert row["properties"]["city"]["type"] == "string"
