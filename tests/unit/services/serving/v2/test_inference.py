"""Bodies as clients send them, and answers as they read them."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.schema import Arrays

INFER = "/v2/models/fraud/infer"
LENGTH = "inference-header-content-length"


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}


def values(answer: Any) -> dict[str, Any]:
    return {o["name"]: np.array(o["data"]).reshape(o["shape"]).tolist() for o in answer["outputs"]}


def test_a_request_of_the_specification(served: Any) -> None:
    sent = {"id": "42", "inputs": [tensor()], "outputs": [{"name": "x"}]}
    status, answer = served("tensor").infer(sent)
    assert status == 200
    one = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}
    assert answer == {"model_name": "fraud", "model_version": "7", "id": "42", "outputs": [one]}


BINARY = (
    b'{"id":"q-7","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}],'
    b'"parameters":{"binary_data_output":true}}' + struct.pack("<ff", 1.5, -2.0)
)
"""As tritonclient 2.73 sends it, which names no content type."""


def test_tritonclient_sends_and_reads_bytes(served: Any) -> None:
    headers = {"user-agent": "python/gevent-http-client-2.6.1", LENGTH: str(len(BINARY) - 8)}
    status, found, answer = served("tensor").ask("/v2/models/fraud-detector/versions/7/infer", BINARY, **headers)
    assert (status, found["content-type"]) == (200, "application/octet-stream")
    head = json.loads(answer[: int(found[LENGTH])])
    assert head["outputs"] == [
        {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    ]
    assert answer[int(found[LENGTH]) :] == struct.pack("<ff", 1.5, -2.0)


KSERVE = (
    b'{"id":"838d62ce-7712-49f9-943e-e593dc30aad6","model_name":"fraud","inputs":[{"name":"x","shape":[1,2],'
    b'"datatype":"FP32","parameters":{"binary_data_size":8}}],"parameters":{"binary_data_output":true}}'
)
"""As kserve 0.21's client sends it."""


def test_kserve_sends_and_reads_bytes(served: Any) -> None:
    headers = {LENGTH: str(len(KSERVE)), "content-type": "application/octet-stream", "accept": "*/*"}
    status, found, answer = served("tensor").ask(INFER, KSERVE + struct.pack("<ff", 1.5, -2.0), **headers)
    assert status == 200
    assert json.loads(answer[: int(found[LENGTH])])["id"] == "838d62ce-7712-49f9-943e-e593dc30aad6"
    assert answer[int(found[LENGTH]) :] == struct.pack("<ff", 1.5, -2.0)


MLSERVER = (
    b'{"parameters":{"content_type":"pd"},"inputs":[{"name":"age","shape":[2,1],"datatype":"FP64","data":[31.5,1.25]},'
    b'{"name":"height","shape":[2,1],"datatype":"FP64","data":[1.75,0.5]},'
    b'{"name":"visits","shape":[2,1],"datatype":"INT64","data":[4,9]},'
    b'{"name":"rooms","shape":[2,1],"datatype":"INT64","data":[2,1]},'
    b'{"name":"member","shape":[2,1],"datatype":"BOOL","data":[true,false]},{"name":"city","shape":[2,1],'
    b'"datatype":"BYTES","parameters":{"content_type":"str"},"data":["Gent","Z\xc3\xbcrich"]},{"name":"since",'
    b'"shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"str"},"data":["2026-01-31T12:00:00Z",'
    b'"2025-01-31"]},{"name":"income","shape":[2,1],"datatype":"FP64","data":[null,5.0]}]}'
)
"""As mlserver 1.7's codec for pandas writes a frame: its widest numbers, and null for NaN."""


def test_mlserver_sends_a_frame(served: Any) -> None:
    def answers(x: Arrays) -> Arrays:
        assert [v.dtype.name for v in x.values()][1:4] == ["float32", "int64", "int32"]
        return {"score": x["age"] + np.nan_to_num(x["income"]), "city": x["city"], "year": x["since"].astype("M8[Y]")}

    status, _, answer = served("table", answers).ask(INFER, MLSERVER, **{"content-type": "application/json"})
    assert status == 200
    assert values(json.loads(answer))["score"] == [31.5, 6.25]
    assert values(json.loads(answer))["city"] == ["Gent", "Zürich"]


