"""What is lost between two rollouts, and what brings it back: each line of docs/recovery.md."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]


def test_the_next_up_makes_anew_what_was_lost(workshop: Any) -> None:
    workshop.env["BENTOML_HOME"] = str(workshop.root / "bentoml")
    assert workshop.cli("up").returncode == 0
    home = workshop.root / "home"
    with workshop.traffic(rate=20) as traffic:
        for lost in ("state.db", "home/toy/capture", "bentoml"):
            path = workshop.root / lost
            for one in (path, *path.parent.glob(f"{path.name}-*")):
                shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)
            done = workshop.cli("up")
            assert done.returncode == 0, f"{lost}: {done.stdout}{done.stderr}"
            workshop.until_answers(traffic, time.time(), 5)
        assert "no rollouts yet" in workshop.cli("status").stdout
        assert traffic.failures == []
    assert workshop.cli("down").returncode == 0
    shutil.rmtree(home / "toy")
    assert workshop.cli("up").returncode == 0
    assert workshop.answers()
