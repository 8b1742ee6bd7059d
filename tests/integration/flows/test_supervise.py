"""What died of a pipeline that is wanted up is started again, once, and what was stopped on purpose is not."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockgate.flows import feedback, feedback_process, restarts, wanted
from lockgate.flows.home import Home
from lockgate.flows.lease import owner
from lockgate.flows.supervise import Supervisor
from lockgate.flows.supervised import Pipeline
from lockgate.rollout.envoy import process as envoy_process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.protection import Tls
from lockgate.rollout.state import Built
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Endpoint, Routes
from lockgate.services.local import LocalPlatform
from lockgate.services.words import Bento

STABLE = Bento("toy:stable", "toy", "1", "aa", "eager")
FACTS = {f"{s}_{k}": v for s in ("stable", "candidate") for k, v in {
    "bento": f"toy:{s}", "digest": "aa", "version": "1", "target": "eager", "precision": "fp32"}.items()}  # fmt: skip
SERVER = "import http.server, sys; http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), {}).serve_forever()".format(
    "type('H', (http.server.BaseHTTPRequestHandler,), {'do_POST': lambda s: (s.rfile.read(int(s.headers["
    "'content-length'])), s.send_response(200), s.send_header('content-length', '0'), s.end_headers())})"
)


@dataclass
class Place:
    """A pipeline that is up: real Envoy, real feedback server, and a replica that is a process with a record."""

    pipeline: Any
    home: Home
    platform: LocalPlatform
    until: Callable[..., Any]

    @property
    def router(self) -> Any:
        return self.pipeline.router

    def replica(self) -> psutil.Process:
        """One more of stable's, as its platform would have left it."""
        record = self.platform._records.open(STABLE, self.home.root)
        child = subprocess.Popen([sys.executable, "-c", SERVER, str(record.port)], stderr=subprocess.DEVNULL)
        made = psutil.Process(child.pid)
        self.platform._records.write(replace(record, pid=made.pid, created=made.create_time(), ready=True))
        self.children.append(child)
        return made

    def __post_init__(self) -> None:
        self.children: list[subprocess.Popen[bytes]] = []

    def store(self) -> Store:
        return Store(self.home.store_url)

    def looked(self, pipeline: Pipeline, times: int = 3) -> None:
        for _ in range(times):
            pipeline.look(time.monotonic())
            for keeper in pipeline._keepers.values():
                keeper.join()

    def kill(self, process: psutil.Process | None) -> None:
        assert process is not None
        process.kill()
        self.until(lambda: not envoy_process.alive(process))


@pytest.fixture
def place(pipeline: Any, tmp_path: Path) -> Iterator[Place]:
    pipeline.home = home = Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    made = Place(pipeline, home, LocalPlatform(home.replicas("toy"), 30.0), pipeline.until)
    made.replica()
    (found,) = made.platform.replicas()
    pipeline.model = Endpoint(found.host, found.port)
    pipeline.up()
    wanted.up(home, pipeline.spec.document, STABLE)
    yield made
    for child in made.children:
        child.kill()
        child.wait()


@pytest.fixture
def watched(place: Place) -> Iterator[Pipeline]:
    made = Pipeline(place.home, "toy")
    yield made
    made.close()


def test_envoy_and_the_feedback_server_come_back_with_what_they_served(place: Place, watched: Pipeline) -> None:
    place.looked(watched)
    assert restarts.counted(place.home, "toy") == {}
    routes = place.router.applied()
    place.kill(envoy_process.find(place.router.at))
    place.kill(place.pipeline.server())
    place.looked(watched)
    assert place.router.applied() == routes
    assert place.pipeline.post([[1]], path="/predict").status_code == 200
    assert place.pipeline.post({"metric": "conversion", "user": "u", "value": 1}).status_code == 202
    assert restarts.counted(place.home, "toy") == {"router": 1, "feedback": 1}


def test_a_feedback_server_that_nobody_has_started_yet(place: Place, watched: Pipeline) -> None:
    """It was asked for by a `lockgate up` while a rollout without one was open; that is over, and its spec is taken."""
    feedback.stop(place.home, "toy")
    shutil.rmtree(place.home.feedback("toy"))
    place.looked(watched)
    assert place.pipeline.post({"metric": "conversion", "user": "u", "value": 1}).status_code == 202


