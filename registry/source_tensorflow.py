"""TensorFlow: a SavedModel of a tf.Module (mlflow.tensorflow) or of an exported Keras model (mlflow.keras)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checked import inside
from .errors import Untrusted, Unusable
from .naming import inputs, matrix
from .spec import Trust
from .words import Arrays, FetchedModel, SourceModel

_MATRIX = "matrix"
_FILE_OPERATORS = (
    *(b"ReadFile", b"WriteFile", b"PyFunc", b"PrintV2", b"MatchingFiles", b"ImmutableConst", b"DebugIdentity"),
    *(b"SummaryWriter", b"SummaryFileWriter", b"SummaryDbWriter", b"ReaderV2", b"LineReader", b"RecordReader"),
    *(b"LineDataset", b"RecordDataset", b"SaveDataset", b"LoadDataset", b"SnapshotDataset", b"CacheDataset"),
)
"""A graph with these reads, writes or lists files of whoever runs it, or calls into Python."""


def load(fetched: FetchedModel, options: Mapping[str, Any], trust: Trust) -> SourceModel:
    folder, code = _stored(fetched.path, options)
    if code and not trust.pickle:
        raise Untrusted(_vouch_sentence(fetched, code))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    with tf.device("cpu"):
        native = tf.saved_model.load(str(folder))
    found = inputs(fetched.signature)
    names = [_MATRIX] if found[0].column else [i.name for i in found]
    call = _caller(native, names)

    def run(x: Arrays) -> Arrays:
        values = {_MATRIX: matrix(x, found, "float32")} if found[0].column else x
        with tf.device("cpu"):
            return _named(call({name: tf.constant(values[name]) for name in names}))

    return SourceModel(fetched, native, "savedmodel", str(folder.relative_to(fetched.path.resolve())), run)


def storage(path: Path, options: Mapping[str, Any]) -> tuple[str, Trust]:
    """How the folder is read, and the trust without which it is not."""
    return "savedmodel", Trust(pickle=bool(_stored(path, options)[1]))


def _stored(path: Path, options: Mapping[str, Any]) -> tuple[Path, tuple[str, ...]]:
    """The SavedModel's folder, and which operators in it reach beyond the model."""
    if "saved_model_dir" in options:
        folder = inside(path, str(options["saved_model_dir"]))
    else:
        folder = inside(path, str(Path(options.get("data", "data")) / "model"))
    try:
        graph = (folder / "saved_model.pb").read_bytes()
    except OSError as error:
        raise Unusable(f"The model has no saved_model.pb in {folder.name}/; log it again") from error
    return folder, tuple(name.decode() for name in _FILE_OPERATORS if name in graph)


def _caller(native: Any, names: list[str]) -> Callable[[Mapping[str, Any]], Any]:
    """The function on named tensors: by its own argument names where the signature has the same, else in order."""
    function, (args, keywords) = _function(native)
    first = args[0] if args else None
    if keywords:
        return lambda x: function(**{to: x[name] for to, name in zip(keywords, _like(keywords, names), strict=True)})
    if isinstance(first, Mapping):
        return lambda x: function({name: x[name] for name in first})
    if isinstance(first, list | tuple):
        return lambda x: function([x[name] for name in _like([s.name for s in first], names)])
    theirs = [s.name for s in args if hasattr(s, "dtype")]
    return lambda x: function(*(x[name] for name in _like(theirs, names)))


def _function(native: Any) -> tuple[Any, tuple[Sequence[Any], Mapping[str, Any]]]:
    """`serve` of an exported Keras model, else the module itself, as MLflow calls it, else its one signature."""
    function = getattr(native, "serve", None) or (native.__call__ if callable(native) else None)
    if function is not None and getattr(function, "concrete_functions", None):
        return function, function.concrete_functions[0].structured_input_signature
    if len(native.signatures) != 1:
        raise Unusable("The SavedModel cannot be called; give the module a __call__ that is a tf.function")
    signature = next(iter(native.signatures.values()))
    return signature, signature.structured_input_signature


def _like(theirs: Iterable[str], names: list[str]) -> list[str]:
    return list(theirs) if set(theirs) == set(names) else names


def _named(answer: Any) -> Arrays:
    if isinstance(answer, Mapping):
        return {str(name): _array(value) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return {f"output_{i}": _array(value) for i, value in enumerate(answer)}
    return {"output": _array(answer)}


def _array(value: Any) -> np.ndarray[Any, Any]:
    found = np.asarray(value.numpy())
    return found.astype("float32") if found.dtype.name == "bfloat16" else found


def _vouch_sentence(fetched: FetchedModel, code: tuple[str, ...]) -> str:
    return (
        f"{fetched.version} is a SavedModel with the operators {', '.join(code)}: running it reads or writes files, "
        "or calls code, of its author's choosing, and the spec does not allow that. Log it without them, or, if you "
        "vouch for its author, write in the spec:\n"
        "model:\n  trust:\n    pickle: true"
    )
