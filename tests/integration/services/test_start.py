"""What a replica loads when it starts, and that its first requests find all of it there."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pyarrow as pa
import pytest

from lockgate.services.local import LocalPlatform

MARK = "import time:"
SELF = "self [us]"


class Started(NamedTuple):
    url: str
    log: Path


@pytest.fixture(scope="module")
def started(bento: Any, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A replica of onnxruntime that captures, and writes each import into its log."""
    home = tmp_path_factory.mktemp("platform")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(bentoml_home))
        patch.setenv("PYTHONPROFILEIMPORTTIME", "1")
        platform = LocalPlatform(home, 90, capture=home / "capture")
        (one,) = platform.start(bento, 1)
        try:
            (log,) = (path for path in home.rglob("*log*") if path.is_file())
            yield Started(f"http://127.0.0.1:{one.port}", log)
        finally:
            platform.stop([one])


def imported(log: Path) -> list[list[str]]:
    """The modules of each process, in the order in which the processes started."""
    found: list[list[str]] = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(MARK):
            if SELF in line:
                found.append([])
            else:
                found[-1].append(line.rpartition("|")[2].strip())
    return found


def bodies(x: Any) -> dict[str, tuple[str, str, bytes]]:
    npy, arrow = io.BytesIO(), pa.BufferOutputStream()
    np.save(npy, x)
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    batch = pa.RecordBatch.from_arrays([column], names=["x"])
    with pa.ipc.new_stream(arrow, batch.schema) as writer:
        writer.write_batch(batch)
    v2 = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    return {
        "json": ("/predict", "application/json", json.dumps({"inputs": {"x": x.tolist()}}).encode()),
        "npy": ("/predict", "application/x-npy", npy.getvalue()),
        "v2": ("/v2/models/fraud-detector/infer", "application/json", json.dumps({"inputs": [v2]}).encode()),
        "arrow": ("/predict", "application/vnd.apache.arrow.stream", arrow.getvalue().to_pybytes()),
    }


def test_the_first_request_in_each_form_imports_nothing(started: Started, make: Any) -> None:
    with httpx.Client(base_url=started.url, trust_env=False, timeout=20) as client:
        for name, (path, kind, body) in bodies(make.torch_example()["x"]).items():
            before = imported(started.log)
            assert client.post(path, content=body, headers={"content-type": kind}).status_code == 200, name
            assert [a[len(b) :] for a, b in zip(imported(started.log), before, strict=True)] == [[], []], name


def test_a_replica_of_onnxruntime_imports_no_other_vendor(started: Started) -> None:
    supervisor, worker = imported(started.log)
    vendors = {"torch", "tensorflow", "sklearn", "transformers", "mlflow", "pandas", "onnx", "prefect", "evidently"}
    for modules in (supervisor, worker):
        assert not vendors & {name.partition(".")[0] for name in modules}
    assert {"onnxruntime", "numpy", "pyarrow", "prometheus_client"} <= set(worker)


def test_the_supervisor_imports_nothing_that_serves(started: Started) -> None:
    """It waits for its worker, and its memory is each replica's."""
    supervisor, _ = imported(started.log)
    assert not {"numpy", "orjson", "onnxruntime", "pyarrow"} & set(supervisor)
    assert not [
        name for name in supervisor if name.startswith(("lockgate_services.compile", "lockgate_services.serving.core"))
    ]


def test_the_benchmark_of_a_start_measures_one(
    bento: Any, bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.replicas import started as measured

    monkeypatch.setenv("BENTOML_HOME", str(bentoml_home))
    found = measured(bento, tmp_path)
    assert 0 < found.cpu < 60
    assert found.seconds > 0
    assert found.memory > 50 * 2**20  # a supervisor and a worker
    assert LocalPlatform(tmp_path, 1).replicas() == []
