"""What the protocol does not allow, or this model does not take: a sentence each."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.schema import Schema

INFER = "/v2/models/fraud/infer"
LENGTH = "inference-header-content-length"


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}


@pytest.mark.parametrize(
    ("sent", "status", "sentence"),
    [
        ({}, 400, "a list of tensors"),
        ({"inputs": []}, 400, "a list of tensors"),
        ({"inputs": [1]}, 400, "a list of tensors"),
        ({"inputs": [tensor(name=1)]}, 400, 'needs a "name"'),
        ({"inputs": [tensor(datatype="FP8")]}, 400, "datatype 'FP8', which the protocol has not"),
        ({"inputs": [tensor(shape=[2])]}, 422, "has shape [2] where [n, 2] is wanted"),
        ({"inputs": [tensor(shape=[2, True])]}, 400, "list of whole numbers"),
        ({"inputs": [tensor(shape=[-2, -2])]}, 400, "list of whole numbers"),
        ({"inputs": [tensor(shape=None)]}, 400, "list of whole numbers"),
        ({"inputs": [tensor(shape=[0, 2**60], data=[])]}, 400, "the body is shorter"),
        ({"inputs": [tensor(shape=[1] * 33)]}, 400, "'x' has 33 dimensions; up to 32 are read"),
        ({"inputs": [tensor(), tensor(name="y", shape=[1] * 33)]}, 400, "'y' has 33 dimensions"),
        ({"inputs": [tensor(shape=[1] * 32)]}, 422, ", 1, 1, 1 where [n, 2] is wanted"),  # cut
        ({"inputs": [{}] * 1026}, 413, "the request has 1026 inputs; the model has 1"),
        ({"inputs": [tensor()], "outputs": [{}] * 1025}, 413, "asks for 1025 outputs; up to 1024"),
        ({"inputs": [tensor(shape=[0, 2], data=[])]}, 422, "has 0 rows"),
        ({"inputs": [tensor(shape=[10, 2], data=[0] * 20)]}, 413, "10 rows; 1 to 9"),
        ({"inputs": [tensor(data=[1, 2, 3])]}, 422, "holds 3 values where the shape [2, 2] has 4"),
        ({"inputs": [tensor(data=[[1, 2], [3]])]}, 422, "is ragged"),
        ({"inputs": [tensor(data=[[1, 2, 3, 4]])]}, 422, "has shape [1] where [2, 2]"),
        ({"inputs": [tensor(data={})]}, 400, "must be a list"),
        ({"inputs": [tensor(data=[1, 2, 3, None])]}, 422, "wants float32 and holds null"),
        ({"inputs": [tensor(data=[1, 2, 3, True])]}, 422, "wants float32 and holds true or false"),
        ({"inputs": [tensor(data=[1, 2, 3, 1e39])]}, 422, "not a finite float32"),
        ({"inputs": [tensor(datatype="FP64", data=[1, 2, 3, 1e39])]}, 422, "not a finite float32"),
        ({"inputs": [tensor(datatype="INT8", data=[1, 2, 3, 300])]}, 422, "no int8"),
        ({"inputs": [tensor(datatype="INT8", data=[1, 2, 3, 1.5])]}, 422, "no int8"),
        ({"inputs": [tensor(datatype="BOOL", data=[True] * 4)]}, 422, "datatype BOOL where FP32 is wanted"),
        ({"inputs": [tensor(), tensor()]}, 400, "'x' is there twice"),
        ({"inputs": [tensor(name="y")]}, 422, "missing input 'x'"),
        ({"inputs": [tensor()], "outputs": [{"name": "y"}]}, 422, "no output 'y'; it has 'x'"),
        ({"inputs": [tensor()], "outputs": [{"name": "x"}, {"name": "x"}]}, 400, "asked for twice"),
        ({"inputs": [tensor()], "outputs": "x"}, 400, '"outputs" must be'),
        ({"inputs": [tensor()], "id": 1}, 400, 'the "id" must be a text'),
        ({"inputs": [tensor()], "parameters": [1]}, 400, "must be an object"),
        ({"inputs": [tensor()], "parameters": {"binary_data_output": 1}}, 400, "must be true or false"),
        ({"inputs": [tensor(parameters={"shared_memory_region": "a"})]}, 422, "which is not served"),
        ({"inputs": [tensor(parameters={"content_type": "base64"})]}, 422, "'base64', which is not read"),
        ({"inputs": [tensor(parameters={"content_type": []})]}, 422, "the content type a list, which is not read"),
        ({"inputs": [tensor(parameters={"content_type": {}})]}, 422, "the content type an object"),
        ({"inputs": [tensor(parameters={"content_type": "a" * 999})]}, 422, f"'{'a' * 40}', which"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "x", "parameters": {"content_type": [[]]}}]},
            422,
            "an output has the content type a list",
        ),
        ({"inputs": [tensor(parameters={"binary_data_size": 16})]}, 400, "the bytes of input 'x' are not there"),
    ],
)
def test_what_is_wrong_is_said(served: Any, sent: Any, status: int, sentence: str) -> None:
    served = served("tensor")
    code, answer = served.infer(sent)
    assert sentence in answer["error"]
    assert (code, set(answer), served.counted.codes) == (status, {"error", "request_id"}, [status])


@pytest.mark.parametrize(
    ("one", "raw", "status", "sentence"),
    [
        (tensor(shape=[1, 2]), b"1234567", 400, "has 7 bytes where FP32 of shape [1, 2] has 8"),
        (tensor(shape=[1, 2]), np.array([1, np.nan], "<f4").tobytes(), 422, "not a finite float32"),
        (tensor(shape=[1, 2], datatype="FP64"), np.array([1, 1e39], "<f8").tobytes(), 422, "not a finite"),
        ({"name": "words", "shape": [1], "datatype": "BYTES"}, b"\x01\0\0\0\xff", 422, "it is no UTF-8"),
        ({"name": "words", "shape": [1], "datatype": "BYTES"}, b"\x09\0\0\0a", 400, "are not 1 texts"),
        ({"name": "words", "shape": [1], "datatype": "BYTES"}, b"\x01\0", 400, "are not 1 texts"),
        ({"name": "words", "shape": [2], "datatype": "BYTES"}, b"\x01\0\0\0a", 400, "are not 2 texts"),
        ({"name": "words", "shape": [1], "datatype": "BYTES"}, b"\x01\0\0\0a\x01\0\0\0\xff", 400, "are not 1 texts"),
    ],
)
def test_bytes_that_are_no_such_tensor(served: Any, one: Any, raw: bytes, status: int, sentence: str) -> None:
    schema = {"x": "tensor", "words": "words"}[one["name"]]
    head = json.dumps({"inputs": [{**one, "data": None, "parameters": {"binary_data_size": len(raw)}}]}).encode()
    code, _, answer = served(schema).ask(INFER, head + raw, **{LENGTH: str(len(head))})
    assert (code, sentence in json.loads(answer)["error"]) == (status, True), answer
    for changed in (head + raw + b"x", (head + raw)[:-1]):
        assert served(schema).ask(INFER, changed, **{LENGTH: str(len(head))})[0] == 400
    assert served(schema).ask(INFER, head + raw, **{LENGTH: "99999"})[0] == 400
    assert served(schema).ask(INFER, head + raw, **{LENGTH: "-1"})[0] == 400


@pytest.mark.parametrize("value", [70_000, -70_000, 1e300])
def test_a_half_that_is_infinite_is_no_integer(served: Any, value: float) -> None:
    whole = Schema.of([{"type": "integer", "name": "z", "required": True}])
    one = {"name": "z", "shape": [1], "datatype": "FP16"}
    served = served(whole)
    status, answer = served.infer({"inputs": [{**one, "data": [value]}]})
    assert (status, answer["error"], served.counted.codes) == (422, "input 'z' holds a value that is no int32", [422])
    assert served.infer({"inputs": [{**one, "data": [2048]}]})[1]["outputs"][0]["data"] == [2048]


def test_a_long_name_is_not_said_again(served: Any) -> None:
    """Of a matrix of all columns, which has a name of the sender's own."""
    sent = {"name": "n" * 5000, "shape": [1, 3], "datatype": "FP64", "data": [1, 2]}
    status, answer = served("uniform").infer({"inputs": [sent]})
    assert (status, len(answer["error"]) < 200) == (422, True)


