"""The example of servers that somebody else runs: it speaks v2, it fails as it is told to, and its spec finds it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.flows.spec import load
from lockgate.services.external_look import asked

HERE = Path(__file__).parents[3] / "examples" / "external"
ROWS = {"inputs": [{"name": "rows", "datatype": "FP32", "shape": [2, 4], "data": [0, 0, 0, 0, -9, 9, 0, 0]}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    found = importlib.util.spec_from_file_location("example_external_server", HERE / "server.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    monkeypatch.setattr(module.Handler, "version", "2")
    with module.Server(("127.0.0.1", 0), module.Handler) as made:
        made.handler = module.Handler
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_it_speaks_the_protocol_and_the_spec_finds_it_ready(server: Any) -> None:
    port = server.server_address[1]
    external = load(HERE / "lockgate.yaml").service.external
    assert external
    assert external.at("2") == ("127.0.0.1:9002",)
    assert asked("127.0.0.1", port, external.path("fraud", "2"), "fraud") == ("", False)
    assert asked("127.0.0.1", port, external.path("froud", "2"), "fraud")[0].endswith("with 404")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/v2/models/fraud", trust_env=False) as client:
        answer = client.post("/infer", json=ROWS).json()
        assert (answer["model_name"], answer["model_version"]) == ("fraud", "2")
        (scores,) = answer["outputs"]
        assert scores["shape"] == [2]
        assert scores["data"] == pytest.approx([0.5, 1.0])
        assert client.post("/infer", json={"inputs": []}).status_code == 400
        server.handler.fails = 1.0
        assert client.post("/infer", json=ROWS).status_code == 500
