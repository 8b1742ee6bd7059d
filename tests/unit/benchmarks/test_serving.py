"""The comparison with other servers: its arithmetic, and two real servers measured by real load."""

from __future__ import annotations

import json
import socket
import sys
import textwrap
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import environments, figures, picture, tables, trees
from benchmarks.serving.environments import Environment, Skipped
from benchmarks.serving.forms import FORMS, NPY
from benchmarks.serving.load import Answered, Target, wrk
from benchmarks.serving.measure import Closed, Limit, Measured, Plan, measure
from benchmarks.serving.ours import DIRECT, THROUGH, Project
from benchmarks.serving.peers import PEERS, Peer, Place
from benchmarks.serving.register import EXAMPLES, FILE
from benchmarks.serving.side import Examples, Side, started
from benchmarks.serving.stage import Stage, free_port
from benchmarks.serving.trees import Used

PLAN = Plan((1, 8), (100.0, 300.0), 1.0, 3, 50.0)
EXAMPLE = Examples({"x": np.ones((2, 3), "float32")}, np.array([[3.0], [3.0]], "float32"))
SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def do_POST(self):
        x = json.loads(self.rfile.read(int(self.headers["content-length"])))["x"]
        answer = json.dumps({"output": [[sum(row) * float(sys.argv[1])] for row in x]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_): ...
ThreadingHTTPServer(("127.0.0.1", int(os.environ["BENCHMARK_PORT"])), Handler).serve_forever()
"""


def side(name: str, *, server: bool = True) -> Side:
    return Side(name, name, Target("http://127.0.0.1:1/", "application/json", Path()), FORMS["lists"], "", 1.0, server)


def measured(name: str, *rounds: tuple[float, float], server: bool = True, p99: float = 5.0) -> Measured:
    """Of each round: requests a second over one connection, and over eight, which has a p99 of `p99` ms."""
    one = Measured(side(name, server=server))
    for alone, many in rounds:
        one.closed[1].append(Closed(Answered(int(alone), 1.0, 0, 0, 1.0, 2.0), 100.0, 0.0))
        one.closed[8].append(Closed(Answered(int(many), 1.0, 0, 0, 1.0, p99), 90.0, 0.0))
    return one


def rounds(*loads: Answered | None) -> dict[int, Answered]:
    """None: a round that did not come to the rate."""
    return {i: load for i, load in enumerate(loads) if load}


def test_ratios_are_taken_within_each_round_at_the_best_load_within_the_bound() -> None:
    """The machine was three times as slow in the last round."""
    limit = Limit(engine=[1000, 1000, 400], json=[800, 800, 320])
    ours = [measured(name, (300, 900), (300, 900), (100, 300)) for name in (THROUGH, DIRECT)]
    slow = measured("kserve", (400, 450), (400, 450), (100, 150))
    late = measured("ray", (200, 5000), (200, 5000), (200, 5000), p99=51.0)
    framework = measured("fastapi", (600, 2000), (600, 2000), (600, 2000), server=False)
    found = figures.of_model([*ours, slow, late, framework], limit, PLAN)
    assert found["sides"]["ray"]["best"]["connections"] == 1
    assert found["summary"]["best_peer"] == "kserve"
    assert found["summary"]["rps_vs_best_peer"] == 2.0
    assert found["summary"]["vs_engine_limit"] == 0.9
    assert found["summary"]["cpu_us_per_request"] == 90.0


def test_a_server_that_never_keeps_the_bound_is_no_best_one_while_another_does() -> None:
    slow = measured("kserve", (10, 20))
    late = Measured(side("ray"))
    late.closed[1].append(Closed(Answered(5000, 1.0, 0, 0, 1.0, 80.0), 1.0, 0.0))
    found = figures.of_model([measured(THROUGH, (40, 60)), late, slow], Limit(), PLAN)
    assert found["summary"]["best_peer"] == "kserve"
    assert found["sides"]["ray"]["best"]["within"] is False


def test_a_server_that_was_lost_in_the_first_round_is_left_out() -> None:
    lost = measured("triton")
    lost.lost = "it ended"
    assert lost.closed[1] == []  # it was about to be measured
    found = figures.of_model([measured(THROUGH, (40, 60)), lost, measured("kserve", (10, 20))], Limit(), PLAN)
    assert found["sides"]["triton"]["best"] is None
    assert found["summary"]["best_peer"] == "kserve"


def test_p99_is_compared_at_the_highest_rate_that_both_hold_in_most_rounds() -> None:
    ours, theirs = measured(THROUGH, (9, 9)), measured("kserve", (5, 5))
    good, dropped = Answered(100, 1.0, 0, 0, 1.0, 4.0), Answered(100, 1.0, 0, 2, 1.0, 4.0)
    ours.opened = {100.0: rounds(good, good, good), 300.0: rounds(good, good, good)}
    twice = Answered(100, 1.0, 0, 0, 1.0, 8.0)
    theirs.opened = {100.0: rounds(twice, twice, twice), 300.0: rounds(good, dropped, dropped)}
    found = figures.of_model([ours, theirs], Limit(), PLAN)
    assert (found["summary"]["p99_at_rate"], found["summary"]["p99_vs_best_peer"]) == (100.0, 0.5)
    assert found["summary"]["open_rate_vs_best_peer"] == 3.0


def test_p99_is_compared_within_rounds_that_both_came_to() -> None:
    """The machine was slower in each round, and we did not come to this rate in the first."""
    fast, slow, slower = (Answered(300, 1.0, 0, 0, 1.0, p99) for p99 in (2.0, 10.0, 40.0))
    ours, theirs = measured(THROUGH, (9, 9)), measured("kserve", (5, 5))
    ours.opened, theirs.opened = {300.0: rounds(None, slow, slower)}, {300.0: rounds(fast, slow, slower)}
    found = figures.of_model([ours, theirs], Limit(), PLAN)
    assert (found["summary"]["p99_at_rate"], found["summary"]["p99_vs_best_peer"]) == (300.0, 1.0)


def test_a_round_that_did_not_come_to_a_rate_counts_as_the_worst() -> None:
    one, fast, slow = measured("kserve", (5, 5)), *(Answered(300, 1.0, 0, 0, 1.0, p99) for p99 in (2.0, 10.0))
    one.opened = {100.0: rounds(None, fast, slow), 300.0: rounds(None, None, fast)}
    found = figures.of_model([one], Limit(), PLAN)["sides"]["kserve"]["open"]
    assert found["100"] == {"rps": 300.0, "p50_ms": 1.0, "p99_ms": 10.0, "held": True}
    assert found["300"] == {"rps": 0.0, "p50_ms": None, "p99_ms": None, "held": False}


@pytest.mark.parametrize(
    ("load", "held"),
    [
        (Answered(1000, 1.0, 0, 0, 1.0, 50.0), True),
        (Answered(1000, 1.0, 0, 10, 1.0, 50.0), True),
        (Answered(1000, 1.0, 0, 11, 1.0, 1.0), False),
        (Answered(1000, 1.0, 1, 0, 1.0, 1.0), False),
        (Answered(1000, 1.0, 0, 0, 1.0, 50.1), False),
    ],
)
def test_a_rate_is_held_when_nearly_all_begin_none_fails_and_p99_is_within_the_bound(
    load: Answered, *, held: bool
) -> None:
    assert load.held(50.0) is held


def test_each_form_asks_for_one_row_and_finds_the_output() -> None:
    assert json.loads(FORMS["v1"].encode({"x": np.ones((1, 2), "float32")})) == {"instances": [[1.0, 1.0]]}
    two = {"a": np.ones((1, 2), "int64"), "b": np.zeros((1, 2), "int64")}
    assert json.loads(FORMS["v1"].encode(two)) == {"instances": [{"a": [1, 1], "b": [0, 0]}]}
    (tensor, _) = json.loads(FORMS["v2"].encode(two))["inputs"]
    assert tensor == {"name": "a", "shape": [1, 2], "datatype": "INT64", "data": [1, 1]}
    assert FORMS["lockgate npy"].content == NPY
    assert FORMS["v2"].output(b'{"outputs": [{"data": [1, 2]}]}').tolist() == [1.0, 2.0]
    assert {peer.form for peer in PEERS.values()} <= FORMS.keys()


def test_the_tables_go_into_their_place_on_the_page(tmp_path: Path) -> None:
    ours, theirs = measured(THROUGH, (300, 900)), measured("kserve", (400, 450))
    ours.opened[100.0] = rounds(*[Answered(100, 1.0, 0, 0, 1.0, 4.0)] * 3)
    ours.opened[300.0] = rounds(None, None, Answered(300, 1.0, 0, 0, 1.0, 4.0))
    found = figures.of_model([ours, theirs], Limit([1], [1]), PLAN)
    results = {"mlp": {**found, "machine": "a machine", "skipped": {"Ray": "no ray"}}}
    page = tmp_path / "page.md"
    page.write_text("before\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place"):
        tables.write(results, page)
    page.write_text(f"before\n{tables.BEGIN}stale{tables.END}\nafter", encoding="utf-8")
    tables.write(results, page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter")
    assert "stale" not in text
    assert "| kserve | 450 (8) |" in text
    assert "Ray: no ray" in text
    picture.draw(results, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_had_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = Environment(("a==1",), programs=("no-such-program",))
    broken = Environment(("a==1",), python="/no/such/python")
    monkeypatch.setattr(environments, "ENVIRONMENTS", {"needs": needs, "broken": broken})
    with pytest.raises(Skipped, match="no-such-program is not installed"):
        environments.made(tmp_path, "needs", print)
    with pytest.raises(Skipped, match="/no/such/python -m venv did not work"):
        environments.made(tmp_path, "broken", print)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "installed.txt").write_text("a==1\n", encoding="utf-8")
    assert environments.made(tmp_path, "broken", print) == tmp_path / "broken" / "bin"


def peer(factor: str) -> Peer:
    return Peer(
        "a test's server", None, lambda _place: [sys.executable, "-c", textwrap.dedent(SERVER), factor], "lists"
    )


def place(folder: Path) -> Place:
    folder.mkdir()
    return Place(folder, folder, folder, (free_port(), 0, 0), "json", ("x",))


def test_servers_are_frozen_measured_one_by_one_and_ended(tmp_path: Path) -> None:
    try:
        wrk()
    except Skipped as why:
        pytest.skip(f"nothing sends requests: {why}")
    _tiny_model(tmp_path)
    plan = Plan((2,), (), 1.0, 1, 1000.0)
    with ExitStack() as stack:
        sides = [stack.enter_context(started(n, peer("1"), place(tmp_path / n), EXAMPLE)) for n in ("a", "b")]
        found, limit = measure(sides, plan, Path("k6"), tmp_path, print)
        assert all(process.status() == "stopped" for one in sides for process in one.processes())
    assert not any(one.processes() for one in sides)
    for one in found:
        assert not one.lost
        (load,) = one.closed[2]
        assert load.load.requests > 0
        assert load.load.failed == 0
        assert 0 < load.load.p50 <= load.load.p99
        assert load.cpu > 0
        assert one.memory > 0
    assert limit.engine[0] > 0
    assert limit.json[0] > 0


def test_what_threads_used_that_ended_counts() -> None:
    """Exact times are those of threads that live; clock ticks have the others too, and are wrong by one or two."""
    before = {1: Used({"1": 1.0, "2": 3.0}, 4.0), 2: Used({"5": 1.0}, 1.0)}
    ended, lives, new = Used({"1": 1.5}, 5.0), Used({"5": 1.25}, 1.27), Used({"7": 0.5}, 0.5)
    assert trees.spent(before, {1: ended}) == 1.0
    assert trees.spent(before, {2: lives}) == 0.25
    assert trees.spent(before, {1: ended, 2: lives, 3: new}) == 1.75


def test_a_server_is_timed_at_its_second_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.serving import ours, stage

    places: list[Place] = []

    def command(place: Place) -> list[str]:
        assert not any(_listened(before.port) for before in places), "the first one has ended"
        places.append(place)
        return peer("1").command(place)

    monkeypatch.setattr(stage, "PEERS", {"right": replace(peer("1"), command=command)})
    monkeypatch.setattr(ours, "up", lambda *_: nullcontext([]))
    with ExitStack() as stack:
        (found,) = Stage(Project("mlp", tmp_path), EXAMPLE, tmp_path, "json", tmp_path, print).start(["right"], stack)
        assert len(places) == 2
        assert f":{places[1].port}/" in found.target.url


def _listened(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_that_answers_wrongly_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmarks.serving.side as module
    from benchmarks.serving import ours, stage

    monkeypatch.setattr(module, "READY_WITHIN", 1.5)
    monkeypatch.setattr(stage, "PEERS", {"wrong": peer("2")})
    monkeypatch.setattr(ours, "up", lambda *_: nullcontext([]))
    whole = Stage(Project("mlp", tmp_path), EXAMPLE, tmp_path, "json", tmp_path, print)
    with ExitStack() as stack:
        assert whole.start(["wrong"], stack) == []
    assert "is right" in whole.skipped["a test's server"]


def _tiny_model(folder: Path) -> None:
    """The sum of three numbers."""
    from onnx import TensorProto, helper, save

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 1])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 1], [1.0, 1.0, 1.0])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["output"])], "sum", [x], [y], [weights])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(folder / FILE))
    np.savez(folder / EXAMPLES, output=EXAMPLE.output, **EXAMPLE.inputs)
