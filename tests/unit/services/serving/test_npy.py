from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.lists import held
from lockgate.services.serving.refusals import BadRequest
from lockgate.services.serving.schema import Schema

WIDE = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 30]}}], max_rows=8)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", ">f4", "float64", "int16"])
def test_npy(order: Any, dtype: str) -> None:
    file = io.BytesIO()
    np.save(file, np.asarray(np.arange(60).reshape(2, 30), dtype, order=order))
    x = WIDE.decode("application/x-npy", file.getvalue())["x"]
    assert x.dtype == np.float32
    assert x.tolist() == np.arange(60.0).reshape(2, 30).tolist()
    with pytest.raises(BadRequest, match="no npy file"):
        WIDE.decode("application/x-npy", file.getvalue()[:-4])


def test_npy_never_unpickles() -> None:
    file = io.BytesIO()
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(BadRequest, match="no npy file"):
        WIDE.decode("application/x-npy", file.getvalue())


def lying(descr: str, shape: tuple[int, ...], data: bytes = b"", *, fortran: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (lying("<f4", (10**12, 30)), 400),
        (lying("<f4", (10**8, 30), bytes(240), fortran=True), 400),
        (lying("<f4", (-1, 30), bytes(240)), 400),
        (lying("<f4", (10**12, 0)), 400),
        (lying("<f4", (1, 30), bytes(240)), 400),
        (lying("<U1", (1, 30), b"\xff" * 120), 422),
        (lying("<c8", (1, 30), bytes(240)), 422),
        (lying("|S4", (1, 30), bytes(120)), 422),
        (lying("<M8[s]", (1, 30), bytes(240)), 422),
        (lying("<f4", (1, 30), bytes(120)).replace(b"NUMPY\x01", b"NUMPY\x03"), 400),
        (lying("<f4", (9, 30), bytes(1080)), 413),
        (lying("<f8", (1, 30), np.full(30, 1e300).tobytes()), 422),
    ],
)
def test_npy_that_lies_or_does_not_fit(sent: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        WIDE.decode("application/x-npy", sent)
    assert refused.value.status == status


@pytest.mark.parametrize("code", [0xD800, 0x110000, 0xFFFFFFFF])
def test_npy_texts_are_characters(code: int) -> None:
    """A lone surrogate cannot be written again, as an answer or as captured traffic."""
    schema = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "str", "shape": [-1]}}])
    with pytest.raises(BadRequest, match="holds a text that is none"):
        schema.decode("application/x-npy", lying("<U1", (1,), code.to_bytes(4, "little")))


TEXTS = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "str", "shape": [-1]}}], max_rows=8)
DEEP = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, -1, -1]}}])


def table(*kinds: str) -> Schema:
    return Schema.of([{"type": kind, "name": f"c{i}", "required": True} for i, kind in enumerate(kinds)], max_rows=8)


@pytest.mark.parametrize(
    ("schema", "sent", "sentence"),
    [
        (TEXTS, lying("<U0", (10**12,), fortran=True), "of type <U0, which is not read"),
        (TEXTS, lying("<U1", (10**6,), bytes(4 * 10**6)), "1000000 rows; 1 to 8"),
        (table("double"), lying("|S0", (1, 10**12), fortran=True), "of type |S0, which is not read"),
        (table("double"), lying("|V0", (1, 10**12)), "which is not read"),
        (table("double", "long"), lying("<f4", (1, 10**6), bytes(4 * 10**6)), "shape [1, 1000000] where [n, 2]"),
        (table("double"), lying("<f4", (9, 1), bytes(36)), "9 rows; 1 to 8"),
        (DEEP, lying("<f4", (1, 10**12, 0)), "its shape is [1, 1000000000000, 0]"),
    ],
)
def test_a_header_is_looked_at_before_its_values_are_made(schema: Schema, sent: bytes, sentence: str) -> None:
    """A header of 128 bytes may say any number of values; as Python's they would be terabytes."""
    with pytest.raises(BadRequest) as refused:
        schema.decode("application/x-npy", sent)
    assert sentence in str(refused.value)


def test_no_value_is_made_for_columns_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.services.serving.fields._objects", None)
    with pytest.raises(BadRequest, match="shape"):
        table("string").decode("application/x-npy", lying("<U1", (1, 2), bytes(8)))


@pytest.mark.parametrize("unit", ["ns", "D"])
@pytest.mark.parametrize("kind", ["double", "long", "boolean", "string"])
def test_times_are_no_numbers(kind: str, unit: str) -> None:
    with pytest.raises(BadRequest, match="holds datetime64"):
        table(kind).decode("application/x-npy", lying(f"<M8[{unit}]", (1, 1), bytes(8)))


def test_npy_of_columns() -> None:
    found = table("double", "long").decode(
        "application/x-npy", lying("<f4", (2, 2), np.arange(4.0, dtype="<f4").tobytes())
    )
    assert {name: (x.dtype.name, x.tolist()) for name, x in found.items()} == {
        "c0": ("float64", [0.0, 2.0]),
        "c1": ("int64", [1, 3]),
    }
    when = table("datetime").decode("application/x-npy", lying("<M8[D]", (1, 1), (1).to_bytes(8, "little")))["c0"]
    assert when.tolist() == [86_400 * 10**9]
    for kind, value in (("long", 1.5), ("boolean", 1.0), ("float", 1e300), ("string", 1.0)):
        with pytest.raises(BadRequest, match="'c0'"):
            table(kind).decode("application/x-npy", lying("<f8", (1, 1), np.array([value]).tobytes()))


def test_values_that_begin_anywhere_are_aligned() -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.arange(30, dtype="f4").reshape(1, 30), version=(2, 0))
    head, data = file.getvalue()[12:-120], file.getvalue()[-120:]
    odd = b"\x93NUMPY\x02\x00" + (len(head) - 1).to_bytes(4, "little") + head.replace(b" \n", b"\n") + data
    x = WIDE.decode("application/x-npy", odd)["x"]
    assert x.flags.aligned
    assert x[0].tolist() == list(range(30))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 0.5])
def test_what_is_no_integer(value: float) -> None:
    file = io.BytesIO()
    np.save(file, np.array([[value]], "float16"))
    with pytest.raises(BadRequest, match="holds a value that is no int64"):
        Schema.of([{"type": "long", "name": "z"}]).decode("application/x-npy", file.getvalue())


def test_no_more_is_multiplied_than_the_bytes_can_say() -> None:
    """The product of many large sizes is a number that takes minutes."""

    def sizes() -> Iterator[int]:
        yield from (0, 4, 3)
        raise AssertionError("it reads on")

    assert not held(sizes(), 1)  # type: ignore[arg-type]
    assert held((0, 4, 2), 1)
