"""What a process says of itself is kept, within bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.flows import logs
from lockgate.flows.home import Home

WRITES = "import sys\nfor line in sys.stdin: print(line.strip(), flush=True)"


def test_a_log_is_set_aside_and_its_writer_goes_on_in_it(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with (
        log.open("ab") as output,
        subprocess.Popen([sys.executable, "-c", WRITES], stdin=subprocess.PIPE, stdout=output, text=True) as writer,
    ):
        assert writer.stdin is not None
        for word in ("first", "second", "third"):
            writer.stdin.write(word + "\n")
            writer.stdin.flush()
            while word not in log.read_text():
                pass
            if word != "third":
                logs.cut(log, largest=3)
        writer.stdin.close()
    assert log.read_text() == "third\n"
    assert (tmp_path / "server.1.log").read_text() == "second\n"


def test_every_log_of_a_pipeline_is_looked_at(tmp_path: Path) -> None:
    home = Home(tmp_path, "")
    found = [
        home.router("toy") / "log" / "envoy.log",
        home.feedback("toy") / "server.log",
        home.replicas("toy") / "logs" / "abc.log",
    ]
    for log in found:
        log.parent.mkdir(parents=True)
        log.write_bytes(b"x" * (logs.LARGEST + 1))
        log.with_suffix(".1.log").write_bytes(b"older")
    logs.bound(home, "toy")
    assert [log.stat().st_size for log in found] == [0, 0, 0]
    assert [log.with_suffix(".1.log").stat().st_size for log in found] == [logs.LARGEST + 1] * 3
    logs.bound(home, "toy")
    assert {log.name for log in (home.replicas("toy") / "logs").iterdir()} == {"abc.log", "abc.1.log"}


def test_what_cannot_be_kept_is_said_once_and_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Envoy's lock cannot be opened: the disk is full, or there are too many open files. Here it is a folder."""
    home = Home(tmp_path, "")
    envoy, access = (home.router("toy") / "log" / name for name in ("envoy.log", "access.0.jsonl"))
    other = home.feedback("toy") / "server.log"
    for log in (envoy, access, other):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"x" * (logs.LARGEST + 1))
    (home.router("toy") / "lock").mkdir()
    for _ in range(3):
        logs.bound(home, "toy")
    assert other.stat().st_size == 0
    said = [line.partition(" grow on: ")[0] for line in caplog.messages]
    assert said == ["the access logs of toy", "Envoy's own logs of toy"]


def test_where_nothing_runs_there_is_nothing_to_do(tmp_path: Path) -> None:
    logs.bound(Home(tmp_path, ""), "toy")
    assert list(tmp_path.iterdir()) == []
