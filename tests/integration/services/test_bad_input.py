"""Requests made of a replica's own OpenAPI document, requests that break HTTP, and what they do to their neighbours."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from lockgate.services.local import LocalPlatform
from lockgate.services.package import package
from lockgate.services.spec import Batching

EXAMPLES = int(os.environ.get("LOCKGATE_FUZZ_EXAMPLES", "40"))
MORE = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
JSON = "application/json"
V2 = "/v2/models/scorer/infer"


@pytest.fixture(scope="module")
def scorer(from_file: Any) -> Any:
    return from_file("integration/services/scorer.py")


@pytest.fixture(scope="module")
def replica(make: Any, scorer: Any, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its engine is slower than a thread hop and waits for more rows: requests that come together share batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(bentoml_home))
        batching = Batching(max_latency="10ms")
        spec = make.spec_for("eager", max_body="256KiB", timeout="1s", batching=batching)
        model = scorer.scorer(tmp_path_factory.mktemp("scorer"))
        found = make.compiled(model, spec, tmp_path_factory.mktemp("cache"))
        bento = package(model, found, name="scorer", spec=spec, spec_hash="abc123")
        platform = LocalPlatform(tmp_path_factory.mktemp("platform"), 90)
        (one,) = platform.start(bento, 1)
        try:
            yield f"http://127.0.0.1:{one.port}"
        finally:
            platform.stop([one])


@pytest.fixture(scope="module")
def document(replica: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{replica}/docs.json", trust_env=False, timeout=20).json()
    return found


@pytest.fixture(scope="module")
def operations(replica: str, document: dict[str, Any]) -> Any:
    """By path and method: schemathesis checks here that the document is a valid one."""
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    schema.config.base_url = replica
    # 413 is a refusal too: too many rows
    schema.config.checks.negative_data_rejection.expected_statuses = ["400", "413", "422"]
    in_range = st.datetimes(dt.datetime(1678, 1, 2), dt.datetime(2261, 12, 30))  # noqa: DTZ001
    schemathesis.openapi.format("date-time", in_range.map(lambda at: f"{at.isoformat()}Z"))
    return schema


@pytest.fixture(scope="module")
def predict(operations: Any) -> Any:
    return operations["/predict"]["POST"]


@pytest.fixture(scope="module")
def infer(operations: Any) -> Any:
    return operations[V2]["POST"]


def answers(operation: Any, mode: GenerationMode, mend: Callable[[Any], None] = lambda _: None) -> Counter[int]:
    """Statuses. Every answer is one that the document describes, body and headers."""
    seen: Counter[int] = Counter()

    @settings(MORE, max_examples=EXAMPLES // (2 if operation.path == V2 else 1))  # whose bodies take longer to make
    @given(operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        if case.media_type == JSON:
            mend(case.body)
            answer = case.call()
            seen[answer.status_code] += 1
            case.validate_response(answer)

    asked()
    return seen


def test_what_the_document_allows_is_answered(predict: Any) -> None:
    seen = answers(predict, GenerationMode.POSITIVE)
    assert set(seen) == {200}
    assert seen.total() >= EXAMPLES // 2


def test_what_the_document_allows_of_v2_is_answered(infer: Any, document: dict[str, Any]) -> None:
    example = example_of(document, V2)["inputs"]

    def mend(body: Any) -> None:
        """What no JSON schema can say: each input once, in its own datatype, all with as many rows."""
        sent = {item["name"]: item for item in reversed(body["inputs"])}
        body["inputs"] = [{**item, "data": sent.get(item["name"], item)["data"]} for item in example]
        rows = min(len(item["data"]) for item in body["inputs"])
        for item in body["inputs"]:
            item.update(data=item["data"][:rows], shape=[rows])
        body["outputs"] = list({item["name"]: item for item in body.get("outputs") or []}.values())

    seen = answers(infer, GenerationMode.POSITIVE, mend)
    assert set(seen) == {200}
    assert seen.total() >= EXAMPLES // 5


@pytest.mark.parametrize("operation", ["predict", "infer"])
def test_what_the_document_forbids_is_refused_with_a_sentence(request: Any, operation: str) -> None:
    seen = answers(request.getfixturevalue(operation), GenerationMode.NEGATIVE)
    assert set(seen) <= {400, 413, 422}
    assert seen.total() >= EXAMPLES // 5


def example_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"][JSON]["example"]
    return found


def test_the_documents_own_examples_are_answered_alike(replica: str, document: dict[str, Any]) -> None:
    plain, v2 = (
        httpx.post(f"{replica}{path}", json=example_of(document, path), trust_env=False) for path in ("/predict", V2)
    )
    assert (plain.status_code, v2.status_code) == (200, 200), plain.text + v2.text
    assert {o["name"]: o["data"] for o in v2.json()["outputs"]} == plain.json()["outputs"]


def test_every_page_of_v2_is_as_the_document_says(operations: Any, document: dict[str, Any]) -> None:
    pages = [path for path, of in document["paths"].items() if path.startswith("/v2") and "get" in of]
    assert len(pages) == 7
    for path in pages:
        case = operations[path]["GET"].Case()
        case.call_and_validate()


def raw(replica: str, sent: bytes, *, until_closed: bool = False) -> bytes:
    """What comes back for these bytes, up to the end of the first answer's body."""
    where = urlsplit(replica)
    with socket.create_connection((where.hostname, where.port or 0), timeout=20) as line:
        line.sendall(sent)
        found = b""
        while until_closed or b"\r\n\r\n" not in found:
            if not (more := line.recv(65536)):
                return found
            found += more
        head, _, body = found.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < length:
            body += line.recv(65536)
    return head + b"\r\n\r\n" + body


