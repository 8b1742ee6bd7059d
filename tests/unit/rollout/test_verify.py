"""A log bears out what was decided; one that was changed does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lockgate.rollout.controller import Controller
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Judged
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verify import Check, verify
from lockgate.rollout.words import Outcome, Phase


@pytest.fixture
def store() -> Iterator[Store]:
    it = Store("sqlite://")
    yield it
    it.close()


@pytest.fixture
def finished(
    store: Store,
    plane: Any,
    spec_of: Callable[..., RolloutSpec],
    rollout_of: Callable[..., Rollout],
    begin: Callable[[Store, Rollout, float], Event],
) -> Rollout:
    """A rollout whose candidate began to fail in its last step."""
    rollout = rollout_of(spec_of(profile="default"))
    begin(store, rollout, 0.0)
    controller = Controller(rollout, store, plane.router, plane.source, lambda: plane.sides)
    for number in range(40):
        plane.source.traffic(20_000)
        event = controller.tick("me", 10.0 * (number + 1))
        if event.state.step == 2:
            plane.source.candidate.errors = 0.1
        if event.state.phase is Phase.ROLLING_BACK:
            return rollout
    raise AssertionError("it was not rolled back")


def checks(store: Store, rollout: Rollout) -> list[Check]:
    return list(verify(rollout.spec, store.events(rollout.id), store.looks(rollout.id)))


def test_every_verdict_holds(store: Store, finished: Rollout) -> None:
    found = checks(store, finished)
    assert [check.wrong for check in found] == [()] * len(found)
    verdicts = [check.verdict for check in found if check.verdict]
    assert [v.outcome for v in verdicts] == [Outcome.PASS, Outcome.PASS, Outcome.FAIL]
    looks = [v.looks for v in verdicts]
    assert looks == sorted(set(looks))
    assert looks[-1] == len(list(store.looks(finished.id)))


def test_errors_that_were_taken_out_of_the_looks_are_found(store: Store, finished: Rollout) -> None:
    whitewashed = [
        replace(look, candidate=replace(look.candidate, errors=0)) if look.candidate.errors else look
        for look in store.looks(finished.id)
    ]
    assert whitewashed != list(store.looks(finished.id))
    *before, last = verify(finished.spec, store.events(finished.id), whitewashed)
    assert not any(check.wrong for check in before)
    assert any("errors was fail, and computed anew it is" in sentence for sentence in last.wrong)


def test_looks_that_are_missing_are_said(store: Store, finished: Rollout) -> None:
    *_, last = verify(finished.spec, store.events(finished.id), list(store.looks(finished.id))[:3])
    assert any("and the log has 3" in sentence for sentence in last.wrong)


def test_a_verdict_that_was_changed_is_found(store: Store, finished: Rollout) -> None:
    events = store.events(finished.id)
    index = next(i for i, e in enumerate(events) if isinstance(e.happening, Judged))
    verdict = events[index].happening.verdict  # type: ignore[union-attr]
    gate = replace(verdict.gates[0], safety=verdict.gates[0].safety * 1.01)
    forged = Judged(replace(verdict, gates=(gate, *verdict.gates[1:])))
    events[index] = replace(events[index], happening=forged)
    found = list(verify(finished.spec, events, store.looks(finished.id)))
    assert [bool(check.wrong) for check in found] == [i == index for i in range(len(events))]


def test_an_event_that_is_missing_is_found(store: Store, finished: Rollout) -> None:
    events = store.events(finished.id)
    del events[3]
    assert any(
        "event 4 is missing" in s
        for check in verify(finished.spec, events, store.looks(finished.id))
        for s in check.wrong
    )


def test_a_state_that_does_not_follow_is_found(store: Store, finished: Rollout) -> None:
    events = store.events(finished.id)
    events[-1] = replace(events[-1], state=replace(events[-1].state, phase=Phase.PROMOTING))
    *_, last = verify(finished.spec, events, store.looks(finished.id))
    assert last.wrong == ("the events before lead to phase rolling_back, and the log says promoting",)


def test_an_overall_outcome_that_its_gates_do_not_bear_out_is_found(store: Store, finished: Rollout) -> None:
    events = store.events(finished.id)
    index = next(i for i, e in enumerate(events) if isinstance(e.happening, Judged))
    verdict = events[index].happening.verdict  # type: ignore[union-attr]
    for forged in (
        replace(verdict, outcome=Outcome.ERROR, reason="because"),
        replace(verdict, requests=verdict.requests + 1),
        replace(verdict, looks=0, gates=()),
    ):
        changed = [*events]
        changed[index] = replace(events[index], happening=Judged(forged))
        assert list(verify(finished.spec, changed, store.looks(finished.id)))[index].wrong


def test_a_log_without_its_beginning_is_said_and_no_error(store: Store, finished: Rollout) -> None:
    checks = list(verify(finished.spec, store.events(finished.id)[1:], store.looks(finished.id)))
    assert any("the rollout is pending" in sentence for sentence in checks[0].wrong)


def test_only_the_weight_differs(store: Store, finished: Rollout) -> None:
    events = store.events(finished.id)
    events[-1] = replace(events[-1], state=replace(events[-1].state, weight=9))
    *_, last = verify(finished.spec, events, store.looks(finished.id))
    assert last.wrong == ("the events before lead to weight None, and the log says 9",)
