"""Replicas as processes: started, found again, ended, and never left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import pytest

from lockgate.services import memory, processes
from lockgate.services.errors import NotReady
from lockgate.services.local import LocalPlatform
from lockgate.services.words import Bento


@pytest.fixture
def home(bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A platform's home; whatever a test leaves running there is an error, and ended."""
    monkeypatch.setenv("BENTOML_HOME", str(bentoml_home))
    home = tmp_path / "platform"
    yield home
    left = ours(home)
    for process in left:
        process.kill()
    assert not left


def ours(home: Path) -> list[psutil.Process]:
    """Processes of replicas that this home logged, and no others: other platforms run on this machine."""
    return processes.of([log.stem for log in (home / "logs").glob("*.log")])


def get(port: int, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=20)


def counted(port: int) -> float:
    line = next(
        x for x in get(port, "/metrics").text.splitlines() if x.startswith('lockgate_service_requests_total{code="200"')
    )
    return float(line.split()[-1])


def test_replicas_keep_their_own_metrics_and_all_of_them_end(home: Path, bento: Bento) -> None:
    platform = LocalPlatform(home, 90)
    (first,) = platform.start(bento, 1)
    good = {"inputs": [[0.5] * 30]}
    assert httpx.post(f"http://127.0.0.1:{first.port}/predict", json=good, trust_env=False).status_code == 200
    both = platform.start(bento, 2)
    assert first in both
    second = next(r for r in both if r != first)
    assert (counted(first.port), counted(second.port)) == (1.0, 0.0)
    assert set(platform.replicas()) == set(both)
    assert set(platform.start(bento, 1)) == {first}
    platform.stop(both)
    platform.stop(both)
    assert platform.replicas() == []
    assert not list((home / "replicas").iterdir())


STARTER = """
import sys
from pathlib import Path
from lockgate.services.local import LocalPlatform
from lockgate.services.words import Bento
platform = LocalPlatform(Path(sys.argv[1]), 90)
print(*[r.id for r in platform.start(Bento(*sys.argv[2:]), 1)], flush=True)
sys.stdin.read()
"""


def starter(home: Path, bento: Bento) -> subprocess.Popen[str]:
    """Another controller in a process of its own."""
    what = [bento.tag, bento.model, bento.version, bento.digest, bento.target]
    command = [sys.executable, "-c", STARTER, str(home), *what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_later_controller_adopts_what_a_killed_one_started(home: Path, bento: Bento) -> None:
    with starter(home, bento) as controller:
        assert controller.stdout is not None
        started = controller.stdout.readline().strip()
        controller.kill()
    platform = LocalPlatform(home, 90)
    (found,) = platform.replicas()
    assert found.id == started
    assert get(found.port, "/readyz").status_code == 200
    assert list(platform.start(bento, 1)) == [found]
    platform.stop([found])


def test_a_controller_killed_before_it_wrote_the_process_down(home: Path, bento: Bento) -> None:
    with starter(home, bento) as controller:
        assert controller.stdout is not None
        started = controller.stdout.readline().strip()
        controller.kill()
    platform = LocalPlatform(home, 90)
    record = platform._records.get(started)
    assert record is not None
    pid = record.pid
    forgotten = {"pid": 0, "created": 0.0, "owner": controller.pid}
    platform._records.write(type(record)(**{**{s: getattr(record, s) for s in record.__slots__}, **forgotten}))
    (found,) = platform.replicas()
    assert (found.id, found.pid) == (started, pid)
    platform.stop([found])


def test_a_replica_that_died_is_forgotten_and_its_worker_ended(home: Path, bento: Bento) -> None:
    platform = LocalPlatform(home, 90)
    (replica,) = platform.start(bento, 1)
    os.kill(replica.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(replica.pid)] if psutil.pid_exists(replica.pid) else [], timeout=10)
    assert processes.of([replica.id])  # the worker has a session of its own and lives on
    assert platform.replicas() == []
    assert not processes.of([replica.id])


