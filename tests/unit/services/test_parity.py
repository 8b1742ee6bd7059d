"""Parity has teeth: engines that are wrong in one way each, and the sentence that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile import reference
from lockgate.services.compile.errors import Unservable
from lockgate.services.compile.parity import Proof
from lockgate.services.compile.words import About, Arrays, Input, Model, ParityEvidence, Precision, Tolerance

WHO = ("the source", "onnxruntime")
STRICT = Tolerance(rows=32)
MAX_BATCH = 16
Run = Callable[[Arrays], Arrays]
WEIGHTS = np.array([[1.0, -1.0], [0.5, 2.0], [-2.0, 0.25]])


def linear(x: Arrays) -> Arrays:
    scores = x["x"] @ WEIGHTS
    return {"scores": scores, "total": scores.sum(axis=1), "first": x["x"][:, 0] - 3.0}


def labels(x: Arrays) -> Arrays:
    return {"label": (x["x"].sum(axis=1) > 0).astype("int64")}


def model(run: Run = linear, rows: int = 4, inputs: tuple[Input, ...] = ()) -> Model:
    example = {"x": np.random.default_rng(1).normal(size=(rows, 3))}
    inputs = inputs or (Input("x", "float64", (-1, 3), column=False),)
    return Model(About("fraud version 3", "d", "sklearn", "skops", Path(), inputs, example), None, run)


@dataclass
class Runs:
    run: Any


@pytest.fixture
def proven(tmp_path: Path) -> Callable[..., ParityEvidence]:
    """The evidence of an engine against a source; what the source answers goes over the disk, as in a search."""

    def prove(engine: Run, source: Run = linear, precision: Precision = "fp32", **tolerance: Any) -> ParityEvidence:
        reference.write(model(source), replace(STRICT, **tolerance), MAX_BATCH, tmp_path)
        cases = reference.read(tmp_path)
        return Proof(cases, replace(STRICT, **tolerance), precision).of(Runs(engine), "onnxruntime", MAX_BATCH)

    return prove


def test_an_engine_that_holds_the_examples_length_is_refused_where_the_signature_leaves_it_free(tmp_path: Path) -> None:
    def total(x: Arrays) -> Arrays:
        return {"total": x["x"].sum(axis=1)}

    def held(x: Arrays) -> Arrays:
        return {"total": x["x"].reshape(-1, 3).sum(axis=1)}

    def stretched(x: Arrays) -> Arrays:
        return {"total": x["x"].mean(axis=1) * 3}

    source = model(total, inputs=(Input("x", "float64", (-1, -1), column=False),))
    reference.write(source, STRICT, MAX_BATCH, tmp_path)
    for engine, reason in (
        (total, ""),
        (held, "onnxruntime does not answer shorter rows, which the source does: ValueError"),
        (stretched, "(seen with shorter rows; a batch of 1 was right)"),
    ):
        evidence = Proof(reference.read(tmp_path), STRICT, "fp32").of(Runs(engine), "onnxruntime", MAX_BATCH)
        assert reason in evidence.reason
        assert evidence.passed == (engine is total)
    assert {"shorter rows", "longer rows"} <= set(evidence.cases)


def test_equal_outputs_pass_and_every_case_was_tried(proven: Any) -> None:
    evidence = proven(linear)
    assert evidence.passed
    assert (evidence.rows, evidence.agreement, evidence.max_abs_error, evidence.reason) == (32, 1.0, 0.0, "")
    assert evidence.cases == (
        "a batch of 1",
        "a batch of 2",
        "a batch of 16",
        "a strided batch of 1",
        "a strided batch of 2",
        "a strided batch of 16",
        "sample",
        "zeros",
        "extremes",
    )


def test_no_batch_is_larger_than_the_service_makes_and_strided_ones_are_strided(proven: Any) -> None:
    seen: set[tuple[int, bool]] = set()

    def watching(x: Arrays) -> Arrays:
        seen.add((len(x["x"]), x["x"].flags.c_contiguous))
        return linear(x)

    proven(watching)
    assert {n for n, _ in seen} == {1, 2, 4, 16}
    assert {n for n, contiguous in seen if not contiguous} == {1, 2, 16}


def test_every_output_has_its_own_evidence(proven: Any) -> None:
    def off(x: Arrays) -> Arrays:
        return {**linear(x), "total": linear(x)["total"] + 1e-4}

    evidence = proven(off)
    heads = {h.name: h for h in evidence.heads}
    assert list(heads) == ["scores", "total", "first"]
    assert heads["scores"].max_abs_error == 0.0
    assert heads["total"].max_abs_error == pytest.approx(1e-4)
    assert heads["total"].mean_abs_error == pytest.approx(1e-4)
    assert 0 < heads["total"].relative_error < 1e-3
    assert (evidence.worst_output, evidence.relative_error) == ("total", heads["total"].relative_error)


def corrupted_weight(x: Arrays) -> Arrays:
    weights = WEIGHTS.copy()
    weights[1, 0] += 0.01
    scores = x["x"] @ weights
    return {"scores": scores, "total": scores.sum(axis=1), "first": x["x"][:, 0] - 3.0}


def swapped(x: Arrays) -> Arrays:
    y = linear(x)
    return {**y, "total": y["first"], "first": y["total"]}


def other_constant(x: Arrays) -> Arrays:
    return {**linear(x), "first": x["x"][:, 0] - 3.1}


def first_row_only(x: Arrays) -> Arrays:
    return linear({"x": np.repeat(x["x"][:1], len(x["x"]), axis=0)})


def contiguous_only(x: Arrays) -> Arrays:
    return linear(x if x["x"].flags.c_contiguous else {"x": x["x"] + 1})


def full_batches_wrong(x: Arrays) -> Arrays:
    return linear({"x": x["x"] * 2} if len(x["x"]) == MAX_BATCH else x)


def frozen(x: Arrays) -> Arrays:
    if len(x["x"]) != 1:
        raise RuntimeError("expected 1")
    return linear(x)


def small_at_zero(x: Arrays) -> Arrays:
    return {**linear(x), "first": np.where(x["x"].any(axis=1), linear(x)["first"], 0.0)}


def saturating(x: Arrays) -> Arrays:
    return {**linear(x), "first": np.clip(linear(x)["first"], -8, 8)}


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (corrupted_weight, r"output '(scores|total)', row 0.*: the source says \S+, onnxruntime says"),
        (swapped, r"the outputs 'total' and 'first' are swapped \(seen with a batch of 1\)"),
        (other_constant, r"output 'first', row 0: .*they differ by 0\.1, "),
        (first_row_only, r"row 1.* \(seen with a batch of 2; a batch of 1 was right\)"),
        (contiguous_only, r"\(seen with a strided batch of 1; a batch of 1 was right\)"),
        (full_batches_wrong, r"\(seen with a batch of 16; a batch of 1 was right\)"),
        (frozen, r"does not answer 2 rows: its batch dimension is frozen, or RuntimeError: expected 1"),
        (small_at_zero, r"output 'first', row 0: .* \(seen with zeros; a batch of 1 was right\)"),
        (saturating, r"output 'first', row \d: .* \(seen with extremes; a batch of 1 was right\)"),
    ],
)
def test_what_is_wrong_in_one_way_is_refused_with_the_sentence_that_names_it(
    engine: Run, sentence: str, proven: Any
) -> None:
    evidence = proven(engine)
    assert not evidence.passed
    assert re.search(sentence, evidence.reason), evidence.reason


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda n, _c: n == 1, r"output 'label', row 0: .*\(seen with a batch of 1; a batch of 2 was right\)"),
        (lambda n, _c: n == 2, r"output 'label', row \d: .*\(seen with a batch of 2; a batch of 1 was right\)"),
        (lambda n, c: n == 2 and not c, r"\(seen with a strided batch of 2; a batch of 1 was right\)"),
        (lambda n, _c: n > 2, r"of the rows get the same label, 99\.90% must; .*; a batch of 1 was right\)"),
    ],
)
def test_labels_are_held_in_every_batch_size_and_layout(wrong: Any, sentence: str, proven: Any) -> None:
    """A model that answers nothing but labels has no numbers that would show it."""

    def engine(x: Arrays) -> Arrays:
        found = labels(x)["label"]
        return {"label": 1 - found if wrong(len(found), x["x"].flags.c_contiguous) else found}

    evidence = proven(engine, labels)
    assert not evidence.passed
    assert re.search(sentence, evidence.reason), evidence.reason
    for precision in ("int8", "fp16"):
        assert not proven(engine, labels, precision).passed


def test_a_label_that_int8_changes_is_no_reason_where_the_share_is_allowed(proven: Any) -> None:
    """The first row of the example is one of the few: in a batch of 1 it is all there is."""

    def engine(x: Arrays) -> Arrays:
        found = labels(x)["label"].copy()
        first = model().about.example["x"][0]
        found[(x["x"] == first).all(axis=1)] ^= 1
        return {"label": found}

    assert proven(engine, labels, "int8", min_agreement=0.9).passed
    assert not proven(engine, labels, "int8", min_agreement=0.99).passed


def test_swapped_outputs_of_other_kinds_are_named_too(proven: Any) -> None:
    def source(x: Arrays) -> Arrays:
        return {**labels(x), "scores": x["x"] @ WEIGHTS}

    def engine(x: Arrays) -> Arrays:
        return {"label": source(x)["scores"], "scores": source(x)["label"]}

    assert proven(engine, source).reason.startswith("the outputs 'label' and 'scores' are swapped")


def test_the_worst_row_is_kept_with_its_inputs(proven: Any) -> None:
    def off(x: Arrays) -> Arrays:
        y = linear(x)
        y["first"] = np.where(np.abs(y["first"]) > 4.5, y["first"] + 1, y["first"])
        return y

    evidence = proven(off)
    worst = evidence.worst
    assert worst["output"] == "first"
    assert worst["compiled"] - worst["source"] == pytest.approx(1)
    assert worst["source"] == pytest.approx(worst["inputs"]["x"][0] - 3)
    assert json.loads(json.dumps(asdict(evidence)))["worst"] == worst


@pytest.mark.parametrize("precision", ["int8", "fp16", "bf16"])
def test_lower_precisions_are_judged_by_margin_and_agreement(precision: Precision, proven: Any) -> None:
    def near(share: float) -> Run:
        def engine(x: Arrays) -> Arrays:
            y = linear(x)
            return {name: value + share * np.abs(value).max() for name, value in y.items()}

        return engine

    assert not proven(near(0.02)).passed
    assert proven(near(0.02), precision=precision).passed
    refused = proven(near(0.2), precision=precision)
    assert "is allowed" in refused.reason
    assert proven(near(0.2), precision=precision, margin=0.3).passed


def test_agreement_is_judged_where_the_margin_lets_values_pass(proven: Any) -> None:
    """Two scores near one another change places: the error is small, the label another one."""

    def source(x: Arrays) -> Arrays:
        p = 0.5 + 0.02 * np.sign(x["x"][:, :1])
        return {"probabilities": np.concatenate([p, 1 - p], axis=1)}

    def engine(x: Arrays) -> Arrays:
        return {"probabilities": source(x)["probabilities"][:, ::-1].copy()}

    evidence = proven(engine, source, "int8", margin=0.1)
    assert evidence.agreement == 0.0
    assert "0.00% of the rows get the same label, 99.90% must; for example output 'probabilities'" in evidence.reason
    assert evidence.worst_output == "probabilities"


def test_equal_scores_name_no_label(proven: Any) -> None:
    """Rounding decides between them, in the source too."""

    def source(x: Arrays) -> Arrays:
        return {"scores": np.zeros((len(x["x"]), 2))}

    def engine(x: Arrays) -> Arrays:
        return {"scores": np.tile([0.0, 1e-7], (len(x["x"]), 1))}

    assert proven(engine, source).agreement == 1.0


def test_a_failing_label_is_the_worst_output_whatever_the_numbers(proven: Any) -> None:
    def source(x: Arrays) -> Arrays:
        return {**linear(x), **labels(x)}

    def engine(x: Arrays) -> Arrays:
        return {**linear(x), "total": linear(x)["total"] + 1e-6, "label": 1 - labels(x)["label"]}

    assert proven(engine, source).worst_output == "label"


def test_an_engine_that_answers_nothing_at_all(proven: Any) -> None:
    def broken(_x: Arrays) -> Arrays:
        raise OSError

    evidence = proven(broken)
    assert (evidence.passed, evidence.agreement, evidence.max_abs_error) == (False, 0.0, float("inf"))
    assert evidence.cases == ()


def test_a_missing_output_is_refused(proven: Any) -> None:
    def engine(x: Arrays) -> Arrays:
        return {"scores": linear(x)["scores"]}

    reason = proven(engine).reason
    assert reason.startswith(
        "the source answers the outputs ['first', 'scores', 'total'], onnxruntime answers ['scores']"
    )


OPTIONAL = (Input("a", "float64", (-1,), column=True), Input("b", "float64", (-1,), column=True, required=False))


def columns(run: Run, inputs: tuple[Input, ...] = OPTIONAL) -> Model:
    rng = np.random.default_rng(2)
    found = model(run, inputs=inputs)
    return replace(found, about=replace(found.about, example={"a": rng.normal(size=5), "b": rng.normal(size=5)}))


def filled(x: Arrays) -> Arrays:
    return {"y": x["a"] + np.nan_to_num(x["b"], nan=9.0)}


@pytest.mark.parametrize(
    ("run", "required", "tried"),
    [
        (filled, False, True),
        (filled, True, False),
        (lambda x: {"y": x["a"] + x["b"]}, False, True),  # the rows without a gap are left
        (lambda x: {"y": filled(x)["y"] if not np.isnan(x["b"]).any() else 1 / 0}, False, False),
    ],
    ids=["accepted", "required", "answered with NaN", "refused"],
)
def test_missing_values_are_tried_where_they_may_come_and_the_source_answers(
    run: Run, required: Any, tried: Any, tmp_path: Path
) -> None:
    inputs = (OPTIONAL[0], replace(OPTIONAL[1], required=required))
    reference.write(columns(run, inputs), STRICT, MAX_BATCH, tmp_path)
    _, edges = reference.read(tmp_path)
    assert ("missing values" in {e.name for e in edges}) is tried


def test_an_engine_that_fills_gaps_in_another_way_is_refused(tmp_path: Path) -> None:
    reference.write(columns(filled), STRICT, MAX_BATCH, tmp_path)
    engine = Runs(lambda x: {"y": x["a"] + np.nan_to_num(x["b"])})
    evidence = Proof(reference.read(tmp_path), STRICT, "fp32").of(engine, "onnxruntime", MAX_BATCH)
    assert "(seen with missing values; a batch of 1 was right)" in evidence.reason


def test_an_edge_that_only_the_source_answers(proven: Any) -> None:
    def refusing(x: Arrays) -> Arrays:
        if np.abs(x["x"]).max() > 8:
            raise ValueError("out of range")
        return linear(x)

    assert proven(refusing).reason == (
        "onnxruntime does not answer extremes, which the source does: ValueError: out of range"
    )


def test_a_source_with_a_frozen_batch_is_refused_with_what_to_do(tmp_path: Path) -> None:
    def one(x: Arrays) -> Arrays:
        assert len(x["x"]) == 1, "Guard failed: x.size()[0] == 1"
        return linear(x)

    with pytest.raises(Unservable) as refused:
        reference.write(model(one, rows=1), STRICT, MAX_BATCH, tmp_path)
    assert "fraud version 3 does not answer 16 rows like those of its input example, which has 1" in str(refused.value)
    assert "batch dimension is frozen, log it again with an input example of two rows or more" in str(refused.value)
    assert not (tmp_path / reference.FILE).exists()


def test_rows_that_influence_one_another_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unservable, match="answers the same row differently in batches of 1 and in larger ones"):
        reference.write(model(lambda x: {"y": x["x"].sum(axis=1) - x["x"].mean()}), STRICT, MAX_BATCH, tmp_path)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (lambda x: {"y": x["x"].mean()}, r"output 'y' has shape \[\] for 16 rows; its first dimension must be the row"),
        (lambda _x: {}, "it has no outputs"),
    ],
)
def test_outputs_that_have_no_rows_are_refused(run: Run, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(Unservable, match=sentence):
        reference.write(model(run), STRICT, MAX_BATCH, tmp_path)


def test_a_source_that_changes_its_inputs_does_not_change_the_case(proven: Any) -> None:
    def rude(x: Arrays) -> Arrays:
        x["x"] -= 3.0
        return {"y": x["x"][:, 0]}

    assert proven(lambda x: {"y": x["x"][:, 0] - 3.0}, rude).passed


def test_labels_agree_by_share(proven: Any) -> None:
    def engine(wrong: int) -> Run:
        counted: Mapping[str, int] = {"left": wrong}

        def run(x: Arrays) -> Arrays:
            found = labels(x)["label"].copy()
            if len(found) == MAX_BATCH:
                found[3 : 3 + counted["left"]] ^= 1
            return {"label": found}

        return run

    assert proven(engine(1), labels, min_agreement=0.93).passed
    refused = proven(engine(2), labels, min_agreement=0.93)
    assert "87.50% of the rows get the same label, 93.00% must" in refused.reason
    assert refused.agreement == 0.875
