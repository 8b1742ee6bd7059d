"""What `test_source_keras.py` does in processes of its own: TensorFlow and torch must not meet in the tests' one.

`python keras_process.py log|load <uri> <folder> [model ...]`; `load` leaves `answer.json` in the folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.registry.client import quiet_import, quiet_mlflow
from lockgate.registry.errors import RegistryError
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust

X = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")


def models() -> dict[str, Any]:
    """Each with its example."""
    import keras
    import tensorflow as tf

    layers = keras.layers
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    added = layers.Subtract()([a, b])

    @keras.saving.register_keras_serializable("ours")
    class Triple(layers.Layer):  # type: ignore[misc, unused-ignore]
        def call(self, x: Any) -> Any:
            return x * 3

    class Module(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.TensorSpec([None, 3])])
        def __call__(self, x: Any) -> Any:
            return x * 2.0, x + 1.0

    class Reader(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.TensorSpec([None, 3])])
        def __call__(self, x: Any) -> Any:
            return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    class Writer(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.TensorSpec([None, 3])])
        def __call__(self, x: Any) -> Any:
            tf.print(x, output_stream="file:///dev/null")
            return x + 1.0

    def stack(*more: Any) -> Any:
        return keras.Sequential([keras.Input((3,)), *more])

    two = keras.Model({"a": a, "b": b}, {"zero": layers.Dense(1)(added), "one": added})
    several = keras.Model([a, b], [layers.Dense(2)(added), added])
    both = {"b": X + 1, "a": X}
    return {
        "plain": (stack(layers.Dense(2, activation="softmax")), X),
        "two": (two, both),
        "several": (several, both),
        "module": (Module(), X),
        "reader": (Reader(), X),
        "writer": (Writer(), X),
        "lambda": (stack(layers.Lambda(lambda x: x + 1)), X),
        "own": (stack(Triple(name="triple")), X),
        "h5": (stack(layers.Dense(2)), X),
    }


def log(uri: str, folder: Path) -> None:
    """Register the models; what they answer goes beside them."""
    mlflow = quiet_mlflow()
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tests")
    infer_signature = quiet_import("mlflow.models").infer_signature
    flavour = quiet_import("mlflow.tensorflow")
    import keras

    registered = keras.saving.get_custom_objects()
    for name, (model, x) in models().items():
        answer = model([x["a"], x["b"]]) if name == "several" else model(x)
        values = answer if isinstance(answer, dict) else {str(i): v for i, v in enumerate(_each(answer))}
        np.savez(folder / f"{name}.npz", **{k: np.asarray(v) for k, v in values.items()})
        options: dict[str, Any] = {"keras_model_kwargs": {"save_format": "h5"}} if name == "h5" else {}
        ours = {} if name == "own" else dict(registered)
        for key in ours:  # MLflow pickles whatever is registered in the process
            del registered[key]
        signature = infer_signature(x, np.asarray(_each(answer)[0]) if name != "two" else None)
        flavour.log_model(
            model,
            name="model",
            registered_model_name=name,
            signature=signature,
            input_example=x,
            pip_requirements=["numpy"],
            **options,
        )
        registered.update(ours)
    _log_with_mlflow_keras(models()["plain"][0])


def _log_with_mlflow_keras(model: Any) -> None:
    """mlflow.keras: `log_model` fails with an example, `save_model` does not when the folder is there."""
    mlflow, flavour = quiet_mlflow(), quiet_import("mlflow.keras")
    signature = quiet_import("mlflow.models").infer_signature(X, np.asarray(model(X)))
    for name, exported in (("saved", False), ("exported", True)):
        path = Path(mlflow.artifacts.download_artifacts("models:/plain/1")).parent / name
        path.mkdir(parents=True)
        flavour.save_model(
            model,
            str(path),
            signature=signature,
            input_example=X,
            pip_requirements=["numpy"],
            save_exported_model=exported,
        )
        mlflow.register_model(path.as_uri(), name)
    flavour.log_model(
        model, name="model", registered_model_name="unexampled", signature=signature, pip_requirements=["numpy"]
    )


def _each(answer: Any) -> list[Any]:
    if isinstance(answer, dict):
        return list(answer.values())
    return list(answer) if isinstance(answer, list | tuple) else [answer]


def load(uri: str, folder: Path, names: list[str]) -> dict[str, Any]:
    """Outputs' names, storage and largest error of each; or the refusal. `name+` is loaded with trust."""
    registry = MlflowRegistry(folder / "cache", uri)
    found: dict[str, Any] = {}
    for name in names:
        fetched = registry.fetch(registry.resolve(name.rstrip("+"), "1"))
        try:
            model = load_source(fetched, Trust(pickle=name.endswith("+")))
            check_batches(model)
        except RegistryError as error:
            found[name] = {"refused": f"{type(error).__name__}: {error}"}
            continue
        got = model.run(fetched.example)
        found[name] = {"outputs": sorted(got), "storage": model.storage, "file": model.file}
        if (expected := folder / f"{fetched.version.name}.npz").is_file():
            want = [np.load(expected)[k] for k in np.load(expected).files]
            keys = sorted(got) if name != "two" else np.load(expected).files
            found[name]["error"] = max(float(np.abs(got[k] - w).max()) for k, w in zip(keys, want, strict=True))
    found["modules"] = sorted({"tensorflow", "torch"} & set(sys.modules))
    return found


if __name__ == "__main__":
    if sys.argv[1] == "log":
        log(sys.argv[2], Path(sys.argv[3]))
    else:
        answer = load(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
        (Path(sys.argv[3]) / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
