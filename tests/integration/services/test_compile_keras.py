"""Keras and TensorFlow models, compiled and served in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockgate.services.compile import targets
from lockgate.services.compile.targets.xla import buckets
from lockgate.services.compile.words import About, Input

HERE = Path(__file__).parent
CLOSE = 1e-5
NEAR = 0.02
"""What bf16, of 8 bits of mantissa, may be off."""


def process(step: str, folder: Path, *artifacts: str, **environment: str) -> dict[str, Any]:
    """What the step found, and everything that it printed."""
    program = [sys.executable, str(HERE / "keras_process.py"), step, str(folder), *artifacts]
    clean = {k: v for k, v in os.environ.items() if k not in {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"}}
    done = subprocess.run(program, env=clean | environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return found | {"said": done.stdout + done.stderr}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


@pytest.fixture(scope="session")
def on_tensorflow(folder: Path) -> dict[str, Any]:
    return process("make", folder, KERAS_BACKEND="tensorflow")


@pytest.fixture(scope="session")
def on_torch(folder: Path, on_tensorflow: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - its models
    return process("make", folder, KERAS_BACKEND="torch")


def of(made: dict[str, Any], *wanted: str) -> list[str]:
    return [name for name in made["artifacts"] if any(f" {target} " in f"{name} " for target in wanted)]


def same(found: dict[str, Any]) -> None:
    """Errors are shares of the source's scale; floats come back as float32 whatever the precision."""
    errors = {name: one["error"] for name, one in found["artifacts"].items()}
    assert {name for name, error in errors.items() if error > (NEAR if "bf16" in name else CLOSE)} == set(), errors
    assert {name for name, error in errors.items() if "bf16" in name and error == 0} == set()
    assert {dtype for one in found["artifacts"].values() for dtype in one["dtypes"]} <= {"float32"}


def test_a_saved_model_answers_as_its_source_without_keras(folder: Path, on_tensorflow: dict[str, Any]) -> None:
    names = [*of(on_tensorflow, "savedmodel", "xla"), "module eager fp32"]
    assert len(names) == 14
    found = process("probe", folder, *names)
    same(found)
    assert (found["modules"], found["threads"], found["said"]) == (["tensorflow"], 1, "")


def test_keras_on_tensorflow_answers_as_its_source(folder: Path, on_tensorflow: dict[str, Any]) -> None:
    names = [n for n in of(on_tensorflow, "eager", "keras-tensorflow") if not n.startswith("module")]
    assert len(names) == 7
    found = process("probe", folder, *names)
    same(found)
    assert (found["modules"], found["threads"]) == (["keras", "tensorflow"], 1)


def test_keras_on_torch_answers_as_its_source_without_tensorflow(folder: Path, on_torch: dict[str, Any]) -> None:
    found = process("probe", folder, *of(on_torch, "keras-torch", "eager"))
    assert set(found["artifacts"]) == {
        "mlp eager fp32 on torch",
        "mlp keras-torch fp32",
        "mlp keras-torch bf16",
        "two keras-torch fp32",
    }
    same(found)
    assert found["modules"] == ["keras", "torch"]
    assert "tensorflow" not in on_torch["modules"]


def test_onnx_of_a_keras_model_answers_as_its_source_without_either(folder: Path, on_torch: dict[str, Any]) -> None:
    names = of(on_torch, "onnxruntime")
    assert names == ["mlp onnxruntime fp32", "cnn onnxruntime fp32", "two onnxruntime fp32"]
    found = process("probe", folder, *names)
    same(found)
    assert found["modules"] == ["onnxruntime"]


def test_what_only_the_loaded_model_shows_is_refused_with_its_reason(
    on_tensorflow: dict[str, Any], on_torch: dict[str, Any]
) -> None:
    assert on_tensorflow["refused"] == {"words xla fp32": "XLA has no strings"}
    assert list(on_torch["refused"]) == ["words"]
    assert (
        "does not load on Keras's torch backend: Layer StringLookup requires TensorFlow" in on_torch["refused"]["words"]
    )


def test_an_engine_refuses_the_other_backend(folder: Path, on_torch: dict[str, Any]) -> None:  # noqa: ARG001
    with pytest.raises(AssertionError, match="Keras runs on torch in this process; this artifact wants tensorflow"):
        process("probe", folder, "mlp keras-torch fp32", "mlp keras-tensorflow fp32")


def test_what_xla_would_not_compile_is_no_xla_artifact(folder: Path, on_tensorflow: dict[str, Any]) -> None:  # noqa: ARG001
    artifacts, name = folder / "artifacts", "mlp savedmodel unmarked"
    shutil.copytree(artifacts / "mlp savedmodel fp32", artifacts / name)
    changed = json.dumps(manifest(folder, name) | {"buckets": [1, 2]})
    (artifacts / name / "manifest.json").write_text(changed, encoding="utf-8")
    with pytest.raises(AssertionError, match="is not marked for XLA"):
        process("probe", folder, name)


def manifest(folder: Path, artifact: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "artifacts" / artifact / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_the_manifest_says_the_buckets_and_what_to_install(folder: Path, on_torch: dict[str, Any]) -> None:  # noqa: ARG001
    found = {name: manifest(folder, name) for name in ("mlp xla fp32", "mlp keras-torch fp32")}
    assert found["mlp xla fp32"]["buckets"] == [1, 2, 4, 6]
    assert set(found["mlp xla fp32"]["packages"]) == {"tensorflow"}
    assert set(found["mlp keras-torch fp32"]["packages"]) == {"keras", "torch"}


@pytest.mark.parametrize(("largest", "expected"), [(1, [1]), (2, [1, 2]), (64, [1, 2, 4, 8, 16, 32, 64])])
def test_buckets_are_powers_of_two_up_to_the_largest_batch(largest: int, expected: list[int]) -> None:
    assert buckets(largest) == expected


@pytest.fixture
def about(tmp_path: Path) -> Callable[[str], About]:
    def make(flavour: str) -> About:
        return About(
            "fraud version 3", "0", flavour, "keras", tmp_path, (Input("x", "float32", (-1, 4), column=False),), {}
        )

    return make


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ("savedmodel pytorch fp32 cpu", "it takes a Keras model, not pytorch"),
        ("savedmodel tensorflow fp32 cpu", "it was logged as a SavedModel: that is its target eager"),
        ("keras-torch keras fp16 cpu", "Keras's mixed_float16 is for CUDA"),
        ("xla keras int8 cpu", "int8 on their way through ONNX"),
        ("xla tensorflow bf16 cpu", "a SavedModel computes as it was traced"),
        ("eager keras bf16 cpu", "eager is the model as it was logged"),
        ("keras-tensorflow keras bf16 cpu", "this CPU has no bf16 arithmetic"),
        ("keras-tensorflow keras fp32 cuda", "no NVIDIA GPU here"),
    ],
)
def test_what_this_machine_cannot_do_is_said_in_one_line(
    candidate: str, reason: str, about: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("lockgate.services.compile.fingerprint.cpu_features", lambda: frozenset({"avx512f"}))
    monkeypatch.setattr("lockgate.services.compile.fingerprint.gpus", tuple)
    target, flavour, *how = candidate.split()
    refusal = targets.compiler(target).supports(about(flavour), *how)
    assert refusal is not None
    assert reason in refusal
