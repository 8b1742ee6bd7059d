"""The requests that a replica asks itself: for every kind of signature they are answered, or there are none."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.rehearsal import rehearse, requests_of
from lockgate.services.serving.schema import Schema

ABOUT = About("fraud", "7", "d1ge57", "onnxruntime", "fp32", "proven on hardware like this", "5pec", "fraud:1", "r1")
LIMITS = Limits(timeout=5, max_body=2**20, max_batch=8, max_wait=0, max_queue=64, inline_rows=32)
SCORES = {"scores": np.array([[0.5, 0.25]], "float32")}


def tensor(name: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "name": name, "tensor-spec": {"dtype": "float32", "shape": [-1, *shape]}}


def column(name: str, kind: str, *, required: bool = True) -> dict[str, Any]:
    return {"type": kind, "name": name, "required": required}


ROWS = np.ones((4, 3), "float32")
NUMBERS, TEXTS = np.arange(4.0), np.array(["a", "b", "c", "d"], object)
TIMES = np.array(["2026-01-31"] * 4, "datetime64[ns]")
MISSING = np.array([np.nan, 1, 2, 3])
KINDS = {
    "a tensor": ([tensor("x", 3)], {"x": ROWS}, 3),
    "two tensors": ([tensor("x", 3), tensor("y")], {"x": ROWS, "y": ROWS[:, 0]}, 2),
    "an image": ([tensor("x", 64, 64)], {"x": np.ones((4, 64, 64), "float32")}, 2),  # too long for an example
    "numbers": ([column("a", "double"), column("b", "double")], {"a": NUMBERS, "b": NUMBERS}, 3),
    "texts and times": ([column("a", "string"), column("t", "datetime")], {"a": TEXTS, "t": TIMES}, 1),
    "a missing value": ([column("a", "double", required=False)], {"a": MISSING}, 1),
    "a huge row": ([tensor("x", 600, 600)], {"x": np.ones((1, 600, 600), "float32")}, 0),
}


@pytest.mark.parametrize(("items", "few", "forms"), KINDS.values(), ids=KINDS)
def test_every_form_that_the_model_takes_is_answered(items: Any, few: Any, forms: int) -> None:
    schema = Schema.of(items)
    assert len(list(requests_of(schema, "fraud", few))) == forms
    statuses = rehearse(schema, ABOUT, LIMITS, few, SCORES)
    assert len(statuses) == 30 * forms  # ten times at once, on the event loop, and through the queue
    assert set(statuses) <= {200}


def test_a_fast_engines_way_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `wire` asks: at the address that was sent."""
    urls: list[bytes] = []
    at_once = Core.at_once

    def seen(self: Core, scope: Any, body: bytes, url: bytes) -> Any:
        urls.append(url)
        return at_once(self, scope, body, url)

    monkeypatch.setattr(Core, "at_once", seen)
    about = replace(ABOUT, model="my model")
    assert set(rehearse(Schema.of([tensor("x", 3)]), about, LIMITS, {"x": ROWS}, SCORES)) == {200}
    assert set(urls) == {b"/predict", b"/v2/models/my%20model/infer"}


def test_what_the_model_cannot_answer_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    nan = {"scores": np.array([[np.nan]], "float32")}
    assert set(rehearse(Schema.of([tensor("x", 3)]), ABOUT, LIMITS, {"x": ROWS}, nan)) == {500}
    ((_, level, said),) = caplog.record_tuples
    assert level == logging.WARNING
    assert "all 90 requests that the replica made of the model's input example were answered 500" in said


def test_a_rehearsal_that_breaks_off_is_a_warning_and_the_replica_starts(caplog: pytest.LogCaptureFixture) -> None:
    assert rehearse(Schema.of([tensor("x", 3)]), ABOUT, LIMITS, {"x": None}, SCORES) == []  # type: ignore[dict-item]
    ((_, level, said),) = caplog.record_tuples
    assert level == logging.WARNING
    assert "the rehearsal of the first requests broke off" in said
    assert "TypeError at " in said


def test_a_rehearsal_waits_for_no_batch(caplog: pytest.LogCaptureFixture) -> None:
    patient = replace(LIMITS, max_wait=3600.0)
    assert set(rehearse(Schema.of([tensor("x", 3)]), ABOUT, patient, {"x": ROWS}, SCORES)) == {200}
    assert not caplog.records
