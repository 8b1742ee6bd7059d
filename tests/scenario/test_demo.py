"""The demo as people run it: two rollouts on real flights under 200 requests a second, and nobody's request fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(420)]
DEMO = Path(__file__).parents[2] / "examples" / "flights" / "demo.py"


def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--dir", str(tmp_path / "flights")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["failed"], line["repeated"], line["promoted"], line["rolled_back"]) == (0, 0, 1, 1)
    assert line["requests"] > 5000
    assert line["users_moved_back"] == 0
    assert line["drift_found"]
    assert str(line["champion"]) == "2"
    assert (tmp_path / "flights" / "timeline.png").stat().st_size > 20_000
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert left == []
