"""A data plane that is made of numbers, databases to remember in, and specs and verdicts in one line."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.errors import RouterDown, SourceDown
from lockgate.rollout.ports import always
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verdict import GateVerdict, Verdict
from lockgate.rollout.words import WHOLE, Counts, Endpoint, Outcome, Routes

EDGES = (5.0, 10.0, 20.0, 40.0, 80.0, float("inf"))
STABLE, CANDIDATE = (Endpoint("127.0.0.1", 9001),), (Endpoint("127.0.0.1", 9002),)


class FakeRouter:
    """Keeps the routes it was given, and every change of them."""

    def __init__(self) -> None:
        self.serves = Routes(STABLE)
        self.history: list[Routes] = []
        self.down = False
        self.meanwhile: Callable[[], object] = tuple
        """What others do while one waits until it is alone."""

    def apply(self, routes: Routes, still: Callable[[], bool] = always) -> bool:
        self._answer()
        self.meanwhile()
        if wanted := still():
            self.serves = routes
            self.history.append(routes)
        return wanted

    def applied(self) -> Routes:
        self._answer()
        return self.serves

    def _answer(self) -> None:
        if self.down:
            raise RouterDown("the router does not answer")


@dataclass
class Variant:
    """How one side answers: the share of its requests that fail, and how many of them take how long."""

    errors: float = 0.0
    latency_ms: float = 8.0
    tally: Tally = Tally(latency=Histogram(EDGES, (0,) * len(EDGES)))

    def answer(self, requests: int) -> None:
        slow = tuple(requests if self.latency_ms <= edge else 0 for edge in EDGES)
        self.tally = self.tally.plus(Tally(requests, round(requests * self.errors), Histogram(EDGES, slow)))


@dataclass
class FakeSource:
    """Counts what the router would have sent to each side."""

    router: FakeRouter
    stable: Variant = field(default_factory=Variant)
    candidate: Variant = field(default_factory=Variant)
    shadow: Variant = field(default_factory=Variant)
    others: dict[str, Variant] = field(default_factory=dict)
    down: bool = False

    def measure(self) -> Counts:
        if self.down:
            raise SourceDown("no measurements to be had")
        others = {name: other.tally for name, other in self.others.items()}
        return Counts(self.stable.tally, self.candidate.tally, self.shadow.tally, others=others)

    def traffic(self, requests: int) -> None:
        """Live requests arrive, and are split as the routes say."""
        routes = self.router.serves
        mine = requests * routes.weight // WHOLE if routes.candidate else 0
        theirs = {other.name: requests * other.weight // WHOLE for other in routes.others if other.endpoints}
        self.stable.answer(requests - mine - sum(theirs.values()))
        self.candidate.answer(mine)
        for name, answered in theirs.items():
            self.others.setdefault(name, Variant()).answer(answered)
        self.shadow.answer(requests * routes.mirror // WHOLE)

    def reset(self) -> None:
        """The data plane starts anew, and its counters with it."""
        for side in (self.stable, self.candidate, self.shadow, *self.others.values()):
            side.tally = Variant().tally


class Plane:
    """A router, a source and two sides of one replica each."""

    def __init__(self) -> None:
        self.router = FakeRouter()
        self.source = FakeSource(self.router)
        self.sides = {"stable": STABLE, "candidate": CANDIDATE}


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def new_plane() -> type[Plane]:
    return Plane


SpecOf = Callable[..., RolloutSpec]

_STEPS = ({"shadow": {"percent": 100}}, {"canary": {"weight": 5}}, {"canary": {"weight": 25}})
_GATES = {
    "errors": {"metric": "error_rate", "margin": "1%"},
    "latency": {"metric": "latency", "quantile": 0.9, "margin": "20%"},
}


@pytest.fixture(scope="session")
def spec_of() -> SpecOf:
    def make(*steps: dict[str, Any], gates: dict[str, Any] | None = None, profile: str = "fast") -> RolloutSpec:
        warm = {"requests": 0, "duration": "30s"}
        document = {"steps": steps or _STEPS, "gates": gates or _GATES, "profile": profile, "warm_up": warm}
        return RolloutSpec.model_validate(document)

    return make


@pytest.fixture(scope="session")
def verdict_of() -> Callable[..., Verdict]:
    def make(outcome: str, requests: int = 1000) -> Verdict:
        word = Outcome(outcome)
        gate = GateVerdict("errors", "error_rate", word, 0.01, 0.01, 0.02, requests, 900, 0.5, 40.0, f"errors: {word}")
        return Verdict(word, (gate,), requests, 0.05, f"errors: {word}")

    return make


@pytest.fixture(scope="session")
def rollout_of(spec_of: SpecOf) -> Callable[..., Rollout]:
    numbers = count(1)

    def make(spec: RolloutSpec | None = None, model: str = "fraud") -> Rollout:
        return Rollout(
            f"{model}-{next(numbers)}", model, spec or spec_of(), {"candidate": "2"}, {"name": model}, 0.0, None
        )

    return make


@pytest.fixture
def begin() -> Callable[[Store, Rollout, float], Event]:
    """Opens a rollout and has both sides built; the steps can begin."""

    def start(store: Store, rollout: Rollout, now: float) -> Event:
        store.open(rollout, now)
        return store.append(rollout, store.last(rollout.id), Built({"bento": "fraud:2"}), now)

    return start


def _program(name: str) -> Path | None:
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return Path(found) if found else next(iter(places), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL of our own on a socket in a folder of its own; the URL of its server, without a database."""
    initdb, postgres = _program("initdb"), _program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="lockgate-pg-"))
    shutil.chown(folder, user)
    as_user = {"user": user} if os.geteuid() == 0 else {}
    data = folder / "data"
    try:
        made = [initdb, "-D", data, "-U", "lockgate", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **as_user)
        options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [postgres, "-D", data, *options], stdout=log, stderr=log, cwd=folder, start_new_session=True, **as_user
            )
        try:
            url = f"postgresql://lockgate@/%s?host={folder}"
            _until_it_answers(url % "postgres", server)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
            assert server.returncode == 0
    finally:
        shutil.rmtree(folder)


def _until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    deadline = time.monotonic() + 60
    while True:
        try:
            with engine.connect():
                break
        except OperationalError:
            assert server.poll() is None
            assert time.monotonic() < deadline
    engine.dispose()


@pytest.fixture
def postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, as a person writes it."""
    name = f"t{abs(hash(request.node.nodeid))}"
    engine = create_engine((postgres_server % "postgres").replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(text(f"create database {name}"))
    engine.dispose()
    return postgres_server % name


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/lockgate.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    it = Store(url)
    yield it
    it.close()
