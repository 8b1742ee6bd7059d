"""What drifts, what does not, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.drift import sentences
from lockgate.monitoring.drift.columns import column
from lockgate.monitoring.drift.judge import compare
from lockgate.monitoring.drift.measure import measure
from lockgate.monitoring.drift.profile import Profile, profile_of
from lockgate.monitoring.drift.words import Compared, Comparison, Window

Rows = Callable[..., dict[str, Any]]
Change = Callable[[Any, np.random.Generator], Any]


@pytest.fixture
def profile(rows: Rows) -> Profile:
    return profile_of(rows(0, 10_000))


def judged(profile: Profile, columns: dict[str, Any], **limits: float) -> Comparison:
    return compare(profile, Window(columns, rows=len(next(iter(columns.values())))), **limits)


def some(share: float, value: Any) -> Change:
    return lambda x, rng: np.where(rng.random(len(x)) < share, value, x)


def only(found: Comparison) -> Compared:
    (one,) = found.drifted
    return one


@pytest.mark.parametrize("n", [200, 2000, 20_000])
def test_rows_that_are_distributed_alike_do_not_drift(profile: Profile, rows: Rows, n: int) -> None:
    for seed in range(1, 6):
        found = judged(profile, rows(seed, n))
        assert not found.drifted
        assert not found.drifting
        assert not found.undecided
        assert found.says == "none of 20 inputs drifts"


@pytest.mark.parametrize("n", [200, 5000])
@pytest.mark.parametrize(
    ("name", "change", "outcome", "says"),
    [
        ("skewed 0", lambda x, _: x * 1.609, "severe", "is it another unit?"),
        ("normal 1", lambda x, _: x * 2.5, "severe", "wider: the middle half spans"),
        ("normal 1", lambda x, _: x / 3, "severe", "narrower: the middle half spans"),
        ("normal 1", lambda x, _: x + 0.6, "severe", "the median moved from"),
        ("normal 1", some(0.15, np.nan), "drifts", "% are missing, it was 0 %"),
        ("normal 1", lambda x, _: x * np.nan, "severe", "100 % are missing, it was 0 %"),
        ("normal 1", some(0.12, 500.0), "drifts", "lie outside what the reference has"),
        ("normal 1", some(0.5, 0.0), "severe", "are 0, it was at most 10 %"),
        ("normal 1", some(1, np.inf), "severe", "100 % lie outside what the reference has"),
        ("gaps", lambda x, rng: rng.uniform(size=len(x)), "drifts", "0 % are missing, it was"),
        ("labels 5", some(0.15, "elsewhere"), "drifts", "have a value that the reference never had, like 'elsewhere'"),
        (
            "labels 300",
            some(0.15, "elsewhere"),
            "drifts",
            "have a value that the reference never had, like 'elsewhere'",
        ),
        ("labels 5", some(0.5, "kind 4"), "severe", "'kind 4' is"),
        ("truth", lambda x, _: ~x, "severe", "'false' is"),
        ("count", lambda x, _: x + 5, "severe", "the median moved from 3 to 8"),
    ],
)
def test_what_changed_is_found_and_said(  # noqa: PLR0913, PLR0917 - a table
    profile: Profile, rows: Rows, n: int, name: str, change: Change, outcome: str, says: str
) -> None:
    columns = rows(1, n)
    columns[name] = change(columns[name], np.random.default_rng(2))
    one = only(judged(profile, columns))
    assert (one.name, one.outcome) == (name, outcome)
    assert one.says.startswith(f"{name}: ")
    assert says in one.says


def test_a_small_shift_is_proven_and_below_the_threshold(profile: Profile, rows: Rows) -> None:
    columns = rows(1, 20_000)
    columns["normal 1"] = columns["normal 1"] + 0.25
    assert not judged(profile, columns).drifted
    one = only(judged(profile, columns, threshold=0.02))
    assert one.distances[0].chance < 1e-9
    assert 0.02 < one.distances[0].psi < one.distances[0].raw < 0.1


def test_one_severe_input_is_enough_and_others_need_their_share(profile: Profile, rows: Rows) -> None:
    columns = rows(1, 5000)
    for i in range(5):
        columns[f"normal {i}"] = columns[f"normal {i}"] + 0.4
    found = judged(profile, columns)
    assert [of.outcome for of in found.drifted] == ["drifts"] * 5
    assert (found.drifting, found.severe, found.share) == (False, False, 0.25)
    assert found.says.endswith("the data as a whole does not, up to 30 % of the inputs")
    assert judged(profile, columns, share=0.25).drifting
    columns["normal 7"] = columns["normal 7"] * 4
    found = judged(profile, columns)
    assert (found.drifting, found.severe) == (True, True)
    assert found.says.startswith("6 of 20 inputs drift: normal 7, ")
    assert found.says.endswith("1 severely")


def test_too_few_rows_are_undecided(profile: Profile, rows: Rows) -> None:
    columns = {name: values * 0 for name, values in rows(1, 150).items() if name.startswith("normal")}
    found = judged(profile, columns)
    assert found.undecided
    assert not found.drifting
    assert found.says == "no verdict about drift: 150 live rows so far, and it takes 200"
    found = judged(profile_of(rows(0, 150)), rows(1, 500))
    assert found.undecided
    assert found.says == "no verdict about drift: the reference has 150 rows, and it takes 200"


def test_an_input_with_few_values_is_undecided_by_itself(rows: Rows) -> None:
    columns = rows(1, 500)
    columns["gaps"] = np.where(np.arange(500) < 60, 0.5, np.nan)
    found = judged(profile_of(rows(0, 10_000) | {"gaps": np.where(np.arange(10_000) < 1200, 0.5, np.nan)}), columns)
    one = next(of for of in found.features if of.name == "gaps")
    assert one.outcome == "undecided"
    assert one.says == "gaps: 60 rows with a value, 1200 in the reference: too few independent ones to tell"
    assert not found.undecided


def test_rows_of_one_request_count_for_less(profile: Profile, rows: Rows) -> None:
    """Sixty-four equal rows each of forty requests: forty rows."""
    columns = {name: np.repeat(values[:40], 64) for name, values in rows(1, 200).items()}
    found = compare(profile, Window(columns, rows=2560))
    assert found.drifted
    found = compare(profile, Window(columns, rows=2560, groups=np.repeat(np.arange(40) * 7, 64)))
    assert not found.drifted
    assert found.undecided


def test_a_change_is_found_in_rows_of_many_requests_too(profile: Profile, rows: Rows) -> None:
    columns = {name: np.repeat(values, 4) for name, values in rows(1, 1000).items()}
    columns["skewed 0"] = columns["skewed 0"] * 1.609
    one = only(compare(profile, Window(columns, rows=4000, groups=np.repeat(np.arange(1000), 4))))
    assert one.name == "skewed 0"
    assert one.distances[0].design_effect == pytest.approx(4, rel=0.1)


def test_an_input_that_is_ignored_is_not_compared(profile: Profile, rows: Rows) -> None:
    columns = rows(1, 500)
    columns["normal 0"] = columns["normal 0"] * 9
    window = Window(columns, rows=500)
    assert compare(profile, window).severe
    found = compare(profile, window, ignore=["normal 0"])
    assert (found.drifted, found.notes) == ((), ("normal 0: it is ignored",))
    assert found.says == "none of 19 inputs drifts"


def test_one_element_of_a_vector_can_be_ignored() -> None:
    rng = np.random.default_rng(0)
    found = compare(
        profile_of({"x": rng.normal(size=(500, 3))}), Window({"x": rng.normal(size=(500, 3)) * [1, 9, 1]}, rows=500),
        ignore=["x[1]"],
    )  # fmt: skip
    assert [of.name for of in found.features] == ["x[0]", "x[2]"]
    assert not found.drifting


def test_a_change_that_leaves_the_median_is_said_by_the_share_that_changed() -> None:
    before = np.repeat([0.0, 1.0, 2.0], [200, 600, 200])
    now = np.repeat([0.0, 1.0, 2.0], [20, 600, 380])
    found = judged(profile_of({"x": before}), {"x": now})
    assert only(found).says == "x: 2.0 % are above 0 and up to 0.5, it was 20 %"


def test_other_columns_than_the_references_are_told(profile: Profile, rows: Rows) -> None:
    columns = rows(1, 500) | {"extra": np.ones(500), "normal 1": ["text"] * 500, "truth": rows(2, 500)["truth"] * 1}
    del columns["normal 0"]
    found = judged(profile, columns)
    assert found.notes == (
        "extra: the live requests have it and the reference does not; it is not compared",
        "normal 0: the reference has it and the live requests do not; it is not compared",
        "normal 1: came as text, in the reference it is numbers; it is not compared",
    )
    assert not found.drifted
    assert (found.undecided, found.says) == (False, "none of 18 compared inputs drifts; 2 could not be compared")
    columns["normal 2"] = columns["normal 2"] * 9
    says = "1 of 18 compared inputs drifts: normal 2; 1 severely; 2 could not be compared"
    assert judged(profile, columns).says == says


def test_where_most_inputs_cannot_be_compared_there_is_no_verdict(profile: Profile, rows: Rows) -> None:
    columns = dict(list(rows(1, 500).items())[:10])
    assert not judged(profile, columns).undecided
    del columns["normal 3"]
    found = judged(profile, columns)
    assert (found.undecided, found.drifting) == (True, False)
    assert found.says.startswith(
        "no verdict about drift: none of 9 compared inputs drifts; 11 could not be compared (normal 3, skewed 2, "
    )
    columns["normal 0"] = columns["normal 0"] * 9  # what is proven is proven
    assert judged(profile, columns).drifting


def test_inputs_that_hardly_a_row_has_hinder_no_verdict() -> None:
    rng = np.random.default_rng(0)
    rare = {f"rare {i}": np.where(rng.random(5000) < 0.01, 1.0, np.nan) for i in range(9)}
    profile = profile_of({"x": rng.normal(size=5000), **rare})
    found = judged(profile, {"x": rng.normal(size=500), **{name: of[:500] for name, of in rare.items()}})
    assert (found.undecided, found.says) == (False, "none of 1 compared input drifts; 9 could not be compared")
    gone = {name: np.full(500, np.nan) for name in rare}
    found = judged(profile_of({name: rng.normal(size=5000) for name in ("x", *rare)}), {"x": np.ones(500), **gone})
    assert found.drifting


def test_another_schema_is_told_by_the_names_of_both(profile: Profile) -> None:
    found = judged(profile, {"a": np.ones(500), "b": np.ones(500)})
    assert found.undecided
    assert found.says == (
        "no verdict about drift: no live input is one of the reference's: live requests have a, b; the reference has"
        " normal 0, normal 1, normal 2, normal 3, normal 4, normal 5, normal 6, normal 7, skewed 0, skewed 1, ..."
    )


def test_one_cell_that_is_no_number_hides_no_column() -> None:
    rng = np.random.default_rng(0)
    profile = profile_of({"zip": rng.integers(0, 99_999, 1000)})
    live = [*map(str, rng.integers(500_000, 999_999, 999)), "n/a"]
    found = judged(profile, {"zip": live})
    assert only(found).outcome == "severe"
    assert found.notes == ("zip: 1 row with text that is no number: it counts as missing",)


def test_labels_that_differ_at_their_end_are_different() -> None:
    before, now = (np.array(["https://shop.example/" + "a" * 70 + end, "b"])[np.arange(1000) % 2] for end in "12")
    assert "have a value that the reference never had" in only(judged(profile_of({"u": before}), {"u": now})).says


def test_long_vectors_that_lack_an_element_are_missing() -> None:
    rng = np.random.default_rng(0)
    live = rng.normal(size=(1000, 128))
    live[:600, 3] = np.nan
    one = only(judged(profile_of({"e": rng.normal(size=(1000, 128))}), {"e": live}))
    assert one.says == "e: 60 % are missing, it was 0 %"
    assert one.rows == 400


def test_vectors_of_another_length_are_told() -> None:
    profile = profile_of({"x": np.random.default_rng(0).normal(size=(500, 3)), "y": np.ones((500, 70))})
    found = judged(profile, {"x": np.ones((500, 4)), "y": [[1.0]] * 250 + [[1.0, 2.0]] * 250})
    many, one = "lists of numbers of many lengths", "lists of numbers of one length"
    assert found.notes == (
        "x: has 4 elements, in the reference 3; it is not compared",
        f"y: came as {many}, in the reference it is {one}; it is not compared",
    )
    says = "no live input is of the kind that it is in the reference: x[0], x[1], x[2], y"
    assert (found.undecided, found.says) == (True, f"no verdict about drift: {says}")


def test_elements_of_vectors_are_inputs() -> None:
    rng = np.random.default_rng(0)
    profile = profile_of({"x": rng.normal(size=(5000, 20))})
    live = rng.normal(size=(1000, 20))
    live[:, 3] *= 3
    found = judged(profile, {"x": live})
    assert only(found).name == "x[3]"
    assert found.share == 1 / 20


@pytest.mark.parametrize(("change", "aspect"), [(lambda x: x + 0.5, "mean"), (lambda x: x * 2, "spread")])
def test_long_vectors_are_told_by_what_is_different(change: Callable[[Any], Any], aspect: str) -> None:
    rng = np.random.default_rng(0)
    profile = profile_of({"x": rng.normal(size=(2000, 200))})
    assert not judged(profile, {"x": rng.normal(size=(1000, 200))}).drifted
    one = only(judged(profile, {"x": change(rng.normal(size=(1000, 200)))}))
    assert aspect in {of.aspect for of in one.distances if of.psi > 0.1}


def test_vectors_that_turn_are_found_by_directions() -> None:
    """Half of the elements up and half of them down: mean and spread hardly feel it."""
    rng = np.random.default_rng(0)
    turned = np.where(np.arange(400) % 2, 0.5, -0.5)
    profile = profile_of({"x": rng.normal(size=(2000, 400))})
    one = only(judged(profile, {"x": rng.normal(size=(1000, 400)) + turned}))
    assert any(of.aspect.startswith("direction") and of.psi > 0.1 for of in one.distances)


def test_text_drifts_by_its_length_its_characters_and_its_words() -> None:
    rng = np.random.default_rng(0)

    def texts(words: list[str], n: int) -> list[str]:
        return [" ".join(rng.choice(words, rng.integers(3, 9))) + f" {i}" for i in range(n)]

    english, german = (
        ["the", "a", "ticket", "was", "not", "paid"],
        ["das", "ein", "fahrschein", "war", "nicht", "zahlt"],
    )
    profile = profile_of({"x": texts(english, 3000)})
    assert not judged(profile, {"x": texts(english, 1000)}).drifted
    assert "other words" in only(judged(profile, {"x": texts(german, 1000)})).says
    longer = only(judged(profile, {"x": [text * 5 for text in texts(english, 1000)]}))
    assert "length" in {of.aspect for of in longer.distances if of.psi > 0.1}
    loud = only(judged(profile, {"x": [text.upper() for text in texts(english, 1000)]}))
    assert "'capitals' is" in loud.says


def test_predictions_are_compared_and_decide_nothing(rows: Rows) -> None:
    columns = rows(0, 3000)
    profile = profile_of(columns, {"score": columns["normal 0"]})
    live = rows(1, 1000)
    found = compare(profile, Window(live, {"score": live["normal 0"] * 9}, rows=1000))
    assert (only(found).role, only(found).outcome) == ("output", "severe")
    assert (found.drifting, found.severe, found.share) == (False, False, 0)
    assert found.says == "none of 20 inputs drifts"


def test_names_of_labels_that_few_rows_have_are_not_told(profile: Profile, rows: Rows) -> None:
    columns = rows(1, 500)
    columns["labels 5"] = np.array([f"person {i}" if i < 100 else "kind 0" for i in range(500)])
    says = next(of.says for of in judged(profile, columns).drifted if of.name == "labels 5")
    assert "person" not in says


def test_labels_of_one_request_are_not_told(rows: Rows) -> None:
    """However many rows it has; those of several requests are."""
    columns = rows(1, 1000)
    columns["labels 5"] = columns["labels 5"].astype(object)
    columns["labels 5"][:64] = "jane@example.org"
    columns["labels 5"][64:256] = [f"city {i % 2}" for i in range(192)]
    groups = np.concatenate([np.zeros(64, int), np.repeat(np.arange(1, 97), 2), np.arange(97, 841)])
    found = compare(profile_of(rows(0, 10_000)), Window(columns, rows=1000, groups=groups))
    says = next(of.says for of in found.drifted if of.name == "labels 5")
    assert says.endswith("like 'city 0', 'city 1'")


def test_values_of_few_requests_are_not_told() -> None:
    rng = np.random.default_rng(0)
    (feature,) = profile_of({"x": rng.normal(size=10_000)}).features
    live = column(np.concatenate([np.full(600, 0.123456), rng.normal(size=400)]))
    assert sentences.of_distance(measure(feature, live, None), "value") == "60 % are 0.1235, it was at most 10 %"
    for many, told in ((4, False), (5, True)):
        groups = np.concatenate([np.arange(600) % many, np.arange(many, many + 400)])
        says = sentences.of_distance(measure(feature, live, groups), "value")
        assert ("0.1235" in says) is told, says
        assert says.startswith("6")


def test_a_label_that_a_few_rows_have_is_not_told() -> None:
    """Not even where the reference has few labels, each with a bin of its own."""
    (feature,) = profile_of({"x": ["a"] * 500 + ["b"] * 500 + ["jane@example.org"] * 3}).features
    live = column(["a", "b"] * 150 + ["jane@example.org"] * 300)
    groups = np.concatenate([np.arange(300), np.full(300, 400)])
    says = "its labels are otherwise distributed"
    assert sentences.of_distance(measure(feature, live, groups), "value") == says
    assert "'jane@example.org' is 50 %" in sentences.of_distance(measure(feature, live, None), "value")


def test_what_lies_outside_is_told_roughly_or_not_at_all() -> None:
    (feature,) = profile_of({"x": np.linspace(0.2345, 99.8765, 10_000)}).features
    live = column([*(52_341 + np.arange(90) / 10), *range(1, 91), *[-7.0] * 20])
    says = "55 % lie outside what the reference has (0.234 to 99.9)"
    assert sentences.of_outside(measure(feature, live, None)) == f"{says}, many of them around 52,000"
    groups = np.concatenate([np.arange(90) % 4, np.arange(4, 114)])
    assert sentences.of_outside(measure(feature, live, groups)) == says


def test_a_time_is_compared_by_what_is_missing_alone() -> None:
    times = np.arange(500).astype("datetime64[s]")
    profile = profile_of({"at": times})
    assert not judged(profile, {"at": times + np.timedelta64(10_000_000, "s")}).drifted
    assert "are missing" in only(judged(profile, {"at": np.full(500, "NaT", "datetime64[s]")})).says


def test_the_worst_comes_first(profile: Profile, rows: Rows) -> None:
    columns = rows(1, 5000)
    columns["normal 3"] = columns["normal 3"] + 0.4
    columns["normal 5"] = columns["normal 5"] * 4
    columns["labels 5"] = some(0.2, "new")(columns["labels 5"], np.random.default_rng(0))
    found = judged(profile, columns)
    assert [of.name for of in found.drifted] == ["normal 5", "normal 3", "labels 5"]
    assert found.says == "3 of 20 inputs drift: normal 5, normal 3, labels 5; 1 severely"
