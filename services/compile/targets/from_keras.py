"""What every target of a Keras model asks: how it is called, in which precision, what loading it takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from .. import fingerprint, source
from ..engines.feeds import feed
from ..engines.tf import without
from ..errors import Unsupported
from ..words import FULL, About, Device, Model, Precision

_POLICIES = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16"}
_OBJECTS = ("global_custom_objects.cloudpickle", "custom_objects.cloudpickle")


def refuses(about: About, precision: Precision, device: Device, modules: Iterable[str]) -> str | None:
    if about.flavour != "keras":
        return f"it takes a Keras model, not {about.flavour}"
    return _refuses(precision, device) or source.missing(modules)


def _refuses(precision: Precision, device: Device) -> str | None:
    if precision == "int8":
        return "Keras models become int8 on their way through ONNX: the target onnxruntime"
    if device == "cuda":
        return None if fingerprint.gpus() else "no NVIDIA GPU here"
    if precision == "fp16":
        return "Keras's mixed_float16 is for CUDA"
    if precision == "bf16" and not any(flag.endswith("bf16") for flag in fingerprint.cpu_features()):
        return "this CPU has no bf16 arithmetic"
    return None


def alone() -> AbstractContextManager[None]:
    """Keras on torch imports TensorFlow where it is installed, to see whether it got one of its objects."""
    import keras

    return without("tensorflow") if keras.backend.backend() == "torch" else nullcontext()


def fed(model: Model) -> tuple[str, list[dict[str, Any]]]:
    """How the model is called (each, list, mapping), and what feeds each of its tensors, with its row's shape."""
    inputs, tensors = model.about.inputs, getattr(model.native, "inputs", None)
    names = [i.name for i in inputs]
    if tensors is None:  # subclassed: the signature alone says what it takes
        return "each" if len(inputs) == 1 or inputs[0].column else "mapping", _by_signature(model)
    if len(tensors) == 1:
        one = tensors[0]
        found = feed(names, "float32", "matrix") if inputs[0].column else feed(names[:1], _dtype(one))
        return "each", [found | {"shape": list(one.shape[1:])}]
    structure = model.native.input
    theirs = structure if isinstance(structure, Mapping) else {t.name: t for t in tensors}
    order = list(theirs) if set(theirs) == set(names) else names
    layout: Any = "column" if inputs[0].column else "tensor"
    return "mapping" if isinstance(structure, Mapping) else "list", [
        feed([name], _dtype(tensor), layout, to) | {"shape": list(tensor.shape[1:])}
        for name, (to, tensor) in zip(order, theirs.items(), strict=True)
    ]


def _by_signature(model: Model) -> list[dict[str, Any]]:
    inputs = model.about.inputs
    if inputs[0].column:
        return [feed([i.name for i in inputs], "float32", "matrix") | {"shape": [len(inputs)]}]
    shapes = [[None if d < 0 else d for d in i.shape[1:]] for i in inputs]
    return [feed([i.name], i.dtype, to=i.name) | {"shape": s} for i, s in zip(inputs, shapes, strict=True)]


def _dtype(tensor: Any) -> str:
    return "object" if tensor.dtype == "string" else str(tensor.dtype)


def outputs(model: Model) -> list[dict[str, Any]]:
    """Under the source's names, and of the shape that the model gives them."""
    return [{"name": want["name"]} for want in source.outputs(model)]


def lowered(native: Any, precision: Precision) -> Any:
    """The same weights under a mixed policy; the layers that answer stay in fp32, as Keras's guide wants it."""
    if precision == FULL:
        return native
    import keras

    last = {tensor._keras_history.operation.name for tensor in getattr(native, "outputs", None) or ()}  # noqa: SLF001

    def again(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config(config if layer.name in last else config | {"dtype": _POLICIES[precision]})

    try:
        with alone():
            found = keras.models.clone_model(native, clone_function=again)
            found.set_weights(native.get_weights())
    except (ValueError, TypeError, AttributeError) as error:
        raise Unsupported(f"its layers cannot be made again in {precision} ({str(error).splitlines()[0]})") from error
    return found


def write(model: Model, native: Any, into: Path) -> dict[str, Any]:
    """The `.keras` file and the author's own classes beside it; returns their part of the manifest."""
    if native is model.native and model.about.storage.startswith("keras"):
        shutil.copyfile(model.about.file, into / "model.keras")
    else:
        with alone():
            native.save(into / "model.keras")
    found: dict[str, Any] = {"file": "model.keras"}
    if model.about.storage == "keras":
        return found
    objects = _objects(model.about.file.parent)
    if objects:
        (into / "objects.pkl").write_bytes(objects)
        found["objects"] = "objects.pkl"
    return found | {"unsafe": True}


def _objects(folder: Path) -> bytes:
    """The author's classes, pickled again by value: the bento has none of their files."""
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    found: dict[str, Any] = {}
    for name in _OBJECTS:
        if (folder / name).is_file():
            found |= cloudpickle.loads((folder / name).read_bytes())
    modules = {getattr(value, "__module__", "") for value in found.values()}
    own = {sys.modules[m] for m in modules if m in sys.modules and m.partition(".")[0] not in packages_distributions()}
    own.discard(sys.modules["__main__"])
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    return bytes(cloudpickle.dumps(found)) if found else b""
