"""What must hold when a rollout is over, whatever was killed while it lasted. Each breach is a sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing

import psutil

from benchmarks.chaos.stage import NAME, Stage
from lockgate.rollout.errors import RouterError
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.verify import verify
from lockgate.rollout.words import Endpoint, Phase


def broken(stage: Stage, rollout: Rollout, allowed: Collection[str], drivers: Collection[int]) -> list[str]:
    """`allowed`: phases in which it may have ended. `drivers`: process ids that are not Lockgate's."""
    with closing(Store(stage.home.store_url)) as store:
        state = store.last(rollout.id).state
        found = [*_ended(store, rollout, allowed), *_log(store, rollout)]
    side = "candidate" if state.phase is Phase.SUCCEEDED else "stable"
    found += _alias(stage, rollout.subject[side])
    found += _plane(stage, state.facts.get(f"{side}_bento", ""), drivers)
    return [f"{rollout.id}: {sentence}" for sentence in found]


def _ended(store: Store, rollout: Rollout, allowed: Collection[str]) -> Iterator[str]:
    state = store.last(rollout.id).state
    if str(state.phase) not in allowed:
        yield f"it ended {state.phase} ({state.reason}), and may only end {' or '.join(sorted(allowed))}"
    if store.rollout(rollout.id).closed_at is None:
        yield "it is over and not closed"


def _log(store: Store, rollout: Rollout) -> Iterator[str]:
    """The event log folds to the state, and every verdict follows from the looks in it."""
    for check in verify(rollout.spec, store.events(rollout.id), store.looks(rollout.id)):
        for wrong in check.wrong:
            yield f"event {check.sequence} does not hold: {wrong}"


def _alias(stage: Stage, version: str) -> Iterator[str]:
    if (champions := stage.champions()) != [version]:
        yield f"@champion names {champions or 'nothing'}, and version {version} won"


def _plane(stage: Stage, bento: str, drivers: Collection[int]) -> Iterator[str]:
    """The routes are those of the state, and nothing runs but what they need."""
    running = list(stage.platform().replicas())
    stage.ports.update(replica.port for replica in running)
    if bento and any(replica.bento != bento for replica in running):
        yield f"replicas of {sorted({r.bento for r in running})} run, and {bento} is stable"
    try:
        served = stage.router().applied()
    except RouterError as error:
        yield f"the router does not answer: {error}"
        return
    if served.weight or served.mirror or served.candidate:
        yield f"routes are left of the rollout: {served}"
    endpoints = {Endpoint(replica.host, replica.port) for replica in running if replica.ready}
    if not set(served.stable) & endpoints:
        yield f"the router sends to {[str(e) for e in served.stable]}, and {[str(e) for e in endpoints]} run"
    known = {r.pid for r in running}
    for process in stage.processes():
        yield from _unknown(process, known, drivers)


def _unknown(process: psutil.Process, known: Collection[int], drivers: Collection[int]) -> Iterator[str]:
    """A process that is neither the router, a replica (or its worker), nor one of ours."""
    try:
        family = {process.pid, *(parent.pid for parent in process.parents())}
        if process.name() != "envoy" and not family & {*known, *drivers}:
            yield f"a process is left: {process.pid} {' '.join(process.cmdline())[:120]}"
    except psutil.NoSuchProcess:
        return


def left(stage: Stage, drivers: Collection[int] = ()) -> list[str]:
    """After `lockgate down`: no process, and nobody listens any more. `drivers`: as in `broken`."""
    found = [f"{p.pid} {' '.join(p.cmdline())[:120]} still runs" for p in stage.processes() if p.pid not in drivers]
    listen = {int(stage.rollout["traffic"][name].rpartition(":")[2]) for name in ("listen", "metrics")}
    ports = stage.ports | listen
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    taken = {one.laddr.port for one in listening if one.laddr.port in ports and not _of_another(stage, one.pid)}
    found += [f"something still listens on port {port}" for port in sorted(taken)]
    return [f"{NAME}: {one}" for one in found]


def _of_another(stage: Stage, pid: int | None) -> bool:
    """A port that was given back may have been given to somebody else since.

    What Lockgate starts inherits its LOCKGATE_HOME, or has no environment at all, like Envoy.
    """
    try:
        environment = psutil.Process(pid).environ() if pid else {}
    except psutil.Error:
        return False
    return bool(environment) and environment.get("LOCKGATE_HOME") != str(stage.home.root)
