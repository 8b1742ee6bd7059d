"""What a replica says of itself, and what is not there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.schema import Arrays

INFER = "/v2/models/fraud/infer"
LENGTH = "inference-header-content-length"


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}


def test_pages(served: Any) -> None:
    one = served("tensor", lambda x: {"score": x["x"].sum(axis=1), "label": np.array(["a"] * len(x["x"]), object)})
    one.core.show({"x": np.ones((4, 2), "float32")})
    about = {
        "name": "fraud",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
    }
    for path, wanted in {
        "/v2": {"name": "lockgate", "version": "b1", "extensions": ["binary_tensor_data"]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"live": True, "ready": True},
        "/v2/models/fraud": about,
        "/v2/models/fraud-detector/versions/7": {**about, "name": "fraud-detector"},
        "/v2/models/fraud/ready": {"name": "fraud", "ready": True},
    }.items():
        status, _, answer = one.ask(path, method="GET")
        assert (status, json.loads(answer)) == (200, wanted)
    assert one.counted.codes == []


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("POST", "/v2/models/other/infer", 404, "this replica serves 'fraud-detector' and 'fraud', version 7"),
        ("GET", "/v2/models/fraud/versions/8", 404, "version '8' is not here; this replica serves"),
        ("POST", "/v2/models/fraud/versions/8/infer", 404, "without a version in the path"),
        ("GET", "/v2/models/fraud/stats", 404, "nothing is at this path"),
        ("GET", "/v2x", 404, "POST rows to /predict"),
        ("POST", "/v20/models/fraud/infer", 404, "POST rows to /predict"),
        ("GET", "/v2/x", 404, "POST tensors to"),
        ("GET", INFER, 405, "use POST"),
        ("POST", "/v2/models/fraud", 405, "use GET, HEAD"),
    ],
)
def test_what_is_not_here(served: Any, method: str, path: str, status: int, sentence: str) -> None:
    code, _, answer = served("tensor").ask(path, b"{}", method)
    assert (code, sentence in json.loads(answer)["error"]) == (status, True), answer


@pytest.mark.parametrize("path", [f"{INFER}/", "/v2/models/fraud-detector/versions/7/infer/"])
def test_a_slash_behind_it_changes_nothing(served: Any, path: str) -> None:
    one = served("tensor")
    status, _, answer = one.ask(path, json.dumps({"inputs": [tensor()]}).encode())
    assert (status, json.loads(answer)["outputs"][0]["data"], one.counted.codes) == (200, [1, 2, 3, 4], [200])
    assert one.ask("/v2/", method="GET")[0] == 200


def test_an_output_that_is_not_there_is_refused_before_the_model_is_asked(served: Any) -> None:
    calls: list[int] = []

    def counted(x: Arrays) -> Arrays:
        calls.append(1)
        return dict(x)

    one = served("tensor", counted)
    one.core.show({"x": np.ones((1, 2), "float32")})
    assert one.infer({"inputs": [tensor()], "outputs": [{"name": "y"}]})[0] == 422
    assert calls == [1]
