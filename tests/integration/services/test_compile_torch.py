"""PyTorch's targets, on tiny modules: each engine in this process, and a compile of torch.compile's in its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile import engines, fingerprint, targets
from lockgate.services.compile.engines import torch_compiled, torch_script
from lockgate.services.compile.errors import Unsupported
from lockgate.services.compile.words import About, Arrays, Device, Input, Job, Model, Precision

torch = pytest.importorskip("torch")

WIDTH = 12
SIDE = 8
MAX = 64
MODELS = ("mlp", "conv", "heads", "attention")
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
    inputs = tuple(Input(n, v.dtype.name, (-1, *v.shape[1:]), column=False) for n, v in example.items())

    def run(x: Arrays) -> Arrays:
        with torch.no_grad():
            answer = native(*(torch.from_numpy(np.ascontiguousarray(x[n])) for n in order))
        found = answer if isinstance(answer, dict) else {"output": answer}
        return {name: value.numpy() for name, value in found.items()}

    return Model(About(f"{kind} version 1", "digest", "pytorch", storage, file, inputs, example), native, run)


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
        every_second = {n: np.repeat(v, 2, axis=0)[::2] for n, v in x.items()}
        for given in (x, every_second, {n: np.asfortranarray(v) for n, v in x.items()}):
            found = engine.run(given)
            assert list(found) == list(want)
            for name, value in want.items():
                assert found[name].dtype == np.float32
                np.testing.assert_allclose(found[name], value, rtol=0, atol=margin * float(np.abs(value).max()))


LIGHT = pytest.mark.parametrize(
    ("target", "kind", "storage"), list(product(("eager", "torchscript"), MODELS, ("pt2", "pickle")))
)


@LIGHT
def test_a_light_target_answers_as_the_source(target: str, kind: str, storage: str, tmp_path: Path) -> None:
    made = model(kind, storage, tmp_path)
    assert targets.compiler(target).supports(made.about, "fp32", "cpu") is None
    manifest = build(target, made, tmp_path / "artifact")
    assert manifest["portable"]
    holds(tmp_path / "artifact", manifest, made)


@pytest.mark.skipif(not BF16, reason="this CPU has no bf16 arithmetic")
@LIGHT
def test_in_bf16(target: str, kind: str, storage: str, tmp_path: Path) -> None:
    made = model(kind, storage, tmp_path)
    before = made.run(made.about.example)
    assert targets.compiler(target).supports(made.about, "bf16", "cpu") is None
    manifest = build(target, made, tmp_path / "artifact", "bf16")
    # A pickled module makes its mask in float32, which only autocast reconciles; a program's constants are cast.
    assert manifest["lower"]["how"] == ("autocast" if (kind, storage) == ("attention", "pickle") else "cast")
    holds(tmp_path / "artifact", manifest, made, margin=0.05)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        holds(tmp_path / "artifact", manifest, made, margin=1e-6)
    for name, value in made.run(made.about.example).items():
        np.testing.assert_array_equal(value, before[name])


HEAVY = {"fp32": ("heads", "pickle", 1e-5), "bf16": ("attention", "pt2", 0.05), "int8": ("conv", "pt2", 0.1)}


@pytest.mark.parametrize("precision", list(HEAVY))
def test_aotinductor(precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, storage, margin = HEAVY[precision]
    made, into = model(kind, storage, tmp_path), tmp_path / "artifact"
    if why := targets.compiler("aotinductor").supports(made.about, precision, "cpu"):
        pytest.skip(why)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "before")
    manifest = build("aotinductor", made, into, precision)
    assert [f.name for f in into.iterdir()] == ["model.pt2"]
    assert not manifest["portable"]
    assert manifest["made_for"]["AOTI_DEVICE_KEY"] == "cpu"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "before"
    monkeypatch.setenv("PATH", str(tmp_path))  # a replica's machine has no compiler
    holds(into, manifest, made, margin)
    with pytest.raises(ValueError, match="where the kernels are for"):  # which would read on in foreign memory
        engines.load(into, manifest, 1).run({name: value[..., :-1] for name, value in sample(kind, 4).items()})
    if precision != "fp32":
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            holds(into, manifest, made, margin=1e-6)


class Branching(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """torch.export refuses a branch on values; torch.compile goes around it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = module("mlp")

    def forward(self, x: Any) -> Any:
        found = self.inner(x)
        return found.clamp(-1, 1) if float(found.abs().max()) > 1e6 else found


