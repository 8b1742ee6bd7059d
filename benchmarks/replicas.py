"""What a replica of the same model costs as onnxruntime and as eager PyTorch: python -m benchmarks.replicas.

Both bentos are built once; then a replica of each is started in turn, several times, and asked until it is ready.
Memory is the proportional set size (shared pages divided) of all processes of the replica, CPU is what they took until
then: it says more than seconds where others use the machine. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lockgate.registry.words import FetchedModel, ModelVersion
from lockgate.services import processes
from lockgate.services.compile.apart import call
from lockgate.services.compile.search import search
from lockgate.services.compile.words import About, Limits
from lockgate.services.local import LocalPlatform
from lockgate.services.package import package
from lockgate.services.spec import Compile, ServiceSpec
from lockgate.services.words import Bento

from . import models

TARGETS = ("onnxruntime", "eager")
SIGNATURE = {
    "inputs": [{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 30]}}],
    "outputs": None,
}


class Started(NamedTuple):
    """Seconds until the replica was ready, and of CPU and bytes of its processes by then."""

    seconds: float
    cpu: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replicas", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="starts of each (default: 5)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="lockgate-replicas-") as place:
        folder = Path(place)
        os.environ |= {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
        known = models.about("mlp", folder, 64)
        call(partial(models.prepare, "mlp", known), folder / "prepare", Limits())
        bentos = {target: _bento(target, known, folder) for target in TARGETS}
        figures: dict[str, list[Started]] = {target: [] for target in TARGETS}
        for _ in range(rounds):
            for target in TARGETS:
                figures[target].append(one := started(bentos[target], folder / "platform"))
                line = f"{target:12} ready after {one.seconds:5.2f} s, {one.cpu:5.2f} s of CPU"
                print(f"{line}, {one.memory / 2**20:4.0f} MiB", file=sys.stderr)
    found: dict[str, Any] = {"rounds": rounds}
    for target in TARGETS:
        seconds, cpu, memory = (statistics.median(each) for each in zip(*figures[target], strict=True))
        found |= {f"{target}_ready_s": round(seconds, 2), f"{target}_cpu_s": round(cpu, 2)}
        found |= {f"{target}_mib": round(memory / 2**20)}
    print(json.dumps(found))


def _bento(target: str, known: About, folder: Path) -> Bento:
    spec = ServiceSpec(compile=Compile(targets=(target,)))
    made = search(known, partial(models.opened, known), spec.options("cpu"), folder / "artifacts", _silent)
    version = ModelVersion("mlp", "1", "")
    fetched = FetchedModel(version, folder, known.digest, "pytorch", SIGNATURE, known.example)
    return package(fetched, made, name="mlp", spec=spec, spec_hash="")


def started(bento: Bento, home: Path) -> Started:
    """One replica, which is stopped again."""
    platform = LocalPlatform(home, ready_within=120)
    began = time.perf_counter()
    replicas = platform.start(bento, 1)
    seconds = time.perf_counter() - began
    try:
        running = processes.of([r.id for r in replicas])
        cpu = sum(sum(p.cpu_times()[:2]) for p in running)
        return Started(seconds, cpu, sum(p.memory_full_info().pss for p in running))
    finally:
        platform.stop(replicas)


def _silent(_line: str) -> None:
    """The search's progress is not what is measured here."""


if __name__ == "__main__":
    main()
