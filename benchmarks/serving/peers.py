"""The peers: what starts each of them, and what it is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .environments import Skipped

SERVERS = Path(__file__).parent / "servers"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """`bin`: of its environment. `work`: a folder of its own. `model`: where `register` left the model."""

    bin: Path
    work: Path
    model: Path
    ports: tuple[int, int, int]
    form: str
    inputs: tuple[str, ...]

    @property
    def port(self) -> int:
        return self.ports[0]


@dataclass(frozen=True, slots=True)
class Peer:
    """`environment`: None is the project's own. `form` is that of rows in JSON; `npy`: how it takes arrays.

    `server`: whether it is a model server, and not only something to build one of. `freezes`: whether it goes on after
    it was frozen; one that does not idles beside the others.
    """

    title: str
    environment: str | None
    command: Callable[[Place], list[str]]
    form: str
    path: str = "/predict"
    npy: str | None = None
    server: bool = True
    freezes: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)

    def form_for(self, wanted: str) -> str:
        return self.npy if wanted == "npy" and self.npy else self.form


def _script(name: str) -> Callable[[Place], list[str]]:
    return lambda place: [str(place.bin / "python"), str(SERVERS / name)]


def _stock(place: Place) -> list[str]:
    for name in ("stock_bentoml.py", "engine.py"):
        shutil.copy(SERVERS / name, place.work)
    service = "Table" if len(place.inputs) == 1 else "Text"
    where = ["--host", HOST, "--port", str(place.port), "--working-dir", str(place.work)]
    return [sys.executable, "-m", "bentoml", "serve", f"stock_bentoml:{service}", *where]


def _mlserver(place: Place) -> list[str]:
    for name in ("mlserver_model.py", "engine.py"):
        shutil.copy(SERVERS / name, place.work)
    http, grpc, metrics = place.ports
    settings = {"debug": False, "host": HOST, "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    model = {"name": "model", "implementation": "mlserver_model.Model"}
    (place.work / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0}), encoding="utf-8")
    (place.work / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return [str(place.bin / "mlserver"), "start", str(place.work)]


def _mlflow(place: Place) -> list[str]:
    where = ["-h", HOST, "-p", str(place.port), "--env-manager", "local", "--workers", "1"]
    return [str(place.bin / "mlflow"), "models", "serve", "-m", str(place.model / "mlflow"), *where]


def _torchserve(place: Place) -> list[str]:
    store = place.work / "store"
    store.mkdir(exist_ok=True)
    archive = ["--model-name", "model", "--version", "1", "--handler", str(SERVERS / "torchserve_handler.py")]
    command = [str(place.bin / "torch-model-archiver"), *archive, "--export-path", str(store), "--force"]
    extra = ["--extra-files", str(SERVERS / "engine.py")]
    done = subprocess.run([*command, *extra], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"torch-model-archiver did not work: {done.stderr.strip()[-300:]}")
    (place.work / "config.properties").write_text(_properties(place), encoding="utf-8")
    models = ["--model-store", str(store), "--models", "model=model.mar", "--disable-token-auth"]
    config = ["--ts-config", str(place.work / "config.properties"), "--log-config", str(_quiet_log(place.work))]
    return [str(place.bin / "torchserve"), "--foreground", "--ncs", *models, *config]


def _properties(place: Place) -> str:
    names = ("inference_address", "management_address", "metrics_address")
    lines = [f"{name}=http://{HOST}:{port}" for name, port in zip(names, place.ports, strict=True)]
    return "\n".join(
        [*lines, "default_workers_per_model=1", "disable_system_metrics=true", "max_request_size=65535000"]
    )


def _quiet_log(work: Path) -> Path:
    """Warnings only: by default it writes several lines for each request."""
    file = work / "log4j2.xml"
    console = '<Console name="C" target="SYSTEM_ERR"><PatternLayout pattern="%m%n"/></Console>'
    root = '<Root level="warn"><AppenderRef ref="C"/></Root>'
    file.write_text(
        f"<Configuration><Appenders>{console}</Appenders><Loggers>{root}</Loggers></Configuration>", encoding="utf-8"
    )
    return file


_RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
    "RAY_health_check_failure_threshold": "1000000",  # it is frozen while others are measured
}
_QUIET = {"UVICORN_ACCESS_LOG": "0"}
"""uvicorn takes its options from the environment too; mlflow has none for this."""
_V2 = "/v2/models/model/infer"
PEERS: Mapping[str, Peer] = {
    "bentoml": Peer("BentoML, stock", None, _stock, "parameters"),
    "fastapi": Peer("FastAPI", "fastapi", _script("fastapi_app.py"), "lists", npy="lists npy", server=False),
    "litserve": Peer("LitServe", "litserve", _script("litserve_app.py"), "lists", npy="form npy"),
    "kserve": Peer("KServe", "kserve", _script("kserve_app.py"), "v1", "/v1/models/model:predict"),
    "mlserver": Peer("MLServer", "mlserver", _mlserver, "v2", _V2),
    "mlflow": Peer("mlflow models serve", "mlflow", _mlflow, "mlflow", "/invocations", variables=_QUIET),
    "torchserve": Peer("TorchServe", "torchserve", _torchserve, "lists", "/predictions/model", npy="lists npy"),
    "ray": Peer("Ray Serve", "ray", _script("ray_app.py"), "lists", "/", npy="lists npy", variables=_RAY),
    "triton": Peer("Triton, pytriton", "pytriton", _script("triton_app.py"), "v2", _V2, freezes=False),
}
