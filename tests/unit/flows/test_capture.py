"""What replicas are told to capture."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lockgate.flows.capture import configure
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.services.serving.capture_settings import parse

DOCUMENT: Mapping[str, Any] = {
    "name": "fraud",
    "model": {"name": "fraud-detector"},
    "rollout": {
        "traffic": {"sticky": {"header": "X-Account"}},
        "steps": [{"canary": {"weight": 5}}],
        "gates": {"errors": {"metric": "error_rate"}},
    },
    "monitoring": {"capture": {"sample": "25%", "keep": "2h", "max_size": "5MiB"}, "redact": {"age": "hash"}},
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, "")


def spec(**monitoring: Any) -> Spec:
    return Spec.model_validate({**DOCUMENT, "monitoring": {**DOCUMENT["monitoring"], **monitoring}})


def test_the_spec_in_the_words_of_replicas(home: Home) -> None:
    folder = configure(home, spec())
    assert folder == home.capture("fraud")
    found = parse((folder / "capture.json").read_bytes())
    assert (found.sample, found.keep, found.max_size) == (0.25, 7200.0, 5 * 2**20)
    assert (found.redact, found.sticky, len(found.key)) == ({"age": "hash"}, b"x-account", 32)


def test_nobody_else_reads_the_key(home: Home) -> None:
    folder = configure(home, spec())
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "capture.json")]
    assert modes == [0o700, 0o600]


def test_the_key_stays_when_the_spec_changes(home: Home) -> None:
    file = configure(home, spec()) / "capture.json"
    before = json.loads(file.read_text())
    configure(home, spec(redact={}))
    after = json.loads(file.read_text())
    assert (before["key"], before["redact"], after["redact"]) == (after["key"], {"age": "hash"}, {})


def test_an_unchanged_spec_writes_nothing(home: Home) -> None:
    """Replicas end their file whenever the settings are written anew."""
    file = configure(home, spec()) / "capture.json"
    before = file.stat()
    configure(home, spec())
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("text", ["", "[]", '{"key": 5}', '{"key": "abc"}', '{"key": ""}'])
def test_a_damaged_file_is_written_anew(home: Home, text: str) -> None:
    folder = home.capture("fraud")
    folder.mkdir(parents=True)
    (folder / "capture.json").write_text(text)
    configure(home, spec())
    assert len(parse((folder / "capture.json").read_bytes()).key) == 32


def test_several_controllers_at_the_first_start_agree_on_the_key(home: Home) -> None:
    def key(_: int) -> str:
        return str(json.loads((configure(home, spec()) / "capture.json").read_text())["key"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(key, range(32)))) == 1