def test_which_outputs_come_how_and_in_what_order(served: Any) -> None:
    def two(x: Arrays) -> Arrays:
        return {"a": x["x"][:, 0], "b": x["x"][:, 1].astype("int64"), "c": x["x"]}

    wanted = [{"name": "b", "parameters": {"binary_data": True}}, {"name": "a", "parameters": {"binary_data": False}}]
    body = {"inputs": [tensor()], "outputs": wanted, "parameters": {"binary_data_output": True}}
    _, found, answer = served("tensor", two).ask(INFER, json.dumps(body).encode())
    first, second = json.loads(answer[: int(found[LENGTH])])["outputs"]
    assert (first["name"], first["datatype"], first["parameters"]) == ("b", "INT64", {"binary_data_size": 16})
    assert (second["name"], second["data"]) == ("a", [1.0, 3.0])
    assert np.frombuffer(answer[int(found[LENGTH]) :], "<i8").tolist() == [2, 4]


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        ("FP32", np.array([1, -2], "<f4").tobytes()),
        ("FP64", np.array([1, -2], "<f8").tobytes()),
        ("FP16", np.array([1, -2], "<f2").tobytes()),
        ("BF16", bytes.fromhex("803f00c0")),
        ("INT8", b"\x01\xfe"),
        ("INT64", np.array([1, -2], "<i8").tobytes()),
    ],
)
def test_numbers_of_every_datatype_become_the_signatures(served: Any, datatype: str, raw: bytes) -> None:
    one = tensor(shape=[1, 2], datatype=datatype, parameters={"binary_data_size": len(raw)})
    del one["data"]
    head = json.dumps({"inputs": [one]}).encode()
    status, _, answer = served("tensor").ask(INFER, head + raw, **{LENGTH: str(len(head))})
    assert (status, values(json.loads(answer))) == (200, {"x": [[1.0, -2.0]]})
    status, told = served("tensor").infer({"inputs": [tensor(shape=[1, 2], datatype=datatype, data=[[1, -2]])]})
    assert (status, values(told)) == (200, {"x": [[1.0, -2.0]]})


ROWS = [
    {"age": 31.5, "height": 0.1, "visits": 2**53 + 1, "rooms": -2, "member": True, "city": "Gent"},
    {"age": -0.0, "height": 1.75, "visits": 0, "rooms": 1, "member": False, "city": 'Zü"rich:'},
]
OWN = {"age": "FP64", "height": "FP32", "visits": "INT64", "rooms": "INT32", "member": "BOOL", "city": "BYTES"}


def columns(rows: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """As MLServer's codec for pandas writes a table."""
    own = {**OWN, "since": "BYTES", "income": "FP64"}
    return [
        {"name": n, "shape": [len(rows), 1], "datatype": own[n], "data": [row[n] for row in rows], **more}
        for n in rows[0]
    ]


def binary(rows: list[dict[str, Any]]) -> tuple[bytes, int]:
    """The same as tritonclient writes it, and how long its JSON is."""
    told, tail = [], b""
    for one in columns(rows):
        texts = [text.encode() for text in one["data"]] if one["datatype"] == "BYTES" else []
        kinds = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "BOOL": "?"}
        raw = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        raw = raw or np.array(one.pop("data"), kinds[one["datatype"]]).tobytes()
        one.pop("data", None)
        told.append({**one, "shape": [len(rows)], "parameters": {"binary_data_size": len(raw)}})
        tail += raw
    head = json.dumps({"inputs": told}, separators=(",", ":")).encode()
    return head + tail, len(head)


