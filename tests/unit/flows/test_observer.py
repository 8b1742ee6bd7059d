"""What gates are told beyond the router's counters: queries when they are due, and nothing that delays a tick."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pytest
from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

from lockgate.flows.observer import Observation
from lockgate.flows.spec import Spec
from lockgate.monitoring.measurement import Reading
from lockgate.rollout.ports import Span

FACTS = {"stable_digest": "a" * 64, "candidate_digest": "b" * 64, "candidate_version": "7"}


@contextmanager
def prometheus(asked: list[str], wait: threading.Event | None = None) -> Iterator[str]:
    """A server that speaks Prometheus's instant queries; it answers 0.25, once `wait` is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(urlsplit(self.path).query)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["content-length"])).decode())

        def _answer(self, form: str) -> None:
            asked.append(parse_qs(form)["query"][0])
            if wait:
                wait.wait(10)
            sample = {"metric": {}, "value": [time.time(), "0.25"]}
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": [sample]}}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spec(url: str, **gates: Any) -> Spec:
    return Spec.model_validate(
        {
            "name": "fraud",
            "model": {"name": "fraud-detector"},
            "monitoring": {"prometheus": url},
            "rollout": {"steps": [{"shadow": {"percent": 100}}], "gates": gates},
        }
    )


QUERY = {"query": 'x{side="$variant",v="$version",m="$model",n="$name"}', "max": 1.0, "every": "10s"}


def until(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (found := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_a_query_is_asked_when_it_is_due(tmp_path: Path) -> None:
    asked: list[str] = []
    with prometheus(asked) as url, Observation(spec(url, slo=QUERY), FACTS, tmp_path) as seen:
        assert seen.observe(Span(0, 0.0, 100.0)).readings == {}
        assert until(lambda: seen.observe(Span(0, 0.0, 101.0)).readings) == {"slo": Reading(0.25)}
        assert seen.observe(Span(0, 0.0, 109.9)).readings == {}
        assert len(asked) == 1
        seen.observe(Span(0, 0.0, 110.0))
        assert until(lambda: seen.observe(Span(0, 0.0, 111.0)).readings) == {"slo": Reading(0.25)}
    assert asked == ['x{side="candidate",v="7",m="fraud-detector",n="fraud"}'] * 2


def test_a_prometheus_that_hangs_delays_nothing(tmp_path: Path) -> None:
    asked: list[str] = []
    go = threading.Event()
    with prometheus(asked, go) as url, Observation(spec(url, slo=QUERY), FACTS, tmp_path) as seen:
        for second in range(100):  # each of these would wait for seconds
            assert seen.observe(Span(0, 0.0, float(second))).readings == {}
        go.set()
    assert len(asked) <= 1


def test_one_that_is_not_there_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with Observation(spec("http://127.0.0.1:9", slo=QUERY), FACTS, tmp_path) as seen:
        reading = until(lambda: seen.observe(Span(0, 0.0, 1.0)).readings)["slo"]
    assert reading.value is None
    assert "http://127.0.0.1:9" in reading.error


def test_captured_traffic_that_is_not_there_blinds_its_gates(tmp_path: Path) -> None:
    gates = {"same": {"metric": "disagreement"}, "scores": {"metric": "prediction_drift"}}
    with Observation(spec("http://127.0.0.1:9", **gates), FACTS, tmp_path / "none") as seen:
        observed = seen.observe(Span(0, 0.0, 1.0))
        assert set(observed.blind) == {"same", "scores"}
        assert seen.examples() == []


def test_gates_on_counters_ask_for_nothing(tmp_path: Path) -> None:
    with Observation(spec("http://127.0.0.1:9", errors={"metric": "error_rate"}), FACTS, tmp_path) as seen:
        observed = seen.observe(Span(0, 0.0, 1.0))
    assert (observed.pairs, observed.spreads, observed.readings, observed.blind) == ({}, {}, {}, {})


def test_what_was_asked_in_another_step_says_nothing_of_this_one(tmp_path: Path) -> None:
    asked: list[str] = []
    with prometheus(asked) as url, Observation(spec(url, slo=QUERY), FACTS, tmp_path) as seen:
        seen.observe(Span(0, 0.0, 100.0))
        until(lambda: len(asked) == 1)
        assert seen.observe(Span(1, 0.0, 100.5)).readings == {}
        assert until(lambda: seen.observe(Span(1, 0.0, 101.0)).readings) == {"slo": Reading(0.25)}
    assert len(asked) == 2


def test_answers_that_break_the_comparison_blind_their_gates_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = {"same": {"metric": "disagreement"}, "scores": {"metric": "prediction_drift"}}
    with Observation(spec("http://127.0.0.1:9", **gates), FACTS, tmp_path) as seen:
        monkeypatch.setattr("lockgate.monitoring.answers.answers.Answers.came", lambda *_: 1 / 0)
        blind = seen.observe(Span(0, 0.0, 1.0)).blind
    assert set(blind) == {"same", "scores"}
    assert "ZeroDivisionError" in blind["same"]


def captured(folder: Path, side: str, at: float, scores: list[float]) -> None:
    """What a replica of this side answered."""
    n = len(scores)
    table = pa.table(
        {
            "request_id": [f"r{i}" for i in range(n)],
            "row": pa.array([0] * n, pa.int32()),
            "rows": pa.array([1] * n, pa.int32()),
            "at": pa.array([int(at * 1e6)] * n, pa.timestamp("us", "UTC")),
            "variant": [side] * n,
            "kind": ["live"] * n,
            "status": pa.array([200] * n, pa.int16()),
            "digest": [FACTS[f"{side}_digest"]] * n,
            "output.score": scores,
        }
    )
    place = folder / FACTS[f"{side}_digest"][:12]
    place.mkdir(exist_ok=True)
    parquet.write_table(table, place / f"r1-{int(at * 1000)}.parquet")


def test_a_driver_that_is_started_again_goes_on_with_the_steps_bins(tmp_path: Path) -> None:
    gates = spec("http://127.0.0.1:9", scores={"metric": "prediction_drift"})
    captured(tmp_path, "stable", 1000.0, [float(i) for i in range(200)])
    with Observation(gates, FACTS, tmp_path) as seen:
        before = seen.observe(Span(0, 900.0, 1001.0, began=900.0)).spreads["scores"]
    captured(tmp_path, "stable", 2000.0, [i / 7 for i in range(250)])
    with Observation(gates, FACTS, tmp_path) as seen:
        after = seen.observe(Span(0, 1001.0, 2001.0, began=900.0)).spreads["scores"]
    with Observation(gates, FACTS, tmp_path) as seen:
        other = seen.observe(Span(0, 1001.0, 2001.0, began=1001.0)).spreads["scores"]
    assert after.bins == before.bins
    assert sum(after.stable) == 250
    assert other.bins != before.bins
