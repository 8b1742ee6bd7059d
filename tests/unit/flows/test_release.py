"""What becomes of a rollout that cannot be built, and of what was started for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lockgate.flows import lease, release, resume, sweep, wanted
from lockgate.flows import world as worlds
from lockgate.flows.cli.down import command as down
from lockgate.flows.errors import NothingToDo, WrongVariable
from lockgate.rollout.errors import Fenced, RouterDown
from lockgate.rollout.state import Commanded
from lockgate.rollout.words import Phase
from lockgate.services.compile.words import ParityEvidence
from lockgate.services.errors import NotReady, ParityFailed
from lockgate.services.words import Build

PROVEN = ParityEvidence(9, 0.0, 0.0, 1.0, "score", passed=True)


@pytest.fixture(autouse=True)
def builds(place: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Any]]:
    """What is done in place of building a version; they are built in no time without."""
    odd: dict[str, Callable[[], Any]] = {}

    def build(_spec: object, version: Any, *_: object) -> Build:
        odd.get(version.version, lambda: None)()
        return Build(place.bento(version.version), PROVEN)

    monkeypatch.setattr(release, "build", build)
    monkeypatch.setattr(release, "serving", lambda *_: None)
    monkeypatch.setattr(release, "stable_bento", lambda world, version, say: build(world, version, say).bento)
    return odd


def raises(error: Exception) -> Callable[[], None]:
    def it() -> None:
        raise error

    return it


def released(place: Any, asked: float | None = None) -> Any:
    return release.release(place.world(), lease.owner(), lambda _: None, None, asked)


def ended(place: Any) -> tuple[Phase, str, str]:
    """The phase and the end of the only rollout, which is closed; and what is said of it to whoever looks at 2."""
    (rollout,) = place.store.rollouts("fraud")
    assert rollout.closed_at is not None
    state = place.store.last(rollout.id).state
    return state.phase, state.ending, place.registry.resolve("fraud", "2").tags.get("lockgate.decision", "")


def test_stable_that_is_not_ready_is_not_the_candidates_fault(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place.machine.broken.add("fraud:1")
    with pytest.raises(NotReady, match="fraud:1"):
        released(place)
    assert ended(place) == (Phase.FAILED, "broken", "")
    assert place.running() == set()
    monkeypatch.setattr(sweep, "versions", lambda _: release.resolve(place.world()))
    assert sweep.challenger(place.world()) is None
    monkeypatch.setattr(sweep, "_PAUSE", 0.0)
    assert sweep.challenger(place.world()) is not None  # a minute later


def test_nor_is_one_that_cannot_be_built(place: Any, builds: dict[str, Any]) -> None:
    builds["1"] = raises(NotReady("service.external.endpoints: version 1 would be at the router's own address"))
    with pytest.raises(NotReady):
        released(place)
    assert ended(place) == (Phase.FAILED, "broken", "")


@pytest.mark.parametrize("why", [NotReady("its process ended"), ParityFailed("it differs")])
def test_a_candidate_that_cannot_be_served_is_refused(place: Any, builds: dict[str, Any], why: Exception) -> None:
    if isinstance(why, NotReady):
        place.machine.broken.add("fraud:2")
    else:
        builds["2"] = raises(why)
    with pytest.raises(type(why)):
        released(place)
    phase, ending, said = ended(place)
    assert (phase, ending) == (Phase.FAILED, "refused")
    assert said.startswith("refused: ")


def test_a_candidate_at_stables_address_is_refused(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release.elsewhere, "check_apart", lambda *_: raises(NotReady("both are at 127.0.0.1:1"))())
    with pytest.raises(NotReady):
        released(place)
    assert ended(place)[1] == "refused"


def test_what_the_machines_owner_says_wrong_ends_it_and_refuses_nobody(place: Any, builds: dict[str, Any]) -> None:
    """It would be begun again once a minute, for ever."""
    builds["2"] = raises(WrongVariable("LOCKGATE_ENGINE_THREADS is 'two'"))
    with pytest.raises(WrongVariable):
        released(place)
    assert ended(place) == (Phase.FAILED, "broken", "")


def test_a_first_run_whose_router_does_not_start_leaves_nothing_running(place: Any) -> None:
    place.router.stuck = True
    with pytest.raises(RouterDown):
        released(place, asked=100.0)
    assert place.running() == set()
    assert ended(place) == (Phase.FAILED, "broken", "")
    assert wanted.read(place.home, "fraud") is None


def test_replicas_of_a_router_that_died_run_on(place: Any) -> None:
    """Somebody starts it again, with what it served."""
    place.serves("1")
    place.router.fake.down = place.router.stuck = True
    with pytest.raises(RouterDown):
        released(place, asked=100.0)
    assert "fraud:1" in place.running()


def test_what_a_killed_run_left_after_a_down_is_stopped_with_its_rollout(place: Any) -> None:
    place.serves("1")
    wanted.down(place.home, "fraud")
    place.router.fake.down = True
    place.machine.die("fraud:1")
    rollout = place.opened()
    place.at("2")  # its candidate has started, and then it was killed
    place.store.append(rollout, place.store.last(rollout.id), Commanded("abort", "ada"), 3.0)
    release.tidy(place.world())
    assert place.running() == set()


class TestStopped:
    """`lockgate down` comes while somebody who is no person is on the way."""

    def test_before_it_is_opened(self, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        place.serves("1")
        monkeypatch.setattr(release.announced, "check", lambda _: wanted.down(place.home, "fraud"))
        with pytest.raises(NothingToDo, match="was stopped with `lockgate down`"):
            released(place)
        assert not place.store.rollouts("fraud")

    def test_before_it_is_built(self, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        place.serves("1")
        monkeypatch.setattr(release.announced, "opened", lambda *_: wanted.down(place.home, "fraud"))
        with pytest.raises(NothingToDo):
            released(place)
        (rollout,) = place.store.rollouts("fraud")
        assert place.store.last(rollout.id).state.phase is Phase.BUILDING  # a person's `lockgate run` goes on with it
        assert lease.driver(place.store, rollout) == ""
        assert place.running() == {"fraud:1"}

    def test_a_person_wants_it_up(self, place: Any) -> None:
        place.serves("1")
        wanted.down(place.home, "fraud")
        rollout = released(place, asked=100.0)
        mark = wanted.read(place.home, "fraud")
        assert mark
        assert (mark.up, mark.stable, mark.asked) == (True, place.bento("1"), rollout.opened_at)

    def test_who_resumes_leaves_it(self, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        rollout = place.opened()
        place.serves("1")
        monkeypatch.setattr(resume, "world", lambda _: nullcontext(place.world()))
        monkeypatch.setattr(resume, "drive", lambda *_, **__: pytest.fail("it goes on"))
        real, said = resume.owner, list[str]()

        def owner() -> str:
            wanted.down(place.home, "fraud")
            return real()

        monkeypatch.setattr(resume, "owner", owner)
        assert resume.resume(rollout, said.append, lambda *_: None).phase is Phase.BUILDING
        assert said == ["fraud was stopped with `lockgate down` since this was asked for"]


@pytest.mark.parametrize("brought_up", [True, False])
def test_a_down_that_comes_too_late_is_taken_back(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, brought_up: bool
) -> None:
    """Somebody took the rollout up before the mark was made, and has not seen it."""
    if brought_up:
        place.serves("1")
    rollout, before, real = place.opened(), wanted.read(place.home, "fraud"), wanted.down

    def late(*args: Any) -> Any:
        place.store.lease(rollout.id, "elsewhere:1:1", time.time(), 60.0)
        return real(*args)

    monkeypatch.setattr(wanted, "down", late)
    monkeypatch.setattr(worlds, "world", lambda _: nullcontext(place.world()))
    file = tmp_path / "lockgate.yaml"
    file.write_text(json.dumps(place.document))
    result = CliRunner().invoke(down, [str(file)])
    assert isinstance(result.exception, Fenced), result.output
    assert wanted.read(place.home, "fraud") == before
    assert place.running() == ({"fraud:1"} if brought_up else set())
