"""`capture.json` is followed, and a bad one changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lockgate.services.serving.capture_settings import Settings, Watched, parse

GOOD = {"sample": 0.5, "keep": 60, "max_size": 1024, "redact": {"age": "hash"}, "sticky": "X-User", "key": "00ff"}


def test_what_the_file_says() -> None:
    found = parse(json.dumps(GOOD).encode())
    assert found == Settings(0.5, 60.0, 1024, {"age": "hash"}, b"x-user", b"\x00\xff")


@pytest.mark.parametrize(
    "change",
    [
        *({"sample": bad} for bad in (1.5, -0.1, True, "1", None, float("nan"))),
        {"keep": -1},
        {"max_size": None},
        {"redact": {"age": "hide"}},
        {"redact": ["age"]},
        {"sticky": 3},
        {"key": ""},
        {"key": "xyz"},
        {"key": 5},
        {"key": "00" * 65},
    ],
)
def test_what_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        parse(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("name", GOOD)
def test_nothing_may_be_left_out(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse(json.dumps({k: v for k, v in GOOD.items() if k != name}).encode())


def test_a_bad_file_changes_nothing_and_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "capture.json"
    watched = Watched(path)
    assert not watched.look()
    assert watched.now is None
    path.write_text(json.dumps(GOOD))
    assert watched.look()
    good = watched.now
    assert not watched.look()
    for _ in range(3):
        path.write_text('{"sample": 7')
        assert not watched.look()
        assert watched.now == good
    assert len(caplog.messages) == 1
    assert "what it said before still holds" in caplog.text
    path.write_text(json.dumps({**GOOD, "sample": 0.25}))
    assert watched.look()
    assert watched.now is not None
    assert watched.now.sample == 0.25
    path.unlink()
    assert watched.look()
    assert watched.now is None


def test_without_a_good_one_nothing_is_captured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "capture.json").write_text("[]")
    watched = Watched(tmp_path / "capture.json")
    assert not watched.look()
    assert watched.now is None
    assert "nothing is captured until it is mended" in caplog.text
