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
    with alone(folder):
        before = read_settings(folder / SETTINGS)
        key = before.get("key")
        after = {**_settings(spec), "key": key if _is_key(key) else secrets.token_hex(_KEY_BYTES)}
        if after != before:
            write_private(folder / SETTINGS, after)
    return folder


def key_of(home: Home, spec: Spec) -> str:
    """The key of the pipeline's hashes, as hexadecimal digits; made, with the settings, where there is none yet."""
    key = read_settings(home.capture(spec.name) / SETTINGS).get("key")
    return str(key) if _is_key(key) else str(read_settings(configure(home, spec) / SETTINGS)["key"])


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
def alone(folder: Path) -> Iterator[None]:
    """One process at a time: two controllers at the pipeline's first start must not make two keys."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def read_settings(path: Path) -> dict[str, Any]:
    """Nothing, where there is no file or a damaged one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_private(path: Path, settings: dict[str, Any]) -> None:
    """Whole or not at all, and readable by its owner only. The caller is `alone` with the folder."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - a file that was never readable to others
        json.dump(settings, file, indent=1)
        file.flush()
        os.fsync(handle)
    new.replace(path)
