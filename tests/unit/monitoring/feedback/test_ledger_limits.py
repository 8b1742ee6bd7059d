"""Limits of continuous metrics that are not given are learned once, and until then nobody is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.feedback.ledger import Came, Ledger, Measure, Traffic
from lockgate.monitoring.feedback.store import Row, Store
from lockgate.monitoring.measurement import Arm

STABLE, CANDIDATE = "5" * 64, "c" * 64
BEGAN = 1_700_000_000.0
Make = Callable[..., Any]


class Shop:
    """Users who buy something: one of each, at a given second of the step. The window is 60 s."""

    def __init__(self, folder: Path, replica: Make, records: Make) -> None:
        self.folder, self.file, self._records = folder, replica(STABLE), records
        self.store = Store(folder / "feedback.db")
        self.ledger = self.opened()

    def opened(self, **given: Any) -> Ledger:
        traffic = Traffic(self.folder, STABLE, CANDIDATE)
        measures = {"revenue": Measure("continuous", 60.0, **given)}
        return Ledger(self.folder / "ledger.db", self.folder / "feedback.db", traffic, measures, BEGAN)

    def lost(self) -> None:
        self.ledger.__exit__(None, None, None)
        for path in self.folder.glob("ledger.db*"):
            path.unlink()
        self.ledger = self.opened()

    def came(self, at: float, users: int, values: list[float]) -> None:
        """The first of them spend these values."""
        names = [f"{at}-{i}" for i in range(users)]
        about: dict[str, Any] = {"at": BEGAN + at + np.arange(users) * 1e-3, "unit": names}
        self.file.write(self._records([f"r{name}" for name in names], {}, **about))
        rows = [Row("revenue", value, BEGAN + at + 10, unit=name) for value, name in zip(values, names, strict=False)]
        self.store.add(rows, BEGAN + at + 10)

    def look(self, since: float, now: float) -> Came:
        return self.ledger.came(BEGAN + since, BEGAN + now, [(BEGAN, 0.5)])

    def stable(self, since: float, now: float) -> Arm:
        groups = self.look(since, now).rewards["revenue"]
        assert len(groups) <= 1
        return groups[0].stable if groups else Arm()


@pytest.fixture
def shop(tmp_path: Path, replica: Make, records: Make) -> Iterator[Shop]:
    made = Shop(tmp_path, replica, records)
    yield made
    made.ledger.__exit__(None, None, None)
    made.store.close()


def test_all_so_far_come_with_the_look_that_learns(shop: Shop) -> None:
    shop.came(10, 999, [1.0] * 100)
    assert shop.stable(0, 100) == Arm()
    shop.came(110, 1, [1.0])
    assert shop.stable(100, 200) == Arm(1000, 101.0, 101.0)
    assert shop.stable(200, 300) == Arm()


def test_values_are_clipped_to_what_was_learned(shop: Shop) -> None:
    values = [float(value) for value in range(1, 201)]
    shop.came(10, 1000, values)
    expected = np.minimum(values, np.quantile(values, 0.995))
    found = shop.stable(0, 100)
    assert found.units == 1000
    assert found.total == pytest.approx(expected.sum())
    assert found.squares == pytest.approx((expected**2).sum())
    shop.came(110, 2, [1e9, -5.0])
    assert shop.stable(100, 200) == Arm(2, np.quantile(values, 0.995), np.quantile(values, 0.995) ** 2)


def test_negative_values_are_clipped_as_well(shop: Shop) -> None:
    values = [-float(value) for value in range(1, 201)]
    shop.came(10, 1000, values)
    shop.stable(0, 100)
    shop.came(110, 2, [-1e9, 3.0])
    assert shop.stable(100, 200).total == np.quantile(values, 0.005)


def test_too_few_values(shop: Shop) -> None:
    shop.came(10, 2000, [1.0] * 49 + [0.0] * 100)
    assert shop.stable(0, 100) == Arm()
    shop.came(110, 1, [1.0])
    assert shop.stable(100, 200) == Arm(2001, 50.0, 50.0)


def test_a_look_that_learned_and_was_not_recorded(shop: Shop) -> None:
    shop.came(10, 1000, [2.0] * 60)
    assert shop.stable(0, 100) == Arm(1000, 120.0, 240.0)
    shop.ledger.__exit__(None, None, None)
    shop.ledger = shop.opened()
    assert shop.stable(0, 105) == Arm(1000, 120.0, 240.0)
    assert shop.stable(105, 110) == Arm()


def test_a_limit_that_is_given_stays(shop: Shop) -> None:
    shop.ledger = shop.opened(lowest=-1.0)
    shop.came(10, 1000, [2.0] * 60)
    shop.stable(0, 100)
    shop.came(110, 2, [-50.0, 50.0])
    assert shop.stable(100, 200) == Arm(2, 1.0, 5.0)


def test_a_mean_is_of_those_who_have_values(shop: Shop) -> None:
    shop.ledger = shop.opened(take="mean")
    shop.came(10, 1000, [2.0] * 60)
    assert shop.stable(0, 100) == Arm(60, 120.0, 240.0)


def test_a_ledger_that_was_lost_learns_what_it_knew(shop: Shop) -> None:
    shop.came(10, 1000, [float(value) for value in range(1, 101)])
    assert shop.stable(0, 100).units == 1000
    shop.came(110, 1, [1000.0])
    shop.lost()
    limit = np.quantile(np.arange(1, 101), 0.995)
    assert shop.stable(100, 200) == Arm(1, limit, limit**2)
