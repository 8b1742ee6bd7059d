"""The demo's data and models: nothing leaks, the better one is better, and the broken one breaks where it should."""

from __future__ import annotations

from typing import Any

import data
import models
import numpy as np
import pytest


@pytest.fixture(scope="module")
def flights() -> data.Flights:
    return data.load()


@pytest.fixture(scope="module")
def challenger(flights: data.Flights) -> Any:
    return models.train_challenger(flights.of(data.CHALLENGER_MONTHS), epochs=1)


@pytest.fixture(scope="module")
def live(flights: data.Flights) -> data.Flights:
    return flights.live().only(np.arange(0, 120_000, 15))


def test_what_is_not_known_before_the_flight_leaves_is_not_read() -> None:
    known_later = {"dep_time", "dep_delay", "arr_time", "air_time"}
    assert known_later.isdisjoint(data._SCHEDULE)
    assert "arr_delay" not in data._SCHEDULE
    assert len(data.FEATURES) == 13


def test_every_feature_is_there_and_in_the_order_of_the_schedule(flights: data.Flights) -> None:
    assert flights.features.shape == (336_776, 13)
    assert flights.features.dtype == np.float32
    assert np.isfinite(flights.features).all()
    assert (np.diff(flights.month) >= 0).all()
    assert 0.2 < np.nanmean(flights.late) < 0.3


def test_the_codes_of_names_come_from_the_champions_months_alone(flights: data.Flights) -> None:
    dest = data.FEATURES.index("dest")
    assert flights.of(data.CHAMPION_MONTHS).features[:, dest].min() == 1
    assert (flights.features[:, dest] == 0).any()  # a destination that was new in summer


def test_reading_twice_gives_the_same(flights: data.Flights) -> None:
    assert np.array_equal(data.load().features, flights.features)


def test_the_challenger_is_better_on_the_flights_to_come(
    flights: data.Flights, challenger: Any, live: data.Flights
) -> None:
    champion = models.train_champion(flights.of(data.CHAMPION_MONTHS).only(np.arange(0, 70_000, 4)))
    assert models.auc(challenger, live) > models.auc(champion, live) + 0.01


def test_the_broken_one_answers_its_example_and_not_a_share_of_live_flights(
    flights: data.Flights, challenger: Any, live: data.Flights
) -> None:
    wrong = models.broken(challenger)
    example = models.example(flights.of(data.CHALLENGER_MONTHS))
    assert len(example) >= 2
    assert np.isfinite(models.answers(wrong, example)["probabilities"]).all()
    assert np.isfinite(models.answers(challenger, live.features)["probabilities"]).all()
    unanswered = np.isnan(models.answers(wrong, live.features)["probabilities"]).any(axis=1).mean()
    assert 0.05 < unanswered < 0.30
