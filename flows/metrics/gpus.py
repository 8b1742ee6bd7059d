"""This machine's GPUs as samples, and what each replica has of their memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

from lockgate.flows.metrics.sheet import Sheet
from lockgate.monitoring.gpus import Gpu, Gpus

Replicas = Mapping[int, tuple[str, str]]
"""The pipeline and the id of each replica, by the process that it was started as."""


def put_all(sheet: Sheet, gpus: Gpus, root: Path) -> None:
    """Nothing where there is no GPU. `root`: the home, which has the replicas' records."""
    for gpu in gpus.read():
        _put(sheet, gpu)
        if gpu.processes:
            _put_processes(sheet, gpu, replicas(root))


def replicas(root: Path) -> Replicas:
    from lockgate.services.local import LocalPlatform

    found: dict[int, tuple[str, str]] = {}
    for at in root.glob("*/replicas"):
        found |= {one.pid: (at.parent.name, one.id) for one in LocalPlatform(at, 0).replicas() if one.pid}
    return found


def _put(sheet: Sheet, gpu: Gpu) -> None:
    of = {"gpu": gpu.index, "uuid": gpu.uuid, "model_name": gpu.model_name}
    sheet.put("lockgate_gpu_utilization_ratio", gpu.utilization, **of)
    sheet.put("lockgate_gpu_memory_used_bytes", gpu.memory_used, **of)
    sheet.put("lockgate_gpu_memory_total_bytes", gpu.memory_total, **of)
    sheet.put("lockgate_gpu_temperature_celsius", gpu.temperature, **of)
    sheet.put("lockgate_gpu_power_watts", gpu.power, **of)


def _put_processes(sheet: Sheet, gpu: Gpu, known: Replicas) -> None:
    """A replica computes in children of its process; what is nobody's of ours is in the memory of the whole GPU."""
    taken: dict[tuple[str, str], float] = {}
    for pid, used in gpu.processes.items():
        if whose := _replica(pid, known):
            taken[whose] = taken.get(whose, 0.0) + used
    for (name, replica), used in taken.items():
        of = {"gpu": gpu.index, "uuid": gpu.uuid, "name": name, "replica": replica}
        sheet.put("lockgate_gpu_process_memory_bytes", used, **of)


def _replica(pid: int, known: Replicas) -> tuple[str, str] | None:
    try:
        line = [pid, *(one.pid for one in psutil.Process(pid).parents())]
    except psutil.Error:
        line = [pid]
    return next((known[one] for one in line if one in known), None)
