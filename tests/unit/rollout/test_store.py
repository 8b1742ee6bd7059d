"""The rollouts' memory, in SQLite and in a PostgreSQL of our own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from math import inf
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect, text

from lockgate.monitoring.measurement import Histogram, Pairs, Reading, Spread, Tally
from lockgate.rollout.advance import advance, fold
from lockgate.rollout.analysis.analysis import Analysis, Evidence
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.errors import AlreadyOpen, Fenced, NoRollout, NotNow, StoreDown
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import (
    HAPPENING,
    STATE,
    Broke,
    Built,
    Commanded,
    Happening,
    Judged,
    Opened,
    Settled,
    State,
)
from lockgate.rollout.store import Event, Rollout, Store, opened
from lockgate.rollout.tables import METADATA
from lockgate.rollout.verdict import GateVerdict, Verdict
from lockgate.rollout.words import Counts, Outcome, Phase

RolloutOf = Callable[..., Rollout]
VerdictOf = Callable[..., Verdict]
SpecOf = Callable[..., RolloutSpec]
Begin = Callable[[Store, Rollout, float], Event]

PAUSE = Commanded("pause", "ada")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
GATES = st.builds(
    GateVerdict,
    gate=TEXT,
    metric=st.sampled_from(["error_rate", "latency"]),
    outcome=st.sampled_from(Outcome),
    candidate=st.none() | NUMBER,
    stable=st.none() | NUMBER,
    limit=st.none() | NUMBER,
    candidate_requests=st.integers(0, 10**12),
    stable_requests=st.integers(0, 10**12),
    harm=NUMBER,
    safety=NUMBER,
    sentence=TEXT,
)
VERDICTS = st.builds(
    Verdict,
    outcome=st.sampled_from(Outcome),
    gates=st.lists(GATES, max_size=3).map(tuple),
    requests=st.integers(0, 10**12),
    alpha=NUMBER,
    reason=TEXT,
)
COMMANDS = st.builds(Commanded, st.sampled_from(["promote", "abort", "pause", "resume"]), TEXT, TEXT)
HAPPENINGS = st.one_of(
    st.just(Opened()),
    st.builds(Built, st.dictionaries(TEXT, TEXT)),
    st.builds(Judged, VERDICTS),
    COMMANDS,
    st.builds(Broke, TEXT, st.booleans()),
    st.just(Settled()),
)


def concurrently(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act(0)`, `act(1)`, ... return or raise when all of them begin at the same moment."""
    barrier = Barrier(count)

    def one(i: int) -> Any:
        barrier.wait(30)
        try:
            return act(i)
        except Exception as error:  # noqa: BLE001 - it is looked at by the test
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


class TestOpen:
    def test_what_was_opened_can_be_read(self, store: Store, rollout_of: RolloutOf) -> None:
        rollout = rollout_of()
        store.open(rollout, 12.5)
        assert store.rollout(rollout.id) == replace(rollout, opened_at=12.5)
        assert store.open_of("fraud") == store.rollout(rollout.id)
        assert store.events(rollout.id) == [Event(1, 12.5, Opened(), State(Phase.BUILDING, since=12.5))]
        assert store.last(rollout.id).sequence == 1
        assert store.progress(rollout.id) is None

    def test_one_open_rollout_per_model(self, store: Store, rollout_of: RolloutOf) -> None:
        first, second, other = rollout_of(), rollout_of(), rollout_of(model="churn")
        store.open(first, 1.0)
        with pytest.raises(AlreadyOpen, match=f"fraud has an open rollout, {first.id}: finish it"):
            store.open(second, 2.0)
        store.open(other, 3.0)
        assert [r.id for r in store.rollouts()] == [other.id, first.id]
        with pytest.raises(NoRollout):
            store.last(second.id)
        store.close_rollout(first.id, 4.0)
        store.open(second, 5.0)
        assert [(r.id, r.closed_at) for r in store.rollouts("fraud")] == [(second.id, None), (first.id, 4.0)]
        assert store.open_of("fraud") == store.rollout(second.id)

    def test_an_id_is_used_once(self, store: Store, rollout_of: RolloutOf) -> None:
        rollout = rollout_of()
        store.open(rollout, 1.0)
        store.close_rollout(rollout.id, 2.0)
        with pytest.raises(AlreadyOpen, match=f"there is a {rollout.id} already"):
            store.open(rollout, 3.0)
        assert store.rollout(rollout.id).closed_at == 2.0

    def test_closing_twice_keeps_the_first_time(self, store: Store, rollout_of: RolloutOf) -> None:
        rollout = rollout_of()
        store.open(rollout, 1.0)
        store.close_rollout(rollout.id, 2.0)
        store.close_rollout(rollout.id, 3.0)
        assert store.rollout(rollout.id).closed_at == 2.0
        assert store.open_of("fraud") is None

    def test_of_eight_that_open_at_once_one_does(self, url: str, rollout_of: RolloutOf) -> None:
        stores, rollouts = [Store(url) for _ in range(8)], [rollout_of() for _ in range(8)]
        results = concurrently(8, lambda i: stores[i].open(rollouts[i], float(i)))
        assert [type(r) for r in results if r is not None] == [AlreadyOpen] * 7, results
        winner = rollouts[results.index(None)]
        assert [r.id for r in stores[0].rollouts()] == [winner.id]
        assert len(stores[0].events(winner.id)) == 1
        for store in stores:
            store.close()

    @pytest.mark.parametrize("ask", ["rollout", "last"])
    def test_an_unknown_rollout(self, ask: str, store: Store) -> None:
        with pytest.raises(NoRollout, match="there is no rollout nothing-1"):
            getattr(store, ask)("nothing-1")
        assert store.events("nothing-1") == []
        assert store.open_of("nothing") is None


