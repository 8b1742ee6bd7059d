"""What the command says when it cannot start, and what every answer says when it has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.registry.errors import RegistryDown
from lockgate.registry.location import Location
from lockgate.registry.people import People

PASSWORD = "a password of twelve characters"  # noqa: S105 - of people who live as long as the tests
PLUGIN = "lockgate.registry.auth.app"


def _told(tmp_path: Path, **more: str) -> str:
    """The command imports the plugin before it starts anything; what it says then is the last that it says."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "_MLFLOW_", "LOCKGATE_"))}
    done = subprocess.run(
        [sys.executable, "-c", f"import {PLUGIN}"],
        env=clean | more,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_without_a_key_the_command_ends_with_a_sentence(tmp_path: Path) -> None:
    told = _told(tmp_path)

    assert told.startswith(
        "lockgate-auth: what people decide is signed, and there is nothing to sign with: set LOCKGATE_APPROVAL_KEY"
    )
    assert told.count("\n") == 1


def test_every_answer_says_who_vouches_for_people(world: Any) -> None:
    uri = world.server.uri
    answers = [
        httpx.get(f"{uri}/health"),
        httpx.get(f"{uri}/version"),
        httpx.get(f"{uri}/api/2.0/mlflow/registered-models/search"),
        httpx.get(f"{uri}/health", headers={"Host": "evil.example"}),
        httpx.get(f"{uri}/", headers={"Host": "evil.example"}),
        world.alice.http.get("/"),
        world.alice.http.get("/nothing/here"),
        world.alice.http.get("/ajax-api/lockgate/audit"),
        world.dave.http.put("/api/2.0/mlflow-artifacts/artifacts/0/x", content=b""),
    ]

    assert [a.headers.get("X-Lockgate-Auth") for a in answers] == ["1"] * len(answers)


@pytest.mark.timeout(180)
def test_basic_auth_alone_vouches_for_nobody(
    template: Path, tmp_path: Path, server_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(template, tmp_path / "mlflow.db")
    server = server_of(tmp_path, plugin="basic-auth")
    try:
        server.wait()
        where = Location(server.uri, server.uri)
        with pytest.raises(RegistryDown, match="it answered 401; set MLFLOW_TRACKING_USERNAME"):
            People(where).known()
        admin = httpx.Client(base_url=server.uri, auth=("root", PASSWORD))
        made = admin.post("/api/2.0/mlflow/users/create", json={"username": "ann", "password": PASSWORD})
        assert made.is_success
        admin.close()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        assert not People(where).known()
    finally:
        server.stop()


def test_the_page_has_the_bar_even_for_a_browser_that_kept_the_old_one(world: Any) -> None:
    first = world.alice.http.get("/")
    again = world.alice.http.get("/", headers={"If-None-Match": "*", "Range": "bytes=0-9"})

    for answer in (first, again):
        assert answer.status_code == 200
        assert answer.text.count("lockgate-bar") == 1
        assert answer.text.endswith("</script></body></html>")
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers
    assert httpx.get(f"{world.server.uri}/").status_code == 401
    assert "lockgate-bar" not in world.alice.http.get("/static-files/manifest.json").text
