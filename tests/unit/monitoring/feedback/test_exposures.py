"""What the captured traffic says about who got which variant."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.monitoring.feedback.exposures import NOBODY, Exposed, Exposures, Traffic, exposures, number, settled

STABLE, CANDIDATE = "5" * 64, "c" * 64
BEGAN = 1_700_000_000.0
Make = Callable[..., Any]


@pytest.fixture
def exposed(tmp_path: Path) -> Exposed:
    return Exposed(Traffic(tmp_path, STABLE, CANDIDATE), BEGAN)


def test_live_requests_of_both_variants(records: Make) -> None:
    variants = ["stable", "candidate", "", "stable", "candidate", "candidate"]
    kinds = ["live", "live", "live", "echo", "shadow", "forced"]
    found = exposures(records(list("abcdef"), {}, variant=variants, kind=kinds, unit=["u"] * 6, at=BEGAN + 0.25))
    assert found.requests.tolist() == [number("a", b"request"), number("b", b"request")]
    assert found.units.tolist() == [number("u", b"unit")] * 2
    assert found.arms.tolist() == [0, 1]
    assert found.at.tolist() == [BEGAN + 0.25] * 2
    assert found.came.tolist() == pytest.approx([BEGAN + 0.24] * 2, abs=1e-6)


def test_others_are_arms_in_their_order(records: Make) -> None:
    variants = ["v14", "stable", "small", "candidate", "large", "v14"]
    kinds = ["live"] * 5 + ["forced"]
    batch = records(list("abcdef"), {}, variant=variants, kind=kinds)
    assert exposures(batch, ["small", "v14"]).arms.tolist() == [3, 0, 2, 1]
    assert exposures(batch, ["v14"]).arms.tolist() == [2, 0, 1]
    assert exposures(batch).arms.tolist() == [0, 1]


def test_one_row_of_each_request(records: Make) -> None:
    assert len(exposures(records(["a"] * 3 + ["b"], {}, row=[0, 1, 2, 0]))) == 2


def test_failed_requests_count(records: Make) -> None:
    assert len(exposures(records(["a"], {}, status=503, rows=0))) == 1


def test_a_request_without_the_header_is_a_user_of_its_own(records: Make) -> None:
    found = exposures(records(["a", "b", None, None, ""], {}, unit=["u", None, "u", None, ""]))
    assert found.units.tolist() == [number("u", b"unit"), number("b", b"request"), number("u", b"unit")]
    assert found.requests.tolist() == [number("a", b"request"), number("b", b"request"), NOBODY]


def test_a_user_is_never_a_request() -> None:
    assert number("a", b"unit") != number("a", b"request")


def test_traffic_that_was_captured_without_some_columns(records: Make) -> None:
    batch = records(["a"], {}, unit=["u"]).drop_columns(["unit", "seconds"])
    found = exposures(batch)
    assert found.units.tolist() == [number("a", b"request")]
    assert found.came.tolist() == found.at.tolist()


def test_what_cannot_be_joined_is_left_out(records: Make) -> None:
    batch = records(["a", "b"], {})
    at = pa.array([None, int(BEGAN * 1e6)], pa.timestamp("us", "UTC"))
    assert len(exposures(batch.set_column(batch.schema.get_field_index("at"), "at", at))) == 1


class TestSettled:
    @pytest.mark.parametrize(
        ("came", "at", "counts"),
        [
            (98.0, 99.0, True),
            (98.0, 100.0, False),  # under way at the change
            (99.0, 130.0, False),
            (100.0, 100.1, False),
            (101.9, 103.0, False),
            (102.0, 103.0, True),
            (199.0, 201.0, False),
        ],
    )
    def test_requests_near_a_change(self, came: float, at: float, counts: bool) -> None:  # noqa: FBT001
        one = np.zeros(1, np.int64)
        found = Exposures(one, one, one, np.array([at]), np.array([came]))
        assert settled(found, [(200.0, 0.5), (100.0, 0.25)]).tolist() == [counts]

    @pytest.mark.parametrize("chance", [0.0, 1.0])
    def test_requests_that_were_not_split(self, chance: float) -> None:
        of = np.arange(5)
        times = np.array([50.0, 150.0, 190.0, 203.0, 250.0])
        found = Exposures(of, of, of, times + 0.5, times)
        shares = [(100.0, 0.5), (180.0, chance), (200.0, 0.5)]
        assert settled(found, shares).tolist() == [True, True, False, True, True]
        assert settled(found, shares[1:]).tolist() == [False, False, False, True, True]


class TestFollowing:
    def test_both_sides_once(self, exposed: Exposed, replica: Make, records: Make) -> None:
        replica(STABLE).write(records(["a"], {}, at=BEGAN + 1)).rotate()
        replica(CANDIDATE).write(records(["b"], {}, at=BEGAN + 2, variant="candidate", digest=CANDIDATE))
        found, whole = exposed.came()
        assert (found.arms.tolist(), whole) == ([0, 1], True)
        assert len(exposed.came()[0]) == 0

    def test_a_side_that_cannot_be_read(self, exposed: Exposed, replica: Make, records: Make) -> None:
        bad = replica(CANDIDATE)
        bad.rotated.write_bytes(b"no parquet")
        replica(STABLE).write(records(["a"], {}))
        exposed.came()
        assert "cannot be read" in exposed.silent()
        replica(CANDIDATE).write(records(["b"], {}, digest=CANDIDATE))
        exposed.came()
        assert exposed.silent() == ""

    def test_no_digest(self, tmp_path: Path) -> None:
        exposed = Exposed(Traffic(tmp_path, STABLE, ""), BEGAN)
        exposed.came()
        assert "which artifact the candidate is" in exposed.silent()

    def test_others(self, tmp_path: Path, replica: Make, records: Make) -> None:
        small, nameless = "a" * 64, Exposed(Traffic(tmp_path, STABLE, CANDIDATE), BEGAN, ["small"])
        exposed = Exposed(Traffic(tmp_path, STABLE, CANDIDATE, {"small": small, "v14": ""}), BEGAN, ["small"])
        replica(small).write(records(["a"], {}, at=BEGAN + 1, variant="small", digest=small)).rotate()
        replica(STABLE).write(records(["b"], {}, at=BEGAN + 2, variant="small"))  # stable answered in its place
        assert exposed.came()[0].arms.tolist() == [2, 2]
        assert exposed.silent() == ""
        nameless.came()
        assert "which artifact the challenger small is" in nameless.silent()

    def test_columns_of_other_types_tell_of_nobody(self, exposed: Exposed, replica: Make, records: Make) -> None:
        batch = records(["a"], {})
        odd = replica(STABLE)
        unit = pa.array([["a list"]])
        changed = batch.set_column(batch.schema.get_field_index("unit"), "unit", unit)
        parquet.write_table(pa.Table.from_batches([changed]), odd.rotated)
        replica(STABLE).write(records(["b"], {}))
        assert exposed.came()[0].requests.tolist() == [number("b", b"request")]

    def test_odd_times(self, records: Make) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = exposures(records(["a", "b"], {}, seconds=[float("nan"), -5.0]))
        assert found.came.tolist() == found.at.tolist()
