"""What the processes that hold the source model do. Their arguments and answers are pickled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import fingerprint, reference
from .cache import of_folder
from .cases import first
from .errors import Lost
from .ports import Compiler
from .words import About, Candidate, Job, Model, Options, Tolerance

MANIFEST, _SHOWN = "manifest.json", "shown.json"
_CALIBRATION_ROWS = 256
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false"}


def answers(open_model: Callable[[], Model], tolerance: Tolerance, max_batch: int, into: Path) -> None:
    """Write the source's own answers into `into`, and what only the opened model shows."""
    model = open_model()
    into.mkdir(parents=True)
    shown = {"storage": model.about.storage, "file": str(model.about.file)}
    (into / _SHOWN).write_text(json.dumps(shown), encoding="utf-8")
    reference.write(model, tolerance, max_batch, into)


def known(about: About, answers: Path) -> About:
    """`about`, with what was seen when the model was opened."""
    shown = json.loads((answers / _SHOWN).read_text(encoding="utf-8"))
    return replace(about, storage=shown["storage"], file=Path(shown["file"]))


@dataclass(frozen=True, slots=True)
class Work:
    """One candidate, as the process that compiles it is told. `answers` is the folder of the source's own."""

    open_model: Callable[[], Model]
    compiler: Compiler
    candidate: Candidate
    options: Options
    answers: Path


def artifact(work: Work, into: Path) -> None:
    """Compile the candidate into `into/artifact`, with its manifest."""
    candidate, options = work.candidate, work.options
    folder = into / "artifact"
    folder.mkdir(parents=True)
    sample = reference.read(work.answers)[0].x
    shared = work.answers.parent / "shared"
    shared.mkdir(exist_ok=True)
    job = Job(
        candidate.precision,
        options.device,
        options.max_batch,
        options.threads,
        first(sample, min(_CALIBRATION_ROWS, len(next(iter(sample.values()))))),
        shared,
        options.tolerance.margin,
    )
    made = work.compiler.compile(work.open_model(), job, folder)
    whole = {**made, "target": candidate.target, "precision": candidate.precision, "device": options.device}
    whole["threads"] = options.threads
    whole["fingerprint"] = fingerprint.of(whole)
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1), encoding="utf-8")


def widened(folder: Path, digest: str, threads: int, into: Path) -> None:
    """The artifact in `folder` as another one in `into/artifact`: the same files, to be served with more threads.

    Raises `Lost` where they are no longer those of `digest`, and `OSError`.
    """
    found = Path(shutil.copytree(folder, into / "artifact"))
    if of_folder(found) != digest:
        raise Lost(f"the files in {folder} changed since they were proven")
    whole = {**manifest(found), "threads": threads}
    (found / MANIFEST).write_text(json.dumps(whole, indent=1), encoding="utf-8")


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return found
