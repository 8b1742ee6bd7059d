"""The model as its author logged it, in memory: what parity is measured against. Nothing is unpickled unasked."""

from __future__ import annotations

import numpy as np

from .checked import how_to_log, mlmodel, options
from .errors import RegistryError, Untrusted, Unusable
from .naming import rows_of
from .spec import Trust
from .trusted import ALLOW_PICKLES, environment_sentence
from .words import Arrays, FetchedModel, SourceModel

_MANY = 7  # rows: neither a power of two nor a likely example's size


def load_source(fetched: FetchedModel, trust: Trust) -> SourceModel:
    """Raises `Untrusted` when loading would run code that the spec does not vouch for, `Unusable` when it fails."""
    flavour = options(mlmodel(fetched.path), fetched.flavour)
    try:
        if fetched.flavour == "pytorch":
            from . import source_torch

            return source_torch.load(fetched, flavour, trust)
        if fetched.flavour == "sklearn":
            from . import source_sklearn

            return source_sklearn.load(fetched, flavour, trust)
        if fetched.flavour == "keras":
            from . import source_keras

            return source_keras.load(fetched, flavour, trust)
        if fetched.flavour == "tensorflow":
            from . import source_tensorflow

            return source_tensorflow.load(fetched, flavour, trust)
        if fetched.flavour in ("xgboost", "lightgbm"):
            from . import source_boosted

            return source_boosted.load(fetched, flavour, trust)
        if fetched.flavour == "pyfunc":
            from . import source_pyfunc

            return source_pyfunc.load(fetched, flavour, trust)
        from . import source_onnx

        return source_onnx.load(fetched, flavour)
    except RegistryError:
        raise
    except Exception as error:  # any library may say no in its own way
        if ALLOW_PICKLES in str(error):
            raise Untrusted(environment_sentence(fetched.version)) from error
        raise Unusable(
            f"{fetched.version} does not load here ({type(error).__name__}: {_short(error)}). Install what its "
            f"requirements.txt names ({fetched.path / 'requirements.txt'}), in the same versions, and repeat."
        ) from error


def check_batches(model: SourceModel) -> None:
    """Run one row, two and more, made from the example. Raises `Unusable` when the model takes only some of them.

    An example of one row freezes the batch dimension of an exported program at 1; MLflow registers it all the same.
    """
    for rows in sorted({1, 2, max(_MANY, rows_of(model.fetched.example))}):
        try:
            found = model.run(_repeated(model.fetched.example, rows))
        except Exception as error:  # whatever the model's own code raises
            raise Unusable(_frozen(model, rows, f"raises {type(error).__name__}: {_short(error)}")) from error
        for name, values in found.items():
            if values.ndim == 0 or len(values) != rows:
                raise Unusable(_frozen(model, rows, f"gives output {name!r} the shape {list(values.shape)}"))


def _repeated(example: Arrays, rows: int) -> Arrays:
    """The example's rows over and over, `rows` of them."""
    return {name: np.take(values, np.arange(rows) % len(values), axis=0) for name, values in example.items()}


def _frozen(model: SourceModel, rows: int, what: str) -> str:
    fetched = model.fetched
    count = f"{rows} row{'s' if rows > 1 else ''}"
    has = rows_of(fetched.example)
    if fetched.flavour == "onnx":
        do = "Export it with a dynamic first dimension (dynamic_axes, dynamic_shapes) and log it as a new version."
    elif fetched.flavour == "pytorch":
        do = (
            "An exported program takes the batch sizes and memory layout of its example, so use a contiguous one "
            f"of two or more rows. {how_to_log('pytorch', fetched.version.name, 'np.ascontiguousarray(X[:5])')}."
        )
    else:
        do = "Log a model that answers each row by itself."
    return f"{fetched.version} must answer any number of rows, but for {count} it {what} (its example has {has}). {do}"


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300].rstrip(".") if lines else "no reason given"
