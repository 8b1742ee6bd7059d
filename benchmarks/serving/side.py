"""A server that runs: started until its first right answer, frozen while others are measured, ended as a whole."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from . import trees
from .environments import Skipped
from .forms import FORMS, Form
from .load import Target, bodies
from .peers import HOST, Peer, Place
from .register import FILE

READY_WITHIN = 180.0
_LOOK_EVERY = 0.05
_TOLERANCE = 1e-3
_TO_END = 10.0
_TO_ANSWER = 30.0


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows, and what the engine alone answers to each."""

    inputs: Mapping[str, np.ndarray]
    output: np.ndarray

    @classmethod
    def read(cls, file: Path) -> Examples:
        with np.load(file) as found:
            arrays = dict(found)
        return cls({name: value for name, value in arrays.items() if name != "output"}, arrays["output"])

    def bodies(self, form: Form) -> list[bytes]:
        return [form.encode(self._row(i)) for i in range(len(self.output))]

    def _row(self, i: int) -> dict[str, np.ndarray]:
        return {name: value[i : i + 1] for name, value in self.inputs.items()}


@dataclass(frozen=True, slots=True)
class Side:
    """`service`: the mark of its processes. `router`: Envoy's process, where requests go through it."""

    name: str
    title: str
    target: Target
    form: Form
    service: str
    started: float | None
    server: bool = True
    freezes: bool = True
    router: psutil.Process | None = None

    def processes(self) -> list[psutil.Process]:
        """Of the server, without the router."""
        return trees.of(self.service)

    def everything(self) -> list[psutil.Process]:
        return [*self.processes(), *([self.router] if self.router else [])]

    def freeze(self) -> None:
        """An idle server is no neighbour: it gets no core until it is thawed."""
        if self.freezes:
            trees.freeze(self.everything())

    def thaw(self) -> None:
        trees.thaw(self.everything())

    def check(self, examples: Examples) -> None:
        """Every example is answered rightly. Raises `RuntimeError`."""
        for i, body in enumerate(examples.bodies(self.form)):
            status, answer = ask(self.target, body)
            if wrong := _wrong(self.form, status, answer, examples.output[i]):
                raise RuntimeError(f"{self.title} answers row {i} wrongly: {wrong}")


def ask(target: Target, body: bytes) -> tuple[int, bytes]:
    host, _, path = target.url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=_TO_ANSWER)
    try:
        connection.request("POST", f"/{path}", body, {"Content-Type": target.content})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def await_right(target: Target, form: Form, examples: Examples, runs: psutil.Process | None) -> None:
    """Until the first example is answered rightly. Raises `Skipped` where the process ends, or it takes too long."""
    body, last = examples.bodies(form)[0], "it does not listen"
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        try:
            status, answer = ask(target, body)
            last = _wrong(form, status, answer, examples.output[0])
            if not last:
                return
        except (OSError, http.client.HTTPException) as error:
            last = str(error)
        if runs is not None and (not runs.is_running() or runs.status() == psutil.STATUS_ZOMBIE):
            raise Skipped("its process ended")
        time.sleep(_LOOK_EVERY)
    raise Skipped(f"no right answer within {READY_WITHIN:g} s: {last}")


@contextmanager
def started(name: str, peer: Peer, place: Place, examples: Examples) -> Iterator[Side]:
    """A peer's server, which ends with the block. Raises `Skipped` with the end of its log."""
    mark, log = f"{name}-{uuid.uuid4().hex[:8]}", place.work / "server.log"
    form = FORMS[peer.form_for(place.form)]
    target = Target(
        f"http://{HOST}:{place.port}{peer.path}", form.content, bodies(place.work / "bodies", examples.bodies(form))
    )
    command = peer.command(place)
    with log.open("wb") as output:
        began = time.perf_counter()
        child = subprocess.Popen(
            command,
            cwd=place.work,
            env=_variables(peer, place, mark, examples),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        try:
            await_right(target, form, examples, psutil.Process(child.pid))
        except Skipped as why:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise Skipped(f"{why}; its log ends with: {' | '.join(last)}") from None
        yield Side(name, peer.title, target, form, mark, time.perf_counter() - began, peer.server, peer.freezes)
    finally:
        trees.end(mark, _TO_END)
        child.wait(_TO_END)


def _variables(peer: Peer, place: Place, mark: str, examples: Examples) -> dict[str, str]:
    """The project's own variables for Python would change what a peer imports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {
        **kept,
        **peer.variables,
        "PATH": f"{place.bin}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": "",
        "BENTOML_HOME": str(place.work / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "HOME": str(place.work),
        "TMPDIR": str(place.work),
        "BENCHMARK_MODEL": str(place.model / FILE),
        "BENCHMARK_PORT": str(place.port),
        "BENCHMARK_FORM": place.form,
        "BENCHMARK_WIDTH": str(examples.output.shape[1]),
        trees.MARK: mark,
    }


def _wrong(form: Form, status: int, answer: bytes, wanted: np.ndarray) -> str:
    if status != http.client.OK:
        return f"status {status}: {answer[:200]!r}"
    try:
        found = form.output(answer)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return f"{type(error).__name__} {error} in {answer[:200]!r}"
    scale = max(1.0, float(np.abs(wanted).max()))
    if found.shape != wanted.shape or float(np.abs(found - wanted).max()) > _TOLERANCE * scale:
        return f"{found[:4]} where {wanted[:4]} is right"
    return ""
