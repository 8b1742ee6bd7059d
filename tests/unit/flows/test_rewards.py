"""What users did, for the gates that ask: which metrics in which step, and sources that fail, hang or lie."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pytest
from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

from lockgate.flows.observer import Observation
from lockgate.flows.rewards import Came, Places, Rewards, asked
from lockgate.flows.spec import Spec
from lockgate.monitoring.feedback import store
from lockgate.monitoring.feedback.names import unit
from lockgate.monitoring.feedback.sql import SqlSource
from lockgate.monitoring.feedback.store import FILE, Reader, Row, Store
from lockgate.monitoring.measurement import Arm, Arrivals, Group, Tally
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.ports import Span
from lockgate.rollout.words import Outcome

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


def captured(folder: Path, digest: str, variant: str, who: str) -> None:
    """A file of a replica with one request."""
    texts = {"variant": variant, "kind": "live", "digest": digest, "model_version": "1", "replica": variant}
    columns = {name: pa.array([value]).dictionary_encode() for name, value in texts.items()}
    columns |= {
        "request_id": pa.array([who]),
        "row": pa.array([0], pa.int32()),
        "rows": pa.array([1], pa.int32()),
        "unit": pa.array([unit(who, bytes.fromhex(KEY))]),
        "status": pa.array([200], pa.int16()),
        "seconds": pa.array([0.01], pa.float32()),
        "at": pa.array([int((BEGAN + 4) * 1e6)], pa.timestamp("us", "UTC")),
    }
    (folder / digest[:12]).mkdir()
    parquet.write_table(pa.table(columns), folder / digest[:12] / f"r-{int(BEGAN * 1000)}.parquet")


def read(rewards: Rewards, now: float, shares: tuple[tuple[float, float], ...] = ((BEGAN, 0.5),)) -> Any:
    """What a look sees that waits for Prometheus."""
    rewards.came(Span(2, BEGAN, BEGAN + now, BEGAN, shares))
    doing = rewards._step.sources["bought"]._doing  # type: ignore[union-attr]
    if doing is None:
        return ()
    until(doing.done)
    return rewards.came(Span(2, BEGAN, BEGAN + now, BEGAN, shares)).rewards.get("bought", ())


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
        assert self.spec(Path("x.db")).rollout.metric("bought").delay == 71.0

    def test_users_wait_until_the_database_was_read_so_far(self, places: Places, tmp_path: Path) -> None:
        """Not while it is away, not while it is asked, and not when the driver comes back after their time."""
        path = tmp_path / "orders.db"
        self.asked_for(places)
        with opened(self.spec(path), places) as rewards:
            for now in (50.0, 200.0, 300.0):
                assert not rewards.came(span(since=now - 10, now=now)).rewards.get("bought")
                self.settled(rewards)
            blind = rewards.came(span(since=300.0, now=301.0)).blind
        assert "the query of the metric 'bought' failed" in blind["ab"]
        self.orders(path)
        with opened(self.spec(path), places) as rewards:
            with self.busy(path):
                first = rewards.came(span(since=300.0, now=3700.0))
            assert first.rewards == {}
            assert first.arrivals == ()
            assert set(first.blind) == {"ab"}
            assert "was not read yet, so users wait: it is being read" in first.blind["ab"]
            self.settled(rewards)
            (group,) = rewards.came(span(since=3700.0, now=3701.0)).rewards["bought"]
            assert (group.stable, group.candidate) == (Arm(1, 1.0, 1.0), Arm(1))
            self.settled(rewards)

    def test_it_was_read_long_ago(self, places: Places, tmp_path: Path) -> None:
        """And nothing has said that it is away."""
        path = tmp_path / "orders.db"
        self.orders(path)
        self.asked_for(places)
        with opened(self.spec(path), places) as rewards:
            rewards.came(span(since=999.0, now=1000.0))
            self.settled(rewards)
            assert rewards.came(span(since=1000.0, now=1061.0)).blind == {}  # `every` and a minute
            self.settled(rewards)
            with self.busy(path):
                blind = rewards.came(span(since=1061.0, now=1123.0)).blind["ab"]
            self.settled(rewards)
        assert blind == (
            "the database of the metric 'bought' was not read after 2023-11-14 22:31:01 UTC, so users wait: it is being"
            " read; where this stays so, lengthen `sql.every`"
        )

    def test_nobody_is_lost_who_came_while_the_database_was_not_read(self, places: Places, tmp_path: Path) -> None:
        """Neither in looks that were recorded nor in one that was not."""
        path = tmp_path / "orders.db"
        self.asked_for(places)
        with opened(self.spec(path), places) as rewards:
            for since, now in ((0.0, 300.0), (300.0, 310.0)):
                assert rewards.came(span(since=since, now=now)).arrivals == ()
                self.settled(rewards)
            self.orders(path)
            with self.busy(path):
                rewards.came(span(since=310.0, now=320.0))
            self.settled(rewards)
            lost = rewards.came(span(since=320.0, now=330.0))
            again = rewards.came(span(since=320.0, now=331.0))
            after = rewards.came(span(since=331.0, now=332.0))
        assert lost.arrivals == again.arrivals == (Arrivals(0.5, 1, 1, 0),)
        assert lost.rewards == again.rewards
        assert after.arrivals == ()

    def test_what_could_not_be_stored_is_polled_again(
        self, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "_PATIENCE", 0.05)
        path = tmp_path / "orders.db"
        self.orders(path)
        places.feedback.mkdir()
        with Store(places.feedback / FILE) as kept:
            kept.add([Row("other", 1.0, BEGAN, unit="x")], BEGAN)
        with opened(self.spec(path), places) as rewards:
            with closing(sqlite3.connect(places.feedback / FILE, isolation_level=None)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                rewards.came(span(now=1000.0))
                self.settled(rewards)
            assert "was locked" in rewards.came(span(now=1001.0)).blind["ab"]
            self.settled(rewards)
        assert [stored.row.value for stored in Reader(places.feedback / FILE).after(1)] == [1.0]

    def test_a_restart_polls_what_is_new(self, places: Places, tmp_path: Path) -> None:
        path = tmp_path / "orders.db"
        self.orders(path)
        for now in (1000.0, 2000.0):
            with opened(self.spec(path), places) as rewards:
                rewards.came(span(now=now))
                self.settled(rewards)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("insert into orders values (1, ?, 'bob')", (BEGAN + 20,))  # later than `late` allows
                db.execute("insert into orders values (0, ?, 'bob')", (BEGAN + 995,))
        assert [stored.row.value for stored in Reader(places.feedback / FILE).after(0)] == [1.0, 0.0]
        (mark,) = places.feedback.glob("*.sql.json")
        assert mark.stat().st_mode & 0o777 == 0o600
        places.forget()
        assert not list(places.feedback.glob("shop-1-*"))

    @pytest.mark.parametrize("fed", [False, True])
    def test_old_rows_go_where_no_server_sees_to_it(self, places: Places, tmp_path: Path, fed: bool) -> None:  # noqa: FBT001
        path = tmp_path / "orders.db"
        self.orders(path)
        places.feedback.mkdir()
        with Store(places.feedback / FILE) as kept:
            kept.add([Row("bought", 1.0, BEGAN, unit="x")], BEGAN - 1e7)
        metrics = {"bought": self.spec(path).rollout.business["bought"].model_dump(mode="json", exclude_none=True)}
        with opened(spec(metrics | ({"other": {}} if fed else {})), places) as rewards:
            rewards.came(span(now=100.0))
            self.settled(rewards)
        assert len(Reader(places.feedback / FILE).after(0)) == (2 if fed else 1)

    def test_a_query_that_hangs_is_said_and_keeps_nobody(
        self, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(SqlSource, "hangs", True)
        left, daemons = threading.Event(), list[bool]()

        def poll(*_: object) -> list[Row]:
            daemons.append(threading.current_thread().daemon)
            left.wait(10)
            return []

        monkeypatch.setattr(SqlSource, "break_off", lambda _: left.set())
        monkeypatch.setattr(SqlSource, "poll", poll)
        with opened(self.spec(tmp_path / "orders.db"), places) as rewards:
            assert "has had no answer for more than a minute" in rewards.came(span()).blind["ab"]
            assert left.is_set()
            self.settled(rewards)
        assert daemons == [True]

    @contextmanager
    def busy(self, path: Path) -> Iterator[None]:
        """Whoever reads it waits."""
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("begin exclusive")
            yield

    def settled(self, rewards: Rewards) -> None:
        (source,) = rewards._step.sources.values()  # type: ignore[union-attr]
        if source._doing is not None:
            until(source._doing.done)

    def asked_for(self, places: Places) -> None:
        """One request of `ada`, who is stable's, and one of another, who is the candidate's."""
        for digest, variant, who in (("a", "stable", "ada"), ("b", "candidate", "bob")):
            captured(places.capture, digest * 64, variant, who)


class TestPromQL:
    METRIC = {"window": "20s", "promql": {"units": "shown", "hits": "taken", "every": "10s"}}  # noqa: RUF012

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
            assert rewards.came(span(now=19.0)) == Came()
            assert rewards._step.sources["bought"]._doing is None  # type: ignore[union-attr]
            assert read(rewards, 20.0) == (Group(0.5),)  # the first one is where it starts
            counts["shown"] = {"stable": 150.0, "candidate": 160.0}
            counts["taken"] = {"stable": 15.0, "candidate": 20.0}
            came = read(rewards, 32.0)
        assert came == (Group(0.5, Arm(50, 5.0, 5.0), Arm(70, 11.0, 11.0)),)

    def test_what_was_read_of_another_share_is_where_nothing_starts(self, places: Places) -> None:
        counts = {"shown": {"stable": 100.0, "candidate": 90.0}, "taken": {"stable": 10.0, "candidate": 9.0}}
        with self.counters(counts) as url, opened(spec({"bought": self.METRIC}, url), places) as rewards:
            rewards.came(span(now=30.0))
            until(rewards._step.sources["bought"]._doing.done)  # type: ignore[union-attr]
            changed = Span(2, BEGAN, BEGAN + 52, BEGAN, ((BEGAN, 0.5), (BEGAN + 31, 0.25)))
            assert rewards.came(changed).rewards == {}

    def test_equal_variants_whose_hits_are_late_never_give_a_decision(self, places: Places) -> None:
        """Across a change of share from 5 % to 50 % and one back to 10 %; 60 s may lie between two looks."""
        shares = ((BEGAN, 0.05), (BEGAN + 100, 0.5), (BEGAN + 200, 0.1))
        counts: dict[str, dict[str, float]] = {"shown": {}, "taken": {}}
        of = spec({"bought": self.METRIC})
        analysis = Analysis(of.rollout)
        evidence, seen = analysis.begin(), 0
        with self.counters(counts) as url, opened(spec({"bought": self.METRIC}, url), places) as rewards:
            for now in range(10, 300, 10):
                counts["shown"] = self.shown(shares, float(now))
                counts["taken"] = {name: n / 2 for name, n in self.shown(shares, now - 15.0).items()}
                groups = read(rewards, float(now), tuple(one for one in shares if one[0] <= BEGAN + now))
                seen += sum(group.candidate.units for group in groups)
                tally = Tally(1000 * now, 0)
                evidence = analysis.look(evidence, Look(2, BEGAN + now, tally, tally, rewards={"bought": groups}))
                (verdict,) = (gate for gate in analysis.verdict(evidence, 2).gates if gate.gate == "ab")
                assert verdict.outcome is Outcome.UNDECIDED
        assert seen > 40_000

    def shown(self, shares: tuple[tuple[float, float], ...], now: float) -> dict[str, float]:
        """A thousand a second since the step began."""
        ends = (*(at for at, _ in shares[1:]), math.inf)
        candidate = sum(
            1000 * share * max(0.0, min(end, BEGAN + now) - at) for (at, share), end in zip(shares, ends, strict=True)
        )
        return {"stable": max(0.0, 1000 * now) - candidate + 1, "candidate": candidate + 1}

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
