"""What users did, for the gates that ask: which metrics in which step, and sources that fail, hang or lie."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lockgate.flows.observer import Observation
from lockgate.flows.rewards import Came, Places, Rewards, asked
from lockgate.flows.spec import Spec
from lockgate.monitoring.feedback.names import unit
from lockgate.monitoring.feedback.store import FILE, Reader
from lockgate.monitoring.measurement import Arm, Group
from lockgate.rollout.ports import Span

FACTS = {"stable_digest": "a" * 64, "candidate_digest": "b" * 64}
KEY = "0f" * 32
BEGAN = 1_700_000_000.0
STEPS = [
    {"shadow": {"percent": 100}},
    {"canary": {"weight": 5, "timeout": "7d"}},
    {"ab": {"weight": 50, "metric": "bought", "timeout": "7d"}},
]


def spec(metrics: dict[str, Any], prometheus: str = "http://127.0.0.1:1", **gates: Any) -> Spec:
    gates |= {"errors": {"metric": "error_rate"}}
    return Spec.model_validate(
        {
            "name": "shop",
            "model": {"name": "shop"},
            "monitoring": {"prometheus": prometheus},
            "rollout": {"steps": STEPS, "gates": gates, "metrics": metrics},
        }
    )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture" / "capture.json").write_text(json.dumps({"key": KEY}))
    return Places(tmp_path / "capture", tmp_path / "feedback", "shop-1")


@contextmanager
def opened(of: Spec, places: Places) -> Iterator[Rewards]:
    rewards = Rewards(of, FACTS, places)
    try:
        yield rewards
    finally:
        rewards.close()


def span(step: int = 2, since: float = 0.0, now: float = 1.0) -> Span:
    return Span(step, BEGAN + since, BEGAN + now, BEGAN, ((BEGAN, 0.5),))


def until(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (found := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_each_step_looks_at_its_own_metrics() -> None:
    rollout = spec({}, returned={"metric": "mean", "of": "returned"}, kept={"metric": "mean", "of": "bought"}).rollout
    assert asked(rollout, 0) == {}  # nobody does anything because of a shadow
    assert asked(rollout, 1) == {"returned": ("returned",), "bought": ("kept",)}
    assert asked(rollout, 2) == {"bought": ("ab", "kept"), "returned": ("returned",)}


def test_a_step_without_any_has_no_ledger(places: Places) -> None:
    with opened(spec({}), places) as rewards:
        assert rewards.came(span(step=0)) == Came()
        assert rewards.came(span(step=1)) == Came()
    assert not places.feedback.exists()


def test_ledgers_are_of_a_step_and_go_with_the_rollout(places: Places) -> None:
    with opened(spec({}, kept={"metric": "mean", "of": "bought"}), places) as rewards:
        rewards.came(span(step=1))
        rewards.came(span(step=2))
        assert sorted(path.name for path in places.feedback.glob("*.db")) == ["shop-1-1.db", "shop-1-2.db"]
    (places.feedback / "shop-12-1.db").touch()
    (places.feedback / FILE).touch()
    places.forget()
    assert sorted(path.name for path in places.feedback.iterdir()) == sorted([FILE, "shop-12-1.db"])


def test_what_cannot_be_read_blinds_the_gates_that_need_it(places: Places) -> None:
    places.feedback.write_text("no folder")
    of = spec({}, kept={"metric": "mean", "of": "bought"})
    observation = Observation(of, FACTS, places.capture, Rewards(of, FACTS, places))
    with observation:
        blind = observation.observe(span()).blind
    assert set(blind) == {"ab", "kept"}
    assert "what users did cannot be read" in blind["ab"]


class TestSql:
    QUERY = "select amount as value, at, who as user from orders where at >= :since and at < :until"

    def spec(self, path: Path) -> Spec:
        source = {"url": f"sqlite:///{path}", "query": self.QUERY, "every": "1s", "late": "10s"}
        return spec({"bought": {"window": "60s", "sql": source}})

    def orders(self, path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute("create table orders (amount real, at real, who text)")
            db.execute("insert into orders values (1, ?, 'ada')", (BEGAN + 5,))
        db.close()

    def test_rows_become_feedback_once_and_under_a_hash(self, places: Places, tmp_path: Path) -> None:
        self.orders(tmp_path / "orders.db")
        with opened(self.spec(tmp_path / "orders.db"), places) as rewards:
            for now in (10.0, 20.0, 30.0):
                until(lambda now=now: rewards.came(span(now=now)) and Reader(places.feedback / FILE).last())
        rows = [stored.row for stored in Reader(places.feedback / FILE).after(0)]
        assert [(row.metric, row.value, row.at, row.unit) for row in rows] == [
            ("bought", 1.0, BEGAN + 5, unit("ada", bytes.fromhex(KEY)))
        ]

    def test_a_database_that_is_not_there_blinds_until_it_is(self, places: Places, tmp_path: Path) -> None:
        path = tmp_path / "orders.db"
        with opened(self.spec(path), places) as rewards:
            now = iter(range(1, 10_000))
            blind = until(lambda: rewards.came(span(now=float(next(now)))).blind)
            assert set(blind) == {"ab"}
            assert "the query of the metric 'bought'" in blind["ab"]
            self.orders(path)
            until(lambda: "the query" not in rewards.came(span(now=float(next(now)))).blind.get("ab", ""))

    def test_users_wait_for_rows_that_are_late(self) -> None:
        assert self.spec(Path("x.db")).rollout.metric("bought").delay == 11.0


class TestPromQL:
    METRIC = {"promql": {"units": "shown", "hits": "taken", "every": "10s"}}  # noqa: RUF012

    @contextmanager
    def counters(self, counts: dict[str, dict[str, float]], hang: threading.Event | None = None) -> Iterator[str]:
        """Prometheus with the counters `counts[query][variant]`."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(urlsplit(self.path).query)

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["content-length"])).decode())

            def _answer(self, form: str) -> None:
                if hang:
                    hang.wait(10)
                of = counts[parse_qs(form)["query"][0]]
                result = [{"metric": {"variant": v}, "value": [0, str(n)]} for v, n in of.items()]
                body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
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
            if hang:
                hang.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def test_what_counters_grew_by_is_a_group(self, places: Places) -> None:
        counts = {"shown": {"stable": 100.0, "candidate": 90.0}, "taken": {"stable": 10.0, "candidate": 9.0}}
        with self.counters(counts) as url, opened(spec({"bought": self.METRIC}, url), places) as rewards:
            rewards.came(span(now=1.0))
            until(rewards._step.sources["bought"]._doing.done)  # type: ignore[union-attr]
            assert rewards.came(span(now=2.0)).rewards["bought"] == (Group(0.5),)  # the first one is where it starts
            counts["shown"] = {"stable": 150.0, "candidate": 160.0}
            counts["taken"] = {"stable": 15.0, "candidate": 20.0}
            rewards.came(span(now=12.0))
            until(rewards._step.sources["bought"]._doing.done)  # type: ignore[union-attr]
            came = rewards.came(span(now=13.0)).rewards["bought"]
        assert came == (Group(0.5, Arm(50, 5.0, 5.0), Arm(70, 11.0, 11.0)),)

    def test_one_that_hangs_delays_nothing(self, places: Places) -> None:
        hang = threading.Event()
        counting = self.counters({"shown": {}, "taken": {}}, hang)
        with counting as url, opened(spec({"bought": self.METRIC}, url), places) as rewards:
            for now in range(1, 200):
                assert "bought" not in rewards.came(span(now=float(now))).rewards
            hang.set()

    def test_one_that_counts_nothing_blinds(self, places: Places) -> None:
        counting = self.counters({"shown": {}, "taken": {}})
        with counting as url, opened(spec({"bought": self.METRIC}, url), places) as rewards:
            now = iter(range(1, 10_000))
            blind = until(lambda: rewards.came(span(now=float(next(now)))).blind)
        assert "promql.units" in blind["ab"]
