"""ONNX Runtime, TensorRT and OpenVINO: tiny real models, compiled, loaded and held against their source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile import engines, fingerprint, source, targets
from lockgate.services.compile.cases import first, strided
from lockgate.services.compile.engines import onnx as onnx_engine
from lockgate.services.compile.engines.onnx_bound import BoundEngine
from lockgate.services.compile.errors import Unsupported
from lockgate.services.compile.targets import onnx_fused, onnx_graph, onnx_measure, onnx_providers, onnx_quantize
from lockgate.services.compile.words import About, Arrays, Input, Job, Model, Precision

MAX_BATCH = 64
EXACT, NEAR = 1e-5, 0.05
"""The largest error as a share of the output's scale: of fp32, and of int8 and bf16."""
RNG = np.random.default_rng(5)
BF16_HERE = bool({"avx512_bf16", "amx_bf16"} & fingerprint.cpu_features())


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each model: what its candidates begin with."""
    return tmp_path_factory.mktemp("shared")


def model(
    flavour: str, native: Any, run: Callable[[Arrays], Arrays], example: Arrays, *, column: bool = False
) -> Model:
    inputs = tuple(
        Input(name, value.dtype.name, (-1, *value.shape[1:]), column=column) for name, value in example.items()
    )
    return Model(About("m version 1", flavour, flavour, "pickle", Path(), inputs, example), native, run)


def torch_model(module: Any, example: Arrays) -> Model:
    import torch

    def run(x: Arrays) -> Arrays:
        with torch.inference_mode():
            answer = module(*(torch.from_numpy(np.ascontiguousarray(value)) for value in x.values()))
        return {"output": answer.numpy()}

    return model("pytorch", module.eval(), run, example)


@pytest.fixture(scope="session")
def mlp() -> Model:
    import torch

    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(30, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 3),
    ]
    return torch_model(torch.nn.Sequential(*layers), {"x": RNG.normal(size=(64, 30)).astype("float32")})


@pytest.fixture(scope="session")
def conv() -> Model:
    import torch
    from torch import nn

    torch.manual_seed(1)
    body = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU()]
    net = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    return torch_model(net, {"x": RNG.normal(size=(64, 3, 16, 16)).astype("float32")})


@pytest.fixture(scope="session")
def attention() -> Model:
    """Token numbers and a mask that broadcasts over the queries, as BERT has it."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.qkv, self.out = nn.Embedding(50, 32), nn.Linear(32, 96), nn.Linear(32, 32)
            self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)
            self.last, self.head = nn.LayerNorm(32), nn.Linear(32, 2)

        def forward(self, ids: Any, mask: Any) -> Any:
            x = self.words(ids)
            q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
            heads = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :] != 0)
            x = self.norm(x + self.out(heads.transpose(1, 2).flatten(2)))
            x = self.last(x + self.down(nn.functional.gelu(self.up(x))))
            return self.head(x.mean(1))

    torch.manual_seed(2)
    mask = np.ones((64, 12), "int64")
    mask[::2, 9:] = 0
    return torch_model(Attention(), {"ids": RNG.integers(0, 50, (64, 12)), "mask": mask})


