# ruff: noqa: N802 - as the library calls its functions
"""What NVML tells. Without a GPU the library's own answer is tested; with one, a stand-in for its documented functions.

No GPU was at hand: this is the one place where a stand-in takes a real part's place.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from lockgate.flows.metrics import gpus as samples
from lockgate.flows.metrics.sheet import Sheet
from lockgate.monitoring.gpus import Gpus


class NVMLError(Exception):
    """As pynvml's own."""


class Nvml:
    """Two cards: one tells everything; the other lacks sensors, and its driver tells no process's memory."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError = NVMLError

    def __init__(self, pid: int = 1) -> None:
        self.pid, self.open = pid, 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == 2:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:
        return f"GPU-{handle}" if handle else b"GPU-0"  # older versions answer bytes

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"NVIDIA L4 {handle}"

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Any:
        return SimpleNamespace(gpu=43, memory=9)

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Any:
        return SimpleNamespace(used=3 * 2**30, total=24 * 2**30, free=21 * 2**30)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        assert sensor == self.NVML_TEMPERATURE_GPU
        if handle:
            raise NVMLError("Not Supported")
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle:
            raise NVMLError("Not Supported")
        return 58_250

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        used = None if handle else 2 * 2**30
        return [SimpleNamespace(pid=self.pid, usedGpuMemory=used), SimpleNamespace(pid=2**22, usedGpuMemory=used)]


def test_here_the_library_says_that_there_is_no_driver() -> None:
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        pass
    else:
        pytest.skip("this machine has a GPU")
    gpus = Gpus()
    assert gpus.read() == gpus.read() == []
    assert gpus.why.startswith("NVIDIA's driver is not there (")
    gpus.close()


def test_without_the_library_there_are_no_series() -> None:
    def missing() -> Any:
        raise ModuleNotFoundError("No module named 'pynvml'")

    gpus, sheet = Gpus(missing), Sheet()
    assert gpus.read() == []
    assert "pip install nvidia-ml-py" in gpus.why
    samples.put_all(sheet, gpus, None)  # type: ignore[arg-type]
    assert list(sheet.families()) == []


def test_what_a_card_does_not_tell_is_left_out_and_a_lost_one_hides_no_other() -> None:
    nvml = Nvml()
    gpus = Gpus(lambda: nvml)
    first, second = gpus.read()
    assert (first.index, first.uuid, first.model_name) == ("0", "GPU-0", "NVIDIA L4 0")
    assert (first.utilization, first.memory_used, first.memory_total) == (0.43, 3 * 2**30, 24 * 2**30)
    assert (first.temperature, first.power) == (61, 58.25)
    assert (second.temperature, second.power, second.processes) == (None, None, {})
    gpus.close()
    assert nvml.open == 0


def test_a_replicas_memory_is_that_of_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    me = psutil.Process()
    parent = me.parent()
    assert parent is not None
    monkeypatch.setattr(samples, "replicas", lambda _: {parent.pid: ("fraud", "r1")})
    sheet = Sheet()
    samples.put_all(sheet, Gpus(lambda: Nvml(me.pid)), tmp_path)
    found = {(sample.name, *sample.labels.values()): sample.value for of in sheet.families() for sample in of.samples}
    assert found["lockgate_gpu_process_memory_bytes", "0", "GPU-0", "fraud", "r1"] == 2 * 2**30
    assert sum(name == "lockgate_gpu_process_memory_bytes" for name, *_ in found) == 1
    assert found["lockgate_gpu_power_watts", "0", "GPU-0", "NVIDIA L4 0"] == 58.25
    assert ("lockgate_gpu_power_watts", "1", "GPU-1", "NVIDIA L4 1") not in found
