"""Keras 3: a `.keras` file loaded in safe mode, on the backend that the process was started with.

Not through MLflow, whose loader imports TensorFlow whatever KERAS_BACKEND says.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .checked import inside
from .errors import Untrusted, Unusable
from .naming import Input, inputs, matrix
from .spec import Trust
from .trusted import ALLOW_PICKLES, environment_sentence
from .words import Arrays, FetchedModel, SourceModel

_BACKENDS = ("tensorflow", "torch")
_OBJECTS = ("global_custom_objects.cloudpickle", "custom_objects.cloudpickle")


def load(fetched: FetchedModel, options: Mapping[str, Any], trust: Trust) -> SourceModel:
    file, code = _stored(fetched.path, options)
    if code and not trust.pickle:
        raise Untrusted(_vouch_sentence(fetched, code))
    if code and os.environ.get(ALLOW_PICKLES, "true").lower() in {"false", "0"}:
        raise Untrusted(environment_sentence(fetched.version))
    objects = _objects(file.parent, fetched.path, options) if code else {}
    keras = _keras(str(options.get("keras_backend", "")))
    with keras.device("cpu"), _alone(keras), _last_word():
        native = keras.saving.load_model(file, custom_objects=objects, compile=False, safe_mode=not code)
    found = inputs(fetched.signature)
    names = _arguments(native, found)

    def run(x: Arrays) -> Arrays:
        with keras.device("cpu"):
            return _named(native(_packed(x, found, names), training=False), keras)

    return SourceModel(fetched, native, _storage(file, code), str(file.relative_to(fetched.path.resolve())), run)


def storage(path: Path, options: Mapping[str, Any]) -> tuple[str, Trust]:
    """How the file is read, and the trust without which it is not."""
    file, code = _stored(path, options)
    return _storage(file, code), Trust(pickle=bool(code))


def _stored(path: Path, options: Mapping[str, Any]) -> tuple[Path, tuple[str, ...]]:
    """The model's file, and what in its folder is code that loading runs: sentences' parts."""
    data = inside(path, str(options.get("data", "data")))
    file = data / ("model.h5" if (data / "model.h5").is_file() else "model.keras")
    if not file.is_file():
        raise Unusable(f"The model has neither model.keras nor model.h5 in {data.name}/; log it again with Keras 3")
    code = [name for name in _OBJECTS if (data / name).is_file()]
    if file.suffix == ".h5":
        code.append("HDF5, which Keras before 3.11.3 reads without its safe mode")
    elif b'"__lambda__"' in _config(file):
        code.append("a Lambda layer")
    return file, tuple(code)


def _storage(file: Path, code: tuple[str, ...]) -> str:
    if file.suffix == ".h5":
        return "h5"
    return "keras+pickle" if code else "keras"


def _keras(logged: str) -> Any:
    """Keras on the backend that KERAS_BACKEND names, else that the model was logged on, else TensorFlow."""
    if "keras" not in sys.modules:
        wanted = [name for name in (logged, *_BACKENDS) if name in _BACKENDS and importlib.util.find_spec(name)]
        if "torch" in sys.modules:  # TensorFlow and torch do not live in one process
            wanted = ["torch"]
        os.environ.setdefault("KERAS_BACKEND", wanted[0] if wanted else "tensorflow")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    return keras


@contextmanager
def _alone(keras: Any) -> Iterator[None]:
    """Keras on torch imports TensorFlow where it is installed; the two do not live in one process."""
    if keras.backend.backend() != "torch" or "tensorflow" in sys.modules:
        yield
        return
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


@contextmanager
def _last_word() -> Iterator[None]:
    """Keras wraps an error in the whole configuration, once for each level, and ends with what went wrong."""
    try:
        yield
    except Exception as error:
        said = str(error).strip().splitlines()
        reason = said[-1].removeprefix("Exception encountered: ").rstrip(".") if said else type(error).__name__
        if "requires TensorFlow" in reason:
            raise Unusable(
                f"The model does not load on Keras's torch backend: {reason.partition('.')[0]}, which does not live "
                "in one process with torch. Set KERAS_BACKEND=tensorflow."
            ) from error
        raise RuntimeError(reason) from error


def _config(file: Path) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.read("config.json")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise Unusable(f"The model's {file.name} is no Keras 3 file ({error}); log it again") from error


def _objects(data: Path, root: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The author's own classes by name; called only when the spec vouches for them."""
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    if options.get("code"):
        sys.path.insert(0, str(inside(root, str(options["code"]))))
    found: dict[str, Any] = {}
    for name in _OBJECTS:
        if (data / name).is_file():
            found |= cloudpickle.loads((data / name).read_bytes())
    return found


def _arguments(native: Any, found: tuple[Input, ...]) -> tuple[str, ...] | list[str] | None:
    """How the model is called: a tuple of names is a mapping of them, a list a sequence, None one array."""
    tensors = getattr(native, "inputs", None)
    wanted = tuple(i.name for i in found)
    if tensors is None:  # subclassed: only its author knows
        return None if len(found) == 1 or found[0].column else wanted
    if len(tensors) == 1:
        return None
    structure = native.input
    names = list(structure) if isinstance(structure, Mapping) else [t.name for t in tensors]
    if len(names) != len(wanted):
        raise Unusable(f"the signature has {len(wanted)} inputs, the Keras model {len(names)}: {', '.join(names)}")
    if set(names) == set(wanted):
        return tuple(names) if isinstance(structure, Mapping) else names
    if isinstance(structure, Mapping):
        raise Unusable(f"the signature names the inputs {', '.join(wanted)}, the Keras model {', '.join(names)}")
    return list(wanted)


def _packed(x: Arrays, found: tuple[Input, ...], names: tuple[str, ...] | list[str] | None) -> Any:
    if names is None:
        return matrix(x, found, "float32") if found[0].column else x[found[0].name]
    values = {name: x[name][:, None] if found[0].column else x[name] for name in names}
    return values if isinstance(names, tuple) else list(values.values())


def _named(answer: Any, keras: Any) -> Arrays:
    if isinstance(answer, Mapping):
        return {str(name): _array(value, keras) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return {f"output_{i}": _array(value, keras) for i, value in enumerate(answer)}
    return {"output": _array(answer, keras)}


def _array(value: Any, keras: Any) -> np.ndarray[Any, Any]:
    found = np.asarray(keras.ops.convert_to_numpy(value))
    return found.astype("float32") if found.dtype.name == "bfloat16" else found


def _vouch_sentence(fetched: FetchedModel, code: tuple[str, ...]) -> str:
    return (
        f"{fetched.version} is stored with {' and '.join(code)}: loading it runs whatever code its author put there, "
        "and the spec does not allow that. Log a .keras file of Keras's own layers, in a process that registers no "
        "class of its own, or, if you vouch for its author, write in the spec:\n"
        "model:\n  trust:\n    pickle: true"
    )
