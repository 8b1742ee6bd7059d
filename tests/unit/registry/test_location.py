from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.registry.errors import RegistryDown
from lockgate.registry.location import Location, locate, sqlite_file, without_password


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)


def test_the_working_folders_database_is_the_default(tmp_path: Path) -> None:
    here = f"sqlite:///{tmp_path / 'mlflow.db'}"

    assert locate() == locate("sqlite:///mlflow.db") == Location(here, here)


def test_the_environment_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    assert locate() == Location("http://tracking", "http://tracking")

    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://registry")
    assert locate() == Location("http://tracking", "http://registry")


def test_what_is_given_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://registry")

    assert locate("http://given") == Location("http://given", "http://given")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite:////a/b.db?mode=ro", None),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql://h/db", None),
    ],
)
def test_sqlite_files(uri: str, path: str | None) -> None:
    assert sqlite_file(uri) == (Path(path) if path else None)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://ann:secret@host:5000/x", "http://host:5000/x"),
        ("postgresql+psycopg2://ann:s%40x@h/db?password=secret", "postgresql+psycopg2://h/db"),
        ("cannot reach 'https://token@h/api?t=secret' now", "cannot reach 'https://h/api' now"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("mail ann@example.com", "mail ann@example.com"),
    ],
)
def test_passwords_never_reach_a_sentence(text: str, clean: str) -> None:
    assert without_password(text) == clean


def test_a_missing_database_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(RegistryDown, match=r"mlflow\.db\. Set MLFLOW_TRACKING_URI to your MLflow"):
        locate().require()

    (tmp_path / "mlflow.db").touch()
    locate().require()
