"""What traffic a plan expects, given or seen, and what each step can prove with it, as JSON values."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lockgate.flows.expected_users import GivenUsers, wanted
from lockgate.flows.home import home
from lockgate.flows.spec import Spec
from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.envoy.bootstrap import latency_buckets
from lockgate.rollout.errors import RolloutError
from lockgate.rollout.gates import Mean
from lockgate.rollout.ports import MetricSource
from lockgate.rollout.spec import AbStep, ShadowStep, Step

if TYPE_CHECKING:  # the judge loads numpy
    from lockgate.rollout.analysis.forecast import GateForecast, StepForecast

DIFFERING = 0.001
"""Assumed share of answers in which equals differ: one hardware's floats are not another's."""
_ERROR_RATE, _P50_MS, _P99_OVER_P50 = 0.001, 5.0, 4.0
_ENOUGH, _SECONDS = 50, 5
"""Requests that tell a rate, and seconds that are waited for them."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a person said of the traffic; None is for the router, or a default, to say. Latencies in milliseconds."""

    rps: float | None = None
    error_rate: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    users: GivenUsers = field(default_factory=GivenUsers)


@dataclass(frozen=True, slots=True)
class Seen:
    """`rps`: of both sides now. `stable`: all that it ended since the router's start."""

    rps: float
    stable: Tally


def listening(address: str) -> bool:
    """Whether anything answers there: asked before the router's parts are imported."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5):
            return True
    except OSError:
        return False


def live(spec: Spec, pause: Callable[[float], None] = time.sleep) -> Seen | str:
    """What the spec's router counts, or why there is nothing to be had of it, as the end of a sentence."""
    from lockgate.rollout.envoy.router import EnvoyRouter
    from lockgate.rollout.envoy.source import EnvoySource

    return seen(EnvoySource(EnvoyRouter(home().router(spec.name), spec.rollout.traffic)), pause)


def seen(source: MetricSource, pause: Callable[[float], None]) -> Seen | str:
    """Two reads a second apart, or a few more where requests are rare."""
    try:
        first, came, waited = source.measure(), 0, 0
        while came < _ENOUGH and waited < _SECONDS:
            pause(1.0)
            now, waited = source.measure(), waited + 1
            came = now.stable.since(first.stable).requests + now.candidate.since(first.candidate).requests
    except RolloutError as error:
        return str(error)
    return Seen(came / waited, now.stable) if came else f"no request came to the router in {waited} s"


def forecast(spec: Spec, given: Given, counted: Seen | None) -> dict[str, Any]:
    """What a person said counts before what was seen, and that before what is assumed."""
    from lockgate.rollout.analysis.forecast import forecast as of

    traffic, assumed = _traffic(spec, given, counted)
    latency = traffic.histogram()
    found, steps = of(spec.rollout, traffic), spec.rollout.without_approvals().steps
    return {
        "traffic": {
            "rps": traffic.rps,
            "error_rate": traffic.error_rate,
            "p50_ms": round(latency.quantile(0.5), 3),
            "p99_ms": round(latency.quantile(0.99), 3),
            "differing": traffic.differing,
            "users_per_day": given.users.per_day,
            "rates": dict(given.users.rates),
            "cvs": dict(given.users.cvs),
            "assumed": assumed,
        },
        "steps": [_step(spec, given.users, *each) for each in zip(steps, found.steps, strict=True)],
        "decides": all(step.decides for step in found.steps),
        "alpha": found.alpha,
        "rolled_back": found.rolled_back,
        "rollouts": found.rollouts,
    }


def _step(spec: Spec, users: GivenUsers, step: Step, found: StepForecast) -> dict[str, Any]:
    return {
        **asdict(found),
        "gates": [_gate(spec, users, step, gate) for gate in found.gates],
        "changes": list(map(str, found.changes)),
        "test": _test(spec, users, step, found),
        "advice": found.advice,
    }


def _gate(spec: Spec, users: GivenUsers, step: Step, found: GateForecast) -> dict[str, Any]:
    gate, said = spec.rollout.gates[found.gate], asdict(found)
    if found.unforeseen and isinstance(gate, Mean) and not isinstance(step, ShadowStep):
        said["unforeseen"] += f"; {wanted(spec, gate.of, users)}"
    return said


def _test(spec: Spec, users: GivenUsers, step: Step, found: StepForecast) -> dict[str, Any] | None:
    """Of an `ab` step; `unforeseen` says why nothing else is, as a sentence."""
    if not isinstance(step, AbStep):
        return None
    ab = step.ab
    begun = {"metric": ab.metric, "allocation": ab.allocation, "on_timeout": ab.on_timeout}
    if found.test is None:
        return {**begun, "unforeseen": f"what users do is not foreseen; {wanted(spec, ab.metric, users)}"}
    return {**asdict(found.test), **begun, "decided": found.test.decided, "unforeseen": ""}


def _traffic(spec: Spec, given: Given, counted: Seen | None) -> tuple[Any, list[str]]:
    """And the names of what was assumed."""
    from lockgate.rollout.analysis.forecast_traffic import Traffic, Users, lognormal, shares_of

    rps = given.rps if given.rps is not None else counted.rps if counted else 0.0
    rate, assumed = given.error_rate, ["differing"]
    if rate is None and counted and counted.stable.requests:
        rate = min(counted.stable.errors / counted.stable.requests, 1.0)
    if rate is None:
        rate = _ERROR_RATE
        assumed.append("error_rate")
    edges = (*latency_buckets().values(), float("inf"))
    if given.p50_ms is None and given.p99_ms is None and counted and counted.stable.latency.total:
        edges, shares = counted.stable.latency.edges, shares_of(counted.stable.latency)
    else:
        p50, p99 = _quantiles(given, counted.stable.latency if counted else Histogram(), assumed)
        shares = lognormal(p50, p99, edges)
    captured, said = spec.monitoring.capture.sample / 100, given.users
    users = Users(said.per_day, said.typical) if said.per_day is not None else None
    return Traffic(rps, rate, edges, shares, DIFFERING, captured, users), assumed


def _quantiles(given: Given, latency: Histogram, assumed: list[str]) -> tuple[float, float]:
    p50, p99 = given.p50_ms, given.p99_ms
    if p50 is None:
        p50 = latency.quantile(0.5) or (p99 / _P99_OVER_P50 if p99 else _P50_MS)
        if not latency.total:
            assumed.append("p50")
    if p99 is None:
        p99 = latency.quantile(0.99) or p50 * _P99_OVER_P50
        if not latency.total:
            assumed.append("p99")
    return p50, max(p50, p99)
