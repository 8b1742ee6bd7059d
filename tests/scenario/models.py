"""Log the toy model's versions: python models.py FOLDER. In a process of its own, so that the tests stay light.

1 scikit-learn, good   2 torch, good   3 torch, answers NaN for a share of inputs   4 no signature
5 answers at random: no compiled form can equal it   6 torch, good, another one than 2   7 logged with a batch of one
8 torch, another label than 2 for one request in fifty   9 torch, good, logged with what it was trained on
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import torch
from mlflow.models import infer_signature
from pyarrow import parquet
from sklearn.linear_model import LogisticRegression

root = Path(sys.argv[1])
mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
mlflow.create_experiment("toy", artifact_location=str(root / "mlartifacts"))
mlflow.set_experiment("toy")
rng = np.random.default_rng(7)
rows = np.clip(rng.normal(size=(64, 4)), -1, 1).astype("float32")
example = rows[:5]


class Net(torch.nn.Module):
    def __init__(self, kind: str = "good", scale: float = 1.0) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)
        self.kind = kind
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[-1.0, 2.0, -0.5, 0.0], [1.0, -2.0, 0.5, 0.0]]) * scale)
            self.linear.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.linear(x)
        if self.kind == "nan":
            z = z + 0 * torch.log(1.2 - x[:, :1])
        if self.kind == "flips":
            z = torch.where(x[:, 3:] > 2.054, -z, z)
        if self.kind == "random":
            z = z + torch.rand_like(z)
        return torch.softmax(z, 1)


def log(model: torch.nn.Module, logged: np.ndarray = example, *, signed: bool = True) -> None:
    signature = infer_signature(logged, model(torch.from_numpy(logged)).detach().numpy()) if signed else None
    if signed:
        mlflow.pytorch.log_model(
            model, name="toy", registered_model_name="toy", input_example=logged, signature=signature,
            pip_requirements=["torch"],
        )  # fmt: skip
    else:
        mlflow.pytorch.log_model(
            model, name="toy", registered_model_name="toy", serialization_format="pickle", pip_requirements=["torch"]
        )


sk = LogisticRegression().fit(rows, rows @ [1, -2, 0.5, 0] > 0)
mlflow.sklearn.log_model(
    sk, name="toy", registered_model_name="toy", input_example=example,
    signature=infer_signature(example, sk.predict(example)), pip_requirements=["scikit-learn"],
)  # fmt: skip
log(Net())
log(Net("nan"))
log(Net(), signed=False)
log(Net("random"))
log(Net(scale=1.01))
log(Net(), example[:1])
log(Net("flips"))
with mlflow.start_run():
    log(Net(scale=1.02))
client = mlflow.MlflowClient()
trained_on = np.clip(rng.normal(size=(5000, 4)), -3, 3).astype("float32")  # as the traffic of the tests is
parquet.write_table(pa.table({f"x{i}": trained_on[:, i] for i in range(4)}), root / "reference.parquet")
client.log_artifact(client.get_model_version("toy", "9").run_id, str(root / "reference.parquet"))
client.set_registered_model_alias("toy", "champion", 1)
client.set_registered_model_alias("toy", "challenger", 2)
