"""What a replica counts, as Prometheus reads it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import sys, time
from prometheus_client import CollectorRegistry, REGISTRY, generate_latest, multiprocess
from lockgate.services.serving import metrics
found = metrics.Metrics("m", "1")
def told():
    registry = REGISTRY
    if sys.argv[1] == "files":
        multiprocess.MultiProcessCollector(registry := CollectorRegistry())
    return generate_latest(registry).decode()
assert 'requests_total{code="500",model="m",version="1"} 0.0' in told()
for code, seconds in ((200, 0.0005), (200, 0.0006), (404, 0.3), (200, 99)):
    found.answered(code, seconds)
    found.inferred(2, seconds)
found.batch(3)
before = told()
assert "seconds_count{" not in before or 'request_seconds_count{model="m",version="1"} 0.0' in before
found.tell()
found.tell()  # nothing is told twice
print(told())
found._told -= 2 * metrics.EVERY
found.answered(200, 1)  # nobody has asked for a while
assert 'request_seconds_count{model="m",version="1"} 5.0' in told()
"""


@pytest.mark.parametrize("kept", ["files", "memory"])
def test_what_was_added_up_is_told_once(kept: str, tmp_path: object) -> None:
    """In a process of its own: prometheus_client looks at the environment when it is imported."""
    env = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    env |= {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if kept == "files" else {}
    done = subprocess.run([sys.executable, "-c", CODE, kept], env=env, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    for line in (
        'requests_total{code="200",model="m",version="1"} 3.0',
        'requests_total{code="404",model="m",version="1"} 1.0',
        'rows_total{model="m",version="1"} 8.0',
        'request_seconds_bucket{le="0.0005",model="m",version="1"} 1.0',  # a bound belongs to its bucket
        'request_seconds_bucket{le="0.001",model="m",version="1"} 2.0',
        'request_seconds_bucket{le="10.0",model="m",version="1"} 3.0',
        'request_seconds_bucket{le="+Inf",model="m",version="1"} 4.0',
        'request_seconds_count{model="m",version="1"} 4.0',
        'batch_rows_bucket{le="4.0",model="m",version="1"} 1.0',
    ):
        assert f"lockgate_service_{line}" in done.stdout
    assert 'request_seconds_sum{model="m",version="1"} 99.3011' in done.stdout
