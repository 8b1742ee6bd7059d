"""One model, one ONNX file: what the targets onnxruntime, tensorrt and openvino begin with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import source
from ..words import About, Arrays, Job, Model

FILE = "model.onnx"
_WRITERS = {
    "pytorch": "onnx_from_torch",
    "sklearn": "onnx_from_sklearn",
    "onnx": "onnx_from_onnx",
    "keras": "onnx_from_keras",
    "xgboost": "onnx_from_boosted",
    "lightgbm": "onnx_from_boosted",
}
_SAME_SHAPES = ("pytorch", "onnx", "keras")
"""The other flavours answer (n,) where their graph answers (n, 1)."""
_TRACED = {"pytorch": "eager or torch-compile", "keras": "eager or savedmodel"}
"""Their graphs are exported from a run on the example, with free rows; and what takes any size instead."""
CLASSIC = ("sklearn", "xgboost", "lightgbm")
"""Their graphs are made of ONNX's operators for classic machine learning, ai.onnx.ml."""
BOOSTED = ("xgboost", "lightgbm")
Feeds = list[dict[str, Any]]


def refusal(about: About) -> str | None:
    """Each writer has `NEEDS`, the modules it takes, and `write(model, path)`, which returns the feeds."""
    if about.flavour not in _WRITERS:
        return f"there is no way from {about.flavour} to ONNX"
    held = source.held(about, _TRACED[about.flavour]) if about.flavour in _TRACED else None
    return held or source.missing({"onnx", *_writer(about).NEEDS})


def environment(about: About) -> Mapping[str, str]:
    """What a writer's library must find before it is imported: `ENVIRONMENT`, where it has one."""
    found: Mapping[str, str] = getattr(_writer(about), "ENVIRONMENT", {}) if about.flavour in _WRITERS else {}
    return found


def shared(model: Model, job: Job) -> tuple[Path, Feeds]:
    """The graph and what feeds its inputs, exported by the first candidate that needs it. Not to be changed."""
    place, feeds = source.once(job.shared, "onnx", lambda folder: _writer(model.about).write(model, folder / FILE))
    return place / FILE, feeds


def write(model: Model, job: Job, into: Path) -> tuple[Path, Feeds]:
    """A copy of one's own."""
    path, feeds = shared(model, job)
    for file in path.parent.glob(f"{FILE}*"):  # weights beyond 2 GB are beside it
        shutil.copyfile(file, into / file.name)
    return into / FILE, feeds


def _writer(about: About) -> Any:
    return import_module(f"{__package__}.{_WRITERS[about.flavour]}")


def outputs(model: Model, path: Path) -> list[dict[str, Any]]:
    """The graph's outputs under the source's names: by name where they are the same, else in order."""
    import onnx

    names = [o.name for o in onnx.load_model(str(path), load_external_data=False).graph.output]
    wanted = source.outputs(model)
    if len(wanted) > len(names):
        raise ValueError(f"the source has {len(wanted)} outputs, the ONNX graph {len(names)}")
    for i, want in enumerate(wanted):
        want["from"] = want["name"] if want["name"] in names else names[i]
        if model.about.flavour in _SAME_SHAPES:
            want["row_shape"] = None
    return wanted


def calls(feeds: Feeds, rows: Arrays, most: int, batch: int) -> list[dict[str, Any]]:
    """What a session is called with: up to `most` rows, `batch` at a time; the last call may have fewer."""
    from ..engines.feeds import take

    count = min(most, len(next(iter(rows.values()))))
    return [
        {fed["to"]: take(fed, {k: v[at : min(at + batch, count)] for k, v in rows.items()}) for fed in feeds}
        for at in range(0, count, batch)
    ]
