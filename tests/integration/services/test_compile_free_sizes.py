"""Signatures that leave more than the rows free: what holds the example's sizes is not made, what is made takes any."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.client import quiet_import
from lockgate.registry.words import FetchedModel
from lockgate.services.compile import engines, fingerprint, targets
from lockgate.services.compile.targets import torch_refusals
from lockgate.services.compile.words import About, Arrays, Device, Input, Job, Model
from lockgate.services.opened import opened

torch = pytest.importorskip("torch")

ROWS, LENGTH = 5, 16
OTHERS = (16, 8, 24, 1)
HELD = {
    "aotinductor": "cpu",
    "torchscript": "cpu",
    "onnxruntime": "cpu",
    "openvino": "cpu",
    "tensorrt": "cuda",
    "torch-tensorrt": "cuda",
}


def about(flavour: str = "pytorch", *sizes: int) -> About:
    inputs = (Input("mask", "float32", (-1, LENGTH), column=False), Input("x", "float32", (-1, *sizes), column=False))
    return About("m version 1", "d", flavour, "pickle", Path("m"), inputs, {})


def why(target: str, of: About, device: Device = "cpu") -> str:
    return targets.compiler(target).supports(of, "fp32", device) or ""


def test_what_holds_the_examples_sizes_refuses_free_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "gpus", lambda: (fingerprint.Gpu("NVIDIA L4", "8.9", "580"),))
    monkeypatch.setattr(torch_refusals, "version", lambda _: "2.13.0+cu130")
    for target, device in HELD.items():
        for sizes in ((-1,), (3, -1)):
            assert why(target, about("pytorch", *sizes), device) == (  # type: ignore[arg-type]
                f"input 'x' has a free size beside its rows ({[-1, *sizes]}), and what this target makes holds the "
                "example's: fix the size in the signature, or serve with eager or torch-compile"
            )
        assert "free size" not in why(target, about("pytorch", 3, 4), device)  # type: ignore[arg-type]
    for target in ("eager", "torch-compile"):
        assert why(target, about("pytorch", -1)) == ""
    assert why("onnxruntime", about("keras", -1)).endswith("or serve with eager or savedmodel")
    assert why("tensorrt", about("onnx", -1), "cuda").endswith("or serve with onnxruntime")
    assert why("onnxruntime", about("onnx", -1)) == ""


def pool() -> Any:
    """Of any length: the mean of each quarter."""
    torch.manual_seed(2)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool1d(4), torch.nn.Linear(4, 3), torch.nn.Softmax(-1))


class Held(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Of one length: but a narrow row stretches to it where nobody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.arange(1.0, LENGTH + 1))

    def forward(self, x: Any) -> Any:
        return (x * self.weights).sum(-1)


class Mean(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Of any length, which its program takes too."""

    def forward(self, x: Any) -> Any:
        return torch.stack([x.mean(-1), (x * x).sum(-1)], 1)


def logged(make: Any, folder: Path, module: Any, storage: str) -> FetchedModel:
    models, types = quiet_import("mlflow.models"), quiet_import("mlflow.types")
    free = types.Schema([types.TensorSpec(np.dtype("float32"), (-1, -1), name="x")])
    how = {"signature": models.ModelSignature(inputs=free), "serialization_format": storage}
    return make.fetched(folder, "pytorch", module.eval(), rows(LENGTH)["x"], **how)  # type: ignore[no-any-return]


def rows(length: int, count: int = ROWS) -> Arrays:
    return {"x": np.random.default_rng(length).normal(size=(count, length)).astype("float32")}


def test_a_search_leaves_them_out_and_what_it_chose_takes_any_size(make: Any, tmp_path: Path) -> None:
    module = pool()
    spec = make.spec_for("torchscript", "onnxruntime", "aotinductor", "eager")
    found = make.compiled(logged(make, tmp_path, module, "pickle"), spec, tmp_path / "cache")
    assert [row.outcome for row in found.rows] == ["skipped", "skipped", "skipped", "chosen"]
    for row in found.rows[:3]:
        assert "input 'x' has a free size beside its rows ([-1, -1])" in row.reason
    assert {"shorter rows", "longer rows"} <= set(found.chosen.parity.cases)
    engine = engines.load(found.chosen.path, found.chosen.manifest, 1)
    for length in OTHERS:
        with torch.no_grad():
            want = module(torch.from_numpy(rows(length)["x"]))
        np.testing.assert_allclose(engine.run(rows(length))["output"], want, atol=1e-6)


def built(target: str, made: Model, into: Path) -> dict[str, Any]:
    into.mkdir()
    job = Job("fp32", "cpu", 8, 1, made.about.example, into.parent)
    return dict(json.loads(json.dumps(targets.compiler(target).compile(made, job, into))))


@pytest.mark.parametrize(
    ("target", "storage", "module"),
    [("eager", "pt2", Mean()), ("torch-compile", "pt2", Mean()), ("torch-compile", "pickle", pool())],
)
def test_other_sizes_are_answered_as_the_source_answers(
    make: Any, target: str, storage: str, module: Any, tmp_path: Path
) -> None:
    made = opened(logged(make, tmp_path, module, storage), make.TRUSTING)
    if refused := targets.compiler(target).supports(made.about, "fp32", "cpu"):
        pytest.skip(refused)
    engine = engines.load(tmp_path / "artifact", built(target, made, tmp_path / "artifact"), 1)
    for length in OTHERS:
        for count in (1, ROWS):
            x = rows(length, count)
            np.testing.assert_allclose(engine.run(x)["output"], made.run(x)["output"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["eager", "torch-compile"])
def test_a_program_that_is_held_to_one_size_raises_at_others(make: Any, target: str, tmp_path: Path) -> None:
    """It is the author's, and the signature says too much of it: an error is right, a number is not."""
    made = opened(logged(make, tmp_path, Held(), "pt2"), make.TRUSTING)
    if refused := targets.compiler(target).supports(made.about, "fp32", "cpu"):
        pytest.skip(refused)
    manifest = built(target, made, tmp_path / "artifact")
    engine = engines.load(tmp_path / "artifact", manifest, 1)
    np.testing.assert_allclose(engine.run(rows(LENGTH))["output"], made.run(rows(LENGTH))["output"], rtol=1e-5)
    for length in (1, LENGTH - 1):
        with pytest.raises(Exception, match=r"Guard failed|size"):
            engine.run(rows(length))


def test_fixed_sizes_are_not_guarded_again(make: Any, tmp_path: Path) -> None:
    """The service checks them, and the program's own checks cost more than a small model."""
    made = opened(make.torch_pt2(tmp_path, make.mlp()), make.TRUSTING)
    assert "guarded" not in built("eager", made, tmp_path / "artifact")
    free = replace(made.about, inputs=(Input("x", "float32", (-1, -1), column=False),))
    assert built("eager", replace(made, about=free), tmp_path / "free")["guarded"]
