"""The replay against a server on this machine: it keeps its rate, counts every request once, and ends when told to."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import data
import numpy as np
import replay
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.Response]]
FLIGHTS = data.Flights(np.ones((300, 13), np.float32), np.zeros(300), np.full(300, 7))


async def predict(request: web.Request) -> web.Response:
    asked = request.headers["x-request-id"]
    number = int(asked.removeprefix("flight-"))
    assert len((await request.json())["inputs"][0]) == 13
    if number % 10 == 9:
        return web.Response(status=500, text="{}", headers={"x-request-id": asked})
    headers = {"x-request-id": asked, "x-lockgate-version": "1", "x-lockgate-variant": "stable"}
    return web.json_response({"outputs": {"label": [0], "probabilities": [[0.75, 0.25]]}}, headers=headers)


async def replayed(
    handler: Handler, stop: asyncio.Event, rate: float
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The summary, and the log's lines."""
    app = web.Application()
    app.router.add_post("/predict", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    log = io.BytesIO()
    try:
        async with replay.connections() as session:
            tally = replay.Tally(log)
            plan = replay.Plan(f"http://{host}:{port}/predict", rate, Path("unused"), 60.0)
            await replay.Replay(plan, session, tally).run(FLIGHTS, stop)
    finally:
        await runner.cleanup()
    return tally.summary(), [json.loads(line) for line in log.getvalue().splitlines()]


def test_every_request_is_counted_once_and_failures_are_failures() -> None:
    summary, lines = asyncio.run(replayed(predict, asyncio.Event(), 1000.0))
    assert (summary["requests"], summary["failed"], summary["repeated"]) == (300, 30, 0)
    assert summary["reasons"] == {"status 500": 30}
    assert summary["versions"] == {"1": 270, "": 30}
    assert len({line["id"] for line in lines}) == len({line["user"] for line in lines}) == 300


def test_a_slow_answer_holds_no_other_request_back() -> None:
    """Open loop: with each answer waiting for all requests, a client that waits for answers would never end."""
    arrived = 0
    everybody = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        nonlocal arrived
        arrived += 1
        if arrived == len(FLIGHTS):
            everybody.set()
        await everybody.wait()
        return await predict(request)

    summary, lines = asyncio.run(replayed(slow, asyncio.Event(), 2000.0))
    assert summary["requests"] == 300
    due = sorted(float(str(line["due"])) for line in lines)
    assert np.allclose(np.diff(due), 1 / 2000, atol=1e-5)
    first = min(lines, key=lambda line: float(str(line["due"])))
    assert float(str(first["ms"])) >= 1000 * (due[-1] - due[0])  # the whole wait, from the moment it was due


def test_told_to_stop_it_awaits_what_is_under_way() -> None:
    stop = asyncio.Event()

    async def stopping(request: web.Request) -> web.Response:
        stop.set()
        return await predict(request)

    summary, lines = asyncio.run(replayed(stopping, stop, 100.0))
    assert summary["requests"] == len(lines)
    assert 1 <= len(lines) < 300
    assert all(line["status"] for line in lines)


def test_nobody_there_is_a_failure_of_each_request() -> None:
    async def gone(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    summary, lines = asyncio.run(replayed(gone, asyncio.Event(), 2000.0))
    assert (summary["requests"], summary["failed"]) == (300, 300)
    assert {line["status"] for line in lines} == {0}
