"""Labels and captured answers, joined: whose request it is, and what counts once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.feedback.labels import Label
from lockgate.monitoring.feedback.store import FILE, Store
from lockgate.monitoring.performance.join import labelled
from lockgate.monitoring.performance.words import Asked, Labelled

STABLE, OTHER = "5" * 64, "c" * 64
BEGAN = 1_700_000_000.0
ASKED = Asked("truth", "accuracy", "label", 0.05, 500)


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., None]:
    """`tell(received, r1="yes", ...)`: labels by request id."""

    def told(received: float, row: int = 0, **truths: str) -> None:
        with Store(tmp_path / FILE) as store:
            store.add([Label("truth", value, received, name, row) for name, value in truths.items()], received)

    return told


@pytest.fixture
def join(tmp_path: Path) -> Callable[..., Labelled]:
    return lambda asked=ASKED, digest=STABLE: labelled(asked, tmp_path, tmp_path / FILE, digest)


def test_a_label_meets_the_answer_of_its_request(replica: Any, records: Any, tell: Any, join: Any) -> None:
    at = [BEGAN + i for i in range(4)]
    columns = {"output.label": np.array(["yes", "no", "no", "yes"]), "output.score": np.ones(4)}
    replica().write(records(["a", "b", "c", "d"], columns, at=at)).rotate()
    replica(OTHER).write(records(["a", "b"], {"output.label": np.array(["no", "yes"])}))
    tell(BEGAN + 100, c="yes", a="yes")
    found = join()
    assert found.losses.tolist() == [1, 0]  # in the order in which the labels came
    assert found.at.tolist() == [BEGAN + 2, BEGAN]
    assert found.lag.tolist() == [98, 100]
    assert found.coverage == pytest.approx(2 / 3)  # of a, b and c
    assert (found.received, found.output) == (BEGAN + 100, "label")


def test_copies_testers_and_failures_are_nobodys(replica: Any, records: Any, tell: Any, join: Any) -> None:
    kinds = ["live", "shadow", "echo", "forced", "live"]
    columns = {"output.label": np.array(["yes"] * 5)}
    replica().write(records(list("abcde"), columns, kind=kinds, rows=[1, 1, 1, 1, 0]))
    tell(BEGAN + 9, **dict.fromkeys("abcde", "yes"))
    found = join()
    assert found.losses.tolist() == [0]
    assert any("4 of the latest 5 labels 'truth' are of no request that is captured" in note for note in found.notes)


def test_rows_of_one_request_are_one_observation(replica: Any, records: Any, tell: Any, join: Any) -> None:
    columns = {"output.label": np.array(["yes", "no", "no", "yes"])}
    replica().write(records(["a", "a", "a", "b"], columns, row=[0, 1, 2, 0], rows=[3, 3, 3, 1]))
    for row in range(3):
        tell(BEGAN + row, row, a="yes")
    tell(BEGAN + 5, b="yes")
    assert join().losses.tolist() == [pytest.approx(2 / 3), 0]


def test_an_id_that_several_requests_have_is_left_out(replica: Any, records: Any, tell: Any, join: Any) -> None:
    columns = {"output.label": np.array(["yes", "no", "yes"])}
    replica().write(records(["gateway", "gateway", "a"], columns, at=[BEGAN, BEGAN + 60, BEGAN + 90]))
    tell(BEGAN + 100, gateway="yes", a="yes")
    found = join()
    assert found.losses.tolist() == [0]
    assert "1 labels name a request id that several requests have; they are left out" in found.notes


def test_the_last_label_of_a_row_counts_and_the_window_has_the_latest(
    replica: Any, records: Any, tell: Any, join: Any
) -> None:
    columns = {"output.label": np.array(["yes"] * 3)}
    replica().write(records(["a", "b", "c"], columns))
    tell(BEGAN + 1, a="yes", b="yes", c="yes")
    tell(BEGAN + 2, a="no")
    assert join().losses.tolist() == [0, 0, 1]
    assert join(replace(ASKED, window=2)).losses.tolist() == [0, 1]


def test_requests_of_many_rows_fill_the_window(replica: Any, records: Any, join: Any, tmp_path: Path) -> None:
    """10 requests of 32 labelled rows each, and a window of 10: four labels for each would be of two requests."""
    names, rows = [f"q{i}" for i in range(10)], range(32)
    columns = {"output.label": np.array(["yes"] * 320)}
    replica().write(records([name for name in names for _ in rows], columns, row=[*rows] * 10, rows=[32] * 320))
    with Store(tmp_path / FILE) as store:
        told = [Label("truth", "yes" if row % 2 else "no", BEGAN, name, row) for name in names for row in rows]
        store.add(told, BEGAN + 1)
    assert join(replace(ASKED, window=10)).losses.tolist() == [0.5] * 10


def test_labels_of_other_versions_and_those_sent_again_take_no_ones_place(
    replica: Any, records: Any, tell: Any, join: Any
) -> None:
    mine, others = [f"q{i}" for i in range(4)], [f"c{i}" for i in range(20)]
    replica().write(records(mine, {"output.label": np.array(["yes"] * 4)}))
    tell(BEGAN, **dict.fromkeys(mine, "yes"))
    for again in range(30):
        tell(BEGAN + 1 + again, **dict.fromkeys(others, "yes"))
    asked = replace(ASKED, window=4)
    assert len(join(asked).losses) == 4
    tell(BEGAN + 99, **{f"d{i}": "yes" for i in range(60)})  # 15 windows are read, and no more
    assert len(join(asked).losses) == 0


def test_a_label_that_came_before_those_of_the_window_covers_its_request(
    replica: Any, records: Any, tell: Any, join: Any
) -> None:
    replica().write(records(list("abcd"), {"output.label": np.array(["yes"] * 4)}, at=[BEGAN + i for i in range(4)]))
    tell(BEGAN + 10, b="yes")
    tell(BEGAN + 20, a="yes", d="yes")
    found = join(replace(ASKED, window=2))
    assert len(found.losses) == 2
    assert found.coverage == 0.75  # of a, b, c and d


def test_a_model_that_is_never_right_has_losses_and_a_note(replica: Any, records: Any, tell: Any, join: Any) -> None:
    replica().write(records(["a", "b"], {"output.label": np.array([0, 0])}))
    tell(BEGAN, a="1", b="1")
    found = join()
    assert found.losses.tolist() == [1, 1]
    assert any(note.startswith("no label is what was predicted, and all count as wrong") for note in found.notes)


def test_files_with_dictionaries_of_their_own_are_one_column(
    replica: Any, records: Any, tell: Any, join: Any, tmp_path: Path
) -> None:
    import pyarrow as pa

    assert tmp_path
    for name, word in (("a", "yes"), ("b", "no")):
        replica().write(records([name], {"output.label": pa.array([word]).cast(pa.string())})).rotate()
    tell(BEGAN + 1, a="yes", b="yes")
    assert sorted(join().losses.tolist()) == [0, 1]


@pytest.mark.parametrize(
    "case",
    [
        (replace(ASKED, output="score"), "the model has no output 'score'; it has label"),
        (replace(ASKED, label="other"), "no label 'other' has come so far"),
        (replace(ASKED, measure="mae"), "mae needs an output of numbers"),
    ],
)
def test_why_there_is_nothing_is_a_sentence(
    replica: Any, records: Any, tell: Any, join: Any, case: tuple[Asked, str]
) -> None:
    asked, says = case
    replica().write(records(["a", "b"], {"output.label": np.array(["good", "bad"])}))
    tell(BEGAN + 1, a="good", b="bad")
    found = join(asked)
    assert says in found.why
    assert len(found.losses) == 0


def test_of_a_version_of_which_nothing_is_captured(tell: Any, join: Any) -> None:
    tell(BEGAN, a="yes")
    assert join().why == "nothing is captured of the version that serves"
