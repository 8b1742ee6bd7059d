"""What labels say of a story's answers, and the GPU of the machine that it is on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lockgate.dashboards.grafana.sample.moment import Moment, Sample, sample
from lockgate.dashboards.grafana.sample.stories import Story

_BASELINE, _MARGIN = 0.92, 0.05


def performance(story: Story, moment: Moment) -> Iterator[Sample]:
    """It decays with the inputs, and a little later."""
    of = {"name": story.name, "version": story.stable.version, "measure": "accuracy"}
    worse = max(story.features.values()) * min(1.0, max(0.0, (moment.at - 0.5) / 0.3))
    value = _BASELINE + 0.006 * math.sin(30 * moment.at) - 0.3 * worse
    limit = _BASELINE * (1 - _MARGIN)
    yield sample("lockgate_performance_value", value, **of)
    yield sample("lockgate_performance_baseline", _BASELINE, **of)
    yield sample("lockgate_performance_limit", limit, **of)
    yield sample("lockgate_performance_drifting", value < limit, **of)
    yield sample("lockgate_performance_labelled", 1000 + 4000 * moment.at, **of)
    yield sample("lockgate_performance_coverage_ratio", 0.64 + 0.05 * math.sin(12 * moment.at), **of)
    yield sample("lockgate_performance_lag_seconds", 5400, **of)
    yield sample("lockgate_performance_labelled_timestamp_seconds", moment.now - 40, **of)


def gpus() -> Iterator[Sample]:
    card = {"gpu": "0", "uuid": "GPU-5a1f0000-0000-0000-0000-000000000000"}
    of = {**card, "model_name": "NVIDIA L4"}
    yield sample("lockgate_gpu_utilization_ratio", 0.43, **of)
    yield sample("lockgate_gpu_memory_used_bytes", 9.1e9, **of)
    yield sample("lockgate_gpu_memory_total_bytes", 24.2e9, **of)
    yield sample("lockgate_gpu_temperature_celsius", 61, **of)
    yield sample("lockgate_gpu_power_watts", 58, **of)
    yield sample("lockgate_gpu_process_memory_bytes", 4.4e9, **card, name="fraud", replica="127.0.0.1:41000")
