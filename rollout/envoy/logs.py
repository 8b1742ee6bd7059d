"""Envoy's access logs, kept within a bound: one that has grown is moved aside, and Envoy goes on in a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lockgate.rollout.envoy.admin import Admin
from lockgate.rollout.envoy.folder import Folder, exclusive
from lockgate.rollout.errors import RouterDown

LARGEST = 64 * 2**20
"""Bytes of one file, and of what Envoy writes between two looks."""
KEPT = 4
"""Files of each log, the one that Envoy writes to included."""


def rotate(at: Folder, largest: int = LARGEST) -> None:
    """Move aside what is larger than `largest` bytes; no row is lost. Raises `RouterDown`, and has then moved nothing.

    Envoy opens its logs anew when it is told to, and writes into the file that was moved until then.
    """
    logs = (at.access_log, at.upstream_log)
    if not any(_size(log) > largest or _older(log, 0).exists() for log in logs):
        return
    with exclusive(at):
        # Whoever moved these was ended before Envoy heard of it, or Envoy heard and did not answer.
        _set_aside(at, [log for log in logs if _older(log, 0).exists()])
        grown = [log for log in logs if _size(log) > largest]  # else somebody else did it
        for log in grown:
            log.replace(_older(log, 0))
        _set_aside(at, grown)


def _set_aside(at: Folder, moved: Sequence[Path]) -> None:
    """Let Envoy go on in new files, and number the older ones anew."""
    if not moved:
        return
    try:
        Admin(at).post("/reopen_logs")
    except RouterDown:
        for log in moved:
            if not log.exists():
                _older(log, 0).replace(log)
        raise
    for log in moved:
        for age in reversed(range(KEPT - 1)):
            if _older(log, age).exists():
                _older(log, age).replace(_older(log, age + 1))


def _older(log: Path, age: int) -> Path:
    """`access.2.jsonl` is older than `access.1.jsonl`; 0 is the one that is being moved."""
    return log.with_suffix(f".{age}{log.suffix}")


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
