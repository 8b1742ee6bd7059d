"""Times that clients write, as nanoseconds of UTC."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lockgate.services.serving.refusals import BadRequest
from lockgate.services.serving.schema import Schema

MOMENT = Schema.of([{"type": "datetime", "name": "at", "required": True}])


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("2026-01-31", "2026-01-31T00:00"),
        ("2026-01", "2026-01-01T00:00"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00"),
        ("2026-01-31t12:00z", "2026-01-31T12:00"),
        ("2026-01-31 12:00:00.123456789+05:30", "2026-01-31T06:30:00.123456789"),
        ("2026-01-31T12:00:00-0800", "2026-01-31T20:00"),
        ("1678-01-01T00:00:00+23:59", "1677-12-31T00:01"),
    ],
)
def test_times_become_utc(sent: str, found: str) -> None:
    assert MOMENT.decode("", json.dumps({"rows": [{"at": sent}]}).encode())["at"][0] == np.datetime64(found, "ns")


@pytest.mark.parametrize(
    "sent",
    [
        "now",
        "today",
        "NaT",
        "",
        "2026",
        "2026-02-30",
        "2026-01-31T25:00",
        "9999-12-31",
        "1000-01-01",
        "2026-01-31T12:00+24:00",
        "2026-01-31T12:00-99:59",
        "٢٠٢٦-01-31",
        "9" * 99,
    ],
)
def test_what_is_no_time_or_none_that_can_be_counted(sent: str) -> None:
    with pytest.raises(BadRequest) as refused:
        MOMENT.decode("", json.dumps({"rows": [{"at": sent}]}).encode())
    assert len(str(refused.value)) < 150