def head(*lines: str, method: str = "POST", path: str = "/predict") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: replica", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("sent", "status", "sentence"),
    [
        (head("content-length: 1000"), 408, "the body did not arrive within 1 s"),
        (head("content-length: 99999999"), 413, "the body is larger than 262144 bytes"),
        (
            head("transfer-encoding: chunked") + b"40000\r\n" + b" " * 2**18 + b"\r\n5\r\n     \r\n",
            413,
            "is larger than",
        ),
        (head("content-length: 2", "content-encoding: gzip") + b"{}", 415, "content encoding 'gzip' is not read"),
        (head("content-length: 2", "content-type: text/html") + b"{}", 415, "content type 'text/html' is not served"),
        (head("content-length: 2", "accept: image/png") + b"{}", 406, "answers are application/json"),
        (head("content-length: 4") + b"\xff\xfe{\0", 400, "it is UTF-16"),
        (head(method="GET"), 405, "GET is not answered at /predict; use POST"),
        (head(path="/metrics"), 405, "POST is not answered at /metrics; use GET, HEAD"),
        (head(path="/nowhere"), 404, "nothing is at this path"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(replica: str, sent: bytes, status: int, sentence: str) -> None:
    start, _, answer = raw(replica, sent).partition(b"\r\n\r\n")
    assert start.split()[1] == str(status).encode()
    assert (b"allow: " in start) == (status == 405)
    assert sentence in json.loads(answer)["error"]
    assert json.loads(answer)["request_id"]


@pytest.mark.parametrize("length", ["-1", "x", "5\r\ncontent-length: 6", "5\r\ntransfer-encoding: chunked"])
def test_what_is_no_http_is_refused_and_the_connection_closed(replica: str, length: str) -> None:
    found = raw(replica, head(f"content-length: {length}") + b"hello", until_closed=True)
    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.endswith(b"Invalid HTTP request received.")


def test_a_large_body_gets_its_answer_before_the_connection_closes(replica: str) -> None:
    """Closed on unread bytes, a connection is reset, and the client sees that and no answer."""
    answer = httpx.post(f"{replica}/predict", content=b" " * 2**24, trust_env=False)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def poisons(scorer: Any) -> list[tuple[bytes, int]]:
    """Bodies and the status that each gets."""
    rows = [
        ({"city": scorer.POISON}, 500),
        ({"city": None}, 422),
        ({"age": "31"}, 422),
        ({"visits": 1.5}, 422),
        ({"visits": 2.0**63}, 422),
        ({"rooms": True}, 422),
        ({"height": 1e300}, 422),
        ({"since": "9999-12-31T00:00:00Z"}, 422),
        ({"since": "now"}, 422),
    ]
    bad = [(json.dumps({"rows": [scorer.row(**changes)]}).encode(), status) for changes, status in rows]
    mixed = json.dumps({"rows": [scorer.row(), scorer.row(city=scorer.POISON)]}).encode()
    return [*bad, (mixed, 500), (b'{"rows": [', 400), (b'{"rows": []}', 422), (b"[" * 5000, 400)]


def test_poison_fails_alone(replica: str, scorer: Any) -> None:
    """Every answer beside it is the model's own for that row."""
    poison, asked = poisons(scorer), 240

    async def one(client: httpx.AsyncClient, i: int) -> tuple[int, float]:
        if i % 15 == 0:
            body, status = poison[i // 15 % len(poison)]
            answer = await client.post("/predict", content=body)
            assert (answer.status_code, answer.json()["error"] != "") == (status, True), body
            return status, 0.0
        row = scorer.row(age=float(i), visits=i)
        answer = await client.post("/predict", json={"rows": [row]})
        assert answer.status_code == 200, answer.text
        return 200, answer.json()["outputs"]["score"][0] - scorer.score(row)

    async def ask() -> list[tuple[int, float]]:
        limits = httpx.Limits(max_connections=48)
        async with httpx.AsyncClient(base_url=replica, trust_env=False, timeout=30, limits=limits) as client:
            return await asyncio.gather(*(one(client, i) for i in range(asked)))

    found = asyncio.run(ask())
    assert sum(status == 200 for status, _ in found) == asked - asked // 15
    assert max(abs(difference) for _, difference in found) < 1e-6
    text = httpx.get(f"{replica}/metrics", trust_env=False).text
    batches, rows = (
        float(text.partition(f"lockgate_service_batch_rows_{of}{{")[2].split()[1]) for of in ("count", "sum")
    )
    assert rows > 2 * batches, "no batches were made, so nothing was shown"