def classifier(estimator: Any, *, column: bool = False) -> Model:
    import pandas as pd
    from sklearn.base import is_classifier

    x = RNG.normal(size=(64, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64") + (x[:, 1] > 0)

    def rows(given: Arrays) -> Any:
        return pd.DataFrame(given) if column else given["x"]

    def run(given: Arrays) -> Arrays:
        if not is_classifier(estimator):
            return {"prediction": estimator.predict(rows(given))}
        return {"label": estimator.predict(rows(given)), "probabilities": estimator.predict_proba(rows(given))}

    example = {f"c{i}": x[:, i].astype("float64") for i in range(4)} if column else {"x": x}
    estimator.fit(rows(example), y)
    return model("sklearn", estimator, run, example, column=column)


@pytest.fixture(scope="session")
def forest() -> Model:
    from sklearn.ensemble import RandomForestClassifier

    return classifier(RandomForestClassifier(5, random_state=0))


@pytest.fixture(scope="session")
def pipeline() -> Model:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return classifier(make_pipeline(StandardScaler(), LogisticRegression()), column=True)


@pytest.fixture(scope="session")
def two_heads() -> Model:
    """An ONNX model whose second output comes first in the source's answer."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array((RNG.normal(size=(30, 4)) / 6).astype("float32"), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["scores"]), helper.make_node("Tanh", ["scores"], ["risk"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("scores", "risk")]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 30])]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", given, ends, [weights]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(x: Arrays) -> Arrays:
        return dict(zip(("risk", "scores"), session.run(["risk", "scores"], dict(x)), strict=True))

    return model("onnx", proto, run, {"x": RNG.normal(size=(64, 30)).astype("float32")})


@pytest.fixture
def build(request: pytest.FixtureRequest, shared: Path, tmp_path: Path) -> Callable[..., Any]:
    """`build(name, target, precision)`: the model, its manifest and the loaded engine."""

    def made(name: str, target: str, precision: Precision = "fp32") -> tuple[Model, dict[str, Any], Any]:
        opened: Model = request.getfixturevalue(name)
        compiler = targets.compiler(target)
        assert compiler.supports(opened.about, precision, "cpu") is None
        manifest = json.loads(json.dumps(compiler.compile(opened, job(opened, shared / name, precision), tmp_path)))
        return opened, manifest, engines.load(tmp_path, manifest, 1)

    return made


def job(opened: Model, shared: Path, precision: Precision = "fp32") -> Job:
    shared.mkdir(exist_ok=True)
    return Job(precision, "cpu", MAX_BATCH, 1, opened.about.example, shared)


def error(want: Arrays, got: Arrays) -> float:
    assert list(want) == list(got)
    worst = 0.0
    for name, value in want.items():
        assert got[name].shape == value.shape
        if value.dtype.kind == "f":
            worst = max(worst, float(np.abs(got[name] - value).max() / np.abs(value).max()))
        else:
            assert (got[name] == value).mean() > 1 - NEAR
    return worst


def holds(opened: Model, engine: Any, within: float) -> None:
    for n in (1, 2, MAX_BATCH):
        x = first(opened.about.example, n)
        want = opened.run(x)
        assert error(want, engine.run(x)) <= within, n
        assert error(want, engine.run(strided(x))) <= within, f"strided {n}"


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "forest", "pipeline", "two_heads"])
def test_onnxruntime_answers_as_the_source(name: str, build: Callable[..., Any]) -> None:
    opened, manifest, engine = build(name, "onnxruntime")
    holds(opened, engine, EXACT)
    assert manifest["portable"]
    assert set(manifest["packages"]) & {"onnxruntime", "onnxruntime-gpu"}
    assert engine._session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "two_heads"])
def test_openvino_answers_as_the_source(name: str, build: Callable[..., Any]) -> None:
    """In fp32 although the CPU may have bf16, which OpenVINO would take by itself."""
    opened, manifest, engine = build(name, "openvino")
    holds(opened, engine, EXACT)
    assert manifest["portable"]
    assert engine._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 1


@pytest.mark.skipif(not BF16_HERE, reason="this CPU has no bf16 arithmetic")
def test_openvino_in_bf16_is_near_but_not_the_same(build: Callable[..., Any]) -> None:
    opened, _, engine = build("mlp", "openvino", "bf16")
    holds(opened, engine, NEAR)
    x = opened.about.example
    assert error(opened.run(x), engine.run(x)) > EXACT
    assert engine.run(x)["output"].dtype == "float32"


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "two_heads"])
def test_int8_tries_both_methods_and_keeps_the_quickest_that_is_near(name: str, build: Callable[..., Any]) -> None:
    opened, manifest, engine = build(name, "onnxruntime", "int8")
    holds(opened, engine, NEAR)
    tried = {one["method"]: one for one in manifest["quantized"]["tried"]}
    assert set(tried) == {"fp32", "static", "dynamic"}
    assert min(tried["static"]["nodes"], tried["dynamic"]["nodes"]) >= 1
    near = [m for m in ("static", "dynamic") if 0 < tried[m]["error"] <= NEAR]
    assert manifest["quantized"]["method"] == min(near, key=lambda m: np.prod(list(tried[m]["milliseconds"].values())))


def test_int8_of_convolutions_quantises_them_all_statically_only(build: Callable[..., Any]) -> None:
    _, manifest, _ = build("conv", "onnxruntime", "int8")
    nodes = {one["method"]: one["nodes"] for one in manifest["quantized"]["tried"]}
    assert nodes == {"fp32": 0, "static": 3, "dynamic": 1}


@pytest.mark.parametrize(
    ("static", "dynamic", "chosen"),
    [((0.01, 1.0), (0.01, 2.0), "static"), ((0.2, 1.0), (0.01, 2.0), "dynamic"), ((0.2, 2.0), (0.3, 1.0), "static")],
    ids=["the quickest", "the only near one", "the nearest where none is near"],
)
def test_int8_is_chosen_by_speed_among_the_near(
    static: tuple[float, float],
    dynamic: tuple[float, float],
    chosen: str,
    build: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(paths: Any, _: Any) -> dict[str, onnx_measure.Form]:
        given = {"fp32": (0.0, 3.0), "static": static, "dynamic": dynamic}
        return {name: onnx_measure.Form(given[name][0], {1: given[name][1]}) for name in paths}

    monkeypatch.setattr(onnx_measure, "compare", found)
    opened, manifest, engine = build("mlp", "onnxruntime", "int8")
    assert manifest["quantized"]["method"] == chosen
    assert ("DequantizeLinear" in _operators(engine)) is (chosen == "static")
    holds(opened, engine, NEAR)


def _operators(engine: Any) -> set[str]:
    import onnx

    return {node.op_type for node in onnx.load_model(engine._session._model_path).graph.node}


def test_openvino_computes_the_static_graph_in_int8(build: Callable[..., Any]) -> None:
    opened, manifest, engine = build("conv", "openvino", "int8")
    holds(opened, engine, NEAR)
    assert manifest["quantized"]["tried"] == [{"method": "static", "nodes": 3}]
    graph = engine._request.get_compiled_model().get_runtime_model()
    infos = [node.get_rt_info() for node in graph.get_ops()]
    computed = [info["runtimePrecision"].value for info in infos if info["layerType"].value == "Convolution"]
    assert len(computed) == 2
    assert set(computed) <= {"u8", "i8"}


def test_a_method_that_fails_leaves_the_other(mlp: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> int:
        raise ValueError("no range\nfor this tensor")

    monkeypatch.setattr(onnx_quantize, "_static", fails)
    told = job(mlp, tmp_path / "shared", "int8")
    manifest = targets.compiler("onnxruntime").compile(mlp, told, tmp_path)
    assert manifest["quantized"]["method"] == "dynamic"
    assert {"method": "static", "failed": "ValueError: no range"} in manifest["quantized"]["tried"]
    holds(mlp, engines.load(tmp_path, manifest, 1), NEAR)
    monkeypatch.setattr(onnx_quantize, "_dynamic", fails)
    with pytest.raises(Unsupported, match="failed: static: ValueError: no range; dynamic: ValueError: no range"):
        targets.compiler("onnxruntime").compile(mlp, told, tmp_path)


def test_rows_with_missing_values_do_not_calibrate(mlp: Model, tmp_path: Path) -> None:
    rows = {"x": mlp.about.example["x"].copy()}
    rows["x"][::2, 0] = np.nan
    given = replace(job(mlp, tmp_path / "shared", "int8"), calibration=rows)
    manifest = targets.compiler("onnxruntime").compile(mlp, given, tmp_path)
    holds(mlp, engines.load(tmp_path, manifest, 1), NEAR)
    rows["x"][:, 0] = np.nan
    with pytest.raises(Unsupported, match="every calibration row has missing values"):
        onnx_quantize.static(tmp_path / "model.onnx", manifest["feeds"], replace(given, calibration=rows))


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        ("forest", "onnxruntime", "a tree compares with thresholds"),
        ("pipeline", "onnxruntime", "nothing to quantise"),
        ("forest", "openvino", "TreeEnsembleClassifier"),
    ],
)
def test_int8_of_what_has_no_products_is_unsupported(
    name: str, target: str, why: str, build: Callable[..., Any]
) -> None:
    with pytest.raises(Unsupported, match=why):
        build(name, target, "int8")


def test_a_quantised_model_is_not_quantised_again(build: Callable[..., Any], mlp: Model, tmp_path: Path) -> None:
    import onnx

    _, manifest, _ = build("mlp", "onnxruntime", "int8")
    again = replace(mlp, about=replace(mlp.about, flavour="onnx"), native=onnx.load_model(tmp_path / manifest["file"]))
    with pytest.raises(Unsupported, match="quantised already"):
        targets.compiler("onnxruntime").compile(again, job(again, tmp_path / "again", "int8"), tmp_path)


def test_candidates_share_one_export_and_leave_it_as_it_was(
    mlp: Model, build: Callable[..., Any], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("mlp", "onnxruntime")
    exported = (shared / "mlp" / "onnx" / "model.onnx").read_bytes()
    monkeypatch.setattr(mlp.native, "forward", None)  # a second export would fail
    monkeypatch.setattr(source, "outputs", lambda _: [{"name": "output", "row_shape": None}])
    build("mlp", "onnxruntime", "int8")
    build("mlp", "openvino")
    assert (shared / "mlp" / "onnx" / "model.onnx").read_bytes() == exported


def test_onnxruntime_fuses_a_transformer_when_it_loads_it(build: Callable[..., Any]) -> None:
    _, manifest, _ = build("attention", "onnxruntime")
    assert manifest["fused"]["SkipLayerNormalization"] == 2
    assert manifest["fused"]["BiasGelu"] == 1


def test_fused_forms_that_fail_leave_the_graph_as_it_was(attention: Model, shared: Path, tmp_path: Path) -> None:
    """ONNX Runtime's own Attention operator refuses this model's mask, which broadcasts."""
    told = job(attention, shared / "attention")
    with source.quiet():
        path, feeds = onnx_graph.write(attention, told, tmp_path)
        before = path.read_bytes()
        tried = {one["way"]: one for one in onnx_fused.attention(attention, path, feeds, told)}
    assert set(tried) == {"optimizer", "operator"}
    assert "error" in tried["optimizer"] or "reason" in tried["optimizer"]
    kept = [way for way, one in tried.items() if one["kept"]]
    assert kept or path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx"]
    opened = onnx_engine.session(path, threads=1)
    x = onnx_graph.calls(feeds, attention.about.example, MAX_BATCH, MAX_BATCH)[0]
    assert error(attention.run(attention.about.example), {"output": opened.run(None, x)[0]}) <= EXACT


def test_a_fused_form_that_ends_its_process_is_not_kept(attention: Model, shared: Path, tmp_path: Path) -> None:
    class Killer:
        def __reduce__(self) -> Any:
            return os._exit, (134,)

    told = job(attention, shared / "attention")
    with source.quiet():
        path, feeds = onnx_graph.write(attention, told, tmp_path)
    dies: Any = replace(told, calibration=Killer())  # type: ignore[arg-type]
    found = onnx_fused._tried("optimizer", lambda to: to.write_bytes(b""), path, (feeds, dies))
    assert not found["kept"]
    assert "BrokenProcessPool" in found["reason"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx"]


@pytest.mark.skipif(bool(fingerprint.gpus()), reason="there is a GPU here")
@pytest.mark.parametrize("provider", [onnx_engine.CUDA, onnx_engine.TENSORRT])
def test_a_provider_that_falls_back_is_an_error(provider: str, build: Callable[..., Any], tmp_path: Path) -> None:
    _, manifest, _ = build("mlp", "onnxruntime")
    asked = manifest | {"providers": [[provider, {"device_id": "0"}], "CPUExecutionProvider"]}
    with pytest.raises(RuntimeError, match=f"fell back from {provider} to CPUExecutionProvider"):
        engines.load(tmp_path, asked, 1)


def test_a_provider_that_computes_no_node_is_an_error() -> None:
    class Part:
        ep_name = "CPUExecutionProvider"

    class Session:
        def get_providers(self) -> list[str]:
            return [onnx_engine.CUDA, onnx_engine.CPU]

        def get_provider_graph_assignment_info(self) -> list[Part]:
            return [Part()]

    with pytest.raises(RuntimeError, match="gave CUDAExecutionProvider no node of the graph; it runs on CPU"):
        onnx_engine._really(Session(), onnx_engine.CUDA)


def test_bound_buffers_answer_as_the_source(build: Callable[..., Any]) -> None:
    """The engine of GPUs, with its buffers in the CPU's memory: the same calls, and no answer overwrites another."""
    opened, manifest, plain = build("attention", "onnxruntime")
    engine = BoundEngine(plain._session, manifest, "cpu")
    holds(opened, engine, EXACT)
    x, other = first(opened.about.example, 3), {k: v[3:6] for k, v in opened.about.example.items()}
    one = engine.run(x)
    kept = {name: value.copy() for name, value in one.items()}
    assert error(opened.run(other), engine.run(other)) <= EXACT
    assert all((one[name] == kept[name]).all() for name in one)


@pytest.mark.skipif(bool(fingerprint.gpus()), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("target", "precision", "device", "why"),
    [
        ("onnxruntime", "fp16", "cpu", "compute in fp32"),
        ("onnxruntime", "bf16", "cpu", "no bf16"),
        ("onnxruntime", "fp32", "cuda", "no NVIDIA GPU here"),
        ("onnxruntime", "int8", "cuda", "tensorrt has int8 kernels"),
        ("tensorrt", "fp16", "cpu", "no NVIDIA GPU here"),
        ("tensorrt", "fp16", "cuda", "no NVIDIA GPU here"),
        ("openvino", "fp32", "cuda", "the device is cuda"),
    ],
)
def test_what_cannot_run_here_says_why(target: str, precision: Any, device: Any, why: str, mlp: Model) -> None:
    said = targets.compiler(target).supports(mlp.about, precision, device)
    assert said is not None
    assert why in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("target", "flavour", "precision", "why"),
    [
        ("onnxruntime", "pyfunc", "fp32", "no way from pyfunc to ONNX"),
        ("onnxruntime", "xgboost", "int8", "a tree compares"),
        ("openvino", "lightgbm", "fp32", "no operators for classic models"),
        ("tensorrt", "sklearn", "fp32", "no operators for sklearn"),
    ],
)
def test_what_makes_no_sense_says_why(target: str, flavour: str, precision: Any, why: str, mlp: Model) -> None:
    said = targets.compiler(target).supports(replace(mlp.about, flavour=flavour), precision, "cpu")
    assert said is not None
    assert why in said


def test_openvino_names_the_operators_that_it_lacks(build: Callable[..., Any]) -> None:
    with pytest.raises(Unsupported, match="this graph has ArrayFeatureExtractor"):
        build("pipeline", "openvino")


def test_tensorrt_is_asked_for_one_engine_over_all_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = fingerprint.Gpu("NVIDIA L4", "8.9", "580.1")
    monkeypatch.setattr(fingerprint, "gpus", lambda: (gpu,))
    first_choice, *others = onnx_providers.tensorrt("fp16", {"x": (3, 8), "ids": (5,)}, 64)
    name, options = first_choice
    assert name == onnx_engine.TENSORRT
    assert [other if isinstance(other, str) else other[0] for other in others] == [onnx_engine.CUDA, onnx_engine.CPU]
    assert options["trt_profile_min_shapes"] == "x:1x3x8,ids:1x5"
    assert options["trt_profile_max_shapes"] == "x:64x3x8,ids:64x5"
    assert options["trt_fp16_enable"] == "1"
    assert options["trt_engine_cache_path"].startswith("nvidia-l4-sm89-trt")
    placed = onnx_engine._placed(first_choice, Path("/bento"))
    assert placed[1]["trt_engine_cache_path"].startswith("/bento/nvidia-l4-sm89-trt")


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_replica_imports_only_what_its_target_needs(target: str, build: Callable[..., Any], tmp_path: Path) -> None:
    _, manifest, _ = build("mlp", target)
    program = (
        "import json, sys; from pathlib import Path; from lockgate.services.compile import engines\n"
        f"engines.load(Path({str(tmp_path)!r}), json.loads({json.dumps(manifest)!r}), 1)\n"
        "print([m for m in ('torch', 'tensorflow', 'onnx', 'onnxruntime', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str([target])


def test_the_way_to_cuda_in_fp16_up_to_the_provider(
    attention: Model, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the kernels: the CPU's provider stands in for CUDA's and casts what it has no fp16 kernel for."""
    import onnx

    monkeypatch.setattr(onnx_providers, "plain", lambda _: [onnx_engine.CPU])
    told = replace(job(attention, shared / "attention", "fp16"), device="cuda")
    manifest = targets.compiler("onnxruntime").compile(attention, told, tmp_path)
    assert {one["way"] for one in manifest["attention"]} == {"optimizer", "operator"}
    weights = {w.data_type for w in onnx.load_model(tmp_path / manifest["file"]).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in weights
    assert onnx.TensorProto.FLOAT not in weights
    engine = BoundEngine(onnx_engine.session(tmp_path / manifest["file"]), manifest, "cpu")
    holds(attention, engine, NEAR)
    x = attention.about.example
    assert engine.run(x)["output"].dtype == "float32"
    assert error(attention.run(x), engine.run(x)) > EXACT


def test_the_way_to_tensorrt_in_int8_up_to_the_engine(
    conv: Model, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU's provider stands in: it answers the symmetric graph rightly, and builds no engine, which is noticed."""
    import onnx
    from onnx.numpy_helper import to_array

    monkeypatch.setattr(onnx_providers, "tensorrt", lambda *_: [onnx_engine.CPU])
    told = replace(job(conv, shared / "conv", "int8"), device="cuda")
    with pytest.raises(Unsupported, match="TensorRT built no engine"):
        targets.compiler("tensorrt").compile(conv, told, tmp_path)
    graph = onnx.load_model(tmp_path / "model.onnx").graph
    values = {w.name: to_array(w) for w in graph.initializer}
    points = [values[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert points
    assert all(point.dtype == "int8" and not point.any() for point in points)
    x = conv.about.example
    answer = onnx_engine.session(tmp_path / "model.onnx").run(None, {graph.input[0].name: x["x"]})[0]
    assert error(conv.run(x), {"output": answer}) <= NEAR
