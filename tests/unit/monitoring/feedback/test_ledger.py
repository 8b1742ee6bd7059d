"""Users, their arms and what they did: each is told in one look."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lockgate.monitoring.feedback.ledger import Came, Ledger, Measure, Traffic
from lockgate.monitoring.feedback.store import Row, Store
from lockgate.monitoring.measurement import Arm, Arrivals, Group

STABLE, CANDIDATE = "5" * 64, "c" * 64
BEGAN = 1_700_000_000.0
HALF = [(BEGAN, 0.5)]
CONVERSION = {"conversion": Measure("binary", 60.0)}
Make = Callable[..., Any]


class Step:
    """One step with real files. Times are seconds after its beginning."""

    def __init__(self, folder: Path, replica: Make, records: Make) -> None:
        self.folder, self._replica, self._records = folder, replica, records
        self._files: dict[str, Any] = {}
        self.measures: dict[str, Measure] = dict(CONVERSION)
        self.shares: Sequence[tuple[float, float]] = HALF
        self.store = Store(folder / "feedback.db")
        self.ledger = self.opened()

    def opened(self) -> Ledger:
        traffic = Traffic(self.folder, STABLE, CANDIDATE)
        return Ledger(self.folder / "ledger.db", self.folder / "feedback.db", traffic, self.measures, BEGAN)

    def restart(self) -> None:
        """As after a kill: nothing is closed before the next one opens."""
        self._old = self.ledger
        self.ledger = self.opened()
        self._old._file.close()

    def asked(self, at: float, user: str | None, variant: str = "stable", **given: Any) -> None:
        """A request, captured in a file of its variant, or in the one named `file`."""
        digest = CANDIDATE if variant == "candidate" else STABLE
        name = given.pop("file", variant)
        if name not in self._files:
            self._files[name] = self._replica(digest)
        request = given.pop("request", f"{at}-{user}")
        about: dict[str, Any] = {"at": BEGAN + at, "variant": variant, "digest": digest, "unit": [user]} | given
        self._files[name].write(self._records([request], {"input.x": [1.0]}, **about))

    def did(self, at: float, value: float = 1.0, received: float | None = None, **who: Any) -> None:
        metric = who.pop("metric", "conversion")
        self.store.add([Row(metric, value, BEGAN + at, **who)], BEGAN + (at if received is None else received))

    def replace_feedback(self) -> None:
        """By one without rows, as when it was moved away."""
        self.store.close()
        for path in self.folder.glob("feedback.db*"):
            path.rename(path.with_name(f"old-{path.name}"))

    def look(self, since: float, now: float) -> Came:
        return self.ledger.came(BEGAN + since, BEGAN + now, self.shares)


@pytest.fixture
def step(tmp_path: Path, replica: Make, records: Make) -> Iterator[Step]:
    made = Step(tmp_path, replica, records)
    yield made
    made.ledger.__exit__(None, None, None)
    made.store.close()


def arm(*values: float) -> Arm:
    return Arm(len(values), sum(values), sum(value * value for value in values))


class TestArrivals:
    def test_in_the_look_after_the_grace_and_in_no_other(self, step: Step) -> None:
        step.asked(10, "a")
        step.asked(11, "b", "candidate")
        assert step.look(0, 14).arrivals == ()
        assert step.look(14, 15).arrivals == (Arrivals(0.5, 1, 0),)
        assert step.look(15, 16).arrivals == (Arrivals(0.5, 0, 1),)
        assert step.look(16, 100).arrivals == ()

    def test_a_look_that_was_not_recorded_is_computed_again(self, step: Step) -> None:
        step.asked(10, "a")
        assert step.look(0, 20) == step.look(0, 21)
        step.restart()
        assert step.look(0, 22).arrivals == (Arrivals(0.5, 1, 0),)
        assert step.look(22, 23).arrivals == ()

    def test_the_first_request_decides_though_it_is_read_later(self, step: Step) -> None:
        step.asked(10, "a", "candidate")
        step.look(0, 12)
        step.asked(9, "a", "stable")
        assert step.look(12, 30).arrivals == (Arrivals(0.5, 1, 0, crossed=1),)

    def test_an_earlier_request_changes_nothing_any_more(self, step: Step) -> None:
        step.asked(10, "a", "candidate")
        assert step.look(0, 16).arrivals == (Arrivals(0.5, 0, 1),)
        step.asked(9, "a", "stable")
        assert step.look(16, 30).arrivals == (Arrivals(0.5, crossed=1),)
        step.did(20, unit="a")
        assert step.look(30, 200).rewards["conversion"] == (Group(0.5, candidate=arm(1)),)

    def test_crossing_counts_once(self, step: Step) -> None:
        step.asked(10, "a")
        step.look(0, 20)
        step.asked(25, "a", "candidate")
        step.asked(26, "a", "stable")
        assert step.look(20, 40).arrivals == (Arrivals(0.5, crossed=1),)
        step.asked(45, "a", "candidate")
        step.restart()
        assert step.look(20, 41).arrivals == (Arrivals(0.5, crossed=1),)
        assert step.look(41, 60).arrivals == ()

    def test_users_who_were_written_late_are_not_lost(self, step: Step) -> None:
        step.look(0, 50)
        step.asked(10, "a")
        assert step.look(50, 60).arrivals == (Arrivals(0.5, 1, 0),)
        assert step.look(60, 61).arrivals == ()

    def test_a_driver_that_starts_again_does_not_read_everything(self, step: Step) -> None:
        step.asked(10, "a")
        step.look(0, 500)
        step.restart()
        step.asked(11, "of before")  # so late nothing is written
        step.asked(450, "b", file="another")
        assert step.look(500, 501).arrivals == (Arrivals(0.5, 1, 0),)

    def test_a_request_without_the_header_is_a_user_each_time(self, step: Step) -> None:
        step.asked(10, None)
        step.asked(11, None)
        assert step.look(0, 30).arrivals == (Arrivals(0.5, 2, 0),)

    def test_by_the_chance_at_the_first_request(self, step: Step) -> None:
        step.asked(10, "a")
        step.asked(30, "b")
        step.asked(31, "a")
        step.shares = [(BEGAN, 0.5), (BEGAN + 20, 0.25)]
        assert step.look(0, 50).arrivals == (Arrivals(0.25, 1, 0), Arrivals(0.5, 1, 0))

    def test_while_the_routes_change_nobody_arrives_or_crosses(self, step: Step) -> None:
        step.asked(1, "a", "candidate")
        step.asked(10, "a")
        step.asked(21, "a", "candidate")
        step.asked(21, "b", "candidate")
        step.asked(30, "b")
        step.shares = [(BEGAN, 0.5), (BEGAN + 20, 0.25)]
        assert step.look(0, 50).arrivals == (Arrivals(0.25, 1, 0), Arrivals(0.5, 1, 0))

    def test_while_the_candidate_is_away_nobody_arrives_or_crosses(self, step: Step) -> None:
        step.asked(10, "a", "candidate")
        step.asked(35, "a", request="then")
        step.asked(35, "new")
        step.asked(50, "new", "candidate")
        step.asked(50, "a", "candidate")
        step.did(51, request_id="then")
        step.shares = [(BEGAN, 0.5), (BEGAN + 30, 0.0), (BEGAN + 42, 0.5)]
        came = step.look(0, 120)
        assert came.arrivals == (Arrivals(0.5, 0, 2),)
        assert came.rewards["conversion"] == (Group(0.5, candidate=arm(1, 0)),)

    def test_a_step_that_begins_without_the_candidate(self, step: Step) -> None:
        step.asked(10, "a")
        step.asked(30, "a", "candidate")
        step.shares = [(BEGAN - 1, 0.0), (BEGAN + 20, 0.5)]
        assert step.look(0, 60).arrivals == (Arrivals(0.5, 0, 1),)

    def test_nobody_arrives_while_the_step_begins(self, step: Step) -> None:
        step.asked(1, "a", "candidate")
        step.asked(5, "a")
        step.shares = [(BEGAN - 10, 0.5)]
        assert step.look(0, 60).arrivals == (Arrivals(0.5, 1, 0),)

    def test_a_change_of_which_the_look_did_not_know_yet(self, step: Step) -> None:
        step.asked(20.5, "a", "candidate")
        step.look(0, 20)
        step.asked(30, "a")
        step.shares = [(BEGAN, 0.5), (BEGAN + 20.4, 0.25)]
        assert step.look(20, 50).arrivals == (Arrivals(0.25, 1, 0),)

    def test_a_clock_that_was_set_back(self, step: Step) -> None:
        step.asked(10, "a")
        assert step.look(0, 20).arrivals
        step.asked(12, "b")
        assert step.look(20, 5).arrivals == ()
        assert step.look(5, 16).arrivals == ()  # it was recorded with the time of that clock
        assert step.look(16, 21).arrivals == (Arrivals(0.5, 1, 0),)

    def test_a_clock_that_was_ahead_is_told_of_until_it_has_caught_up(self, step: Step) -> None:
        step.look(0, 3600)
        assert step.look(3600, 3541).blind == ""
        assert "3500 s before" in step.look(3541, 100).blind
        assert step.look(100, 3601).blind == ""

    def test_a_look_that_was_not_recorded_before_one_that_was_blind(self, step: Step) -> None:
        step.asked(10, "a")
        assert step.look(0, 20).arrivals
        bad = step.folder / "feedback.db"
        bad.write_bytes(b"this is no database" * 100)
        assert step.look(0, 21).blind
        bad.unlink()
        assert step.look(21, 22).arrivals == (Arrivals(0.5, 1, 0),)

    def test_a_ledger_that_was_lost_tells_nobody_twice(self, step: Step) -> None:
        step.asked(10, "a")
        step.asked(11, "a", "candidate")
        step.asked(50, "b")
        assert step.look(0, 20).arrivals
        step.ledger.__exit__(None, None, None)
        for path in step.folder.glob("ledger.db*"):
            path.unlink()
        step.restart()
        assert step.look(20, 60).arrivals == (Arrivals(0.5, 1, 0),)


class TestRewards:
    @pytest.mark.parametrize("who", [{"unit": "a"}, {"request_id": "r"}])
    @pytest.mark.parametrize("first", ["feedback", "traffic"])
    def test_by_user_and_by_request_in_any_order(self, step: Step, who: dict[str, Any], first: str) -> None:
        if first == "feedback":
            step.did(20, **who)
            step.look(0, 21)
        step.asked(10, "a", request="r")
        step.look(0, 21)
        if first == "traffic":
            step.did(20, **who)
        assert step.look(0, 74).rewards == {"conversion": ()}
        came = step.look(74, 75)
        assert came.rewards == {"conversion": (Group(0.5, stable=arm(1)),)}
        assert came.notes == {"matched": 1, "late": 0, "early": 0, "unmatched": 0, "waiting": 0}
        assert step.look(75, 200).rewards == {"conversion": ()}

    def test_a_request_without_the_header(self, step: Step) -> None:
        step.asked(10, None, "candidate", request="r")
        step.asked(11, None, request="s")
        step.did(20, request_id="r")
        assert step.look(0, 100).rewards["conversion"] == (Group(0.5, arm(0), arm(1)),)

    def test_another_request_of_the_same_user(self, step: Step) -> None:
        step.asked(10, "a", "candidate")
        step.asked(30, "a", "stable", request="later")
        step.did(31, request_id="later")
        assert step.look(0, 100).rewards["conversion"] == (Group(0.5, candidate=arm(1)),)

    @pytest.mark.parametrize(
        ("at", "value", "counts", "kind"),
        [
            (9.9, 1.0, 0, "early"),
            (10, 1.0, 1, "matched"),
            (70, 1.0, 1, "matched"),
            (70.1, 1.0, 0, "late"),
            (20, 0.0, 0, "matched"),
        ],
    )
    def test_only_within_the_window(self, step: Step, at: float, value: float, counts: int, kind: str) -> None:
        step.asked(10, "a")
        step.did(at, value, received=0, unit="a")
        came = step.look(0, 100)
        assert came.rewards["conversion"] == (Group(0.5, stable=arm(counts)),)
        assert came.notes[kind] == 1

    def test_feedback_after_its_user_was_told_is_late(self, step: Step) -> None:
        step.asked(10, "a")
        assert step.look(0, 75).rewards["conversion"] == (Group(0.5, stable=arm(0)),)
        step.did(20, received=76, unit="a")
        came = step.look(75, 80)
        assert came.rewards["conversion"] == ()
        assert (came.notes["late"], came.notes["matched"]) == (1, 0)

    def test_a_user_who_was_written_after_the_window_is_told_once(self, step: Step) -> None:
        step.look(0, 200)
        step.asked(90, "a", "candidate")
        step.did(100, unit="a")
        assert step.look(200, 201).rewards["conversion"] == (Group(0.5, candidate=arm(1)),)
        step.restart()
        assert step.look(200, 202).rewards["conversion"] == (Group(0.5, candidate=arm(1)),)
        assert step.look(202, 300).rewards["conversion"] == ()

    def test_a_driver_that_looks_from_another_thread(self, step: Step) -> None:
        step.asked(10, "a")
        step.look(0, 11)
        with ThreadPoolExecutor(1) as other:
            assert other.submit(step.look, 11, 20).result().arrivals == (Arrivals(0.5, 1, 0),)

    def test_feedback_that_nobody_matches_is_given_up(self, step: Step) -> None:
        step.did(20, unit="nobody")
        assert step.look(0, 30).notes["waiting"] == 1
        came = step.look(30, 700)
        assert (came.notes["waiting"], came.notes["unmatched"]) == (0, 1)

    def test_of_too_much_that_waits_the_oldest_is_given_up(self, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lockgate.monitoring.feedback.ledger_outcomes._MOST_WAITING", 2)
        for user in "abc":
            step.did(20, unit=user)
        assert step.look(0, 21).notes["unmatched"] == 1
        for user in "abc":
            step.asked(10, user)
        assert step.look(21, 100).rewards["conversion"] == (Group(0.5, stable=arm(0, 1, 1)),)

    def test_the_same_feedback_twice(self, step: Step) -> None:
        step.measures = {"revenue": Measure("continuous", 60.0, lowest=0.0, highest=10.0)}
        step.ledger = step.opened()
        step.asked(10, "a")
        step.did(20, 3.0, metric="revenue", unit="a", key="once")
        step.look(0, 30)
        step.did(20, 3.0, metric="revenue", unit="a", key="once")
        step.restart()
        assert step.look(0, 100).rewards["revenue"] == (Group(0.5, stable=arm(3)),)

    @pytest.mark.parametrize("who", [{"unit": "a"}, {"request_id": "r"}])
    @pytest.mark.parametrize("again", ["pruned", "another file"])
    @pytest.mark.parametrize("met", [True, False])
    def test_a_key_that_comes_again(self, step: Step, who: dict[str, Any], again: str, met: bool) -> None:  # noqa: FBT001
        step.measures = {"revenue": Measure("continuous", 60.0, lowest=0.0, highest=10.0)}
        step.ledger = step.opened()
        if met:
            step.asked(10, "a", request="r")
        step.did(20, 3.0, metric="revenue", key="once", **who)
        step.did(20, 1.0, metric="revenue", **who)
        step.look(0, 30)
        if again == "pruned":
            assert step.store.prune(BEGAN + 30) == 2
        else:
            step.replace_feedback()
        step.did(20, 3.0, 31, metric="revenue", key="once", **who)
        step.did(20, 2.0, 31, metric="revenue", key="another", **who)
        if not met:
            step.asked(10, "a", request="r")
        came = step.look(30, 100)
        assert came.rewards["revenue"] == (Group(0.5, stable=arm(6)),)
        assert came.notes["matched"] == 3

    def test_each_metric_has_its_window(self, step: Step) -> None:
        step.measures = {"soon": Measure("binary", 10.0), "late": Measure("binary", 100.0)}
        step.ledger = step.opened()
        step.asked(10, "a")
        for metric in ("soon", "late", "another"):
            step.did(50, 1.0, metric=metric, unit="a")
        came = step.look(0, 60)
        assert came.rewards == {"soon": (Group(0.5, stable=arm(0)),), "late": ()}
        assert step.look(60, 200).rewards == {"soon": (), "late": (Group(0.5, stable=arm(1)),)}
        assert came.notes["waiting"] == 0

    def test_two_shares(self, step: Step) -> None:
        for at, user, variant in ((10, "a", "stable"), (30, "b", "stable"), (31, "c", "candidate")):
            step.asked(at, user, variant)
        step.did(35, unit="c")
        step.shares = [(BEGAN, 0.5), (BEGAN + 20, 0.75)]
        expected = (Group(0.5, stable=arm(0)), Group(0.75, stable=arm(0), candidate=arm(1)))
        assert step.look(0, 200).rewards["conversion"] == expected

    def test_sums_and_means_are_clipped(self, step: Step) -> None:
        limits: dict[str, Any] = {"window": 60.0, "lowest": -1.0, "highest": 5.0}
        step.measures = {"sum": Measure("continuous", **limits), "mean": Measure("continuous", take="mean", **limits)}
        step.ledger = step.opened()
        for user in "abc":
            step.asked(10, user)
        for metric in ("sum", "mean"):
            for user, value in (("a", 2.0), ("a", 4.0), ("b", -9.0)):
                step.did(20, value, metric=metric, unit=user)
        came = step.look(0, 100)
        assert came.rewards["sum"] == (Group(0.5, stable=arm(5, -1, 0)),)
        assert came.rewards["mean"] == (Group(0.5, stable=arm(3, -1)),)

    def test_requests_are_forgotten_and_users_are_not(self, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lockgate.monitoring.feedback.ledger_units._SLICES", 8)
        step.asked(10, "a", request="r")
        since = 0.0
        for now in range(20, 400, 20):
            step.look(since, now)
            since = now
        with sqlite3.connect(step.folder / "ledger.db") as database:
            assert database.execute("SELECT count(*) FROM requests").fetchone() == (0,)
        database.close()
        step.asked(401, "a", "candidate")
        assert step.look(since, 410).arrivals == (Arrivals(0.5, crossed=1),)


class TestNothingIsKnown:
    def test_a_side_that_cannot_be_read_and_can_again(self, step: Step, replica: Make, records: Make) -> None:
        step.asked(10, "a")
        bad = replica(CANDIDATE).write(records(["b"], {}, at=BEGAN + 10, variant="candidate", unit=["b"])).rotate()
        whole = bad.rotated.read_bytes()
        bad.rotated.write_bytes(b"broken")
        came = step.look(0, 20)
        assert (came.arrivals, came.rewards) == ((), {})
        assert bad.rotated.name in came.blind
        bad.rotated.write_bytes(whole)
        assert step.look(20, 21) == Came({"conversion": ()}, (Arrivals(0.5, 1, 1),), notes=came.notes)

    def test_a_broken_ledger(self, step: Step) -> None:
        (step.folder / "ledger.db").write_bytes(b"this is no database" * 100)
        assert "ledger.db cannot be used" in step.look(0, 20).blind

    def test_a_ledger_that_breaks_under_way(self, step: Step) -> None:
        step.asked(10, "a")
        step.look(0, 12)
        with sqlite3.connect(step.folder / "ledger.db") as database:
            database.execute("DROP TABLE outcomes")
        database.close()
        assert "no such table" in step.look(12, 20).blind
        assert step.look(20, 30).arrivals == (Arrivals(0.5, 1, 0),)

    def test_a_full_disk_loses_nothing(self, step: Step) -> None:
        step.look(0, 5)
        step.ledger._file.database().execute("PRAGMA max_page_count = 1")
        for i in range(300):
            step.asked(10 + i / 100, f"user{i}", request=f"r{i}")
        assert "full" in step.look(5, 20).blind
        assert step.look(20, 30).arrivals == (Arrivals(0.5, 300, 0),)

    def test_broken_feedback(self, step: Step) -> None:
        step.asked(10, "a")
        (step.folder / "feedback.db").write_bytes(b"this is no database" * 100)
        came = step.look(0, 100)
        assert "feedback.db" in came.blind
        assert came.rewards == {}
        (step.folder / "feedback.db").unlink()
        step.did(20, unit="a")
        assert step.look(100, 101).rewards["conversion"] == (Group(0.5, stable=arm(1)),)

    @pytest.mark.parametrize("rows", [1, 3, 5])
    def test_another_feedback_file_in_its_place(self, step: Step, rows: int) -> None:
        step.asked(10, "a")
        for _ in range(3):
            step.did(11, unit="nobody")
        step.look(0, 20)
        step.replace_feedback()
        for _ in range(rows):
            step.did(20, unit="a")
        came = step.look(20, 100)
        assert came.rewards["conversion"] == (Group(0.5, stable=arm(1)),)
        assert came.notes["matched"] == rows

    def test_the_same_feedback_file_that_was_away(self, step: Step) -> None:
        step.measures = {"revenue": Measure("continuous", 60.0, lowest=0.0, highest=10.0)}
        step.ledger = step.opened()
        step.asked(10, "a")
        step.did(11, metric="revenue", unit="a")
        step.look(0, 20)
        step.store.close()
        file, away = step.folder / "feedback.db", step.folder / "away"
        file.rename(away)
        assert step.look(20, 21).blind == ""
        file.write_bytes(away.read_bytes())  # another file with the same rows
        assert step.look(21, 100).rewards["revenue"] == (Group(0.5, stable=arm(1)),)

    def test_a_driver_that_was_taken_over_takes_back_what_was_never_recorded(self, step: Step) -> None:
        step.asked(10, "a")
        step.look(0, 8)
        with step.opened() as other:
            assert other.came(BEGAN + 8, BEGAN + 20, HALF).arrivals
            assert "another driver" in step.look(8, 21).blind
            assert step.look(21, 22).arrivals == (Arrivals(0.5, 1, 0),)
            assert "another driver" in other.came(BEGAN + 20, BEGAN + 23, HALF).blind
            assert step.look(22, 23) == Came({"conversion": ()}, notes=step.look(22, 23).notes)

    def test_only_feedback_of_the_step_is_read(self, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lockgate.monitoring.feedback.ledger._MOST_ROWS", 4)
        for received in (*range(-5000, -300, 100), -200, -100):
            step.did(received, unit="a")
        step.did(-1, received=5, unit="a")
        step.did(20, received=20, unit="a")
        step.asked(10, "a")
        came = step.look(0, 100)
        assert came.rewards["conversion"] == (Group(0.5, stable=arm(1)),)
        assert came.notes == {"matched": 1, "late": 0, "early": 0, "unmatched": 0, "waiting": 0}

    def test_more_feedback_than_one_call_reads(self, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lockgate.monitoring.feedback.ledger._MOST_ROWS", 2)
        step.asked(10, "a")
        for at in range(20, 25):
            step.did(at, unit="a")
        for since, left in ((0, "3 more"), (100, "1 more")):
            came = step.look(since, since + 100)
            assert left in came.blind
            assert came.rewards == {}
        assert step.look(200, 201).rewards["conversion"] == (Group(0.5, stable=arm(1)),)

    def test_no_share(self, step: Step) -> None:
        step.shares = []
        assert step.look(0, 10).blind

    def test_the_file_is_its_owners(self, step: Step) -> None:
        step.look(0, 10)
        assert {stat.S_IMODE(path.stat().st_mode) for path in step.folder.glob("ledger.db*")} == {0o600}

    def test_more_than_one_call_reads_comes_with_the_next(self, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lockgate.monitoring.feedback.exposures._MOST_ROWS", 1)
        step.asked(10, "a")
        assert step.look(0, 20).arrivals == ()
        assert step.look(20, 30).arrivals == (Arrivals(0.5, 1, 0),)
