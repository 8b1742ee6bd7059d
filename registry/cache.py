"""Models on this machine's disk, kept by the sha256 of their files.

`models/<digest>/` holds the files, `versions/<key>` the digest that a model version had when it was first fetched.
Everything is written beside its place and renamed, so that a killed process leaves nothing half done, and one lock per
version makes concurrent callers wait for a single download.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from .errors import Unusable


@dataclass(frozen=True, slots=True)
class Cached:
    path: Path
    digest: str


class ModelCache:
    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, what: str, origin: str, download: Callable[[Path], Path]) -> Cached:
        """The files of `what` ("fraud version 3"), downloaded unless they are here and unharmed.

        `origin` tells versions of the same name apart: the registry's address and the version's source. `download`
        is given an empty folder and returns where in it the files are. Raises `Unusable` when they are not those of
        the first time.
        """
        key = hashlib.sha256(f"{what}\n{origin}".encode()).hexdigest()[:40]
        for folder in ("models", "versions", "incoming", "locks"):
            (self._root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self._root / "locks" / key):
            known = self._known(key)
            if known and digest_of(self._folder(known)) == known:
                return Cached(self._folder(known), known)
            return self._download(what, key, known, download)

    def _download(self, what: str, key: str, known: str | None, download: Callable[[Path], Path]) -> Cached:
        incoming = self._root / "incoming" / key
        shutil.rmtree(incoming, ignore_errors=True)  # left by a killed process: the lock is ours now
        incoming.mkdir()
        try:
            files = download(incoming)
            if link := next((path for path in files.rglob("*") if path.is_symlink()), None):
                raise Unusable(f"{what} has a link among its files, {link.name}: log the model again, with the file.")
            digest = digest_of(files)
            if known and digest != known:
                raise Unusable(self._changed(what, key, known, digest))
            self._place(files, digest)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        self._remember(key, digest)
        return Cached(self._folder(digest), digest)

    def _place(self, files: Path, digest: str) -> None:
        """Two versions may hold the same files, so placing has a lock of its own."""
        folder = self._folder(digest)
        with FileLock(self._root / "locks" / "place"):
            if folder.exists() and digest_of(folder) == digest:
                return
            shutil.rmtree(folder, ignore_errors=True)
            files.rename(folder)

    def _folder(self, digest: str) -> Path:
        return self._root / "models" / digest

    def _known(self, key: str) -> str | None:
        pointer = self._root / "versions" / key
        return pointer.read_text().strip() if pointer.is_file() else None

    def _remember(self, key: str, digest: str) -> None:
        fresh = self._root / "incoming" / f"{key}.digest"
        fresh.write_text(f"{digest}\n")
        fresh.replace(self._root / "versions" / key)

    def _changed(self, what: str, key: str, known: str, digest: str) -> str:
        return (
            f"The files of {what} changed after they were first fetched (sha256 {known[:12]} then, {digest[:12]} now). "
            "A registered version must not change under a rollout: log the model again as a new version. If the change "
            f"is wanted, delete {self._root / 'versions' / key} and repeat."
        )


def digest_of(folder: Path) -> str:
    """sha256 over the files' own sha256 and paths, sorted: what `sha256sum` lists for them, hashed once more."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink()):
        if path.is_symlink():  # never the same as a file: what it leads to may change later
            content = "link"
        else:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()
