"""The quick answers are the slow ones, or none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import pytest

from lockgate.registry.errors import NoSuchVersion
from lockgate.registry.quick import resolve_quickly


def test_it_answers_what_the_registry_answers(shelf: Any) -> None:
    shelf.bare(versions=3)
    shelf.bare("other", versions=3)
    for alias, version in {"champion": "1", "challenger": "3", "blue": "3"}.items():
        shelf.point(alias, version)
    shelf.point("champion", "2", "other")
    shelf.client.set_model_version_tag("fraud", "3", "lockgate.phase", "progressing")
    references = ["@champion", "@challenger", "2", "3"]

    quick = resolve_quickly(shelf.uri, "fraud", references)

    assert quick == [shelf.registry().resolve("fraud", reference) for reference in references]
    assert quick[1].aliases == ("blue", "challenger")
    assert quick[1].tags == {"lockgate.phase": "progressing"}


def test_a_logged_model_has_its_source(shelf: Any, champion: str) -> None:
    assert resolve_quickly(shelf.uri, "fraud", [champion]) == [shelf.registry().resolve("fraud", champion)]


def test_what_is_not_there_is_left_to_the_registry(shelf: Any) -> None:
    shelf.bare(versions=2)
    shelf.point("champion", "2")
    shelf.client.delete_model_version("fraud", "1")

    for references in (["9"], ["1"], ["@latest"]):
        assert resolve_quickly(shelf.uri, "fraud", references) is None


@pytest.mark.parametrize(("name", "alias"), [("fraud", "nobody"), ("fraud", "gone"), ("nothing", "champion")])
def test_an_alias_that_is_not_set_takes_no_mlflow(shelf: Any, name: str, alias: str) -> None:
    shelf.bare(versions=2)
    shelf.point("champion", "1")
    shelf.point("gone", "2")
    shelf.client.delete_model_version("fraud", "2")  # and its alias
    with pytest.raises(NoSuchVersion, match=f"There is no @{alias} of {name}"):
        resolve_quickly(shelf.uri, name, [f"@{alias}"])


@pytest.mark.parametrize(
    "uri", ["postgresql://localhost/db", "databricks", "file:///x", "sqlite:///:memory:", "sqlite://"]
)
def test_other_stores_are_left_to_the_registry(uri: str) -> None:
    assert resolve_quickly(uri, "fraud", ["1"]) is None


def test_a_database_of_another_shape_is_left_to_the_registry(shelf: Any) -> None:
    path = shelf.folder / "other.db"
    assert resolve_quickly(f"sqlite:///{path}", "fraud", ["1"]) is None
    assert not path.exists()
    path.write_bytes(b"")
    assert resolve_quickly(f"sqlite:///{path}", "fraud", ["1"]) is None
    assert path.read_bytes() == b""


def test_ways_in_that_only_mlflow_knows_are_left_to_it(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.bare()
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "my-plugin")

    assert resolve_quickly(shelf.uri, "fraud", ["1"]) is None


def test_odd_characters_in_the_path(shelf: Any) -> None:
    shelf.bare()
    folder = shelf.folder / "my models#1 100%"
    folder.mkdir()
    shutil.copy(shelf.folder / "mlflow.db", folder)

    found = resolve_quickly(f"sqlite:///{folder / 'mlflow.db'}", "fraud", ["1"])

    assert found is not None


def test_neither_mlflow_nor_any_framework_is_imported(shelf: Any) -> None:
    shelf.bare()
    program = (
        "import sys; from lockgate.registry.quick import resolve_quickly as r\n"
        f"assert r({shelf.uri!r}, 'fraud', ['1'])\n"
        "assert r('http://127.0.0.1:9', 'fraud', ['1']) is None\n"
        "print([m for m in ('mlflow', 'torch', 'sklearn', 'pandas', 'sqlalchemy') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert (done.stdout, done.stderr) == ("[]\n", "")
