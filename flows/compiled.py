"""What a search found out, kept where people look for it: on the version's run in MLflow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from lockgate.registry.errors import RegistryError
from lockgate.registry.words import ModelVersion, Registry
from lockgate.services.compile import picture, table
from lockgate.services.compile.words import Row, Search


def record(search: Search, version: ModelVersion, registry: Registry, say: Callable[[str], None]) -> None:
    """Table, picture and evidence, on the run that logged the version. A registry that is down loses only this."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    files = {
        "table.md": f"# {version}\n\n{sentence(search)}\n\n{table.markdown(search)}\n".encode(),
        "table.json": _json(table.values(search)),
        "evidence.json": _json(evidence(search)),
        "latency-against-error.png": picture.png(search, f"{version}: latency against parity error"),
    }
    try:
        registry.record(version, f"compile-{stamp}", files)
        registry.annotate(version.name, version.version, {"compiled": sentence(search)})
    except RegistryError as error:
        say(f"the table of the search could not be kept in the registry: {error}")


def evidence(search: Search) -> dict[str, Any]:
    """All that was proven, and where: JSON values."""
    proven = {str(row.candidate): asdict(row.parity) for row in search.rows if row.parity}
    return {"fingerprint": dict(search.fingerprint), "parity": proven, "seconds": search.seconds}


def sentence(search: Search) -> str:
    """What was chosen, how fast it is, and against whom: one line."""
    timed = [row for row in search.rows if row.timings]
    chosen = next((row for row in search.rows if row.outcome == "chosen"), None)
    if chosen is None:
        return "no candidate keeps parity and the limits"
    if not chosen.timings:
        return f"{chosen.candidate} was chosen"
    first = chosen.timings[0]
    line = f"{chosen.candidate} was chosen: {_milliseconds(chosen)} ms at batch {first.batch}"
    line += f" with {chosen.threads} threads" if chosen.threads > 1 else ""
    others = [row for row in timed if row is not chosen]
    eager = next((r for r in others if r.candidate.target == "eager"), None)
    other = eager or min(others, key=lambda r: r.timings[0].p50, default=None)
    if other is None:
        return line
    return f"{line}, {other.timings[0].p50 / first.p50:.2f} times as fast as {other.candidate}"


def _milliseconds(row: Row) -> str:
    return f"{row.timings[0].p50 * 1000:.3g}"


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, default=str).encode()
