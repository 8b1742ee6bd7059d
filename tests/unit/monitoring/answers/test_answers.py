"""What captured answers say to the gates: pairs, spreads, examples, and why there are none."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.monitoring.answers.answers import Answers
from lockgate.monitoring.answers.kept import Kept
from lockgate.monitoring.answers.records import Records
from lockgate.monitoring.answers.words import Comparison
from lockgate.monitoring.measurement import Pairs

STABLE, CANDIDATE = "5" * 64, "c" * 64
BEGAN = 1_700_000_000.0
Make = Callable[..., Any]
SIDES: Mapping[str, Mapping[str, str]] = {
    "stable": {"digest": STABLE, "kind": "live", "variant": "stable"},
    "candidate": {"digest": CANDIDATE, "kind": "shadow", "variant": "stable"},
    "echo": {"digest": STABLE, "kind": "echo", "variant": "stable"},
    "live": {"digest": CANDIDATE, "kind": "live", "variant": "candidate"},
}


def names(n: int, start: int = 0) -> list[str]:
    return [f"id{i}" for i in range(start, start + n)]


@pytest.fixture
def answered(replica: Make, records: Make) -> Make:
    """`answered(side, ids, outputs)`: in one file of its own."""

    def made(side: str, ids: list[Any], columns: Mapping[str, Any], **given: Any) -> Any:
        given = {**SIDES[side], **given}
        columns = {name if "." in name else f"output.{name}": values for name, values in columns.items()}
        return replica(given["digest"]).write(records(ids, columns, **given))

    return made


@pytest.fixture
def watching(tmp_path: Path) -> Make:
    def made(drifts: Mapping[str, str | None] | None = None, **how: Any) -> Answers:
        gates = {"same": Comparison(**how)} if drifts is None else {}
        return Answers(tmp_path, STABLE, CANDIDATE, gates, drifts or {}, since=0.0)

    return made


class TestPairs:
    def test_flipped_labels_are_counted(self, answered: Make, watching: Make) -> None:
        labels = np.arange(1000) % 2
        flipped = labels.copy()
        flipped[::50] ^= 1  # 2 %
        answered("stable", names(1000), {"label": labels})
        answered("candidate", names(1000), {"label": flipped})
        came = watching().came(0.0)
        assert came.pairs == {"same": Pairs(1000, 20)}
        assert came.blind == {}

    def test_numerical_noise_is_none(self, answered: Make, watching: Make) -> None:
        random = np.random.default_rng(1)
        scores = random.dirichlet(np.ones(4), 500).astype("f4")
        answered("stable", names(500), {"scores": scores, "value": scores[:, 0] * 9})
        noise = scores + random.normal(0, 1e-6, scores.shape).astype("f4")
        answered("candidate", names(500), {"scores": noise, "value": noise[:, 0] * 9})
        assert watching(output="scores").came(0.0).pairs["same"] == Pairs(500)
        assert watching(output="value").came(0.0).pairs["same"] == Pairs(500)

    def test_stables_own_noise(self, answered: Make, watching: Make) -> None:
        answered("stable", names(100), {"label": ["yes"] * 100})
        answered("candidate", names(100), {"label": ["yes"] * 90 + ["no"] * 10})
        answered("echo", names(20), {"label": ["yes"] * 17 + ["no"] * 3})
        assert watching().came(0.0).pairs["same"] == Pairs(100, 10, 20, 3)

    def test_answers_that_come_with_different_calls(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("candidate", names(10), {"label": [1] * 10})
        assert watch.came(0.0).pairs["same"] == Pairs()
        answered("stable", names(10), {"label": [1] * 9 + [2]})
        assert watch.came(29.0).pairs["same"] == Pairs(10, 1)
        answered("echo", names(5), {"label": [1] * 5})
        assert watch.came(30.0).pairs["same"] == Pairs(0, 0, 5, 0)
        assert watch.came(31.0).pairs["same"] == Pairs()

    def test_one_that_waited_too_long(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("stable", ["a"], {"label": [1]})
        watch.came(0.0)
        answered("stable", ["b"], {"label": [1]})
        watch.came(30.0)
        answered("candidate", ["a", "b"], {"label": [1, 1]})
        assert watch.came(31.0).pairs["same"] == Pairs(1)

    def test_the_chosen_row_of_a_request(self, answered: Make, watching: Make) -> None:
        ids = [name for name in names(50) for _ in range(3)]
        given = {"row": [0, 1, 2] * 50, "rows": 3}
        chosen = np.array([zlib.crc32(name.encode()) % 3 == i % 3 for i, name in enumerate(ids)])
        answered("stable", ids, {"label": np.zeros(150, int)}, **given)
        answered("candidate", ids, {"label": np.where(chosen, 0, 1)}, **given)  # the others differ
        assert watching().came(0.0).pairs["same"] == Pairs(50)

    def test_of_a_long_request_one_of_the_rows_that_are_kept(self, answered: Make, watching: Make) -> None:
        for side in ("stable", "candidate"):
            answered(side, ["a"] * 64, {"label": np.zeros(64)}, row=list(range(64)), rows=5000)
        assert watching().came(0.0).pairs["same"] == Pairs(1)

    def test_failed_requests_have_no_answer(self, answered: Make, watching: Make) -> None:
        failed = {"label": pa.nulls(1, pa.int64())}
        answered("stable", ["a"], {"label": [1]})
        answered("candidate", ["a"], failed, status=500, rows=0)
        answered("stable", ["b"], failed, status=400, rows=0)
        answered("candidate", ["b"], {"label": [1]})
        came = watching().came(0.0)
        assert came.pairs["same"] == Pairs()
        assert came.blind == {}

    @pytest.mark.parametrize("other", [{"variant": "candidate"}, {"variant": ""}, {"kind": "shadow"}])
    def test_only_what_stable_answered_as_stable(self, answered: Make, watching: Make, other: dict[str, str]) -> None:
        answered("stable", ["a"], {"label": [1]}, **other)
        answered("candidate", ["a"], {"label": [2]})
        assert watching().came(0.0).pairs["same"] == Pairs()

    def test_the_same_artifact_on_both_sides(self, tmp_path: Path, answered: Make) -> None:
        answered("stable", names(5), {"label": [1] * 5})
        answered("candidate", names(5), {"label": [1] * 4 + [2]}, digest=STABLE)
        watch = Answers(tmp_path, STABLE, STABLE, {"same": Comparison()}, {}, 0.0)
        assert watch.came(0.0).pairs["same"] == Pairs(5, 1)


class TestHostileIds:
    def test_the_first_two_of_an_id_meet(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("stable", ["a"] * 1000, {"label": [1] + [2] * 999})
        answered("candidate", ["a"] * 1000, {"label": [1] + [3] * 999})
        answered("echo", ["a"] * 1000, {"label": [1] + [4] * 999})
        assert watch.came(0.0).pairs["same"] == Pairs(1, 0, 1, 0)
        assert len(watch._meeting) == 1

    @pytest.mark.parametrize("name", ["", " ", "\0", "a\nb", "é☃", "'; drop table", "x" * 60_000, "{}", "$variant"])
    def test_odd_ids(self, answered: Make, watching: Make, name: str) -> None:
        watch = watching()
        answered("stable", [name], {"label": [1]})
        answered("candidate", [name], {"label": [2]})
        assert watch.came(0.0).pairs["same"] == Pairs(1, 1)
        (example,) = watch.examples()
        assert len(example.request_id) <= 128

    def test_no_id(self, answered: Make, watching: Make) -> None:
        answered("stable", [None, "a"], {"label": [1, 1]})
        answered("candidate", ["a", None], {"label": [1, 1]})
        assert watching().came(0.0).pairs["same"] == Pairs(1)

    def test_another_request_with_the_same_id(self, answered: Make, watching: Make) -> None:
        """It had another number of rows, so another row of it was chosen."""
        answered("stable", ["a"], {"label": [1]})
        answered("candidate", ["a", "a"], {"label": [2, 2]}, row=[0, 1], rows=2)
        assert watching().came(0.0).pairs["same"] == Pairs()

    def test_what_waits_is_bounded(self, answered: Make, watching: Make) -> None:
        watch = watching()
        for start in range(0, 50_000, 10_000):
            answered("stable", names(10_000, start), {"label": np.zeros(10_000, int)})
            watch.came(0.0)
        assert len(watch._meeting) == 20_000
        answered("candidate", names(50_000), {"label": np.zeros(50_000, int)})
        assert watch.came(0.0).pairs["same"].compared == 20_000

    def test_large_answers_wait_in_smaller_numbers(
        self, answered: Make, watching: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lockgate.monitoring.answers.meeting._MOST_BYTES", 8 * 1000 * 10)
        watch = watching()
        answered("stable", names(100), {"scores": np.zeros((100, 1000))})
        watch.came(0.0)
        assert len(watch._meeting) == 9


class TestBlind:
    def test_no_folder(self, tmp_path: Path) -> None:
        watch = Answers(tmp_path / "later", STABLE, CANDIDATE, {"same": Comparison()}, {"spread": None}, 0.0)
        assert set(watch.came(0.0).blind) == {"same", "spread"}
        (tmp_path / "later").mkdir()
        assert watch.came(1.0).blind == {}

    def test_nothing_of_a_side_can_be_read(self, replica: Make, answered: Make, watching: Make) -> None:
        watch = watching()
        bad = replica(CANDIDATE)
        bad.growing.write_bytes(b"not an arrow stream")
        answered("stable", ["a"], {"label": [1]})
        assert bad.growing.name in watch.came(0.0).blind["same"]
        answered("candidate", ["a"], {"label": [1]})
        came = watch.came(1.0)
        assert (came.pairs["same"], came.blind) == (Pairs(1), {})

    def test_an_output_that_nobody_answers(self, answered: Make, watching: Make) -> None:
        answered("stable", ["a"], {"label": [1], "scores": [0.5]})
        answered("candidate", ["a"], {"label": [1], "scores": [0.5]})
        assert (
            "output 'lable' is not among the outputs that stable answers ('label', 'scores')"
            in (watching(output="lable").came(0.0).blind["same"])
        )

    def test_one_that_only_stable_answers(self, answered: Make, watching: Make) -> None:
        answered("stable", ["a"], {"label": [1]})
        answered("candidate", ["a"], {"class": [1]})
        assert "the candidate answers ('class')" in watching().came(0.0).blind["same"]

    def test_other_shapes(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("stable", ["a"], {"scores": np.ones((1, 3))})
        answered("candidate", ["a"], {"scores": np.ones((1, 4))})
        came = watch.came(0.0)
        assert "shape [3] from stable and [4] from the candidate" in came.blind["same"]
        assert came.pairs["same"] == Pairs()
        assert watch.came(1.0).blind  # nothing has shown that it is over
        answered("stable", ["b"], {"scores": np.ones((1, 3))})
        answered("candidate", ["b"], {"scores": np.ones((1, 3))})
        assert watch.came(2.0).blind == {}

    def test_answers_whose_length_varies_by_themselves(self, answered: Make, watching: Make) -> None:
        answered("stable", ["a", "b"], {"tokens": pa.array([[1, 2, 3], [1]])})
        answered("candidate", ["a", "b"], {"tokens": pa.array([[1, 2, 3, 4], [1]])})
        came = watching().came(0.0)
        assert (came.pairs["same"], came.blind) == (Pairs(2, 1), {})

    def test_text_from_one_side(self, answered: Make, watching: Make) -> None:
        answered("stable", ["a"], {"label": [1]})
        answered("candidate", ["a"], {"label": ["1"]})
        assert "numbers from stable and text from the candidate" in watching().came(0.0).blind["same"]

    def test_answers_that_were_not_kept(self, answered: Make, watching: Make) -> None:
        answered("stable", ["a"], {"label": [1]})
        answered("candidate", ["a"], {"label": pa.nulls(1, pa.int64())})
        answered("stable", ["b"], {"label": pa.nulls(1, pa.int64())})
        answered("candidate", ["b"], {"label": pa.nulls(1, pa.int64())})
        assert watching().came(0.0).pairs["same"] == Pairs(1, 1)

    def test_where_nothing_was_kept(self, answered: Make, watching: Make) -> None:
        for side in ("stable", "candidate"):
            answered(side, ["a"], {"label": pa.nulls(1, pa.int64())})
        assert "64 KiB" in watching().came(0.0).blind["same"]

    def test_an_answer_beside_none_differs(self, answered: Make, watching: Make) -> None:
        answered("stable", ["a", "b"], {"v": pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2))})
        answered("candidate", ["a", "b"], {"v": np.array([[1.0, 2.0], [5.0, 5.0]])})
        came = watching().came(0.0)
        assert (came.pairs["same"], came.blind) == (Pairs(2, 1), {})

    def test_copies_whose_originals_are_missing(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("candidate", names(200), {"label": [1] * 200})
        assert watch.came(0.0).blind == {}
        assert "200 copies" in watch.came(30.0).blind["same"]
        answered("stable", ["a"], {"label": [1]})
        answered("candidate", ["a"], {"label": [1]})
        assert watch.came(31.0).blind == {}

    def test_an_unknown_digest(self, tmp_path: Path, answered: Make) -> None:
        answered("stable", ["a"], {"label": [1]})
        watch = Answers(tmp_path, STABLE, "", {"same": Comparison()}, {}, 0.0)
        assert "which artifact the candidate is" in watch.came(0.0).blind["same"]


class TestFunction:
    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
        def made(name: str, body: str) -> str:
            (tmp_path / f"{name}.py").write_text(f"import numpy as np\ndef same(stable, candidate):\n    {body}\n")
            monkeypatch.syspath_prepend(str(tmp_path))
            return f"{name}:same"

        return made

    def pair(self, answered: Make) -> None:
        answered("stable", ["a", "b"], {"boxes": np.zeros((2, 2, 3), "f4")})
        answered("candidate", ["a", "b"], {"boxes": np.array([np.zeros((2, 3)), np.ones((2, 3))], "f4")})

    def test_gets_arrays_of_the_answers_shape(self, answered: Make, watching: Make, module: Make) -> None:
        self.pair(answered)
        name = module("mine_shape", "assert stable.shape == (2, 2, 3); return (stable == candidate).all(axis=(1, 2))")
        assert watching(by="function", function=name).came(0.0).pairs["same"] == Pairs(2, 1)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("raise RuntimeError('no boxes')", "RuntimeError: no boxes"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("return True", "2 truth values"),
            ("return np.ones(2)", "float64 of shape [2], not 2 truth values"),
            ("return np.ones(3, bool)", "[3]"),
            ("return None", "object"),
        ],
    )
    def test_one_that_fails(self, answered: Make, watching: Make, module: Make, body: str, says: str) -> None:
        self.pair(answered)
        function = module(f"mine_{zlib.crc32(body.encode())}", body)
        assert says in watching(by="function", function=function).came(0.0).blind["same"]

    def test_one_that_is_not_there(self, answered: Make, watching: Make) -> None:
        self.pair(answered)
        came = watching(by="function", function="nowhere_at_all:same").came(0.0)
        assert "ModuleNotFoundError" in came.blind["same"]


class TestExamples:
    def test_the_worst_come_first(self, answered: Make, watching: Make) -> None:
        watch = watching(by="score", atol=0.1, rtol=0.0)
        answered("stable", names(100), {"v": np.zeros(100), "input.n": np.arange(100)}, at=BEGAN + 0.5)
        answered("candidate", names(100), {"v": np.arange(100.0), "input.n": np.arange(100)})
        watch.came(0.0)
        examples = watch.examples()
        assert [one.request_id for one in examples] == [f"id{i}" for i in range(99, 79, -1)]
        assert examples[0].inputs == {"n": 99}
        assert (examples[0].gate, examples[0].at) == ("same", BEGAN + 0.5)
        assert (examples[0].stable, examples[0].candidate) == (0.0, 99.0)
        assert examples[0].far == pytest.approx(990)

    def test_the_worst_of_all_calls_are_kept(self, answered: Make, watching: Make) -> None:
        watch = watching(by="score")
        for start, value in ((0, 1.0), (100, 3.0), (200, 2.0)):
            answered("stable", names(15, start), {"v": np.zeros(15)})
            answered("candidate", names(15, start), {"v": np.full(15, value)})
            watch.came(0.0)
        assert [one.candidate for one in watch.examples()] == [3.0] * 15 + [2.0] * 5

    def test_of_labels_the_first(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("stable", names(50), {"label": ["a"] * 50})
        answered("candidate", names(50), {"label": ["b"] * 50})
        watch.came(0.0)
        assert [one.request_id for one in watch.examples()] == names(20)

    def test_redacted_inputs(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("stable", ["a"], {"label": [1], "input.name": ["0011223344556677"]})
        answered("candidate", ["a"], {"label": [2], "input.name": ["0011223344556677"]})
        watch.came(0.0)
        assert watch.examples()[0].inputs == {"name": "0011223344556677"}

    def test_inputs_are_those_of_whichever_answer_came_last(self, answered: Make, watching: Make) -> None:
        watch = watching()
        answered("candidate", ["a"], {"label": [2], "input.x": [7]})
        watch.came(0.0)
        answered("stable", ["a"], {"label": [1], "input.x": [7]})
        watch.came(1.0)
        assert watch.examples()[0].inputs == {"x": 7}

    def test_they_are_json_and_short(self, answered: Make, watching: Make) -> None:
        inputs: dict[str, Any] = {
            "input.image": np.zeros((1, 28, 28), "f4"),
            "input.text": ["x" * 10_000],
            "input.float": np.array([0.1], "f4"),
            "input.none": pa.nulls(1, pa.float32()),
            "input.nan": [float("nan")],
            "input.many": pa.array([[1, 2, 3]]),
            "input.time": pa.array([0], pa.timestamp("s")),
        }
        watch = watching()
        answered("stable", ["a"], {"v": np.array([[1.0, np.inf]])} | inputs)
        answered("candidate", ["a"], {"v": np.array([[1.0, np.nan]])} | inputs)
        watch.came(0.0)
        (one,) = watch.examples()
        assert len(json.dumps([one.inputs, one.stable, one.candidate, one.far], allow_nan=False)) < 1500
        assert one.inputs["image"][-1] == "… 784 in all"
        assert one.inputs["float"] == 0.1
        assert one.inputs["none"] is None
        assert one.inputs["many"] == [1, 2, 3]
        assert (one.stable, one.candidate) == ([1.0, "inf"], [1.0, "nan"])


class TestSpreads:
    def spread(self, watch: Answers, now: float = 0.0) -> Any:
        came = watch.came(now)
        assert came.blind == {}
        return came.spreads.get("drift")

    def test_bins_are_fixed_before_what_they_count(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": None})
        answered("stable", names(199), {"v": np.arange(199.0)}, at=BEGAN)
        answered("candidate", names(50), {"v": np.arange(50.0)}, at=BEGAN)
        assert self.spread(watch) is None
        answered("stable", names(3), {"v": [199.0, 50.0, 50.0]}, at=BEGAN + 1)
        answered("candidate", names(2), {"v": [0.0, 0.0]}, at=BEGAN + 1)
        answered("candidate", names(1), {"v": [1e9]}, at=BEGAN + 2)
        first = self.spread(watch)
        assert sum(first.stable) == 0  # answered no later than the last one of the bins
        assert first.candidate == (*(0,) * (len(first.bins) - 1), 1)
        answered("stable", names(4), {"v": [-1e9, 50.0, 150.0, 1e9]}, at=BEGAN + 3)
        second = self.spread(watch)
        assert second.bins == first.bins
        assert (second.stable[0], second.stable[-1], sum(second.stable)) == (1, 1, 4)

    def test_numbers_have_quantiles_and_what_is_beyond(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": "v"})
        answered("stable", names(200), {"v": np.arange(200.0)})
        answered("stable", names(200), {"v": np.arange(200.0)}, at=BEGAN + 1)
        answered("live", names(3), {"v": [-5.0, np.nan, 7.0]}, at=BEGAN + 1)
        spread = self.spread(watch)
        assert [float(edge) for edge in spread.bins[1:3]] == [9.5, 19.5]
        assert spread.stable == (0, *(10,) * 20, 0)
        assert spread.candidate == (1, 1, *(0,) * 19, 1)

    def test_few_distinct_scores_do_not_move_with_rounding(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": None})
        leaves = np.random.default_rng(1).choice([0.0, 0.25, 0.5, 1.0], 600).astype("f4")
        noise = leaves + np.random.default_rng(2).choice([-1e-7, 1e-7], 600).astype("f4")
        answered("stable", names(200), {"v": leaves[:200]})
        answered("stable", names(600), {"v": leaves}, at=BEGAN + 1)
        answered("candidate", names(600), {"v": noise}, at=BEGAN + 1)
        spread = self.spread(watch)
        assert len(spread.bins) == 6
        assert spread.stable == spread.candidate

    def test_labels(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": None})
        answered("stable", names(200), {"label": ["yes", "no"] * 100})
        answered("stable", names(3), {"label": ["yes", "yes", "other"]}, at=BEGAN + 1)
        answered("candidate", names(3), {"label": ["no", "maybe", "yes"]}, at=BEGAN + 1)
        spread = self.spread(watch)
        assert spread.bins == ("no", "yes", "other")
        assert (spread.stable, spread.candidate) == ((0, 2, 1), (1, 1, 1))

    def test_whole_numbers_are_labels_while_they_are_few(self, answered: Make, watching: Make) -> None:
        watch = watching({"few": "few", "many": "many"})
        answered("stable", names(200), {"few": np.arange(200) % 12, "many": np.arange(200)})
        answered("candidate", names(1), {"few": [3], "many": [3]}, at=BEGAN + 1)
        spreads = watch.came(0.0).spreads
        assert spreads["few"].bins == (*(str(i) for i in range(12)), "other")
        assert spreads["few"].candidate[3] == 1
        assert len(spreads["many"].bins) == 22

    def test_the_largest_of_scores_that_sum_to_1(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": None})
        scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]] * 100, "f4")
        answered("stable", names(200), {"scores": scores})
        answered("candidate", names(2), {"scores": np.array([[0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])}, at=BEGAN + 1)
        spread = self.spread(watch)
        assert (spread.bins, spread.candidate) == (("0", "2", "other"), (1, 0, 1))

    @pytest.mark.parametrize("how", ["turned", "collapsed", "shrunk"])
    def test_embeddings_move(self, answered: Make, watching: Make, how: str) -> None:
        random = np.random.default_rng(1)
        found = random.normal(1.0, 1.0, (800, 16))
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        changed = {"turned": -found, "collapsed": np.repeat(found[:1], 800, axis=0), "shrunk": found / 2}[how]
        watch = watching({"drift": None})
        answered("stable", names(200), {"e": found[:200]})
        answered("stable", names(600), {"e": found[200:]}, at=BEGAN + 1)
        answered("candidate", names(600), {"e": changed[200:]}, at=BEGAN + 1)
        spread = self.spread(watch)
        shares = [np.cumsum(side) / sum(side) for side in (spread.stable, spread.candidate)]
        assert np.abs(shares[0] - shares[1]).max() > 0.3

    def test_vectors_of_varying_length(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": None})
        vectors = pa.array([[1.0] * (1 + i % 7) for i in range(200)])
        answered("stable", names(200), {"v": vectors})
        answered("candidate", names(200), {"v": vectors}, at=BEGAN + 1)
        assert sum(self.spread(watch).candidate) == 200

    @pytest.mark.parametrize(
        ("stable", "candidate", "says"),
        [
            ({"v": np.zeros((200, 3))}, {"v": np.zeros((1, 4))}, "shape [3]"),
            ({"v": np.zeros(200)}, {"v": ["text"]}, "text"),
            ({"v": np.zeros(200)}, {"w": [0.0]}, "the candidate answers ('w')"),
            ({"v": np.zeros(200)}, {"v": pa.nulls(1, pa.float64())}, "64 KiB"),
        ],
    )
    def test_what_cannot_be_counted(
        self, answered: Make, watching: Make, stable: Any, candidate: Any, says: str
    ) -> None:
        watch = watching({"drift": None})
        answered("stable", names(200), stable)
        answered("candidate", ["a"], candidate, at=BEGAN + 1)
        came = watch.came(0.0)
        assert says in came.blind["drift"]
        assert came.spreads == {}

    def test_an_output_that_nobody_answers(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": "w"})
        answered("stable", ["a"], {"v": [1.0]})
        assert "output 'w' is not among" in watch.came(0.0).blind["drift"]
        answered("stable", ["b"], {"w": [1.0]})
        assert watch.came(0.0).blind == {}


class TestInputs:
    @pytest.mark.parametrize(("drifts", "times"), [(None, 1), ({"scores": None}, 0)])
    def test_are_read_where_they_are_shown(
        self, answered: Make, watching: Make, monkeypatch: pytest.MonkeyPatch, drifts: Any, times: int
    ) -> None:
        """Only a gate that compares answers has examples."""
        seen: list[str] = []
        made = Records.__init__

        def noted(self: Records, batch: Any, *rest: Any) -> None:
            seen.extend(batch.schema.names)
            made(self, batch, *rest)

        monkeypatch.setattr(Records, "__init__", noted)
        answered("stable", names(3), {"label": [1] * 3, "input.x": [1.0] * 3})
        watching(drifts).came(0.0)
        assert "output.label" in seen
        assert seen.count("input.x") == times


def normal(seed: int, n: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(1.0, 1.0, (n, *shape))


class TestStartedAgain:
    @pytest.fixture
    def start(self, tmp_path: Path) -> Make:
        def made(step: str = "one", since: float = 0.0) -> Answers:
            kept = Kept(tmp_path / "bins.json", step)
            return Answers(tmp_path, STABLE, CANDIDATE, {}, {"drift": None}, since, kept)

        return made

    @pytest.mark.parametrize(
        "made",
        [
            normal,
            lambda seed, n: normal(seed, n, 4),
            lambda seed, n: np.random.default_rng(seed).dirichlet(np.ones(3), n),
            lambda seed, n: np.random.default_rng(seed).choice(["yes", "no", "perhaps"], n),
            lambda seed, n: np.random.default_rng(seed).integers(0, 9, n),
            lambda seed, n: pa.array([[1.0] * (1 + (i * seed) % 7) for i in range(n)]),
        ],
    )
    def test_the_bins_are_those_of_before(self, answered: Make, start: Make, made: Any) -> None:
        """Every kind of answer; what comes then is of other answers, which would make other bins."""
        watch = start()
        answered("stable", names(200), {"v": made(1, 200)})
        watch.came(0.0)
        answered("stable", names(300), {"v": made(2, 300)}, at=BEGAN + 10)
        answered("candidate", names(250), {"v": made(3, 250)}, at=BEGAN + 10)
        went_on = watch.came(0.0).spreads["drift"]
        assert sum(went_on.stable) == 300
        assert start(since=BEGAN + 5).came(0.0).spreads["drift"] == went_on

    def test_another_step_has_bins_of_its_own(self, answered: Make, start: Make) -> None:
        answered("stable", names(200), {"v": normal(1, 200)})
        before = start().came(0.0).spreads["drift"].bins
        answered("stable", names(300), {"v": normal(2, 300)}, at=BEGAN + 10)
        assert start("two", since=BEGAN + 5).came(0.0).spreads["drift"].bins != before

    @pytest.mark.parametrize("damage", ["", "[]", "{", '{"step": "one", "gates": {"drift": {}}}', '{"step": "one"}'])
    def test_a_damaged_file_says_nothing(self, tmp_path: Path, answered: Make, start: Make, damage: str) -> None:
        (tmp_path / "bins.json").write_text(damage)
        answered("stable", names(200), {"v": normal(1, 200)})
        watch = start()
        watch.came(0.0)
        answered("candidate", names(5), {"v": normal(2, 5)}, at=BEGAN + 10)
        assert sum(watch.came(0.0).spreads["drift"].candidate) == 5

    def test_only_its_owner_reads_it(self, tmp_path: Path, answered: Make, start: Make) -> None:
        answered("stable", names(200), {"v": normal(1, 200)})
        start().came(0.0)
        assert (tmp_path / "bins.json").stat().st_mode & 0o777 == 0o600


class TestStableBeforeCapture:
    def test_a_candidate_without_a_stable_is_told_after_a_while(self, answered: Make, watching: Make) -> None:
        watch = watching({"drift": None})
        answered("live", names(999), {"v": np.zeros(999)})
        assert watch.came(0.0).blind == {}
        answered("live", names(1), {"v": np.zeros(1)})
        assert "1000 requests, and no answer by stable was captured" in watch.came(0.0).blind["drift"]
        answered("stable", names(1), {"v": np.zeros(1)})
        assert watch.came(0.0).blind == {}
