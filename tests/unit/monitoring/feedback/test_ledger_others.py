"""Several challengers in one ledger: each is told beside stable, and whoever is a third one's is in no other pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lockgate.monitoring.feedback.ledger import Came, Ledger, Measure, Told, Traffic
from lockgate.monitoring.feedback.store import Row, Store
from lockgate.monitoring.measurement import Arm, Arrivals, Group

DIGESTS = {"stable": "5" * 64, "candidate": "c" * 64, "small": "a" * 64, "v14": "b" * 64}
BEGAN = 1_700_000_000.0
HALF = [(BEGAN, 0.5)]
Make = Callable[..., Any]


class Step:
    """One step of four arms. Times are seconds after its beginning."""

    def __init__(self, folder: Path, replica: Make, records: Make) -> None:
        self.folder, self._records = folder, records
        self._files = {name: replica(digest) for name, digest in DIGESTS.items()}
        self.others: Mapping[str, Sequence[tuple[float, float]]] = {"small": HALF, "v14": [(BEGAN, 0.25)]}
        self.store = Store(folder / "feedback.db")
        self.ledger = self.opened()

    def opened(self, measure: Measure | None = None, **digests: str) -> Ledger:
        traffic = Traffic(self.folder, DIGESTS["stable"], DIGESTS["candidate"], DIGESTS | digests)
        measures = {"bought": measure or Measure("binary", 60.0)}
        files = self.folder / "ledger.db", self.folder / "feedback.db"
        return Ledger(*files, traffic, measures, BEGAN, others=["small", "v14"])

    def asked(self, at: float, user: str, variant: str = "stable") -> None:
        about: dict[str, Any] = {"at": BEGAN + at, "variant": variant, "digest": DIGESTS[variant], "unit": [user]}
        self._files[variant].write(self._records([f"{at}-{user}"], {}, **about))

    def did(self, at: float, user: str, value: float = 1.0) -> None:
        self.store.add([Row("bought", value, BEGAN + at, unit=user)], BEGAN + at)

    def look(self, since: float, now: float) -> Came:
        return self.ledger.came(BEGAN + since, BEGAN + now, HALF, self.others)

    def arrived(self, since: float, now: float) -> dict[str, tuple[Arrivals, ...]]:
        came = self.look(since, now)
        assert came.blind == ""
        return {"candidate": came.arrivals} | {name: told.arrivals for name, told in came.others.items()}


@pytest.fixture
def step(tmp_path: Path, replica: Make, records: Make) -> Iterator[Step]:
    made = Step(tmp_path, replica, records)
    yield made
    made.ledger.__exit__(None, None, None)
    made.store.close()


def test_each_challenger_beside_stable(step: Step) -> None:
    for user, variant in (("a", "stable"), ("b", "candidate"), ("c", "small"), ("d", "v14"), ("e", "v14")):
        step.asked(10, user, variant)
    step.did(20, "c")
    step.did(20, "d")
    came = step.look(0, 100)
    none, one, mixed = Arm(1), Arm(1, 1.0, 1.0), Arm(2, 1.0, 1.0)
    assert (came.rewards, came.arrivals) == ({"bought": (Group(0.5, none, none),)}, (Arrivals(0.5, 1, 1),))
    assert came.others == {
        "small": Told({"bought": (Group(0.5, none, one),)}, (Arrivals(0.5, 1, 1),)),
        "v14": Told({"bought": (Group(0.25, none, mixed),)}, (Arrivals(0.25, 1, 2),)),
    }


def test_a_pair_of_whom_nobody_came(step: Step) -> None:
    step.asked(10, "a", "small")
    came = step.look(0, 100)
    assert (came.rewards, came.arrivals) == ({"bought": ()}, ())
    assert came.others["v14"] == Told({"bought": ()}, ())


def test_crossing_is_between_stable_and_one_challenger(step: Step) -> None:
    for at, user, variant in (
        (10, "a", "stable"),
        (11, "a", "small"),
        (12, "a", "v14"),
        (13, "a", "small"),
        (10, "b", "small"),
        (11, "b", "v14"),  # nobody of the pair of v14
        (10, "c", "v14"),
        (11, "c", "small"),
        (12, "c", "stable"),
    ):
        step.asked(at, user, variant)
    assert step.arrived(0, 30) == {
        "candidate": (Arrivals(0.5, 1, 0),),
        "small": (Arrivals(0.5, 1, 1, crossed=1),),
        "v14": (Arrivals(0.25, 1, 1, crossed=2),),
    }
    step.asked(40, "a", "small")
    step.asked(40, "b", "stable")
    assert step.arrived(30, 60) == {"candidate": (), "small": (Arrivals(0.5, crossed=1),), "v14": ()}


def test_a_crossing_that_the_looks_see_one_by_one(step: Step) -> None:
    step.asked(10, "a", "stable")
    step.arrived(0, 20)
    step.asked(25, "a", "small")
    step.asked(35, "a", "v14")
    crossed = Arrivals(0.5, crossed=1)
    assert step.arrived(20, 31) == {"candidate": (), "small": (crossed,), "v14": ()}
    step.ledger = step.opened()
    assert step.arrived(31, 50) == {"candidate": (), "small": (), "v14": (Arrivals(0.25, crossed=1),)}


@pytest.mark.parametrize("looks", [(12, 13, 14, 30), (30,)])
def test_the_first_request_decides_though_it_is_read_last(step: Step, looks: tuple[int, ...]) -> None:
    rows, found, since = [(9, "stable"), (10, "small"), (11, "v14")], dict[str, Counter[str]](), 0
    for now in looks:
        for at, variant in [rows.pop()] if rows and now < 30 else rows:
            step.asked(at, "a", variant)
        for name, arrivals in step.arrived(since, now).items():
            told = Counter({"stable": 0})
            for of in arrivals:
                told += Counter({"stable": of.stable, "other": of.candidate, "crossed": of.crossed})
            found[name] = found.get(name, Counter()) + told
        since = now
    assert found == {
        "candidate": {"stable": 1},
        "small": {"stable": 1, "crossed": 1},
        "v14": {"stable": 1, "crossed": 1},
    }


def test_one_that_was_dropped_is_not_asked_for(step: Step) -> None:
    step.asked(10, "a", "small")
    step.asked(11, "b", "v14")
    step.others = {"v14": HALF}
    step.asked(40, "a", "stable")
    assert step.arrived(0, 60) == {"candidate": (), "v14": (Arrivals(0.5, 0, 1),)}


def test_while_the_shares_of_any_of_them_change_nobody_arrives(step: Step) -> None:
    step.others = {"v14": [(BEGAN, 0.25), (BEGAN + 20, 0.5)]}
    step.asked(21, "a", "candidate")
    step.asked(30, "b")
    assert step.arrived(0, 50) == {"candidate": (Arrivals(0.5, 1, 0),), "v14": (Arrivals(0.5, 1, 0),)}


def test_limits_are_learned_from_all_arms_together(step: Step) -> None:
    step.ledger.__exit__(None, None, None)
    step.ledger = step.opened(Measure("continuous", 60.0))
    for turn, (variant, file) in enumerate(step._files.items()):
        names = [f"{variant}-{i}" for i in range(250)]
        about: dict[str, Any] = {"at": BEGAN + 10, "variant": variant, "digest": DIGESTS[variant], "unit": names}
        file.write(step._records([f"r{name}" for name in names], {}, **about))
        step.store.add([Row("bought", turn + 1.0, BEGAN + 20, unit=name) for name in names[:15]], BEGAN + 20)
    step.asked(30, "rich", "stable")
    step.did(40, "rich", 1000.0)
    came = step.look(0, 100)
    [small], [v14] = came.others["small"].rewards["bought"], came.others["v14"].rewards["bought"]
    assert (small.candidate.total, v14.candidate.total) == (45.0, 60.0)
    assert small.stable == v14.stable == came.rewards["bought"][0].stable
    assert small.stable.total < 15 + 10


@pytest.mark.parametrize(
    ("others", "sentence"),
    [({"large": HALF}, "not opened for the challenger large"), ({"small": []}, "with which chance users got")],
)
def test_a_defect_is_said(step: Step, others: Any, sentence: str) -> None:
    step.others = others
    assert sentence in step.look(0, 10).blind


def test_one_whose_artifact_is_not_known(step: Step) -> None:
    step.ledger = step.opened(small="")
    assert "which artifact the challenger small is" in step.look(0, 10).blind