def test_a_model_that_cannot_be_served_is_not_ready_and_leaves_nothing(
    home: Path, bento: Bento, bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bentoml_home, broken, ignore=shutil.ignore_patterns("prometheus*", "tmp"))
    (broken / "models" / bento.tag.replace(":", "/") / "model.onnx").write_bytes(b"cut off")
    monkeypatch.setenv("BENTOML_HOME", str(broken))
    platform = LocalPlatform(home, 90)
    with pytest.raises(NotReady) as refused:
        platform.start(bento, 2)
    assert f"a replica of {bento.tag} is not ready: this model cannot be served: " in str(refused.value)
    assert platform.replicas() == []
    assert not ours(home)


def test_a_replica_that_takes_too_long_is_given_up(home: Path, bento: Bento) -> None:
    platform = LocalPlatform(home, 0.0)
    with pytest.raises(NotReady, match="not ready within 0 s"):
        platform.start(bento, 1)
    assert platform.replicas() == []


def test_a_bento_that_is_not_there_ends_at_once(home: Path, bento: Bento) -> None:
    absent = Bento("fraud:absent", bento.model, bento.version, bento.digest, bento.target)
    with pytest.raises(NotReady, match="its process ended"):
        LocalPlatform(home, 90).start(absent, 1)


def test_another_port_is_tried_when_the_first_was_taken_meanwhile(
    home: Path, bento: Bento, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        taken = thief.getsockname()[1]
        real, offered = processes.free_port, [taken]
        monkeypatch.setattr(processes, "free_port", lambda used: offered.pop() if offered else real(used))
        platform = LocalPlatform(home, 90)
        (replica,) = platform.start(bento, 1)
    assert replica.port != taken
    platform.stop([replica])


def test_an_interrupted_start_leaves_nothing(home: Path, bento: Bento, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_record: Any) -> bool:
        raise KeyboardInterrupt

    platform = LocalPlatform(home, 90)
    monkeypatch.setattr("lockgate.services.local._ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        platform.start(bento, 2)
    assert platform.replicas() == []
    assert not ours(home)


def exposure(replica: Any) -> set[int]:
    """`oom_score_adj` of its processes."""
    return {int(Path(f"/proc/{p.pid}/oom_score_adj").read_text()) for p in processes.of([replica.id])}


def test_a_replica_beyond_its_memory_is_ended_and_stable_is_spared(home: Path, bento: Bento) -> None:
    """A replica of this takes some 250 MiB. Two who start it at the same moment start one."""
    own = int(Path("/proc/self/oom_score_adj").read_text())
    platform = LocalPlatform(home, 90, most=2**40)
    found: list[Any] = []
    threads = [Thread(target=lambda: found.extend(platform.start(bento, 1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    (replica,) = set(found)
    assert exposure(replica) == {memory.EXPOSED}
    assert platform.watch(()) == {}
    assert exposure(replica) == {memory.EXPOSED}
    assert platform.watch({bento.tag}) == {}
    assert exposure(replica) == {own}
    assert list(platform.replicas()) == [replica]
    assert LocalPlatform(home, 90, most=64 * 2**20).watch({bento.tag}) == {}  # it was started with another limit
    record = platform._records.get(replica.id)
    assert record is not None
    assert record.limit == 2**40
    platform._records.write(replace(record, limit=64 * 2**20))
    assert platform.watch({bento.tag}) == {}  # the last one of stable
    assert list(platform.replicas()) == [replica]
    ended = platform.watch(())
    assert re.fullmatch(
        r"it takes \d{3} MiB of memory, and service.resources.memory allows 64MiB; raise it, .*", ended[bento.tag]
    )
    assert platform.replicas() == []
    with pytest.raises(
        NotReady, match=r"is not ready: it takes \d+ MiB of memory, and service.resources.memory allows"
    ):
        LocalPlatform(home, 90, most=64 * 2**20).start(bento, 1)
