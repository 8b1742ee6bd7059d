"""The end of Envoy's process, whoever started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.folder import Folder

CARELESS = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print("started", flush=True)
input()
"""


def test_one_that_its_parent_does_not_collect_has_ended(tmp_path: Path) -> None:
    """As the first process of many a container does not collect what it adopts."""
    with subprocess.Popen([sys.executable, "-c", CARELESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (orphan,) = psutil.Process(parent.pid).children()
        process.end(orphan, Folder(tmp_path))
        assert orphan.status() == psutil.STATUS_ZOMBIE
        parent.kill()
