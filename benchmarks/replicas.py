"""What a replica of the same model costs as onnxruntime and as eager PyTorch: python -m benchmarks.replicas.

Both bentos are built once; then a replica of each is started in turn, several times, and asked until it is ready.
Memory is the proportional set size (shared pages divided) of all processes of the replica. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

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

ROUNDS = 5
TARGETS = ("onnxruntime", "eager")
SIGNATURE = {
    "inputs": [{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 30]}}],
    "outputs": None,
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lockgate-replicas-") as place:
        folder = Path(place)
        os.environ |= {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
        known = models.about("mlp", folder, 64)
        call(partial(models.prepare, "mlp", known), folder / "prepare", Limits())
        bentos = {target: _bento(target, known, folder) for target in TARGETS}
        figures: dict[str, list[tuple[float, float]]] = {target: [] for target in TARGETS}
        for _ in range(ROUNDS):
            for target in TARGETS:
                figures[target].append(_started(bentos[target], folder / "platform"))
                seconds, memory = figures[target][-1]
                print(f"{target:12} ready after {seconds:5.2f} s, {memory / 2**20:4.0f} MiB", file=sys.stderr)
    found: dict[str, Any] = {"rounds": ROUNDS}
    for target in TARGETS:
        seconds, memory = zip(*figures[target], strict=True)
        found |= {f"{target}_ready_s": round(statistics.median(seconds), 2)}
        found |= {f"{target}_mib": round(statistics.median(memory) / 2**20)}
    print(json.dumps(found))


def _bento(target: str, known: About, folder: Path) -> Bento:
    spec = ServiceSpec(compile=Compile(targets=(target,)))
    made = search(known, partial(models.opened, known), spec.options("cpu"), folder / "artifacts", _silent)
    version = ModelVersion("mlp", "1", "")
    fetched = FetchedModel(version, folder, known.digest, "pytorch", SIGNATURE, known.example)
    return package(fetched, made, name="mlp", spec=spec, spec_hash="")


def _started(bento: Bento, home: Path) -> tuple[float, float]:
    """Seconds until the replica is ready, and bytes of its processes then."""
    platform = LocalPlatform(home, ready_within=120)
    began = time.perf_counter()
    replicas = platform.start(bento, 1)
    seconds = time.perf_counter() - began
    try:
        memory = sum(p.memory_full_info().pss for p in processes.of([r.id for r in replicas]))
    finally:
        platform.stop(replicas)
    return seconds, memory


def _silent(_line: str) -> None:
    """The search's progress is not what is measured here."""


if __name__ == "__main__":
    main()
