"""What capturing every request costs a replica: python -m benchmarks.capture [--rate 500] [--rounds N] [--seconds S].

A table model (20 columns, two outputs, ONNX Runtime) is packaged and served by BentoML. Requests of one row are sent at
a steady rate that waits for no answer; latency runs from the moment at which a request was due. Capture of all of them
is switched on and off in turn in the same replica. Its CPU time is that of all its threads. The figures are medians
over the rounds, what is added is the median of each round's own ratio.

In service a file becomes Parquet when it has 16 MiB or is 10 minutes old: here when all rounds are over, or before,
when it has 16 MiB. That is measured by itself, and each request of a round with capture bears its share:
`parquet_us_per_request`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa
import uvloop

from lockgate.registry.cache import Cached, digest_of
from lockgate.registry.checked import checked
from lockgate.registry.client import quiet_import
from lockgate.registry.spec import Trust
from lockgate.registry.words import ModelVersion
from lockgate.services import processes
from lockgate.services.build import compile_model
from lockgate.services.local import LocalPlatform
from lockgate.services.package import package
from lockgate.services.spec import Compile, ServiceSpec
from lockgate.services.words import Bento, Replica

from . import machine

COLUMNS, USERS, BODIES = 20, 6_000, 500
SETTLE = 3.0
"""Seconds until the replica has seen the new settings and written what was left."""
ALL, NEARLY_NOTHING, NOTHING = 1.0, 1e-12, 0.0
"""Samples: the second one keeps no request either, but leaves the file open, which the last one turns into Parquet."""
SETTINGS = {"keep": 3600, "max_size": 2**30, "redact": {}, "sticky": "x-user-id", "key": "5e" * 32}


@dataclass(frozen=True, slots=True)
class Plan:
    rate: float
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """CPU of the replica per request in microseconds, the 99th percentile in milliseconds."""

    cpu: float
    p99: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="requests per second")
    parser.add_argument("--rounds", type=int, default=8, help="each is once on and once off")
    parser.add_argument("--seconds", type=float, default=20.0, help="of requests, each time")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockgate-capture-") as place:
        print(json.dumps(measure(Plan(asked.rate, asked.rounds, asked.seconds), Path(place))))


def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    os.environ |= {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    captured = folder / "capture"
    captured.mkdir()
    switch(captured, NOTHING)
    print(machine.sentence("cpu"), file=sys.stderr)
    with replica(bento(folder), folder, captured) as one:
        phase(one, replace(plan, seconds=3.0), captured, on=True)  # the first requests are slower, and so is Arrow
        before = uvloop.run(metrics(one))["captured_rows"]
        rounds = [both(one, plan, captured, first=i % 2 == 0) for i in range(plan.rounds)]
        parquet = converted(one, captured)
        counted = uvloop.run(metrics(one))
    rounds = [(replace(on, cpu=on.cpu + parquet), off) for on, off in rounds]
    on, off = ([pair[i] for pair in rounds] for i in (0, 1))
    found: dict[str, Any] = {"rate": plan.rate, "rounds": plan.rounds, "requests": int(plan.rate * plan.seconds)}
    for name, side in (("on", on), ("off", off)):
        found[f"cpu_us_per_request_{name}"] = round(statistics.median(f.cpu for f in side), 1)
        found[f"p99_ms_{name}"] = round(statistics.median(f.p99 for f in side), 3)
    for name in ("cpu", "p99"):
        found[f"{name}_added"] = round(statistics.median(getattr(a, name) / getattr(b, name) - 1 for a, b in rounds), 4)
    found["parquet_us_per_request"] = round(parquet, 2)
    return {**found, "captured": int(counted["captured_rows"] - before), "dropped": int(counted["capture_dropped"])}


def both(one: Replica, plan: Plan, captured: Path, *, first: bool) -> tuple[Figures, Figures]:
    """One round: on and off, in an order that changes from round to round."""
    found = {on: phase(one, plan, captured, on=on) for on in (first, not first)}
    print(*(f"{'on' if on else 'off':3} {f.cpu:6.1f} us {f.p99:7.3f} ms" for on, f in found.items()), file=sys.stderr)
    return found[True], found[False]


def phase(one: Replica, plan: Plan, captured: Path, *, on: bool) -> Figures:
    switch(captured, ALL if on else NEARLY_NOTHING)
    time.sleep(SETTLE)
    before = cpu_seconds(one)
    latencies = uvloop.run(load(one, plan.rate, plan.seconds))
    switch(captured, NEARLY_NOTHING)
    time.sleep(SETTLE)
    cpu = (cpu_seconds(one) - before) / len(latencies)
    return Figures(cpu * 1e6, float(np.percentile(latencies, 99)) * 1e3)


def converted(one: Replica, captured: Path) -> float:
    """CPU microseconds of a request's share, when the file that has grown since becomes Parquet."""
    rows = sum(_rows(stream) for stream in captured.glob("*/*.arrows"))
    before = cpu_seconds(one)
    switch(captured, NOTHING)
    while any(captured.glob("*/*.arrows")):
        time.sleep(0.1)
    return (cpu_seconds(one) - before) / rows * 1e6


