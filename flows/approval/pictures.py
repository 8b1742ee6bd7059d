"""The evidence in pictures. Without matplotlib there are none, and nothing is missing but them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from lockgate.flows.approval.drawing import text
from lockgate.flows.approval.picture_gates import gates
from lockgate.flows.approval.picture_timeline import timeline
from lockgate.services.compile import picture
from lockgate.services.compile.words import Search

_LOG = logging.getLogger("lockgate.approval")


def of(document: Mapping[str, Any], search: Search | None) -> dict[str, bytes]:
    """PNG by file name: the gates, the compile table where it is known, and the traffic over time."""
    title = text(f"{document['change']['model']} version {document['change']['candidate']['version']}")
    proven = search is not None and any(row.parity for row in search.rows)
    wanted: dict[str, Callable[[], bytes | None]] = {
        "gates.png": lambda: gates(document["gates"]),
        "compile.png": lambda: picture.png(search, title) if search and proven else None,
        "timeline.png": lambda: timeline(document["timeline"]),
    }
    return {name: png for name, draw in wanted.items() if (png := drawn(draw))}


def drawn(draw: Callable[[], bytes | None]) -> bytes | None:
    """What `draw` draws; nothing where it cannot, or there is nothing to draw with."""
    if find_spec("matplotlib") is None:
        return None
    try:
        return draw()
    except Exception:  # noqa: BLE001 - no decision waits for a picture
        _LOG.exception("a picture could not be drawn")
        return None
