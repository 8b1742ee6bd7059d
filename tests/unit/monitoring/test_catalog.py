"""The catalog of series: one language for all who show something and all who draw it."""

from __future__ import annotations

import re

import pytest

from lockgate.monitoring import catalog
from lockgate.monitoring.catalog import Series
from lockgate.rollout.words import Outcome, Phase

EVERY = list(catalog.CATALOG.values())
by_name = pytest.mark.parametrize("series", EVERY, ids=lambda series: series.name)


@by_name
def test_a_name_says_what_it_is(series: Series) -> None:
    renamed = series.name in {"lockgate_time_to_first_token_seconds", "lockgate_output_tokens_total"}
    replica = "lockgate_" if renamed else "lockgate_service_"  # the others count servers of language models
    prefixes = {"exporter": "lockgate_", "replica": replica, "envoy": "envoy_", "rule": "lockgate:"}
    assert series.name.startswith(prefixes[series.source])
    assert re.fullmatch(r"[a-z_:][a-z0-9_:]*", series.name)
    if series.source in {"exporter", "replica"}:
        assert (series.kind == "counter") == series.name.endswith("_total")
        if series.unit == "unix seconds":
            assert series.name.endswith("_timestamp_seconds")
        if series.unit == "0 to 1" and series.kind == "gauge":
            assert series.name.endswith("_ratio")


@by_name
def test_everything_but_the_exporter_s_own_is_of_a_pipeline(series: Series) -> None:
    own = series.name == "lockgate_store_up" or series.name.startswith("lockgate_exporter_")
    own |= series.name.startswith("lockgate_gpu_") and "process" not in series.name  # of the machine
    assert ("name" in series.labels) != own
    assert len(set(series.labels)) == len(series.labels)


@by_name
def test_it_is_explained_in_a_sentence(series: Series) -> None:
    assert not series.help[0].islower()
    assert series.help.endswith(".")
    assert "|" not in series.help
    assert series.unit


def test_nothing_is_there_twice() -> None:
    samples = [name for series in EVERY for name in series.samples]
    assert len(set(samples)) == len(samples)


def test_its_words_are_those_of_the_rollout() -> None:
    assert set(catalog.OUTCOMES) == {str(outcome) for outcome in Outcome}
    assert set(catalog.PHASES) == {str(phase) for phase in Phase}


def test_a_histogram_is_kept_as_three_series() -> None:
    found = catalog.CATALOG["lockgate_service_request_seconds"].samples
    assert found == tuple(f"lockgate_service_request_seconds_{part}" for part in ("bucket", "sum", "count"))
