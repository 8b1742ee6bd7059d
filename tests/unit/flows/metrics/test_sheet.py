"""Samples on their way to Prometheus."""

from __future__ import annotations

import pytest

from lockgate.flows.metrics.sheet import Sheet


def test_what_is_not_in_the_catalog_is_refused() -> None:
    with pytest.raises(KeyError, match="lockgate_rolout_open"):
        Sheet().put("lockgate_rolout_open", 1, name="toy")


def test_other_labels_than_the_catalog_s_are_refused() -> None:
    with pytest.raises(ValueError, match="has the labels name, not pipeline"):
        Sheet().put("lockgate_rollout_open", 1, pipeline="toy")


def test_names_from_outside_are_cut_and_there_once() -> None:
    sheet = Sheet()
    for end in "ab":
        sheet.put("lockgate_drift_psi", 0.5, name="toy", feature="x" * 500 + end)
    (family,) = sheet.families()
    (sample,) = family.samples
    assert len(sample.labels["feature"]) == 120
