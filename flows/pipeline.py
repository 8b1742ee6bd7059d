"""The three Prefect flows: `release`, `drive`, `sweep`. Thin: each calls the function that `lockgate run` calls.

Prefect runs, schedules and shows. It owns neither the state nor the exclusion nor the way back: those are in our
store. Flows are async because Prefect's sync flows wait a second for their heartbeat at the end. What is shown in
Prefect goes through the outbox, so that a dead or slow server never delays a tick.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.deployments import arun_deployment
from prefect.types.entrypoint import EntrypointType

from lockgate.flows.evidence import Evidence
from lockgate.flows.home import home
from lockgate.flows.outbox import Outbox
from lockgate.flows.release import owner, release
from lockgate.flows.resume import resume
from lockgate.flows.spec import load
from lockgate.flows.sweep import challenger, undriven
from lockgate.flows.world import world
from lockgate.rollout.store import opened

_LOG = logging.getLogger("lockgate.pipeline")
_RETRY_SECONDS = 60
"""Two sweeps within this time start the same driver, or the same release, once."""


@flow(name="release", flow_run_name="release {spec}")
async def release_flow(spec: str) -> str:
    """Resolve, compile, prove parity, package, serve both sides; then start the driver. The rollout's id."""
    rollout_id = await asyncio.to_thread(_release, spec)
    await _start("drive/drive", {"rollout": rollout_id}, f"{rollout_id}:release")
    return rollout_id


@flow(name="drive", flow_run_name="drive {rollout}")
async def drive_flow(rollout: str) -> str:
    """Drive one rollout to its end. The phase it ended in."""
    return await asyncio.to_thread(_drive, rollout)


@flow(name="sweep")
async def sweep_flow(specs: list[str]) -> int:
    """Start drivers for rollouts that nobody drives, and releases for new challengers. How many were started."""
    rollouts = await asyncio.to_thread(_undriven)
    for rollout_id, sequence in rollouts:
        await _start("drive/drive", {"rollout": rollout_id}, f"{rollout_id}:{sequence}:{_now()}")
    challengers = await asyncio.to_thread(_challengers, specs)
    for spec, key in challengers:
        await _start("release/release", {"spec": spec}, f"{key}:{_now()}")
    return len(rollouts) + len(challengers)


def _now() -> int:
    return int(time.time() // _RETRY_SECONDS)


async def _start(deployment: str, parameters: dict[str, Any], key: str) -> None:
    await arun_deployment(deployment, parameters=parameters, timeout=0, idempotency_key=key, as_subflow=False)


def _release(spec: str) -> str:
    with world(load(Path(spec))) as it:
        me = owner()
        rollout = release(it, me, _LOG.info)
        it.store.release(rollout.id, me)  # the driver is another process, perhaps on another host
        return rollout.id


def _drive(rollout_id: str) -> str:
    with opened(home().store_url) as store, Outbox() as outbox:
        rollout = store.rollout(rollout_id)
        watch = Evidence(store, rollout, outbox, os.environ.get("MLFLOW_TRACKING_URI", ""))
        return str(resume(rollout, _LOG.info, watch, outbox).phase)


def _undriven() -> list[tuple[str, int]]:
    with opened(home().store_url) as store:
        return [(r.id, store.last(r.id).sequence) for r in undriven(store)]


def _challengers(specs: list[str]) -> list[tuple[str, str]]:
    found = []
    for spec in specs:
        with world(load(Path(spec))) as it:
            if key := challenger(it):
                found.append((spec, key))
    return found


def deployments(specs: list[Path], every: float) -> list[Any]:
    """The deployments that `lockgate serve` registers. `every`: seconds between two sweeps."""
    paths = [str(p.absolute()) for p in specs]
    how: dict[str, Any] = {"tags": ["lockgate"], "entrypoint_type": EntrypointType.MODULE_PATH}
    return [
        release_flow.to_deployment("release", **how),
        drive_flow.to_deployment("drive", **how),
        sweep_flow.to_deployment("sweep", interval=every, parameters={"specs": paths}, **how),
    ]
