"""The request path without a socket: ASGI messages in, ASGI messages out."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.lane import FastLane
from lockgate.services.serving.schema import Arrays, Schema

SCHEMA = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])
ABOUT = About("fraud", "7", "d1ge57", "onnxruntime", "fp32", "proven on hardware like this", "5pec", "fraud:1", "r1")


class Counted:
    def __init__(self) -> None:
        self.codes: list[int] = []
        self.rows = 0

    def answered(self, code: int, seconds: float) -> None:
        assert seconds >= 0
        self.codes.append(code)

    def inferred(self, rows: int, seconds: float) -> None:
        assert seconds >= 0
        self.rows += rows

    def batch(self, rows: int) -> None:
        pass


def doubled(x: Arrays) -> Arrays:
    return {"scores": x["x"] * 2}


class Served:
    def __init__(self, run: Any = doubled, **limits: Any) -> None:
        defaults = {"timeout": 5.0, "max_body": 10_000, "max_batch": 8, "max_wait": 0.0, "max_queue": 64}
        self.counted = Counted()
        self.core = Core(run, SCHEMA, ABOUT, Limits(**{**defaults, "inline_rows": 32, **limits}), self.counted)

    def post(self, *chunks: bytes, path: str = "/predict", method: str = "POST", **headers: str) -> Any:
        answers = asyncio.run(self._ask(path, method, list(chunks), headers))
        self.core.close()
        if not answers:
            return None
        found = {k.decode(): v.decode() for k, v in answers[0]["headers"]}
        return answers[0]["status"], found, answers[1]["body"]

    async def _ask(self, path: str, method: str, chunks: list[bytes], headers: dict[str, str]) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not chunks:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks) or "cut" in headers}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": raw}
        await FastLane(None, self)(scope, receive, send)
        return sent


def rows(*values: tuple[float, float]) -> bytes:
    return json.dumps({"inputs": {"x": values}}).encode()


@pytest.mark.parametrize("inline_rows", [32, 0])
def test_an_answer_carries_outputs_version_digest_and_the_callers_id(inline_rows: int) -> None:
    served = Served(inline_rows=inline_rows)
    status, headers, answer = served.post(rows((1, 2), (3, 4)), x_request_id="me-1")
    assert status == 200
    assert json.loads(answer) == {"model": "fraud", "version": "7", "outputs": {"scores": [[2, 4], [6, 8]]}}
    assert headers["x-request-id"] == "me-1"
    assert (headers["x-lockgate-version"], headers["x-lockgate-digest"]) == ("7", "d1ge57")
    assert (served.counted.codes, served.counted.rows) == ([200], 2)


def test_npy_is_answered_when_it_is_asked_for() -> None:
    _, headers, answer = Served().post(rows((1, 2)), accept="application/x-npy")
    assert headers["content-type"] == "application/x-npy"
    assert answer.startswith(b"\x93NUMPY")


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("inline_rows", [32, 0])
def test_an_output_that_is_not_finite_is_an_error(value: float, word: str, inline_rows: int) -> None:
    served = Served(lambda x: {"scores": np.where(x["x"] > 2, np.float32(value), x["x"])}, inline_rows=inline_rows)
    status, _, answer = served.post(rows((1, 2), (1, 3)))
    assert status == 500
    assert json.loads(answer)["error"] == f"the model answered {word} for output 'scores' in row 1"
    assert served.counted.codes == [500]


def test_a_failing_engine_is_an_error_with_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_x: Arrays) -> Arrays:
        raise RuntimeError("secret detail")

    served = Served(broken)
    status, _, answer = served.post(rows((1, 2)))
    assert (status, served.counted.codes) == (500, [500])
    assert "secret" not in answer.decode()
    assert "secret detail" in caplog.text


def test_an_engine_that_hangs_is_answered_with_504() -> None:
    import threading

    hang = threading.Event()
    served = Served(lambda x: {"y": x["x"]} if hang.wait(10) else {}, inline_rows=0, timeout=0.05)
    asyncio_result = asyncio.run(served._ask("/predict", "POST", [rows((1, 2))], {}))
    hang.set()
    served.core.close()
    assert asyncio_result[0]["status"] == 504
    assert served.counted.codes == [504]


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [
        ([b"x"], {"content_length": "200"}),  # refused by what it announces
        ([b"x" * 200], {}),
        ([b"x" * 60, b"x" * 60], {}),
    ],
)
def test_a_body_over_the_limit_is_refused(chunks: list[bytes], headers: dict[str, str]) -> None:
    status, found, answer = Served(max_body=100).post(*chunks, **headers)
    assert status == 413
    assert "larger than 100 bytes" in json.loads(answer)["error"]
    assert found["connection"] == "close"


def test_a_body_in_chunks_is_put_together() -> None:
    whole = rows((1, 2))
    status, _, _ = Served().post(whole[:5], whole[5:9], whole[9:])
    assert status == 200


def test_a_client_that_goes_away_is_no_error_of_the_model() -> None:
    served = Served()
    assert served.post(b'{"inp', cut="") is None
    assert served.counted.codes == [499]


def test_bad_input_is_the_callers_error() -> None:
    served = Served()
    status, _, answer = served.post(rows((1, float("nan"))))
    assert status in (400, 422)
    assert set(json.loads(answer)) == {"error", "request_id"}
    assert served.counted.codes == [status]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_info(method: str) -> None:
    status, _, answer = Served().post(b"", path="/info", method=method)
    assert status == 200
    assert json.loads(answer)["digest"] == "d1ge57"


def test_unknown_paths_never_reach_bentoml() -> None:
    served = Served()
    status, _, answer = served.post(b"", path="/wp-login.php", method="GET")
    assert status == 404
    assert "/predict" in json.loads(answer)["error"]
    assert served.counted.codes == []
