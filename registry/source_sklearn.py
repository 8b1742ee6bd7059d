"""scikit-learn: skops with the types that the spec trusts, or a pickle that it vouches for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .checked import inside
from .client import quiet_import
from .errors import Untrusted, Unusable
from .naming import Input, inputs, rows_of
from .spec import Trust
from .trusted import pickle_sentence, types_sentence
from .words import Arrays, FetchedModel, SourceModel


def load(fetched: FetchedModel, flavour: Mapping[str, Any], trust: Trust) -> SourceModel:
    file = inside(fetched.path, str(flavour.get("pickled_model", "model.skops")))
    storage = str(flavour.get("serialization_format", "pickle"))
    native = _skops(fetched, file, trust) if storage == "skops" else _pickled(fetched, storage, trust)
    if not hasattr(native, "predict"):
        raise Unusable(
            f"{fetched.version} is a {type(native).__name__}, which cannot predict. Log a Pipeline that ends in a "
            "classifier or a regressor."
        )
    found, answer = inputs(fetched.signature), _answer(native)

    def run(x: Arrays) -> Arrays:
        return answer(_frame(x, found) if found[0].column else x[found[0].name])

    return SourceModel(fetched, native, storage, str(file.relative_to(fetched.path.resolve())), run)


def unknown_types(file: Path) -> tuple[str, ...]:
    """The types in a skops file beyond skops's own trusted ones: read from the file, not from what MLmodel claims."""
    import skops.io

    return tuple(sorted(skops.io.get_untrusted_types(file=file)))


def _skops(fetched: FetchedModel, file: Path, trust: Trust) -> Any:
    import skops.io

    found = unknown_types(file)
    if missing := set(found) - set(trust.types):
        raise Untrusted(types_sentence(fetched.version, missing, trust.types))
    return skops.io.load(file, trusted=list(found))


def _pickled(fetched: FetchedModel, storage: str, trust: Trust) -> Any:
    if not trust.pickle:
        raise Untrusted(pickle_sentence(fetched.version, "sklearn", storage))
    return quiet_import("mlflow.sklearn").load_model(str(fetched.path))


def _frame(x: Arrays, found: tuple[Input, ...]) -> Any:
    """The table that the estimator was fitted on; an optional column that is left out is empty."""
    import pandas as pd

    rows = rows_of(x)
    return pd.DataFrame({i.name: x[i.name] if i.required else x.get(i.name, i.missing(rows)) for i in found})


def _answer(native: Any) -> Callable[[Any], Arrays]:
    from sklearn.base import is_classifier

    def label(rows: Any) -> Arrays:
        return {"label": np.asarray(native.predict(rows))}

    def scores(rows: Any) -> Arrays:
        return {"label": np.asarray(native.predict(rows)), "probabilities": _table(native.predict_proba(rows))}

    def value(rows: Any) -> Arrays:
        return {"prediction": np.asarray(native.predict(rows))}

    if not is_classifier(native):
        return value
    return scores if hasattr(native, "predict_proba") else label


def _table(probabilities: Any) -> np.ndarray[Any, Any]:
    if isinstance(probabilities, list):
        raise Unusable("the classifier answers several labels at once; log one model per label")
    return np.asarray(probabilities)
