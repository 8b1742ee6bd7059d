"""A downloaded folder becomes a `FetchedModel`, or a sentence that says how to log the model right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from .cache import Cached
from .errors import Unusable
from .example import NoExample, read_example
from .naming import inputs
from .words import FetchedModel, Flavour, ModelVersion

_FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)


def mlmodel(path: Path) -> dict[str, Any]:
    """The MLmodel file of a model's folder."""
    try:
        document = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise Unusable(f"has no readable MLmodel file ({error}), so it is not an MLflow model") from error
    if not isinstance(document, dict):
        raise Unusable("has an MLmodel file that is not a mapping, so it is not an MLflow model")
    return document


def inside(folder: Path, name: str) -> Path:
    """`folder/name`; an MLmodel comes from a stranger and may not point anywhere else."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.exists():
        raise Unusable(f"names the file {name!r}, which is not in its folder; log the model again")
    return path


def _stays(folder: Path, name: str) -> None:
    """MLflow itself joins the example's name to the folder, and reads whatever is there."""
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise Unusable(f"names the input example {name!r}, which is not in its folder; log the model again")


def checked(version: ModelVersion, cached: Cached) -> FetchedModel:
    """Raises `Unusable` without a known flavour, a signature or an input example."""
    try:
        document = mlmodel(cached.path)
        flavour = _flavour(document)
        try:
            signature = _signature(document)
            if isinstance(example := document.get("saved_input_example_info"), dict):
                _stays(cached.path, str(example.get("artifact_path", "")))
            example = read_example(cached.path, flavour, inputs(signature))
        except NoExample as error:
            raise Unusable(f"{error} {how_to_log(flavour, version.name)}") from error
    except Unusable as error:
        raise Unusable(f"{version} cannot be rolled out: it {error}") from error
    return FetchedModel(version, cached.path, cached.digest, flavour, signature, example)


def how_to_log(flavour: Flavour, name: str, rows: str = "X[:5]") -> str:
    predict = "model.predict(X[:5])" if flavour == "sklearn" else "outputs[:5]"
    module = "tensorflow" if flavour == "keras" else flavour  # mlflow.keras 3.17 fails when it is given an example
    what = "python_model=model" if flavour == "pyfunc" else "model"
    return (
        f"Log it again as a new version: mlflow.{module}.log_model({what}, name='model', input_example={rows}, "
        f"signature=mlflow.models.infer_signature(X[:5], {predict}), registered_model_name={name!r})"
    )


def options(document: Mapping[str, Any], flavour: Flavour) -> Mapping[str, Any]:
    """What MLflow wrote about the flavour's files."""
    flavours: Mapping[str, Mapping[str, Any]] = document["flavors"]
    if flavour in ("keras", "tensorflow"):
        return flavours.get("keras") or flavours["tensorflow"]
    return flavours["python_function" if flavour == "pyfunc" else flavour]


def _flavour(document: Mapping[str, Any]) -> Flavour:
    there = set(document.get("flavors") or {})
    if there & {"keras", "tensorflow"}:
        return _keras_or_tensorflow(options(document, "keras"))
    for flavour in _FLAVOURS:
        if flavour in there and flavour != "pyfunc":
            return flavour
    if there == {"python_function"}:
        return "pyfunc"
    found = ", ".join(sorted(there - {"python_function"})) or "nothing"
    raise Unusable(
        f"was logged as {found}; this needs {', '.join(_FLAVOURS[:-1])} or {_FLAVOURS[-1]}. "
        "Log the model with one of these, or wrap it in an mlflow.pyfunc.PythonModel."
    )


def _keras_or_tensorflow(logged: Mapping[str, Any]) -> Flavour:
    """mlflow.tensorflow logs Keras models and modules, mlflow.keras logs `.keras` files and SavedModels."""
    if logged.get("save_exported_model") or logged.get("model_type") == "tf2-module":
        return "tensorflow"
    if logged.get("model_type", "keras") == "keras":
        return "keras"
    raise Unusable(
        f"was logged by mlflow.tensorflow as {logged['model_type']}; this needs a Keras model or a tf.Module. Load it "
        "with tensorflow 2, wrap it in a tf.Module whose __call__ is a tf.function, and log that."
    )


def _signature(document: Mapping[str, Any]) -> dict[str, Any]:
    raw = document.get("signature") or {}
    if not raw.get("inputs"):
        raise NoExample("has no signature, so nothing says what a request looks like.")
    return {side: json.loads(raw[side]) if raw.get(side) else None for side in ("inputs", "outputs")}
