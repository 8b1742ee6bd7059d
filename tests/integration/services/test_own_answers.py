"""A module that answers in the same tensor each time: a caller keeps the answer to its own rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lockgate.services.compile.engines import load
from lockgate.services.compile.engines.feeds import feed


class Reuses(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.zeros(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.kept.copy_(x * 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save(Reuses(), tmp_path / "model.pt")
    return tmp_path


def test_a_later_call_changes_no_answer(folder: Path) -> None:
    about = {"feeds": [feed(["x"], "float32")], "outputs": [{"name": "y"}], "storage": "pickle", "file": "model.pt"}
    engine = load(folder, {"engine": "torch", **about})
    first, second = (engine.run({"x": np.full((1, 2), value, "float32")})["y"] for value in (1, 2))
    assert (first.tolist(), second.tolist()) == ([[2, 2]], [[4, 4]])
