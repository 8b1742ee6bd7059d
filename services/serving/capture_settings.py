"""`capture.json`: what to keep of the traffic. Whoever runs the pipeline changes it while replicas run."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("bentoml.lockgate")

FILE = "capture.json"
_LONGEST_KEY = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """`sample`: share of the requests, 0 to 1. `keep`: seconds. `max_size`: bytes. `key`: of hashes."""

    sample: float
    keep: float
    max_size: int
    redact: Mapping[str, str]
    """`hash` or `drop`, by the name of the input."""
    sticky: bytes
    key: bytes


class Watched:
    """The settings as they are in the file now. One that cannot be read changes nothing: the last good ones hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._complained = ""
        self.now: Settings | None = None
        """None: nothing is to be kept."""

    def look(self) -> bool:
        """Whether the settings are others now."""
        before = self.now
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                self.now = parse(self._path.read_bytes())
                self._seen, self._complained = seen, ""
        except FileNotFoundError:
            self.now = self._seen = None
        except (OSError, ValueError) as bad:
            self._complain(str(bad))
        return self.now != before

    def _complain(self, reason: str) -> None:
        """Once for each reason, not every second."""
        if reason != self._complained:
            self._complained = reason
            holds = "what it said before still holds" if self.now else "nothing is captured until it is mended"
            log.warning("%s cannot be used (%s); %s", self._path, reason, holds)


def parse(text: bytes) -> Settings:
    """Raises ValueError with a sentence. Nothing has a default: a typing error must not lose a redaction."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")
    sample, keep, size = (_number(found, name) for name in ("sample", "keep", "max_size"))
    if sample > 1:
        raise ValueError("sample is above 1, which is every request")
    return Settings(sample, keep, int(size), _redact(found), _sticky(found), _key(found))


def _number(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a number from 0 on, and is {value!r}")
    return float(value)


def _redact(found: Mapping[str, Any]) -> dict[str, str]:
    value = found.get("redact")
    if not isinstance(value, dict) or not all(how in ("hash", "drop") for how in value.values()):
        raise ValueError("redact must give 'hash' or 'drop' for each name")
    return value


def _sticky(found: Mapping[str, Any]) -> bytes:
    value = found.get("sticky")
    if not isinstance(value, str):
        raise ValueError("sticky must be the name of a header")
    return value.lower().encode("latin-1", "replace")


def _key(found: Mapping[str, Any]) -> bytes:
    try:
        key = bytes.fromhex(found.get("key") or "")
    except (TypeError, ValueError):
        key = b""
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise ValueError(f"key must be 1 to {_LONGEST_KEY} bytes as hexadecimal digits")
    return key
