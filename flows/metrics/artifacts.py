"""What each variant is compiled to, and what was proven and measured of it on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate.flows.metrics.sheet import Sheet

_NEWEST = 200
"""Builds that are looked through for one: a machine keeps every build that it ever made."""
Made = Mapping[str, Any]


class Builds:
    """The builds that are known on this machine, by their bentos. Each is read once: a build does not change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._of: dict[str, Made] = {}
        self._seen: set[Path] = set()

    def of(self, bento: str) -> Made | None:
        """The build of this bento, as JSON values; None where it was made elsewhere."""
        if bento not in self._of:
            self._look()
        return self._of.get(bento)

    def _look(self) -> None:
        try:
            new = [path for path in self._folder.glob("*.json") if path not in self._seen]
            new.sort(key=lambda path: path.stat().st_mtime)
        except OSError:
            return
        for path in new[-_NEWEST:]:
            self._seen.add(path)
            try:
                made = json.loads(path.read_bytes())
                self._of[str(made["bento"]["tag"])] = made
            except (OSError, ValueError, KeyError, TypeError):
                continue


def put(sheet: Sheet, name: str, facts: Mapping[str, str], builds: Builds) -> None:
    """`facts`: of the rollout, once both sides are built."""
    for key, bento in facts.items():
        variant = key.removesuffix("_bento")
        if variant == key:
            continue
        about = {what: facts.get(f"{variant}_{what}", "") for what in ("version", "target", "precision")}
        sheet.put("lockgate_artifact_info", 1, name=name, variant=variant, **about)
        if made := builds.of(bento):
            _measured(sheet, name, variant, made)


def _measured(sheet: Sheet, name: str, variant: str, made: Made) -> None:
    parity = made["parity"]
    sheet.put("lockgate_parity_max_abs_error", parity["max_abs_error"], name=name, variant=variant)
    sheet.put("lockgate_parity_agreement_ratio", parity["agreement"], name=name, variant=variant)
    row = next((row for row in made["rows"] if row["digest"] == made["bento"]["digest"]), None)
    if row is None:
        return
    sheet.put("lockgate_compile_seconds", row["compile_seconds"], name=name, variant=variant)
    for timing in row["timings"]:
        for quantile, of in (("0.5", "p50"), ("0.99", "p99")):
            batch = str(timing["batch"])
            sheet.put(
                "lockgate_artifact_latency_seconds",
                timing[of],
                name=name,
                variant=variant,
                batch=batch,
                quantile=quantile,
            )
