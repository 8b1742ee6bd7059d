"""What npm is told to install."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lockgate.dashboards.grafana.viewer import bundle

FOLDER = Path(bundle.__file__).parent


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (FOLDER / "package-lock.json").read_text()


def test_versions_are_exact_and_locked() -> None:
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    locked = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert all(locked[f"node_modules/{name}"]["version"] == version for name, version in wanted.items())
    assert all(of.get("integrity") for place, of in locked.items() if place)


def test_nothing_that_npm_installs_is_checked_in() -> None:
    assert {path.name for path in FOLDER.iterdir()} & {"node_modules", "dist"} == set()