@pytest.mark.parametrize("count", [1, 2])
def test_the_model_gets_what_predict_gives_it(served: Any, count: int) -> None:
    """The contract: every way to say a table is the same arrays."""
    rows = [{**row, "since": "2026-01-31T12:00:00.5+02:00"} for row in ROWS[:count]]
    seen: list[Arrays] = []

    def keep(x: Arrays) -> Arrays:
        seen.append(x)
        return {"score": x["age"]}

    served("table", keep).ask("/predict", json.dumps({"rows": rows}).encode())
    whole, split = binary(rows)
    served("table", keep).ask(INFER, whole, **{LENGTH: str(split), "content-type": "application/octet-stream"})
    for sent in (
        columns(rows),
        columns(rows, parameters={"content_type": "pd"}),
        [{**one, "shape": [count], "parameters": None} for one in reversed(columns(rows))],
        [{**one, "data": [[value] for value in one["data"]]} for one in columns(rows)],
        [*columns(rows), {"name": "unknown", "shape": [1], "datatype": "FP32", "data": ["?"]}],
        columns([{**row, "income": None} for row in rows]),
    ):
        served("table", keep).infer({"id": None, "parameters": None, "outputs": None, "inputs": sent})
    assert len(seen) == 8
    for other in seen[1:]:
        np.testing.assert_equal(other, seen[0])
        assert list(other) == list(seen[0])
        assert [v.dtype for v in other.values()] == [v.dtype for v in seen[0].values()]


def test_one_matrix_for_columns_of_one_type(served: Any) -> None:
    for datatype, data in (("FP64", [1, 2, 3, 4, 5, 6]), ("INT32", [[1, 2, 3], [4, 5, 6]])):
        sent = {"name": "rows", "shape": [2, 3], "datatype": datatype, "data": data}
        status, answer = served("uniform").infer({"inputs": [sent]})
        assert (status, values(answer)) == (200, {"a": [1, 4], "b": [2, 5], "c": [3, 6]})
    assert served("uniform").infer({"inputs": [{**sent, "name": "a"}]})[0] == 422


def test_texts_and_what_is_none(served: Any) -> None:
    def mixed(x: Arrays) -> Arrays:
        return {
            "t": x["words"],
            "u": np.array(["ä"] * 2),
            "o": np.array(["a", None], object),
            "j": np.array([1, {}], object),
        }

    sent = {"name": "words", "shape": [2, 1], "datatype": "BYTES", "data": ["ü", ""]}
    answer = values(served("words", mixed).infer({"inputs": [sent]})[1])
    assert answer == {"t": ["ü", ""], "u": ["ä", "ä"], "o": ["a", None], "j": ["1", "{}"]}
    asked = {"inputs": [sent], "outputs": [{"name": "t", "parameters": {"binary_data": True}}]}
    _, found, whole = served("words", mixed).ask(INFER, json.dumps(asked).encode())
    assert whole[int(found[LENGTH]) :] == b"\x02\0\0\0\xc3\xbc\0\0\0\0"
    asked["outputs"] = [{"name": "o", "parameters": {"binary_data": True}}]
    status, refused = served("words", mixed).infer(asked)
    assert (status, refused["error"][:25]) == (406, "output 'o' holds null, wh")


def test_times_are_texts_and_nat_is_null(served: Any) -> None:
    def at(_: Arrays) -> Arrays:
        return {"at": np.array(["2026-01-31T12:00:00.5", "NaT"], "datetime64[ns]")}

    _, answer = served("tensor", at).infer({"inputs": [tensor()]})
    (one,) = answer["outputs"]
    assert (one["datatype"], one["data"]) == ("BYTES", ["2026-01-31T12:00:00.500000", None])
    _, _, plain = served("tensor", at).ask("/predict", b'{"inputs": [[1, 2], [3, 4]]}')
    assert json.loads(plain)["outputs"]["at"] == one["data"]


def test_the_callers_id(served: Any) -> None:
    for headers, sent, of_request in (
        ({"x-request-id": "h-1"}, "b-1", "h-1"),
        ({}, "b-1", "b-1"),
        ({}, "a\r\nb: c", None),
    ):
        status, found, answer = served("tensor").ask(
            INFER, json.dumps({"id": sent, "inputs": [tensor()]}).encode(), **headers
        )
        assert (status, json.loads(answer)["id"]) == (200, sent)
        assert found["x-request-id"] == of_request or (of_request is None and len(found["x-request-id"]) == 32)
