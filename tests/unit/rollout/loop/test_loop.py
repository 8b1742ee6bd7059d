"""The whole loop with crashes: real decisions, real store, real controller, real side effects, fake ports.

For a longer run, with other examples each time: `LOCKGATE_LOOP_EXAMPLES=2000 python -m pytest tests/unit/rollout/loop`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from lockgate.flows import wanted
from lockgate.rollout.words import Phase

IN_CI = 22
EXAMPLES = int(os.environ.get("LOCKGATE_LOOP_EXAMPLES", IN_CI))
HERE = "unit/rollout/loop"


@pytest.fixture
def kit(from_file: Callable[[str], ModuleType], fake_registry: Any) -> SimpleNamespace:
    modules = {name: from_file(f"{HERE}/{name}.py") for name in ("process", "plane", "cases", "town", "people")}
    router = from_file("contract/fakes.py").FakeRouter
    return SimpleNamespace(**modules, registry=fake_registry, router=router, allowed=suppress)


@pytest.mark.timeout(300 if EXAMPLES == IN_CI else 0)
def test_whatever_dies_whenever_it_ends_as_it_should(kit: SimpleNamespace) -> None:
    loop, process = kit.people.Loop, kit.process.Process
    loop.reached, loop.done, process.stopped = Counter(), Counter(), Counter()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: loop(kit),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            derandomize=EXAMPLES == IN_CI,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    phases = {"progressing", "waiting", "promoting", "rolling_back", "held", "sound turn"}
    ends = {"ended succeeded", "ended rolled_back", "ended by gate", "ended by by_hand", "ended by broken"}
    assert phases | ends <= set(+loop.reached)
    assert len(process.stopped) >= 8, process.stopped  # points at which one was frozen or killed; see also below


ROW = (Phase.BUILDING, Phase.PROGRESSING, Phase.PROGRESSING, Phase.WAITING, Phase.WAITING, Phase.PROGRESSING)
"""From the first event to the last step."""


@contextmanager
def healthy(kit: SimpleNamespace, folder: Path) -> Iterator[Any]:
    folder.mkdir()
    town = kit.town.Town(kit, folder, kit.cases.document(0))
    try:
        yield town
    finally:
        town.close()


def second(town: Any, process: Any, points: int | None = None) -> None:
    """A turn, and a person who approves what is asked on the page."""
    town.clock.now += 1
    town.traffic.second()
    process.go(points)
    for (name, version), page in town.registry.pages.items():
        if page.approval == "pending":
            town.registry.person_says(town.registry.resolve(name, version), "approved")


def to_the_end(town: Any, process: Any) -> None:
    for _ in range(60):
        if process.over:
            return
        second(town, process)
    raise AssertionError(town.last)


def points_of(kit: SimpleNamespace, folder: Path, when: str) -> list[int]:
    """Of an undisturbed rollout's points `before` or `after` a call: each kind's last one, and every eighth of all."""
    met: list[str] = []
    with healthy(kit, folder) as town, pytest.MonkeyPatch.context() as patched:
        patched.setattr(kit.process.Process, "reach", lambda _, point: met.append(point))
        to_the_end(town, town.start())
    ours = {number: point for number, point in enumerate(met) if point.startswith(when)}
    last = {point: number for number, point in ours.items()}
    assert len(last) > 30
    return sorted({*last.values(), *list(ours)[::12]})


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_stopped_at_any_point_another_one_goes_on(how: str, kit: SimpleNamespace, tmp_path: Path) -> None:
    """One that was frozen wakes up when all is over, and still believes that it drives."""
    for number in points_of(kit, tmp_path / "undisturbed", "after" if how == "killed" else "before"):
        with healthy(kit, tmp_path / f"{number}") as town:
            first, left = town.start(), number
            while not first.over and not first.frozen:
                second(town, first, left)
                left = first.points
            if how == "killed":
                first.kill()
            else:
                town.clock.now += 60
            to_the_end(town, town.start())
            if not first.over:
                first.go()
                to_the_end(town, first)
            end = f"{how} after {number} points"
            assert town.last.state.phase is Phase.SUCCEEDED, end
            log = [e.state.phase for e in town.store.events(town.rollout.id)]
            assert [p for p in log if p.stepping or p is Phase.BUILDING] == list(ROW), end
            assert town.champion() == "2", end
            assert town.served() == town.wanted(), end
            assert {r.bento for r in town.machine.up.values()} == {"fraud:2"}, end
            assert town.store.open_of("fraud") is None, end
            assert kept_up(town) == "2", end


def kept_up(town: Any) -> str:
    """The version that is started again, and routed to, when it dies while no rollout is open."""
    mark = wanted.read(town.home, "fraud")
    assert mark
    assert mark.stable
    return str(mark.stable.version)


def frozen_before(call: str, process: Any) -> None:
    """At its next call of this; it then sleeps on."""
    real = process.reach

    def reach(point: str) -> None:
        if point == f"before {call}":
            process.points = 0
        real(point)

    process.reach = reach


def test_of_two_who_end_it_neither_brings_the_old_version_back(kit: SimpleNamespace, tmp_path: Path) -> None:
    """The first one's lease runs out in a long clearing up; the second one begins to drive, and one of them sleeps."""
    for number in range(0, 40, 3):
        with healthy(kit, tmp_path / f"{number}") as town:
            first = town.start()
            frozen_before("store.close_rollout", first)
            while not first.frozen:
                second(town, first)
            del first.reach
            assert town.last.state.phase is Phase.SUCCEEDED
            town.clock.now += 60
            other = town.start()
            second(town, other, number)
            to_the_end(town, first)
            to_the_end(town, other)
            assert kept_up(town) == "2", f"after {number} points"
            assert town.served() == town.wanted(), f"after {number} points"
