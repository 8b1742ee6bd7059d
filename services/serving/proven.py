"""Which artifact a replica may run: the one that was proven on hardware like this, else one that is proven here."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compile import engines, fingerprint, reference
from ..compile.parity import Proof
from ..compile.ports import Engine
from ..compile.words import Tolerance
from .threads import threads

log = logging.getLogger("bentoml.lockgate")

FALLBACK, REFERENCE = "fallback", "reference"


class NotProven(Exception):
    """No artifact of this bento may run on this machine: a sentence."""


@dataclass(frozen=True, slots=True)
class Proven:
    """`how` is a sentence when this is not what the search chose on hardware like this. `threads` are of a call."""

    engine: Engine
    manifest: Mapping[str, Any]
    threads: int
    how: str = ""


def load(entry: Path, tolerance: Mapping[str, Any], max_batch: int) -> Proven:
    """The engine to serve with. Raises `NotProven`; and where the artifact was proven, what loading it raises."""
    manifest = _manifest(entry)
    count = threads(manifest.get("threads", 1))  # of what was chosen, whichever runs
    if not (changed := _changed(manifest)):
        return Proven(engines.load(entry, manifest, count), manifest, count)
    where = "; ".join(changed)
    tried: list[str] = []
    for folder in (entry, entry / FALLBACK):
        if not (folder / "manifest.json").is_file():
            continue
        found = _manifest(folder)
        name = f"{found['target']} {found['precision']}"
        if not found.get("portable"):
            tried.append(f"{name} holds machine code of the hardware it was proven on")
            continue
        try:
            engine = engines.load(folder, found, count)
            evidence = Proof(reference.read(entry / REFERENCE), Tolerance(**tolerance), found["precision"])
            proof = evidence.of(engine, name, max_batch)
        except Exception as failed:  # noqa: BLE001 - a library fails in its own way; the next may not
            tried.append(f"{name} does not load: {reference.line(failed)}")
            continue
        if proof.passed:
            how = f"compiled and proven again on this machine ({where})" + "".join(f"; {t}" for t in tried)
            log.warning("%s: %s", name, how)
            return Proven(engine, found, count, how)
        tried.append(f"{name} differs here: {proof.reason}")
    raise NotProven(
        f"this machine is not like the one where the artifact was proven ({where}), and nothing in the bento can be "
        f"proven here: {'; '.join(tried)}. Compile on hardware like this, or add `eager` to service.compile.targets"
    )


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def _changed(manifest: Mapping[str, Any]) -> list[str]:
    return fingerprint.differences(manifest.get("fingerprint") or {}, fingerprint.of(manifest))
