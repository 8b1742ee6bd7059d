"""Lockgate's own two sides: a bento as `lockgate up` serves it, asked directly and through the router."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from lockgate.flows.home import Home
from lockgate.rollout.envoy.folder import folder
from lockgate.rollout.envoy.process import find
from lockgate.services.local import LocalPlatform
from lockgate.services.package import packaged
from lockgate.services.words import Replica

from . import trees
from .environments import Skipped
from .forms import FORMS, JSON, Form
from .load import Target, bodies
from .peers import HOST
from .register import digest
from .side import READY_WITHIN, Examples, Side, await_right

NAME = "serving"
THROUGH, DIRECT = "router", "direct"
_ROOT = Path(__file__).parents[2]
_SPEC = """\
name: serving
model: {{name: {model}}}
service: {{compile: {{targets: [onnxruntime]}}}}
rollout:
  traffic: {{listen: "127.0.0.1:{port}", metrics: "127.0.0.1:{metrics}"}}
  steps: [{{canary: {{weight: 5}}}}]
  gates: {{errors: {{metric: error_rate}}}}
"""


@dataclass(frozen=True, slots=True)
class Project:
    """What is kept of one model from run to run: its files, its registry, and Lockgate's cache of what it compiled."""

    model: str
    at: Path

    def variables(self) -> dict[str, str]:
        return {
            **os.environ,
            "LOCKGATE_HOME": str(self.at / "home"),
            "BENTOML_HOME": str(self.at / "bentoml"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.at / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "BENTOML_DO_NOT_TRACK": "True",
            "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "src")]),
        }

    @property
    def home(self) -> Home:
        return Home(self.at / "home", f"sqlite:///{self.at / 'home' / 'lockgate.db'}")

    def prepare(self) -> None:
        """The model, its right answers and its registry, where they are not there yet."""
        done = self.at / "done"
        if not done.is_file() or done.read_text(encoding="utf-8") != digest():
            shutil.rmtree(self.at, ignore_errors=True)
            self.at.mkdir(parents=True)
            _run([sys.executable, "-m", "benchmarks.serving.register", self.model, str(self.at)], self, {})

    def forget(self) -> None:
        """What an earlier run left of its pipeline; what was compiled stays."""
        shutil.rmtree(self.at / "home" / NAME, ignore_errors=True)
        for file in (self.at / "home").glob("lockgate.db*"):
            file.unlink()


@contextmanager
def up(project: Project, form: str, examples: Examples, ports: tuple[int, int]) -> Iterator[list[Side]]:
    """`lockgate up`, and at the end `lockgate down`. The sides are the one through the router, and the direct one."""
    project.forget()
    mark, spec = f"{NAME}-{uuid.uuid4().hex[:8]}", project.at / "lockgate.yaml"
    spec.write_text(_SPEC.format(model=project.model, port=ports[0], metrics=ports[1]), encoding="utf-8")
    lockgate = [sys.executable, "-m", "lockgate"]
    try:
        _run([*lockgate, "up", str(spec)], project, {trees.MARK: mark})  # Envoy takes no environment, so no mark
        wanted = FORMS["lockgate npy" if form == "npy" else "lockgate"]
        target = Target(f"http://{HOST}:{ports[0]}/predict", wanted.content, _bodies(project, wanted, examples))
        yield list(_sides(project, target, examples, mark))
    finally:
        trees.thaw([*trees.of(mark), *filter(None, [_envoy(project)])])  # what is frozen cannot finish
        try:
            _run([*lockgate, "down", str(spec)], project, {})
        finally:
            trees.end(mark, 5.0)


def _bodies(project: Project, form: Form, examples: Examples) -> Path:
    at = project.at / "bodies"
    shutil.rmtree(at, ignore_errors=True)
    return bodies(at, examples.bodies(form))


def _sides(project: Project, through: Target, examples: Examples, mark: str) -> Iterator[Side]:
    (replica,) = _platform(project, project.home.replicas(NAME)).replicas()
    if (envoy := _envoy(project)) is None:
        raise Skipped("the router does not run")
    form = FORMS["lockgate" if through.content == JSON else "lockgate npy"]
    took = _start_again(project, replica, through, examples)
    direct = replace(through, url=f"http://{replica.host}:{replica.port}/predict")
    yield Side(THROUGH, "Lockgate, through its router", through, form, mark, None, router=envoy)
    yield Side(DIRECT, "Lockgate's bento, direct", direct, form, mark, took)


def _envoy(project: Project) -> psutil.Process | None:
    return find(folder(project.home.router(NAME)))


def _start_again(project: Project, like: Replica, target: Target, examples: Examples) -> float:
    """Seconds from a second replica's spawn to its first right answer; it is ended again. Peers start twice too."""
    os.environ["BENTOML_HOME"] = project.variables()["BENTOML_HOME"]
    bento = packaged(like.bento)
    if bento is None:
        raise Skipped(f"the bento {like.bento} is not stored")
    platform = _platform(project, project.at / "home" / NAME / "again")
    began = time.perf_counter()
    replicas = platform.start(bento, 1)
    try:
        url = f"http://{replicas[0].host}:{replicas[0].port}/predict"
        form = FORMS["lockgate" if target.content == JSON else "lockgate npy"]
        await_right(replace(target, url=url), form, examples, None)
        return time.perf_counter() - began
    finally:
        platform.stop(replicas)


def _platform(project: Project, at: Path) -> LocalPlatform:
    at.mkdir(parents=True, exist_ok=True)
    return LocalPlatform(at, READY_WITHIN, capture=project.home.capture(NAME))


def _run(command: list[str], project: Project, more: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=project.at,  # MLflow writes where it is
        env={**project.variables(), **more},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    if done.returncode:
        last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-6:])
        raise Skipped(f"{' '.join(command[1:4])} did not work:\n{last}")
