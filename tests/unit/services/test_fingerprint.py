"""What an artifact depends on, and how another machine is told from the one where it was proven."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from typing import Any

import pytest

from lockgate.services.compile import fingerprint
from lockgate.services.compile.fingerprint import Gpu, differences

MANIFEST = {"target": "onnxruntime", "precision": "int8", "device": "cpu", "packages": {"numpy": "1.0"}}
MADE: dict[str, Any] = {
    "target": "onnxruntime",
    "machine": "x86_64",
    "cpu": ["avx2", "avx512_vnni"],
    "libraries": {"torch": "2.13.0+cpu", "numpy": "2.4.6"},
}


def test_target_precision_processor_and_the_libraries_that_loading_needs() -> None:
    found = fingerprint.of(MANIFEST)
    assert (found["target"], found["precision"]) == ("onnxruntime", "int8")
    assert found["libraries"] == {"numpy": version("numpy")}
    assert found["cpu"] == sorted(fingerprint.cpu_features())
    assert "gpu" not in found
    assert differences(found, fingerprint.of(MANIFEST)) == []


def test_a_library_that_is_not_installed_is_left_out() -> None:
    assert fingerprint.libraries(["numpy", "no-such-library"]) == {"numpy": version("numpy")}


def test_processor_flags_that_choose_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "processor : 0\nflags\t\t: fpu sse4_2 avx2 avx512f amx_int8 hypervisor fma bmi2\nflags : none\n"
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_a, **_k: said)
    assert fingerprint.cpu_features.__wrapped__() == {"sse4_2", "avx2", "avx512f", "amx_int8", "fma", "bmi2"}


def test_gpus_as_the_driver_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "NVIDIA H200, 9.0, 570.124\nNVIDIA L4, 8.9, 570.124\n"
    done = subprocess.CompletedProcess([], 0, stdout=said)
    monkeypatch.setattr("lockgate.services.compile.fingerprint.subprocess.run", lambda *_a, **_k: done)
    assert fingerprint.gpus.__wrapped__() == (Gpu("NVIDIA H200", "9.0", "570.124"), Gpu("NVIDIA L4", "8.9", "570.124"))
    monkeypatch.setattr("lockgate.services.compile.fingerprint.gpus", lambda: (Gpu("NVIDIA H200", "9.0", "570.124"),))
    found = fingerprint.machine("cuda")
    assert (found["gpu"], found["capability"], found["driver"]) == ("NVIDIA H200", "9.0", "570.124")
    assert "gpu" not in fingerprint.machine("cpu")
    monkeypatch.setattr("lockgate.services.compile.fingerprint.gpus", tuple)
    assert differences(found, fingerprint.machine("cuda"))[0] == "gpu NVIDIA H200 there, none here"


@pytest.mark.parametrize("failed", [FileNotFoundError, subprocess.TimeoutExpired("nvidia-smi", 20)])
def test_no_driver_is_no_gpu(failed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_a: Any, **_k: Any) -> None:
        raise failed

    monkeypatch.setattr("lockgate.services.compile.fingerprint.subprocess.run", run)
    assert fingerprint.gpus.__wrapped__() == ()


@pytest.mark.parametrize(
    ("here", "sentence"),
    [
        ({"cpu": ["avx2"]}, "a processor without avx512_vnni"),
        ({"cpu": ["amx_int8", "avx2", "avx512_vnni"]}, "a processor with amx_int8"),
        ({"cpu": ["sse4_2"]}, "a processor without avx2 avx512_vnni and with sse4_2"),
        ({"machine": "aarch64"}, "machine x86_64 there, aarch64 here"),
        ({"libraries": {"torch": "2.13.0+cu130", "numpy": "2.4.6"}}, "torch 2.13.0+cpu there, 2.13.0+cu130 here"),
        ({"libraries": {"numpy": "2.4.6"}}, "torch 2.13.0+cpu there, none here"),
        ({"libraries": {**MADE["libraries"], "onnx": "1.19"}}, "onnx none there, 1.19 here"),
        ({"gpu": "NVIDIA L4"}, "gpu unknown there, NVIDIA L4 here"),
    ],
)
def test_each_difference_is_named(here: dict[str, Any], sentence: str) -> None:
    assert differences(MADE, {**MADE, **here}) == [sentence]


def test_what_was_not_written_down_is_a_difference() -> None:
    """An artifact without a fingerprint was proven nowhere that is known."""
    assert len(differences({}, MADE)) == 5
    assert differences({k: v for k, v in MADE.items() if k != "cpu"}, MADE) == ["a processor with avx2 avx512_vnni"]
