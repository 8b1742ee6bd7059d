"""`settings.json`: which metrics are told by feedback, how users are hashed, how much is kept and how long.

Whoever runs the pipeline changes it while the server runs.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate.monitoring.feedback.errors import Unsettled

log = logging.getLogger("lockgate.feedback")

FILE = "settings.json"
_KINDS = ("binary", "continuous")
_OF_LABELS = ("class", "number")
_LONGEST_KEY = 64
MAX_SIZE = 2**30
"""Where the file says none: it was written before there was one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`metrics`: the kind, `binary` or `continuous`, of each. `key`: of hashes. `keep`: seconds.

    `labels`: the kind, `class` or `number`, of each truth about a request that is told.

    `header`: the sticky header's name in lower case. `max_size`: bytes of the database, which takes no more then.
    """

    metrics: Mapping[str, str]
    key: bytes
    keep: float
    header: str
    max_size: int = MAX_SIZE
    labels: Mapping[str, str] = field(default_factory=dict)


class Watched:
    """The settings as they are in the file now. One that cannot be read changes nothing: the last good ones hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._complained = ""
        self._settings: Settings | None = None

    def now(self) -> Settings | None:
        """None: there never were good ones. Costs one look at the file's times."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                self._seen = seen
                self._settings = parse(self._path.read_bytes())
                self._complained = ""
        except OSError as bad:
            self._seen = None
            self._complain((bad.strerror or type(bad).__name__).lower())
        except Unsettled as bad:
            self._complain(str(bad))
        return self._settings

    def _complain(self, reason: str) -> None:
        """Once for each reason, not with every request."""
        if reason != self._complained:
            self._complained = reason
            holds = "what it said before still holds" if self._settings else "no feedback is taken until it is mended"
            log.warning("%s cannot be used (%s); %s", self._path, reason, holds)


def parse(text: bytes) -> Settings:
    """Raises `Unsettled` with a sentence, which does not repeat the key."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as bad:
        raise Unsettled("it is not JSON") from bad
    if not isinstance(found, dict):
        raise Unsettled("it holds no JSON object")
    labels = _kinds(found.get("labels", {}), "labels", _OF_LABELS)  # none: it was written before there were any
    metrics = _kinds(found.get("metrics"), "metrics", _KINDS)
    return Settings(metrics, _key(found), _keep(found), _header(found), _max_size(found), labels)


def _kinds(value: object, what: str, known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Unsettled(f"{what} must give the kind of each {what.removesuffix('s')}")
    kinds: dict[str, str] = {}
    for name, about in value.items():
        kinds[name] = about.get("kind", "") if isinstance(about, dict) else ""
        if kinds[name] not in known:
            raise Unsettled(f"{what}.{name}.kind must be {' or '.join(known)}")
    return kinds


def _key(found: Mapping[str, Any]) -> bytes:
    try:
        key = bytes.fromhex(found.get("key") or "")
    except (TypeError, ValueError):
        key = b""
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise Unsettled(f"key must be 1 to {_LONGEST_KEY} bytes as hexadecimal digits")
    return key


def _keep(found: Mapping[str, Any]) -> float:
    value = found.get("keep")
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        raise Unsettled("keep must be a number of seconds above 0")
    return float(value)


def _max_size(found: Mapping[str, Any]) -> int:
    value = found.get("max_size", MAX_SIZE)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise Unsettled("max_size must be a number of bytes above 0")
    return value


def _header(found: Mapping[str, Any]) -> str:
    value = found.get("header")
    if not isinstance(value, str):
        raise Unsettled("header must be the name of the sticky header")
    return value.lower()
