"""The arithmetic of the benchmarks of batching and of capture, and what they send and read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from benchmarks import batching, capture, models
from benchmarks.batching import Measured, Round, Run
from lockgate.services.serving.schema import Schema


def rounds(*factors: float) -> list[Round]:
    """The machine is so many times as fast in each round; batching answers five and four times as many."""
    return [
        {
            1: {"on": Run(f, 10.5 / f, 1, 110 / f), "off": Run(f, 10 / f, 1, 100 / f)},
            8: {"on": Run(500 * f, 1, 1, 1), "off": Run(100 * f, 1, 1, 1)},
            32: {"on": Run(400 * f, 1, 1, 1), "off": Run(100 * f, 1, 1, 1)},
        }
        for f in factors
    ]


def test_ratios_are_taken_within_each_round_and_the_worst_model_is_told() -> None:
    better = [{1: {side: Run(1, 1, 1, 1) for side in ("on", "off")}}]
    found = batching.result({"one": Measured(rounds(1, 5, 2), 9), "other": Measured(better, 0)})
    assert found["gain_one"] == 4.0, "at the one number of connections that is published, not at the best"
    assert found["gains_one"] == {"8": 5.0, "32": 4.0}
    assert found["never_batched"] == ["other"]
    assert found["gain_other"] is None
    assert (found["lone_p50_ratio"], found["lone_cpu_ratio"]) == (1.05, 1.1)
    assert found["lone_p50_ratio_other"] == 1.0
    assert found["models"]["one"]["32"]["on"]["rps"] == 800


def test_what_shared_a_call_is_read_from_the_replicas_own_metrics() -> None:
    registry = CollectorRegistry()
    calls = Histogram("lockgate_service_batch_rows", "Rows in one engine call.", ("model",), registry=registry)
    with pytest.raises(RuntimeError, match="does not tell"):
        batching.batches_told(generate_latest(registry).decode())
    of = calls.labels(model="mlp")
    assert batching.batches_told(generate_latest(registry).decode()) == 0
    of.observe(1)
    of.observe(1)
    assert batching.batches_told(generate_latest(registry).decode()) == 0
    of.observe(4)
    assert batching.batches_told(generate_latest(registry).decode()) == 3


@pytest.mark.parametrize("name", batching.MODELS)
def test_what_is_sent_is_what_the_model_takes(name: str) -> None:
    schema = Schema.of(batching.signature(name)["inputs"])
    content, bodies = batching.requests(name)
    wanted = models.KINDS[name].example(len(bodies))
    for i, body in enumerate(bodies):
        for key, value in schema.decode(content, body).items():
            np.testing.assert_allclose(value, wanted[key][i : i + 1], atol=1e-5)


def test_rows_of_a_file_that_grows_are_counted(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    with pa.OSFile(str(tmp_path / "a.arrows"), "wb") as file:
        writer = pa.ipc.new_stream(file, schema)
        for rows in (3, 4):
            writer.write_batch(pa.record_batch([pa.array(range(rows))], schema=schema))
        file.flush()
        assert capture._rows(tmp_path / "a.arrows") == 7
        writer.close()
