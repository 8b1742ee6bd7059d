"""`lockgate rehearse` on captured traffic that is made here, in the form that replicas write."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

from lockgate.flows.cli import cli
from lockgate.flows.rehearsal import draws as module
from lockgate.flows.rehearsal.captured import Captured, captured
from lockgate.flows.rehearsal.draws import Draws, Shares
from lockgate.flows.rehearsal.errors import BadTraffic
from lockgate.flows.rehearsal.faults import Fault, faults
from lockgate.flows.rehearsal.replay import Replay
from lockgate.flows.rehearse import rehearse
from lockgate.flows.spec import Spec
from lockgate.monitoring.traffic.read import read as read_traffic
from lockgate.rollout.gates import Disagreement

ERRORS = {"errors": {"metric": "error_rate", "margin": "5%"}}
ALL = {
    **ERRORS,
    "latency": {"metric": "latency", "quantile": 0.5, "margin": "50%"},
    "agreement": {"metric": "disagreement", "max": "5%"},
}
STABLE, CANDIDATE = "aa" * 32, "bb" * 32


@dataclass(frozen=True)
class Traffic:
    """Requests that come in one after another; `users` of them take turns at random."""

    requests: int = 4000
    rps: float = 40.0
    users: int = 200
    errors: float = 0.01
    replicas: int = 1
    shadow: bool = False
    """Copies were answered, by a candidate that changes this share of the labels and is so many times as slow."""
    flips: float = 0.0
    slower: float = 1.0
    echo: float = 0.0
    """Share of requests that stable answered twice; these answers differ in one of ten."""

    def tables(self) -> list[pa.Table]:
        rng = np.random.default_rng(5)
        n = self.requests
        labels = rng.integers(0, 2, n)
        at = np.cumsum(rng.exponential(1 / self.rps, n))
        users = rng.integers(0, self.users, n) if self.users else None

        def side(kind: str, digest: str, labels: np.ndarray, slower: float, rows: np.ndarray) -> pa.Table:
            failed = rng.random(n) < self.errors
            seconds = 0.005 * slower * np.exp(0.5 * rng.normal(size=n))
            answers = [None if bad else int(label) for bad, label in zip(failed, labels, strict=True)]
            table = pa.table(
                {
                    "request_id": [f"r{i}" for i in range(n)],
                    "row": pa.array(np.zeros(n), pa.int32()),
                    "rows": pa.array(~failed, pa.int32()),
                    "at": pa.array((at * 1e6).astype(np.int64) + 10**15, pa.timestamp("us", "UTC")),
                    "variant": [("candidate" if kind == "shadow" else "stable")] * n,
                    "kind": pa.array([kind] * n).dictionary_encode(),
                    "unit": pa.array([None] * n if users is None else [f"u{u}" for u in users], pa.string()),
                    "status": pa.array(np.where(failed, 500, 200), pa.int16()),
                    "seconds": pa.array(seconds, pa.float32()),
                    "digest": [digest] * n,
                    "replica": [f"{kind}-{i % self.replicas}" for i in range(n)],
                    "output.label": pa.array(answers, pa.int64()),
                }
            )
            return table.filter(pa.array(rows))

        found = [side("live", STABLE, labels, 1.0, np.ones(n, bool))]
        if self.shadow:
            flipped = np.where(rng.random(n) < self.flips, 1 - labels, labels)
            found.append(side("shadow", CANDIDATE, flipped, self.slower, np.ones(n, bool)))
        if self.echo:
            noisy = np.where(rng.random(n) < 0.1, 1 - labels, labels)
            found.append(side("echo", STABLE, noisy, 1.0, rng.random(n) < self.echo))
        return found

    def file(self, folder: Path, name: str = "traffic.parquet") -> Path:
        parquet.write_table(pa.concat_tables(self.tables()), folder / name)
        return folder / name


def spec_of(*steps: dict[str, Any], gates: dict[str, Any] | None = None) -> Spec:
    rollout = {"steps": steps or [{"canary": {"weight": 50}}], "gates": gates or ERRORS, "profile": "fast"}
    return Spec.model_validate({"name": "toy", "model": {"name": "toy"}, "rollout": rollout})


SHADOW = {"shadow": {"percent": 100}}
CANARY = {"canary": {"weight": 50}}


class TestEqualCandidates:
    def test_there_are_no_false_alarms(self, tmp_path: Path) -> None:
        found = rehearse(spec_of(SHADOW, CANARY, gates=ALL), Traffic().file(tmp_path), None, (), 40)
        assert found["equal"]["rolled_back"] == 0
        assert found["equal"]["passed"] == 40
        assert found["candidate"] is None
        assert found["traffic"]["requests"] == 4000
        assert found["traffic"]["rps"] == pytest.approx(40, rel=0.1)
        assert found["traffic"]["shuffled"] == "users"
        assert [step["step"] for step in found["equal"]["steps"]] == ["shadow 100 %", "canary 50 %"]
        assert all(gate["pass"] == 40 for step in found["equal"]["steps"] for gate in step["gates"])

    def test_approvals_are_left_out(self, tmp_path: Path) -> None:
        traffic = Traffic().file(tmp_path)
        asked = {"approval": {"role": "risk-leads"}}
        found = rehearse(spec_of(asked, SHADOW, asked, CANARY, asked, gates=ALL), traffic, None, (), 10)
        assert found == rehearse(spec_of(SHADOW, CANARY, gates=ALL), traffic, None, (), 10)

    def test_traffic_without_a_router_is_stables(self, tmp_path: Path) -> None:
        (live,) = Traffic().tables()
        place = live.schema.get_field_index("variant")
        parquet.write_table(live.set_column(place, "variant", pa.array([""] * len(live))), tmp_path / "t.parquet")
        found = rehearse(spec_of(SHADOW, CANARY, gates=ALL), tmp_path / "t.parquet", None, (), 10)
        assert found["equal"]["passed"] == 10

    def test_a_step_that_cannot_decide_times_out(self, tmp_path: Path) -> None:
        short = {"canary": {"weight": 50, "timeout": "2s"}}
        found = rehearse(spec_of(short), Traffic().file(tmp_path), None, (), 20)["equal"]
        assert (found["passed"], found["timed_out"], found["rolled_back"]) == (0, 20, 0)

    def test_gates_that_captured_traffic_says_nothing_about(self, tmp_path: Path) -> None:
        gates = {**ERRORS, "drift": {"metric": "prediction_drift"}}
        found = rehearse(spec_of(gates=gates), Traffic().file(tmp_path), None, (), 10)
        assert list(found["left_out"]) == ["drift"]
        assert found["equal"]["passed"] == 10

    def test_the_first_shuffle_in_words_ends_as_the_first_of_many(self, tmp_path: Path) -> None:
        spec = spec_of(SHADOW, CANARY, gates=ALL).rollout
        for fault in (None, *faults("errors=20%,labels=20%")):
            steps = Replay(spec, Draws(read(tmp_path), 5, 1, real=False, fault=fault)).run().steps
            for step in steps:
                assert step.verdict is not None
                words = {gate.gate: str(gate.outcome) for gate in step.verdict.gates}
                told = {name: {-1: "fail", 0: "undecided", 1: "pass"}[int(of[0])] for name, of in step.outcomes.items()}
                assert words == told


class TestFaults:
    def test_each_is_found_by_its_gate(self, tmp_path: Path) -> None:
        spec = spec_of(SHADOW, CANARY, gates=ALL)
        injected = faults("errors=20%,latency=x3,labels=20%")
        found = rehearse(spec, Traffic().file(tmp_path), None, injected, 30)["faults"]
        assert [(of["fault"], of["found"]) for of in found] == [(str(fault), 30) for fault in injected]
        assert [max(of["gates"], key=of["gates"].get) for of in found] == ["errors", "latency", "agreement"]
        assert all(10 < of["requests"]["median"] <= of["requests"]["most"] < 2000 for of in found)
        assert all(0 < of["seconds"]["median"] <= of["seconds"]["most"] < 100 for of in found)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("latency=x2", Fault("latency", 2.0, "latency=x2")),
            ("errors=2%", Fault("errors", 0.02, "errors=2%")),
            ("labels=0.5", Fault("labels", 0.5, "labels=0.5")),
        ],
    )
    def test_as_people_write_them(self, text: str, expected: Fault) -> None:
        assert faults(f" {text} ,") == (expected,)

    @pytest.mark.parametrize(
        "text", ["latency=2", "latency=x1", "latency=x", "errors", "errors=", "errors=0%", "errors=lots", "noise=2%"]
    )
    def test_what_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=re.escape(text)):
            faults(text)


class TestCapturedCandidates:
    @pytest.mark.parametrize(
        ("traffic", "gate"),
        [(Traffic(shadow=True, flips=0.2), "agreement"), (Traffic(shadow=True, slower=3.0), "latency")],
    )
    def test_a_worse_one_is_rolled_back(self, tmp_path: Path, traffic: Traffic, gate: str) -> None:
        found = rehearse(spec_of(SHADOW, CANARY, gates=ALL), traffic.file(tmp_path), None, (), 10)
        assert found["equal"]["rolled_back"] == 0
        assert found["candidate"]["rolled_back"] == 10
        (step,) = found["candidate"]["steps"]
        assert {g["gate"] for g in step["gates"] if g["fail"]} == {gate}
        assert next(g["sentence"] for g in step["gates"] if g["gate"] == gate).startswith(f"{gate}: fail, candidate")

    def test_an_equal_one_passes_every_step(self, tmp_path: Path) -> None:
        traffic = Traffic(6000, shadow=True, replicas=3)
        found = rehearse(spec_of(SHADOW, CANARY, gates=ALL), traffic.file(tmp_path), None, (), 10)
        assert found["traffic"]["candidate_answers"] == 6000
        assert found["traffic"]["replicas"] == 3
        assert (found["candidate"]["passed"], found["candidate"]["rolled_back"]) == (10, 0)

    def test_only_copies_that_it_answered_count(self, tmp_path: Path) -> None:
        live, shadow = Traffic(shadow=True).tables()
        parquet.write_table(pa.concat_tables([live, shadow.slice(0, 1000)]), tmp_path / "t.parquet")
        it = captured(tmp_path / "t.parquet", None, {})
        counted = Draws(it, 1, 1, real=True).look(Shares(1.0, both=True, shadow=True), *whole(it, 1))
        assert (counted.stable.requests[0], counted.candidate.requests[0]) == (4000, 1000)

    def test_its_answers_may_lie_elsewhere(self, tmp_path: Path) -> None:
        live, shadow = Traffic(shadow=True, slower=3.0).tables()
        parquet.write_table(live, tmp_path / "live.parquet")
        parquet.write_table(shadow, tmp_path / "shadow.parquet")
        spec = spec_of(gates={"latency": ALL["latency"]})
        found = rehearse(spec, tmp_path / "live.parquet", tmp_path / "shadow.parquet", (), 10)
        assert found["candidate"]["rolled_back"] == 10

    @pytest.mark.parametrize(("variant", "why"), [("", "without a router"), ("stable", "to a copy of it")])
    def test_answers_that_cannot_be_compared_are_told(self, tmp_path: Path, variant: str, why: str) -> None:
        live, shadow = Traffic(shadow=True).tables()
        for name, kind, table in (("live", "live", live), ("other", "live" if variant else "shadow", shadow)):
            columns = {"variant": [variant] * table.num_rows, "kind": [kind] * table.num_rows}
            for column, values in columns.items():
                table = table.set_column(table.schema.get_field_index(column), column, pa.array(values))  # noqa: PLW2901
            parquet.write_table(table, tmp_path / f"{name}.parquet")
        spec = spec_of(SHADOW, gates={"agreement": ALL["agreement"]})
        found = rehearse(spec, tmp_path / "live.parquet", tmp_path / "other.parquet", (), 10)
        assert why in found["not_compared"]["agreement"]

    def test_where_they_can_nothing_is_said(self, tmp_path: Path) -> None:
        spec = spec_of(SHADOW, gates={"agreement": ALL["agreement"]})
        assert rehearse(spec, Traffic(shadow=True).file(tmp_path), None, (), 10)["not_compared"] == {}

    def test_inputs_are_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (live,) = Traffic().tables()
        parquet.write_table(live.append_column("input.x", live.column("seconds")), tmp_path / "t.parquet")
        seen: list[str] = []

        def noted(*asked: Any) -> pa.Table:
            table = read_traffic(*asked)
            seen.extend(table.column_names)
            return table

        monkeypatch.setattr("lockgate.flows.rehearsal.captured.read", noted)
        captured(tmp_path / "t.parquet", None, {"agreement": Disagreement(metric="disagreement")})
        assert "output.label" in seen
        assert "input.x" not in seen


def read(folder: Path, traffic: Traffic | None = None) -> Captured:
    return captured((traffic or Traffic()).file(folder), None, {"agreement": Disagreement(metric="disagreement")})


def whole(it: Captured, shuffles: int) -> tuple[np.ndarray, np.ndarray]:
    """From the first request to behind the last one."""
    return np.zeros(shuffles), np.full(shuffles, it.seconds + 1)


class TestShuffles:
    def test_every_request_is_counted_once(self, tmp_path: Path) -> None:
        it = read(tmp_path, Traffic(replicas=3))
        counted = Draws(it, 30, 1, real=False).look(Shares(0.2, both=False, shadow=False), *whole(it, 30))
        total = counted.stable.requests + counted.candidate.requests
        assert set(total.tolist()) == {4000}
        assert counted.candidate.requests.mean() == pytest.approx(800, rel=0.1)
        assert set((counted.stable.errors + counted.candidate.errors).tolist()) == {it.stable.failed.sum()}
        assert counted.replicas is not None
        assert (counted.replicas[0].sum(axis=1) == counted.stable.requests).all()
        assert (counted.replicas[1].sum(axis=1) == counted.stable.errors).all()
        assert (counted.stable.counts[:, -1] == counted.stable.requests).all()

    @pytest.mark.parametrize(("users", "words"), [(7, "users"), (0, "blocks of 250 ms")])
    def test_what_belongs_together_stays_together(self, tmp_path: Path, users: int, words: str) -> None:
        it = read(tmp_path, Traffic(users=users))
        assert it.shuffled == words
        sizes = np.bincount(it.unit)
        counted = Draws(it, 200, 1, real=False).look(Shares(0.5, both=False, shadow=False), *whole(it, 200))
        # Of n units with s requests each, the variance of a fair half is a quarter of the sum of s².
        assert counted.candidate.requests.std() == pytest.approx(np.sqrt((sizes**2).sum()) / 2, rel=0.2)

    def test_a_larger_weight_only_moves_users_to_the_candidate(self, tmp_path: Path) -> None:
        it = read(tmp_path, Traffic(users=1))
        draws = Draws(it, 300, 1, real=False)
        few, many = (
            draws.look(Shares(share, both=False, shadow=False), *whole(it, 300)).candidate.requests
            for share in (0.1, 0.5)
        )
        assert (few <= many).all()
        assert 15 < (few > 0).sum() < 50

    def test_requests_are_taken_in_parts_where_they_are_many(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        it = read(tmp_path, Traffic(shadow=True, flips=0.1, echo=0.5, replicas=2))
        draws, shares = Draws(it, 7, 1, real=True), Shares(1.0, both=True, shadow=True)
        once = draws.look(shares, *whole(it, 7))
        monkeypatch.setattr(module, "_AT_ONCE", 9000)
        parts = draws.look(shares, *whole(it, 7))
        assert (once.candidate.counts == parts.candidate.counts).all()
        assert (once.pairs["agreement"].differing == parts.pairs["agreement"].differing).all()
        assert once.replicas is not None
        assert parts.replicas is not None
        assert (once.replicas[0] == parts.replicas[0]).all()

    def test_answers_are_compared_request_by_request(self, tmp_path: Path) -> None:
        it = read(tmp_path, Traffic(shadow=True, flips=0.1, echo=0.5, errors=0.0))
        (pairs,) = Draws(it, 1, 1, real=True).look(Shares(1.0, both=True, shadow=True), *whole(it, 1)).pairs.values()
        assert pairs.compared[0] == 4000
        assert pairs.differing[0] == pytest.approx(400, rel=0.2)
        assert pairs.echoed[0] == pytest.approx(2000, rel=0.1)
        assert pairs.echoes_differing[0] == pytest.approx(200, rel=0.3)


class TestBadInput:
    def refused(self, spec: Spec, path: Path, candidate: Path | None = None) -> str:
        with pytest.raises(BadTraffic) as refused:
            rehearse(spec, path, candidate, (), 10)
        return str(refused.value)

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert "does not exist" in self.refused(spec_of(), tmp_path / "none.parquet")
        assert "holds no captured traffic" in self.refused(spec_of(), tmp_path)
        parquet.write_table(Traffic().tables()[0].slice(0, 0), tmp_path / "empty.parquet")
        assert "holds no captured traffic" in self.refused(spec_of(), tmp_path / "empty.parquet")

    def test_no_captured_traffic_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_text("no parquet")
        assert "a.parquet cannot be read" in self.refused(spec_of(), tmp_path / "a.parquet")
        parquet.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
        assert "it has no column request_id" in self.refused(spec_of(), tmp_path / "b.parquet")
        (live,) = Traffic().tables()
        parquet.write_table(live.drop_columns(["seconds"]), tmp_path / "c.parquet")
        assert "has no column seconds" in self.refused(spec_of(), tmp_path / "c.parquet")
        words = pa.array(["slow"] * len(live))
        place = live.schema.get_field_index("seconds")
        parquet.write_table(live.set_column(place, "seconds", words), tmp_path / "d.parquet")
        assert "column seconds holds string, not numbers" in self.refused(spec_of(), tmp_path / "d.parquet")

    def test_a_handful_of_requests(self, tmp_path: Path) -> None:
        assert "holds 30 live requests" in self.refused(spec_of(), Traffic(30).file(tmp_path))

    def test_too_little_for_the_steps_says_how_much_it_takes(self, tmp_path: Path) -> None:
        spec = spec_of(CANARY, gates={"errors": {"metric": "error_rate", "margin": "2%"}})
        said = self.refused(spec, Traffic(300).file(tmp_path))
        assert said.startswith("300 requests in 7 s are too little for these steps: an equal candidate takes about ")
        needed = re.search(r"takes about ([\d,]+) ", said)
        assert needed is not None
        enough = Traffic(int(1.1 * int(needed[1].replace(",", "")))).file(tmp_path)
        assert rehearse(spec, enough, None, (), 20)["equal"]["passed"] >= 10

    def test_a_candidate_that_answered_other_requests(self, tmp_path: Path) -> None:
        (live,) = Traffic().tables()
        ids = pa.array([f"x{i}" for i in range(len(live))])
        parquet.write_table(live.set_column(0, "request_id", ids), tmp_path / "other.parquet")
        said = self.refused(spec_of(), Traffic().file(tmp_path), tmp_path / "other.parquet")
        assert "has no answer to any of the live requests" in said

    def test_answers_that_cannot_be_compared(self, tmp_path: Path) -> None:
        gates = {"agreement": {"metric": "disagreement", "compare": {"output": "score"}}}
        said = self.refused(spec_of(SHADOW, gates=gates), Traffic(shadow=True).file(tmp_path))
        assert said.startswith("gates.agreement: the captured answers cannot be compared: ")


SPEC = """
name: toy
model: {name: toy}
rollout:
  steps: [{canary: {weight: 50}}]
  gates: {errors: {metric: error_rate, margin: 5%}}
"""


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "lockgate.yaml").write_text(SPEC)
        Traffic(2000).file(tmp_path)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(cli, ["rehearse", "--shuffles", "10", *words])

    def test_in_words(self) -> None:
        result = self.run("--traffic", "traffic.parquet", "--inject", "errors=30%")
        assert result.exit_code == 0
        said = " ".join(result.stdout.split())
        assert "equal candidates: 0 false alarms (at most 5%); of 10 shuffles 10 passed every step" in said
        assert "errors=30% 10 of 10 rolled back, half of them after" in said

    def test_as_json(self) -> None:
        found = json.loads(self.run("--traffic", ".", "--json").stdout)
        assert (found["shuffles"], found["equal"]["passed"], found["alpha"]) == (10, 10, 0.05)

    def test_a_fault_that_is_none(self) -> None:
        result = self.run("--traffic", "traffic.parquet", "--inject", "noise=2%")
        assert result.exit_code == 2
        assert "is no fault; write latency=x2" in result.stderr

    def test_bad_traffic_is_a_foreseen_error(self) -> None:
        result = self.run("--traffic", "nothing.parquet")
        assert isinstance(result.exception, BadTraffic)
        assert result.exception.code == 2
