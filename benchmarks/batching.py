"""What batching wins, and what it costs a lone request: python -m benchmarks.batching [--models ...] [--rounds N].

Each model is compiled for ONNX Runtime and packaged twice, with `batching.max_batch_size` 64 and 1; all else is the
same. Both are served by BentoML at the same time and asked in turn by wrk: over one connection, so that each request is
alone, and over more of them. CPU is that of all threads of the replica. A ratio is the median of each round's own one:
below 1 batching is cheaper, and a gain above 1 says how many times the requests/s it answers; `gain_MODEL` is over 32
connections. `never_batched` names models that are so fast that requests of this size run on the event loop and never
wait for a batch: what their two sides differ by is noise. The last line is JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lockgate.registry.words import FetchedModel, ModelVersion
from lockgate.services.compile.apart import call
from lockgate.services.compile.search import search
from lockgate.services.compile.words import Limits
from lockgate.services.local import LocalPlatform
from lockgate.services.package import package
from lockgate.services.serving.codecs import to_npy
from lockgate.services.spec import Batching, Compile, ServiceSpec
from lockgate.services.words import Replica

from . import machine, models
from .capture import cpu_seconds
from .serving.environments import Skipped
from .serving.load import Answered, Target, bodies, closed, wrk

MODELS = ("mlp", "minilm", "resnet50")
HEADLINE = 32
"""Connections of the published gain: the best of several noisy ratios would be above 1 by chance."""
CONNECTIONS = (1, 8, HEADLINE)
SIZES = {"on": 64, "off": 1}
_BODIES = 8
_TOLD = ("sum", "count")


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    seconds: float
    connections: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """`cpu`: microseconds of the replica per request."""

    rps: float
    p50: float
    p99: float
    cpu: float


Round = dict[int, dict[str, Run]]
"""By connections and side."""


@dataclass(frozen=True, slots=True)
class Measured:
    """`batches`: requests that shared a call with another, on the side that has batching."""

    rounds: list[Round]
    batches: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}, with commas")
    parser.add_argument("--rounds", type=int, default=5, help="each asks both sides in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--connections", default=",".join(map(str, CONNECTIONS)), help="1 is a lone client")
    asked = parser.parse_args()
    plan = Plan(asked.rounds, asked.seconds, tuple(map(int, asked.connections.split(","))))
    try:
        wrk()
    except Skipped as why:
        parser.error(str(why))
    print(machine.sentence("cpu"), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="lockgate-batching-") as place:
        os.environ |= {"BENTOML_HOME": f"{place}/bentoml", "BENTOML_DO_NOT_TRACK": "True"}
        found = {name: measure(name, plan, Path(place) / name) for name in asked.models.split(",")}
    print(json.dumps(result(found)))


def measure(name: str, plan: Plan, folder: Path) -> Measured:
    print(f"{name}: compiling", file=sys.stderr)
    with served(name, folder) as sides:
        content, contents = requests(name)
        targets = {
            side: Target(f"http://{one.host}:{one.port}/predict", content, bodies(folder / "bodies", contents))
            for side, one in sides.items()
        }
        for side in sides:  # the first requests are slower, and the batcher has seen no batch yet
            for connections in plan.connections:
                closed(targets[side], connections, 2)
        found = []
        for i in range(plan.rounds):
            turn = list(sides) if i % 2 else list(reversed(sides))
            found.append(
                {
                    c: {side: asked(sides[side], targets[side], c, plan.seconds) for side in turn}
                    for c in plan.connections
                }
            )
            for c, runs in found[-1].items():
                told = (f"{s} {r.rps:7.1f}/s {r.p50:8.2f} ms {r.cpu:8.0f} us" for s, r in sorted(runs.items()))
                print(f"{name:9} c={c:<3}", *told, sep="  ", file=sys.stderr)
        return Measured(found, batches(sides["on"]))


def asked(one: Replica, target: Target, connections: int, seconds: float) -> Run:
    before = cpu_seconds(one)
    found: Answered = closed(target, connections, seconds)
    if found.failed:
        raise RuntimeError(f"{found.failed} of {found.requests} requests to {target.url} failed")
    return Run(found.rps, found.p50, found.p99, (cpu_seconds(one) - before) / found.requests * 1e6)


def batches(one: Replica) -> int:
    connection = http.client.HTTPConnection(one.host, one.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return batches_told(connection.getresponse().read().decode())
    finally:
        connection.close()


def batches_told(metrics: str) -> int:
    """Rows beyond the first of a call: requests of one row that shared it."""
    found = [re.findall(rf"^lockgate_service_batch_rows_{of}\b\S* (\S+)", metrics, re.MULTILINE) for of in _TOLD]
    if not all(found):
        raise RuntimeError("the replica's /metrics does not tell lockgate_service_batch_rows")
    rows, calls = (sum(map(float, told)) for told in found)
    return int(rows - calls)


def result(found: dict[str, Measured]) -> dict[str, Any]:
    """The worst model's cost for a lone request, and of each model the figures."""
    made: dict[str, Any] = {"models": {}, "never_batched": [name for name, one in found.items() if not one.batches]}
    for name, rounds in ((name, one.rounds) for name, one in found.items()):
        made["models"][name] = {
            str(c): {
                side: {key: round(_middle(rounds, c, side, key), 3) for key in ("rps", "p50", "p99", "cpu")}
                for side in SIZES
            }
            for c in rounds[0]
        }
        gains = {c: _ratio(rounds, c, "rps") for c in rounds[0] if c > 1}
        made[f"gain_{name}"] = gains.get(HEADLINE)
        made[f"gains_{name}"] = {str(c): gain for c, gain in gains.items()}
        if 1 in rounds[0]:
            made[f"lone_p50_ratio_{name}"] = _ratio(rounds, 1, "p50")
            made[f"lone_cpu_ratio_{name}"] = _ratio(rounds, 1, "cpu")
    for key in ("p50", "cpu"):
        ratios = [value for name, value in made.items() if name.startswith(f"lone_{key}_ratio_")]
        made[f"lone_{key}_ratio"] = max(ratios, default=None)
    return made