def _rows(stream: Path) -> int:
    with pa.memory_map(str(stream)) as source, suppress(pa.ArrowInvalid):
        return int(sum(batch.num_rows for batch in pa.ipc.open_stream(source)))
    return 0


async def load(one: Replica, rate: float, seconds: float) -> list[float]:
    """Seconds from when each request was due to the end of its answer. Raises where one is not answered with 200."""
    rng = np.random.default_rng(0)
    bodies = [json.dumps({"inputs": [row]}).encode() for row in rng.normal(size=(BODIES, COLUMNS)).round(6).tolist()]
    latencies: list[float] = []
    under_way: set[asyncio.Task[None]] = set()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://{one.host}:{one.port}", connector=connector) as session:

        async def ask(i: int, due: float) -> None:
            headers = {
                "content-type": "application/json",
                "x-request-id": str(uuid.uuid4()),
                "x-lockgate-variant": "stable",
            }
            headers["x-user-id"] = f"user-{i % USERS:05d}"
            async with session.post("/predict", data=bodies[i % BODIES], headers=headers) as answer:
                await answer.read()
                answer.raise_for_status()
            latencies.append(time.perf_counter() - due)

        gc.disable()  # this process's pauses would be the replica's tail
        start = time.perf_counter()
        for i in range(int(rate * seconds)):
            due = start + i / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            task = asyncio.create_task(ask(i, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        gc.enable()
    gc.collect()
    return latencies


async def metrics(one: Replica) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{one.host}:{one.port}/metrics") as answer:
        text = await answer.text()
    return {
        name: float(value) for name, value in re.findall(r"lockgate_service_(capture\w+)_total\{[^}]*\} (\S+)", text)
    }


def cpu_seconds(one: Replica) -> float:
    """Of all threads of its processes so far, to the nanosecond: clock ticks are too coarse."""
    total = 0
    for process in processes.of([one.id]):
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def switch(captured: Path, sample: float) -> None:
    new = captured / "new"
    new.write_text(json.dumps({"sample": sample, **SETTINGS}), encoding="utf-8")
    new.replace(captured / "capture.json")


@contextmanager
def replica(of: Bento, folder: Path, captured: Path) -> Iterator[Replica]:
    platform = LocalPlatform(folder / "platform", ready_within=120, capture=captured)
    (one,) = platform.start(of, 1)
    try:
        yield one
    finally:
        platform.stop([one])


def bento(folder: Path) -> Bento:
    """A logistic regression over a table, as MLflow keeps it, compiled to ONNX."""
    import pandas as pd
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, unused-ignore]

    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(200, COLUMNS)), columns=[f"column_{i:02d}" for i in range(COLUMNS)])
    model = LogisticRegression().fit(table, table["column_00"] + rng.normal(size=200) > 0)
    quiet_import("mlflow.pyfunc")
    save = quiet_import("mlflow.sklearn").save_model
    save(
        model, str(folder / "model"), input_example=table[:8], pip_requirements=["numpy"], serialization_format="skops"
    )
    cached = Cached(folder / "model", digest_of(folder / "model"))
    fetched = checked(ModelVersion("capture", "1", ""), cached)
    spec = ServiceSpec(compile=Compile(targets=("onnxruntime",)))
    found = compile_model(fetched, Trust(pickle=True), spec, folder / "artifacts", lambda _line: None)
    return package(fetched, found, name="capture", spec=spec, spec_hash="")


if __name__ == "__main__":
    main()
