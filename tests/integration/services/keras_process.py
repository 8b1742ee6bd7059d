"""What `test_compile_keras.py` does in processes of its own: TensorFlow and torch must not meet in the tests' one.

`python keras_process.py make|probe <folder> [artifact ...]`; each leaves `<step>.json` in the folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.registry import source_keras, source_tensorflow
from lockgate.registry.errors import Unusable
from lockgate.registry.naming import inputs
from lockgate.registry.spec import Trust
from lockgate.registry.words import FetchedModel, ModelVersion
from lockgate.services.compile import engines, targets
from lockgate.services.compile.errors import CompileError
from lockgate.services.compile.words import About, Arrays, Input, Job, Model

MAX = 6
ROWS = (1, 2, 3, 6, 8)
"""8 is more than the largest bucket."""
ON_TENSORFLOW = {
    "mlp": ("eager fp32", "savedmodel fp32", "savedmodel bf16", "xla fp32", "keras-tensorflow fp32"),
    "cnn": ("savedmodel fp32", "xla fp32", "keras-tensorflow bf16"),
    "two": ("eager fp32", "savedmodel fp32", "xla fp32", "keras-tensorflow fp32"),
    "columns": ("eager fp32", "savedmodel fp32", "xla fp32"),
    "single columns": ("savedmodel fp32",),
    "words": ("savedmodel fp32", "xla fp32"),
    "own": ("eager fp32", "savedmodel fp32"),
    "module": ("eager fp32", "xla fp32"),
}
ON_TORCH = {
    "mlp": ("eager fp32", "keras-torch fp32", "keras-torch bf16", "onnxruntime fp32"),
    "cnn": ("onnxruntime fp32",),
    "two": ("keras-torch fp32", "onnxruntime fp32"),
    "words": (),
}


def tensor(name: str, *shape: int, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}


def column(name: str) -> dict[str, Any]:
    return {"name": name, "type": "double", "required": True}


SIGNATURES = {
    "mlp": [tensor("x", 30)],
    "cnn": [tensor("image", 8, 8, 3)],
    "two": [tensor("b", 2), tensor("a", 4)],
    "columns": [column("b"), column("a")],
    "single columns": [column(c) for c in "abc"],
    "words": [tensor("text", dtype="str")],
    "own": [tensor("x", 4)],
    "module": [tensor("right", 2), tensor("left", 2)],
}


def example(name: str) -> Arrays:
    rng = np.random.default_rng(3)
    if name == "words":
        return {"text": np.array([("red", "blue", "none")[i % 3] for i in range(8)], object)}
    return {i.name: rng.normal(size=(8, *i.shape[1:])).astype(i.dtype) for i in inputs({"inputs": SIGNATURES[name]})}


def models() -> dict[str, Callable[[], Any]]:
    """Keras models; `own` has a layer of its author's."""
    import keras

    layers = keras.layers

    def mlp() -> Any:
        return keras.Sequential(
            [keras.Input((30,)), layers.Dense(16, activation="relu"), layers.Dense(3, activation="softmax")]
        )

    def cnn() -> Any:
        image = keras.Input((8, 8, 3), name="image")
        x = layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))

    def two() -> Any:
        a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
        x = layers.Concatenate()([a, b])
        return keras.Model({"a": a, "b": b}, {"value": layers.Dense(1)(x), "class": layers.Dense(3)(x)})

    def columns() -> Any:
        a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
        return keras.Model([a, b], [layers.Subtract()([a, b]), layers.Dense(2)(a)])

    def words() -> Any:
        text = keras.Input((), dtype="string", name="text")
        found = layers.StringLookup(vocabulary=["red", "blue"])(text)
        return keras.Model(text, layers.Flatten()(layers.Embedding(3, 2)(found)))

    def own() -> Any:
        return keras.Sequential([keras.Input((4,)), own_layer()(name="triple"), layers.Lambda(lambda x: x + 1)])

    def single() -> Any:
        return keras.Sequential([keras.Input((3,)), layers.Dense(2)])

    return {
        "mlp": mlp,
        "cnn": cnn,
        "two": two,
        "columns": columns,
        "single columns": single,
        "words": words,
        "own": own,
    }


