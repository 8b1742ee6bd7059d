"""Counters by variant, from what answers like Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.promql import Counters, counted, increase
from lockgate.monitoring.measurement import Arm
from lockgate.monitoring.prometheus import Prometheus

Serve = Callable[[dict[str, Any]], "Asked"]


class Asked:
    """Counters `u` and `h` at a server that gives `answers` to them."""

    def __init__(self, url: str, requests: list[dict[str, list[str]]]) -> None:
        self.counters = Counters(Prometheus(url), "u", "h")
        self.requests = requests


def series(**values: object) -> list[Any]:
    return [{"metric": {"variant": name}, "value": [1.0, str(value)]} for name, value in values.items()]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ThreadingHTTPServer] = []

    def made(answers: dict[str, Any]) -> Asked:
        requests: list[dict[str, list[str]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(parse_qs(urlsplit(self.path).query))
                result = answers[requests[-1]["query"][0]]
                data = result if isinstance(result, dict) else {"resultType": "vector", "result": result}
                body = json.dumps({"status": "success", "data": data}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return Asked(f"http://127.0.0.1:{servers[-1].server_address[1]}", requests)

    yield made
    for server in servers:
        server.shutdown()
        server.server_close()


def test_both_at_the_same_instant(serve: Serve) -> None:
    asked = serve({"u": series(stable=1000, candidate="499.7", other=3), "h": series(candidate=20, stable=50)})
    assert asked.counters.read(1_700_000_000.25) == {"stable": (1000, 50), "candidate": (499, 20)}
    assert [request["time"] for request in asked.requests] == [["1700000000.250"]] * 2


def test_a_variant_that_nobody_took_up_yet(serve: Serve) -> None:
    asked = serve({"u": series(stable=10, candidate=10), "h": series(stable=1)})
    assert asked.counters.read(1.0)["candidate"] == (10, 0)


GOOD = series(stable=1, candidate=1)


@pytest.mark.parametrize(
    ("units", "hits", "says"),
    [
        ([], GOOD, "promql.units: counts neither stable nor candidate"),
        (GOOD, [], "promql.hits: counts neither stable nor candidate"),
        (GOOD, series(control=3), "promql.hits: counts neither stable nor candidate"),
        (series(stable=5), GOOD, "promql.units: counts nobody of the variant candidate yet"),
        (series(stable="NaN", candidate=1), GOOD, "promql.units: nan of the variant stable is no count"),
        (GOOD, series(stable=1, candidate="NaN"), "promql.hits: nan of the variant candidate"),
        (GOOD, series(stable=1, candidate="+Inf"), "promql.hits: inf of the variant candidate"),
        (GOOD, series(stable=1, candidate=-1), "promql.hits: -1.0 of the variant candidate"),
        (GOOD, [{"metric": {}, "value": [1.0, "3"]}], "a series has no label variant; ask with sum by (variant)"),
        (GOOD * 2, GOOD, "several series have the variant stable; ask with sum by"),
        ({"resultType": "scalar", "result": [1, "2"]}, GOOD, "answers a scalar; it needs a series for each variant"),
        ({"resultType": "vector", "result": [{"metric": 3}]}, GOOD, "not one that Prometheus gives"),
        (["x"], GOOD, "not one that Prometheus gives"),
    ],
)
def test_why_there_is_nothing(serve: Serve, units: Any, hits: Any, says: str) -> None:
    with pytest.raises(Unavailable) as wrong:
        serve({"u": units, "h": hits}).counters.read(1.0)
    assert says in str(wrong.value)


def test_no_prometheus() -> None:
    with pytest.raises(Unavailable, match=r"promql.units: Prometheus at .* cannot be asked"):
        Counters(Prometheus("http://127.0.0.1:1"), "u", "h").read(1.0)


@pytest.mark.parametrize(
    ("before", "now", "arm"),
    [
        ((100, 10), (150, 12), Arm(50, 2.0, 2.0)),
        ((100, 10), (100, 10), Arm()),
        ((100, 10), (30, 4), Arm()),  # one of several replicas began again: nobody knows what came
        ((100, 10), (130, 4), Arm()),
        ((100, 10), (30, 14), Arm()),
        ((100, 10), (110, 40), Arm(10, 10.0, 10.0)),
        ((100, 10), (100, 40), Arm()),
    ],
)
def test_what_came(before: tuple[int, int], now: tuple[int, int], arm: Arm) -> None:
    rest = (7, 7)
    found = increase({"stable": rest, "candidate": before}, {"stable": rest, "candidate": now})
    assert found == {"stable": Arm(), "candidate": arm}


def test_the_first_reading_is_only_where_it_starts() -> None:
    now = {"stable": (100, 10), "candidate": (100, 12)}
    assert increase(None, now) == {"stable": Arm(), "candidate": Arm()}
    assert increase({"stable": (90, 10)}, now) == {"stable": Arm(10), "candidate": Arm()}


def test_hits_that_come_after_their_units_are_not_lost() -> None:
    readings = [(0, 0), (100, 0), (100, 40), (130, 60), (150, 62), (20, 25), (40, 30)]
    before, arms = None, []
    for reading in readings:
        now = {"stable": reading}
        arms.append(increase(before, now)["stable"])
        before = counted(before, now)
    assert [(arm.units, arm.total) for arm in arms] == [
        (0, 0),
        (100, 0),
        (0, 0),
        (30, 30),
        (20, 20),
        (0, 0),  # a counter fell
        (20, 5),
    ]