def test_a_byte_that_is_neither_true_nor_false(served: Any) -> None:
    schema = Schema.of([{"type": "boolean", "name": "b", "required": True}])
    one = {"name": "b", "shape": [1], "datatype": "BOOL", "parameters": {"binary_data_size": 1}}
    head = json.dumps({"inputs": [one]}).encode()
    for raw, status in ((b"\x01", 200), (b"\x02", 400)):
        assert served(schema).ask(INFER, head + raw, **{LENGTH: str(len(head))})[0] == status


def test_bodies_that_are_not_read(served: Any) -> None:
    whole = json.dumps({"inputs": [tensor()]}).encode()
    for headers, status in (
        ({"content_type": "text/html"}, 415),
        ({"content_type": "application/octet-stream"}, 415),
        ({"content_encoding": "gzip"}, 415),
        ({"content_type": "application/json; charset=utf-8", "accept": "application/octet-stream"}, 200),
    ):
        assert served("tensor").ask(INFER, whole, **headers)[0] == status
    assert served("tensor").ask(INFER, whole.replace(b'"FP32"', b'"FP32", "name": "y"'))[0] == 400  # a key twice
    assert served("tensor").ask(INFER, b"{")[0] == 400


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        (INFER, "application/x-arrow", 415),
        ("/predict", "text/arrow", 415),
        ("/predict", "text/html; a=application/x-arrow", 415),
        ("/predict", "Application/X-Arrow; a=b", 400),
    ],
)
def test_pyarrow_is_imported_where_a_stream_may_be_read_only(
    served: Any, monkeypatch: pytest.MonkeyPatch, path: str, kind: str, status: int
) -> None:
    """A quarter of a second, which nobody may make a replica spend who is refused anyway."""
    calls: list[str] = []

    async def here() -> None:
        calls.append(kind)

    monkeypatch.setattr("lockgate.services.serving.arrow.here", here)
    one = served("tensor")
    assert one.ask(path, b"{}", content_type=kind)[0] == status
    assert calls == ([] if status == 415 else [kind])
    reply = one.core.at_once({"headers": [(b"content-type", kind.encode())]}, b"{}", path.encode())
    assert (reply is None) == bool(calls)


def test_an_answer_that_is_not_finite_is_an_error(served: Any) -> None:
    status, answer = served("tensor", lambda x: {"y": x["x"] * np.inf}).infer({"inputs": [tensor(data=[1, 2, 3, 4])]})
    assert (status, answer["error"]) == (500, "the model answered infinity for output 'y' in row 0")
