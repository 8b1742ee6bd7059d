"""An artifact becomes a bento that plain `bentoml serve <tag>` starts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from lockgate.registry.words import FetchedModel
from lockgate.services import digest
from lockgate.services.compile import table
from lockgate.services.compile.cache import of_folder
from lockgate.services.compile.environment import handed_on
from lockgate.services.compile.words import Artifact, Search
from lockgate.services.errors import PackagingFailed
from lockgate.services.packing import INSIDE
from lockgate.services.serving.schema import Schema
from lockgate.services.spec import ServiceSpec
from lockgate.services.words import Bento

_SERVING_NEEDS = (
    "bentoml",
    "httptools",
    "numpy",
    "orjson",
    "prometheus-client",
    "pyarrow",
    "pydantic",
    "uvicorn",
    "uvloop",
)
_LONGEST_NAME = 63
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}


def home() -> Path:
    """BentoML's own folder: BENTOML_HOME, or `bentoml` in the user's home."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")


def package(model: FetchedModel, found: Search, *, name: str, spec: ServiceSpec, spec_hash: str) -> Bento:
    """The bento of what a search chose; packaged before, it is found again. Raises `PackagingFailed`."""
    from filelock import FileLock

    artifact = found.chosen
    if artifact is None:
        raise PackagingFailed(f"nothing was chosen for {model.version}, so there is nothing to package.")
    job = _job(model, found, artifact, (name, spec, spec_hash))
    store = home()
    store.mkdir(parents=True, exist_ok=True)
    with FileLock(store / f".lockgate-{job['name']}.lock"):
        if not (store / "bentos" / job["name"] / job["version"]).is_dir():
            _build_apart(job, artifact, store)
    tag = f"{job['name']}:{job['version']}"
    made, of = artifact.candidate, model.version
    return Bento(tag, of.name, of.version, artifact.digest, made.target, made.precision, seal_of(tag))


def seal_of(tag: str) -> str:
    """sha256 of the bento's own files: its code, and the arguments that hold the seal on the model's files.

    What Python compiled beside the code is thrown away, so that nothing but the code is run. Empty where there is no
    such bento, or a link in it.
    """
    name, _, version = tag.partition(":")
    folder = home() / "bentos" / name / version
    for compiled in list(folder.rglob("__pycache__")):
        shutil.rmtree(compiled, ignore_errors=True)
    try:
        return of_folder(folder, leave_out="__pycache__") if folder.is_dir() else ""
    except OSError:
        return ""


def packaged(tag: str) -> Bento | None:
    """A bento of ours that is in the store, by its full tag; what it holds is in its labels."""
    import yaml

    name, _, version = tag.partition(":")
    try:
        with (home() / "bentos" / name / version / "bento.yaml").open(encoding="utf-8") as file:
            labels = yaml.safe_load(file)["labels"]
        return Bento(
            tag, labels["model"], labels["version"], labels["digest"], labels["target"], labels.get("precision", "fp32")
        )
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return None


def _job(model: FetchedModel, found: Search, artifact: Artifact, under: tuple[str, ServiceSpec, str]) -> dict[str, Any]:
    """Everything the builder needs, as JSON values. The version follows from what goes in, so a repeat finds it."""
    name, spec, spec_hash = under
    fallback = found.fallback
    bento_name = _bento_name(name)
    labels = {
        "model": model.version.name,
        "version": model.version.version,
        "digest": artifact.digest,
        "target": artifact.target,
        "precision": artifact.candidate.precision,
        "spec-hash": spec_hash,
    }
    settings = _settings(spec)
    inside = {key: value for key, value in labels.items() if key != "spec-hash"}  # another spec may give the same bento
    tolerance = spec.compile.parity.model_dump()  # as numbers: in JSON mode a share becomes text for people
    proofs = [fallback.digest if fallback else "", found.reference.parent.name, tolerance]
    what = json.dumps([inside, settings, proofs, digest.of_our_code()], sort_keys=True)
    version = f"{artifact.digest[:12]}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    store = f"{bento_name}:{version}"
    named = {k.replace("-", "_"): v for k, v in labels.items() if k not in ("target", "precision")}
    return {
        "name": bento_name,
        "version": version,
        "labels": labels,
        "args": {"name": bento_name, "store": store, **named, **settings},
        "packages": _pinned({**(fallback.manifest["packages"] if fallback else {}), **artifact.manifest["packages"]}),
        "artifact": str(artifact.path),
        "fallback": [[str(fallback.path), "fallback", fallback.digest]] if fallback else [],
        "reference": str(found.reference),
        "table": table.values(found),
        "about": {
            "signature": dict(model.signature),
            "inputs": [f.name for f in Schema.of(model.signature["inputs"], tuple(model.example)).fields],
            "tolerance": tolerance,
        },
    }


def _settings(spec: ServiceSpec) -> dict[str, Any]:
    return {
        "timeout": spec.timeout,
        "max_body": spec.max_body,
        "max_batch": spec.batching.max_batch_size,
        "max_wait": spec.batching.max_latency or 0.0,
    }


def _pinned(engine: Mapping[str, str]) -> list[str]:
    """Exactly what parity was proven with; local build tags (`+cpu`) are in no package index."""
    serving = {name: installed(name).partition("+")[0] for name in _SERVING_NEEDS}
    return [f"{name}=={number}" for name, number in sorted({**serving, **engine}.items())]


def _bento_name(name: str) -> str:
    found = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")[:_LONGEST_NAME].rstrip("._-")
    if not found:
        raise PackagingFailed(f"{name!r} gives no name for a bento; use letters or digits in the spec's `name`.")
    return found


def _build_apart(job: Mapping[str, Any], artifact: Artifact, store: Path) -> None:
    """Build in a BENTOML_HOME of its own and rename the finished folders, so that nothing half-made is ever served."""
    prefix = f".lockgate-{job['name']}-building-"
    for left in store.glob(f"{prefix}*"):  # of a builder that was killed; its lock is ours now
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=store) as scratch:
        _run_builder(job, Path(scratch), artifact)
        for kind in ("models", "bentos"):  # the bento last: it is what says that packaging is done
            made = Path(scratch) / kind / job["name"] / job["version"]
            place = store / kind / job["name"] / job["version"]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            made.rename(place)
            (place.parent / "latest").unlink(missing_ok=True)  # BentoML finds the newest again by itself


def _run_builder(job: Mapping[str, Any], scratch: Path, artifact: Artifact) -> None:
    """In a process of its own: BentoML builds its second bento in one process from the first one's module."""
    source = scratch / "source"
    for part in ("compile", "serving"):
        ours = Path(__file__).parent / part
        shutil.copytree(ours, source / INSIDE / part, ignore=shutil.ignore_patterns("__pycache__"))
    (source / INSIDE / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "lockgate.services.packing"],
        input=json.dumps({**job, "source": str(source)}),
        env={**handed_on(os.environ), **QUIET, "BENTOML_HOME": str(scratch)},
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise PackagingFailed(f"BentoML could not package the {artifact.target} artifact {artifact.path}:\n{last}")
