"""Whole pipelines: a real registry, real bentos, a real router, the command as people type it, and live traffic."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import httpx
import psutil
import pytest
import yaml
from filelock import FileLock

from lockgate.monitoring.feedback.client import Feedback
from lockgate.services.local import LocalPlatform
from lockgate.services.words import Replica

QUICK_STEPS = [
    {"shadow": {"percent": 100, "hold": {"min_requests": 50}, "timeout": "90s"}},
    {"canary": {"weight": 20, "hold": {"min_requests": 20}, "timeout": "90s"}},
    {"canary": {"weight": 60, "hold": {"min_requests": 50}, "timeout": "90s"}},
]
QUICK_GATES = {"errors": {"metric": "error_rate", "margin": "10%"}}
"""They open after some dozens of answers; test_main_job.py has gates as people write them."""
BUILT = ("artifacts", "builds", "models", "references")
"""Folders of a home that all tests share: what one made, the next one finds."""

LONGEST = ("demo", "drift", "ab", "serve", "new_target", "matrix", "observe", "planted", "killed")
"""Files whose tests take a minute and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: at the end no worker is alone with one."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    here = Path(__file__).parent
    items.sort(key=lambda item: order.get(item.path.name, len(order)) if item.path.parent == here else -1)


def free_port() -> int:
    """Below those that the system gives to outgoing connections, and each worker's own: what is free now stays free."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.randrange(_PORTS, _PORTS + _EACH) + worker % 4 * _EACH
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


_PORTS, _EACH = 16_000, 4000


def until(what: str, condition: Callable[[], Any], seconds: float = 60.0, every: float = 0.05) -> Any:
    """The condition's first true value; fails with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every)
    pytest.fail(f"not within {seconds:g} s: {what}")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with the versions that `models.py` logs, and the homes where their bentos are built once."""
    run = tmp_path_factory.getbasetemp()
    root = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "scenario"
    root.mkdir(exist_ok=True)
    with FileLock(root / "lock"):
        if not (root / "home").exists():
            models = [sys.executable, str(Path(__file__).with_name("models.py")), str(root)]
            done = subprocess.run(models, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            for built in BUILT:
                (root / "home" / built).mkdir(parents=True)
    return root


@dataclass(frozen=True)
class Answer:
    at: float
    """Seconds since the epoch, when it was asked."""
    status: int
    variant: str
    version: str
    user: str
    request_id: str


class Traffic:
    """Open-loop requests at a steady rate, from a thread of its own, until the `with` ends."""

    def __init__(self, url: str, rate: float, users: int = 2000) -> None:
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self.asked = 0
        self.unit = 1.0
        """What the inputs are multiplied by: another one, and they drift."""
        self._url, self._rate, self._users = url, rate, users
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        began, loop = time.monotonic(), asyncio.get_running_loop()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(15)) as session:
            while not self._stop.is_set():
                await asyncio.sleep(max(0.0, began + self.asked / self._rate - time.monotonic()))
                task = loop.create_task(self._ask(session, self.asked))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                self.asked += 1
            await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        row = [self.unit * max(-3.0, min(3.0, random.gauss(0, 1))) for _ in range(4)]
        user, request_id, at = f"user-{number % self._users}", f"{os.getpid()}-{id(self)}-{number}", time.time()
        headers = {"x-user-id": user, "x-request-id": request_id}
        try:
            async with session.post(self._url, json={"inputs": [row]}, headers=headers) as response:
                body = await response.json()
                if response.status != 200 or "outputs" not in body:
                    self.failures.append(f"{at}: {response.status} {body}")
                    return
                head = response.headers
                variant, version = head.get("x-lockgate-variant", ""), head.get("x-lockgate-version", "")
                self.answers.append(Answer(at, response.status, variant, version, user, request_id))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.failures.append(f"{at}: {error!r}")

    def seen(self, since: float = 0.0) -> Counter[str]:
        """Answers per version that were asked for after `since`."""
        return Counter(a.version for a in self.answers if a.at >= since)


@dataclass
class Workshop:
    """One spec in one folder, with a state of its own."""

    root: Path
    env: dict[str, str]
    port: int
    spec: dict[str, Any]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.root / "lockgate.yaml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/predict"

    until = staticmethod(until)
    free_port = staticmethod(free_port)

    @staticmethod
    def until_answers(traffic: Traffic, since: float, count: int) -> None:
        until(f"{count} more answers", lambda: traffic.seen(since).total() >= count or traffic.failures)

    def reached(self, phase: str) -> bool:
        """Whether the last rollout has been in this phase and step."""
        with contextlib.suppress(sqlite3.OperationalError), self._state() as db:
            rows = db.execute("select state from lockgate_events").fetchall()
            return any(phase == f"{json.loads(r[0])['phase']}/{json.loads(r[0])['step']}" for r in rows)
        return False

    def _state(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.root / 'state.db'}?mode=ro", uri=True)

    def steps_entered(self, events: list[dict[str, Any]]) -> list[str]:
        """The steps in the order in which the rollout came to them."""
        steps = [e["step"] for e in events if e["phase"] == "progressing"]
        return [s for i, s in enumerate(steps) if i == 0 or steps[i - 1] != s]

    def _running(self) -> list[tuple[Replica, dict[str, str]]]:
        running = LocalPlatform(self.root / "home" / "toy" / "replicas", 1.0).replicas()
        return [(r, httpx.get(f"http://{r.host}:{r.port}/info", timeout=10).json()) for r in running]

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.post(self.url, json={"inputs": [[0, 0, 0, 0]]}).is_success
        return False

    def replicas(self) -> list[dict[str, str]]:
        """What each running replica says of itself."""
        return [info for _, info in self._running()]

    def kill_replicas(self, version: str) -> None:
        """`kill -9` every process of the replicas that serve this version; BentoML's workers have their own groups."""
        ids = {replica.id for replica, info in self._running() if info["version"] == version}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("LOCKGATE_REPLICA") in ids:
                    process.kill()

    def traffic(self, rate: float = 100, users: int = 2000) -> Traffic:
        return Traffic(self.url, rate, users)

    def write(self, **rollout: Any) -> None:
        self.spec["rollout"] |= rollout
        self.file.write_text(yaml.safe_dump(self.spec, sort_keys=False))

    def alias(self, name: str, version: int) -> None:
        with sqlite3.connect(self.root / "mlflow.db") as db:
            db.execute("delete from registered_model_aliases where alias = ?", (name,))
            ours = (name, version)
            db.execute("insert into registered_model_aliases (alias, version, name) values (?, ?, 'toy')", ours)

    def aliases(self) -> dict[str, int]:
        with sqlite3.connect(self.root / "mlflow.db") as db:
            return dict(db.execute("select alias, version from registered_model_aliases").fetchall())

    def tags(self, version: int) -> dict[str, str]:
        with sqlite3.connect(self.root / "mlflow.db") as db:
            found = db.execute("select key, value from model_version_tags where version = ?", (version,))
            return dict(found.fetchall())

    def cli(self, *args: str, timeout: float = 150) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lockgate", *args],
            cwd=self.root, env=self.env, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, *args: str) -> subprocess.Popen[str]:
        log = (self.root / f"{args[0]}-{len(self.started)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "lockgate", *args], cwd=self.root, env=self.env, stdout=log, stderr=log, text=True
        )
        log.close()
        self.started.append(process)
        return process

    def status(self) -> dict[str, Any]:
        found = json.loads(self.cli("status", "toy", "--json").stdout or "[{}]")
        return dict(found[0]) if found else {}

    def phase(self) -> str:
        """Straight from the store: asking the command costs half a second of CPU."""
        try:
            with self._state() as db:
                row = db.execute("select state from lockgate_events order by at desc, sequence desc limit 1").fetchone()
        except sqlite3.OperationalError:
            return ""
        return "" if row is None else f"{json.loads(row[0])['phase']}/{json.loads(row[0])['step']}"

    def events(self) -> list[dict[str, Any]]:
        return list(json.loads(self.cli("history", "toy", "--json").stdout)[-1]["events"])

    def processes(self) -> list[psutil.Process]:
        """Whatever runs for this workshop: replicas and Envoy name the home in their environment or command."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("LOCKGATE_HOME") == self.env["LOCKGATE_HOME"]
                envoys = process.name() == "envoy" and str(self.root) in " ".join(process.cmdline())
                if (ours or envoys) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


class Buyers:
    """Users who buy after they were answered, by the chances of each version, and whoever tells it: by user, or by the
    request's id.
    """

    def __init__(self, workshop: Workshop, traffic: Traffic, chances: Mapping[str, float]) -> None:
        self.told = 0
        self._url, self._traffic, self._chances = f"http://127.0.0.1:{workshop.port}/feedback", traffic, chances
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="buyers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen, dice = 0, random.Random(5)
        with Feedback(self._url) as feedback:
            while not self._stop.wait(0.2):
                answers = self._traffic.answers[seen:]
                seen += len(answers)
                rows = [
                    {"metric": "bought", "value": 1, **({"user": a.user} if i % 2 else {"request_id": a.request_id})}
                    for i, a in enumerate(answers)
                    if dice.random() < self._chances[a.version]
                ]
                if rows:
                    feedback.send_many(rows)
                    self.told += len(rows)


@pytest.fixture
def buyers() -> type[Buyers]:
    return Buyers


@pytest.fixture
def workshop(template: Path, tmp_path: Path) -> Iterator[Workshop]:
    shutil.copy(template / "mlflow.db", tmp_path / "mlflow.db")
    (tmp_path / "home").mkdir()
    for built in BUILT:
        (tmp_path / "home" / built).symlink_to(template / "home" / built)
    port = free_port()
    env = {
        **os.environ,
        "LOCKGATE_HOME": str(tmp_path / "home"),
        "LOCKGATE_STATE_URL": f"sqlite:///{tmp_path / 'state.db'}",
        "BENTOML_HOME": str(template / "bentoml"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "COLUMNS": "160",
    }
    spec = {
        "name": "toy",
        "model": {"name": "toy"},
        "service": {"ready_within": "60s", "compile": {"targets": ["onnxruntime"]}},
        "rollout": {
            "traffic": {"listen": f"127.0.0.1:{port}", "metrics": f"127.0.0.1:{free_port()}"},
            "steps": QUICK_STEPS,
            "gates": QUICK_GATES,
        },
    }
    shop = Workshop(tmp_path, env, port, spec)
    shop.write()
    yield shop
    for process in shop.started:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
    down = shop.cli("down")
    assert down.returncode == 0, down.stderr
    left = [" ".join(p.cmdline())[:120] for p in shop.processes()]
    assert not left, f"left running: {left}"
