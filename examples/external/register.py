"""Register the next version of fraud in MLflow with `python register.py`.

The first one becomes @champion, and each after it @challenger. Only versions and aliases are asked of the registry, so
a version need not be a model that MLflow could load: here each is one file that says where the weights are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient, MlflowException

NAME = "fraud"


def main() -> None:
    client = MlflowClient()
    try:
        number = 1 + len(client.search_model_versions(f"name='{NAME}'"))
        client.get_registered_model(NAME)
    except MlflowException:
        number = 1
        client.create_registered_model(NAME)
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run() as run:
        about = Path(folder) / "weights.txt"
        about.write_text(f"s3://models/fraud/{number}\n")
        mlflow.log_artifact(str(about), "model")
    made = client.create_model_version(NAME, f"{run.info.artifact_uri}/model", run.info.run_id)
    alias = "champion" if number == 1 else "challenger"
    client.set_registered_model_alias(NAME, alias, made.version)
    print(f"{NAME} version {made.version} is @{alias}")


if __name__ == "__main__":
    main()