class TestFence:
    def test_what_happened_first_stays(self, store: Store, rollout_of: RolloutOf, begin: Begin) -> None:
        rollout = rollout_of()
        seen = begin(store, rollout, 1.0)
        store.append(rollout, seen, PAUSE, 2.0)
        with pytest.raises(Fenced, match=f"another controller recorded event 3 of {rollout.id} first"):
            store.append(rollout, seen, Commanded("abort", "bob"), 3.0)
        assert store.last(rollout.id).happening == PAUSE

    def test_of_eight_that_record_at_once_one_does(self, url: str, rollout_of: RolloutOf, begin: Begin) -> None:
        stores, rollout = [Store(url) for _ in range(8)], rollout_of()
        seen = begin(stores[0], rollout, 1.0)
        results = concurrently(8, lambda i: stores[i].append(rollout, seen, Commanded("pause", f"p{i}"), 2.0))
        assert [type(r) for r in results].count(Fenced) == 7, results
        (won,) = (r for r in results if isinstance(r, Event))
        assert stores[0].events(rollout.id)[2:] == [won]
        for store in stores:
            store.close()

    def test_what_the_phase_does_not_allow_is_not_recorded(self, store: Store, rollout_of: RolloutOf) -> None:
        rollout = rollout_of()
        store.open(rollout, 1.0)
        with pytest.raises(NotNow):
            store.append(rollout, store.last(rollout.id), Settled(), 2.0)
        assert len(store.events(rollout.id)) == 1

    def test_a_rollout_that_was_never_opened(self, store: Store, rollout_of: RolloutOf) -> None:
        with pytest.raises(NoRollout):
            store.append(rollout_of(), Event(0, 0.0, Opened(), State()), Opened(), 1.0)


