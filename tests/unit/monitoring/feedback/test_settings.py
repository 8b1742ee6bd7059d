"""`settings.json`, while somebody changes it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lockgate.monitoring.feedback.settings import Settings, Watched

GOOD: dict[str, Any] = {
    "metrics": {"conversion": {"kind": "binary"}, "revenue": {"kind": "continuous"}},
    "key": "00ff",
    "keep": 60,
    "header": "X-User-Id",
}


def written(path: Path, **changed: Any) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({**GOOD, **changed}))
    new.replace(path)


def test_what_it_says(tmp_path: Path) -> None:
    written(tmp_path / "s.json")
    kinds = {"conversion": "binary", "revenue": "continuous"}
    assert Watched(tmp_path / "s.json").now() == Settings(kinds, b"\x00\xff", 60.0, "x-user-id", 2**30)
    written(tmp_path / "s.json", max_size=5000)
    assert Watched(tmp_path / "s.json").now() == Settings(kinds, b"\x00\xff", 60.0, "x-user-id", 5000)


def test_changes_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    watched = Watched(path)
    assert watched.now() is None
    for keep in (60, 61, 62):
        written(path, keep=keep)
        found = watched.now()
        assert found is not None
        assert found.keep == keep


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b"\xff",
        *(
            json.dumps({**GOOD, name: value}).encode()
            for name, value in [
                ("metrics", None),
                ("metrics", {"a": "binary"}),
                ("metrics", {"a": {"kind": "ternary"}}),
                ("key", "zz"),
                ("key", ""),
                ("key", None),
                ("key", "00" * 65),
                ("keep", 0),
                ("keep", "7d"),
                ("keep", True),
                ("keep", float("inf")),
                ("header", None),
                ("max_size", 0),
                ("max_size", "1GiB"),
                ("max_size", True),
            ]
        ),
    ],
)
def test_a_broken_file_keeps_the_last_good_one_and_is_told_once(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.json"
    written(path)
    watched = Watched(path)
    good = watched.now()
    path.write_bytes(text)
    assert good is not None
    assert watched.now() == watched.now() == good
    os.utime(path, ns=(1, 1))
    assert watched.now() == good
    assert len(caplog.messages) == 1
    assert "what it said before still holds" in caplog.text
    assert "00ff" not in caplog.text
    path.unlink()
    assert watched.now() == good
    assert len(caplog.messages) == 2
    written(path, keep=61)
    assert watched.now() != good
