"""PyTorch's targets, on tiny modules: each engine in this process, and a compile of torch.compile's in its own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile import engines, fingerprint, targets
from lockgate.services.compile.engines import torch_graphs, torch_values
from lockgate.services.compile.errors import Unsupported
from lockgate.services.compile.words import About, Arrays, Device, Input, Job, Model, Precision

torch = pytest.importorskip("torch")

WIDTH = 12
SIDE = 8
MAX = 64
MODELS = ("mlp", "conv", "heads", "attention")
STORAGES = ("pt2", "pickle")
BF16 = bool({"avx512_bf16", "amx_bf16"} & fingerprint.cpu_features())


class Heads(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Two outputs, and two inputs whose order in `forward` is not the signature's."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(WIDTH, 6)
        self.first = torch.nn.Linear(6, 3)
        self.second = torch.nn.Linear(6, 1)

    def forward(self, x: Any, shift: Any) -> Any:
        hidden = torch.relu(self.mix(x) - shift)
        return {"first": self.first(hidden).softmax(-1), "second": self.second(hidden)[:, 0]}


class Attention(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Sizes in views, and a constant that says float32: what traces freeze and casts forget."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(20, 8)
        self.project = torch.nn.Linear(8, 24)
        self.out = torch.nn.Linear(8, 2)

    def forward(self, ids: Any) -> Any:
        rows, length = ids.shape
        q, k, v = self.project(self.words(ids)).view(rows, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mask = torch.zeros(rows, 1, length, length, dtype=torch.float32)
        mask = mask.masked_fill((ids == 0)[:, None, None, :], -1e4)
        mixed = (q @ k.transpose(-1, -2) + mask).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(rows, length, 8).mean(1))


def module(kind: str) -> Any:
    torch.manual_seed(3)
    if kind == "mlp":
        made: Any = torch.nn.Sequential(torch.nn.Linear(WIDTH, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    elif kind == "conv":
        body = (torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        made = torch.nn.Sequential(*body, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4))
    else:
        made = Heads() if kind == "heads" else Attention()
    return made.eval()


def sample(kind: str, rows: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    if kind == "attention":
        return {"ids": rng.integers(0, 20, (rows, 7))}
    if kind == "conv":
        return {"x": rng.normal(size=(rows, 3, SIDE, SIDE)).astype("float32")}
    x = {"x": rng.normal(size=(rows, WIDTH)).astype("float32")}
    return x if kind == "mlp" else {"shift": rng.normal(size=(rows, 1)).astype("float32"), **x}


def model(kind: str, storage: str, folder: Path, native: Any = None) -> Model:
    """As the registry opens it; an exported program's arguments come in the signature's order."""
    native = native or module(kind)
    example = sample(kind, 4)
    order = ["x", "shift"] if kind == "heads" and storage == "pickle" else list(example)
    file = folder / f"{kind}.{storage}"
    if storage == "pt2":
        native = _exported(native, example, file)
    else:
        file.write_bytes(kind.encode())
    inputs = tuple(Input(n, v.dtype.name, (-1, *v.shape[1:]), column=False) for n, v in example.items())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    def run(x: Arrays) -> Arrays:
        with torch.no_grad():
            answer = native(*(torch.from_numpy(np.ascontiguousarray(x[n])) for n in order))
        found = answer if isinstance(answer, dict) else {"output": answer}
        return {name: value.numpy() for name, value in found.items()}

    return Model(About(f"{kind} version 1", digest, "pytorch", storage, file, inputs, example), native, run)


def _exported(native: Any, example: Arrays, file: Path) -> Any:
    class InOrder(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.inner = native

        def forward(self, *given: Any) -> Any:
            return self.inner(**dict(zip(example, given, strict=True))) if len(example) > 1 else self.inner(*given)

    shapes = tuple({0: torch.export.Dim("batch")} for _ in example)
    tensors = tuple(map(torch.from_numpy, example.values()))
    torch.export.save(torch.export.export(InOrder().eval(), tensors, dynamic_shapes=(shapes,)), file)
    return torch.export.load(file).module()


def job(kind: str, shared: Path, precision: Precision = "fp32", device: Device = "cpu") -> Job:
    return Job(precision, device, MAX, 1, sample(kind, 40, seed=5), shared)


def build(target: str, made: Model, into: Path, precision: Precision = "fp32") -> dict[str, Any]:
    """The manifest as an artifact keeps it: through JSON."""
    into.mkdir()
    kind = made.about.name.split()[0]
    found = targets.compiler(target).compile(made, job(kind, into.parent, precision), into)
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    return dict(json.loads(json.dumps(found)))


def holds(folder: Path, manifest: dict[str, Any], made: Model, margin: float = 1e-5) -> None:
    """Answers at batch sizes 1, 2 and max, and for strided inputs, within `margin` of each output's scale."""
    engine = engines.load(folder, manifest, 1)
    kind = made.about.name.split()[0]
    for rows in (1, 2, MAX):
        x = sample(kind, rows, seed=rows)
        want = made.run(x)
        for given in (x, {n: np.repeat(v, 2, axis=0)[::2] for n, v in x.items()}, _backwards(x)):
            found = engine.run(given)
            assert list(found) == list(want)
            for name, value in want.items():
                assert found[name].dtype == np.float32
                np.testing.assert_allclose(found[name], value, rtol=0, atol=margin * float(np.abs(value).max()))


