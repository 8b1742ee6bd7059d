"""What a version was trained on, as far as MLflow keeps it: a file of its run, or the data set that the run logged.

A data set is an address that whoever logged the run wrote down. Reading it lets them choose what this machine reads, in
its files and its network, so it is only done where the spec asks for it.
"""

from __future__ import annotations

import json
import shutil
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from .client import quiet_import, quiet_mlflow
from .words import ModelVersion

_TRAINING = "training"
"""The context in which MLflow logs such a data set."""
_SUFFIXES = (".parquet", ".csv")
_LARGEST = 2**30
"""Bytes of a file; larger ones are none."""
_WITHIN, _PATIENCE = 600.0, 30.0
"""Seconds that a download from a web server may take, and between two of its parts."""
_PART = 2**20


def training_file(
    client: Any, version: ModelVersion, named: tuple[str, Path], *, data_set: bool = False
) -> Path | None:
    """A file of training rows; `named`: the artifact to look for, and the folder to put it into.

    None where the run has no such artifact, or none of up to 1 GiB; and no data set whose source can be read as such a
    file, or it is not asked for (`data_set`).
    """
    artifact, into = named
    if not version.run_id:
        return None
    folder = artifact.rpartition("/")[0]
    listed = client.list_artifacts(version.run_id, folder)
    if any(found.path == artifact and _fits(found) for found in listed):
        return Path(client.download_artifacts(version.run_id, artifact, str(into)))
    if not data_set:
        return None
    inputs = client.get_run(version.run_id).inputs.dataset_inputs
    logged = sorted(inputs, key=lambda one: all(tag.value != _TRAINING for tag in one.tags))
    found = (_data_set(client, _address(one.dataset), into) for one in logged)
    return next((path for path in found if path is not None), None)


def _fits(found: Any) -> bool:
    return not found.is_dir and (found.file_size or 0) <= _LARGEST


def _address(logged: Any) -> str:
    """Of the file behind a data set; empty for one that was made in memory, or comes from code."""
    try:
        source = json.loads(logged.source)
        return str(source.get("uri") or source.get("url") or "")
    except (ValueError, AttributeError):
        return ""


def _data_set(client: Any, address: str, into: Path) -> Path | None:
    """A copy in the folder `into`; None where it cannot be had."""
    try:
        at = urlsplit(address)
        if not at.path.endswith(_SUFFIXES):
            return None
        copy = into / f"data_set{Path(at.path).suffix}"
        if at.scheme in ("http", "https"):
            return _downloaded(address, copy)
        if at.scheme in ("", "file"):
            return _copied(Path(unquote(at.path) if at.scheme else address), copy)
        return _stored(client, address, into)
    except (quiet_mlflow().MlflowException, HTTPException, ImportError, TypeError, OSError, ValueError):
        return None


def _downloaded(address: str, copy: Path) -> Path | None:
    end, size = time.monotonic() + _WITHIN, 0
    with urlopen(address, timeout=_PATIENCE) as answer, copy.open("wb") as file:  # noqa: S310 - http or https
        while part := answer.read1(_PART):
            size += len(part)
            if size > _LARGEST or time.monotonic() > end:
                return None
            file.write(part)
    return copy


def _copied(path: Path, copy: Path) -> Path | None:
    """Only of a whole path: a relative one was meant for the machine that logged it."""
    if not path.is_absolute() or not path.is_file() or path.stat().st_size > _LARGEST:
        return None
    return Path(shutil.copyfile(path, copy))


def _stored(client: Any, address: str, into: Path) -> Path | None:
    """From a store that MLflow reads: s3, gs, mlflow-artifacts, runs."""
    artifacts = quiet_import("mlflow.artifacts")
    folder, _, name = address.rpartition("/")
    within = f"{folder}/" if folder.startswith("runs:") else folder  # of a run alone there is no address without it
    listed = artifacts.list_artifacts(within, tracking_uri=client.tracking_uri)
    if not any(Path(found.path).name == name and _fits(found) for found in listed):
        return None
    path = Path(artifacts.download_artifacts(address, dst_path=str(into), tracking_uri=client.tracking_uri))
    return path if path.is_file() else None
