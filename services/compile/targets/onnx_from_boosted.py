"""Trees of XGBoost and LightGBM to ONNX, by onnxmltools. The graph compares 32 bit floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Unsupported
from ..words import Model
from .eager_boosted import booster, classes, learner, rows

NEEDS = ("onnxmltools",)
# What onnxmltools makes of other objectives is a regression without their last step, or an error.
_CLASSES = {"binary:logistic", "reg:logistic", "multi:softprob", "multi:softmax"}
_VALUES = {
    "count:poisson",
    "rank:map",
    "rank:ndcg",
    "rank:pairwise",
    "reg:absoluteerror",
    "reg:gamma",
    "reg:pseudohubererror",
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:tweedie",
}
# By what LightGBM's own text says; onnxmltools converts each of these, to other answers.
_UNTRUE = {
    "\naverage_output\n": "random forests",
    "objective=multiclassova": "the objective multiclassova",
    "[zero_as_missing: 1]": "zero_as_missing",
    "\nis_linear=1\n": "linear trees",
}


def write(model: Model, path: Path) -> list[dict[str, Any]]:
    """Write the ONNX file; returns what feeds its one input."""
    fed = rows(model, "float32", "x")
    graph = _xgboost(model) if model.about.flavour == "xgboost" else _lightgbm(model)
    for output in graph.graph.output:  # onnxmltools gives labels the shape of one row
        output.type.tensor_type.ClearField("shape")
    if classes(model) is None:
        _only_scores(model, graph.graph)
    path.write_bytes(graph.SerializeToString())
    return [fed]


def _xgboost(model: Model) -> Any:
    """By way of an estimator of the kind that onnxmltools reads as it is; it guesses about a booster."""
    import onnxmltools
    import xgboost

    native = booster(model)
    told = learner(native)
    objective, kind = told["objective"]["name"], told["gradient_booster"]["name"]
    if kind != "gbtree":
        raise Unsupported(f"onnxmltools knows no {kind} of xgboost")
    if objective not in _CLASSES | _VALUES:
        raise Unsupported(f"onnxmltools does not know xgboost's objective {objective}")
    if int(told["learner_model_param"].get("num_target", 1)) > 1:
        raise Unsupported("onnxmltools takes no xgboost model of several targets")
    twin = xgboost.XGBClassifier() if objective in _CLASSES else xgboost.XGBRegressor()
    twin.load_model(native.save_raw())
    twin.get_booster().feature_names = None  # it wants f0, f1 ...
    twin.objective = {"multi:softmax": "multi:softprob", "reg:logistic": "binary:logistic"}.get(objective, objective)
    return onnxmltools.convert_xgboost(twin, initial_types=_types(native.num_features()))


def _lightgbm(model: Model) -> Any:
    import onnxmltools

    native = booster(model)
    text = native.model_to_string()
    for sign, what in _UNTRUE.items():
        if sign in text:
            raise Unsupported(f"onnxmltools makes another model of lightgbm's {what}")
    return onnxmltools.convert_lightgbm(model.native, initial_types=_types(native.num_feature()), zipmap=False)


def _types(features: int) -> list[tuple[str, Any]]:
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [("x", FloatTensorType([None, features]))]


def _only_scores(model: Model, graph: Any) -> None:
    """A booster answers scores where onnxmltools makes a classifier of it: the second class's of two, or all."""
    from onnx import TensorProto, helper, numpy_helper

    made = [output.name for output in graph.output]
    if "probabilities" not in made:
        return
    answer = model.run(model.about.example)["prediction"]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("prediction", TensorProto.FLOAT, None))
    if answer.ndim > 1:
        graph.node.append(helper.make_node("Identity", ["probabilities"], ["prediction"]))
    elif "multi:softmax" in _objective(model):
        graph.node.append(helper.make_node("Cast", [made[0]], ["prediction"], to=TensorProto.FLOAT))
    else:
        graph.initializer.append(numpy_helper.from_array(np.array(1), "second"))
        graph.node.append(helper.make_node("Gather", ["probabilities", "second"], ["prediction"], axis=1))


def _objective(model: Model) -> str:
    return str(learner(booster(model))["objective"]["name"]) if model.about.flavour == "xgboost" else ""