class TestLease:
    @pytest.fixture
    def rollout(self, store: Store, rollout_of: RolloutOf) -> str:
        it = rollout_of()
        store.open(it, 0.0)
        return it.id

    def test_is_taken_renewed_and_runs_out(self, store: Store, rollout: str) -> None:
        assert store.holder(rollout, 0.0) == ""
        assert store.lease(rollout, "a", 100.0, 15.0)
        assert not store.lease(rollout, "b", 110.0, 15.0)
        assert store.lease(rollout, "a", 110.0, 15.0)
        assert not store.lease(rollout, "b", 125.0, 15.0)
        assert store.holder(rollout, 125.0) == "a"
        assert store.holder(rollout, 125.1) == ""
        assert store.lease(rollout, "b", 125.1, 15.0)
        assert not store.lease(rollout, "a", 125.2, 15.0)

    def test_is_given_back_only_by_its_holder(self, store: Store, rollout: str) -> None:
        assert store.lease(rollout, "a", 100.0, 15.0)
        store.release(rollout, "b")
        assert store.holder(rollout, 100.0) == "a"
        store.release(rollout, "a")
        assert store.holder(rollout, 100.0) == ""
        assert store.lease(rollout, "b", 100.0, 15.0)

    def test_a_clock_that_is_set_back_locks_nobody_out(self, store: Store, rollout: str) -> None:
        assert store.lease(rollout, "a", 9_000.0, 15.0)
        assert store.lease(rollout, "b", 100.0, 15.0)

    def test_clocks_that_differ_a_little_steal_nothing(self, store: Store, rollout: str) -> None:
        assert store.lease(rollout, "a", 110.0, 15.0)
        assert not store.lease(rollout, "b", 100.0, 15.0)

    def test_of_eight_that_take_it_at_once_one_does(self, url: str, rollout_of: RolloutOf) -> None:
        stores, rollout = [Store(url) for _ in range(8)], rollout_of()
        stores[0].open(rollout, 0.0)
        assert sum(map(bool, concurrently(8, lambda i: stores[i].lease(rollout.id, f"c{i}", 1.0, 15.0)))) == 1
        for store in stores:
            store.close()

    def test_nobody_holds_what_does_not_exist(self, store: Store) -> None:
        assert not store.lease("nothing-1", "a", 0.0, 15.0)
        assert store.holder("nothing-1", 0.0) == ""


class TestProgress:
    TALLY = Tally(70, 3, Histogram((1.0, 2.5, inf), (20, 50, 70)))

    def test_is_kept_with_its_infinite_edge_and_its_verdict(
        self, store: Store, rollout_of: RolloutOf, verdict_of: VerdictOf
    ) -> None:
        rollout = rollout_of()
        store.open(rollout, 0.0)
        for index in (0, 1):
            evidence = Analysis(rollout.spec).begin()
            progress = Progress(
                index, 3.5, evidence, Counts(self.TALLY), Counts(Tally(), self.TALLY), verdict_of("pass")
            )
            store.save_progress(rollout.id, progress)
            assert store.progress(rollout.id) == progress

    def test_eight_that_save_the_first_at_once(self, url: str, rollout_of: RolloutOf) -> None:
        stores, rollout = [Store(url) for _ in range(8)], rollout_of()
        stores[0].open(rollout, 0.0)
        results = concurrently(8, lambda i: stores[i].save_progress(rollout.id, Progress(0, float(i), Evidence())))
        assert results == [None] * 8
        assert stores[0].progress(rollout.id) in [Progress(0, float(i), Evidence()) for i in range(8)]
        for store in stores:
            store.close()

    def test_one_that_cannot_be_read_is_none(self, store: Store, rollout_of: RolloutOf) -> None:
        """An earlier version of Lockgate kept other things: the step begins its counts anew."""
        rollout = rollout_of()
        store.open(rollout, 0.0)
        store.save_progress(rollout.id, Progress(0, 1.0, Evidence()))
        with store._engine.begin() as db:
            db.execute(text('update lockgate_progress set document = \'{"index": 0, "at": 1.0}\''))
        assert store.progress(rollout.id) is None


class TestLooks:
    def look(self, at: float) -> Look:
        tally = Tally(70, 3, Histogram((1.0, 2.5, inf), (20, 50, 70)))
        return Look(
            1, at, tally, Tally(), at > 1, ((40, 2), (30, 1)), {"same": Pairs(5, 1, 2, 0)},
            {"drift": Spread(("0.5", "inf"), (3, 4), (2, 5))}, {"slo": Reading(None, "no such host")}, {"drift": "why"},
        )  # fmt: skip

    def test_are_read_back_in_order_as_they_were(self, store: Store, rollout_of: RolloutOf) -> None:
        rollout = rollout_of()
        store.open(rollout, 0.0)
        for number in (1, 2, 3):
            look = self.look(float(number))
            store.save_progress(rollout.id, Progress(0, look.at, Evidence(looks=number)), look)
        assert list(store.looks(rollout.id)) == [self.look(1.0), self.look(2.0), self.look(3.0)]

    def test_of_two_with_one_number_the_second_is_fenced_and_leaves_nothing(
        self, store: Store, rollout_of: RolloutOf
    ) -> None:
        rollout = rollout_of()
        store.open(rollout, 0.0)
        store.save_progress(rollout.id, Progress(0, 1.0, Evidence(looks=1)), self.look(1.0))
        with pytest.raises(Fenced, match="another controller recorded look 1"):
            store.save_progress(rollout.id, Progress(0, 2.0, Evidence(looks=1)), self.look(2.0))
        assert list(store.looks(rollout.id)) == [self.look(1.0)]
        assert (progress := store.progress(rollout.id)) is not None
        assert progress.at == 1.0

    def test_what_was_known_before_is_not_written_back(self, store: Store, rollout_of: RolloutOf) -> None:
        """A controller that slept while another one looked on."""
        rollout = rollout_of()
        store.open(rollout, 0.0)
        store.save_progress(rollout.id, Progress(0, 7.0, Evidence(looks=7)), self.look(7.0))
        with pytest.raises(Fenced, match="has looked at"):
            store.save_progress(rollout.id, Progress(0, 8.0, Evidence(looks=2)))
        assert (progress := store.progress(rollout.id)) is not None
        assert progress.evidence.looks == 7


