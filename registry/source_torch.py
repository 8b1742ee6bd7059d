"""PyTorch: an exported program (`pt2`), or a pickled module that the spec vouches for."""

from __future__ import annotations

import inspect
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from .checked import inside
from .client import first_line, quiet_import, quiet_mlflow
from .errors import Untrusted, Unusable
from .naming import Input, inputs, matrix
from .spec import Trust
from .trusted import ALLOW_PICKLES, pickle_sentence
from .words import Arrays, FetchedModel, SourceModel

_environment = threading.Lock()


def load(fetched: FetchedModel, flavour: Mapping[str, Any], trust: Trust) -> SourceModel:
    if flavour.get("code") and not trust.pickle:  # MLflow puts that folder before every other that is imported from
        raise Untrusted(pickle_sentence(fetched.version, "pytorch", "a model with code of its author's beside it"))
    data = inside(fetched.path, str(flavour.get("model_data", "data")))
    if (data / "model.pth").is_file():
        module, storage, file = _pickled(fetched, trust), "pickle", data / "model.pth"
    else:
        file = inside(fetched.path, str((data / "model.pt2").relative_to(fetched.path.resolve())))
        module, storage = _exported(fetched, trust), "pt2"
    found = inputs(fetched.signature)
    order = _positions(module, found) if storage == "pickle" else found

    def run(x: Arrays) -> Arrays:
        import torch

        with torch.no_grad():
            return _outputs(module(*(torch.from_numpy(a) for a in _feeds(x, order))))

    return SourceModel(fetched, module, storage, str(file.relative_to(fetched.path.resolve())), run)


def _exported(fetched: FetchedModel, trust: Trust) -> Any:
    """`torch.export.load` unpickles parts of the archive. MLflow scans it first when pickles are forbidden."""
    mlflow, mlflow_pytorch = quiet_mlflow(), quiet_import("mlflow.pytorch")
    with nullcontext() if trust.pickle else _no_pickles():
        try:
            return mlflow_pytorch.load_model(str(fetched.path))
        except mlflow.MlflowException as error:
            if "pickle" not in str(error):
                raise
            raise Untrusted(
                f"{pickle_sentence(fetched.version, 'pytorch', 'a pt2 archive with pickles inside')}\n"
                f"MLflow says: {first_line(error)}."
            ) from error


def _pickled(fetched: FetchedModel, trust: Trust) -> Any:
    if not trust.pickle:
        raise Untrusted(pickle_sentence(fetched.version, "pytorch", "pickle"))
    mlflow_pytorch = quiet_import("mlflow.pytorch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*TorchScript archive.*")
        return mlflow_pytorch.load_model(str(fetched.path), map_location="cpu", weights_only=False).eval()


@contextmanager
def _no_pickles() -> Iterator[None]:
    """MLflow asks the environment, of which a process has one: hence the lock."""
    with _environment:
        before = os.environ.get(ALLOW_PICKLES)
        os.environ[ALLOW_PICKLES] = "false"
        try:
            yield
        finally:
            if before is None:
                del os.environ[ALLOW_PICKLES]
            else:
                os.environ[ALLOW_PICKLES] = before


def _positions(module: Any, found: tuple[Input, ...]) -> tuple[Input, ...]:
    """The inputs in the order of `forward`'s parameters where the signature uses their names, else in its own."""
    try:
        parameters = list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):  # TorchScript
        return found
    by_name = {i.name: i for i in found}
    first = parameters[: len(found)]
    return tuple(by_name[p] for p in first) if set(first) == set(by_name) else found


def _feeds(x: Arrays, order: tuple[Input, ...]) -> list[np.ndarray[Any, Any]]:
    """Contiguous and writeable, as `torch.from_numpy` wants them; columns become one float32 matrix, as in MLflow."""
    if order[0].column:
        return [np.ascontiguousarray(matrix(x, order, "float32"))]
    if text := [i.name for i in order if i.dtype == "object"]:
        raise Unusable(f"the signature says that {', '.join(text)} holds strings, which torch has no tensor for")
    return [np.require(x[i.name], dtype=i.dtype, requirements=["C", "W"]) for i in order]


def _outputs(answer: Any) -> Arrays:
    if isinstance(answer, Mapping):
        return {str(name): _array(value) for name, value in answer.items()}
    if isinstance(answer, tuple | list):
        return {f"output_{i}": _array(value) for i, value in enumerate(answer)}
    return {"output": _array(answer)}


def _array(value: Any) -> np.ndarray[Any, Any]:
    import torch

    if not isinstance(value, torch.Tensor):
        raise Unusable(f"the model answers with a {type(value).__name__} where a tensor is wanted")
    value = value.detach().cpu()
    return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())
