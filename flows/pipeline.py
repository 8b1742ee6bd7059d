"""The three Prefect flows: `release`, `drive`, `sweep`. Thin: each calls the function that `lockgate run` calls.

Prefect runs, schedules and shows. It owns neither the state nor the exclusion nor the way back: those are in our
store. Flows are async because Prefect's sync flows wait a second for their heartbeat at the end. What is shown in
Prefect goes through the outbox, so that a dead or slow server never delays a tick.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State, StateType
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType

from lockgate.flows import wanted
from lockgate.flows.drift_check import check
from lockgate.flows.drive import begin_shadow
from lockgate.flows.errors import NothingToDo
from lockgate.flows.evidence import Evidence
from lockgate.flows.home import home
from lockgate.flows.lease import owner
from lockgate.flows.notify.notifier import Notifier
from lockgate.flows.outbox import Outbox
from lockgate.flows.release import release
from lockgate.flows.releasing import is_releasing, releasing
from lockgate.flows.resume import resume
from lockgate.flows.spec import Spec, load
from lockgate.flows.sweep import challenger, name_in, still_new, undriven
from lockgate.flows.world import world
from lockgate.monitoring.drift.errors import NoReference
from lockgate.rollout.store import opened

_LOG = logging.getLogger("lockgate.pipeline")
_RETRY_SECONDS = 60
"""What a run has failed to start is started again after this time, and not before."""
_UNDERWAY = 10
"""Such times that a run which waits to begin keeps others for the same from being started."""
_WITHIN = 30.0
"""Seconds for asking Prefect for a sweep or a release."""
_ASK_AGAIN = 0.1
"""Seconds until the lock of sweeps is asked for again."""


@flow(name="release", flow_run_name="release {spec}")
async def release_flow(spec: str) -> str:
    """Resolve, compile, prove parity, package, serve both sides; then start the driver. The rollout's id."""
    rollout_id = await asyncio.to_thread(_release, spec)
    async with _alone():  # with the sweeps, which see the same rollout
        await _start_driver(rollout_id, await asyncio.to_thread(_sequence, rollout_id))
    return rollout_id


@flow(name="drive", flow_run_name="drive {rollout}")
async def drive_flow(rollout: str) -> str:
    """Drive one rollout to its end. The phase it ended in."""
    return await asyncio.to_thread(_drive, rollout)


@flow(name="sweep")
async def sweep_flow(specs: list[str]) -> int:
    """Start drivers for rollouts that nobody drives, and releases for new challengers. How many were started.

    Sweeps come on schedule and from webhooks, also at the same time: each sees what the one before has started. None
    waits for a registry that hangs while another one asks it.
    """
    async with _alone():
        begun = 0
        for rollout_id, sequence in await asyncio.to_thread(_undriven):
            begun += await _start_driver(rollout_id, sequence)
    found = await asyncio.to_thread(_challengers, specs, _LOG.warning)
    return begun + await _release_each(found)


@flow(name="drift", flow_run_name="drift {spec}")
async def drift_flow(spec: str) -> str:
    """Compare the live inputs of a pipeline with the training data. What was found, in a sentence."""
    return await asyncio.to_thread(_look_at_inputs, spec)


def notice(specs: list[str], tried: dict[str, str]) -> int:
    """Start releases for new challengers, as a sweep does, in this process. How many were started.

    A sweep is a process of Prefect's, which takes seconds to start: it comes on schedule, and this every other second.
    `tried`: the challenger of each spec that was asked for before. A release that failed is left to the sweeps.
    """
    found = [(spec, key) for spec, key in _challengers(specs, _LOG.debug) if tried.get(spec) != key]  # sweeps warn
    if not found:
        return 0
    try:
        begun = asyncio.run(asyncio.wait_for(_release_each(found), _WITHIN))
    except ObjectNotFound:  # the runner, which begins at the same time, registers the deployments in its first seconds
        _LOG.debug("the deployments are not registered yet")
        return 0
    tried.update(found)
    return begun


async def _release_each(found: list[tuple[str, str]]) -> int:
    if not found:
        return 0
    async with _alone():
        left = await asyncio.to_thread(_left, found)
        return sum([await start_once("release/release", {"spec": spec}, key, time.time()) for spec, key in left])


def sweep_now(specs: list[str]) -> None:
    """Ask for a sweep of some of the specs, beside those on schedule."""
    asking = _start("sweep/sweep", {"specs": specs}, f"now:{time.time_ns()}")
    asyncio.run(asyncio.wait_for(asking, _WITHIN))


async def _start_driver(rollout_id: str, sequence: int) -> bool:
    """Of the rollout as it is after the event `sequence`; one that goes on and is left again gets another."""
    return await start_once("drive/drive", {"rollout": rollout_id}, f"{rollout_id}:{sequence}", time.time())