@pytest.mark.parametrize(
    "gate",
    [
        {"metric": "error_rate", "max": "1%"},
        {"metric": "latency", "max": "80ms"},
        {"metric": "latency", "quantile": 0.5, "margin": "5%", "slack": "1ms"},
        {"metric": "disagreement", "compare": {"by": "function", "function": "a.b:c"}},
        {"metric": "prediction_drift", "output": "score"},
        {"query": "up", "min": 1.0},
    ],
)
def test_a_rollout_with_any_gate_is_read_back(store: Store, rollout_of: RolloutOf, gate: dict[str, Any]) -> None:
    steps = [{"shadow": {"percent": 100}}]
    spec = RolloutSpec.model_validate({"steps": steps, "gates": {"a": gate}})
    rollout = rollout_of(spec)
    store.open(rollout, 0.0)
    assert store.rollout(rollout.id).spec == spec


def test_a_note_is_kept_in_place_of_the_one_before(store: Store, rollout_of: RolloutOf) -> None:
    rollout = rollout_of()
    store.open(rollout, 0.0)
    assert store.noted(rollout.id, "disagreements") is None
    for document in ([{"far": 1.0}], [{"far": 2.0}]):
        store.note(rollout.id, "disagreements", document)
    assert store.noted(rollout.id, "disagreements") == [{"far": 2.0}]


class TestMemory:
    def test_everything_that_can_happen_is_read_back_as_it_was(
        self, url: str, rollout_of: RolloutOf, verdict_of: VerdictOf
    ) -> None:
        happened: list[Happening] = [
            Built({"bento": "fraud:2", "größe": "5 µm\n\\\"'"}),
            Commanded("pause", "Ada Lovelace", "wegen Störung ☂ \U0001f6a6"),
            Commanded("resume", "ada", ""),
            Judged(verdict_of("undecided")),
            Judged(verdict_of("fail")),
            Settled(),
        ]
        rollout = rollout_of()
        with opened(url) as store:
            store.open(rollout, 1 / 3)
            for i, what in enumerate(happened):
                store.append(rollout, store.last(rollout.id), what, 0.1 + i)
            before = store.events(rollout.id)
        with opened(url) as store:
            after, again = store.events(rollout.id), store.rollout(rollout.id)
        assert [e.happening for e in after] == [Opened(), *happened]
        assert [e.sequence for e in after] == list(range(1, 8))
        assert after == before
        assert fold(again.spec, [(e.at, e.happening) for e in after]) == after[-1].state
        assert after[-1].state.phase is Phase.ROLLED_BACK

    @pytest.mark.parametrize("duration", ["0.1ms", "1.1ms", "333ms", "0.7s", "1h30m", "7d"])
    def test_a_spec_is_read_back_to_the_last_digit(
        self, duration: str, store: Store, spec_of: SpecOf, rollout_of: RolloutOf
    ) -> None:
        gates = {"p": {"metric": "latency", "quantile": 0.999, "margin": "33.3%", "slack": duration}}
        canary = {"weight": "0.07%", "timeout": "8d", "hold": {"duration": duration}}
        rollout = rollout_of(spec_of({"canary": canary}, gates=gates))
        store.open(rollout, 0.0)
        assert store.rollout(rollout.id).spec == rollout.spec

    @given(HAPPENINGS)
    def test_every_happening_survives_json(self, happening: Happening) -> None:
        written = json.dumps(HAPPENING.dump_python(happening, mode="json"), allow_nan=False)
        assert HAPPENING.validate_python(json.loads(written)) == happening

    @given(st.builds(State, facts=st.dictionaries(TEXT, TEXT), reason=TEXT, since=NUMBER, paused_at=st.none() | NUMBER))
    def test_every_state_survives_json(self, state: State) -> None:
        written = json.dumps(STATE.dump_python(state, mode="json"), allow_nan=False)
        assert STATE.validate_python(json.loads(written)) == state

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.tuples(HAPPENINGS, st.floats(0, 1e6)), max_size=12))
    def test_the_log_folds_to_the_last_state(
        self, rollout_of: RolloutOf, happened: list[tuple[Happening, float]]
    ) -> None:
        rollout = rollout_of()
        with closing(Store("sqlite://")) as store:
            store.open(rollout, 0.0)
            state = store.last(rollout.id).state
            for what, at in happened:
                try:
                    state = advance(rollout.spec, state, what, at)
                except NotNow:
                    with pytest.raises(NotNow):
                        store.append(rollout, store.last(rollout.id), what, at)
                else:
                    assert store.append(rollout, store.last(rollout.id), what, at).state == state
            log = store.events(rollout.id)
        assert log[-1].state == state == fold(rollout.spec, [(e.at, e.happening) for e in log])


