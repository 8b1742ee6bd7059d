"""From a request to the file: what the event loop keeps, and that nobody changes it afterwards."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.services.serving.capture import Capture
from lockgate.services.serving.capture_columns import Source
from lockgate.services.serving.capture_files import Stream
from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.schema import Arrays, Schema

TENSOR = [{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
ALIKE = [{"type": "double", "name": name} for name in ("a", "b", "c")]
MIXED = [{"type": "double", "name": "a"}, {"type": "string", "name": "b"}]


class Metrics:
    def __init__(self) -> None:
        self.dropped = 0

    def answered(self, code: int, seconds: float) -> None: ...
    def inferred(self, rows: int, seconds: float) -> None: ...
    def batch(self, rows: int) -> None: ...
    def captured(self, rows: int, size: int) -> None: ...
    def capture_failed(self) -> None: ...

    def capture_dropped(self, requests: int) -> None:
        self.dropped += requests


def doubled(x: Arrays) -> Arrays:
    return {"y": next(iter(x.values())) * 2}


class Served:
    """A core that captures. `asked` sends requests and returns what is captured of them."""

    def __init__(self, root: Any, run: Callable[[Arrays], Arrays] = doubled, **how: Any) -> None:
        self.root, self.metrics = root, Metrics()
        schema = Schema.of(how.get("signature", TENSOR))
        about = About("m", "7", "0123456789abcdef" * 4, "t", "fp32", "", "", "b", "r1")
        limits = Limits(5.0, 2**20, 8, 0.0, 64, how.get("inline_rows", 10_000))
        self.core = Core(run, schema, about, limits, self.metrics)
        source = Source("7", about.digest, "r1")
        self.capture = Capture(root.path, schema, source, self.metrics, how.get("engine", "onnxruntime"))
        self.core.capture = self.capture

    async def send(self, body: bytes, headers: dict[str, str]) -> int:
        status, parts = 0, [body]

        async def receive() -> dict[str, Any]:
            if not parts:
                await asyncio.Event().wait()  # the client waits for its answer
            return {"type": "http.request", "body": parts.pop()}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        raw = [(key.encode(), value.encode()) for key, value in headers.items()]
        await self.core.handle({"headers": raw}, receive, send)
        return status

    def asked(self, *requests: tuple[Any, dict[str, str]]) -> list[dict[str, Any]]:
        async def all_of_them() -> None:
            await asyncio.gather(*(self.send(_bytes(body), headers) for body, headers in requests))

        asyncio.run(all_of_them())
        self.core.close()
        return sorted(self.root.rows(), key=lambda row: (row["request_id"], row["row"]))


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def named(id_: str, **more: str) -> dict[str, str]:
    return {"x-request-id": id_, **{key.replace("_", "-"): value for key, value in more.items()}}


@pytest.mark.parametrize("inline_rows", [10_000, 0])
def test_a_request_is_kept_with_who_asked_and_what_was_answered(root: Any, inline_rows: int) -> None:
    served = Served(root, inline_rows=inline_rows)
    headers = named("r-1", x_lockgate_variant="candidate", x_lockgate_shadow="1", x_user_id="ann")
    first, second = served.asked(({"inputs": [[1, 2], [3, 4]]}, headers))
    assert (first["input.x"], first["output.y"]) == ([1.0, 2.0], [2.0, 4.0])
    assert (second["input.x"], second["row"], second["rows"]) == ([3.0, 4.0], 1, 2)
    assert (first["variant"], first["kind"], first["status"], first["model_version"]) == (
        "candidate",
        "shadow",
        200,
        "7",
    )
    assert first["unit"]
    assert "ann" not in first["unit"]
    assert 0 <= first["seconds"] < 60


def test_headers_of_any_length(root: Any) -> None:
    headers = named("r" * 1000, x_user_id="u" * 100_000, x_lockgate_variant="v" * 100_000, x_lockgate_shadow="s" * 1000)
    (found,) = Served(root).asked(({"inputs": [[1, 2]]}, headers))
    assert (len(found["request_id"]), len(found["variant"]), found["kind"]) == (128, 128, "live")


def npy(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def arrow(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


A, B, C = [1.0, 4.0], [2.0, 5.0], [3.0, 6.0]
EVERY_FORM = [
    ({"inputs": [[1, 2, 3], [4, 5, 6]]}, ""),
    ({"inputs": {"a": A, "b": B, "c": C}}, ""),
    ({"rows": [{"c": 3, "b": 2, "a": 1}, {"a": 4, "b": 5, "c": 6}]}, ""),
    ({"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5, 6]]}}, ""),
    ({"dataframe_split": {"columns": ["c", "a", "b"], "data": [[3, 1, 2], [6, 4, 5]]}}, ""),
    (npy(np.array([A, B, C]).T), "application/x-npy"),
    (arrow(a=A, b=B, c=C), "application/x-arrow"),
]


@pytest.mark.parametrize(("body", "kind"), EVERY_FORM)
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_columns_are_kept_whatever_form_they_came_in(root: Any, body: Any, kind: str, engine: str) -> None:
    served = Served(root, lambda x: {"y": x["a"]}, signature=ALIKE, engine=engine)
    found = served.asked((body, named("r", content_type=kind)))
    assert [(r["input.a"], r["input.b"], r["input.c"]) for r in found] == list(zip(A, B, C, strict=True))


def test_the_first_64_rows_of_a_large_request(root: Any) -> None:
    many = [[i, i + 1] for i in range(100)]
    found = Served(root).asked(({"inputs": many}, named("r")))
    assert len(found) == 64
    assert {r["rows"] for r in found} == {100}
    assert found[63]["input.x"] == [63.0, 64.0]
    assert found[63]["output.y"] == [126.0, 128.0]


@pytest.mark.parametrize("engine", ["torch", "pyfunc", "somebody.elses"])
@pytest.mark.parametrize(
    ("signature", "body"), [(TENSOR, [[1, 2]]), (ALIKE, [[1, 2, 3]]), (MIXED, {"a": [1], "b": [""]})]
)
def test_an_engine_that_writes_into_what_it_is_given(root: Any, engine: str, signature: Any, body: Any) -> None:
    def writes(x: Arrays) -> Arrays:
        first = next(iter(x.values()))
        first += 100
        return {"y": first}

    (found,) = Served(root, writes, signature=signature, engine=engine).asked(({"inputs": body}, named("r")))
    asked = found["input.x"][0] if signature is TENSOR else found["input.a"]
    answered = found["output.y"][0] if signature is TENSOR else found["output.y"]
    assert (asked, answered) == (1.0, 101.0)


def test_an_engine_that_answers_in_the_same_buffer_again(root: Any) -> None:
    buffer = np.zeros((1, 2), "float32")

    def reuses(x: Arrays) -> Arrays:
        np.copyto(buffer, x["x"])
        return {"y": buffer}

    found = Served(root, reuses).asked(*(({"inputs": [[i, i]]}, named(str(i))) for i in range(3)))
    assert [r["output.y"] for r in found] == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]


def test_a_request_never_fails_because_it_cannot_be_kept(root: Any) -> None:
    class Odd(np.ndarray):
        def tobytes(self, order: Any = "C") -> Any:  # noqa: ARG002 - numpy's signature
            raise MemoryError

    served = Served(root, lambda x: {"y": x["x"].view(Odd)})
    assert asyncio.run(served.send(b'{"inputs": [[1, 2]]}', named("r"))) == 200
    served.core.close()
    assert (served.metrics.dropped, root.rows()) == (1, [])


def test_an_answer_that_cannot_be_sent_is_kept(root: Any) -> None:
    served = Served(root)

    async def gone(_message: Any) -> None:
        raise ConnectionError

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"inputs": [[1, 2]]}'}

    with pytest.raises(ConnectionError):
        asyncio.run(served.core.handle({"headers": [(b"x-request-id", b"r")]}, receive, gone))
    served.core.close()
    assert [row["request_id"] for row in root.rows()] == ["r"]


def test_failed_and_refused_requests_are_kept_with_their_status(root: Any) -> None:
    def fails(x: Arrays) -> Arrays:
        if x["x"][0, 0] == 7:
            raise RuntimeError
        return {"y": np.full_like(x["x"], np.nan) if x["x"][0, 0] == 8 else x["x"]}

    bodies = {"a": [[1, 1]], "b": [[7, 1]], "c": [[8, 1]], "d": [[1]], "e": "?"}
    found = Served(root, fails).asked(*(({"inputs": body}, named(id_)) for id_, body in bodies.items()))
    assert [(r["request_id"], r["status"], r["rows"]) for r in found] == [
        ("a", 200, 1),
        ("b", 500, 0),
        ("c", 500, 0),
        ("d", 422, 0),
        ("e", 422, 0),
    ]
    assert [r["input.x"] is None for r in found] == [False, True, True, True, True]


def test_both_sides_keep_the_same_requests(root: Any) -> None:
    root.settings(sample=0.3)
    names = [f"request-{i}" for i in range(200)]
    requests = [({"inputs": [[1, 2]] if i % 2 else [[1]]}, named(name)) for i, name in enumerate(names)]
    found = {r["request_id"] for r in Served(root).asked(*requests)}
    assert found == {n for n in names if zlib.crc32(n.encode()) < 0.3 * 2**32}
    assert 30 < len(found) < 90


def test_without_settings_nothing_is_kept_and_nothing_is_written(root: Any) -> None:
    (root.path / "capture.json").unlink()
    assert Served(root).asked(({"inputs": [[1, 2]]}, named("r"))) == []
    assert list(root.path.iterdir()) == []


def test_large_values_are_left_out_and_their_request_is_kept(root: Any) -> None:
    signature = [{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float64", "shape": [-1, -1]}}]
    served = Served(root, lambda x: {"y": x["x"][:, 0], "z": x["x"]}, signature=signature)
    wide, narrow = (npy(np.ones((2, n))) for n in (10_000, 3))
    found = served.asked(
        (wide, named("wide", content_type="application/x-npy")),
        (narrow, named("narrow", content_type="application/x-npy")),
    )
    assert [(r["request_id"], r["input.x"], r["output.y"], r["output.z"]) for r in found] == [
        ("narrow", [1.0] * 3, 1.0, [1.0] * 3),
        ("narrow", [1.0] * 3, 1.0, [1.0] * 3),
        ("wide", None, 1.0, None),
        ("wide", None, 1.0, None),
    ]


def test_a_redacted_input_is_nowhere_on_the_disk(root: Any) -> None:
    root.settings(redact={"b": "hash", "c": "drop"})
    signature = [*MIXED, {"type": "string", "name": "c"}]
    served = Served(root, lambda x: {"y": x["a"]}, signature=signature)
    row = {"a": 1.5, "b": "planted-b", "c": "planted-c"}
    headers = named("r", x_user_id="planted-user")
    assert len(served.asked(({"rows": [row]}, headers), ({"rows": [{**row, "a": "planted-a"}]}, headers))) == 2
    for path in root.path.rglob("*.*"):
        assert b"planted" not in path.read_bytes()


def test_a_disk_that_hangs_fills_the_queue_and_no_further(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is answered meanwhile; what was queued is written when the disk goes on."""
    hangs, entered = threading.Event(), threading.Event()
    real = Stream.write

    def slow(self: Stream, batches: list[Any]) -> int:
        entered.set()
        hangs.wait(60)
        return real(self, batches)

    monkeypatch.setattr(Stream, "write", slow)
    served = Served(root)
    served.capture._queue.most_requests = 50

    async def ask() -> list[int]:
        first = await served.send(b'{"inputs": [[1, 2]]}', named("first"))
        served.capture._queue.wake()
        await asyncio.to_thread(entered.wait, 60)
        return [first] + [await served.send(b'{"inputs": [[1, 2]]}', named(f"r-{i}")) for i in range(200)]

    assert set(asyncio.run(ask())) == {200}
    assert 130 <= served.metrics.dropped <= 150  # it is not counted at every request
    hangs.set()
    served.core.close()
    assert len(root.rows()) == 201 - served.metrics.dropped


