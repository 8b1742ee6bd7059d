"""How Envoy's v3 resources are written as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Resource = dict[str, Any]

_TYPES = "type.googleapis.com/"


def typed(name: str, /, **fields: Any) -> Resource:
    """A message that names its own type, as `Any` fields want it."""
    return {"@type": _TYPES + name, **fields}


def extension(name: str, type_name: str, /, **fields: Any) -> Resource:
    return {"name": name, "typed_config": typed(type_name, **fields)}


def watched(path: Path) -> Resource:
    """A config source: the file that Envoy re-reads whenever another one is renamed onto it."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def address(host: str, port: int) -> Resource:
    return {"socket_address": {"address": host, "port_value": port}}


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8080`; the spec has checked the form."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def duration(seconds: float) -> str:
    """Envoy takes nanoseconds at the finest and no exponent."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
