from __future__ import annotations

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lockgate.registry.auth import page

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    "dangerous", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "</script"]
)
def test_nothing_in_the_bar_makes_markup_of_text(dangerous: str) -> None:
    text = page.script().decode().removesuffix("</script>")

    assert dangerous not in text


def test_the_bar_is_one_script_that_loads_nothing() -> None:
    text = page.script().decode()

    assert text.startswith("<script>")
    assert text.endswith("</script>")
    assert not re.search(r"https?://|import\(|\.src\b", text)


def test_the_script_is_packed_and_the_plugin_is_registered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    entry = EntryPoint("lockgate-auth", project["project"]["entry-points"]["mlflow.app"]["lockgate-auth"], "mlflow.app")
    assert (entry.module, entry.attr) == ("lockgate.registry.auth.app", "create_app")
    assert "*.js" in project["tool"]["setuptools"]["package-data"]["lockgate.registry.auth"]
