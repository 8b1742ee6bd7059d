"""CPU seconds of the commands that people wait for: python -m benchmarks.cli.

Each is run several times in turn, as a whole process, on a spec whose registry is a local SQLite file; the figure is
the median of user + system time of the process. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 7
LOG = """
import mlflow, numpy as np
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
for flip in (1, -1):
    model = LogisticRegression().fit(x, x[:, 0] * flip > 0)
    mlflow.sklearn.log_model(model, name="m", registered_model_name="bench", input_example=x[:3],
                             signature=infer_signature(x, model.predict(x)), pip_requirements=[])
client = mlflow.MlflowClient()
client.set_registered_model_alias("bench", "champion", 1)
client.set_registered_model_alias("bench", "challenger", 2)
"""
SPEC = """
name: bench
model: {name: bench}
rollout:
  steps: [{shadow: {percent: 100}}, {canary: {weight: 5}}, {canary: {weight: 50}}]
  gates: {errors: {metric: error_rate}, latency: {metric: latency}}
"""
COMMANDS = {"help": ["--help"], "validate": ["validate"], "plan": ["plan"]}


def cpu_seconds(args: list[str], folder: Path, env: dict[str, str]) -> float:
    """User + system time of one run of the command, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "lockgate", *args], cwd=folder, env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        env = {
            **os.environ,
            "LOCKGATE_HOME": str(folder / "home"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        (folder / "lockgate.yaml").write_text(SPEC)
        subprocess.run([sys.executable, "-c", LOG], cwd=folder, env=env, check=True, capture_output=True)
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(ROUNDS):
            for name, args in COMMANDS.items():
                times[name].append(cpu_seconds(args, folder, env))
    for name, seconds in times.items():
        print(f"{name:<10} median {statistics.median(seconds):.2f} s CPU, worst {max(seconds):.2f}")
    print(json.dumps({f"{name}_cpu_s": round(statistics.median(seconds), 3) for name, seconds in times.items()}))


if __name__ == "__main__":
    main()
