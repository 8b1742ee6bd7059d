"""What happens in the sample: four pipelines, from 0 (the beginning of what is shown) to 1 (now)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stage:
    """From `start` until the next one. `step`: its number, 0 before the first; `weight`, `mirror`: shares."""

    start: float
    phase: str
    step: int = 0
    kind: str = ""
    text: str = ""
    weight: float = 0.0
    mirror: float = 0.0


@dataclass(frozen=True, slots=True)
class Side:
    """How one variant answers. `latency`: median in seconds; `errors`: share of its requests."""

    version: str
    target: str
    precision: str
    latency: float
    errors: float


@dataclass(frozen=True, slots=True)
class Gate:
    """`limit` is what the candidate must not exceed; `drift` how much its logarithm of evidence grows in the story."""

    metric: str
    stable: float
    candidate: float
    limit: float
    safety: float = 5.0
    harm: float = -2.0
    effect: float | None = None


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    model: str
    rate: float
    """Requests of clients per second."""
    stable: Side
    candidate: Side
    stages: tuple[Stage, ...]
    gates: Mapping[str, Gate]
    steps: int
    during: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """When it was held, paused, or people were asked (`pending`)."""
    features: Mapping[str, float] = field(default_factory=dict)
    """PSI at the end, of each input."""
    ended: Mapping[str, int] = field(default_factory=dict)
    """Rollouts before this one, by their last phase."""

    def stage(self, at: float) -> Stage:
        return next(of for of in reversed(self.stages) if of.start <= at)

    def holds(self, what: str, at: float) -> bool:
        start, end = self.during.get(what, (2.0, 2.0))
        return start <= at < end

    @property
    def closed(self) -> bool:
        return self.stages[-1].phase in ("succeeded", "rolled_back", "failed")


_FLIGHTS = {
    "dep_hour": 0.31,
    "distance": 0.14,
    "wind_speed": 0.12,
    "temp": 0.085,
    "humid": 0.061,
    "visib": 0.048,
    "air_time": 0.036,
    "pressure": 0.03,
    "dew_point": 0.024,
    "precip": 0.019,
    "month": 0.016,
    "origin": 0.011,
    "carrier": 0.004,
    "dest": 0.003,
    "seats": 0.002,
    "year_built": 0.001,
}
_LATENCY = Gate("latency", 14.0, 11.0, 16.8, safety=4.1, harm=-5.0)
_ERRORS = Gate("error_rate", 0.0011, 0.0014, 0.0061, safety=2.1, harm=0.6)


def stories() -> tuple[Story, ...]:
    return _fraud(), _ranking(), _pricing(), _churn()


def _fraud() -> Story:
    """A canary in progress: shadow, two canaries, an approval, and drift that held it for a while."""
    return Story(
        name="fraud",
        model="fraud-detector",
        rate=220.0,
        stable=Side("7", "torch-compile", "fp32", 0.0042, 0.0011),
        candidate=Side("8", "onnxruntime", "int8", 0.0031, 0.0014),
        stages=(
            Stage(0.0, "building"),
            Stage(0.05, "progressing", 1, "shadow", "shadow 100 %", 0.0, 1.0),
            Stage(0.22, "progressing", 2, "canary", "canary 5 %", 0.05),
            Stage(0.45, "progressing", 3, "canary", "canary 25 %", 0.25),
            Stage(0.74, "waiting", 4, "approval", "approval by risk-leads", 0.25),
            Stage(0.88, "progressing", 5, "canary", "canary 50 %", 0.5),
        ),
        gates={
            "agreement": Gate("disagreement", 0.0008, 0.0031, 0.01, safety=3.4, harm=-1.2),
            "errors": _ERRORS,
            "latency": _LATENCY,
            "scores": Gate("prediction_drift", 0.0, 0.021, 0.1, safety=2.7, harm=-2.0),
            "slo": Gate("query", 0.0, 0.011, 0.02, safety=1.6, harm=-3.0),
        },
        steps=5,
        during={"held": (0.57, 0.66), "pending": (0.74, 0.88)},
        features=_FLIGHTS,
        ended={"succeeded": 6, "rolled_back": 2, "failed": 0},
    )


def _ranking() -> Story:
    """An A/B test for which people are asked."""
    return Story(
        name="ranking",
        model="search-ranker",
        rate=410.0,
        stable=Side("31", "aotinductor", "fp16", 0.009, 0.0004),
        candidate=Side("33", "aotinductor", "fp16", 0.0092, 0.0004),
        stages=(
            Stage(0.0, "progressing", 1, "canary", "canary 10 %", 0.1),
            Stage(0.3, "progressing", 2, "ab", "ab 50 %", 0.5),
            Stage(0.8, "waiting", 3, "approval", "approval", 0.5),
        ),
        gates={
            "conversion": Gate("conversion", 0.0412, 0.0431, 0.0412, safety=2.2, harm=-1.0, effect=0.046),
            "errors": Gate("error_rate", 0.0004, 0.0004, 0.0054, safety=4.2, harm=-1.0),
        },
        steps=3,
        during={"paused": (0.5, 0.6), "pending": (0.8, 2.0)},
        features={"query_length": 0.021, "country": 0.012, "device": 0.041, "hour": 0.006},
        ended={"succeeded": 11, "rolled_back": 1, "failed": 0},
    )


def _pricing() -> Story:
    """One that failed its latency gate and was rolled back."""
    return Story(
        name="pricing",
        model="price-quote",
        rate=65.0,
        stable=Side("12", "onnxruntime", "fp32", 0.006, 0.0006),
        candidate=Side("13", "eager", "fp32", 0.011, 0.002),
        stages=(
            Stage(0.0, "progressing", 1, "shadow", "shadow 50 %", 0.0, 0.5),
            Stage(0.35, "progressing", 2, "canary", "canary 10 %", 0.1),
            Stage(0.7, "rolling_back", 2, "canary", "canary 10 %"),
            Stage(0.82, "rolled_back", 2, "canary", "canary 10 %"),
        ),
        gates={
            "errors": Gate("error_rate", 0.0006, 0.002, 0.0056, safety=1.1, harm=0.9),
            "latency": Gate("latency", 18.0, 41.0, 21.6, safety=-4.0, harm=6.5),
        },
        steps=3,
        features={"basket": 0.03, "currency": 0.004, "weekday": 0.002},
        ended={"succeeded": 3, "rolled_back": 3, "failed": 1},
    )


def _churn() -> Story:
    """One that was promoted, and whose inputs drift since."""
    return Story(
        name="churn",
        model="churn-score",
        rate=24.0,
        stable=Side("4", "onnxruntime", "int8", 0.0021, 0.0002),
        candidate=Side("5", "onnxruntime", "int8", 0.002, 0.0002),
        stages=(
            Stage(0.0, "progressing", 2, "canary", "canary 50 %", 0.5),
            Stage(0.2, "promoting", 2, "canary", "canary 50 %", 1.0),
            Stage(0.25, "succeeded", 2, "canary", "canary 50 %", 1.0),
        ),
        gates={"errors": Gate("error_rate", 0.0002, 0.0002, 0.0052, safety=4.6, harm=-1.0)},
        steps=2,
        features={"tenure": 0.42, "plan": 0.17, "region": 0.02},
        ended={"succeeded": 8, "rolled_back": 0, "failed": 0},
    )