def own_layer() -> Any:
    import keras

    class Triple(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
        def call(self, x: Any) -> Any:
            return x * 3

    return Triple


def store(folder: Path) -> None:
    """Each model as MLflow lays it out."""
    import cloudpickle
    import tensorflow as tf

    for name, make in models().items():
        data = folder / name / "data"
        data.mkdir(parents=True)
        native = make()
        native.save(data / "model.keras")
        if name == "own":
            (data / "custom_objects.cloudpickle").write_bytes(cloudpickle.dumps({"Triple": type(native.layers[0])}))

    class Module(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.TensorSpec([None, 2], name="left"), tf.TensorSpec([None, 2], name="right")])
        def __call__(self, left: Any, right: Any) -> Any:
            return {"quotient": left / (tf.abs(right) + 1.0), "left": left * 1.0}

    tf.saved_model.save(Module(), str(folder / "module" / "tf2model"))


def opened(folder: Path, name: str) -> Model:
    """Through the registry's own loader."""
    x, signature = example(name), {"inputs": SIGNATURES[name], "outputs": None}
    flavour: Any = "tensorflow" if name == "module" else "keras"
    fetched = FetchedModel(ModelVersion(name, "1", "test"), folder / name, "0", flavour, signature, x)
    if name == "module":
        found = source_tensorflow.load(fetched, {"saved_model_dir": "tf2model"}, Trust())
    else:
        found = source_keras.load(fetched, {}, Trust(pickle=name == "own"))
    described = tuple(Input(i.name, i.dtype, i.shape, i.column) for i in inputs(signature))
    about = About(name, "0", flavour, found.storage, fetched.path / found.file, described, x)
    return Model(about, found.native, found.run)


def make(folder: Path) -> dict[str, Any]:
    """Compile what this process's backend can; the source's answers go beside it."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        store(folder)
    found: dict[str, Any] = {"refused": {}, "artifacts": []}
    for name, wanted in (ON_TENSORFLOW if backend == "tensorflow" else ON_TORCH).items():
        try:
            model = opened(folder, name)
        except Unusable as error:
            found["refused"][name] = str(error)
            continue
        for one in wanted:
            try:
                found["artifacts"].append(compiled(model, *one.split(), folder))
            except CompileError as error:
                found["refused"][f"{name} {one}"] = str(error)
        if backend == "tensorflow":
            for rows in ROWS:
                np.savez(folder / f"{name}.{rows}.npz", **model.run(first(example(name), rows)))
    return found


def compiled(model: Model, target: str, precision: Any, folder: Path) -> str:
    compiler, about = targets.compiler(target), model.about
    if refusal := compiler.supports(about, precision, "cpu"):
        raise CompileError(refusal)
    title = f"{about.name} {target} {precision}" + (" on torch" if target == "eager" and "torch" in sys.modules else "")
    into = folder / "artifacts" / title
    into.mkdir(parents=True)
    shared = folder / "shared" / about.name
    shared.mkdir(parents=True, exist_ok=True)
    manifest = compiler.compile(model, Job(precision, "cpu", MAX, 1, {}, shared), into)
    manifest |= {"target": target, "precision": precision, "device": "cpu"}
    (into / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return title


def first(x: Arrays, rows: int) -> Arrays:
    return {name: values[:rows] for name, values in x.items()}


def probe(folder: Path, artifact: str) -> dict[str, Any]:
    """The largest error as a share of the source's scale, over all batch sizes and with a strided input."""
    path = folder / "artifacts" / artifact
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    engine = engines.load(path, manifest, threads=1)
    name = artifact[: artifact.index(f" {manifest['target']} ")]
    worst, dtypes = 0.0, set()
    for rows in ROWS:
        x = first(example(name), rows)
        strided = {k: np.repeat(v, 2, axis=-1)[..., ::2] if v.ndim > 1 else v for k, v in x.items()}
        want = dict(np.load(folder / f"{name}.{rows}.npz"))
        for given in (x, strided):
            got = engine.run(given)
            assert {k: v.shape for k, v in got.items()} == {k: v.shape for k, v in want.items()}, artifact
            dtypes |= {v.dtype.name for v in got.values()}
            worst = max(worst, *(float(np.abs(got[k] - w).max() / np.abs(w).max()) for k, w in want.items()))
    return {"error": worst, "dtypes": sorted(dtypes)}


def main() -> None:
    step, folder = sys.argv[1], Path(sys.argv[2])
    if step == "make":
        found: dict[str, Any] = make(folder)
    else:
        found = {"artifacts": {name: probe(folder, name) for name in sys.argv[3:]}}
        if "tensorflow" in sys.modules:
            config = sys.modules["tensorflow"].config
            found["threads"] = config.threading.get_intra_op_parallelism_threads()
    found["modules"] = sorted({"tensorflow", "torch", "keras", "onnxruntime", "mlflow"} & set(sys.modules))
    (folder / "answer.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
