"""Files that belong to a version, kept where MLflow keeps them: with the run that logged it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .client import asking, write
from .location import Location
from .words import ModelVersion

EXPERIMENT = "lockgate"
_RUN_TAG = "lockgate.run"


def record(client: Any, where: Location, version: ModelVersion, folder: str, files: Mapping[str, bytes]) -> str:
    """Log `files` under `lockgate/<folder>` of the version's run; returns the run's id.

    A version that was logged without a run gets one of its own in the experiment `lockgate`, named by a tag on the
    version. Raises `RegistryDown`.
    """
    with asking(where), tempfile.TemporaryDirectory() as scratch:
        run = _run(client, version)
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        client.log_artifacts(run, scratch, f"lockgate/{folder}")
    return run


def _run(client: Any, version: ModelVersion) -> str:
    if known := version.run_id or version.tags.get(_RUN_TAG, ""):
        return known
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    run = str(client.create_run(number, run_name=f"{version.name} version {version.version}").info.run_id)
    client.set_terminated(run)
    write(partial(client.set_model_version_tag, version.name, version.version, _RUN_TAG, run))
    return run
