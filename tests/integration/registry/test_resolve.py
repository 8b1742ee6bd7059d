from __future__ import annotations

from typing import Any

import pytest

from lockgate.registry.errors import NoSuchVersion, RegistryDown
from lockgate.registry.mlflow_registry import MlflowRegistry


def test_an_alias_and_a_number_name_the_same_version(shelf: Any) -> None:
    shelf.bare(versions=2)
    shelf.point("champion", "2")
    shelf.point("blue", "2")
    shelf.client.set_model_version_tag("fraud", "2", "team", "risk")

    by_alias = shelf.registry().resolve("fraud", "@champion")

    assert by_alias == shelf.registry().resolve("fraud", "2")
    assert (by_alias.version, by_alias.aliases, by_alias.tags) == ("2", ("blue", "champion"), {"team": "risk"})


def test_a_missing_alias_is_answered_with_those_that_there_are(shelf: Any) -> None:
    shelf.bare(versions=3)
    shelf.point("challenger", "2")

    with pytest.raises(NoSuchVersion) as refused:
        shelf.registry().resolve("fraud", "@chalenger")

    sentence = str(refused.value)
    assert "has no alias @chalenger (it has @challenger)" in sentence
    assert "Did you mean '@challenger'?" in sentence
    assert "set_registered_model_alias('fraud', 'chalenger', '3')" in sentence


def test_a_missing_model_is_answered_with_the_nearest_name(shelf: Any) -> None:
    shelf.bare("fraud-detector")
    shelf.bare("churn")

    with pytest.raises(
        NoSuchVersion, match=r"Did you mean 'fraud-detector'\? Registered there: churn, fraud-detector\."
    ):
        shelf.registry().resolve("fraud-detektor", "@champion")


def test_an_empty_registry_says_how_to_register(shelf: Any) -> None:
    with pytest.raises(NoSuchVersion, match=r"nor any other\. Register one: .*registered_model_name='fraud'"):
        shelf.registry().resolve("fraud", "1")


def test_a_missing_version_is_answered_with_those_that_there_are(shelf: Any) -> None:
    shelf.bare(versions=2)

    with pytest.raises(NoSuchVersion, match=r"has no version 9 \(it has 2, 1, newest first\)"):
        shelf.registry().resolve("fraud", "9")


def test_a_model_without_versions_says_so(shelf: Any) -> None:
    shelf.client.create_registered_model("fraud")

    with pytest.raises(NoSuchVersion, match="has no version yet, so @champion names none"):
        shelf.registry().resolve("fraud", "@champion")


def test_the_alias_of_a_deleted_version_names_nothing(shelf: Any) -> None:
    shelf.bare(versions=2)
    shelf.point("champion", "2")
    shelf.client.delete_model_version("fraud", "2")

    with pytest.raises(NoSuchVersion, match="has no alias @champion"):
        shelf.registry().resolve("fraud", "@champion")


def test_a_database_that_is_not_there_is_not_created(tmp_path: Any) -> None:
    registry = MlflowRegistry(tmp_path / "cache", f"sqlite:///{tmp_path / 'none.db'}")

    with pytest.raises(RegistryDown, match=r"There is no MLflow database at .*none\.db\. Set MLFLOW_TRACKING_URI"):
        registry.resolve("fraud", "1")

    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Any) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to be looked at " * 40)

    with pytest.raises(RegistryDown, match="does not answer as it should"):
        MlflowRegistry(tmp_path / "cache", f"sqlite:///{tmp_path / 'mlflow.db'}").resolve("fraud", "1")


def test_the_working_folders_database_is_the_default(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.bare()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(shelf.folder)
    registry = MlflowRegistry(shelf.folder / "cache")
    monkeypatch.chdir("/")

    assert registry.resolve("fraud", "1").version == "1"
