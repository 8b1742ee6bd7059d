"""Artifacts by digest: what gives another one, what is thrown away, and that only whole ones are found."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.services.compile import cache
from lockgate.services.compile.words import About, Candidate, Limits, Objective, Options, Tolerance

ABOUT = About("fraud version 1", "d1", "sklearn", "", Path(), (), {})
FAST = Candidate("onnxruntime")
OPTIONS = Options((FAST,))


def key(about: About = ABOUT, candidate: Candidate = FAST, options: Options = OPTIONS) -> str:
    return cache.key(about, candidate, options)


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(replace(ABOUT, digest="d2")),
        lambda: key(candidate=Candidate("eager")),
        lambda: key(candidate=Candidate("onnxruntime", "int8")),
        lambda: key(options=replace(OPTIONS, device="cuda")),
        lambda: key(options=replace(OPTIONS, max_batch=8)),
        lambda: key(options=replace(OPTIONS, threads=2)),
        lambda: key(options=replace(OPTIONS, tolerance=Tolerance(rows=8))),
    ],
)
def test_what_an_artifact_is_made_from_gives_another_one(other: Callable[[], str]) -> None:
    assert other() != key()


@pytest.mark.parametrize(
    "same",
    [
        lambda: key(replace(ABOUT, name="fraud version 2")),
        lambda: key(options=replace(OPTIONS, candidates=(FAST, Candidate("eager")))),
        lambda: key(options=replace(OPTIONS, objective=Objective("memory"))),
        lambda: key(options=replace(OPTIONS, limits=Limits(1, 1), thorough=True)),
        lambda: key(options=replace(OPTIONS, tolerance=Tolerance(rtol=1.0))),
    ],
)
def test_what_only_judges_it_does_not(same: Callable[[], str]) -> None:
    assert same() == key()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu_features", lambda: frozenset({"avx9000"})),
        ("libraries", lambda _names: {"onnxruntime": "99"}),
        ("platform.machine", lambda: "riscv64"),
    ],
)
def test_another_machine_or_library_gives_another_one(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(f"lockgate.services.compile.fingerprint.{name}", value)
    assert key() != before


def built(folder: Path, text: str = "weights") -> Path:
    (folder / cache.ARTIFACT / "deep").mkdir(parents=True)
    (folder / cache.ARTIFACT / "deep" / "file").write_text(text)
    return folder


def test_stored_whole_and_found_again(tmp_path: Path) -> None:
    with cache.workshop(tmp_path, "k") as workshop:
        cache.store(built(workshop / "built"), tmp_path / "k", 1.5)
    found = cache.load(tmp_path / "k")
    assert found == {"digest": cache.of_folder(tmp_path / "k" / cache.ARTIFACT), "seconds": 1.5}
    assert cache.size_of(tmp_path / "k" / cache.ARTIFACT) == len("weights")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k", "k.lock"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda place: (place / cache.ARTIFACT / "deep" / "file").write_text("other"),
        lambda place: (place / cache.ARTIFACT / "deep" / "file").rename(place / cache.ARTIFACT / "file"),
        lambda place: (place / cache.ARTIFACT / "more").write_text(""),
        lambda place: (place / cache.MADE).write_text("{"),
        lambda place: (place / cache.MADE).write_text("[]"),
        lambda place: (place / cache.MADE).write_text("{}"),
        lambda place: (place / cache.MADE).unlink(),
    ],
)
def test_what_was_changed_is_thrown_away(harm: Callable[[Path], object], tmp_path: Path) -> None:
    with cache.workshop(tmp_path, "k") as workshop:
        cache.store(built(workshop / "built"), tmp_path / "k", 1.5)
    harm(tmp_path / "k")
    assert cache.load(tmp_path / "k") is None
    assert not (tmp_path / "k").exists()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), cache.workshop(tmp_path, "k") as workshop:
        built(workshop / "built")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["k.lock"]


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    digests = set()
    for folder, name, text in (("a", "x", "1"), ("b", "y", "1"), ("c", "x", "2"), ("d", "x", "1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
        digests.add(cache.of_folder(tmp_path / folder))
    assert len(digests) == 3


HOLD = """
import sys, time
from pathlib import Path
from lockgate.services.compile import cache
with cache.workshop(Path(sys.argv[1]), "k"):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_one_builder_at_a_time_and_a_killed_one_holds_up_nobody(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "mine\n"
        (left,) = tmp_path.glob("k.building-*")
        with cache.workshop(tmp_path, "other"):  # another name is free
            pass
        with (tmp_path / "k.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        builder.kill()
    assert left.exists()
    with cache.workshop(tmp_path, "k") as mine:
        assert list(tmp_path.glob("k.building-*")) == [mine]
