"""What one real replica answers over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lockgate.services import processes
from lockgate.services.local import LocalPlatform


@pytest.fixture(scope="module")
def replica(bento: Any, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(bentoml_home))
        platform = LocalPlatform(tmp_path_factory.mktemp("platform"), 90)
        (one,) = platform.start(bento, 1)
        try:
            yield f"http://127.0.0.1:{one.port}"
        finally:
            platform.stop([one])


@pytest.fixture
def client(replica: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=replica, trust_env=False, timeout=20) as found:
        yield found


def metric(client: httpx.Client, code: int) -> float:
    """Requests to the model with this status so far."""
    text = client.get("/metrics").text
    found = re.search(rf'lockgate_service_requests_total{{code="{code}",[^}}]*}} (\S+)', text)
    return float(found[1]) if found else 0.0


def test_predictions_equal_the_source_in_every_encoding(client: httpx.Client, make: Any) -> None:
    import io

    example = make.torch_example()["x"]
    as_json = client.post("/predict", json={"inputs": {"x": example.tolist()}}, headers={"x-request-id": "r-1"})
    assert as_json.headers["x-request-id"] == "r-1"
    file = io.BytesIO()
    np.save(file, example)
    headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
    as_npy = client.post("/predict", content=file.getvalue(), headers=headers)
    np.testing.assert_allclose(np.load(io.BytesIO(as_npy.content)), as_json.json()["outputs"]["output"], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"nonsense", 400),
        (json.dumps({"inputs": [[0.5] * 15] * 2}).encode(), 422),  # BentoML's own Shape reshapes this to (1, 30)
        (json.dumps({"inputs": [[None] * 30]}).encode(), 422),
        (json.dumps({"inputs": [["1"] * 30]}).encode(), 422),
        (json.dumps({"inputs": [[0.5] * 30, [0.5]]}).encode(), 422),
        (b'{"inputs": [' + b" " * 70_000 + b"]}", 413),
    ],
)
def test_bad_input_is_the_callers_error_and_counted_as_such(client: httpx.Client, content: bytes, status: int) -> None:
    before, failed = metric(client, status), metric(client, 500)
    answer = client.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]
    assert (metric(client, status), metric(client, 500)) == (before + 1, failed)


def test_bad_requests_do_not_fail_the_good_ones_beside_them(replica: str) -> None:
    good, bad = {"inputs": [[0.5] * 30]}, {"inputs": [[0.5] * 29]}

    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=replica, trust_env=False, timeout=20) as client:
            sent = [client.post("/predict", json=bad if i % 4 == 0 else good) for i in range(40)]
            return [answer.status_code for answer in await asyncio.gather(*sent)]

    assert asyncio.run(ask()) == [422 if i % 4 == 0 else 200 for i in range(40)]


def test_the_documentation_has_the_models_own_inputs(client: httpx.Client) -> None:
    schema = client.get("/docs.json").json()["components"]["schemas"]["Request"]
    assert schema["properties"]["inputs"]["properties"]["x"]["items"]["minItems"] == 30
    assert client.get("/").status_code == 200


def test_info_names_model_version_digest_target_and_spec(client: httpx.Client, bento: Any) -> None:
    info = client.get("/info").json()
    assert info == client.post("/info").json()
    about = ("model", "version", "digest", "target", "precision", "proof", "spec_hash", "bento", "threads")
    found = {key: info[key] for key in about}
    assert found == {
        "model": "fraud-detector",
        "version": "1",
        "digest": bento.digest,
        "target": "onnxruntime",
        "precision": "fp32",
        "proof": "proven on hardware like this",
        "spec_hash": "abc123",
        "bento": bento.tag,
        "threads": 1,
    }


def test_unknown_paths_make_no_time_series(client: httpx.Client) -> None:
    assert client.get("/wp-login.php").status_code == 404
    assert "wp-login" not in client.get("/metrics").text


def test_a_replica_of_onnxruntime_maps_no_other_vendor(client: httpx.Client) -> None:
    """Torch alone would be 200 MB and two seconds at every start."""
    (replica,) = {client.get("/info").json()["replica"]}
    running = processes.of([replica])
    assert running
    mapped = "".join(Path(f"/proc/{p.pid}/maps").read_text(encoding="utf-8") for p in running)
    assert "onnxruntime" in mapped
    assert not any(vendor in mapped for vendor in ("libtorch", "libtensorflow", "_pywrap_tensorflow", "sklearn"))
    assert "libarrow" not in mapped  # it captures nothing, and nobody has sent an Arrow stream
