"""A table with a column of every type, and a pyfunc for it that raises for one text, which its signature allows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.registry.cache import Cached, digest_of
from lockgate.registry.checked import checked
from lockgate.registry.client import quiet_import
from lockgate.registry.words import FetchedModel, ModelVersion

POISON = "Atlantis"
COLUMNS = {
    "age": "double",
    "height": "float",
    "visits": "long",
    "rooms": "integer",
    "member": "boolean",
    "city": "string",
    "since": "datetime",
}
OPTIONAL = {"income": "double", "note": "string"}


def row(**changes: Any) -> dict[str, Any]:
    found = {"age": 31.5, "height": 1.75, "visits": 4, "rooms": 2, "member": True, "city": "Gent"}
    return {**found, "since": "2026-01-31T12:00:00Z", **changes}


def score(asked: dict[str, Any]) -> float:
    """What the model answers for a row without income."""
    return float(asked["age"] * 2 + asked["visits"] * 1000 + asked["rooms"] + (0.5 if asked["member"] else 0.0))


def scorer(folder: Path) -> FetchedModel:
    models, types = map(quiet_import, ("mlflow.models", "mlflow.types"))
    wanted = [types.ColSpec(kind, name) for name, kind in COLUMNS.items()]
    wanted += [types.ColSpec(kind, name, required=False) for name, kind in OPTIONAL.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's about type hints
        return saved(folder, _model(), _example(), models.ModelSignature(types.Schema(wanted)))


def saved(folder: Path, native: Any, example: Any, signature: Any) -> FetchedModel:
    """A pyfunc as MLflow saves it and the registry hands it over."""
    where = folder / "model"
    quiet_import("mlflow.pyfunc").save_model(
        where, python_model=native, input_example=example, signature=signature, pip_requirements=["numpy"]
    )
    return checked(ModelVersion("scorer", "1", "test"), Cached(where, digest_of(where)))


def _model() -> Any:
    """Defined here, so that it travels inside the pickle."""
    import pandas as pd

    class Scorer(quiet_import("mlflow.pyfunc").PythonModel):  # type: ignore[misc]
        def predict(self, context, model_input):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG002
            if (model_input["city"] == "Atlantis").any():
                raise ValueError("nobody lives in Atlantis")
            age, visits, income = (model_input[name].clip(-1e6, 1e6) for name in ("age", "visits", "income"))
            total = age * 2 + visits * 1000 + model_input["rooms"] + model_input["member"] * 0.5 + income.fillna(0.0)
            told = model_input["since"].dt.year.to_numpy() + model_input["note"].notna().to_numpy()
            return pd.DataFrame({"score": total, "year": told, "where": model_input["city"].str.upper()})

    return Scorer()


def _example() -> Any:
    import pandas as pd

    frame = pd.DataFrame([row(age=20.0 + i, visits=i, income=10.0 * i, note="n") for i in range(6)])
    frame["since"] = pd.to_datetime(frame["since"]).dt.tz_localize(None)
    return frame.astype({"height": np.float32, "rooms": np.int32})
