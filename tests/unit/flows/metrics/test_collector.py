"""What an exporter says of the rollouts in a store."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from lockgate.flows import restarts
from lockgate.flows.home import Home
from lockgate.flows.metrics.collector import RolloutCollector
from lockgate.monitoring import catalog
from lockgate.rollout.state import (
    Asked,
    Built,
    Commanded,
    Decided,
    Drifted,
    Dropped,
    Judged,
    Settled,
)
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Outcome

PASS = Verdict(Outcome.PASS, (), 500, 0.05)
ABORT = Commanded("abort", "ada")


def passed(requests: int, outcome: Outcome = Outcome.PASS) -> Judged:
    return Judged(Verdict(outcome, (), requests, 0.05))


def test_a_rollout_in_a_step(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS))
    exporter.look(rollout, words.WELL, words.BROKEN)
    shown = exporter.scrape()
    assert shown["lockgate_rollout_info"] == {("toy", "toy-model", "toy-1", "1", "2"): 1}
    assert shown["lockgate_rollout_open"] == {("toy",): 1}
    assert {phase for (_, phase), on in shown["lockgate_rollout_phase"].items() if on} == {"progressing"}
    assert len(shown["lockgate_rollout_phase"]) == len(catalog.PHASES)
    assert (shown["lockgate_rollout_step"], shown["lockgate_rollout_steps"]) == ({("toy",): 1}, {("toy",): 3})
    assert shown["lockgate_rollout_step_info"] == {("toy", "shadow", "shadow 50 %"): 1}
    assert shown["lockgate_rollout_weight_ratio"] == {("toy", "stable"): 1, ("toy", "candidate"): 0}
    assert shown["lockgate_rollout_mirror_ratio"] == {("toy",): 0.5}
    assert shown["lockgate_rollout_opened_timestamp_seconds"] == {("toy",): 1000}
    assert shown["lockgate_rollout_step_since_timestamp_seconds"] == {("toy",): 1001}
    assert shown["lockgate_rollout_step_timeout_seconds"] == {("toy",): 3600}
    assert shown["lockgate_rollout_step_requests"] == {("toy", "stable"): 5000, ("toy", "candidate"): 500}
    assert "lockgate_rollout_closed_timestamp_seconds" not in shown.samples


def test_gates_with_their_evidence_and_how_far_it_must_go(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS))
    (errors, latency) = exporter.look(rollout, words.WELL, words.BROKEN).verdict.gates
    shown = exporter.scrape()
    at = ("toy", "candidate", "errors", "error_rate")
    assert shown["lockgate_gate_outcome"][at] == catalog.OUTCOMES["fail"]
    assert shown["lockgate_gate_candidate"][at] == pytest.approx(0.2)
    assert shown["lockgate_gate_limit"][at] == errors.limit
    assert shown["lockgate_gate_harm"][at] == errors.harm >= shown["lockgate_gate_fails_from"][at] > 0
    assert shown["lockgate_gate_safety"][at] == errors.safety < shown["lockgate_gate_passes_from"][at]
    assert shown["lockgate_gate_harm"]["toy", "candidate", "latency", "latency"] == latency.harm


def test_gates_of_the_step_before_are_not_those_of_this_one(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS))
    exporter.look(rollout, words.WELL, words.WELL)
    exporter.happen(rollout, Judged(PASS))
    shown = exporter.scrape()
    assert shown["lockgate_rollout_step"] == {("toy",): 2}
    assert shown["lockgate_rollout_weight_ratio"] == {("toy", "stable"): 0.875, ("toy", "candidate"): 0.125}
    assert not [name for name in shown.samples if name.startswith("lockgate_gate_")]


def test_one_that_is_being_built_has_no_step_yet(exporter: Any) -> None:
    exporter.open()
    shown = exporter.scrape()
    assert shown["lockgate_rollout_step"] == {("toy",): 0}
    assert shown["lockgate_rollout_phase"]["toy", "building"] == 1
    assert "lockgate_rollout_step_timeout_seconds" not in shown.samples


def test_paused_and_held(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS), Commanded("pause", "ada"), Drifted(drifting=True, reason="age drifts"))
    shown = exporter.scrape()
    assert (shown["lockgate_rollout_paused"], shown["lockgate_rollout_held"]) == ({("toy",): 1}, {("toy",): 1})
    exporter.happen(rollout, Commanded("resume", "ada"))
    shown = exporter.scrape()
    assert (shown["lockgate_rollout_paused"], shown["lockgate_rollout_held"]) == ({("toy",): 0}, {("toy",): 0})


def test_who_drives(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    shown = exporter.scrape()
    assert shown["lockgate_controller_driven"] == {("toy",): 0}
    assert "lockgate_controller_lease_timestamp_seconds" not in shown.samples
    exporter.store.lease(rollout.id, "me", words.NOW, 15.0)
    shown = exporter.scrape()
    assert shown["lockgate_controller_driven"] == {("toy",): 1}
    assert shown["lockgate_controller_lease_timestamp_seconds"] == {("toy",): words.NOW + 15}
    exporter.store.lease(rollout.id, "me", words.NOW - 100, 15.0)
    assert exporter.scrape()["lockgate_controller_driven"] == {("toy",): 0}


def test_whom_it_waits_for(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS), Judged(PASS), Judged(PASS))
    at = ("toy", "risk-leads")
    shown = exporter.scrape()
    assert shown["lockgate_approval_pending"] == {at: 0}
    assert "lockgate_approval_expires_timestamp_seconds" not in shown.samples
    exporter.happen(rollout, Asked("d", "a", 5600.0), Decided(approved=True, by="bob", digest="d", verified=True))
    shown = exporter.scrape()
    assert shown["lockgate_approval_pending"] == {at: 1}
    assert (shown["lockgate_approval_approvals"], shown["lockgate_approval_required"]) == ({at: 1}, {at: 2})
    assert shown["lockgate_approval_asked_timestamp_seconds"] == {at: 2000}
    assert shown["lockgate_approval_expires_timestamp_seconds"] == {at: 5600}
    assert shown["lockgate_rollout_weight_ratio"]["toy", "candidate"] == 0.125
    exporter.happen(rollout, ABORT)
    assert "lockgate_approval_pending" not in exporter.scrape().samples


def test_several_challengers(exporter: Any, words: Any) -> None:
    rollout = exporter.open(steps=[{"ab": {"weight": 40, "metric": "conversion", "timeout": "7d", "others": ["blue"]}}])
    exporter.happen(rollout, Built({**words.FACTS, "blue_bento": "toy:c", "blue_version": "3"}))
    shown = exporter.scrape()["lockgate_rollout_weight_ratio"]
    assert shown == {("toy", "stable"): 0.6, ("toy", "candidate"): 0.2, ("toy", "blue"): 0.2}
    exporter.happen(rollout, Dropped("blue", "its replicas died"))
    shown = exporter.scrape()
    assert shown["lockgate_rollout_weight_ratio"]["toy", "blue"] == 0
    assert shown["lockgate_rollout_weight_ratio"]["toy", "stable"] == 0.8
    assert shown["lockgate_artifact_info"]["toy", "blue", "3", "", ""] == 1


def test_rollouts_that_ended(exporter: Any, words: Any) -> None:
    first = exporter.open()
    exporter.happen(first, ABORT)
    exporter.store.close_rollout(first.id, 1500.0)
    second = exporter.open(rollout="toy-2", at=1600.0)
    exporter.happen(second, Built(words.FACTS), passed(300), passed(1200), Commanded("abort", "ada"), Settled())
    exporter.store.close_rollout(second.id, 1700.0)
    shown = exporter.scrape()
    ended = {("toy", "succeeded"): 0, ("toy", "rolled_back"): 1, ("toy", "failed"): 1}
    assert shown["lockgate_rollouts_total"] == ended
    assert shown["lockgate_rollout_requests_to_decision"] == {("toy",): 1500}
    assert shown["lockgate_rollout_open"] == {("toy",): 0}
    assert shown["lockgate_rollout_closed_timestamp_seconds"] == {("toy",): 1700}
    exporter.open(rollout="toy-3", at=1800.0)
    shown = exporter.scrape()
    assert shown["lockgate_rollout_open"] == {("toy",): 1}
    assert shown["lockgate_rollouts_total"] == ended
    assert shown["lockgate_rollout_requests_to_decision"] == {("toy",): 1500}


def test_verdicts_in_one_step_are_of_the_same_requests(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    fails = passed(700, Outcome.FAIL)
    exporter.happen(rollout, Built(words.FACTS), passed(100), passed(400), fails, Settled())  # fails in the approval
    exporter.store.close_rollout(rollout.id, 1500.0)
    assert exporter.scrape()["lockgate_rollout_requests_to_decision"] == {("toy",): 800}


def test_one_that_reached_no_verdict_has_no_requests_to_decision(exporter: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, ABORT)
    exporter.store.close_rollout(rollout.id, 1500.0)
    assert "lockgate_rollout_requests_to_decision" not in exporter.scrape().samples


def test_a_hundred_rollouts_are_as_many_series_as_one(exporter: Any, words: Any) -> None:
    def ended(number: int) -> None:
        rollout = exporter.open(rollout=f"toy-{number}", at=1000.0 + number)
        exporter.happen(rollout, Built(words.FACTS))
        exporter.look(rollout, words.WELL, words.BROKEN)
        exporter.happen(rollout, passed(100, Outcome.FAIL), Settled())
        exporter.store.note(rollout.id, "drift", words.comparison(words.feature("age", 0.3)))
        exporter.store.close_rollout(rollout.id, 1500.0 + number)

    ended(0)
    one = exporter.scrape()
    for number in range(1, 100):
        ended(number)
    many = exporter.scrape()
    assert {name: len(of) for name, of in many.samples.items()} == {name: len(of) for name, of in one.samples.items()}
    assert many["lockgate_rollouts_total"]["toy", "rolled_back"] == 100
    assert next(iter(many["lockgate_rollout_info"]))[2] == "toy-99"


def test_an_open_rollout_is_shown_though_another_ended_later(exporter: Any) -> None:
    """Clocks of two machines need not agree."""
    ended = exporter.open(at=9000.0)
    exporter.happen(ended, ABORT)
    exporter.store.close_rollout(ended.id, 9500.0)
    exporter.open(rollout="toy-2", at=1000.0)
    assert next(iter(exporter.scrape()["lockgate_rollout_info"]))[2] == "toy-2"


def test_everything_in_the_catalog_is_shown_by_some_rollout(exporter: Any, words: Any) -> None:
    words.build(exporter.home.root / "builds", "toy:b", "bb")
    asked = exporter.open()
    exporter.store.lease(asked.id, "me", words.NOW, 15.0)
    exporter.happen(asked, Built(words.FACTS), Judged(PASS), Judged(PASS), Asked("d", "a", 5600.0))
    exporter.store.note(asked.id, "drift", words.comparison(words.feature("age", 0.3)))
    tested = exporter.open("ab", "ab-1", steps=[{"ab": {"weight": 40, "metric": "conversion", "timeout": "7d"}}])
    exporter.happen(tested, Built(words.FACTS))
    progress = exporter.look(tested, words.WELL, words.BROKEN)
    from dataclasses import replace

    gates = tuple(replace(gate, effect=0.1, interval=(0.0, 0.2)) for gate in progress.verdict.gates)
    exporter.store.save_progress(tested.id, replace(progress, verdict=replace(progress.verdict, gates=gates)))
    ended = exporter.open("over", "over-1")
    exporter.happen(ended, Built(words.FACTS), passed(100, Outcome.FAIL), Settled())
    exporter.store.close_rollout(ended.id, 1500.0)
    words.performance(exporter.home)
    (exporter.home.root / "toy").mkdir(exist_ok=True)
    restarts.count(exporter.home, "toy", "router")
    shown = set(exporter.scrape().samples)
    every = {series.name for series in catalog.of("exporter")}
    assert shown == {name for name in every if not name.startswith("lockgate_gpu_")}  # tests/unit/monitoring/test_gpus


def test_performance_is_shown_between_rollouts_and_a_damaged_file_is_nobodys(exporter: Any, words: Any) -> None:
    words.performance(exporter.home, version="3")
    words.performance(exporter.home, "other", value=None, undecided=True, labelled=12)
    (exporter.home.root / "broken").mkdir()
    (exporter.home.root / "broken" / "performance.json").write_text('{"version": 1')
    shown = exporter.scrape()
    assert shown["lockgate_performance_value"] == {("toy", "3", "accuracy"): 0.86}
    assert shown["lockgate_performance_drifting"] == {("toy", "3", "accuracy"): 1}
    assert shown["lockgate_performance_labelled"][("other", "7", "accuracy")] == 12
    assert shown["lockgate_store_up"] == {(): 1}


def test_a_store_that_is_down_is_a_sample(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path / 'gone' / 'state.db'}"
    (tmp_path / "gone").write_text("no folder")
    collector = RolloutCollector(Home(tmp_path, url))
    with caplog.at_level(logging.CRITICAL):
        for times in (1, 2):
            found = {sample.name: sample.value for family in collector.collect() for sample in family.samples}
            assert (found["lockgate_store_up"], found["lockgate_exporter_scrape_errors_total"]) == (0, times)
    assert "lockgate_rollout_open" not in found


def test_a_store_that_comes_back_is_read_again(exporter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockgate.flows.metrics.reader import Reader
    from lockgate.rollout.errors import StoreDown

    exporter.open()
    with monkeypatch.context() as patch:

        def down(*_: Any) -> Any:
            raise StoreDown("it does not answer")

        patch.setattr(Reader, "last", down)
        shown = exporter.scrape()
        assert (shown["lockgate_store_up"], shown["lockgate_rollout_open"]) == ({(): 0}, {})
    shown = exporter.scrape()
    assert (shown["lockgate_store_up"], shown["lockgate_rollout_open"]) == ({(): 1}, {("toy",): 1})
    assert shown["lockgate_exporter_scrape_errors_total"] == {(): 1}


def test_one_that_cannot_be_read_hides_no_other(exporter: Any, words: Any, caplog: pytest.LogCaptureFixture) -> None:
    broken = exporter.open()
    exporter.happen(broken, Built(words.FACTS))
    exporter.store.note(broken.id, "drift", {"from": "a later version"})
    exporter.open("other", "other-1")
    with caplog.at_level(logging.CRITICAL):
        shown = exporter.scrape()
    assert shown["lockgate_rollout_open"] == {("other",): 1}
    assert (shown["lockgate_store_up"], shown["lockgate_exporter_scrape_errors_total"]) == ({(): 1}, {(): 1})
