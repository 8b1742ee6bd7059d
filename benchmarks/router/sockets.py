"""Whether a unix socket between the router and a local replica pays: one Envoy, one uvicorn that listens on both.

Which of the two Envoy connects to is changed in the file of its endpoints, in turn: the same processes serve both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.router.load import load
from benchmarks.router.rounds import WARM, Plan
from benchmarks.router.routers import router
from benchmarks.router.servers import ANSWER, Way, free_endpoint, running
from lockgate.rollout.envoy.resources import Resource, address
from lockgate.rollout.words import Routes

_UVICORN = """
import socket, sys, orjson, uvicorn
HEAD = {{"type": "http.response.start", "status": 200, "headers": [
    (b"content-type", b"application/json"), (b"content-length", b"{length}")]}}
BODY = {{"type": "http.response.body", "body": {answer}}}
async def app(scope, receive, send):
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    orjson.loads(body)
    await send(HEAD)
    await send(BODY)
port, path = sys.argv[1:]
unix = socket.socket(socket.AF_UNIX)
unix.bind(path)
unix.listen(2048)
tcp = socket.create_server(("127.0.0.1", int(port)), backlog=2048)
config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error")
uvicorn.Server(config).run([tcp, unix])
"""
_TO_SWITCH = 1.0


def measure(folder: Path, plan: Plan) -> dict[str, Any]:
    """Medians of what each costs, and of what TCP costs more within each round. Microseconds."""
    found: dict[str, Any] = {}
    with _served(folder) as (way, replica, tcp, unix):
        ways = {"tcp": tcp, "unix": unix}
        for connections, field in ((1, "p50"), (16, "cpu")):
            figures: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(plan.rounds):
                for name in sorted(ways, reverse=bool(turn % 2)):
                    _point(folder / "router", ways[name])
                    load(way.address, plan.lua, connections, WARM)
                    of = load(way.address, plan.lua, connections, plan.seconds, [*way.pids, replica])
                    figures[name].append(getattr(of, field))
                now = ", ".join(f"{name} {of[-1]:.1f} us" for name, of in figures.items())
                print(f"c={connections:<3} {field}: {now}", file=sys.stderr)
            saved = statistics.median(a - b for a, b in zip(figures["tcp"], figures["unix"], strict=True))
            found |= {f"{field}_us_{name}": round(statistics.median(of), 1) for name, of in figures.items()}
            found[f"{field}_us_saved"] = round(saved, 1)
    return found


@contextmanager
def _served(folder: Path) -> Iterator[tuple[Way, int, Resource, Resource]]:
    """The router, the replica's process, and its two addresses."""
    folder.mkdir()
    tcp, path = free_endpoint(), folder / "replica.sock"
    source = _UVICORN.format(length=len(ANSWER), answer=ANSWER.encode())
    with (
        running([sys.executable, "-c", source, str(tcp.port), str(path)], [tcp]) as pid,
        router("router", folder / "router", Routes((tcp,))) as way,
    ):
        yield way, pid, address(tcp.host, tcp.port), {"pipe": {"path": str(path)}}


def _point(at: Path, to: Resource) -> None:
    """Let Envoy connect there: what the router does, with an address that it does not know of."""
    path = at / "xds" / "eds_stable.json"
    content = json.loads(path.read_bytes())
    content["version_info"] = uuid.uuid4().hex
    content["resources"][0]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": to}}]}]
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)
    time.sleep(_TO_SWITCH)