def _backwards(x: Arrays) -> Arrays:
    """The same values in another order in memory."""
    return {n: np.asfortranarray(v) for n, v in x.items()}


def light() -> Iterator[tuple[str, str, str]]:
    for target in ("eager", "torchscript"):
        for kind in MODELS:
            yield from ((target, kind, storage) for storage in STORAGES)


@pytest.mark.parametrize(("target", "kind", "storage"), list(light()))
def test_a_light_target_answers_as_the_source(target: str, kind: str, storage: str, tmp_path: Path) -> None:
    made = model(kind, storage, tmp_path)
    assert targets.compiler(target).supports(made.about, "fp32", "cpu") is None
    manifest = build(target, made, tmp_path / "artifact")
    assert manifest["portable"]
    holds(tmp_path / "artifact", manifest, made)


@pytest.mark.skipif(not BF16, reason="this CPU has no bf16 arithmetic")
@pytest.mark.parametrize(("target", "kind", "storage"), list(light()))
def test_in_bf16(target: str, kind: str, storage: str, tmp_path: Path) -> None:
    made = model(kind, storage, tmp_path)
    before = made.run(made.about.example)
    assert targets.compiler(target).supports(made.about, "bf16", "cpu") is None
    manifest = build(target, made, tmp_path / "artifact", "bf16")
    # The pickled module makes its mask in float32, which only autocast reconciles; a program is cast with its constants.
    assert manifest["lower"]["how"] == ("autocast" if (kind, storage) == ("attention", "pickle") else "cast")
    holds(tmp_path / "artifact", manifest, made, margin=0.05)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        holds(tmp_path / "artifact", manifest, made, margin=1e-6)
    for name, value in made.run(made.about.example).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("target", ["aotinductor", "torch-compile"])
def test_scratch(target: str, tmp_path: Path) -> None:
    import time
    for kind in MODELS:
        for storage in STORAGES:
            for precision in ("fp32", "bf16", "int8"):
                made = model(kind, storage, tmp_path)
                t = time.time()
                try:
                    if why := targets.compiler(target).supports(made.about, precision, "cpu"):
                        print(target, kind, storage, precision, "REFUSED", why); continue
                    into = tmp_path / f"{kind}{storage}{precision}"
                    manifest = build(target, made, into, precision)
                    t2 = time.time()
                    holds(into, manifest, made, margin={"fp32": 1e-5, "bf16": .05, "int8": .1}[precision])
                    print(target, kind, storage, precision, "ok %.1f %.1f" % (t2-t, time.time()-t2), {k: v for k, v in manifest.items() if k in ("inductor", "lower", "freezing", "made_for")}, flush=True)
                except Exception as e:
                    import traceback
                    print(target, kind, storage, precision, "FAIL", type(e).__name__, str(e)[:600], traceback.format_exc()[-1500:], flush=True)