CREATE = """
import sys
from lockgate.rollout.store import Store
print("ready", flush=True)
sys.stdin.readline()
store = Store(sys.argv[1])
print(len(store.rollouts()), flush=True)
store.close()
"""


class TestTables:
    def test_five_processes_create_them_at_once(self, url: str) -> None:
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", CREATE, url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(5)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [(*p.communicate(timeout=60), p.returncode) for p in processes] == [("0\n", "", 0)] * 5

    def test_five_threads_create_them_at_once(self, url: str) -> None:
        results = concurrently(5, lambda _: Store(url).close())
        assert results == [None] * 5

    def test_many_files_one_after_the_other(self, tmp_path: Path) -> None:
        """Switching a new file to its write-ahead log fails at once where another does the same."""
        for i in range(40):
            results = concurrently(5, lambda _, i=i: Store(f"sqlite:///{tmp_path}/{i}.db").close())
            assert results == [None] * 5

    def test_a_creator_that_was_killed_half_way_is_made_good(self, url: str, rollout_of: RolloutOf) -> None:
        """Without the index two rollouts of one model would open, and nobody would see why."""
        Store(url).close()
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as db:
            db.execute(text("drop table lockgate_progress"))
            db.execute(text("drop index lockgate_one_open_per_model"))
        with opened(url) as store:
            store.open(rollout_of(), 0.0)
            with pytest.raises(AlreadyOpen):
                store.open(rollout_of(), 0.0)
        assert set(inspect(engine).get_table_names()) == set(METADATA.tables)
        engine.dispose()

    def test_the_folder_of_a_file_is_made(self, tmp_path: Path) -> None:
        Store(f"sqlite:///{tmp_path}/a/b/c.db").close()
        assert (tmp_path / "a/b/c.db").is_file()


def test_a_person_writes_plain_postgresql(postgres_url: str) -> None:
    assert postgres_url.startswith("postgresql://")
    with opened(postgres_url) as store:
        assert store.rollouts() == []


def test_a_server_that_hung_up_costs_no_write(postgres_url: str, rollout_of: RolloutOf) -> None:
    rollout, engine = rollout_of(), create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with opened(postgres_url) as store:
        store.open(rollout, 0.0)
        with engine.connect() as db:
            others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            db.execute(text(f"{others} and datname = current_database()"))
        assert store.lease(rollout.id, "a", 1.0, 15.0)
    engine.dispose()


def test_a_store_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreDown, match="does not answer"):
        Store("postgresql://nobody:hunter2@127.0.0.1:1/lockgate")
    with pytest.raises(StoreDown, match="LOCKGATE_HOME"):
        Store(f"sqlite:///{tmp_path}")


def test_the_password_of_the_store_is_not_shown() -> None:
    with pytest.raises(StoreDown) as caught:
        Store("postgresql://nobody:hunter2@127.0.0.1:1/lockgate")
    assert "hunter2" not in str(caught.value)
