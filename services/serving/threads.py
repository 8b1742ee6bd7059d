"""Threads of one engine call."""

from __future__ import annotations

import os


def threads() -> int:
    """Tiny models lose more to waiting threads than they gain: one, unless the machine's owner says otherwise."""
    return int(os.environ.get("LOCKGATE_ENGINE_THREADS", "1"))
