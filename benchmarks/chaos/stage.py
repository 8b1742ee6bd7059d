"""One pipeline with a home, a registry and ports of its own; nothing of it is left when the `with` ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.chaos.clients import ROOT
from benchmarks.chaos.servers import NAMES, Servers, free_port
from lockgate.flows.home import Home
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic
from lockgate.rollout.store import Store
from lockgate.services.local import LocalPlatform

NAME = "toy"
BROKEN = "3"
_HOME_SIZE = "96m"
_READY_WITHIN = 60.0


def until(what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The condition's first true value. Raises `TimeoutError` with `what`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)
    return found


@dataclass
class Stage:
    root: Path
    rollout: dict[str, Any]
    stand_in: bool = True
    """Replicas of plain Python in place of bentos."""
    own_disk: bool = False
    """Whether the home is a small file system of its own, which can be filled."""
    ports: set[int] = field(default_factory=set)
    """Every port that a replica was seen to have."""
    servers: Servers | None = None
    """Without them the registry is a file, nothing is shown in Prefect, and no gate asks Prometheus."""

    @property
    def home(self) -> Home:
        return Home(self.root / "home", f"sqlite:///{self.root / 'home' / 'lockgate.db'}")

    @property
    def spec(self) -> Path:
        return self.root / "lockgate.yaml"

    @property
    def registry(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def traffic(self) -> Traffic:
        return Traffic.model_validate(self.rollout["traffic"])

    @property
    def url(self) -> str:
        return f"http://{self.rollout['traffic']['listen']}/predict"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "LOCKGATE_STATE_URL"}
        return inherited | {
            "LOCKGATE_HOME": str(self.home.root),
            "BENTOML_HOME": str(self.root / "bentoml"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.registry}",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep),
            "COLUMNS": "160",
            **(self.servers.environment if self.servers else {}),
        }

    def serve(self) -> None:
        """Start MLflow, Prefect and Prometheus as servers, and wait until they answer."""
        self.servers = Servers(self.root, self.registry)
        for name in NAMES:
            self.servers.start(name)
        self.servers.wait()

    def write(self, **rollout: Any) -> None:
        """The spec, with these parts of `rollout:` in place of what it had."""
        self.rollout |= rollout
        replicas = {"min": 2 if self.stand_in else 1}
        service = {"ready_within": "60s", "replicas": replicas, "compile": {"targets": ["onnxruntime"]}}
        document = {"name": NAME, "model": {"name": NAME}, "service": service, "rollout": self.rollout}
        if self.servers:
            document["monitoring"] = {"prometheus": self.servers.url("prometheus")}
        self.spec.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def command(self, *words: str) -> subprocess.Popen[str]:
        """`lockgate` as people type it."""
        with (self.root / "commands.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "lockgate", *words],
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
            )

    def must(self, *words: str) -> None:
        if code := self.command(*words).wait():
            log = (self.root / "commands.log").read_text(encoding="utf-8")
            raise RuntimeError(f"`lockgate {' '.join(words)}` ended with code {code}:\n{log[-3000:]}")

    def alias(self, name: str, version: str) -> None:
        with contextlib.closing(sqlite3.connect(self.registry, timeout=10)) as db, db:
            db.execute("delete from registered_model_aliases where alias = ?", (name,))
            named = (name, version, NAME)
            db.execute("insert into registered_model_aliases (alias, version, name) values (?, ?, ?)", named)

    def champions(self) -> list[str]:
        """What @champion names: one version."""
        with contextlib.closing(sqlite3.connect(self.registry, timeout=10)) as db:
            found = db.execute("select version from registered_model_aliases where alias = 'champion'").fetchall()
        return [str(row[0]) for row in found]

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = Store(self.home.store_url)
        try:
            yield store
        finally:
            store.close()

    def router(self) -> EnvoyRouter:
        return EnvoyRouter(self.home.router(NAME), self.traffic)

    def platform(self) -> LocalPlatform:
        return LocalPlatform(self.home.replicas(NAME), _READY_WITHIN)

    def processes(self) -> list[psutil.Process]:
        """Whatever lives for this stage, the load and whoever measures aside: by its environment, or its command."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                ours = process.environ().get("LOCKGATE_HOME") == str(self.home.root)
                if ours or (process.name() == "envoy" and str(self.root) in " ".join(process.cmdline())):
                    found.append(process)
        return found


@contextmanager
def opened(
    rollout: dict[str, Any], *, stand_in: bool = True, registry: Path | None = None, root: Path | None = None
) -> Iterator[Stage]:
    """`registry`: a database with the versions, which is copied; without one it is made."""
    made = Path(tempfile.mkdtemp(prefix="lockgate-chaos-", dir=root))
    traffic = {"listen": f"127.0.0.1:{free_port()}", "metrics": f"127.0.0.1:{free_port()}"}
    stage = Stage(made, {"traffic": traffic, **rollout}, stand_in)
    try:
        stage.home.root.mkdir(mode=0o700)
        stage.own_disk = stand_in and _mount(stage.home.root)
        if registry:
            shutil.copy(registry, stage.registry)
        else:
            words = [sys.executable, "-m", "benchmarks.chaos.registry", str(made), *([] if stand_in else ["--models"])]
            subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stage.alias("champion", "1")
        stage.write()
        yield stage
    finally:
        for process in stage.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if stage.servers:
            stage.servers.end()
        if stage.own_disk:
            subprocess.run([str(shutil.which("umount")), "--lazy", str(stage.home.root)], check=False)
        shutil.rmtree(made, ignore_errors=True)


def _mount(home: Path) -> bool:
    """A file system in memory, where this user may mount one."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        return False
    command = [mount, "-t", "tmpfs", "-o", f"size={_HOME_SIZE},mode=0700", "tmpfs", str(home)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
