"""Files that belong to a version, kept where MLflow keeps them: with the run that logged it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .client import asking, write
from .location import Location
from .words import ModelVersion, Run

EXPERIMENT = "lockgate"
_RUN_TAG = "lockgate.run"


def record(client: Any, where: Location, version: ModelVersion, folder: str, files: Mapping[str, bytes]) -> Run:
    """Log `files` under `lockgate/<folder>` of the version's run; returns where they are.

    A version that was logged without a run gets one of its own, beside the model in its experiment (in the experiment
    `lockgate` where there is none), named by a tag on the version. Raises `RegistryDown`.
    """
    with asking(where), tempfile.TemporaryDirectory() as scratch:
        run, into = _run(client, version), f"lockgate/{folder}"
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        client.log_artifacts(run, scratch, into)
        return Run(str(client.get_run(run).info.experiment_id), run, into)


def _run(client: Any, version: ModelVersion) -> str:
    if known := version.run_id or version.tags.get(_RUN_TAG, ""):
        return known
    run = str(client.create_run(_experiment(client, version), run_name=f"lockgate: {version}").info.run_id)
    client.set_terminated(run)
    write(partial(client.set_model_version_tag, version.name, version.version, _RUN_TAG, run))
    return run


def _experiment(client: Any, version: ModelVersion) -> str:
    model = version.source.removeprefix("models:/")
    if model.startswith("m-") and "/" not in model:
        return str(client.get_logged_model(model).experiment_id)
    there = client.get_experiment_by_name(EXPERIMENT)
    return str(there.experiment_id if there else client.create_experiment(EXPERIMENT))