def _ratio(rounds: list[Round], connections: int, key: str) -> float:
    pairs = (one[connections] for one in rounds)
    return round(statistics.median(getattr(p["on"], key) / getattr(p["off"], key) for p in pairs), 3)


def _middle(rounds: list[Round], connections: int, side: str, key: str) -> float:
    return statistics.median(getattr(one[connections][side], key) for one in rounds)


@contextmanager
def served(name: str, folder: Path) -> Iterator[dict[str, Replica]]:
    """A replica with batching and one without, of the same artifact."""
    folder.mkdir()
    known = models.about(name, folder, models.KINDS[name].rows)
    call(partial(models.prepare, name, known), folder / "prepare", Limits())
    version = ModelVersion(name, "1", "")
    fetched = FetchedModel(version, folder, known.digest, "pytorch", signature(name), known.example)
    platform = LocalPlatform(folder / "platform", ready_within=300)
    sides: dict[str, Replica] = {}
    try:
        for side, size in SIZES.items():
            spec = ServiceSpec(compile=Compile(targets=("onnxruntime",)), batching=Batching(max_batch_size=size))
            options = ServiceSpec(compile=spec.compile).options("cpu")  # one search: the artifact is the same
            made = search(known, partial(models.opened, known), options, folder / "artifacts", lambda _line: None)
            tag = package(fetched, made, name=f"{name}-{side}", spec=spec, spec_hash="")
            (sides[side],) = platform.start(tag, 1)
        yield sides
    finally:
        platform.stop(list(sides.values()))


def signature(name: str) -> dict[str, Any]:
    """As MLflow keeps it."""
    inputs = [
        {"type": "tensor", "name": i.name, "tensor-spec": {"dtype": i.dtype, "shape": list(i.shape)}}
        for i in models.KINDS[name].inputs
    ]
    return {"inputs": inputs, "outputs": None}


def requests(name: str) -> tuple[str, list[bytes]]:
    """Content type and bodies of one row: JSON, but an image as npy."""
    many = models.KINDS[name].example(_BODIES)
    rows = [{key: value[i : i + 1] for key, value in many.items()} for i in range(_BODIES)]
    if name == "resnet50":
        return "application/x-npy", [to_npy(next(iter(row.values()))) for row in rows]
    said = [{key: np.round(value, 6).tolist() for key, value in row.items()} for row in rows]
    return "application/json", [orjson.dumps({"inputs": row}) for row in said]


if __name__ == "__main__":
    main()