def test_a_large_request_of_texts_is_kept_though_its_body_would_fill_the_queue(root: Any) -> None:
    served = Served(root, lambda x: {"y": np.zeros(len(x["b"]))}, signature=MIXED)
    served.capture._queue.most_bytes = 200_000
    many = {"a": [1.0] * 5000, "b": ["x" * 100] * 5000}
    assert len(served.asked(({"inputs": many}, named("r")))) == 64


def test_nothing_that_is_queued_holds_a_body_or_a_batch(root: Any) -> None:
    """Arrow's columns are views of the body, a batch's answers are parts of one array."""
    signature = [{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, -1]}}]
    served = Served(root, inline_rows=0, signature=signature)
    kept: list[Any] = []
    served.capture._queue.put = lambda record: kept.append(record) or True  # type: ignore[func-returns-value,method-assign]
    served.asked(*(({"inputs": [[i, i]]}, named(str(i))) for i in range(8)))
    assert len(kept) == 8
    assert all(value.base is None for record in kept for values in record[8:10] for value in values.values())


def test_texts_weigh_what_they_take_in_memory(root: Any) -> None:
    served = Served(root, lambda x: {"y": np.zeros(len(x["b"]))}, signature=MIXED)
    served.capture._queue.most_bytes = 5 * 2**20
    served.core._heavy = None  # on the event loop all of them, so that the writer does not run in between
    body = _bytes({"inputs": {"a": [1], "b": ["e" * 60_000]}})
    found = served.asked(*((body, named(str(i))) for i in range(40)))
    assert len(found) + served.metrics.dropped == 40
    assert len(found) == 22  # at four bytes a character


