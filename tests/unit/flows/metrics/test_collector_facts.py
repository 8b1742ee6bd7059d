"""What an exporter says of drift, and of what was compiled."""

from __future__ import annotations

from typing import Any

from lockgate.monitoring import catalog
from lockgate.monitoring.drift.words import Compared, Share
from lockgate.rollout.state import Built


def test_drift_of_the_worst_features_only(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS))
    same = [words.feature(f"same{number}", number / 1000) for number in range(100)]
    worst = [
        words.feature("mild", 0.3, "drifts"),
        words.feature("worst", 0.2, "severe"),
        words.feature("age", 0.1, role="output"),
    ]
    exporter.store.note(rollout.id, "drift", words.comparison(*same, *worst, words.feature("age", 0.1)))
    shown = exporter.scrape()
    psi = shown["lockgate_drift_psi"]
    assert len(psi) == catalog.MOST_FEATURES
    assert list(psi)[:4] == [("toy", "worst"), ("toy", "mild"), ("toy", "age (output)"), ("toy", "age")]
    assert psi["toy", "same99"] == 0.099
    assert ("toy", "same0") not in psi
    assert shown["lockgate_drift_missing_ratio"]["toy", "mild"] == 0.25
    drifting = {feature for (_, feature), on in shown["lockgate_drift_drifting"].items() if on}
    assert drifting == {"worst", "mild"}
    assert shown["lockgate_drift_detected"] == {("toy",): 1}
    assert (shown["lockgate_drift_share_ratio"], shown["lockgate_drift_rows"]) == ({("toy",): 0.5}, {("toy",): 300})
    assert shown["lockgate_drift_threshold"] == {("toy",): 0.2}  # as the stored spec says
    assert shown["lockgate_drift_share_limit_ratio"] == {("toy",): 0.3}  # the default: it says nothing
    assert shown["lockgate_drift_compared_timestamp_seconds"] == {("toy",): 1900}


def test_a_feature_without_a_distance(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS))
    empty = Compared("income", "input", "number", "severe", 0, Share(0.98, 0.0))
    exporter.store.note(rollout.id, "drift", words.comparison(empty))
    shown = exporter.scrape()
    assert "lockgate_drift_psi" not in shown.samples
    assert shown["lockgate_drift_missing_ratio"] == {("toy", "income"): 0.98}


def test_what_was_proven_and_measured_of_an_artifact(exporter: Any, words: Any) -> None:
    rollout = exporter.open()
    exporter.happen(rollout, Built(words.FACTS))
    shown = exporter.scrape()
    assert shown["lockgate_artifact_info"] == {
        ("toy", "stable", "1", "eager", ""): 1,
        ("toy", "candidate", "2", "xla", ""): 1,
    }
    assert "lockgate_parity_max_abs_error" not in shown.samples
    words.build(exporter.home.root / "builds", "toy:b", "bb")
    (exporter.home.root / "builds" / "broken.json").write_text("{")
    shown = exporter.scrape()
    at = ("toy", "candidate")
    assert shown["lockgate_parity_max_abs_error"] == {at: 2e-6}
    assert shown["lockgate_parity_agreement_ratio"] == {at: 0.999}
    assert shown["lockgate_compile_seconds"] == {at: 12.5}
    assert shown["lockgate_artifact_latency_seconds"] == {(*at, "1", "0.5"): 0.001, (*at, "1", "0.99"): 0.004}
