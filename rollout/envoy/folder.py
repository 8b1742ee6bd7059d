"""The run directory: one Envoy's files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lockgate.rollout.errors import RouterDown

_UNIX_PATH_BYTES = 107
"""The kernel's limit for the path of a unix socket (108 with its closing zero)."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where one Envoy's files lie. `path` is absolute: Envoy's command line, which names it, is how we know our own."""

    path: Path

    @property
    def bootstrap(self) -> Path:
        return self.path / "bootstrap.json"

    @property
    def xds(self) -> Path:
        """The files that Envoy watches."""
        return self.path / "xds"

    @property
    def good(self) -> Path:
        """Copies of the files that Envoy has accepted."""
        return self.path / "good"

    @property
    def access_log(self) -> Path:
        """One row per request, when it has ended."""
        return self.path / "log" / "access.jsonl"

    @property
    def upstream_log(self) -> Path:
        """One row per attempt and per copy."""
        return self.path / "log" / "upstream.jsonl"

    @property
    def envoy_log(self) -> Path:
        return self.path / "log" / "envoy.log"

    @property
    def pid(self) -> Path:
        return self.path / "envoy.pid"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def create(self) -> None:
        for path in (self.path, self.xds, self.good, self.access_log.parent):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)


def folder(run_dir: Path) -> Folder:
    return Folder(run_dir.resolve())


@contextmanager
def exclusive(at: Folder) -> Iterator[None]:
    """One process at a time changes the files or starts and stops Envoy. The kernel unlocks for one that is killed."""
    with at.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def admin_socket(at: Folder) -> Path:
    return unix_socket(at.path, "admin.sock")


def unix_socket(folder: Path, name: str, temporary: Path | None = None) -> Path:
    """Where a socket of `folder` goes: into it, or into a private short folder where that path would be too long.

    The short one lies in `temporary`, else in TMPDIR. Raises `RouterDown` when neither will do.
    """
    socket = folder / name
    if len(os.fsencode(socket)) <= _UNIX_PATH_BYTES:
        return socket
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = (temporary or Path(tempfile.gettempdir())) / f"lockgate-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    _check_private(short)
    socket = short / name
    if len(os.fsencode(socket)) > _UNIX_PATH_BYTES:
        raise RouterDown(f"the path {socket} is too long for a unix socket; set TMPDIR to a folder with a shorter path")
    return socket


def _check_private(path: Path) -> None:
    """Whoever else can write here could put another socket in our place."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise RouterDown(
            f"{path} should be a folder that only this user can open, and it is not; remove it and try again"
        )
