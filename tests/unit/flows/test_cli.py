"""The command itself: what it lists, what it loads, how it ends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockgate.flows.cli import _COMMANDS, cli
from lockgate.flows.errors import MissingPart, NothingToDo, SpecError
from lockgate.flows.exits import Exit, code_of, code_of_end
from lockgate.registry.errors import Conflict, NoSuchVersion, RegistryDown, Untrusted, Unusable
from lockgate.rollout.errors import AlreadyOpen, Fenced, NoRollout, NotNow, RouterDown, RouterRefused
from lockgate.rollout.state import State
from lockgate.rollout.words import Phase
from lockgate.services.errors import NoTarget, NotReady, PackagingFailed, ParityFailed

HEAVY = ["torch", "tensorflow", "mlflow", "bentoml", "prefect", "onnxruntime", "onnx", "sklearn", "pandas", "evidently"]
SPEC = """
name: toy
model: {name: toy}
rollout:
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
"""


def loaded_by(args: list[str], folder: Path) -> set[str]:
    """The vendors that a command imports, asked in a fresh interpreter."""
    code = (
        f"import sys\nsys.argv = ['lockgate', *{args!r}]\n"
        "from lockgate.flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("args", [["--help"], ["validate"], ["schema"], ["status"], ["run", "--help"]])
def test_quick_commands_load_no_vendor(args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    (tmp_path / "lockgate.yaml").write_text(SPEC)
    assert loaded_by(args, tmp_path) == set()


def test_what_it_writes_is_not_everybodys_whatever_the_shell_allows() -> None:
    code = (
        "import os, sys\nsys.argv = ['lockgate', '--help']\nos.umask(0o040)\n"
        "from lockgate.flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(oct(os.umask(0)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0o42"


def test_every_command_is_listed_has_help_and_is_documented() -> None:
    listed = CliRunner().invoke(cli, ["--help"]).output
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    for name in _COMMANDS:
        assert f"  {name} " in listed
        assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0
        assert f"lockgate {name}" in readme, f"README does not lead to `lockgate {name}`"


def test_a_mistyped_command_names_the_nearest() -> None:
    result = CliRunner().invoke(cli, ["statsu"])
    assert result.exit_code == 2
    assert "did you mean 'status'?" in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("f", []), 2),
        (MissingPart(), 3),
        (NothingToDo(), 0),
        (RegistryDown(), 3),
        (NoSuchVersion(), 12),
        (Unusable(), 12),
        (Untrusted(), 12),
        (Conflict(), 3),
        (NoTarget(), 12),
        (ParityFailed(), 12),
        (PackagingFailed(), 12),
        (NotReady(), 12),
        (AlreadyOpen(), 13),
        (Fenced(), 13),
        (NotNow(), 2),
        (NoRollout(), 2),
        (RouterDown(), 3),
        (RouterRefused(), 3),
        (KeyError(), None),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int | None) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State(Phase.SUCCEEDED), Exit.DONE),
        (State(Phase.SUCCEEDED, ending="by_hand"), Exit.DONE),
        (State(Phase.ROLLED_BACK, ending="gate"), Exit.ROLLED_BACK),
        (State(Phase.ROLLED_BACK, ending="by_hand"), Exit.ROLLED_BACK),
        (State(Phase.ROLLED_BACK, ending="undecided"), Exit.UNDECIDED),
        (State(Phase.ROLLED_BACK, ending="expired"), Exit.UNDECIDED),
        (State(Phase.ROLLED_BACK, ending="rejected"), Exit.ROLLED_BACK),
        (State(Phase.ROLLED_BACK, ending="drift"), Exit.ROLLED_BACK),
        (State(Phase.FAILED, ending="refused"), Exit.REFUSED),
        (State(Phase.FAILED, ending="by_hand"), Exit.ROLLED_BACK),
    ],
)
def test_each_end_has_its_exit_code(state: State, code: Exit) -> None:
    assert code_of_end(state) is code


def test_every_promise_names_a_test_that_is_there() -> None:
    root = Path(__file__).parents[3]
    named = re.findall(r"tests/[\w/]+\.py", (root / "docs" / "guarantees.md").read_text())
    assert len(named) > 20
    assert [path for path in named if not (root / path).is_file()] == []
