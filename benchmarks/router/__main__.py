"""What the router adds to a request, beside HAProxy and nginx: python -m benchmarks.router.

Every way to the same upstream is measured in turn, in several rounds, by wrk: one that answers at once, and one that
takes 10 ms. The router is the one that `lockgate` starts, with its logs, metrics, failover and time limits, at a canary
of 50 %; once more with every request copied to a shadow. Ratios and differences are taken within each round; the
figures are medians over the rounds. CPU time is that of the proxy's threads, in nanoseconds of the kernel's scheduler.
`rps_vs_direct_10ms` is over 16 connections, `_least` the least over 1, 4, 16 and 64. The last line is JSON.

Needs wrk and nginx; haproxy and valgrind (for what each piece of the configuration costs) are left out where they are
missing. All four are packages of Debian.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.router import instructions, picture, sockets
from benchmarks.router.load import script
from benchmarks.router.rounds import DIRECT, HAPROXY, ROUTER, SHADOW, Plan, Rounds, added, alternately, median, ratio
from benchmarks.router.routers import router
from benchmarks.router.servers import Way, haproxy, nginx, program, sleeping, trivial
from lockgate.rollout.words import WHOLE, Endpoint, Routes

PARTS = ("speed", "pieces", "sockets")
DELAY = 0.01
MANY = 16
CONNECTIONS = (1, 4, MANY, 64)
_HALF = WHOLE // 2


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _asked(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    for needed in ("wrk", "nginx"):
        if not program(needed):
            sys.exit(f"{needed} is missing; install it with: apt-get install -y --no-install-recommends {needed}")
    print(machine.sentence("cpu"), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="lockgate-router-") as place:
        folder = Path(place)
        plan = Plan(script(folder), asked.rounds, asked.seconds)
        found: dict[str, Any] = {"rounds": asked.rounds}
        if "speed" in asked.parts:
            found |= _speed(folder, plan)
        if "pieces" in asked.parts:
            found |= _pieces(folder / "pieces")
        if "sockets" in asked.parts:
            found["unix_socket"] = sockets.measure(folder / "sockets", plan)
    if asked.picture:
        picture.draw(found, asked.picture)
    print(json.dumps(found))


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="each measures every way once")
    parser.add_argument("--seconds", type=int, default=2, help="of requests, each time")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="all of them, unless named")
    parser.add_argument("--picture", type=Path, help="a file for the picture; needs the parts speed and pieces")
    asked = parser.parse_args(arguments)
    if asked.picture and not {"speed", "pieces"} <= set(asked.parts):
        parser.error("--picture shows the parts speed and pieces; measure both")
    return asked


def _speed(folder: Path, plan: Plan) -> dict[str, Any]:
    with trivial(folder / "trivial") as both, ExitStack() as stack:
        ways = [stack.enter_context(way) for way in _ways(folder / "at-once", both)]
        alone, crowd = alternately(ways, 1, plan), alternately(ways, MANY, plan)
    with sleeping(DELAY) as both, ExitStack() as stack:
        ways = [stack.enter_context(way) for way in _ways(folder / "slow", both)]
        slow = {connections: alternately(ways, connections, plan) for connections in CONNECTIONS}
    return _told(alone, crowd, slow)


def _told(alone: Rounds, crowd: Rounds, slow: dict[int, Rounds]) -> dict[str, Any]:
    between = [name for name in alone if name != DIRECT]
    ratios = {name: {c: round(ratio(of, "rps", name, DIRECT), 3) for c, of in slow.items()} for name in between}
    found = {
        "added_p50_ms": round(added(alone, "p50", ROUTER, DIRECT) / 1e3, 3),
        "rps_vs_direct_10ms": ratios[ROUTER][MANY],
        "rps_vs_direct_10ms_least": min(ratios[ROUTER].values()),
        "cpu_vs_haproxy": round(ratio(crowd, "cpu", ROUTER, HAPROXY), 2) if HAPROXY in crowd else None,
    }
    return found | {
        "added_p50_ms_by_way": {name: round(added(alone, "p50", name, DIRECT) / 1e3, 3) for name in between},
        "rps_vs_direct_10ms_by_way": ratios,
        "rps_16_connections": {name: round(median(crowd, name, "rps")) for name in crowd},
        "cpu_us_per_request": {name: round(median(crowd, name, "cpu"), 1) for name in between},
        "cpu_us_per_request_one_connection": {name: round(median(alone, name, "cpu"), 1) for name in between},
    }


def _ways(folder: Path, both: tuple[Endpoint, Endpoint]) -> Iterator[AbstractContextManager[Way]]:
    """As context managers. What stands between asks the first of `both`; the router's candidate is the second."""
    stable, candidate = both
    canary = Routes((stable,), (candidate,), _HALF)
    yield nullcontext(Way(DIRECT, str(stable)))
    if program(HAPROXY):
        yield haproxy(folder / "haproxy", stable)
    else:
        print("haproxy is missing, and left out: apt-get install -y --no-install-recommends haproxy", file=sys.stderr)
    yield nginx(folder / "nginx", stable)
    yield router(ROUTER, folder / "router", canary)
    yield router(SHADOW, folder / "shadow", Routes((stable,), (candidate,), _HALF, WHOLE))


def _pieces(folder: Path) -> dict[str, Any]:
    if not program("valgrind"):
        print("valgrind is missing; what the pieces cost is left out: apt-get install -y valgrind", file=sys.stderr)
        return {}
    with trivial(folder / "trivial") as (stable, candidate):
        return {"instructions": instructions.breakdown(folder, Routes((stable,), (candidate,), _HALF))}


if __name__ == "__main__":
    main()
