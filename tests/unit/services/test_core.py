"""The request path without a socket: ASGI messages in, ASGI messages out."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.lane import FastLane
from lockgate.services.serving.schema import Arrays, Schema

SCHEMA = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])
ABOUT = About("fraud", "7", "d1ge57", "onnxruntime", "fp32", "proven on hardware like this", "5pec", "fraud:1", "r1")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.services.serving.body.LINGER", 0.05)


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

    def batch(self, rows: int) -> None: ...
    def tell(self) -> None: ...


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
            if not chunks and not {"cut", "left"} & set(headers):
                await asyncio.Event().wait()  # the client waits for its answer
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


def test_texts_are_answered_as_json_where_that_is_accepted_too() -> None:
    npy = "application/x-npy"
    for accept, code, said in ((f"{npy}, application/json;q=0.5", 200, {"a": ["b"]}), (npy, 406, None)):
        status, _, answer = Served(lambda _: {"a": np.array(["b"], object)}).post(rows((1, 2)), accept=accept)
        assert (status, json.loads(answer).get("outputs")) == (code, said)


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


def test_a_client_that_sends_its_head_and_nothing_more_is_answered() -> None:
    status, headers, answer = Served(timeout=0.05).post()
    assert (status, headers["connection"]) == (408, "close")
    assert "did not arrive within 0.05 s" in json.loads(answer)["error"]


def test_what_is_left_of_a_refused_body_is_read_first() -> None:
    """A connection that is closed on unread bytes is reset, and takes the answer with it."""
    chunks = [b"x" * 60] * 9
    served = Served(max_body=100)
    answers = asyncio.run(served._ask("/predict", "POST", chunks, {}))
    served.core.close()
    assert not chunks
    assert answers[0]["status"] == 413
    assert [message.get("more_body", False) for message in answers[1:]] == [True, False]


def test_large_bodies_that_arrive_together_have_a_limit() -> None:
    """Each holds 90 of its 100 bytes; the ninth is more than eight times a body."""
    served = Served(max_body=100, timeout=0.3)

    async def ask() -> list[int]:
        slow = [asyncio.create_task(held(served)) for _ in range(9)]
        return sorted(await asyncio.gather(*slow))

    assert asyncio.run(ask()) == [408] * 8 + [429]
    served.core.close()


async def held(served: Served) -> int:
    sent: list[Any] = []
    parts = [b"x" * 90]

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": parts.pop(), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await FastLane(None, served)({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)
    return int(sent[0]["status"])


def test_rows_of_a_client_that_left_are_not_computed() -> None:
    """It leaves while its rows wait behind a call that is under way."""
    began, free, sizes = threading.Event(), threading.Event(), []

    def slow(x: Arrays) -> Arrays:
        began.set()
        free.wait(10)
        sizes.append(len(x["x"]))
        return doubled(x)

    served = Served(slow, inline_rows=0)

    async def ask() -> None:
        first = asyncio.create_task(served._ask("/predict", "POST", [rows((1, 2))], {}))
        await asyncio.to_thread(began.wait, 10)
        assert await served._ask("/predict", "POST", [rows((1, 2), (3, 4)), b""], {"left": ""}) == []
        free.set()
        assert (await first)[0]["status"] == 200

    asyncio.run(ask())
    served.core.close()
    assert sizes == [1]
    assert served.counted.codes == [499, 200]


@pytest.mark.parametrize("inline_rows", [32, 0])
@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(3)])
def test_a_model_that_ends_processes_fails_its_request_only(raised: BaseException, inline_rows: int) -> None:
    """So does what a library written in Rust calls a panic."""

    def exits(x: Arrays) -> Arrays:
        if (x["x"] == 0).any():
            raise raised
        return doubled(x)

    served = Served(exits, inline_rows=inline_rows)

    async def ask() -> list[int]:
        sent = [served._ask("/predict", "POST", [rows((i, 1))], {}) for i in range(3)]
        return [answer[0]["status"] for answer in await asyncio.gather(*sent)]

    assert asyncio.run(ask()) == [500, 200, 200]
    served.core.close()


def test_texts_have_no_npy() -> None:
    served = Served(lambda x: {"label": np.array(["a"] * len(x["x"]), object)})
    status, _, answer = served.post(rows((1, 2)), accept="application/x-npy")
    assert status == 406
    assert "accept application/json" in json.loads(answer)["error"]


def test_several_outputs_have_no_npy() -> None:
    two = {"a": np.ones(1), "b": np.ones(1)}
    assert Served(lambda _x: two).post(rows((1, 2)), accept="application/x-npy")[0] == 406
    assert Served(lambda _x: two).post(rows((1, 2)), accept="application/x-npy, */*;q=0.1")[0] == 200


def test_the_document_has_no_example_where_inputs_are_kept_from_everybody() -> None:
    served = Served()
    served.core.show({"x": np.array([[1.5, 2.5], [3, 4]], "float32")})
    assert b'"example":{"inputs":{"x":[[1.5,2.5]]}}' in served.core.docs
    served.core.capture = SimpleNamespace(redacts=True)  # type: ignore[assignment]
    assert b"example" not in served.core.docs
    served.core.capture = None
    served.core.close()


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
    assert (status, served.counted.codes) == (404, [])
    assert "/predict" in json.loads(answer)["error"]
