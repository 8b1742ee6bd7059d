"""`lockgate plan`: what it says with and without traffic, how it ends, and what it loads."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockgate.flows import expected
from lockgate.flows.cli import cli
from lockgate.flows.expected import Given, Seen, forecast, seen
from lockgate.flows.foreseen import duration
from lockgate.flows.plan import gate_in_words
from lockgate.flows.spec import Spec
from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.errors import SourceDown
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.words import Counts

SPEC = """
name: toy
model: {name: toy}
rollout:
  steps: [{canary: {weight: 50, timeout: 10m}}]
  gates: {errors: {metric: error_rate, margin: 1%}}
  traffic: {listen: "127.0.0.1:18933", metrics: "127.0.0.1:18934"}
"""
REGISTRY = """
create table registered_model_aliases(workspace, name, alias, version);
create table model_versions(workspace, name, version, source, run_id, current_stage);
create table model_version_tags(workspace, name, version, key, value);
insert into registered_model_aliases values('default','toy','champion',1),('default','toy','challenger',2);
insert into model_versions values('default','toy',1,'m:/1','','None'),('default','toy',2,'m:/2','','None');
"""
LATENCY = Histogram((5.0, 10.0, 20.0, inf), (50, 90, 100, 100))


@pytest.fixture
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
    return CliRunner().invoke(cli, ["plan", *words])


@pytest.mark.usefixtures("here")
def test_without_traffic_it_asks_for_some() -> None:
    result = plan()
    assert result.exit_code == 0
    assert "toy: rolls toy version 2 out against version 1" in result.stdout
    assert "give --rps (the router does not" in result.stdout
    found = json.loads(plan("--json").stdout)
    assert found["forecast"] is None
    assert (found["stable"]["version"], found["alpha"], found["steps"][0]["step"]) == ("1", 0.05, "canary 50 %")


def test_without_traffic_it_loads_no_judge(here: Path) -> None:
    code = (
        "import sys\nsys.argv = ['lockgate', 'plan']\nfrom lockgate.flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *[m for m in sys.modules if m in ('pyarrow', 'mlflow', 'psutil') or 'analysis' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.usefixtures("here")
def test_with_traffic_it_says_what_each_step_can_prove() -> None:
    result = plan("--rps", "100", "--error-rate", "0.2%", "--p50", "5ms", "--p99", "20ms")
    assert result.exit_code == 0
    assert "at 100 requests/s, 0.002 of them failed, p50 5 ms, p99 20 ms\n" in result.stdout
    assert "% errors" in result.stdout
    assert "a false roll back: at most 5% over the whole rollout" in result.stdout
    found = json.loads(plan("--rps", "100", "--json").stdout)["forecast"]
    assert found["traffic"]["assumed"] == ["differing", "error_rate", "p50", "p99"]
    (step,) = found["steps"]
    assert (found["decides"], step["changes"], step["advice"]) == (True, [], "")
    assert 100 < step["requests"]["median"] < step["requests"]["most"] < 5000
    assert 0.01 < step["gates"][0]["smallest"] < 0.1


def test_people_are_waited_for_and_not_foreseen(here: Path) -> None:
    steps = "[{canary: {weight: 5, timeout: 1h}}, {approval: {role: risk-leads, required: 2, on_expiry: renew}}"
    steps += ", {canary: {weight: 50, timeout: 10m}}, {approval: {}}]"
    (here / "lockgate.yaml").write_text(SPEC.replace("[{canary: {weight: 50, timeout: 10m}}]", steps))
    said = " ".join(plan("--rps", "100").stdout.split())
    assert "approval by risk-leads waits for 2 people at most 1 d, then it is asked anew canary 50 %" in said
    assert "approval waits for a person at most 1 d, then rollback promote" in said
    found = json.loads(plan("--rps", "100", "--json").stdout)
    assert [step["step"] for step in found["forecast"]["steps"]] == ["canary 5 %", "canary 50 %"]
    assert found["steps"][1]["approval"] == {
        "role": "risk-leads",
        "required": 2,
        "not_author": True,
        "expires_seconds": 86_400.0,
        "on_expiry": "renew",
    }
    assert found["steps"][0]["approval"] is None


@pytest.mark.usefixtures("here")
def test_a_step_that_cannot_decide_is_a_bad_spec() -> None:
    result = plan("--rps", "1")
    assert result.exit_code == 2
    said = " ".join(result.stdout.split())
    assert "canary 50 %: 0% of equal candidates would pass within its timeout of 10m; any of these would do:" in said
    assert "timeout: " in said
    assert "gates.errors.margin: " in said
    found = plan("--rps", "1", "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["forecast"]["decides"] is False


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rps", "0"], "x>0"),
        (["--rps", "5", "--error-rate", "many"], "is not a share"),
        (["--rps", "5", "--error-rate", "2"], "for a percentage write"),
        (["--rps", "5", "--p50", "5"], "is not a duration"),
        (["--rps", "5", "--p50", "0ms"], "out of range"),
        (["--rps", "5", "--p50", "20ms", "--p99", "5ms"], "--p99 5ms is below --p50 20ms"),
    ],
)
def test_what_is_no_traffic_is_refused(words: list[str], sentence: str) -> None:
    result = plan(*words)
    assert result.exit_code == 2
    assert sentence in result.stderr


class Source:
    """A router that answers so many requests of stable in each second; `None` is one that does not answer."""

    def __init__(self, *seconds: int | None) -> None:
        self._seconds = list(seconds)
        self._now = Tally(1000, 4, LATENCY)

    def measure(self) -> Counts:
        came = self._seconds.pop(0)
        if came is None:
            raise SourceDown("the router is gone")
        self._now = self._now.plus(Tally(came, 0))
        return Counts(self._now, Tally(self._now.requests - 1000, 0))


class TestTheRouter:
    def test_its_rate_is_that_of_both_sides(self) -> None:
        pauses: list[float] = []
        found = seen(Source(0, 60), pauses.append)
        assert isinstance(found, Seen)
        assert (found.rps, found.stable.requests, pauses) == (120, 1060, [1.0])

    def test_where_requests_are_rare_it_waits_a_little(self) -> None:
        found = seen(Source(0, 1, 0, 0, 2, 2), lambda _: None)
        assert isinstance(found, Seen)
        assert found.rps == 2

    @pytest.mark.parametrize(
        ("seconds", "why"), [((0,) * 6, "no request came to the router in 5 s"), ((0, None), "the router is gone")]
    )
    def test_otherwise_it_says_why_not(self, seconds: tuple[int | None, ...], why: str) -> None:
        assert seen(Source(*seconds), lambda _: None) == why

    def test_what_it_counted_is_the_forecasts_traffic(self) -> None:
        counted = Seen(100.0, Tally(1000, 4, LATENCY))
        found = forecast(spec(), Given(), counted)["traffic"]
        assert (found["rps"], found["error_rate"], found["assumed"]) == (100, 0.004, ["differing"])
        assert (found["p50_ms"], found["p99_ms"]) == (LATENCY.quantile(0.5), LATENCY.quantile(0.99))

    def test_what_a_person_says_comes_first(self) -> None:
        counted = Seen(100.0, Tally(1000, 4, LATENCY))
        found = forecast(spec(), Given(rps=50.0, p99_ms=30.0), counted)["traffic"]
        assert (found["rps"], found["error_rate"]) == (50, 0.004)
        assert found["p50_ms"] == pytest.approx(LATENCY.quantile(0.5), rel=0.05)
        assert found["p99_ms"] == pytest.approx(30, rel=0.05)

    def test_an_address_that_nobody_listens_at(self) -> None:
        assert not expected.listening("127.0.0.1:18934")


def spec() -> Spec:
    return Spec.model_validate(
        {
            "name": "toy",
            "model": {"name": "toy"},
            "rollout": {"steps": [{"canary": {"weight": 50}}], "gates": {"errors": {"metric": "error_rate"}}},
        }
    )


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ({"metric": "error_rate"}, "the candidate's share of failed requests is at most stable's + 0.005"),
        ({"metric": "error_rate", "max": "2%"}, "the candidate's share of failed requests is at most 0.02"),
        ({"metric": "latency", "max": "50ms"}, "the candidate's p99 latency is at most 50 ms"),
        ({"metric": "latency"}, "the candidate's p99 latency is at most stable's + 20% + 2 ms"),
        ({"metric": "disagreement"}, "at most 0.01 of the answers differ from stable's, beyond stable's own noise"),
        ({"metric": "prediction_drift"}, "the candidate's predictions are at most 0.1 away from stable's"),
        ({"query": "up", "min": 1, "max": 2}, "at least 1 and at most 2: up"),
    ],
)
def test_gates_in_words(gate: dict[str, Any], words: str) -> None:
    steps = [{"shadow": {"percent": 100}}]
    (it,) = RolloutSpec.model_validate({"steps": steps, "gates": {"g": gate}}).gates.values()
    assert gate_in_words(it) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (45, "45 s"), (135, "2 min 15 s"), (12_000, "3 h 20 min"), (90_061, "1 d 1 h")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
