"""The dashboards as they are checked in: reading them needs no SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "json"


def documents() -> dict[str, dict[str, Any]]:
    """By name: drift, fleet, rollout, serving."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
