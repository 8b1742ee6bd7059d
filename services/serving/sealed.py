"""The files that were packaged, by their sha256: compared before any of them is read, so that nothing else is loaded.

The list of them lies beside them; its own sha256 is the seal, which the bento's arguments hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

LIST = "sealed.json"
_NOT_OURS = {LIST, "model.yaml"}
"""BentoML writes the second when the entry is closed, and nothing here reads it."""


class Changed(Exception):
    """What was packaged is not what is here: a sentence."""


def write(folder: Path) -> str:
    """List the files under `folder`, once nobody else may write to them. Returns the seal."""
    close(folder)
    listed = json.dumps({name: _digest(folder / name) for name in sorted(_files(folder))}, indent=1)
    (folder / LIST).write_text(listed, encoding="utf-8")
    return hashlib.sha256(listed.encode()).hexdigest()


def close(folder: Path) -> None:
    """Take from everybody else the right to write: it came with copies of what was made under a umask like 000."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~stat.S_IWOTH)


def read(folder: Path, name: str, seal: str) -> bytes:
    """One file, if it is the one that was packaged. Raises `Changed`."""
    listed = _listed(folder, seal)
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != listed.get(name):
        raise _changed(folder, f"{name} has other bytes")
    return content


def check(folder: Path, seal: str) -> None:
    """Every file is as it was packaged, and there is no other. Raises `Changed`, naming the first that is not."""
    listed = _listed(folder, seal)
    there = set(_files(folder))
    if missing := sorted(set(listed) - there):
        raise _changed(folder, f"{missing[0]} is missing")
    if more := sorted(there - set(listed)):
        raise _changed(folder, f"{more[0]} was not packaged (the model's own code may have written it)")
    for name in sorted(there):
        if _digest(folder / name) != listed[name]:
            raise _changed(folder, f"{name} has other bytes")


def _listed(folder: Path, seal: str) -> Mapping[str, str]:
    try:
        text = (folder / LIST).read_bytes()
    except OSError:
        raise _changed(folder, f"{LIST} is missing") from None
    if hashlib.sha256(text).hexdigest() != seal:
        raise _changed(folder, f"{LIST} has other bytes")
    found: dict[str, str] = json.loads(text)
    return found


def _files(folder: Path) -> Iterator[str]:
    """Names relative to `folder`. A link leads to bytes that somebody else may change after they were compared."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise _changed(folder, f"{relative} is {'a link' if stat.S_ISLNK(mode) else 'no plain file'}")
            if mode & stat.S_IWOTH:
                raise _open(folder, relative)
            if stat.S_ISREG(mode) and relative not in _NOT_OURS:
                yield relative


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(folder: Path, what: str) -> Changed:
    return Changed(
        f"{what} in {folder}: this is not what was packaged. Find out who changed it; then delete the bento and its "
        "entry (`bentoml delete`), and it is built again from the registry"
    )


def _open(folder: Path, name: str) -> Changed:
    return Changed(
        f"everybody may write to {name} in {folder}, so anybody could change it after it was compared. Say "
        f"`chmod -R o-w {shlex.quote(str(folder))}`, find out what made it so (a umask like 000 does), and start again"
    )
