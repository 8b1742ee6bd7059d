"""Captured traffic in one line, and a pipeline in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.flows.home import Home


@pytest.fixture(scope="session")
def write_live() -> Callable[[Home, str, float, Mapping[str, Any]], Path]:
    """`write_live(home, digest, at, inputs)`: rows of the pipeline `fraud`, one a second until `at`; their file."""

    def write(home: Home, digest: str, at: float, inputs: Mapping[str, Any]) -> Path:
        n = len(next(iter(inputs.values())))
        word = pa.array(["live"] * n)
        about: dict[str, Any] = {
            "request_id": [f"{at}-{i}" for i in range(n)],
            "row": pa.array([0] * n, pa.int32()),
            "rows": pa.array([1] * n, pa.int32()),
            "at": pa.array([int((at - n + i) * 1e6) for i in range(n)], pa.timestamp("us", "UTC")),
            "variant": word,
            "kind": word,
            "unit": pa.nulls(n, pa.string()),
            "status": pa.array([200] * n, pa.int16()),
            "digest": word,
        }
        folder = home.capture("fraud") / digest[:12]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"r-{int(at * 1000)}.parquet"
        parquet.write_table(pa.table(about | {f"input.{name}": values for name, values in inputs.items()}), path)
        return path

    return write


@pytest.fixture
def place(from_file: Callable[[str], ModuleType], fake_registry: Any, tmp_path: Path) -> Iterator[Any]:
    plane, router = from_file("unit/rollout/loop/plane.py"), from_file("contract/fakes.py").FakeRouter
    made = from_file("unit/flows/place.py").Place(tmp_path, plane, router, fake_registry())
    yield made
    made.store.close()
