"""The stores of benchmarks.control: copies that tick like the rollout that they are copies of."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks.control import fleet, ticks
from lockgate.rollout.controller import Controller
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Counts, Endpoint, Routes

SIDES = {side: (Endpoint("127.0.0.1", port),) for port, side in enumerate(("stable", "candidate"), 1)}


class Plane:
    """A router and a source without traffic."""

    def __init__(self) -> None:
        self.routes = Routes(())

    def applied(self) -> Routes:
        return self.routes

    def apply(self, routes: Routes, *_: object) -> bool:
        self.routes = routes
        return True

    def measure(self) -> Counts:
        return Counts()


def controller(store: Store, name: str) -> Controller:
    plane = Plane()
    return Controller(store.rollout(name), store, plane, plane, lambda: SIDES)


def lived(file: Path, looks: int) -> float:
    """Half a minute from one look to the next."""
    spec = RolloutSpec.model_validate({**fleet._SPEC, "traffic": {"listen": "127.0.0.1:1", "metrics": "127.0.0.1:2"}})
    with closing(Store(f"sqlite:///{file}")) as store:
        rollout = Rollout("r0", "r0", spec, {}, {}, fleet.BEGAN, None)
        store.open(rollout, fleet.BEGAN)
        store.append(rollout, store.last("r0"), Built({}), fleet.BEGAN)
        driven = controller(store, "r0")
        for look in range(looks + 1):
            driven.tick(fleet.ME, fleet.BEGAN + look * 30.0)
    return fleet.BEGAN + looks * 30.0


def test_copies_tick_on_and_their_looks_fall_due_one_after_the_other(tmp_path: Path) -> None:
    now = lived(tmp_path / "lived.db", looks=8)
    names = fleet.copied(tmp_path / "lived.db", tmp_path / "many.db", rollouts=4, looks=5)
    with closing(Store(f"sqlite:///{tmp_path / 'many.db'}")) as store:
        assert [len(list(store.looks(name))) for name in names] == [5, 5, 5, 5]
        kept = [store.progress(name) for name in names]
        assert [one.at for one in kept if one] == [now, now - 1, now - 2, now - 3]
        many = ticks.Fleet([controller(store, name) for name in names], now + 30)
        for _ in names:
            many.tick()
        after = [store.progress(name) for name in names]
        assert [one.evidence.looks for one in after if one] == [9, 9, 9, 9]


def test_figures_are_medians_and_the_ratio_is_taken_within_each_round() -> None:
    few, many = ticks.Fleet([], 0.0), ticks.Fleet([], 0.0)
    few = replace(few, cpu=[1.0, 2.0, 4.0], wall=[1.0, 1.0, 1.0])
    many = replace(many, cpu=[2.0, 2.0, 2.0], wall=[3.0, 3.0, 3.0], memory=0.5)
    found = dict(ticks._figures({"1": few, "1000": many, "short_history": few, "long_history": few}))
    assert found["tick_ms_1"] == 2.0
    assert found["tick_linear"] == 1.0
    assert found["tick_wall_ms_1000"] == 3.0
    assert found["history_ratio"] == 1.0
    assert found["mib_per_rollout"] == 0.5
