"""Where a version's files are, and which versions' files are at a place, as far as MLflow's server knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlparse

from lockgate.registry.approvals import APPROVAL, PENDING
from lockgate.registry.auth import standing

PROXY = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/(.+)", re.DOTALL)
"""The path of a file in MLflow's artifact proxy."""
_MODEL, _RUN = re.compile(r"m-[0-9a-f]{32}"), re.compile(r"[0-9a-f]{32}")

Place = tuple[str, ...]
"""What keeps the files, then the parts of the path there; empty where nobody knows."""
_PROXIED = "mlflow-artifacts:"


def proxied(path: str) -> Place:
    """Of a path in MLflow's artifact proxy."""
    return (_PROXIED, *_parts(path))


def below(place: Place, path: str) -> Place:
    """Of a path relative to a place that is known."""
    return (*place, *_parts(path)) if place else ()


def of_run(run_id: str) -> Place:
    """Where a run's files are. Empty where there is no such run."""
    from mlflow import MlflowException
    from mlflow.server.handlers import _get_tracking_store

    with suppress(MlflowException):
        return _place(str(_get_tracking_store().get_run(run_id).info.artifact_uri))
    return ()


def of_model(model_id: str) -> Place:
    """Where the files of a logged model are. Empty where there is none such."""
    from mlflow import MlflowException
    from mlflow.server.handlers import _get_tracking_store

    with suppress(MlflowException):
        return _place(str(_get_tracking_store().get_logged_model(model_id).artifact_location))
    return ()


def of_version(version: Any) -> Place:
    from mlflow.server.handlers import _get_model_registry_store

    return _place(str(_get_model_registry_store().get_model_version_download_uri(version.name, version.version)))


def near(place: Place, *, whole: bool) -> Iterator[Any]:
    """Versions whose files may be at a place, and the copies of these; `whole`: or anywhere below it."""
    found = [version for query in _queries(place, whole=whole) for version in standing.versions(query)]
    seen = set()
    while found:
        version = found.pop()
        uri = f"models:/{version.name}/{version.version}"
        if uri in seen:
            continue
        seen.add(uri)
        yield version
        found += [copy for copy in standing.versions(standing.equals("source_path", uri)) if copy.source == uri]


def pending() -> Iterator[Any]:
    """Versions whose page says that something is asked."""
    return standing.versions(f"tags.`{APPROVAL}` = '{PENDING}'")


def _queries(place: Place, *, whole: bool) -> Iterator[str]:
    for part in place:
        if _MODEL.fullmatch(part) or _RUN.fullmatch(part):
            yield f"source_path LIKE '%{part}%'"
        if _RUN.fullmatch(part):
            yield f"run_id = '{part}'"
    if whole:  # a folder above them all
        for said in (PENDING, "approved"):
            yield f"tags.`{APPROVAL}` LIKE '{said}%'"


def _place(uri: str) -> Place:
    parsed = urlparse(uri)
    if (through := PROXY.search(parsed.path)) and parsed.scheme in ("http", "https"):
        return proxied(through[1])
    if parsed.scheme == "mlflow-artifacts":
        return proxied(parsed.path)
    if parsed.scheme == "runs":
        run, *path = _parts(parsed.path) or ("",)
        return below(of_run(run), "/".join(path))
    if parsed.scheme == "models" and _MODEL.fullmatch(model := parsed.path.strip("/")):
        return of_model(model)
    kept = f"{parsed.scheme}://{parsed.netloc}" if parsed.scheme not in ("", "file") else "file:"
    return (kept, *_parts(parsed.path))


def _parts(path: str) -> Place:
    return tuple(part for part in path.split("/") if part not in ("", "."))
