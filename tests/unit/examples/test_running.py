"""The examples for running it: a systemd unit, and Docker."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from lockgate.flows.cli import cli
from lockgate.flows.spec import load

EXAMPLES = Path(__file__).parents[3] / "examples"
UNIT = EXAMPLES / "systemd" / "lockgate.service"
COMPOSE = [EXAMPLES / folder / "compose.yaml" for folder in ("compose", "observability")]
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
"""Of github.com/compose-spec/compose-spec, `schema/compose-spec.json`."""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """But for the program, which is not in this user's home."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("ExecStart=%h/lockgate/.venv/bin/lockgate", "ExecStart=/bin/true"))
    done = subprocess.run(
        [str(shutil.which("systemd-analyze")), "verify", "--user", "--man=no", str(unit)],
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_starts_a_command_that_there_is_and_leaves_traffic_alone() -> None:
    lines = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")
    _, command, file = lines["ExecStart"].split()
    assert file.endswith(".yaml")
    assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0
    assert (lines["KillMode"], lines["Restart"], lines["OOMPolicy"]) == ("process", "always", "continue")


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.parent.name)
def test_a_compose_file_is_one(file: Path) -> None:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    jsonschema.Draft7Validator(SCHEMA).validate(document)
    for service in document["services"].values():
        assert service["network_mode"] == "host"
        assert service["restart"] == "unless-stopped"
        if build := service.get("build"):
            assert (file.parent / build["context"] / build["dockerfile"]).is_file()


def test_the_containers_take_a_spec_and_a_command_that_there_are() -> None:
    document = yaml.safe_load(COMPOSE[0].read_text())
    command, *_, file = document["services"]["lockgate"]["command"]
    assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0
    assert load(EXAMPLES / "compose" / file.lstrip("/")).service.resources.memory == 2 * 2**30


def test_no_port_is_taken_twice() -> None:
    """All of them are the host's."""
    text = " ".join(json.dumps(yaml.safe_load(file.read_text())["services"]) for file in COMPOSE)
    listening = ["--port=5000", "127.0.0.1:9464", "web.listen-address=127.0.0.1:9090", "127.0.0.1:9093"]
    assert all(address in text for address in listening)
