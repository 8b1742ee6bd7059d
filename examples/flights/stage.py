"""The demo's folder, ports and processes: made at the start, and all of them ended by `close`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_MARK = ".flights-demo"
_QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
_PATIENCE = 30.0
_BUSY = 13
"""Exit code of `lockgate down` while somebody drives the rollout."""
_LISTEN, _METRICS = 8080, 9901
"""The ports in lockgate.yaml."""


class DemoError(Exception):
    """A sentence: what went wrong, and where to look."""


@dataclass
class Stage:
    """One demo's folder. Use `opened` to make one."""

    root: Path
    port: int
    metrics_port: int
    _started: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _kept: bool = False

    @property
    def spec(self) -> Path:
        return self.root / "lockgate.yaml"

    @property
    def requests(self) -> Path:
        return self.root / "requests.jsonl"

    @property
    def counters(self) -> Path:
        return self.root / "counters.jsonl"

    @property
    def picture(self) -> Path:
        return self.root / "timeline.png"

    @property
    def registry(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/predict"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the demo touches what else Lockgate, BentoML or MLflow keep for this user."""
        ours = {
            "LOCKGATE_HOME": str(self.root / "lockgate"),
            "BENTOML_HOME": str(self.root / "bentoml"),
            "MLFLOW_TRACKING_URI": self.registry,
        }
        others = ("LOCKGATE_STATE_URL", "MLFLOW_REGISTRY_URI")
        return {k: v for k, v in os.environ.items() if k not in others} | _QUIET | ours

    def lockgate(self, *words: str) -> int:
        """Run the command on this terminal; its exit code. Interrupted, it gets the time to give back its lease."""
        command = self._start("lockgate", [_script("lockgate"), *words])
        try:
            return command.wait()
        except KeyboardInterrupt:
            end(command, signal.SIGINT)
            raise

    def history(self) -> list[dict[str, Any]]:
        done = subprocess.run(
            [_script("lockgate"), "history", "flights", "--json"],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def python(self, script: str, *words: str, **how: Any) -> subprocess.Popen[str]:
        """A script of this folder in a process of its own. It is ended with the stage."""
        return self._start(script, [sys.executable, str(HERE / script), *words], **how)

    def mlflow_server(self) -> str:
        """Start MLflow's UI, in its own session so that it outlives us; where it will answer."""
        port = _free_port()
        where = ["--backend-store-uri", self.registry, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        with (self.root / "mlflow.log").open("w") as log:
            server = self._start("mlflow", [_script("mlflow"), "server", *where], stdout=log, stderr=log)
        (self.root / "mlflow.pid").write_text(str(server.pid))
        return f"http://127.0.0.1:{port}/#/models/flight-delay"

    def _start(self, name: str, command: list[str], **how: Any) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C is for us, and we end the others in the right order.
        process = subprocess.Popen(command, env=self.environment, text=True, start_new_session=True, **how)
        self._started[name] = process
        return process

    def leave_running(self) -> None:
        """From now on `close` ends nothing; `stop` will."""
        self._kept = True

    def close(self) -> None:
        """End every process that this demo started, and what the spec runs."""
        if self._kept:
            return
        for process in reversed(self._started.values()):
            end(process)
        self._started.clear()
        deadline = time.monotonic() + _PATIENCE
        while self.spec.exists() and self.lockgate("down", str(self.spec)) == _BUSY and time.monotonic() < deadline:
            time.sleep(1)  # a driver that was killed is believed to live for 15 s


def opened(root: Path) -> Stage:
    """An empty stage at `root`. What an earlier demo left there is ended and removed.

    Raises `DemoError` when the folder is not a demo's.
    """
    root = root.absolute()
    if root.exists() and any(root.iterdir()):
        stop(root)
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / _MARK).touch()
    port = _LISTEN if _is_free(_LISTEN) else _free_port()
    metrics_port = _METRICS if _is_free(_METRICS) else _free_port()
    stage = Stage(root, port, metrics_port)
    text = (HERE / "lockgate.yaml").read_text(encoding="utf-8")
    for old, new in ((_LISTEN, port), (_METRICS, metrics_port)):
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    stage.spec.write_text(text, encoding="utf-8")
    return stage


def stop(root: Path) -> None:
    """End what an earlier demo left running at `root`. Raises `DemoError` when the folder is not a demo's."""
    root = root.absolute()
    if not (root / _MARK).exists():
        raise DemoError(f"{root} is not the folder of an earlier demo; give another one with --dir")
    pid = root / "mlflow.pid"
    if pid.exists():
        _end_server(int(pid.read_text()), str(root / "mlflow.db"))
        pid.unlink()
    Stage(root, 0, 0).close()


def _end_server(pid: int, database: str) -> None:
    """End the server and its workers, if this process id is still that server's."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        if not any(database in word for word in server.cmdline()):
            return
        family = [server, *server.children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        for one in psutil.wait_procs(family, timeout=_PATIENCE)[1]:
            one.kill()


def end(process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to end, and kill its whole session when it does not listen."""
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _script(name: str) -> str:
    """A command that is installed beside this Python."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
