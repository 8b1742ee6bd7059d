"""The three models: today's champion, a better challenger, and one whose preprocessing is wrong.

All of them take one tensor, `features` of data.py, and answer `label` and `probabilities`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from data import CODED, FEATURES, Array, Flights
from sklearn.ensemble import RandomForestClassifier

LONGEST_LEG = 5_000.0
"""Miles; New York to Honolulu, the longest way in the data, is 4,983."""
WRONG_LEG = 2_000.0
"""The mistake: the longest leg in somebody's sample of short hauls. Beyond it the logarithm below is of a negative
number, so a flight to the west coast gets NaN and one to Chicago a plausible answer."""

_SIZES = {"carrier": (32, 4), "origin": (8, 2), "dest": (160, 6)}
"""Codes and dimensions of each embedding; codes beyond are folded onto the last."""
_AT = {name: i for i, name in enumerate(FEATURES)}
_HIDDEN = 64


def train_champion(flights: Flights) -> RandomForestClassifier:
    model = RandomForestClassifier(40, min_samples_leaf=20, max_depth=14, n_jobs=2, random_state=0)
    model.fit(flights.features, flights.late.astype(np.int64))
    return model.set_params(n_jobs=None)  # a pool of threads costs a single row more than its forty trees


class Delay(torch.nn.Module):
    """A small network with its preprocessing inside, so that both are compiled, versioned and served as one."""

    def __init__(self, longest_leg: float = LONGEST_LEG) -> None:
        super().__init__()
        self.longest_leg = longest_leg
        self.embed = torch.nn.ModuleDict({n: torch.nn.Embedding(*size) for n, size in _SIZES.items()})
        numbers = self.numbers(torch.zeros(1, len(FEATURES))).shape[1]
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        width = numbers + sum(dimensions for _, dimensions in _SIZES.values())
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, _HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(_HIDDEN, _HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(_HIDDEN, 1),
        )

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        late = torch.sigmoid(self.logits(features))
        return {"label": (late > 0.5).to(torch.int64).squeeze(1), "probabilities": torch.cat([1 - late, late], dim=1)}

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        numbers = (self.numbers(features) - self.mean) / self.scale
        found: torch.Tensor = self.layers(torch.cat([numbers, *self._embedded(features)], dim=1))
        return found

    def numbers(self, features: torch.Tensor) -> torch.Tensor:
        """What is a quantity, bent so that steps of the same size mean the same."""
        it = {name: features[:, i : i + 1] for name, i in _AT.items()}
        day, week = it["time"] * (torch.pi / 12), it["weekday"] * (2 * torch.pi / 7)
        return torch.cat(
            [
                it["time"],
                torch.sin(day),
                torch.cos(day),
                torch.sin(week),
                torch.cos(week),
                torch.log(1 - it["distance"] / self.longest_leg),
                it["temp"],
                it["dewp"],
                it["humid"],
                torch.sqrt(it["wind_speed"]),
                torch.log1p(100 * it["precip"]),
                it["pressure"],
                torch.log(it["visib"] + 0.1),
            ],
            dim=1,
        )

    def _embedded(self, features: torch.Tensor) -> list[torch.Tensor]:
        return [
            self.embed[name](features[:, _AT[name]].to(torch.int64).clamp(0, _SIZES[name][0] - 1)) for name in CODED
        ]


def train_challenger(flights: Flights, epochs: int = 3, seed: int = 0) -> Delay:
    torch.manual_seed(seed)
    model = Delay()
    x = torch.from_numpy(flights.features)
    y = torch.from_numpy(flights.late.astype(np.float32))[:, None]
    with torch.no_grad():
        numbers = model.numbers(x)
        model.mean.copy_(numbers.mean(0))
        model.scale.copy_(numbers.std(0))
    batch, steps = 1024, -(-len(x) // 1024) * epochs
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            optimiser.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(model.logits(x[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def broken(model: Delay) -> Delay:
    """The same weights behind a wrong scale."""
    wrong = Delay(WRONG_LEG)
    wrong.load_state_dict(model.state_dict())
    return wrong.eval()


def answers(model: Any, features: Array) -> dict[str, Array]:
    """What the model answers, as arrays, whichever kind it is."""
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            return {name: value.numpy() for name, value in model(torch.from_numpy(features)).items()}
    return {"label": model.predict(features), "probabilities": model.predict_proba(features)}


def example(flights: Flights, rows: int = 8) -> Array:
    """Rows to log a model with: two or more, or the batch dimension is frozen. Short hauls only, as tests often are."""
    short = flights.features[flights.features[:, _AT["distance"]] < WRONG_LEG / 2]
    return np.ascontiguousarray(short[:: len(short) // rows][:rows])


def auc(model: Any, flights: Flights) -> float:
    """How well it tells late from punctual flights; those that never arrived are left out."""
    from sklearn.metrics import roc_auc_score

    there = flights.only(~np.isnan(flights.late))
    return float(roc_auc_score(there.late, answers(model, there.features)["probabilities"][:, 1]))
