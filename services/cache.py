"""Artifacts on disk: written beside their place and renamed into it, so that a killed build leaves nothing broken."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lockgate.registry.words import SourceModel
from lockgate.services import digest
from lockgate.services.spec import Parity
from lockgate.services.words import Artifact, ParityEvidence

_LIBRARIES = (
    *("bentoml", "cloudpickle", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxscript", "pandas"),
    *("scikit-learn", "skl2onnx", "skops", "torch"),
)


def built_on() -> dict[str, str]:
    """What the outputs of an artifact may depend on beside the model: machine, Python and libraries."""
    found = {"python": platform.python_version(), "system": sys.platform, "machine": platform.machine()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def key(model: SourceModel, target: str, parity: Parity) -> str:
    what = [model.fetched.digest, target, parity.model_dump(), built_on(), digest.of_our_code()]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def workshop(cache: Path, name: str) -> Iterator[Path]:
    """An empty folder to build in, gone afterwards; one builder at a time for each name, in all processes."""
    from filelock import FileLock

    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        for left in cache.glob(f"{name}.building-*"):  # of a builder that was killed
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.building-", dir=cache))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def store(built: Path, place: Path, manifest: Mapping[str, Any], parity: ParityEvidence) -> None:
    """Move what was built and proven into the cache, whole. `built/artifact` holds the artifact's files."""
    target = manifest["target"]
    about = {"target": target, "digest": digest.of_folder(built / "artifact"), "parity": asdict(parity)}
    (built / "evidence.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    built.rename(place)


def load(place: Path) -> Artifact | None:
    """What is in the cache; an artifact whose files changed there is thrown away."""
    try:
        about = json.loads((place / "evidence.json").read_text(encoding="utf-8"))
        manifest = json.loads((place / "artifact" / "manifest.json").read_text(encoding="utf-8"))
        whole = about["digest"] == digest.of_folder(place / "artifact")
    except (OSError, ValueError):
        whole = False
    if not whole:
        shutil.rmtree(place, ignore_errors=True)
        return None
    evidence = ParityEvidence(**about["parity"])
    return Artifact(place / "artifact", about["target"], about["digest"], evidence, manifest)
