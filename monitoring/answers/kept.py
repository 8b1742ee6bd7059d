"""The bins of a step, kept in a file: a driver that is started again must not fix others, and lose what was counted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lockgate.monitoring.answers.bins import known
from lockgate.monitoring.answers.spreads import Fixed


class Kept:
    """One file for the pipeline. `step`: what names one step of one rollout; the next step's bins replace its."""

    def __init__(self, path: Path, step: str) -> None:
        self._path, self._step = path, step

    def read(self) -> dict[str, Fixed]:
        """By the gate's name; nothing of another step, and nothing of a file that cannot be read."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if found["step"] != self._step:
                return {}
            return {
                gate: Fixed(str(of["output"]), known(of["bins"]), float(of["after"]))
                for gate, of in found["gates"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, gates: Mapping[str, Fixed]) -> None:
        """Whole or not at all. Where the disk does not take it, a driver that is started again fixes new ones."""
        found = {"step": self._step, "gates": {gate: asdict(fixed) for gate, fixed in gates.items()}}
        new = self._path.with_name(self._path.name + ".new")
        with suppress(OSError):
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(found, file)
            new.replace(self._path)
