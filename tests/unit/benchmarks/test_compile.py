"""The benchmark's own arithmetic, its models, and one whole run on the smallest of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import models
from benchmarks.duel import Duel
from lockgate.services.compile.words import Candidate

ROOT = Path(__file__).parents[3]
A, B = Candidate("eager"), Candidate("onnxruntime")


def test_a_ratio_is_taken_within_each_round() -> None:
    """The machine was twice as slow in the second round: that says nothing about who is faster."""
    rounds = {(A, 1): [2.0, 4.0, 2.0], (B, 1): [1.0, 2.0, 1.0], (A, 8): [8.0, 8.0, 8.0], (B, 8): [1.0, 1.0, 1.0]}
    duel = Duel(rounds)
    assert duel.ratio(A, B, [1]) == pytest.approx(2.0)
    assert duel.ratio(A, B, [1, 8]) == pytest.approx(4.0)
    assert duel.ratio(A, A, [1, 8]) == 1.0
    assert duel.seconds(A, 1) == 2.0


@pytest.mark.parametrize(("name", "millions"), [("mlp", 0.074), ("resnet50", 25.557), ("bert-base", 109.483)])
def test_the_models_are_as_large_as_their_papers_say(name: str, millions: float) -> None:
    torch = pytest.importorskip("torch")
    from importlib import import_module

    with torch.device("meta"):
        module = import_module(f"benchmarks.models.{models.KINDS[name].module}").build()
    assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)


def test_a_row_of_the_encoder_does_not_depend_on_what_its_mask_hides() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.models.encoder import Encoder

    torch.manual_seed(0)
    module = Encoder(48, 2, classes=None, heads=4).eval()
    x = {name: value[:4] for name, value in models.KINDS["minilm"].example(4).items()}
    other = {**x, "input_ids": np.where(x["attention_mask"] == 1, x["input_ids"], 5)}
    assert not np.array_equal(x["input_ids"], other["input_ids"])
    np.testing.assert_allclose(models.answer(module, x)["output"], models.answer(module, other)["output"], atol=1e-6)


def test_a_whole_run_ends_with_its_json_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile", "--model", "mlp", "--targets", "eager", "--precision", "fp32",
         "--batch", "1,2", "--rows", "8", "--picture", str(tmp_path / "p.png")],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["model"], found["device"], found["chosen"]) == ("mlp", "cpu", "eager fp32")
    assert found["speedup_vs_eager"] == {"batch_1": 1.0, "batch_2": 1.0, "overall": 1.0}
    assert found["within_best"] == 1.0
    assert found["search_time_ratio"] > 0
    assert isinstance(found["ok"], bool)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
