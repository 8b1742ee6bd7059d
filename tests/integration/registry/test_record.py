"""Files beside a version: with the run that logged it, or one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lockgate.registry.errors import NoSuchVersion, RegistryDown
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.record import EXPERIMENT

FILES = {"table.md": b"| a |", "picture.png": b"\x89PNG"}


def names(shelf: Any, run: str, folder: str) -> set[str]:
    return {f.path.rpartition("/")[2] for f in shelf.client.list_artifacts(run, f"lockgate/{folder}")}


def test_files_go_to_the_run_that_logged_the_version(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow's default for artifacts beside a database is ./mlruns
    run = shelf.client.create_run(shelf.client.create_experiment("mine")).info.run_id
    shelf.client.create_registered_model("fraud")
    shelf.client.create_model_version("fraud", source=str(shelf.folder), run_id=run)
    registry = shelf.registry()
    version = registry.resolve("fraud", "1")
    registry.record(version, "compile-1", FILES)
    registry.record(version, "compile-2", {"table.md": b"| b |"})
    assert names(shelf, run, "compile-1") == set(FILES)
    assert names(shelf, run, "compile-2") == {"table.md"}
    assert shelf.client.get_experiment_by_name(EXPERIMENT) is None
    assert "lockgate.run" not in registry.resolve("fraud", "1").tags


def test_a_model_that_was_logged_without_a_run_gets_one_beside_it(shelf: Any, champion: str) -> None:
    registry = shelf.registry()
    version = registry.resolve("fraud", champion)
    assert not version.run_id
    registry.record(version, "compile-1", FILES)
    run = shelf.client.get_run(registry.resolve("fraud", champion).tags["lockgate.run"])
    model = shelf.client.get_logged_model(version.source.removeprefix("models:/"))
    assert run.info.experiment_id == model.experiment_id
    assert names(shelf, run.info.run_id, "compile-1") == set(FILES)


def test_a_version_without_a_run_gets_one_once(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow's default for artifacts beside a database is ./mlruns
    shelf.bare(versions=2)
    registry = shelf.registry()
    for folder in ("compile-1", "compile-2"):
        registry.record(registry.resolve("fraud", "1"), folder, FILES)
    run = registry.resolve("fraud", "1").tags["lockgate.run"]
    assert names(shelf, run, "compile-2") == set(FILES)
    found = shelf.client.search_runs([shelf.client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert [(r.info.run_id, r.info.run_name, r.info.status) for r in found] == [
        (run, "lockgate: fraud version 1", "FINISHED")
    ]
    assert "lockgate.run" not in registry.resolve("fraud", "2").tags


def test_what_is_not_there_gets_no_files(shelf: Any, tmp_path: Any) -> None:
    shelf.bare()
    registry = shelf.registry()
    version = registry.resolve("fraud", "1")
    shelf.client.delete_model_version("fraud", "1")
    with pytest.raises(NoSuchVersion):
        registry.record(version, "compile-1", FILES)
    with pytest.raises(RegistryDown):
        MlflowRegistry(tmp_path, f"sqlite:///{tmp_path / 'nowhere' / 'mlflow.db'}").record(version, "x", FILES)
