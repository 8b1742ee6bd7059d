"""Arrow streams that lie, and those that only look odd."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.services.serving.arrow import _values, columns
from lockgate.services.serving.refusals import BadRequest
from lockgate.services.serving.schema import Schema

KIND = "application/vnd.apache.arrow.stream"
PAIR = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}], max_rows=8)
TEXT = Schema.of([{"type": "string", "name": "x", "required": True}], max_rows=8)
WHOLE = Schema.of([{"type": "long", "name": "x", "required": True}], max_rows=8)
MOMENT = Schema.of([{"type": "datetime", "name": "x", "required": True}], max_rows=8)
FLOATS = pa.array(np.arange(4, dtype="float32"))


def stream(*batches: Any, name: str = "x", **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    made = [pa.RecordBatch.from_arrays([batch], names=[name]) for batch in batches]
    with pa.ipc.new_stream(sink, made[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in made:
            writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("schema", "sent", "found"),
    [
        (PAIR, pa.FixedSizeListArray.from_arrays(FLOATS, 2), [[0, 1], [2, 3]]),
        (PAIR, pa.array([[0.0, 1.0], [2.0, 3.0]]), [[0, 1], [2, 3]]),
        (TEXT, pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (TEXT, pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (WHOLE, pa.array([1, 2], pa.int8()), [1, 2]),
    ],
)
def test_what_is_read(schema: Schema, sent: Any, found: list[Any]) -> None:
    assert schema.decode(KIND, stream(sent))["x"].tolist() == found


@pytest.mark.parametrize(
    ("schema", "sent", "status", "sentence"),
    [
        (PAIR, stream(FLOATS), 422, "has shape [4] where [n, 2] is wanted"),
        (PAIR, stream(pa.FixedSizeListArray.from_arrays(FLOATS, 4)), 422, "has shape [1, 4]"),
        (PAIR, stream(pa.array([[1.0, 2.0], [1.0]])), 422, "is ragged"),
        (PAIR, stream(pa.array([None, [1.0, 2.0]], pa.list_(pa.float32(), 2))), 422, "null where a list is wanted"),
        (PAIR, stream(pa.array([{"a": 1}])), 422, "of Arrow type struct<a: int64>, which is not read"),
        (PAIR, stream(FLOATS, name="y"), 422, "missing input 'x'"),
        (PAIR, stream(FLOATS[:0]), 422, "has shape [0]"),
        (TEXT, stream(pa.array(["a"], pa.string_view())), 422, "string_view, which is not read"),
        (TEXT, stream(pa.array([b"a"])), 422, "of Arrow type binary"),
        (TEXT, stream(pa.array(["a", None])), 422, "wants strings and holds null"),
        (TEXT, stream(pa.array([1])), 422, "wants strings and holds int64"),
        (WHOLE, stream(pa.array([1, None])), 422, "wants int64 and holds null"),
        (WHOLE, stream(pa.array([2.0**53 + 2])), 422, "no int64"),
        (WHOLE, stream(pa.array([1.5])), 422, "no int64"),
        (MOMENT, stream(pa.array([0, None], pa.timestamp("s"))), 422, "is none (NaT)"),
        (PAIR, stream(pa.array([[1.0, None]])), 422, "holds null in a list"),
        (PAIR, stream(pa.array([["a", "b"]])), 422, "wants float32 and holds a string"),
        (PAIR, stream(pa.array([[[1.0]], [[1.0]]])), 422, "has shape [2, 1, 1]"),
        (MOMENT, stream(pa.array([2**40], pa.timestamp("s"))), 422, "no datetime64[ns]"),
        (WHOLE, stream(pa.array(range(9))), 413, "9 rows or more; 1 to 8"),
        (WHOLE, stream(*[pa.array([1])] * 9), 413, "9 rows or more"),
        (WHOLE, stream(pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])), 413, "rows or more"),
        (WHOLE, stream(pa.array([1] * 8), compression="zstd"), 415, "is compressed"),
        (TEXT, stream(pa.array(["a" * 99]).dictionary_encode(), compression="lz4"), 415, "is compressed"),
    ],
)
def test_what_is_refused(schema: Schema, sent: bytes, status: int, sentence: str) -> None:
    with pytest.raises(BadRequest) as refused:
        schema.decode(KIND, sent)
    assert sentence in str(refused.value)
    assert refused.value.status == status


def test_a_column_that_is_there_twice() -> None:
    table = pa.Table.from_arrays([FLOATS, FLOATS], names=["x", "x"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(BadRequest, match="several columns 'x'"):
        PAIR.decode(KIND, bytes(sink.getvalue().to_pybytes()))


def test_offsets_that_point_out_of_the_stream() -> None:
    sent, honest = stream(pa.array(["hello", "world"])), struct.pack("<3i", 0, 5, 10)
    assert sent.count(honest) == 1
    for lie in ((0, 5, 2**30), (0, 2**30, 10), (0, -5, 10)):
        with pytest.raises(BadRequest, match="no Arrow stream"):
            TEXT.decode(KIND, sent.replace(honest, struct.pack("<3i", *lie)))


def test_a_word_of_a_dictionary_is_not_copied_for_each_row() -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 8), pa.array(["a" * 10**6]))
    found = columns(stream(words), TEXT.fields, 8)["x"]
    assert len({id(word) for word in found}) == 1


FREE = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, -1]}}], max_rows=8)
DEEP = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, -1, -1]}}])
MANY = 2**31 - 1
NULLS = pa.Array.from_buffers(pa.null(), MANY, [None])
OFFSETS = [None, pa.py_buffer(struct.pack("<2i", 0, MANY))]
EMPTY = pa.FixedSizeListArray.from_buffers(pa.list_(pa.float32(), 0), MANY, [None], children=[FLOATS[:0]])
WORDS = pa.array(["b" * 2**20, "c" * 2**20])


def coded(rows: int, words: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), words)


@pytest.mark.parametrize(
    ("schema", "sent", "sentence"),
    [
        (FREE, stream(pa.Array.from_buffers(pa.list_(pa.null()), 1, OFFSETS, children=[NULLS])), "list<item: null>"),
        (FREE, stream(pa.FixedSizeListArray.from_arrays(NULLS, MANY)), "fixed_size_list<item: null>"),
        (DEEP, stream(pa.FixedSizeListArray.from_arrays(EMPTY, MANY)), "more values than it has bits"),
        (WHOLE, stream(coded(1, NULLS)), "of Arrow type dictionary<values=null"),
        (FREE, stream(coded(1, pa.array([[0.5] * 9]))), "of Arrow type dictionary<values=list"),
        (FREE, stream(pa.array([[1]], pa.list_view(pa.int8()))), "list_view"),
        (WHOLE, stream(pa.RunEndEncodedArray.from_arrays([8], [1])), "run_end_encoded"),
        (FREE, stream(pa.array([{"a": 1}], pa.map_(pa.string(), pa.int8()))), "of Arrow type map"),
        (TEXT, stream(*[coded(1, WORDS)] * 8), "repeats itself"),
        (TEXT, stream(*[coded(0, WORDS)] * 9), "repeats itself"),
        (WHOLE, stream(*[pa.array([], pa.int64())] * 9), "more than 8 batches"),
    ],
)
def test_small_streams_that_say_much(schema: Schema, sent: bytes, sentence: str) -> None:
    """What a few bytes may say as often as they like is never made, and a dictionary is not looked through anew."""
    assert len(sent) < 3 * 2**20
    with pytest.raises(BadRequest) as refused:
        schema.decode(KIND, sent)
    assert sentence in str(refused.value)


def test_a_long_word_may_be_there_in_some_rows() -> None:
    schema = Schema(TEXT.fields, max_rows=100)
    assert len(schema.decode(KIND, stream(coded(10, WORDS)))["x"]) == 10
    with pytest.raises(BadRequest, match="repeats itself"):
        schema.decode(KIND, stream(coded(17, WORDS)))


def test_columns_that_share_their_bytes() -> None:
    """All columns of a batch may name the same buffers."""
    names = [f"x{i}" for i in range(9)]
    schema = Schema.of([{"type": "string", "name": name, "required": True} for name in names], max_rows=8)
    texts = [pa.array(["a" * 2**21]), *[pa.array([""])] * 8]
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_arrays(texts, names=names)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    sent = sink.getvalue().to_pybytes()
    assert len(schema.decode(KIND, sent)["x0"][0]) == 2**21
    first = struct.pack("<6q", 0, 0, 0, 8, 8, 2**21)  # where no validity, the offsets and the text begin, and how long
    place = sent.index(first)
    forged = bytearray(sent)
    forged[place : place + len(first) * 9] = first * 9
    with pytest.raises(BadRequest, match="repeats itself"):
        schema.decode(KIND, bytes(forged))


def test_numbers_of_a_dictionary_and_nulls() -> None:
    assert WHOLE.decode(KIND, stream(coded(3, pa.array([7]))))["x"].tolist() == [7, 7, 7]
    words = Schema.of([{"type": "string", "name": "x", "required": False}])
    sent = pa.DictionaryArray.from_arrays(pa.array([1, None, 0]), pa.array(["a", "b"]))
    assert words.decode(KIND, stream(sent))["x"].tolist() == ["b", None, "a"]


@pytest.mark.parametrize("schema", [PAIR, TEXT, WHOLE, DEEP])
def test_damaged_streams_are_read_or_refused(schema: Schema) -> None:
    """Seeded: every byte of a stream may be wrong."""
    sent = {
        PAIR: stream(pa.FixedSizeListArray.from_arrays(FLOATS, 2)),
        TEXT: stream(pa.array(["hello", "world"]).dictionary_encode()),
        WHOLE: stream(pa.array([1, 2])),
        DEEP: stream(pa.array([[["a"], ["b"]], [["c"], ["d"]]])),
    }[schema]
    dice = random.Random(20260131)
    refused = 0
    for _ in range(600):
        damaged = bytearray(sent)
        for _ in range(dice.choice((1, 2, 4))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            schema.decode(
                KIND, bytes(damaged[: dice.choice((len(sent), len(sent), dice.randrange(len(sent)))) or None])
            )
        except BadRequest:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "column",
    [
        *(pa.array([1, 0, 1, 1], getattr(pa, f"{sign}int{bits}")()) for sign in ("", "u") for bits in (8, 16, 32, 64)),
        *(pa.array(np.array([1, 0, 1, 1], f"float{bits}")) for bits in (16, 32, 64)),
        pa.array([True, False, True, True]),
        *(pa.array([1, None, -9, 4], kind) for kind in (pa.date32(), pa.timestamp("ns"), pa.timestamp("s", "UTC"))),
        pa.array([86_400_000, None, -86_400_000, 0], pa.date64()),
    ],
    ids=lambda column: str(column.type),
)
def test_values_are_what_pyarrow_makes_of_them(column: Any) -> None:
    """`to_numpy` imports pandas, so it is not what a replica calls."""
    for part in (column, column.slice(1, 2), column.slice(4)):
        expected, found = part.to_numpy(zero_copy_only=False), _values(part, "x", 1000)
        assert (found.dtype, found.tolist()) == (expected.dtype, expected.tolist())
