"""From rounds to figures: medians over the rounds, ratios within each round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .load import Answered
from .measure import Closed, Limit, Measured, Plan
from .ours import DIRECT, THROUGH

Figures = dict[str, Any]


def of_model(found: Sequence[Measured], limit: Limit, plan: Plan) -> Figures:
    """What is published of one model. Sides are in the order of their requests a second."""
    sides = {one.side.name: _of_side(one, plan) for one in found}
    order = sorted(sides, key=lambda name: -(sides[name]["best"] or {"rps": 0})["rps"])
    return {
        "bound_ms": plan.bound,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "form": plan.form,
        "engine_rps": _rounded(limit.engine),
        "engine_and_codec_rps": _rounded(limit.json),
        "sides": {name: sides[name] for name in order},
        "summary": _summary({one.side.name: one for one in found if not one.lost}, sides, limit, plan),
    }


def _of_side(one: Measured, plan: Plan) -> Figures:
    closed = {
        str(c): {**_medians([run.load for run in runs]), "cpu_us": _median(runs, lambda run: run.cpu)}
        | ({"router_cpu_us": _median(runs, lambda run: run.router_cpu)} if one.side.router else {})
        for c, runs in one.closed.items()
        if runs  # it may have been lost in the first round
    }
    rates = {f"{rate:g}": _of_rate(runs, plan) for rate, runs in one.opened.items()}
    best = _best(closed, plan.bound)
    return {
        "title": one.side.title,
        "model_server": one.side.server and one.side.name not in (THROUGH, DIRECT),
        "ready_s": round(one.side.started, 2) if one.side.started is not None else None,
        "memory_mib": round(one.memory / 2**20),
        "closed": closed,
        "best": best,
        "open": rates,
        "highest_rate_held": max((float(rate) for rate, value in rates.items() if value["held"]), default=0.0),
        "lost": one.lost,
    }


def _best(closed: Mapping[str, Figures], bound: float) -> Figures | None:
    """The most requests a second within the bound; of a side that is never within it, what is nearest to it."""
    within = [c for c, value in closed.items() if value["p99_ms"] <= bound]
    if within:
        at = max(within, key=lambda c: closed[c]["rps"])
    elif closed:
        at = min(closed, key=lambda c: closed[c]["p99_ms"])
    else:
        return None
    return {"connections": int(at), "within": bool(within), **closed[at]}


def _of_rate(runs: Mapping[int, Answered], plan: Plan) -> Figures:
    """Over all rounds: one that did not come to this rate was worse than all that did. None: most did not."""
    missed = [Answered(0, plan.seconds, 0, 0, math.inf, math.inf)] * (plan.rounds - len(runs))
    found = {key: value if math.isfinite(value) else None for key, value in _medians([*runs.values(), *missed]).items()}
    return {**found, "held": _held(runs, plan)}


def _held(runs: Mapping[int, Answered], plan: Plan) -> bool:
    """In most rounds. A rate that a round did not come to was not held in it."""
    return sum(run.held(plan.bound) for run in runs.values()) * 2 > plan.rounds


def _summary(runs: Mapping[str, Measured], sides: Mapping[str, Figures], limit: Limit, plan: Plan) -> Figures:
    best = _best_peer({name: side for name, side in sides.items() if name in runs})
    found: Figures = {"best_peer": best}
    if DIRECT in runs and sides[DIRECT]["best"]:
        at = sides[DIRECT]["best"]["connections"]
        found["cpu_us_per_request"] = sides[DIRECT]["best"]["cpu_us"]
        loads = [run.load.rps for run in runs[DIRECT].closed[at]]
        found["vs_engine_limit"] = _ratio(loads, limit.engine)
        found["vs_engine_and_codec_limit"] = _ratio(loads, limit.json)
    for name in (THROUGH, DIRECT):
        if best and name in runs and sides[name]["best"]:
            suffix = "" if name == THROUGH else "_direct"
            found[f"rps_vs_best_peer{suffix}"] = _ratio(_rps(runs, sides, name), _rps(runs, sides, best))
            rate, ratio = _p99(runs[name], runs[best], plan)
            found |= {f"p99_vs_best_peer{suffix}": ratio, f"p99_at_rate{suffix}": rate}
            found[f"open_rate_vs_best_peer{suffix}"] = _open_rates(sides, name)
    return found


def _best_peer(sides: Mapping[str, Figures]) -> str | None:
    """The model server with the most requests a second within the bound; where none is, that with the most at all."""
    servers = {name: side["best"] for name, side in sides.items() if side["model_server"] and side["best"]}
    return max(servers, key=lambda name: (servers[name]["within"], servers[name]["rps"]), default=None)


def _rps(runs: Mapping[str, Measured], sides: Mapping[str, Figures], name: str) -> list[float]:
    return [run.load.rps for run in runs[name].closed[sides[name]["best"]["connections"]]]


def _p99(ours: Measured, theirs: Measured, plan: Plan) -> tuple[float | None, float | None]:
    """At the highest rate that both hold, over the rounds in which both came to it; the rate and the ratio."""
    held = [rate for rate in plan.rates if all(_held(one.opened.get(rate, {}), plan) for one in (ours, theirs))]
    if not held:
        return None, None
    at = held[-1]
    a, b = ours.opened[at], theirs.opened[at]
    return at, round(statistics.median(a[n].p99 / b[n].p99 for n in a.keys() & b.keys()), 3)


def _open_rates(sides: Mapping[str, Figures], name: str) -> float | None:
    """Highest rate held over the highest that any model server holds."""
    most = max((side["highest_rate_held"] for side in sides.values() if side["model_server"]), default=0.0)
    return round(sides[name]["highest_rate_held"] / most, 3) if most else None


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of each round's own: the machine's speed changes from round to round."""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=False) if b]
    return round(statistics.median(a / b for a, b in pairs), 3) if pairs else None


def _medians(runs: Sequence[Answered]) -> Figures:
    return {
        "rps": round(statistics.median(run.rps for run in runs), 1),
        "p50_ms": round(statistics.median(run.p50 for run in runs), 3),
        "p99_ms": round(statistics.median(run.p99 for run in runs), 3),
    }


def _median(runs: Sequence[Closed], of: Callable[[Closed], float]) -> float:
    return round(statistics.median(map(of, runs)), 1)


def _rounded(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 1) if values else None
