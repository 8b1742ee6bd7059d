"""Requests: wrk sends the next one when one is answered, k6 at a steady rate. Latencies are in milliseconds."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .environments import Skipped

_HERE = Path(__file__).parent
_LATE = 30.0
"""Seconds that a load generator may take beyond its time."""
_SHARE_OF_SECOND = 0.25
"""Of requests that may be under way at once: a server that is further behind drops, and does not hold the rate."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. `folder` holds their bodies, `0`, `1`, ..."""

    url: str
    content: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Answered:
    """`failed`: no answer, or one that is no 2xx or 3xx. `dropped`: could not even begin, for all users waited."""

    requests: int
    seconds: float
    failed: int
    dropped: int
    p50: float
    p99: float

    @property
    def rps(self) -> float:
        return (self.requests - self.failed) / self.seconds

    def held(self, bound: float) -> bool:
        return not self.failed and self.dropped <= 0.01 * self.requests and self.p99 <= bound


def bodies(folder: Path, contents: Sequence[bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(contents):
        (folder / str(i)).write_bytes(content)
    return folder


def wrk() -> str:
    if not (found := shutil.which("wrk")):
        raise Skipped("wrk is not installed; on Debian: apt-get install wrk")
    return found


def closed(target: Target, connections: int, seconds: float) -> Answered:
    """One thread, so that all see the same one."""
    command = [wrk(), "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "10s", "-s"]
    found = _json([*command, str(_HERE / "load.lua"), target.url, "--", target.content, str(target.folder)], seconds)
    return Answered(found["requests"], found["seconds"], found["failed"], 0, float(found["p50"]), float(found["p99"]))


def opened(k6: Path, target: Target, rate: float, seconds: float) -> Answered:
    """`k6`: its program."""
    settings = {
        "RATE": f"{rate:g}",
        "SECONDS": f"{seconds:g}",
        "URL": target.url,
        "FOLDER": str(target.folder),
        "BODIES": str(len(list(target.folder.iterdir()))),
        "CONTENT_TYPE": target.content,
        "BINARY": "" if target.content == "application/json" else "1",
        "USERS": str(max(4, math.ceil(rate * _SHARE_OF_SECOND))),
    }
    found = _json([str(k6), "run", "--quiet", "--no-usage-report", str(_HERE / "load.js")], seconds, settings)
    return Answered(
        int(found["requests"]), seconds, int(found["failed"]), int(found["dropped"]), found["p50"], found["p99"]
    )


def _json(command: list[str], seconds: float, settings: dict[str, str] | None = None) -> dict[str, float]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + _LATE,
        check=False,
        env={**os.environ, **(settings or {})},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"{Path(command[0]).name} measured nothing: {(done.stderr or done.stdout).strip()[-500:]}")
    found: dict[str, float] = json.loads(lines[-1])
    return found
