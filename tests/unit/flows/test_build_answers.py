"""What a process that builds a version may say at its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows import build
from lockgate.flows.home import Home
from lockgate.flows.spec import parse
from lockgate.registry.words import ModelVersion
from lockgate.services.errors import PackagingFailed, ParityFailed

SPEC = "name: toy\nmodel: {name: toy}\nrollout: {steps: [{canary: {weight: 5}}], gates: {errors: {metric: error_rate}}}"
VERSION = ModelVersion("toy", "2", "models:/m-2")


def built(program: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """By this program in its place."""

    def spawn(_: object, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", f"import sys, os\n{program}"], **more)

    monkeypatch.setattr(build, "subprocess", SimpleNamespace(Popen=spawn, PIPE=subprocess.PIPE))
    return build.build(parse(SPEC), VERSION, Home(home, ""), lambda _: None)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("sys.stdin.close(); sys.exit('it died')", "ended with code 1; its last words were:\nit died"),
        ("sys.stdin.read(); sys.stderr.buffer.write(b'\\xff'); sys.exit(3)", "ended with code 3"),
        ("sys.stdin.read()", "ended with code 0"),
        ("sys.stdin.read(); print('half an ans')", "ended with what is no answer, 'half an ans'"),
        ("sys.stdin.read(); print('[1]')", "is no answer"),
        ("sys.stdin.read(); print('7')", "is no answer"),
        ("sys.stdin.read(); print('{\"bento\": 1}')", "is no answer"),
        ('sys.stdin.read(); print(\'{"error": "ParityFailed"}\')', "is no answer"),
    ],
)
def test_one_that_says_nothing_of_use_has_failed(
    program: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PackagingFailed) as failed:
        built(program, tmp_path, monkeypatch)
    assert str(failed.value).startswith("building toy version 2 ended")
    assert says in str(failed.value)


def test_what_it_met_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met = json.dumps({"error": "ParityFailed", "sentence": "it differs"})
    with pytest.raises(ParityFailed, match="it differs"):
        built(f"sys.stdin.read(); print({met!r})", tmp_path, monkeypatch)


def test_one_that_dies_while_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is more than a pipe holds."""
    monkeypatch.setattr(build, "asdict", lambda _: "x" * 2**20)
    with pytest.raises(PackagingFailed, match="ended with code 1"):
        built("sys.exit('it died')", tmp_path, monkeypatch)
