"""How often something of a pipeline was started again after it had died: `restarts.json` in its folder."""

from __future__ import annotations

from contextlib import suppress

from lockgate.flows.capture import alone, read_settings, write_private
from lockgate.flows.home import Home

FILE = "restarts.json"


def count(home: Home, name: str, part: str) -> None:
    """`part`: `router`, `feedback`, or the side whose replica it was. A disk that is full stops nobody."""
    folder = home.root / name
    with suppress(OSError), alone(folder):
        known = counted(home, name)
        write_private(folder / FILE, known | {part: known.get(part, 0) + 1})


def counted(home: Home, name: str) -> dict[str, int]:
    """By part."""
    return {part: n for part, n in read_settings(home.root / name / FILE).items() if isinstance(n, int)}


def names(home: Home) -> list[str]:
    """The pipelines of which something was."""
    return sorted(file.parent.name for file in home.root.glob(f"*/{FILE}"))