def test_two_who_see_it_die_start_one(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Two supervisors that know nothing of one another, and a driver's way back: one Envoy, one feedback server."""
    place.kill(envoy_process.find(place.router.at))
    place.kill(place.pipeline.server())
    both = [Pipeline(place.home, "toy"), Pipeline(place.home, "toy")]
    threads = [threading.Thread(target=place.looked, args=(one, 1)) for one in both]
    threads.append(threading.Thread(target=place.router.start_again))
    with caplog.at_level(logging.WARNING, "lockgate.supervise"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for one in both:
        one.close()
    command = ["--config-path", str(place.router.at.bootstrap)]
    envoys = [p for p in psutil.process_iter() if _command(p)[1:3] == command]
    folder = str(place.pipeline.folder.resolve())
    servers = [p for p in psutil.process_iter() if folder in _command(p)]
    assert (len(envoys), len(servers)) == (1, 1)
    assert not [line for line in caplog.messages if "could not be" in line]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_requests_go_to_the_replicas_that_are_left_and_to_those_that_came(place: Place, watched: Pipeline) -> None:
    second = place.replica()
    place.looked(watched, 1)
    assert len(place.router.applied().stable) == 2
    place.kill(second)
    hold = threading.Event()
    start = threading.Thread(target=hold.wait)
    start.start()
    watched._keepers["stable"]._thread = start  # another one is started at this moment, which may take minutes
    watched.look(time.monotonic())
    hold.set()
    start.join()
    assert place.router.applied() == Routes((place.pipeline.model,))


def test_what_cannot_be_started_is_tried_ever_more_seldom(
    place: Place, watched: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(place.home.root / "empty"))  # the bento is not there
    (record,) = place.platform._records.running()
    place.kill(psutil.Process(record.pid))
    with caplog.at_level(logging.WARNING, "lockgate.supervise"):
        place.looked(watched, 6)
    tried = [line for line in caplog.messages if "toy:stable could not be started again, next try in " in line]
    assert 1 <= len(tried) < 4  # it was looked at six times, within two or three seconds
    assert place.router.running()
    assert all("\n" not in line for line in caplog.messages)


def test_what_was_stopped_on_purpose_stays_stopped(place: Place, watched: Pipeline) -> None:
    place.looked(watched)
    wanted.down(place.home, "toy")
    place.router.stop()
    place.kill(place.pipeline.server())
    place.looked(watched)
    assert not place.router.running()
    assert place.pipeline.server() is None
    wanted.up(place.home, place.pipeline.spec.document, STABLE)
    place.looked(watched)
    assert place.router.running()


def test_whoever_drives_brings_it_back_and_nobody_else(place: Place, watched: Pipeline) -> None:
    store, spec = place.store(), place.pipeline.spec
    rollout = Rollout("toy-1", "toy", spec.rollout, {"model": "toy", "stable": "1"}, spec.document, 1.0, None)
    store.open(rollout, 1.0)
    me = owner()
    assert store.lease(rollout.id, me, time.time(), 60.0)
    place.kill(envoy_process.find(place.router.at))
    place.looked(watched)
    assert place.router.running()  # a rollout that is being built is looked after by nobody else
    store.append(rollout, store.last(rollout.id), Built(FACTS), time.time())
    place.kill(envoy_process.find(place.router.at))
    another = Pipeline(place.home, "toy")  # one that has not started anything, and so need not wait
    place.looked(another)
    assert not place.router.running()
    store.release(rollout.id, me)
    place.looked(another)
    assert place.router.running()
    another.close()
    assert store.holder(rollout.id, time.time()) == ""
    store.close()


def test_envoy_comes_back_while_the_store_is_down(place: Place, watched: Pipeline) -> None:
    place.looked(watched)
    assert watched._view is not None
    watched._view.world.store.close()
    (place.home.root / "state.db").unlink()
    (place.home.root / "state.db").mkdir()
    place.kill(envoy_process.find(place.router.at))
    place.looked(watched)
    assert place.router.running()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_one_that_cannot_come_back_as_it_was_does_not_come_back_open(
    place: Place, watched: Pipeline, tmp_path: Path
) -> None:
    """What it supervises by was written before there was TLS."""
    files = {"certificate": str(tmp_path / "server.crt"), "key": str(tmp_path / "server.key")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=localhost", "-keyout", files["key"], "-out", files["certificate"]]
    subprocess.run(command, check=True, capture_output=True)
    at, traffic = place.router.at, place.pipeline.spec.rollout.traffic
    secured = EnvoyRouter(at.path, traffic.model_copy(update={"tls": Tls(**files)}), place.router.feedback)
    secured.start(place.router.applied())
    place.kill(envoy_process.find(at))
    for folder in (at.xds, at.good):
        (folder / "sds_certificate.json").unlink()
    place.looked(watched)
    assert not place.router.running()
    secured.start(Routes((place.pipeline.model,)))
    assert place.router.running()


def test_what_was_decided_on_an_older_mark_is_not_done(place: Place, watched: Pipeline) -> None:
    """`lockgate up` with another stable came between the look and the lock."""
    place.looked(watched)
    mark, file = wanted.read(place.home, "toy"), place.home.root / "toy" / wanted.MARK
    assert mark is not None
    view, written = watched._seen(mark), file.read_bytes()
    routes = place.router.applied()
    place.replica()
    wanted.up(place.home, place.pipeline.spec.document, replace(STABLE, tag="toy:next"))
    watched._route(view)
    assert place.router.applied() == routes
    place.kill(envoy_process.find(place.router.at))
    router = next(watched._parts(view))
    assert not watched._start(view, router)
    assert not place.router.running()
    file.write_bytes(written)
    assert watched._start(view, router)
    assert place.router.running()


def test_one_watches_and_the_other_stands_by(place: Place) -> None:
    first, second, stop = Supervisor(place.home), Supervisor(place.home), threading.Event()
    assert first._first()
    assert not second._first()
    first.close()
    assert second._first()
    second.close()
    stop.set()
    first.run(stop)
    assert feedback_process.find(place.pipeline.folder.resolve()) is not None
