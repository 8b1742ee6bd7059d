"""What was compiled, by digest: written beside its place and renamed into it, so that a kill leaves nothing broken."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from . import fingerprint
from .words import About, Candidate, Options

ARTIFACT, MADE = "artifact", "made.json"
_LIBRARIES = (
    *("cloudpickle", "keras", "lightgbm", "nncf", "numpy", "onnx", "onnxmltools", "onnxruntime", "onnxruntime-gpu"),
    *("onnxruntime-openvino", "onnxscript", "openvino", "pandas", "scikit-learn", "skl2onnx", "skops", "tensorflow"),
    *("tensorrt", "torch", "torch-tensorrt", "torchao", "transformers", "triton", "xgboost", "xgboost-cpu"),
)


def built_on(options: Options) -> dict[str, Any]:
    """What a compiled artifact may depend on beside the model: machine, Python and libraries."""
    return {**fingerprint.machine(options.device), "libraries": fingerprint.libraries(_LIBRARIES)}


def key(about: About, candidate: Candidate, options: Options) -> str:
    """Of the artifact: the same model, target, precision and machine give the same one."""
    what = [about.digest, candidate.target, candidate.precision, options.device, options.max_batch, options.threads]
    return _hash([*what, options.tolerance.rows, built_on(options), of_our_code()])


def reference_key(about: About, options: Options) -> str:
    """Of the source's answers."""
    libraries = built_on(options)["libraries"]
    return _hash([about.digest, options.tolerance.rows, options.max_batch, libraries, of_our_code()])


@contextmanager
def workshop(cache: Path, name: str) -> Iterator[Path]:
    """An empty folder to build in, gone afterwards; one builder at a time for each name, in all processes."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(f"{name}.building-*"):  # of a builder that was killed
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.building-", dir=cache))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def store(built: Path, place: Path, seconds: float) -> None:
    """Move what was built into the cache, whole. `built` holds `artifact/`; `seconds` is what compiling took."""
    made = {"digest": of_folder(built / ARTIFACT), "seconds": seconds}
    (built / MADE).write_text(json.dumps(made), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    built.rename(place)


def load(place: Path) -> Mapping[str, Any] | None:
    """What is known of an artifact in the cache (`digest`, `seconds`); one whose files changed is thrown away."""
    try:
        made: dict[str, Any] = json.loads((place / MADE).read_text(encoding="utf-8"))
        whole = made["digest"] == of_folder(place / ARTIFACT)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        shutil.rmtree(place, ignore_errors=True)
        return None
    return made


def of_folder(folder: Path, leave_out: str = "") -> str:
    """sha256 over the names and bytes of every file under `folder`, but for those called `leave_out`.

    Raises `OSError` for a link: the bytes that it leads to may change after they were read.
    """
    found = [path for path in folder.rglob("*") if leave_out not in path.relative_to(folder).parts]
    if odd := next((path for path in found if path.is_symlink() or not (path.is_dir() or path.is_file())), None):
        raise OSError(f"{odd} is a link, or no plain file")
    return _of_files(folder, (path for path in found if path.is_file()))


def size_of(folder: Path) -> int:
    """Bytes of every file under `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@cache
def of_our_code() -> str:
    """Of this package's own sources: another version of them may build something else from the same model."""
    here = Path(__file__).parent
    return _of_files(here, here.rglob("*.py"))


def _of_files(root: Path, files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            inside = hashlib.file_digest(file, "sha256").digest()
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + inside)
    return total.hexdigest()


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
