"""Which of our own files made an artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path


@cache
def of_our_code() -> str:
    """Of this package's own sources: another version of them may build something else from the same model."""
    here = Path(__file__).parent
    return _of_files(here, here.rglob("*.py"))


def _of_files(root: Path, files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            inside = hashlib.file_digest(file, "sha256").digest()
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + inside)
    return total.hexdigest()
