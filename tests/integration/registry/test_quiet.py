from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from lockgate.registry.client import quiet_mlflow


def test_nothing_is_printed(shelf: Any, champion: str) -> None:
    """MLflow has much to say on standard error; `lockgate` alone says what is worth reading."""
    program = (
        "from pathlib import Path\n"
        "from lockgate.registry.mlflow_registry import MlflowRegistry\n"
        "from lockgate.registry.source import check_batches, load_source\n"
        "from lockgate.registry.spec import Trust\n"
        f"registry = MlflowRegistry(Path({str(shelf.folder / 'quiet')!r}), {shelf.uri!r})\n"
        f"registry.assign('fraud', {champion!r}, expected=None)\n"
        "check_batches(load_source(registry.fetch(registry.resolve('fraud', '@champion')), Trust()))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)

    assert (done.stdout, done.stderr) == ("", "")


def test_a_dead_server_is_noticed_soon_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

    quiet_mlflow()

    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "5"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
