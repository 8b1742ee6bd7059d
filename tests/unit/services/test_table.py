"""What a person sees of a search: its table and its picture."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.services.compile import picture, table
from lockgate.services.compile.words import Candidate, ParityEvidence, Row, Search, Timing


def proven(error: float, *, passed: bool = True) -> ParityEvidence:
    return ParityEvidence(256, error, error / 10, 1.0, "score", passed, "" if passed else "a|b differ")


def timed(first: float) -> tuple[Timing, ...]:
    return (Timing(1, first, 2 * first, 5, 50), Timing(32, 8 * first, 9 * first, 5, 20))


EAGER = Row(Candidate("eager"), "slower", "2.10 times as long", parity=proven(0.0), timings=timed(3e-3), memory=2**28)
CHOSEN = Row(Candidate("onnxruntime"), "chosen", parity=proven(2e-7), timings=timed(1e-3), compile_seconds=5.0)
REFUSED = Row(Candidate("openvino", "int8"), "refused", "a|b differ", parity=proven(float("inf"), passed=False))
SKIPPED = Row(Candidate("tensorrt"), "skipped", "no NVIDIA GPU here")
CACHED = replace(CHOSEN, candidate=Candidate("torchscript"), outcome="kept", cached=True, timings=timed(2e-3))


def found(*rows: Row) -> Search:
    return Search(rows, None, None, Path(), {}, 12.0)


ALL = found(EAGER, SKIPPED, REFUSED, CACHED, CHOSEN)


def test_values_are_plain_json_in_the_order_of_the_search() -> None:
    values = json.loads(json.dumps(table.values(ALL), allow_nan=False))
    assert [row["target"] for row in values] == ["eager", "tensorrt", "openvino", "torchscript", "onnxruntime"]
    assert values[4]["latency"]["32"] == {"p50": 8 * 1e-3, "p99": 9 * 1e-3, "rounds": 5, "calls": 20}
    assert values[2]["max_abs_error"] is None  # infinite
    assert values[1]["reason"] == "no NVIDIA GPU here"
    assert values[1]["max_abs_error"] is None


def test_the_chosen_one_comes_first_then_the_others_by_outcome() -> None:
    heading, *lines = table.cells(ALL)
    assert [line[0].partition(" ")[0] for line in lines] == [
        *("onnxruntime", "torchscript", "eager", "openvino", "tensorrt"),
    ]
    chosen = dict(zip(heading, lines[0], strict=True))
    assert (chosen["p50 ms, batch 1"], chosen["p50 ms, batch 32"], chosen["rows/s"]) == ("1.00", "8.00", "4,000")
    assert (chosen["error"], chosen["compile s"]) == ("2.0e-07", "5.0")
    assert dict(zip(heading, lines[1], strict=True))["compile s"] == "cached"
    assert dict(zip(heading, lines[2], strict=True))["memory MiB"] == "256"


def test_a_reason_cannot_break_the_markdown() -> None:
    lines = table.markdown(ALL).splitlines()
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(table.cells(ALL)[0]) + 1}
    assert "a\\|b differ" in lines[5]


def test_columns_of_the_text_stand_below_one_another() -> None:
    heading, *lines = table.text(ALL).splitlines()
    at = heading.index("outcome")
    assert [line[at:].split("  ")[0] for line in lines] == ["chosen", "kept", "slower", "refused", "skipped"]


@pytest.mark.parametrize("rows", [ALL.rows, (EAGER, CHOSEN), (SKIPPED,), (REFUSED,), ()])
def test_there_is_a_picture_of_any_search(rows: tuple[Row, ...], tmp_path: Path) -> None:
    picture.write(found(*rows), tmp_path / "p.png", "fraud version 3")
    raw = (tmp_path / "p.png").read_bytes()
    assert raw.startswith(b"\x89PNG")
    assert struct.unpack(">II", raw[16:24]) == (1080, 624)


def test_every_proven_candidate_is_labelled_once_and_where_no_other_is() -> None:
    crowd = [replace(CACHED, candidate=Candidate(f"target{i}"), timings=timed(1e-3 + i * 1e-6)) for i in range(8)]
    from matplotlib.text import Text

    figure = picture._figure(found(CHOSEN, REFUSED, SKIPPED, *crowd), "")
    labels = [text for axes in figure.axes for text in axes.texts]
    assert sorted(text.get_text() for text in labels) == sorted(
        ["onnxruntime fp32", "openvino int8 (not finite)", *(f"target{i} fp32" for i in range(8))]
    )
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in labels]  # an annotation's own extent counts its line in
    assert not [1 for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.padded(-1).overlaps(b.padded(-1))]


def test_the_picture_leaves_no_state_behind() -> None:
    import sys

    picture.png(ALL)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
