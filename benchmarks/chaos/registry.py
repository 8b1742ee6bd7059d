"""A registry to roll out of: python -m benchmarks.chaos.registry FOLDER [--models]. In a process of its own.

Versions 1 to 4 of `toy`, version 1 is @champion. With --models they are models that bentos are made of, and answer
exactly what `replica.answer` says; without, they are names, for replicas that stand in for bentos.
"""

from __future__ import annotations

import sys
from pathlib import Path

VERSIONS = ("1", "2", "3", "4")
_ROWS = 64


def main() -> None:
    folder = Path(sys.argv[1])
    from lockgate.registry.client import quiet_mlflow

    mlflow = quiet_mlflow()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    if "--models" in sys.argv:
        mlflow.create_experiment("toy", artifact_location=str(folder / "models"))
        mlflow.set_experiment("toy")
        for version in VERSIONS:
            _log(version)
    else:
        client.create_registered_model("toy")
        for _ in VERSIONS:
            client.create_model_version("toy", source=str(folder / "nowhere"))
    client.set_registered_model_alias("toy", "champion", "1")


def _log(version: str) -> None:
    """A linear model, fitted to what this version is to answer."""
    import numpy as np
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression  # type: ignore[import-untyped, unused-ignore]

    from lockgate.registry.client import quiet_import

    rows = np.random.default_rng(7).uniform(-1, 1, (_ROWS, 4)).astype("float32")
    model = LinearRegression(fit_intercept=False).fit(rows, rows @ [float(version), 1.0, -1.0, 0.5])
    quiet_import("mlflow.sklearn").log_model(
        model, name="toy", registered_model_name="toy", input_example=rows[:5],
        signature=infer_signature(rows, model.predict(rows)), pip_requirements=["scikit-learn"],
        serialization_format="skops",
    )  # fmt: skip


if __name__ == "__main__":
    main()
