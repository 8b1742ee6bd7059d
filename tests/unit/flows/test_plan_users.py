"""`lockgate plan` for what users do: the options, what is said of tests and of `mean` gates, and how it ends."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockgate.flows.cli import cli
from lockgate.flows.expected import Given, forecast
from lockgate.flows.expected_users import GivenUsers
from lockgate.flows.foreseen import table
from lockgate.flows.spec import Spec

SPEC = """
name: toy
model: {name: toy}
rollout:
  steps:
    - ab: {weight: 50, metric: conversion, minimum_effect: 10%, timeout: 7d}
  gates:
    errors: {metric: error_rate, margin: 1%}
    refunds: {metric: mean, of: refunds, margin: 20%}
  metrics:
    conversion: {kind: binary}
    refunds: {kind: binary, better: lower}
    revenue: {kind: continuous}
  traffic: {listen: "127.0.0.1:18933", metrics: "127.0.0.1:18934"}
"""
REGISTRY = """
create table registered_model_aliases(workspace, name, alias, version);
create table model_versions(workspace, name, version, source, run_id, current_stage);
create table model_version_tags(workspace, name, version, key, value);
insert into registered_model_aliases values('default','toy','champion',1),('default','toy','challenger',2);
insert into model_versions values('default','toy',1,'m:/1','','None'),('default','toy',2,'m:/2','','None');
"""
USERS = ("--users-per-day", "20000", "--rate", "conversion=5%", "--rate", "refunds=3%")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec, and the two versions that it names in a registry."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as registry:
        registry.executescript(REGISTRY)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lockgate.yaml").write_text(SPEC)
    return tmp_path


def plan(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["plan", *words])


def said(result: Result) -> str:
    return " ".join(result.stdout.split())


def test_without_users_it_says_what_to_give() -> None:
    result = plan("--rps", "100")
    assert result.exit_code == 0
    assert "it is proven that conversion gets higher with the candidate by at least 0.1 of stable's" in said(result)
    assert "what users do is not foreseen; give --users-per-day and --rate conversion=5%" in said(result)
    (step,) = json.loads(plan("--rps", "100", "--json").stdout)["forecast"]["steps"]
    assert step["test"]["unforeseen"].endswith("give --users-per-day and --rate conversion=5%")
    assert step["gates"][1]["unforeseen"].endswith("give --users-per-day and --rate refunds=5%")


def test_with_users_it_says_what_the_test_can_prove() -> None:
    result = plan("--rps", "100", *USERS)
    assert result.exit_code == 0
    words = said(result)
    assert "ab 50 %: does conversion get higher with the candidate by at least 10% of stable's?" in words
    assert "20,000 new users a day, 5% of stable's do it; a user counts after 1 h" in words
    assert "10% better after" in words
    assert "at most 5% of tests promote by chance what is no better" in words
    assert "% worse" in words


def test_a_test_that_cannot_decide_is_a_bad_spec() -> None:
    result = plan("--rps", "100", "--users-per-day", "3000", "--rate", "conversion=5%", "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)["forecast"]
    assert (found["decides"], found["traffic"]["rates"]) == (False, {"conversion": 0.05})
    (step,) = found["steps"]
    assert step["test"]["decided"] < 0.8
    assert "of its tests would be decided within its timeout of 7d; any of these would do: timeout: " in step["advice"]
    assert step["gates"][1]["unforeseen"].endswith("give --rate refunds=5%")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rate", "conversion=5%"], "says nothing without the users who come; give --users-per-day as well"),
        (["--users-per-day", "0"], "x>0"),
        (["--users-per-day", "9", *USERS[2:4] * 2], "conversion: is given twice; give it once"),
        (["--users-per-day", "9", "--rate", "conversoin=5%"], "no metric 'conversoin'; did you mean 'conversion'?"),
        (["--users-per-day", "9", "--rate", "zz=5%"], "it looks at conversion, refunds, revenue"),
        (["--users-per-day", "9", "--rate", "conversion"], "'conversion' names no metric; write it like METRIC=5%"),
        (["--users-per-day", "9", "--rate", "conversion=0%"], "0 is no share that can rise and fall"),
        (["--users-per-day", "9", "--rate", "conversion=150%"], "1.5 is no share that can rise and fall"),
        (["--users-per-day", "9", "--rate", "conversion=5"], "for a percentage write"),
        (["--users-per-day", "9", "--rate", "revenue=5%"], "the metric is continuous; give --cv revenue=2.5"),
        (["--users-per-day", "9", "--cv", "conversion=2"], "the metric is binary; give --rate conversion=5%"),
        (["--users-per-day", "9", "--cv", "revenue=0"], "a deviation of 0 would mean that all users do the same"),
        (["--users-per-day", "9", "--cv", "revenue=much"], "'much' is not a number; write one like 2.5"),
        (["--users-per-day", "9", "--cv", "revenue=-1"], "'-1' is not a number"),
    ],
)
def test_what_is_no_users_is_refused(words: list[str], sentence: str) -> None:
    result = plan("--rps", "5", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr


def spec_of(**ab: Any) -> Spec:
    step = {"weight": 50, "metric": "revenue", "timeout": "2d", "on_timeout": "hold", **ab}
    return Spec.model_validate(
        {
            "name": "toy",
            "model": {"name": "toy"},
            "rollout": {
                "steps": [{"ab": step}],
                "gates": {"errors": {"metric": "error_rate", "margin": "2%"}},
                "metrics": {"revenue": {"kind": "continuous"}},
            },
        }
    )


class TestWords:
    def test_a_test_without_a_minimum_ends_with_the_timeout(self) -> None:
        from lockgate.flows.foreseen_tests import shown

        found = forecast(spec_of(), Given(50.0, users=GivenUsers(50_000, cvs={"revenue": 2.0})), None)
        (step,) = found["steps"]
        lines = [str(line) for line in shown(step, found["traffic"]) if isinstance(line, str)]
        assert lines[0] == "ab 50 %: does revenue get higher with the candidate?"
        assert "deviation 2 means" in lines[1]
        assert found["decides"]
        assert step["test"]["on_timeout"] == "hold"

    def test_thompson_sampling_is_not_foreseen(self) -> None:
        from lockgate.flows.foreseen_tests import shown

        spec = spec_of(allocation="thompson", minimum_effect="50%")
        found = forecast(spec, Given(50.0, users=GivenUsers(50_000, cvs={"revenue": 2.0})), None)
        lines = [line for line in shown(found["steps"][0], found["traffic"]) if isinstance(line, str)]
        assert lines[1].endswith("as if the weight stayed, which Thompson sampling moves")

    def test_gates_of_a_test_are_told_from_the_test(self) -> None:
        from rich.console import Console

        found = forecast(spec_of(), Given(50.0), None)
        console = Console(width=160)
        with console.capture() as captured:
            console.print(table(found))
        assert "its gates: after" in captured.get()
        assert "give --users-per-day and --cv revenue=2.5" in captured.get()
