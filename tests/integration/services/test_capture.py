"""Capture in real replicas: live traffic, a disk that fails, a killed process."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.services import processes
from lockgate.services.local import LocalPlatform
from lockgate.services.words import Bento, Replica

SETTINGS = {"sample": 1.0, "keep": 3600, "max_size": 2**30, "redact": {}, "sticky": "x-user-id", "key": "5e" * 32}
PLAIN, PLANTED = 4321.98765, 1234.56789
_WITHIN = 30.0


class Running:
    """One replica that captures into `folder`."""

    def __init__(self, replica: Replica, folder: Path) -> None:
        self.replica, self.folder, self.url = replica, folder, f"http://127.0.0.1:{replica.port}"

    def ask(self, body: Any = None, **headers: str) -> int:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        answer = httpx.post(f"{self.url}/predict", json=body or row(0.5), headers=named, trust_env=False, timeout=20)
        return answer.status_code

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=20).text
        found = re.search(rf"lockgate_service_{name}_total{{[^}}]*}} (\S+)", text)
        assert found, name
        return float(found[1])

    def until(self, name: str, least: float) -> None:
        until(lambda: self.metric(name) >= least)

    def settings(self, **changes: Any) -> None:
        settings(self.folder, **changes)


def until(there: Callable[[], bool]) -> None:
    """The writer works every two seconds, in a thread of another process."""
    deadline = time.monotonic() + _WITHIN
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def row(value: float) -> dict[str, Any]:
    return {"inputs": [[value] * 30]}


def as_bytes(value: float) -> bytes:
    return np.float32(value).tobytes() * 3


def settings(folder: Path, **changes: Any) -> None:
    new = folder / "new"
    new.write_text(json.dumps({**SETTINGS, **changes}))
    new.replace(folder / "capture.json")


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What is captured, by request id, as the reader of a growing stream finds it."""
    found: list[dict[str, Any]] = []
    for path in folder.glob("*/*.parquet"):
        found += parquet.read_table(path).to_pylist()
    for path in folder.glob("*/*.arrows"):
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            found += [row for batch in stream for row in batch.to_pylist()]
    return {row["request_id"]: row for row in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "capture"
    found.mkdir()
    settings(found)
    return found


@pytest.fixture
def platform(
    bentoml_home: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalPlatform]:
    monkeypatch.setenv("BENTOML_HOME", str(bentoml_home))
    monkeypatch.setenv("LOCKGATE_CAPTURE", str(tmp_path / "somebody else's"))
    found = LocalPlatform(tmp_path / "platform", 90, capture=folder)
    yield found
    found.stop(found.replicas())


def started(platform: LocalPlatform, bento: Bento, folder: Path) -> Running:
    (replica,) = platform.start(bento, 1)
    return Running(replica, folder)


def worker(replica: Replica) -> psutil.Process:
    """Of the replica's two processes, the one that answers."""
    return max(processes.of([replica.id]), key=lambda process: process.num_threads())


def test_what_a_replica_answers_is_captured(platform: LocalPlatform, bento: Bento, folder: Path) -> None:
    live = started(platform, bento, folder)
    assert live.ask(x_request_id="good", x_user_id="ann", x_lockgate_variant="candidate") == 200
    assert live.ask(x_request_id="copy", x_lockgate_variant="candidate", x_lockgate_shadow="1") == 200
    assert live.ask({"inputs": [[0.5]]}, x_request_id="bad") == 422
    live.until("captured_rows", 3)
    assert live.metric("captured_bytes") > 0
    found = rows(folder)
    good = found["good"]
    assert (good["input.x"], len(good["output.output"]), good["rows"]) == ([0.5] * 30, 2, 1)
    assert (good["digest"], good["replica"], good["variant"]) == (bento.digest, live.replica.id, "candidate")
    assert (good["kind"], found["copy"]["kind"]) == ("live", "shadow")
    assert (found["bad"]["status"], found["bad"]["input.x"]) == (422, None)
    live.ask(x_request_id="last")  # waits in the queue when the replica is told to stop
    platform.stop([live.replica])
    assert not list(folder.glob("*/*.arrows"))
    assert set(rows(folder)) == {"good", "copy", "bad", "last"}
    assert {path.parent.name for path in folder.glob("*/*.parquet")} == {bento.digest[:12]}
    assert not (folder.parent / "somebody else's").exists()


def test_a_disk_that_fails_and_comes_back(platform: LocalPlatform, bento: Bento, folder: Path) -> None:
    """A limit on the size of files is to the process what a full disk is."""
    live = started(platform, bento, folder)
    live.ask(x_request_id="before")
    live.until("captured_rows", 1)
    process = worker(live.replica)
    unlimited = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (1024, unlimited[1]))
    assert [live.ask(x_request_id=f"full-{i}") for i in range(50)] == [200] * 50
    live.until("capture_dropped", 1)
    assert live.metric("capture_failures") >= 1
    process.rlimit(psutil.RLIMIT_FSIZE, unlimited)
    dropped = live.metric("capture_dropped")
    assert live.ask(x_request_id="after") == 200
    live.until("captured_rows", 2)
    platform.stop([live.replica])
    found = rows(folder)
    assert {"before", "after"} <= set(found)
    assert len(found) + dropped >= 52
    log = next((platform._records._logs).glob("*.log")).read_text()
    assert log.count("Requests are answered all the same") <= 1  # the log's own writes failed meanwhile


def test_a_killed_replica_loses_no_more_than_its_last_two_seconds(
    platform: LocalPlatform, bento: Bento, folder: Path
) -> None:
    live = started(platform, bento, folder)
    for i in range(20):
        live.ask(x_request_id=f"r-{i}")
    live.until("captured_rows", 20)
    members = processes.of([live.replica.id])
    for process in members:
        process.kill()
    psutil.wait_procs(members, timeout=_WITHIN)
    assert set(rows(folder)) == {f"r-{i}" for i in range(20)}
    (left,) = folder.glob("*/*.arrows")
    again = started(platform, bento, folder)
    again.ask(x_request_id="next")
    again.until("captured_rows", 1)
    until(lambda: not left.exists())
    assert len(rows(folder)) == 21
    assert left.with_suffix(".parquet").exists()


def test_a_redacted_input_is_nowhere_on_the_disk(
    platform: LocalPlatform, bento: Bento, folder: Path, tmp_path: Path
) -> None:
    """The settings change while it runs. Before they do the value is found, so that looking is known to work."""
    live = started(platform, bento, folder)
    live.ask(row(PLAIN), x_request_id="plain")
    live.until("captured_rows", 1)
    assert any(as_bytes(PLAIN) in path.read_bytes() for path in folder.glob("*/*.arrows"))
    live.settings(redact={"x": "hash"})
    asked = iter(range(10_000))
    until(
        lambda: (
            any(isinstance(one["input.x"], str) for one in rows(folder).values())
            or not live.ask(x_request_id=f"r-{next(asked)}")
        )
    )
    live.ask(row(PLANTED), x_request_id="secret", x_user_id="planted-user")
    until(lambda: "secret" in rows(folder))
    assert re.fullmatch("[0-9a-f]{16}", rows(folder)["secret"]["input.x"])
    for path in (*folder.rglob("*.*"), *tmp_path.rglob("*.log")):
        content = path.read_bytes()
        assert as_bytes(PLANTED) not in content
        assert b"planted" not in content
