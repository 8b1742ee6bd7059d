"""Threads of an engine's call: found by the search, proven, kept with the artifact, and honoured by who loads it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile import engines, table
from lockgate.services.compile.cache import of_folder
from lockgate.services.compile.prober import Prober
from lockgate.services.compile.search import search
from lockgate.services.compile.words import Candidate, Limits, Objective, Options, Row, Search, Tolerance

LIMITS = Limits(seconds=30, memory=400 * 2**20)


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls take what the toy's manifest says, on any machine; processes, proofs and artifacts are the real ones."""

    def time_(prober: Prober, batch: int, seconds: float, least: int) -> list[float]:  # noqa: ARG001
        folder, _, threads = prober._process.args[-3:]  # type: ignore[index,misc]
        how = json.loads((Path(str(folder)) / "manifest.json").read_text())
        return [how.get("delay", 1e-5) / min(int(threads), how.get("shares", 1)) ** 2] * max(least, 3)

    monkeypatch.setattr(Prober, "time", time_)


def searched(toys: Any, cache: Path, *targets: str, **settings: Any) -> Search:
    candidates = tuple(Candidate(target) for target in targets)
    say = settings.pop("say", lambda _line: None)
    settings = {"limits": LIMITS, "max_batch": 8, "tolerance": Tolerance(rows=32), "most_threads": 6, **settings}
    return search(toys.about(), toys.opener(), Options(candidates, **settings), cache, say)


def rows(found: Search) -> Mapping[str, Row]:
    return {row.candidate.target: row for row in found.rows}


def test_threads_are_doubled_while_that_pays_and_belong_to_the_artifact(toys: Any, cache: Path) -> None:
    """`sharing` takes 8 ms on one thread and 2 on two or more; `alike` takes 8 ms on any number."""
    found = searched(toys, cache, "sharing", "alike")
    sharing, chosen = rows(found)["sharing"], found.chosen
    assert sharing.outcome == "chosen"
    assert sharing.threads == 2
    assert chosen is not None
    assert (sharing.timings[0].p50, rows(found)["alike"].timings[0].p50) == (0.002, 0.008)
    assert sharing.reason == "2 threads: 4.00 times as fast as 1; 4 threads: 1.00 times as fast as 2, not taken"
    assert sharing.parity is not None
    assert sharing.parity.passed
    assert chosen.manifest["threads"] == 2
    assert chosen.digest == sharing.digest == of_folder(chosen.path)
    heading, *lines = table.cells(found)
    assert [dict(zip(heading, line, strict=True))["threads"] for line in lines] == ["2", "1"]
    assert [row["threads"] for row in table.values(found)] == [2, 1]


def test_it_is_another_artifact_than_the_one_with_one_thread_and_the_same_again(toys: Any, cache: Path) -> None:
    one, two = (searched(toys, cache, "sharing", most_threads=most) for most in (1, 2))
    again = searched(toys, cache, "sharing", most_threads=2)
    assert one.chosen is not None
    assert two.chosen is not None
    assert again.chosen is not None
    assert one.chosen.digest != two.chosen.digest == again.chosen.digest
    assert one.chosen.manifest == {**two.chosen.manifest, "threads": 1}
    assert one.rows[0].reason == ""  # nothing was tried


@pytest.mark.parametrize(
    ("target", "settings", "reason"),
    [
        ("fast", {}, ""),  # a call takes microseconds: it is not even tried
        ("odd-when-shared", {}, "2 threads: refused, output 'first', row 0"),
        ("fails-when-shared", {}, "2 threads: does not load: OSError: weights.npy holds version 9"),
        ("large-when-shared", {"objective": Objective(max_memory=100 * 2**20)}, "2 threads: over a limit, "),
        ("sharing", {"objective": Objective("size")}, ""),
    ],
)
def test_what_does_not_pay_or_hold_stays_at_one(
    toys: Any, cache: Path, target: str, settings: Any, reason: str
) -> None:
    found = searched(toys, cache, target, **settings)
    (row,) = found.rows
    assert (row.outcome, row.threads) == ("chosen", 1)
    assert row.reason.startswith(reason)
    assert bool(row.reason) == bool(reason)
    assert found.chosen is not None
    assert found.chosen.manifest["threads"] == 1


