"""A real Envoy, a real controller and a real store: a candidate that fails everything is given nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lockgate.rollout.controller import Controller
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built, Settled
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verify import verify
from lockgate.rollout.words import Phase

LIVE = 20
"""Requests in a second, which is what the ticks are apart."""
AT_MOST = 10
LONG = {"hold": {"min_requests": 10**9}, "timeout": "30d"}
OLD = 3 * 86_400.0


@dataclass
class Drive:
    store: Store
    rollout: Rollout
    plane: Any
    others: dict[str, Any] = field(default_factory=dict)
    now: float = 1000.0
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        servers = {"stable": self.plane.stable, "candidate": self.plane.candidate, **self.others}
        sides = {name: (server.endpoint,) for name, server in servers.items()}
        self.clients = self.plane.clients()
        self.controller = Controller(self.rollout, self.store, self.plane.router, self.plane.source, lambda: sides)

    def tick(self, live: int = LIVE) -> Event:
        self.clients.ask([""] * live)
        self.now += 1.0
        return self.controller.tick("me", self.now)

    def grow_old(self) -> None:
        """In a step of three days, looks are half a minute apart, and the last one was just now."""
        self.controller.tick("me", self.now)
        self.tick()
        self.now += OLD
        self.tick()

    def ticks_to_the_way_back(self) -> int:
        return next(i for i in range(1, 60) if self.tick().state.phase is Phase.ROLLING_BACK)


@pytest.fixture
def drive_of(plane: Any, tmp_path: Path) -> Iterator[Callable[..., Drive]]:
    with closing(Store(f"sqlite:///{tmp_path}/state.db")) as store:

        def make(step: dict[str, Any], **others: Any) -> Drive:
            document = {"steps": [step], "gates": {"slow": {"metric": "latency"}}, "profile": "strict"}
            spec = RolloutSpec.model_validate(document)
            rollout = Rollout("fraud-1", "fraud", spec, {"candidate": "2"}, {"name": "fraud"}, 0.0, None)
            store.open(rollout, 1000.0)
            store.append(rollout, store.last(rollout.id), Built({}), 1000.0)
            return Drive(store, rollout, plane, others)

        yield make


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ("fail", {"canary": {"weight": 25, **LONG}}),
        ("dead", {"canary": {"weight": 50, **LONG}}),
        ("hang", {"canary": {"weight": 50, **LONG}}),
        ("fail", {"shadow": {"percent": 100, **LONG}}),
    ],
    ids=["fails", "dead", "hangs", "copies fail"],
)
def test_it_is_on_its_way_back_within_ten_seconds(how: str, step: dict[str, Any], drive_of: Any) -> None:
    """No gate of this spec asks for errors, and the step is days old. No client sees any of it."""
    drive = drive_of(step)
    drive.grow_old()
    looks = len(list(drive.store.looks(drive.rollout.id)))
    if how == "dead":
        drive.plane.candidate.__exit__()
    else:
        drive.plane.candidate.mode = how
    assert drive.ticks_to_the_way_back() <= AT_MOST
    served = drive.plane.router.applied()
    assert (served.weight, served.mirror) == (0, 0)
    hits = drive.plane.candidate.hits
    drive.clients.ask([""] * 50)
    assert drive.plane.candidate.hits == hits
    assert drive.clients.failed == 0
    event = drive.store.last(drive.rollout.id)
    assert event.state.reason.startswith("outage: fail, candidate failed")
    assert len(list(drive.store.looks(drive.rollout.id))) == looks + 1
    assert drive.controller.record(event, Settled(), drive.now).state.phase is Phase.ROLLED_BACK
    events = drive.store.events(drive.rollout.id)
    assert [e.happening.kind for e in events] == ["opened", "built", "judged", "settled"]
    assert not [c for c in verify(drive.rollout.spec, events, drive.store.looks(drive.rollout.id)) if c.wrong]


def test_what_both_fail_is_no_outage(drive_of: Any) -> None:
    drive = drive_of({"canary": {"weight": 50, **LONG}})
    drive.grow_old()
    drive.plane.candidate.mode = drive.plane.stable.mode = "fail"
    assert {drive.tick().state.phase for _ in range(AT_MOST)} == {Phase.PROGRESSING}
    assert drive.plane.router.applied().weight == 5000


def test_a_candidate_that_nobody_asks_is_in_no_outage(drive_of: Any) -> None:
    drive = drive_of({"canary": {"weight": 50, **LONG}})
    drive.grow_old()
    drive.plane.candidate.mode = "fail"
    assert {drive.tick(live=0).state.phase for _ in range(AT_MOST)} == {Phase.PROGRESSING}
    assert drive.plane.source.measure().candidate.errors == 0


def test_of_several_the_one_that_fails_is_dropped(drive_of: Any, upstream: Any) -> None:
    with upstream("small") as small:
        drive = drive_of({"ab": {"weight": 60, "metric": "conversion", "others": ["small"], **LONG}}, small=small)
        drive.grow_old()
        small.mode = "fail"
        ticks = next(i for i in range(1, 60) if drive.tick().state.dropped)
        assert ticks <= AT_MOST
        hits = small.hits
        drive.tick(live=50)
        assert small.hits == hits
    assert drive.clients.failed == 0
    state, served = drive.store.last(drive.rollout.id).state, drive.plane.router.applied()
    assert (state.phase, state.dropped) == (Phase.PROGRESSING, ("small",))
    assert (served.weight, [bool(one.endpoints) for one in served.others]) == (3000, [False])
    assert drive.plane.source.measure().candidate.errors == 0
