"""Replay the later part of the year as live traffic: a steady rate of requests that waits for no answer.

A process of its own, so that neither the servers nor the controller can slow it down unseen. Each request is due at a
fixed time; its latency runs from then, so that a stall counts for every request that it delayed. One line of JSON per
request goes to the log. On SIGTERM, or at the end of the data, the answers under way are awaited and the last line on
standard output is the summary.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import aiohttp
import data
import numpy as np
import orjson

USERS = 6_000
"""Each asks once before any asks again: 30 seconds at 200 requests/s."""
READY_WITHIN = 90.0
_PATIENCE = 15.0
"""Seconds for one answer; the router gives up after 10."""


@dataclass(frozen=True, slots=True)
class Plan:
    url: str
    rate: float
    log: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what came of it. Times are unix seconds."""

    id: str
    user: str
    due: float
    sent: float
    ms: float
    """From `due` to the end of the answer."""
    status: int
    """0 when there was no answer."""
    variant: str
    version: str
    ok: bool
    why: str = ""


@dataclass
class Tally:
    log: IO[bytes]
    latencies: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    late_ms: float = 0.0

    def add(self, one: Asked) -> None:
        self.log.write(orjson.dumps(asdict(one)) + b"\n")
        self.latencies.append(one.ms)
        self.versions[one.version] += 1
        self.ids.add(one.id)
        self.late_ms = max(self.late_ms, (one.sent - one.due) * 1000)
        if not one.ok:
            self.reasons[one.why] += 1

    def summary(self) -> dict[str, object]:
        """`requests` and `failed`; `repeated` counts ids that were answered more than once."""
        there = self.latencies or [math.nan]
        return {
            "requests": len(self.latencies),
            "failed": self.reasons.total(),
            "repeated": len(self.latencies) - len(self.ids),
            "p50_ms": round(float(np.percentile(there, 50)), 2),
            "p99_ms": round(float(np.percentile(there, 99)), 2),
            "sent_late_ms": round(self.late_ms, 2),
            "versions": dict(self.versions),
            "reasons": dict(self.reasons.most_common(5)),
        }


def bodies(flights: data.Flights) -> Iterator[bytes]:
    for row in flights.features:
        yield b'{"inputs":[' + orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"]}"


def judged(status: int, body: bytes, *, asked: str, answered: str) -> str:
    """Why this is no prediction for the request with the id `asked`; empty when it is."""
    if status != 200:
        return f"status {status}"
    if answered != asked:
        return "the answer is for another request"
    try:
        outputs = orjson.loads(body)["outputs"]
        punctual, late = outputs["probabilities"][0]
        label = outputs["label"][0]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError):
        return "the answer is no prediction"
    sound = label in (0, 1) and isinstance(late, float) and math.isclose(punctual + late, 1.0, abs_tol=1e-3)
    return "" if sound else "the answer is no probability"


class Replay:
    def __init__(self, plan: Plan, session: aiohttp.ClientSession, tally: Tally) -> None:
        self._plan, self._session, self._tally = plan, session, tally
        self._under_way: set[asyncio.Task[None]] = set()
        self._unix = time.time() - time.perf_counter()  # one steady clock; a correction of the other must not show

    async def ready(self) -> None:
        """Return at the first good answer. Raises `TimeoutError` when there is none within READY_WITHIN."""
        body = next(bodies(data.load().live()))
        async with asyncio.timeout(READY_WITHIN):
            while not (await self._ask(body, "replay-ready", "nobody", time.perf_counter())).ok:
                await asyncio.sleep(0.1)

    async def run(self, flights: data.Flights, stop: asyncio.Event) -> None:
        users = np.random.default_rng(2013).permutation(USERS)
        start = time.perf_counter()
        for i, body in enumerate(bodies(flights)):
            due = start + i / self._plan.rate
            if i / self._plan.rate >= self._plan.seconds or await _stopped(stop, due):
                break
            task = asyncio.create_task(self._one(body, f"flight-{i:06d}", f"user-{users[i % USERS]:05d}", due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)

    async def _one(self, body: bytes, id_: str, user: str, due: float) -> None:
        self._tally.add(await self._ask(body, id_, user, due))

    async def _ask(self, body: bytes, id_: str, user: str, due: float) -> Asked:
        headers = {"content-type": "application/json", "x-user-id": user, "x-request-id": id_}
        sent = time.perf_counter()
        status, why = 0, ""
        got: Mapping[str, str] = {}
        try:
            async with self._session.post(self._plan.url, data=body, headers=headers) as answer:
                status, got = answer.status, answer.headers
                why = judged(status, await answer.read(), asked=id_, answered=got.get("x-request-id", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as lost:
            status, why = 0, f"no answer: {type(lost).__name__}"
        return Asked(
            id=id_,
            user=user,
            due=self._unix + due,
            sent=self._unix + sent,
            ms=round((time.perf_counter() - due) * 1000, 3),
            status=status,
            variant=got.get("x-lockgate-variant", ""),
            version=got.get("x-lockgate-version", ""),
            ok=not why,
            why=why,
        )


async def _stopped(stop: asyncio.Event, due: float) -> bool:
    """Wait until `due`; True when it is time to stop."""
    left = due - time.perf_counter()
    if left > 0:
        await asyncio.sleep(left)
    return stop.is_set()


def connections() -> aiohttp.ClientSession:
    """As many connections as there are requests under way: a limit would make requests wait for answers."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_PATIENCE))


async def replay(plan: Plan) -> dict[str, object]:
    """Ask until the end of the data, the seconds or SIGTERM; the summary."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    flights = data.load().live()
    with plan.log.open("wb") as log:
        async with connections() as session:
            tally = Tally(log)
            run = Replay(plan, session, tally)
            await run.ready()
            print("asking", file=sys.stderr, flush=True)
            await run.run(flights, stop)
    return tally.summary()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080/predict")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=900.0, help="stop by itself after this long")
    parser.add_argument("--log", type=Path, required=True, help="file for one line of JSON per request")
    asked = parser.parse_args()
    print(json.dumps(asyncio.run(replay(Plan(asked.url, asked.rate, asked.log, asked.seconds)))))


if __name__ == "__main__":
    main()
