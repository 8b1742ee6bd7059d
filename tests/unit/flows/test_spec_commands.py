"""`lockgate validate` and `lockgate schema`, as a person or a script meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockgate.flows.cli import cli

MINIMAL = (Path(__file__).parents[3] / "examples/minimal/lockgate.yaml").read_text()
WRONG = MINIMAL.replace("weight: 5,", "wieght: 5,").replace("name: fraud\n", "name: Fraud\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def test_a_right_spec_is_ok_in_one_line(here: Path) -> None:
    (here / "lockgate.yaml").write_text(MINIMAL)
    result = _run("validate")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        "OK  lockgate.yaml: fraud, fraud-detector @champion ← @challenger; "
        "shadow 100% → canary 5% → canary 50%; gates errors, latency\n"
    )


def test_steps_that_wait_for_people_say_whom(here: Path) -> None:
    steps = "  steps:\n    - approval: {role: risk-leads}\n"
    (here / "lockgate.yaml").write_text(MINIMAL.replace("  steps:\n", steps))
    assert "; approval by risk-leads → shadow 100% → canary 5% → " in _run("validate").stdout


def test_every_mistake_is_a_line_on_standard_error(here: Path) -> None:
    (here / "my.yaml").write_text(WRONG)
    result = _run("validate", "my.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["my.yaml:2", "my.yaml:10"]
    assert result.stderr.splitlines()[1].endswith(
        "rollout.steps[1].canary.wieght: unknown field; did you mean 'weight'?"
    )


def test_mistakes_as_json(here: Path) -> None:
    (here / "lockgate.yaml").write_text(WRONG)
    result = _run("validate", "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert (found["ok"], found["file"]) == (False, "lockgate.yaml")
    assert [(p["line"], p["path"]) for p in found["problems"]] == [(2, "name"), (10, "rollout.steps[1].canary.wieght")]


def test_a_right_spec_as_json(here: Path) -> None:
    (here / "lockgate.yaml").write_text(MINIMAL)
    found = json.loads(_run("validate", "--json").stdout)
    assert (found["ok"], found["name"], found["problems"], len(found["digest"])) == (True, "fraud", [], 12)


def test_a_missing_file_is_a_bad_spec(here: Path) -> None:
    result = _run("validate")
    assert result.exit_code == 2
    assert result.stderr == "lockgate.yaml: there is no such file; `lockgate init MODEL` writes one\n"
    assert list(here.iterdir()) == []


def test_what_comes_from_the_environment_is_not_printed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "hunter2-model")
    (here / "lockgate.yaml").write_text(MINIMAL.replace("fraud-detector", "${MODEL_NAME}"))
    result = _run("validate")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "${MODEL_NAME} @champion" in result.stdout


def test_the_schema_goes_to_standard_output_or_a_file(here: Path) -> None:
    printed = _run("schema").stdout
    assert json.loads(printed)["title"] == "lockgate.yaml"
    (here / "s.json").write_text("old")
    assert _run("schema", "--output", "s.json").exit_code == 0
    assert (here / "s.json").read_text() == printed
    assert [file.name for file in here.iterdir()] == ["s.json"]
