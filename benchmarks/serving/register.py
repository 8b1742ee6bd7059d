"""One model as an ONNX file, with rows and their right answers, and as MLflow's champion.

In a process of its own, for torch is large: python -m benchmarks.serving.register MODEL FOLDER
"""

from __future__ import annotations

import hashlib
import logging
import sys
import warnings
from pathlib import Path

import numpy as np

from benchmarks import models

ROWS = 32
"""Different requests, sent in turn."""
FILE, EXAMPLES, ENDING = "model.onnx", "examples.npz", "done"


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    _export(name, folder / FILE)
    x = models.KINDS[name].example(rows(name))
    np.savez(folder / EXAMPLES, output=_answers(folder / FILE, x), **x)
    _register(name, folder)
    (folder / ENDING).write_text(digest(), encoding="utf-8")


def rows(name: str) -> int:
    return 4 if models.KINDS[name].unit == "images" else ROWS


def digest() -> str:
    """Of the code that made the models: what it changes is made again."""
    files = [*sorted(Path(models.__file__).parent.glob("*.py")), Path(__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _export(name: str, file: Path) -> None:
    import torch

    kind = models.KINDS[name]
    example = tuple(torch.from_numpy(value) for value in kind.example(2).values())
    names = [given.name for given in kind.inputs]
    free = tuple({0: torch.export.Dim("batch")} for _ in example)
    exported = torch.onnx.export(
        models.built(name),
        example,
        dynamo=True,
        verbose=False,
        dynamic_shapes=free,
        input_names=names,
        output_names=["output"],
        external_data=False,
        opset_version=20,
    )
    exported.save(str(file), external_data=False)


def _answers(file: Path, x: models.Arrays) -> np.ndarray:
    """Row by row, as they will be asked for."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    single = ({name: value[i : i + 1] for name, value in x.items()} for i in range(len(next(iter(x.values())))))
    return np.concatenate([session.run(["output"], row)[0] for row in single])


def _register(name: str, folder: Path) -> None:
    import mlflow
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    given = [TensorSpec(np.dtype(i.dtype), i.shape, i.name) for i in models.KINDS[name].inputs]
    answered = np.load(folder / EXAMPLES)["output"]
    signature = ModelSignature(Schema(given), Schema([TensorSpec(answered.dtype, (-1, *answered.shape[1:]), "output")]))
    mlflow.onnx.log_model(
        onnx.load(str(folder / FILE)),
        name=name,
        registered_model_name=name,
        signature=signature,
        input_example=models.KINDS[name].example(2),
        pip_requirements=["onnxruntime"],
        save_as_external_data=False,
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1, "execution_mode": "sequential"},
    )
    mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(folder / "mlflow"))
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(name, "champion", "1")


if __name__ == "__main__":
    main()