APART = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("helper", sys.argv[1])
helper = importlib.util.module_from_spec(spec)
sys.modules["helper"] = helper
spec.loader.exec_module(helper)
getattr(helper, sys.argv[2])(helper.Path(sys.argv[3]))
"""


def apart(name: str, folder: Path) -> str:
    """Run this file's function in a process of its own: what Inductor holds in memory hides what a folder lacks."""
    command = [sys.executable, "-c", APART, __file__, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compile_apart(folder: Path) -> None:
    made = model("heads", "pt2", folder)
    (folder / "manifest.json").write_text(json.dumps(build("torch-compile", made, folder / "artifact")))


def serve_apart(folder: Path) -> None:
    from torch._dynamo.utils import counters

    manifest = json.loads((folder / "manifest.json").read_text())
    holds(folder / "artifact", manifest, model("heads", "pt2", folder))
    print(json.dumps(counters["inductor"]))  # noqa: T201 - read by the test


def test_torch_compile_starts_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why := targets.compiler("torch-compile").supports(model("mlp", "pickle", tmp_path).about, "fp32", "cpu"):
        pytest.skip(why)
    apart("compile_apart", tmp_path)
    manifest, artifact = json.loads((tmp_path / "manifest.json").read_text()), tmp_path / "artifact"
    before = {f: f.stat().st_mtime_ns for f in artifact.rglob("*")}
    assert manifest["portable"]
    counted = json.loads(apart("serve_apart", tmp_path).splitlines()[-1])
    assert counted["fxgraph_cache_hit"] >= 2  # a batch of 1, and the others
    assert "fxgraph_cache_miss" not in counted
    assert {f: f.stat().st_mtime_ns for f in artifact.rglob("*")} == before

    given = []
    monkeypatch.setattr(torch_compiled, "inductor_cache", lambda filled: given.append(filled) or nullcontext())
    monkeypatch.setattr(torch_compiled, "compiled", lambda *_: None)
    torch_compiled.load(artifact, manifest, 1)
    monkeypatch.setattr(fingerprint, "cpu_features", lambda: frozenset({"avx"}))
    torch_compiled.load(artifact, manifest, 1)
    assert given == [artifact / "cache", None]  # another processor's machine code is not loaded


@pytest.mark.parametrize(("precision", "margin"), [("fp32", 1e-5), ("int8", 0.1)])
def test_torch_compile_takes_what_export_refuses(precision: Precision, margin: float, tmp_path: Path) -> None:
    made = model("mlp", "pickle", tmp_path, Branching().eval())
    if why := targets.compiler("torch-compile").supports(made.about, precision, "cpu"):
        pytest.skip(why)
    with pytest.raises(Exception, match="data-dependent"):
        build("aotinductor", made, tmp_path / "refused")
    manifest = build("torch-compile", made, tmp_path / "artifact", precision)
    torch._dynamo.reset()
    holds(tmp_path / "artifact", manifest, made, margin)


def test_a_torchscript_module_behind_a_pickle(tmp_path: Path) -> None:
    with torch_script.silent():
        native = torch.jit.script(module("mlp"))
    made = model("mlp", "pickle", tmp_path, native)
    for target in ("eager", "torchscript"):
        manifest = build(target, made, tmp_path / target)
        holds(tmp_path / target, manifest, made)
    for target in ("aotinductor", "torch-compile"):
        with pytest.raises(Unsupported, match="its target is torchscript"):
            build(target, made, tmp_path / target)


class Frozen(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """It looks at how many rows there are, in a way that a trace turns into a number."""

    def forward(self, x: Any) -> Any:
        return x.reshape(len(x.tolist()), 2, WIDTH // 2).sum(1)


def test_a_trace_that_holds_its_batch_is_refused(tmp_path: Path) -> None:
    made = model("mlp", "pickle", tmp_path, Frozen().eval())
    warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pytest restores the filters
    with pytest.raises(Unsupported, match="its trace does not answer a batch of 1"):
        build("torchscript", made, tmp_path / "artifact")