async def start_once(deployment: str, parameters: dict[str, Any], key: str, now: float) -> bool:
    """Start a run, unless one with this `key` was started within a minute, or has not begun yet. Whether it did."""
    minute = int(now // _RETRY_SECONDS)
    if await _underway([f"{key}:{minute - back}" for back in range(_UNDERWAY)], now):
        return False
    await _start(deployment, parameters, f"{key}:{minute}")
    return True


async def _underway(keys: list[str], now: float) -> bool:
    """Whether a run with one of the keys waits, or began a moment ago: a minute that ends in between makes no second.

    One that runs on says so itself, a driver by the rollout's lease and a release by its lock. In Prefect a run goes on
    for ever whose process was killed together with the runner.
    """
    living = [state for state in StateType if state not in _OVER]
    sought = filters.FlowRunFilter(
        idempotency_key=filters.FlowRunFilterIdempotencyKey(any_=keys),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=living)),
    )
    async with get_client() as client:
        found = await client.read_flow_runs(flow_run_filter=sought)
    return any(_waits(run.state, now) for run in found if run.state)


def _waits(state: State, now: float) -> bool:
    """For a runner, or it has no lease or lock yet: its process takes seconds to start."""
    return state.type is StateType.SCHEDULED or abs(now - state.timestamp.timestamp()) < _RETRY_SECONDS


_OVER = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED)


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Asked for again and again: who gives up waiting in a thread would get the lock later, and keep it."""
    lock = os.open(home().root, os.O_RDONLY)
    try:
        while not _locked(lock):  # noqa: ASYNC110 - by another process, which tells nobody
            await asyncio.sleep(_ASK_AGAIN)
        yield
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _start(deployment: str, parameters: dict[str, Any], key: str) -> None:
    await arun_deployment(deployment, parameters=parameters, timeout=0, idempotency_key=key, as_subflow=False)


def _release(spec: str) -> str:
    asked = load(Path(spec))
    with releasing(home(), asked.name), world(asked) as it, Notifier(it.store, it.spec, _page()):
        if wanted.stopped(it.home, it.spec.name):
            raise NothingToDo(f"{it.spec.name} was stopped with `lockgate down` since this was asked for")
        me = owner()
        rollout = release(it, me, _LOG.info)
        try:
            begin_shadow(it, rollout, me)
        finally:
            it.store.release(rollout.id, me)  # the driver is another process, perhaps on another host
        return rollout.id


def _drive(rollout_id: str) -> str:
    with opened(home().store_url) as store, Outbox() as outbox:
        rollout = store.rollout(rollout_id)
        watch = Evidence(store, rollout, outbox, os.environ.get("MLFLOW_TRACKING_URI", ""))
        with Notifier(store, Spec.of(dict(rollout.document)), _page()) as notifier:
            return str(resume(rollout, _LOG.info, notifier.beside(watch), outbox).phase)


def _look_at_inputs(path: str) -> str:
    from lockgate.registry.mlflow_registry import MlflowRegistry

    spec, where = load(Path(path)), home()
    try:
        found = check(spec, where, MlflowRegistry(where.models), _LOG.warning)
    except NoReference as reason:
        return f"nothing to compare with: {reason}"
    return found.comparison.says if found else "somebody is looking at these inputs already"


def _page() -> str:
    """Of this flow run, in Prefect's user interface; empty where there is none."""
    from prefect.runtime import flow_run

    url = flow_run.ui_url or ""
    return url if url.startswith("http") else ""


def _undriven() -> list[tuple[str, int]]:
    with opened(home().store_url) as store:
        return [(r.id, store.last(r.id).sequence) for r in undriven(store, home())]


def _sequence(rollout_id: str) -> int:
    with opened(home().store_url) as store:
        return store.last(rollout_id).sequence


def _challengers(specs: list[str], say: Callable[..., object] = _LOG.warning) -> list[tuple[str, str]]:
    """Those that nobody has rolled out. A spec that is broken, or whose registry does not answer, hides no other."""
    found = []
    for spec in specs:
        try:
            with world(load(Path(spec))) as it:
                if key := challenger(it):
                    found.append((spec, key))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others are looked at
            say("no challenger of %s is found until this is mended: %s", spec, error)
    return found


def _left(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that nobody has begun with since: while one registry hangs, what another one said becomes old."""
    where = home()
    with opened(where.store_url) as store:
        return [(spec, key) for spec, key in found if still_new(store, key) and not is_releasing(where, name_in(key))]


def deployments(specs: list[Path], every: float) -> list[Any]:
    """The deployments that `lockgate serve` registers. `every`: seconds between two sweeps."""
    paths = [str(p.absolute()) for p in specs]
    how: dict[str, Any] = {"tags": ["lockgate"], "entrypoint_type": EntrypointType.MODULE_PATH}
    return [
        release_flow.to_deployment("release", **how),
        drive_flow.to_deployment("drive", **how),
        sweep_flow.to_deployment("sweep", interval=every, parameters={"specs": paths}, **how),
        *(_drift_of(path, how) for path in paths if not load(Path(path)).service.external),
    ]


def _drift_of(path: str, how: dict[str, Any]) -> Any:
    """Of one spec: each has its own pace. A look that is due while one is under way is not made up for."""
    spec = load(Path(path))
    every = spec.monitoring.drift.every
    once = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    return drift_flow.to_deployment(spec.name, interval=every, parameters={"spec": path}, concurrency_limit=once, **how)
