"""What PyTorch's targets refuse before anything is loaded, and what a test without a GPU can see of CUDA graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile import fingerprint, targets
from lockgate.services.compile.engines import torch_graphs, torch_values
from lockgate.services.compile.targets import torch_refusals
from lockgate.services.compile.words import About, Device, Input, Precision

torch = pytest.importorskip("torch")

WIDTH = 4


def _about(storage: str = "pickle", **changes: Any) -> About:
    inputs = (Input("x", changes.pop("dtype", "float32"), (-1, WIDTH), column=False),)
    return replace(
        About("m", "d", "pytorch", storage, Path("m"), inputs, {"x": np.zeros((2, WIDTH), "float32")}),
        **changes,
    )


def test_what_this_machine_cannot_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def why(target: str, precision: Precision = "fp32", device: Device = "cpu", **changes: Any) -> str:
        return targets.compiler(target).supports(_about(**changes), precision, device) or ""

    monkeypatch.setattr(fingerprint, "gpus", lambda: ())
    monkeypatch.setattr(fingerprint, "cpu_features", lambda: frozenset({"avx2"}))
    for target in ("eager", "torchscript", "aotinductor", "torch-compile", "torch-tensorrt"):
        assert why(target, device="cuda") == "no NVIDIA GPU here"
    for target in ("eager", "torchscript", "aotinductor", "torch-compile"):
        assert why(target, "bf16") == "this CPU has no bf16 arithmetic"
        assert "fp16 is for GPUs" in why(target, "fp16")
        assert why(target, dtype="object") == "PyTorch has no tensors of strings"
    assert why("aotinductor", flavour="sklearn") == "it takes PyTorch modules; this is a sklearn model"
    assert why("torch-tensorrt") == "TensorRT is for NVIDIA GPUs"
    assert "use aotinductor" in why("eager", "int8")
    assert "an exported program has none" in why("torch-compile", "int8", storage="pt2")
    monkeypatch.setenv("PATH", "")
    assert why("aotinductor") == why("torch-compile") == "no C++ compiler (g++) here"
    old = fingerprint.Gpu("Tesla V100", "7.0", "580")
    monkeypatch.setattr(fingerprint, "gpus", lambda: (old,))
    monkeypatch.setattr(torch_refusals, "version", lambda _: "2.13.0+cpu")
    assert why("eager", device="cuda") == "this PyTorch was built without CUDA"
    monkeypatch.setattr(torch_refusals, "version", lambda _: "2.13.0+cu130")
    assert why("eager", device="cuda") == ""
    assert "has no bf16 arithmetic" in why("eager", "bf16", "cuda")


class Replayed(torch_graphs.Graphed):
    """Records without a GPU: a replay computes again into the same tensors."""

    recordings = 0

    def _record(self, given: list[Any]) -> tuple[Any, list[Any], list[Any]]:
        self.recordings += 1
        answers = [value.clone() for value in torch_values.values(self._call(*given))]

        class Graph:
            def replay(graph) -> None:  # noqa: N805 - `self` is the recorder's
                for static, value in zip(answers, torch_values.values(self._call(*given)), strict=True):
                    static.copy_(value)

        return Graph(), given, answers


def test_recorded_batches_are_padded_and_cut() -> None:
    assert [torch_graphs.bucket(n) for n in (1, 2, 3, 5, 8, 9, 16, 17, 64)] == [1, 2, 4, 8, 8, 16, 16, 24, 64]
    sizes = []

    def call(x: Any, y: Any) -> Any:
        sizes.append(len(x))
        return x * 2 + y, x.sum(1)

    graphed = Replayed(call, 6)
    for rows in (3, 1, 3, 8, 9):
        x, y = torch.randn(rows, 4), torch.randn(rows, 1)
        kept = x.clone()
        doubled, summed = graphed(x, y)
        torch.testing.assert_close(doubled, kept * 2 + y)
        torch.testing.assert_close(summed, kept.sum(1))
        torch.testing.assert_close(x, kept)
    assert graphed.recordings == 3
    assert sizes[-1] == 9  # beyond the largest it is not recorded
    assert torch_graphs.graphed(call, {"graphs": 0}) is call


def test_rows_of_another_size_than_was_recorded_are_not_stretched_to_it() -> None:
    graphed = Replayed(lambda x: x.sum(1), 8)
    for width in (16, 1, 24, 16):
        x = torch.ones(3, width)
        (found,) = [graphed(x)] if width != 16 else graphed(x)
        torch.testing.assert_close(found, x.sum(1))
    assert graphed.recordings == 1