def test_the_module_does_not_load_arrow() -> None:
    import subprocess
    import sys

    code = "import sys, lockgate.services.serving.core; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.cwd(), check=False).returncode == 0


def refuses(x: Arrays) -> Arrays:
    raise ValueError(f"cannot read {x['x'].tolist()}")


@pytest.mark.parametrize("inline_rows", [0, 100])
@pytest.mark.parametrize(("redact", "times"), [({}, 1), ({"x": "hash"}, 0), ({"x": "drop"}, 0)])
def test_a_models_own_words_about_an_input(
    root: Any, caplog: pytest.LogCaptureFixture, redact: dict[str, str], times: int, inline_rows: int
) -> None:
    """They are told where nothing is redacted, and their type and place always."""
    root.settings(redact=redact)
    served = Served(root, refuses, inline_rows=inline_rows)
    served.asked(({"inputs": [[4711.0, 2.0]]}, named("a")))
    assert caplog.text.count("ValueError: cannot read [[4711.0") == times
    assert ("4711" in caplog.text) == bool(times)
    for told in ("the model failed on request a", "ValueError", "test_capture.py", "refuses"):
        assert told in caplog.text


def test_without_settings_they_are_kept_back(root: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read may redact."""
    (root.path / "capture.json").write_text("{")
    served = Served(root, refuses)
    asyncio.run(served.send(_bytes({"inputs": [[4711.0, 2.0]]}), {}))
    served.core.close()
    assert "ValueError" in caplog.text
    assert "4711" not in caplog.text


def test_settings_that_go_away_take_no_promise_with_them(root: Any) -> None:
    served = Served(root)
    assert not served.capture.redacts
    (root.path / "capture.json").unlink()
    served.capture._writer.look()
    served.core.close()
    assert served.capture.redacts


def test_lists_that_a_model_answers_wait_within_the_bound(root: Any) -> None:
    """Each weighs 300 kB: with 64 bytes for each, hundreds of megabytes would wait."""

    def lists(x: Arrays) -> Arrays:
        found = np.empty(len(x["x"]), object)
        for row in range(len(found)):
            found[row] = [[float(i)] * 100 for i in range(100)]
        return {"y": found}

    served = Served(root, lists)
    served.capture._queue.most_bytes = 2 * 2**20
    served.capture._writer.tick = lambda now: None  # type: ignore[method-assign]  # noqa: ARG005
    served.asked(*(({"inputs": [[1.0, 2.0]]}, named(str(i))) for i in range(40)))
    waits = served.capture._queue
    assert 2 <= waits._page.count + len(waits._records) <= 16
    assert served.metrics.dropped >= 20
