"""Profiles as values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.judge import compare
from lockgate.monitoring.drift.profile import Profile, profile_of
from lockgate.monitoring.drift.words import Window

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.datetimes(),
    st.lists(st.floats(), max_size=3),
    st.just(object()),
    st.just(dt.timedelta(1)),
)
OF_ONE_KIND = st.one_of(
    *(
        st.lists(st.one_of(st.none(), kind), max_size=40)
        for kind in (st.floats(), st.integers(-(2**40), 2**40), st.text(max_size=8), st.booleans(), st.datetimes())
    ),
    st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), max_size=20),
)
COLUMNS = st.one_of(
    st.lists(ANYTHING, max_size=20),
    OF_ONE_KIND,
    st.builds(lambda n, d: np.full((n, d), np.inf), st.integers(0, 5), st.integers(0, 80)),
    st.just(np.zeros((3, 0))),
    st.just(7),
)


def many(values: Any) -> Any:
    """Enough rows for a verdict."""
    return values * 300 if isinstance(values, list) else np.repeat(values, 300, axis=0) if np.ndim(values) else values


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(COLUMNS, COLUMNS, st.booleans())
def test_no_column_is_an_error_and_every_profile_reads_back(before: Any, now: Any, enough: bool) -> None:  # noqa: FBT001
    before, now = (many(before), many(now)) if enough else (before, now)
    profile = profile_of({"x": before}, {"y": now})
    assert Profile.of_json(profile.to_json()) == profile
    found = compare(profile, Window({"x": now, "z": now}, {"y": before}, rows=500))
    assert found.says
    assert all(feature.says for feature in found.features if feature.drifts)


@settings(max_examples=60, deadline=None)
@given(OF_ONE_KIND, st.integers(0, 2**32 - 1))
def test_the_order_of_rows_is_no_part_of_a_profile(values: list[Any], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(values))
    assert profile_of({"x": values}) == profile_of({"x": [values[i] for i in order]})


@settings(max_examples=60, deadline=None)
@given(OF_ONE_KIND, st.integers(0, 2**32 - 1))
def test_rows_drift_in_no_way_from_themselves_in_another_order(values: list[Any], seed: int) -> None:
    values = values * 50
    order = np.random.default_rng(seed).permutation(len(values))
    found = compare(profile_of({"x": values}), Window({"x": [values[i] for i in order]}, rows=len(values)))
    assert not found.drifted


def test_a_profile_of_twenty_inputs_reads_back(rows: Callable[..., Any]) -> None:
    columns = rows(0, 3000)
    profile = profile_of(columns, {"score": columns["normal 0"]}, source="reference.parquet")
    assert Profile.of_json(profile.to_json()) == profile
    assert len(profile.to_json()) < 30_000
    kinds = {feature.name: feature.kind for feature in profile.features}
    assert kinds["gaps"] == kinds["count"] == kinds["score"] == "number"
    assert kinds["truth"] == kinds["labels 300"] == "category"
    assert next(of for of in profile.features if of.name == "gaps").missing == np.isnan(columns["gaps"]).sum()
    assert [of.role for of in profile.features].count("output") == 1


def test_nothing_of_a_redacted_input_is_kept() -> None:
    profile = profile_of({"email": ["someone@example.com"] * 300, "age": np.arange(300)}, redact=["email", "other"])
    assert b"someone" not in profile.to_json()
    assert [of.name for of in profile.features] == ["age"]
    assert profile.left_out == {"email": "it is redacted: nothing of it is kept"}
    found = compare(profile, Window({"email": ["0f"] * 300, "age": np.arange(300)}, rows=300))
    assert found.notes == ("email: it is redacted: nothing of it is kept",)


def test_text_of_people_is_kept_by_length_kind_and_hash_alone() -> None:
    profile = profile_of({"name": [f"Person Number{i}" for i in range(2000)]})
    (feature,) = profile.features
    assert feature.kind == "text"
    assert sorted(feature.aspects) == ["characters", "length", "words"]
    assert b"Person" not in profile.to_json()
    assert b"person" not in profile.to_json()


def test_short_vectors_are_features_by_element_and_long_ones_a_few_aspects() -> None:
    rng = np.random.default_rng(0)
    profile = profile_of(
        {"short": rng.normal(size=(300, 64)), "long": rng.normal(size=(300, 5, 13)), "one": [[1.0]] * 9}
    )
    names = [of.name for of in profile.features]
    assert names[:2] == ["short[0]", "short[1]"]
    assert names[63:] == ["short[63]", "long", "one"]
    long = profile.features[64]
    assert long.size == 65
    assert list(long.aspects) == ["mean", "spread", "length", *(f"direction {i}" for i in range(1, 9))]


@pytest.mark.parametrize("found", ["", "[]", "{}", '{"format": 1}', "\x00"])
def test_what_is_no_profile_is_a_sentence(found: str) -> None:
    with pytest.raises(NoReference, match="no profile that this version of Lockgate can read"):
        Profile.of_json(found)


def test_a_profile_of_a_later_format_is_not_read() -> None:
    with pytest.raises(NoReference, match="format"):
        Profile.of_json(profile_of({"x": [1, 2]}).to_json().replace(b'"format":2', b'"format":3'))


def test_a_profile_whose_counts_are_not_those_of_its_bins_is_not_read() -> None:
    for values, count in ((np.arange(100.0), b"[10,10,"), (["a"] * 100, b"[100,")):
        found = profile_of({"x": values}).to_json()
        assert Profile.of_json(found)
        with pytest.raises(NoReference, match="the counts of x are not those of its bins"):
            Profile.of_json(found.replace(count, b"[1," + count[1:]))


def test_long_vectors_with_an_element_that_is_no_number_are_missing() -> None:
    values = np.ones((10, 70))
    values[:3, 5] = np.nan
    values[3, 6] = np.inf
    ragged = [[1.0], [1.0, np.nan], [], [np.inf], None] * 2
    long, many = profile_of({"x": values, "y": ragged}).features
    assert (long.kind, long.missing) == ("vector", 4)
    assert (many.kind, many.missing) == ("ragged", 6)
