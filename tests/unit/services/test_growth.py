"""What is asked every second for months leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from lockgate.services import processes
from lockgate.services.local import LocalPlatform
from lockgate.services.records import Record


def test_looking_at_replicas_interns_nothing_of_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each string that is interned and dies again takes a row of the interpreter's table, which then doubles."""
    platform = LocalPlatform(tmp_path, ready_within=1.0)
    records, me = platform._records, psutil.Process()
    record = Record("ab12cd34ef56", "toy:1", "d", 1, me.pid, me.create_time(), me.pid, me.create_time(), ready=True)
    records.folder(record.id).mkdir()
    records.write(record)
    interned: Counter[str] = Counter()
    real = sys.intern

    def counted(text: str) -> str:
        interned[text] += 1
        return real(text)

    monkeypatch.setattr(sys, "intern", counted)
    for _ in range(5):
        assert [replica.id for replica in platform.replicas()] == [record.id]
        platform.watch(set())
    monkeypatch.undo()
    assert not {text for text in interned if record.id in text or str(os.getpid()) in text}


def test_children_that_have_ended_are_forgotten() -> None:
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
        child.wait()
        processes._OUR_CHILDREN.append(child)
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as running:
        processes._OUR_CHILDREN.append(running)
        processes.end([], grace=0)
        assert running in processes._OUR_CHILDREN
        assert all(one.returncode is None for one in processes._OUR_CHILDREN)
        assert running.stdin is not None
        running.stdin.close()
    processes.end([], grace=0)
    assert running not in processes._OUR_CHILDREN
