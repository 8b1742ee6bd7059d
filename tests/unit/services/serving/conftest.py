"""A capture folder with its settings, and a writer whose clock is a number."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.capture_columns import Columns, Source
from lockgate.services.serving.capture_queue import Queue, Record
from lockgate.services.serving.capture_settings import FILE
from lockgate.services.serving.capture_writer import Place, Writer
from lockgate.services.serving.schema import Schema

DIGEST = "0123456789abcdef" * 4
SETTINGS = {"sample": 1.0, "keep": 3600, "max_size": 2**30, "redact": {}, "sticky": "x-user-id", "key": "5e" * 32}


class Counts:
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def captured(self, rows: int, size: int) -> None:
        self.seen["rows"] += rows
        self.seen["bytes"] += size

    def capture_dropped(self, requests: int) -> None:
        self.seen["dropped"] += requests

    def capture_failed(self) -> None:
        self.seen["failed"] += 1


class Root:
    """`folder` is the artifact's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / DIGEST[:12]

    def settings(self, **changes: Any) -> None:
        new = self.path / "new"
        new.write_text(json.dumps({**SETTINGS, **changes}))
        new.replace(self.path / FILE)

    def names(self) -> list[str]:
        """Of the artifact's files, without their times."""
        return sorted(p.name.partition("-")[0] + "".join(p.suffixes) for p in self.folder.glob("*.*"))

    def rows(self) -> list[dict[str, Any]]:
        """Everything captured, as a reader finds it, oldest first."""
        import pyarrow as pa
        from pyarrow import parquet

        found: list[dict[str, Any]] = []
        for path in sorted(self.folder.glob("*.*")):
            if path.suffix == ".parquet":
                found += parquet.ParquetFile(path).read().to_pylist()
            elif path.suffix == ".arrows":
                with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
                    found += stream.read_all().to_pylist()
        return found


class Bench:
    """A writer that runs when the test says so."""

    def __init__(self, root: Root, schema: Schema, replica: str = "r1") -> None:
        self.root, self.counts, self.queue, self.now = root, Counts(), Queue(schema.names, 0), 1000.0
        self.applied: list[Any] = []
        columns = Columns(schema.fields, Source("7", DIGEST, replica))
        place = Place(root.path, DIGEST, replica)
        self.writer = Writer(place, self.queue, columns, self.counts, self.applied.append)

    def tick(self, *records: Record, after: float = 1.0) -> None:
        for one in records:
            assert self.queue.put(one)
        self.now += after
        self.writer.tick(self.now)

    def stop(self) -> None:
        self.writer.stop()
        self.writer.run()


def record(id_: str = "a", inputs: Any = None, outputs: Any = None, **more: Any) -> Record:
    """One row of `x` and its answer, unless told otherwise. `status` without outputs is a failure."""
    status = more.get("status", 200)
    if status == 200:
        inputs = {"x": np.array([[1.0, 2.0]], "float32")} if inputs is None else inputs
        outputs = {"score": np.array([0.5])} if outputs is None else outputs
    first = next(iter(inputs.values())) if isinstance(inputs, dict) and inputs else inputs
    rows = more.get("rows", 0 if status != 200 else 1 if first is None or isinstance(first, dict) else len(first))
    variant, unit = (more.get(name, "").encode() for name in ("variant", "unit"))
    about = (id_.encode("latin-1"), variant, more.get("kind", 0), unit, status, 1_700_000_000.25, 0.002, rows)
    return (*about, inputs, outputs, 100)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    found = Root(tmp_path / "capture")
    found.path.mkdir(mode=0o700)
    found.settings()
    return found


@pytest.fixture
def schema() -> Schema:
    return Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])


@pytest.fixture
def bench(root: Root, schema: Schema) -> Bench:
    return Bench(root, schema)


@pytest.fixture
def make() -> Any:
    """This file's helpers: test modules cannot import one another."""
    import sys

    return sys.modules[__name__]
