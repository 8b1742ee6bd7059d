"""`make audit`: what is installed is pinned, and in that version."""

from __future__ import annotations

import importlib.util
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_package_without_a_pin_and_one_of_another_version_are_named(audit: Any) -> None:
    pinned = audit.pins((audit.ROOT / "constraints.txt").read_text())
    del pinned["click"]
    pinned["pyyaml"] = "0.1"
    wrong = audit.unpinned(pinned)
    assert f"click {version('click')} is installed and constraints.txt does not name it: add" in "\n".join(wrong)
    assert f"pyyaml {version('pyyaml')} is installed and constraints.txt says 0.1: install that one" in wrong


@pytest.mark.parametrize("line", ["click>=8", "click==8.*", "click", "click @ https://example.org/click.whl"])
def test_a_line_that_leaves_a_choice_is_refused(audit: Any, line: str) -> None:
    with pytest.raises(ValueError, match="is no exact version"):
        audit.pins(line)


def test_names_are_compared_as_pip_does(audit: Any) -> None:
    assert audit.pins("Flask_WTF==1.0  # why\n\ntorch==2+cpu; python_version > '3'") == {
        "flask-wtf": "1.0",
        "torch": "2+cpu",
    }


def test_an_environment_without_pip_is_not_called_consistent(audit: Any, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    (line,) = audit.inconsistent(str(tmp_path / "bare" / "bin" / "python"))
    assert "were not compared" in line
    assert "No module named pip" in line
