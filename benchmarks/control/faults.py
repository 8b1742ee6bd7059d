"""From a fault of the candidate to a weight of 0: real Envoy, real clients, a driver at its real pace.

The replicas are plain Python in place of bentos, so that a fault begins the moment it is asked for. `errors`: every
answer is a 500 from then on; `killed`: all its processes are (`kill -9`); `hangs`: they are stopped (SIGSTOP).
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from collections.abc import Iterator, Sequence

from rich.console import Console

from benchmarks.chaos.clients import Clients
from benchmarks.chaos.orders import Drivers
from benchmarks.chaos.stage import NAME, Stage, opened, until
from lockgate.flows.command import record
from lockgate.rollout.errors import NotNow, RouterError
from lockgate.rollout.state import Commanded
from lockgate.services import processes

FAULTS = {"errors": signal.SIGUSR1, "killed": signal.SIGKILL, "hangs": signal.SIGSTOP}
WEIGHTS = (5, 50)
_GATES = {"errors": {"metric": "error_rate"}}
_RATE = 40.0
_HEALTHY = 8.0
"""Seconds that the candidate answers before its fault begins."""
_WITHIN = 60.0
_say = Console(stderr=True, highlight=False)


def measured(runs: int, weights: Sequence[int] = WEIGHTS) -> dict[str, float]:
    """Median and worst seconds by fault and weight, at 40 requests a second."""
    found: dict[str, float] = {}
    for weight in weights:
        with _staged(weight) as (stage, drivers):
            for name, fault in FAULTS.items():
                took = [_struck(stage, drivers, fault) for _ in range(runs)]
                _say.print(f"{name} at {weight} %: {', '.join(f'{one:.1f}' for one in took)} s")
                found[f"fault_to_zero_s_{name}_{weight}"] = round(statistics.median(took), 2)
                found[f"fault_to_zero_s_{name}_{weight}_worst"] = round(max(took), 2)
            stage.must("down", str(stage.spec))
    return found


@contextlib.contextmanager
def _staged(weight: int) -> Iterator[tuple[Stage, Drivers]]:
    steps = [{"canary": {"weight": weight, "timeout": "30d", "hold": {"duration": "29d"}}}]
    with opened({"steps": steps, "gates": _GATES}) as stage, Drivers(stage, hurry=False) as drivers:
        drivers.serve()
        with Clients(stage.url, _RATE):
            yield stage, drivers


def _struck(stage: Stage, drivers: Drivers, fault: signal.Signals) -> float:
    """Seconds from the fault until nothing is sent to the candidate."""
    stage.alias("challenger", "2")
    driver = drivers.start([])
    until("the candidate answers", lambda: _weight(stage) > 0, _WITHIN)
    time.sleep(_HEALTHY)
    with stage.store() as store:
        rollout = next(one for one in store.rollouts(NAME) if one.closed_at is None)
        bento = store.last(rollout.id).state.facts["candidate_bento"]
        pids = [one.pid for one in processes.of([r.id for r in stage.platform().replicas() if r.bento == bento])]
        began = time.monotonic()
        for pid in pids:
            os.kill(pid, fault)
        until("nothing is sent to the candidate", lambda: _weight(stage) == 0, _WITHIN)
        took = time.monotonic() - began
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        with contextlib.suppress(NotNow):  # it is being rolled back already
            record(store, rollout, Commanded("abort", "benchmark"))
        until("the rollout is over", lambda: store.rollout(rollout.id).closed_at, _WITHIN)
    until("its driver has ended", lambda: driver in drivers.ended, _WITHIN)
    return took


def _weight(stage: Stage) -> int:
    with contextlib.suppress(RouterError):
        return stage.router().applied().weight
    return -1
