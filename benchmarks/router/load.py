"""Closed-loop load by wrk: on each connection one request after the other, without a pause."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

USERS = 1_000
BODY = '{"inputs": [[' + ", ".join(f"0.{i:03d}" for i in range(30)) + "]]}"
_SCRIPT = f"""
local requests, at = {{}}, 0
init = function()
  for i = 1, {USERS} do
    local headers = {{["content-type"] = "application/json", ["x-user-id"] = "user-" .. i}}
    requests[i] = wrk.format("POST", "/predict", headers, '{BODY}')
  end
end
request = function()
  at = at % {USERS} + 1
  return requests[at]
end
done = function(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("figures %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), failed))
end
"""
"""Requests of a thousand users in turn, as a model of tables gets them. wrk counts microseconds."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Requests per second, microseconds; `cpu` is the proxy's, per request, and nothing where there is no proxy."""

    rps: float
    p50: float
    p99: float
    cpu: float


class Failed(Exception):
    """Requests that were not answered with success: their figures mean nothing."""


def script(folder: Path) -> Path:
    path = folder / "requests.lua"
    path.write_text(_SCRIPT, encoding="utf-8")
    return path


def load(address: str, lua: Path, connections: int, seconds: float, pids: Iterable[int] = ()) -> Figures:
    """`pids`: the processes whose CPU time counts. Raises `Failed`."""
    before = cpu_seconds(pids)
    # wrk takes whole seconds.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(lua)]
    done = subprocess.run([*command, f"http://{address}"], capture_output=True, text=True, check=True)
    cpu = cpu_seconds(pids) - before
    found = re.search(r"^figures (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise Failed(f"wrk said nothing that can be read: {done.stdout}{done.stderr}")
    requests, duration, p50, p99, failed = (int(text) for text in found.groups())
    if failed or not requests:
        raise Failed(f"{failed} of {requests} requests to {address} failed")
    return Figures(requests / duration * 1e6, p50, p99, cpu / requests * 1e6)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Of all threads of these processes so far, to the nanosecond: clock ticks are too coarse."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9
