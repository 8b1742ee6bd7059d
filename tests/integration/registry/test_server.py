"""Over a real `mlflow server`: the REST path, and what is left when it stops."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.registry.errors import NoSuchVersion, RegistryDown
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.quick import resolve_quickly


@pytest.fixture
def server(shelf: Any, servers: Any) -> Iterator[Any]:
    server = servers.Server(shelf.folder)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(180)
def test_a_server_gives_the_same_answers_until_it_stops(
    server: Any, shelf: Any, champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.point("champion", champion)
    shelf.client.set_model_version_tag("fraud", champion, "team", "risk")
    registry = MlflowRegistry(shelf.folder / "cache", server.uri)

    quick = resolve_quickly(server.uri, "fraud", ["@champion", champion])
    assert quick == [registry.resolve("fraud", "@champion")] * 2
    assert quick == resolve_quickly(shelf.uri, "fraud", ["@champion", champion])
    for name, alias in (("fraud", "@nobody"), ("nothing", "@champion")):
        with pytest.raises(NoSuchVersion, match=f"There is no {alias} of {name}"):
            resolve_quickly(server.uri, name, [alias])
    assert resolve_quickly(server.uri, "fraud", ["@no/alias"]) is None  # MLflow has a sentence for it
    assert resolve_quickly(server.uri, "nothing", ["1"]) is None

    registry.assign("fraud", champion, expected=champion)
    registry.annotate("fraud", champion, {"phase": "succeeded"})
    fetched = registry.fetch(registry.resolve("fraud", champion))
    assert fetched.version.tags["lockgate.phase"] == "succeeded"
    assert (fetched.path / "model.skops").is_file()

    server.stop()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert resolve_quickly(server.uri, "fraud", ["@champion"]) is None
    with pytest.raises(RegistryDown) as down:
        MlflowRegistry(shelf.folder / "cache", server.uri.replace("//", "//ann:secret@")).resolve("fraud", "@champion")
    assert f"MLflow at {server.uri} does not answer as it should (connection refused)" in str(down.value)
    assert "secret" not in str(down.value)
    assert registry.fetch(fetched.version).digest == fetched.digest, "what was fetched needs no server"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]

        with pytest.raises(RegistryDown, match=r"timed out"):
            MlflowRegistry(tmp_path, f"http://127.0.0.1:{port}").resolve("fraud", "1")


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryDown, match=r"mysql://127\.0\.0\.1/db needs a package that is not here .*MySQLdb"):
        MlflowRegistry(tmp_path, "mysql://ann:secret@127.0.0.1/db").resolve("fraud", "1")
