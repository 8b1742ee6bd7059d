"""Sixty points of the crash matrix, drawn by a seed: whatever is killed, frozen or full, nothing is lost.

`python -m benchmarks.chaos --matrix` plays a thousand; docs/faults.md says what they found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos.faults import UP, planned, possible
from benchmarks.chaos.matrix import GATES, STEPS, under_load
from benchmarks.chaos.stage import opened

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

POINTS, SEED = 60, 8
STRUCK = 40
"""At least: some sites are not come by in a rollout, like those of a start that an earlier driver has finished."""


def test_whatever_dies_nothing_is_lost(template: Path) -> None:
    spec = {"steps": STEPS[UP], "gates": GATES}
    with opened(spec, registry=template / "mlflow.db") as stage, under_load(stage) as matrix:
        matrix.learn()
        points = planned(matrix.catalogue, POINTS, SEED, possible(disk=stage.own_disk))
        matrix.strike(points, lambda _played, _struck: None)
    found = matrix.found
    assert found.breaches == []
    assert len(found.struck) + found.missed == POINTS
    assert len(found.struck) >= STRUCK
    assert {one["fault"] for one in found.struck} >= {"kill the driver", "kill the router"}
