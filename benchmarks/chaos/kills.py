"""Requests through real rollouts of real bentos, whose candidate is killed whenever it answers half of them.

Everything is what people run: `lockgate up`, `run`, `verify` and `down`, with MLflow, Envoy and `bentoml serve`.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil
from rich.console import Console

from benchmarks.chaos.clients import Clients
from benchmarks.chaos.invariants import broken, left
from benchmarks.chaos.stage import NAME, Stage, opened
from benchmarks.chaos.strikes import version_of
from lockgate.rollout.words import Phase
from lockgate.services import processes

GOOD = ("1", "2", "4")
SPEC: dict[str, Any] = {
    "steps": [
        {"shadow": {"percent": 100, "hold": {"min_requests": 300}, "timeout": "120s"}},
        {"canary": {"weight": 50, "hold": {"min_requests": 2500}, "timeout": "180s"}},
    ],
    "gates": {"errors": {"metric": "error_rate", "margin": "3%"}},
}
_HALF = 1
"""The step in which the candidate answers half of the requests."""
_BEFORE = 0.5
"""Seconds at half before it is killed."""
_OVER = {str(phase) for phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)}
_SETTLE = 1.0


@dataclass
class Kills:
    """What was found. `answered_by`: requests by version."""

    kills: int = 0
    processes: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)


def run(requests: int, kills: int, rate: float, say: Console) -> dict[str, Any]:
    """The last line. Rollouts go on until there were as many requests, and as many kills."""
    began, found = time.monotonic(), Kills()
    with opened(SPEC, stand_in=False) as stage:
        say.print("building the bentos and serving stable")
        stage.must("up", str(stage.spec))
        with Clients(stage.url, rate) as clients:
            clients.until_answered(10)
            while clients.asked < requests or found.kills < kills:
                _rollout(stage, clients, found, found.kills < kills)
                _tell(say, found, clients)
        stage.must("down", str(stage.spec))
        found.breaches += left(stage)
    for breach in found.breaches:
        say.print(f"[red]{breach}[/red]")
    for failure in clients.failures:
        say.print(f"[red]a request failed: {failure['kind']} {failure['what']}[/red]")
    return {
        "requests": clients.asked,
        "kills": found.kills,
        "processes_killed": found.processes,
        "client_failures": len(clients.failures),
        "answered": clients.answered,
        "answered_by_version": dict(sorted(clients.versions.items())),
        "broken_invariants": len(found.breaches),
        "rollouts": found.ended.total(),
        "promoted": found.ended[str(Phase.SUCCEEDED)],
        "rolled_back": found.ended[str(Phase.ROLLED_BACK)],
        "slowest_answer_s": max((seconds for _, seconds in clients.slowest), default=0.0),
        "rate": rate,
        "seconds": round(time.monotonic() - began, 1),
    }


def _tell(say: Console, found: Kills, clients: Clients) -> None:
    say.print(
        f"{clients.asked:,} requests, {len(clients.failures)} failed; {found.kills} kills; "
        + ", ".join(f"{count} {phase.replace('_', ' ')}" for phase, count in sorted(found.ended.items()))
    )


def _rollout(stage: Stage, clients: Clients, found: Kills, kill: bool) -> None:  # noqa: FBT001 - of one call
    """One `lockgate run`; with its candidate killed at half where it is to be."""
    champion = stage.champions()[0]
    challenger = next(v for v in GOOD[GOOD.index(champion) + 1 :] + GOOD if v != champion)
    stage.alias("challenger", challenger)
    began = time.time()
    driver = stage.command("run", str(stage.spec))
    if kill and _until_half(stage, driver, began):
        time.sleep(_BEFORE)
        found.processes += _kill(stage, challenger)
        found.kills += 1
    driver.wait()
    time.sleep(_SETTLE)
    with stage.store() as store:
        rollout = next(r for r in store.rollouts(NAME) if r.opened_at >= began)
        found.ended[str(store.last(rollout.id).state.phase)] += 1
    found.breaches += broken(stage, rollout, _OVER, ())
    verified = stage.command("verify", rollout.id).wait()
    if verified:
        found.breaches.append(f"{rollout.id}: `lockgate verify` ended with code {verified}")
    clients.until_answered(50)


def _until_half(stage: Stage, driver: subprocess.Popen[str], began: float) -> bool:
    """Whether the candidate came to answer half of the requests."""
    with stage.store() as store:
        while driver.poll() is None:
            mine = [r for r in store.rollouts(NAME) if r.opened_at >= began]
            state = store.last(mine[0].id).state if mine else None
            if state and state.phase is Phase.PROGRESSING and state.step == _HALF and stage.router().applied().weight:
                return True
            time.sleep(0.05)
    return False


def _kill(stage: Stage, version: str) -> int:
    """`kill -9` every process of the replicas that serve this version, BentoML's workers too; how many."""
    ids = [r.id for r in stage.platform().replicas() if version_of(r.bento, stage.root / "bentoml") == version]
    found = processes.of(ids) if ids else []
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(found)
