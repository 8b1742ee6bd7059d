"""XGBoost and LightGBM. Their own files hold trees and no code; a pickle needs the spec's word."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checked import inside
from .client import quiet_import
from .errors import Untrusted, Unusable
from .naming import Input, inputs, matrix
from .source_sklearn import unknown_types
from .spec import Trust
from .trusted import pickle_sentence, types_sentence
from .words import Arrays, FetchedModel, SourceModel

Answer = Callable[[np.ndarray[Any, Any]], Arrays]
# MLmodel says which class to make; any other name is code of the author's own, and importing it would run that.
_XGBOOST = {
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRanker",
    "xgboost.sklearn.XGBRegressor",
    "xgboost.sklearn.XGBRFRegressor",
}
_BOOSTER = "lightgbm.basic.Booster"
# What LightGBM's own estimators are made of: a booster is its text, the rest plain values.
_LIGHTGBM_TYPES = {
    "collections.OrderedDict",
    _BOOSTER,
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRanker",
    "lightgbm.sklearn.LGBMRegressor",
}


def load(fetched: FetchedModel, flavour: Mapping[str, Any], trust: Trust) -> SourceModel:
    file = inside(fetched.path, str(flavour["data"]))
    stored, needs = storage(fetched.path, fetched.flavour, flavour)
    if needs.pickle and not trust.pickle:
        raise Untrusted(pickle_sentence(fetched.version, fetched.flavour, stored))
    if missing := set(needs.types) - set(trust.types):
        raise Untrusted(types_sentence(fetched.version, missing, trust.types))
    if fetched.flavour == "xgboost":
        native = _xgboost(fetched, file, str(flavour.get("model_class", "xgboost.core.Booster")))
        answer, booster = _xgboost_answer(fetched, native), _booster(native)
        names, count = booster.feature_names or (), booster.num_features()
    else:
        native = _lightgbm(fetched, file, stored)
        answer, booster = _lightgbm_answer(fetched, native), _booster(native)
        names, count = booster.feature_name(), booster.num_feature()
    order = _order(fetched, names, count)

    def run(x: Arrays) -> Arrays:
        return answer(matrix(x, order, "float64") if order[0].column else x[order[0].name])

    return SourceModel(fetched, native, stored, str(file.relative_to(fetched.path.resolve())), run)


def storage(folder: Path, library: str, flavour: Mapping[str, Any]) -> tuple[str, Trust]:
    """How the file is read, and what that asks for.

    XGBoost's is `ubj` or `json`. LightGBM's is `text` for a booster, and `skops` or a pickle for an estimator.
    """
    suffix = Path(str(flavour["data"])).suffix
    if library == "xgboost":
        return ("json" if suffix == ".json" else "ubj"), Trust()
    if flavour.get("model_class", _BOOSTER) == _BOOSTER:
        return "text", Trust()
    if suffix != ".skops":
        return str(flavour.get("serialization_format", "cloudpickle")), Trust(pickle=True)
    found = unknown_types(inside(folder, str(flavour["data"])))
    return "skops", Trust(types=tuple(t for t in found if t not in _LIGHTGBM_TYPES))


def _xgboost(fetched: FetchedModel, file: Path, model_class: str) -> Any:
    import xgboost

    if model_class not in _XGBOOST:
        raise Unusable(_own_class(fetched, model_class))
    native = getattr(xgboost, model_class.rpartition(".")[2])()
    known = file.suffix in (".json", ".ubj")  # MLflow's third format, xgb, is ubj under a name that makes it warn
    native.load_model(str(file) if known else bytearray(file.read_bytes()))
    if "c" in (_booster(native).feature_types or ()):
        raise Unusable(_categories(fetched))
    return native


def _xgboost_answer(fetched: FetchedModel, native: Any) -> Answer:
    """The columns are in order by then, and a matrix has no names to validate."""
    import xgboost

    if isinstance(native, xgboost.Booster):
        return lambda rows: {"prediction": native.predict(xgboost.DMatrix(rows), validate_features=False)}
    if not isinstance(native, xgboost.XGBClassifier):
        return lambda rows: {"prediction": native.predict(rows, validate_features=False)}
    told = json.loads(native.get_booster().save_config())["learner"]["learner_model_param"]
    if int(told.get("num_target", 1)) > 1:
        raise Unusable(f"{fetched.version} answers several labels at once; log one model per label.")
    return lambda rows: {
        "label": native.predict(rows, validate_features=False),
        "probabilities": native.predict_proba(rows, validate_features=False),
    }


def _lightgbm(fetched: FetchedModel, file: Path, stored: str) -> Any:
    import lightgbm

    if stored == "text":
        native = lightgbm.Booster(model_file=str(file))
    elif stored == "skops":
        import skops.io

        native = skops.io.load(file, trusted=list(unknown_types(file)))
    else:
        native = quiet_import("mlflow.lightgbm").load_model(str(fetched.path))
    if not isinstance(native, lightgbm.Booster | lightgbm.LGBMModel):
        raise Unusable(_own_class(fetched, f"{type(native).__module__}.{type(native).__name__}"))
    if _booster(native).pandas_categorical:
        raise Unusable(_categories(fetched))
    return native


def _lightgbm_answer(fetched: FetchedModel, native: Any) -> Answer:
    import lightgbm
    import pandas as pd

    if isinstance(native, lightgbm.Booster):
        return lambda rows: {"prediction": np.asarray(native.predict(rows))}
    if callable(native.objective):
        raise Unusable(
            f"{fetched.version} was fitted with an objective function of its author's own, so its answers are raw "
            "scores. Log its booster_ instead of the estimator."
        )
    names = native.feature_name_  # scikit-learn warns of a matrix without them

    def value(rows: np.ndarray[Any, Any]) -> Arrays:
        return {"prediction": np.asarray(native.predict(pd.DataFrame(rows, columns=names)))}

    def scores(rows: np.ndarray[Any, Any]) -> Arrays:
        table = pd.DataFrame(rows, columns=names)
        return {"label": np.asarray(native.predict(table)), "probabilities": np.asarray(native.predict_proba(table))}

    return scores if isinstance(native, lightgbm.LGBMClassifier) else value


def _booster(native: Any) -> Any:
    """What is inside an estimator of either library, or the booster itself."""
    if hasattr(native, "get_booster"):
        return native.get_booster()
    return getattr(native, "booster_", native)


def _order(fetched: FetchedModel, names: Sequence[str], count: int) -> tuple[Input, ...]:
    """The columns as the trees count them: by the names the trees know, else in the signature's order.

    LightGBM itself goes by position alone, and would not notice columns in another order.
    """
    found = inputs(fetched.signature)
    if unfit := [i.name for i in found if np.dtype(i.dtype).kind not in "fiub"]:
        raise Unusable(
            f"{fetched.version} takes numbers, but the signature has {', '.join(unfit)} as text or dates; turn them "
            "into numbers before the model, and log it with those as input_example."
        )
    width = len(found) if found[0].column else found[0].shape[-1]
    if width != count:
        raise Unusable(
            f"The signature of {fetched.version} has {width} columns, its trees were grown on {count}; log it again "
            "with the training data's columns as input_example."
        )
    by_name = {i.name: i for i in found}
    return tuple(by_name[n] for n in names) if set(names) == set(by_name) else found


def _own_class(fetched: FetchedModel, model_class: str) -> str:
    return (
        f"{fetched.version} is a {model_class}, not one of {fetched.flavour}'s own classes; log its booster instead of "
        "the estimator."
    )


def _categories(fetched: FetchedModel) -> str:
    return (
        f"{fetched.version} was fitted on pandas categories, whose codes a signature does not keep; encode them as "
        "numbers before the model, for example with scikit-learn's OrdinalEncoder in a Pipeline, and log it again."
    )
