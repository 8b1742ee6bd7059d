"""What this machine's GPUs say of themselves, by NVIDIA's library NVML; nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

_MILLI = 1000


@dataclass(frozen=True, slots=True)
class Gpu:
    """Bytes, degrees Celsius, watts; a share from 0 to 1. None is what this model or driver does not tell.

    `processes`: bytes of its memory by process id.
    """

    index: str
    uuid: str
    model_name: str
    utilization: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    temperature: float | None = None
    power: float | None = None
    processes: Mapping[int, float] = field(default_factory=dict)


class Gpus:
    """Of one process; asked by one thread at a time. `load`: gives the module `pynvml`, of the package nvidia-ml-py."""

    def __init__(self, load: Callable[[], Any] = lambda: import_module("pynvml")) -> None:
        self._load = load
        self._nvml: Any = None
        self._tried = False
        self.why = ""
        """Why there are none, in a few words: no library, no driver."""

    def read(self) -> list[Gpu]:
        """Never raises. A GPU that fell off its bus is left out."""
        nvml = self._opened()
        if nvml is None:
            return []
        try:
            count = int(nvml.nvmlDeviceGetCount())
        except nvml.NVMLError as reason:
            self.why = str(reason)
            return []
        found = (_read(nvml, i) for i in range(count))
        return [gpu for gpu in found if gpu is not None]

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    def _opened(self) -> Any | None:
        """The module, ready to be asked. It is tried once: a driver does not come while a process runs."""
        if self._tried:
            return self._nvml
        self._tried = True
        try:
            nvml = self._load()
        except ImportError:
            self.why = "the package nvidia-ml-py is not installed: pip install nvidia-ml-py"
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as reason:
            self.why = f"NVIDIA's driver is not there ({reason})"
            return None
        self._nvml = nvml
        return nvml


def _read(nvml: Any, index: int) -> Gpu | None:
    def asked(function: Callable[..., Any], *more: Any) -> Any | None:
        try:
            return function(handle, *more)
        except nvml.NVMLError:  # some cards have no such sensor, and some users may not ask
            return None

    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError:
        return None
    busy, memory = asked(nvml.nvmlDeviceGetUtilizationRates), asked(nvml.nvmlDeviceGetMemoryInfo)
    power = asked(nvml.nvmlDeviceGetPowerUsage)
    running = asked(nvml.nvmlDeviceGetComputeRunningProcesses) or []
    return Gpu(
        str(index),
        uuid,
        name,
        utilization=None if busy is None else busy.gpu / 100,
        memory_used=None if memory is None else float(memory.used),
        memory_total=None if memory is None else float(memory.total),
        temperature=asked(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        power=None if power is None else power / _MILLI,
        processes={one.pid: float(one.usedGpuMemory) for one in running if one.usedGpuMemory is not None},
    )


def _text(value: Any) -> str:
    """Older versions of the library answer bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
