"""A pyfunc: the model's whole folder travels, and MLflow's loader of it runs in the replica."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import source
from ..words import About, Device, Job, Model, Precision

_FOLDER = "pyfunc"
_PINNED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:==\s*([^\s;,#]+))?")


def needs(about: About) -> set[str]:
    """MLflow too: what is pickled are its classes, and its loaders read the rest."""
    return {"mlflow", "cloudpickle"} | ({"pandas"} if about.inputs[0].column else set())


def refuses(about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG001
    if device != "cpu":
        return "only a pyfunc's own code could put it on a GPU"
    return None if precision == "fp32" else f"a pyfunc has no {precision}; it computes as its author wrote it"


def write(model: Model, job: Job, into: Path) -> dict[str, Any]:  # noqa: ARG001
    """`call` of the manifest is what MLflow's `load_model` and `predict` would do with the folder."""
    folder = model.about.file.parent
    shutil.copytree(folder, into / _FOLDER)
    meta = model.native.metadata
    told = meta.flavors["python_function"]
    inputs, parameters = model.about.inputs, meta.get_params_schema()
    return {
        "engine": "pyfunc",
        "file": _FOLDER,
        "loader": told["loader_module"],
        "data": told.get("data", ""),
        "code": told.get("code") or "",
        "config": told.get("config") or {},
        "call": told.get("predict_fn", "predict"),
        "parameters": {p["name"]: p["default"] for p in parameters.to_dict()} if parameters else None,
        "columns": [i.name for i in inputs] if inputs[0].column else None,
        "named": meta.get_input_schema().has_input_names(),
        "feeds": [],
        "packages": dict(_required(folder / "requirements.txt")) | source.versions(needs(model.about)),
    }


def _required(path: Path) -> Iterator[tuple[str, str]]:
    """What the author says the code needs: in the version that is here, with which parity is proven."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        found = _PINNED.match(line)
        if not found:  # an option, a comment, nothing
            continue
        name, pinned = found.groups()
        try:
            yield name, version(name).partition("+")[0]
        except PackageNotFoundError:
            if pinned:
                yield name, pinned
