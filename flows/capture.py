"""What replicas are told to keep of the live traffic: `capture.json` of one pipeline. They look at it once a second."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockgate.flows.home import Home
from lockgate.flows.spec import Spec

SETTINGS = "capture.json"
_KEY_BYTES = 32


def configure(home: Home, spec: Spec) -> Path:
    """The pipeline's capture folder, which platforms give to replicas; its `capture.json` now says what the spec says.

    The key of the hashes is made once: with another one, the same user would be somebody else.
    """
    folder = home.capture(spec.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    with _alone(folder):
        before = _read(folder / SETTINGS)
        key = before.get("key")
        after = {**_settings(spec), "key": key if _is_key(key) else secrets.token_hex(_KEY_BYTES)}
        if after != before:
            _write(folder / SETTINGS, after)
    return folder


def _settings(spec: Spec) -> dict[str, Any]:
    kept = spec.monitoring.capture
    return {
        "sample": kept.sample / 100,
        "keep": kept.keep,
        "max_size": kept.max_size,
        "redact": dict(spec.monitoring.redact),
        "sticky": spec.rollout.traffic.sticky.header.lower(),
    }


def _is_key(key: object) -> bool:
    try:
        return isinstance(key, str) and len(bytes.fromhex(key)) == _KEY_BYTES
    except ValueError:
        return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two controllers at the pipeline's first start must not make two keys."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, settings: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - a file that was never readable to others
        json.dump(settings, file, indent=1)
        file.flush()
        os.fsync(handle)
    new.replace(path)
