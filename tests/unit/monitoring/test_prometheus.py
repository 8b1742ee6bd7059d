"""One value from Prometheus's API, or a sentence. The server speaks as Prometheus does; the real one where it is."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from lockgate.monitoring.measurement import Reading
from lockgate.monitoring.prometheus import Prometheus, _Unsaid, fill
from lockgate.monitoring.spec import MonitoringSpec

Served = Callable[..., str]


def vector(*values: str) -> dict[str, Any]:
    series = [{"metric": {"i": str(i)}, "value": [1700000000.1, value]} for i, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


@pytest.fixture
def served() -> Iterator[Served]:
    """`served(body, status)`: the address of a server that answers so. `served.asked`: the requests that it got."""
    servers: list[ThreadingHTTPServer] = []
    ended = threading.Event()

    def made(body: Any, status: int = 200, *, slowly: bool = False) -> str:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers.get("authorization", "")))
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.send_header("location", "/elsewhere")
                self.end_headers()
                for i in range(len(raw)):
                    if slowly and ended.wait(0.02):
                        return
                    self.wfile.write(raw[i : i + 1] if slowly else raw[i:])
                    if not slowly:
                        return

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    asked: list[tuple[str, str]] = []
    made.asked = asked  # type: ignore[attr-defined]
    yield made
    ended.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "reading"),
    [
        (vector("0.25"), Reading(0.25)),
        (vector(), Reading(None)),
        (vector("NaN"), Reading(None)),
        (vector("+Inf"), Reading(sys.float_info.max)),
        (vector("-Inf"), Reading(-sys.float_info.max)),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1700000000, "3"]}}, Reading(3.0)),
        ({"status": "success", "warnings": ["partial"], "data": vector("1")["data"]}, Reading(1.0)),
    ],
)
def test_what_a_query_says(served: Served, answer: Any, reading: Reading) -> None:
    assert Prometheus(served(answer)).read("up") == reading


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (vector("1", "2", "3"), 200, "3 series; aggregate them"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, 200, "answers a matrix"),
        ({"status": "success", "data": {"resultType": "string", "result": [1, "a"]}}, 200, "answers a string"),
        ({"status": "success", "data": {"resultType": "vector", "result": [{}]}}, 200, "not one that Prometheus"),
        ({"status": "success", "data": vector("x")["data"]}, 200, "not one that Prometheus"),
        ({"status": "success"}, 200, "not one that Prometheus"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error: no ("}, 400, "refuses the query: parse"),
        ({"status": "error", "error": "query timed out"}, 503, "query timed out"),
        (b"<html>Bad gateway</html>", 502, "answers 502"),
        (b"<html>Hello</html>", 200, "answers 200, not as Prometheus does"),
        (b"[1, 2]", 200, "not as Prometheus does"),
        (b"", 401, "answers 401"),
        (b"", 302, "answers 302"),
        (b'"' + b"x" * 2**21 + b'"', 200, "more than 1 MiB"),
    ],
)
def test_why_there_is_no_value(served: Served, answer: Any, status: int, says: str) -> None:
    reading = Prometheus(served(answer, status)).read("up")
    assert reading.value is None
    assert says in reading.error


def test_what_is_asked(served: Served) -> None:
    query = 'sum(rate(x{a=~"b$", c="+&"}[1m]))'
    prometheus = Prometheus(served(vector("1")) + "/")
    assert prometheus.read(query) == prometheus.read(query) == Reading(1.0)
    path, _ = served.asked[0]  # type: ignore[attr-defined]
    assert urlsplit(path).path == "/api/v1/query"
    assert parse_qs(urlsplit(path).query)["query"] == [query]


def test_a_slow_answer(served: Served) -> None:
    assert "did not answer within 0.1 s" in Prometheus(served(vector("1"), slowly=True), timeout=0.1).read("up").error


def test_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert "did not answer within 0.05 s" in Prometheus(url, timeout=0.05).read("up").error
    assert "cannot be asked" in Prometheus(url).read("up").error


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1", "http://", "http://[", "http://host:port", "http://\0"]
)
def test_an_address_that_is_none(url: str) -> None:
    assert Prometheus(url).read("up").error


def test_secrets_are_used_and_never_said(served: Served) -> None:
    address = served({"status": "error", "error": "no: http://reader:s3cret@here/x is bad"}, 400)
    with_secret = address.replace("http://", "http://reader:s3cret@") + "/tenant/t0ken"
    errors = [Prometheus(with_secret).read("up").error]
    assert served.asked[0][1].startswith("Basic ")  # type: ignore[attr-defined]
    errors.append(Prometheus("http://reader:s3cret@127.0.0.1:1/t0ken").read("up").error)
    errors.append(Prometheus("http://reader:s3cret@[/t0ken").read("up").error)
    errors.append(Prometheus("ftp://reader:s3cret@127.0.0.1/t0ken").read("up").error)
    for error in errors:
        assert error
        assert "s3cret" not in error
        assert "t0ken" not in error


def test_no_log_has_the_address(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    address = served(vector("1")).replace("http://", "http://re%40der:s3%2Fcret@") + "/t0ken"
    with caplog.at_level(logging.DEBUG):
        assert Prometheus(address).read("up") == Reading(1.0)
        logging.getLogger("httpx").info("others are heard")
    (path, authorization), *_ = served.asked  # type: ignore[attr-defined]
    assert path.startswith("/t0ken/api/v1/query?")
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"re@der:s3/cret"
    assert "others are heard" in caplog.text
    for secret in ("s3", "t0ken"):
        assert secret not in caplog.text


def test_the_password_is_in_no_address_that_is_asked(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Unsaid, "filter", lambda *_: True)
    with caplog.at_level(logging.DEBUG):
        Prometheus(served(vector("1")).replace("http://", "http://reader:s3cret@")).read("up")
    assert "/api/v1/query" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://reader:s3c/ret@host:9090",
        "http://reader:1#s3cret@host:9090",
        "http://reader:1?s3cret@host:9090",
        "http://reader/s3cret@host:9090",
        "http://host:9090/?token=s3cret",
        "http://host:9090/#s3cret",
        "http://host:9090?",
    ],
)
def test_an_address_that_would_be_read_otherwise_than_it_is_meant(url: str) -> None:
    with pytest.raises(ValidationError, match="an address of a server has no") as refused:
        MonitoringSpec(prometheus=url)
    assert "s3c" not in refused.value.errors()[0]["msg"]


@pytest.mark.parametrize("url", ["http://host:9090", "https://reader:s3%2F%3F@host/tenant/x/", "http://[::1]:9090"])
def test_addresses_as_they_should_be(url: str) -> None:
    assert MonitoringSpec(prometheus=url).prometheus == url


class TestFill:
    def test_the_four_names(self) -> None:
        values = {"variant": "candidate", "model": "fraud", "version": "7", "name": "n"}
        assert fill('x{a="$variant-$model",b="$version",c="$name"}', values) == 'x{a="candidate-fraud",b="7",c="n"}'

    @pytest.mark.parametrize("query", ['x{a=~"b$"}', "$other", "$variants", "$", "$$", '"$variant_x"', "${variant}"])
    def test_other_dollars_stay(self, query: str) -> None:
        assert fill(query, {"variant": "candidate"}) == query

    def test_a_name_without_a_value_stays(self) -> None:
        assert fill("$model", {}) == "$model"

    def test_a_value_ends_no_string(self) -> None:
        filled = fill("""a{b="$name",c='$name'}""", {"name": "x\"'\\`\n$model"})
        inside = r"x\x22\x27\x5c\x60\x0a$model"
        assert filled == f"""a{{b="{inside}",c='{inside}'}}"""


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus on PATH")
def test_the_real_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n")
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL) as server:
        try:
            prometheus = Prometheus(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + 30
            while prometheus.read("vector(1)") != Reading(1.0) and time.monotonic() < deadline:
                time.sleep(0.1)
            odd = {"name": "a\"b'c\\d"}
            assert prometheus.read("vector(1)") == Reading(1.0)
            assert prometheus.read("1 / 3") == Reading(1 / 3)
            assert prometheus.read("absent_metric") == Reading()
            assert prometheus.read("vector(0) / 0") == Reading()
            assert "2 series" in prometheus.read('vector(1) or label_replace(vector(2), "a", "b", "", "")').error
            assert "refuses the query" in prometheus.read("sum(").error
            for quote in "\"'":
                query = f"""count(label_replace(vector(1), "a", {quote}$name{quote}, "", ""))"""
                assert prometheus.read(fill(query, odd)) == Reading(1.0)
        finally:
            server.terminate()
