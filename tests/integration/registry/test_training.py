"""Training rows are found where MLflow keeps them: an artifact of the run, or the data set that it logged."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zlib import crc32

import pandas as pd
import pytest

from lockgate.registry import training
from lockgate.registry.client import quiet_mlflow
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.words import ModelVersion

FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})


@pytest.fixture
def logged(tmp_path: Path) -> Any:
    """Log something with a run, and get the registry and a version of that run."""
    mlflow = quiet_mlflow()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("e", artifact_location=str(tmp_path / "files"))

    def log(write: Any) -> tuple[MlflowRegistry, ModelVersion]:
        run = client.create_run(experiment).info.run_id
        write(client, run)
        return MlflowRegistry(tmp_path / "cache", uri), ModelVersion("toy", "1", "", run)

    return log


def data_set(source: str, kind: str, context: str) -> Any:
    entities = quiet_mlflow().entities

    def write(client: Any, run: str) -> None:
        found = entities.Dataset("d", f"{crc32(source.encode()):x}", kind, source)  # MLflow keeps one of each digest
        tags = [entities.InputTag("mlflow.data.context", context)]
        client.log_inputs(run, [entities.DatasetInput(found, tags)])

    return write


def test_an_artifact_of_the_run(logged: Any, tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "reference.parquet")
    registry, version = logged(
        lambda client, run: client.log_artifact(run, str(tmp_path / "reference.parquet"), "data")
    )
    (into := tmp_path / "into").mkdir()
    found = registry.training_file(version, "data/reference.parquet", into)
    assert pd.read_parquet(found).equals(FRAME)
    assert found.is_relative_to(into)
    assert registry.training_file(version, "reference.parquet", into) is None
    assert registry.training_file(version, "data", into) is None


def test_a_file_that_is_too_large_is_none(logged: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FRAME.to_csv(tmp_path / "training.csv", index=False)
    registry, version = logged(
        lambda client, run: (
            client.log_artifact(run, str(tmp_path / "training.csv")),
            data_set(json.dumps({"uri": f"runs:/{run}/training.csv"}), "s3", "training")(client, run),
        )
    )
    (into := tmp_path / "into").mkdir()
    assert registry.training_file(version, "training.csv", into)
    assert registry.training_file(version, "other.csv", into, data_set=True)
    monkeypatch.setattr(training, "_LARGEST", (tmp_path / "training.csv").stat().st_size - 1)
    assert registry.training_file(version, "training.csv", into) is None
    assert registry.training_file(version, "other.csv", into, data_set=True) is None


class Web:
    """`asked`: the paths that somebody asked this server for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = ""


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            self.send_response(404 if "missing" in self.path else 200)
            self.end_headers()
            self.wfile.write(FRAME.to_csv(index=False).encode())

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (found := tmp_path / "into").mkdir()
    return found


@pytest.mark.parametrize("address", ["{path}", "file://{path}", "{web}/training.csv?key=1"])
def test_the_data_set_of_the_run_is_read_where_it_is_asked_for(
    logged: Any, tmp_path: Path, into: Path, web: Web, address: str
) -> None:
    """Whoever logged the run says where it is: nothing of it is touched otherwise."""
    FRAME.to_csv(path := tmp_path / "training.csv", index=False)
    source = json.dumps({"url" if "web" in address else "uri": address.format(path=path, web=web.address)})
    registry, version = logged(data_set(source, "any", "training"))
    assert registry.training_file(version, "reference.parquet", into) is None
    assert (web.asked, [*into.iterdir()]) == ([], [])
    found = registry.training_file(version, "reference.parquet", into, data_set=True)
    assert pd.read_csv(found).equals(FRAME)
    assert found.is_relative_to(into)


def test_a_data_set_that_is_too_large_is_none(
    logged: Any, tmp_path: Path, into: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    FRAME.to_csv(path := tmp_path / "training.csv", index=False)
    monkeypatch.setattr(training, "_LARGEST", path.stat().st_size - 1)
    for address in (str(path), f"{web.address}/training.csv"):
        registry, version = logged(data_set(json.dumps({"uri": address}), "any", "training"))
        assert registry.training_file(version, "reference.parquet", into, data_set=True) is None
    assert web.asked == ["/training.csv"]


def test_a_download_that_takes_too_long_is_none(
    logged: Any, into: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_WITHIN", -1.0)
    registry, version = logged(data_set(json.dumps({"url": f"{web.address}/training.csv"}), "http", "training"))
    assert registry.training_file(version, "reference.parquet", into, data_set=True) is None


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ('{"tags": {"mlflow.source.type": "NOTEBOOK"}}', "code"),
        ('{"uri": "/nowhere/training.csv"}', "local"),
        ("broken", "local"),
        ('["training.csv"]', "local"),
        ('{"uri": "rows.parquet"}', "local"),
        ('{"uri": "/etc/hostname"}', "local"),
        ('{"uri": "unheard-of://here/rows.parquet"}', "unheard-of"),
        ('{"url": "http://127.0.0.1:1/rows.csv"}', "http"),
        ('{"url": "http://[::1/rows.csv"}', "http"),
        ('{"url": "WEB/missing.csv"}', "http"),
    ],
)
def test_a_data_set_that_no_file_holds_is_none(logged: Any, into: Path, web: Web, source: str, kind: str) -> None:
    registry, version = logged(data_set(source.replace("WEB", web.address), kind, "training"))
    assert registry.training_file(version, "reference.parquet", into, data_set=True) is None


def test_a_path_that_is_not_whole_was_meant_for_another_machine(
    logged: Any, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FRAME.to_csv(tmp_path / "training.csv", index=False)
    monkeypatch.chdir(tmp_path)
    registry, version = logged(data_set('{"uri": "training.csv"}', "local", "training"))
    assert registry.training_file(version, "reference.parquet", into, data_set=True) is None


def test_a_version_without_a_run_has_none(logged: Any, tmp_path: Path) -> None:
    registry, _ = logged(lambda *_: None)
    assert registry.training_file(ModelVersion("toy", "1", ""), "reference.parquet", tmp_path, data_set=True) is None
