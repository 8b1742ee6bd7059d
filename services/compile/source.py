"""What every compiler asks of a source model: its inputs as arguments, its outputs' names, its libraries."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from .cache import of_folder
from .engines.feeds import feed
from .errors import NotMade
from .words import About, Input, Model

_ANSWER = "answer.json"


def tensors(model: Model) -> list[dict[str, Any]]:
    """Each tensor an argument; columns become one float matrix, as MLflow feeds PyTorch models."""
    inputs = model.about.inputs
    names = tuple(i.name for i in inputs)
    if inputs[0].column:
        return [feed(names, "float32", "matrix")]
    dtypes = {i.name: i.dtype for i in inputs}
    return [feed([name], dtypes[name]) for name in _order(model, names)]


def _order(model: Model, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of `forward`'s parameters where a pickled module has them by the signature's names, else the signature's."""
    if model.about.storage != "pickle":
        return names
    try:
        first = tuple(inspect.signature(model.native.forward).parameters)[: len(names)]
    except (TypeError, ValueError):  # TorchScript
        return names
    return first if set(first) == set(names) else names


def outputs(model: Model) -> list[dict[str, Any]]:
    """Names and row shapes of what the source answers: that decides."""
    answer = model.run(model.about.example)
    return [{"name": name, "row_shape": list(value.shape[1:])} for name, value in answer.items()]


def free(about: About) -> Input | None:
    """The first input with a size that is free beside its rows: requests may have any there."""
    return next((i for i in about.inputs if any(size < 0 for size in i.shape[1:])), None)


def held(about: About, instead: str) -> str | None:
    """Why a target that makes its kernels for the example's sizes cannot take these inputs, in one line, or None."""
    if (found := free(about)) is None:
        return None
    return (
        f"input {found.name!r} has a free size beside its rows ({list(found.shape)}), and what this target makes holds "
        f"the example's: fix the size in the signature, or serve with {instead}"
    )


def missing(modules: Iterable[str]) -> str | None:
    """One line naming the modules that are not installed, or None."""
    absent = [name for name in sorted(modules) if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed" if absent else None


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Installed distributions that provide these modules, as a bento pins them."""
    providers = packages_distributions()
    found = {}
    for module in sorted(modules):
        for name in sorted(set(providers.get(module, ()))):
            with contextlib.suppress(PackageNotFoundError):
                found[name] = version(name).partition("+")[0]
    return found


def once(shared: Path, name: str, write: Callable[[Path], Any]) -> tuple[Path, Any]:
    """What several candidates begin with: written by the first of them; its path, and what `write` returned (JSON).

    `write` gets the path of a new folder. A killed writer leaves nothing behind that another would take for whole. What
    it raises is kept too and raised again as `NotMade`: an export that fails need not fail for every candidate.
    """
    place = shared / name
    if not _whole(place):
        scratch = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=shared))
        try:
            answer = {"ok": write(scratch)}
        except Exception as failed:  # noqa: BLE001 - an exporter raises anything
            answer = {"error": f"{type(failed).__name__}: {(str(failed).strip().splitlines() or [''])[0][:300]}"}
        (scratch / _ANSWER).write_text(json.dumps({"digest": of_folder(scratch), **answer}), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        scratch.rename(place)
    answer = json.loads((place / _ANSWER).read_text(encoding="utf-8"))
    if "error" in answer:
        raise NotMade(answer["error"])
    return place, answer["ok"]


def _whole(place: Path) -> bool:
    """Whether it is there as it was written: a graph is unpickled when it is read."""
    try:
        digest: str = json.loads((place / _ANSWER).read_text(encoding="utf-8"))["digest"]
        return of_folder(place, leave_out=_ANSWER) == digest
    except (OSError, ValueError, KeyError):
        return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn about their own deprecations and missing extras, which say nothing about the model."""
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