def test_a_copy_with_more_threads_that_cannot_be_made_costs_only_itself(toys: Any, tmp_path: Path) -> None:
    narrow = searched(toys, tmp_path, "sharing", most_threads=1).chosen
    assert narrow is not None
    name = f"{narrow.path.parent.name}-{narrow.digest[:16]}-2-threads"
    (tmp_path / f"{name}.lock").mkdir()  # where the lock's file would be
    said: list[str] = []
    found = searched(toys, tmp_path, "sharing", most_threads=2, say=said.append)
    (row,) = found.rows
    assert (row.outcome, row.threads, found.chosen) == ("chosen", 1, narrow)
    assert row.timings[0].p50 == 0.008
    assert row.reason.startswith("2 threads: not made, [Errno 21] Is a directory")
    assert said[-1] == f"sharing fp32 stays at its first number of threads: {row.reason}"
    (tmp_path / f"{name}.lock").rmdir()
    assert searched(toys, tmp_path, "sharing", most_threads=2).rows[0].threads == 2
    assert (tmp_path / name).is_dir()


def test_a_number_that_was_asked_for_is_that_of_the_proof_and_of_the_artifact(toys: Any, cache: Path) -> None:
    found = searched(toys, cache, "fast", "odd-when-shared", threads=2, most_threads=2)
    assert rows(found)["odd-when-shared"].outcome == "refused"
    assert found.chosen is not None
    fast = rows(found)["fast"]
    assert (fast.threads, fast.reason, found.chosen.manifest["threads"]) == (2, "", 2)


def test_onnxruntime_keeps_to_them(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "m.onnx")
    manifest = {"engine": "onnxruntime", "file": "m.onnx", "feeds": [], "outputs": []}
    for threads in (1, 2):
        options = engines.load(tmp_path, manifest, threads)._session.get_session_options()  # type: ignore[attr-defined]
        assert options.intra_op_num_threads == threads


SCIKIT_LEARN = """
import sys
from pathlib import Path
from threading import Thread
import cloudpickle, numpy as np
from lockgate.services.compile import engines

class Asked:
    def predict(self, rows):
        from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
        return np.full(len(rows), _openmp_effective_n_threads())

folder = Path(sys.argv[1])
(folder / "m.pkl").write_bytes(cloudpickle.dumps(Asked()))
feed = {"of": ["x"], "dtype": "float32", "layout": "tensor", "to": ""}
manifest = {"engine": "sklearn", "storage": "pickle", "file": "m.pkl", "feeds": [feed], "outputs": [{"name": "y"}]}
engine = engines.load(folder, manifest, 1)
batch = Thread(target=lambda: print(engine.run({"x": np.zeros((1, 2), "float32")})["y"]))
batch.start()
batch.join()
"""


def test_openmp_keeps_to_them_in_the_thread_of_batches_too(tmp_path: Path) -> None:
    """Its number is each thread's own: telling the one that loads was not enough. Fails on two cores and more only."""
    done = subprocess.run(
        [sys.executable, "-c", SCIKIT_LEARN, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[1]", done.stderr


def test_recorded_graphs_answer_one_thread_at_a_time() -> None:
    """Small requests are answered on the event loop and others in the thread of batches: a replay is not for two."""
    from lockgate.services.compile.engines.torch_eager import TorchEngine

    inside = threading.Lock()

    def call(x: Any) -> Any:
        assert inside.acquire(blocking=False), "two at once"
        time.sleep(0.01)
        inside.release()
        return x

    feed = {"of": ["x"], "dtype": "float32", "layout": "tensor", "to": ""}
    engine = TorchEngine(call, {"feeds": [feed], "outputs": [{"name": "y"}], "graphs": 8})
    with ThreadPoolExecutor(4) as pool:
        rows = [np.full((2, 1), i, "float32") for i in range(8)]
        answers = list(pool.map(lambda x: engine.run({"x": x})["y"], rows))
    np.testing.assert_array_equal(answers, rows)
