"""Evidently's page about a comparison, made by the process that makes it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.drift.judge import compare
from lockgate.monitoring.drift.profile import Profile, profile_of
from lockgate.monitoring.drift.reference import Rows
from lockgate.monitoring.drift.report import html
from lockgate.monitoring.drift.words import Window

if find_spec("evidently") is None:
    pytest.skip("Evidently is not installed", allow_module_level=True)

SCRIPT = "</script><script>alert(1)</script>"


def columns(n: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "age": rng.normal(40, 9, n),
        "gone": np.full(n, np.nan),
        "constant": np.ones(n),
        "infinite": np.where(rng.random(n) < 0.5, np.inf, 1.0),
        "job": np.array([f"job {i}" for i in rng.integers(0, 80, n)]),
        SCRIPT: np.where(rng.random(n) < 0.5, SCRIPT, "plain"),
        "note": np.array([" ".join(["word"] * i) + f" {j % 2000}" for j, i in enumerate(rng.integers(1, 9, n))]),
        "image": rng.normal(size=(n, 100)),
        "matrix": rng.normal(size=(n, 2)),
    }


@pytest.fixture(scope="module")
def given() -> tuple[Profile, Rows, Window]:
    before, now = columns(3000, 0), columns(12_000, 1)
    now["age"] = now["age"] * 2
    profile = profile_of(before, {"score": before["age"]}, redact=["nobody"])
    return profile, Rows(before, {"score": before["age"]}, 3000), Window(now, {"score": now["age"]}, 12_000)


def test_the_page_has_our_verdict_and_evidentlys_figures_and_needs_no_network(
    given: tuple[Profile, Rows, Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    comparison = compare(given[0], given[2])
    page = html(*given, comparison)
    assert isinstance(page, bytes), page
    text = page.decode()
    assert "1 of 10 inputs drifts: age; 1 severely" in text
    assert "<td class=severe>drifts severely</td>" in text
    assert "it alone decides" in text
    assert "PSI, decided by Lockgate" in text
    assert "Dataset Drift is" not in text  # Evidently's own word about the whole
    assert "<script>alert" not in text
    assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?https?:""", text)


def test_a_report_that_takes_too_long_is_a_sentence(given: tuple[Profile, Rows, Window]) -> None:
    found = html(*given, compare(given[0], given[2]), within=0.01)
    assert found == "there is no report: Evidently took longer than 0.01 s"


def test_a_report_that_breaks_is_a_sentence(
    given: tuple[Profile, Rows, Window], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evidently.py").write_text("raise RuntimeError('out of order')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = html(*given, compare(given[0], given[2]))
    assert found == ("there is no report: Evidently ended with code 1; its last words were: RuntimeError: out of order")


def test_nothing_to_draw_is_a_sentence(given: tuple[Profile, Rows, Window]) -> None:
    profile, rows, _ = given
    nothing = Window({"age": np.full(300, np.nan)}, rows=300)
    assert html(profile, rows, nothing, compare(profile, nothing)) == (
        "there is no report: no input has values on both sides"
    )
