"""Train the three models and register them as versions 1, 2 and 3 of `flight-delay` in MLflow.

Version 1 gets the alias @champion. Progress goes to standard error; standard output gets one line of JSON: the
versions, the run of each, and how well each tells late from punctual flights on the traffic to come.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false")

import data
import mlflow
import models
import numpy as np
import pyarrow as pa
from mlflow.models import infer_signature
from pyarrow import parquet

NAME = "flight-delay"
EXPERIMENT = "flights"
LIVE_ROWS = 45_000
"""About what a demo replays; the scores are of these flights."""

REFERENCE_ROWS = 20_000

TRUSTED = ["sklearn.tree._tree.Tree"]
"""What skops will not load without somebody's word; lockgate.yaml gives it, and says why."""


@dataclass(frozen=True)
class Candidate:
    """A model on its way into the registry, and what its run shall say."""

    role: str
    model: Any
    trained: data.Flights
    about: dict[str, Any]


def candidates(flights: data.Flights) -> list[Candidate]:
    """Champion, challenger and the broken one, in the order of their versions."""
    early, later = flights.of(data.CHAMPION_MONTHS), flights.of(data.CHALLENGER_MONTHS)
    champion = models.train_champion(early)
    challenger = models.train_challenger(later)
    net = {"trained_on": "April to June", "longest_leg_miles": models.LONGEST_LEG}
    wrong = net | {"longest_leg_miles": models.WRONG_LEG}
    return [
        Candidate("champion", champion, early, {"trained_on": "January to March"}),
        Candidate("challenger", challenger, later, net),
        Candidate("broken", models.broken(challenger), later, wrong),
    ]


def register(candidate: Candidate, live: data.Flights) -> dict[str, Any]:
    """Log the model with what a rollout needs of it; its version, run and scores."""
    example = models.example(candidate.trained)
    signature = infer_signature(example, models.answers(candidate.model, example))
    there = np.isfinite(models.answers(candidate.model, live.features)["probabilities"])
    served = np.asarray(there.all(axis=1))
    scores = {"auc_live": models.auc(candidate.model, live.only(served)), "share_answered_live": float(served.mean())}
    with mlflow.start_run(run_name=candidate.role) as run:
        mlflow.log_params({"role": candidate.role, "rows": len(candidate.trained), **candidate.about})
        logged = _log(candidate, example, signature)
        _log_reference(candidate.trained)
        mlflow.log_metrics(scores, model_id=logged.model_id)
    version = str(logged.registered_model_version)
    return {"role": candidate.role, "version": version, "run": run.info.run_id, **scores}


def _log_reference(trained: data.Flights) -> None:
    """What live inputs are compared with: a sample of the rows that the model learned from."""
    sample = np.random.default_rng(1).choice(len(trained), min(len(trained), REFERENCE_ROWS), replace=False)
    table = pa.table({name: trained.features[sample, i] for i, name in enumerate(data.FEATURES)})
    with tempfile.TemporaryDirectory() as folder:
        parquet.write_table(table, Path(folder) / "reference.parquet")
        mlflow.log_artifact(str(Path(folder) / "reference.parquet"))


def _log(candidate: Candidate, example: data.Array, signature: Any) -> Any:
    """Requirements are given: MLflow would start a process that imports everything to guess them."""
    common = {
        "name": "model",
        "input_example": example,
        "signature": signature,
        "registered_model_name": NAME,
        "metadata": {"features": list(data.FEATURES), **candidate.about},
    }
    if candidate.role == "champion":
        return mlflow.sklearn.log_model(
            candidate.model,
            serialization_format="skops",
            skops_trusted_types=TRUSTED,
            pip_requirements=["scikit-learn", "skops"],
            **common,
        )
    return mlflow.pytorch.log_model(candidate.model, serialization_format="pt2", pip_requirements=["torch"], **common)


def _quiet() -> None:
    """MLflow's own scoring server wants one tensor from a network; ours gives names, like the champion. It warns."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)


def train(uri: str, artifacts: Path) -> dict[str, Any]:
    """Everything above against the registry at `uri`."""
    started = time.perf_counter()
    _quiet()
    mlflow.set_tracking_uri(uri)
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, artifact_location=artifacts.absolute().as_uri())
    mlflow.set_experiment(EXPERIMENT)
    say("reading a year of flights")
    flights = data.load()
    live = flights.live().only(slice(0, LIVE_ROWS))
    say("training the champion on January to March, the challenger on April to June")
    found = []
    for candidate in candidates(flights):
        found.append(register(candidate, live))
        say(f"registered {NAME} version {found[-1]['version']}, the {candidate.role}: AUC {found[-1]['auc_live']:.3f}")
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(NAME, "champion", found[0]["version"])
    return {"model": NAME, "uri": uri, "models": found, "seconds": round(time.perf_counter() - started, 1)}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", required=True, help="MLflow tracking URI, such as sqlite:///flights/mlflow.db")
    parser.add_argument("--artifacts", required=True, type=Path, help="folder for the models' files")
    asked = parser.parse_args()
    print(json.dumps(train(asked.uri, asked.artifacts)))


if __name__ == "__main__":
    main()
