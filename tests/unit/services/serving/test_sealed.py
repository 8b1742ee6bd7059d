"""What was packaged is what is loaded: every other file, byte, link or mode is refused before anything is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.services.serving import sealed

Harm = Callable[[Path], object]


@pytest.fixture
def entry(tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "entry"
    (folder / "fallback").mkdir(parents=True)
    for name in ("model.onnx", "manifest.json", "service.json", "fallback/model.pkl"):
        (folder / name).write_text(f"what {name} holds")
    (tmp_path / "elsewhere").write_text("what model.onnx holds")
    seal = sealed.write(folder)
    (folder / "model.yaml").write_text("BentoML's own")
    return folder, seal


def test_what_was_packaged_passes(entry: tuple[Path, str]) -> None:
    folder, seal = entry
    sealed.check(folder, seal)
    assert sealed.read(folder, "service.json", seal) == b"what service.json holds"


def _link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


HARMS: dict[str, tuple[Harm, str]] = {
    "one byte": (lambda f: (f / "model.onnx").write_text("What model.onnx holds"), "model.onnx has other bytes"),
    "truncated": (lambda f: os.truncate(f / "fallback/model.pkl", 3), "fallback/model.pkl has other bytes"),
    "missing": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "one more": (lambda f: (f / "sitecustomize.py").write_text("x"), "sitecustomize.py was not packaged"),
    "a link to the same bytes": (lambda f: _link(f / "model.onnx", f.parent / "elsewhere"), "model.onnx is a link"),
    "a folder that is a link": (lambda f: (f / "more").symlink_to("/tmp"), "more is a link"),  # noqa: S108
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "pipe is no plain file"),
    "everybody's": (lambda f: (f / "model.onnx").chmod(0o666), "everybody may write to model.onnx in "),
    "another list": (lambda f: (f / sealed.LIST).write_text("{}"), f"{sealed.LIST} has other bytes"),
    "no list": (lambda f: (f / sealed.LIST).unlink(), f"{sealed.LIST} is missing"),
    "a name that leads out": (
        lambda f: (f / sealed.LIST).write_text('{"../elsewhere": "0"}'),
        f"{sealed.LIST} has other bytes",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_anything_else_is_refused_with_its_name(entry: tuple[Path, str], harm: str) -> None:
    folder, seal = entry
    do, sentence = HARMS[harm]
    do(folder)
    with pytest.raises(sealed.Changed) as refused:
        sealed.check(folder, seal)
    assert str(refused.value).startswith(sentence)
    assert str(folder) in str(refused.value)


def test_one_file_is_read_only_as_it_was(entry: tuple[Path, str]) -> None:
    folder, seal = entry
    (folder / "service.json").write_text("{}")
    with pytest.raises(sealed.Changed, match=r"service\.json has other bytes"):
        sealed.read(folder, "service.json", seal)


def test_what_was_made_under_a_umask_that_allows_everything_is_closed_before_it_is_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "entry"
    before = os.umask(0)
    try:
        (folder / "fallback").mkdir(parents=True)
        (folder / "fallback" / "model.pkl").write_text("x")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o777
    sealed.check(folder, sealed.write(folder))
    assert not any(path.stat().st_mode & 0o002 for path in (folder, *folder.rglob("*")))


def test_a_mode_is_no_change_and_its_sentence_says_what_to_do(entry: tuple[Path, str]) -> None:
    folder, seal = entry
    (folder / "model.onnx").chmod(0o666)
    with pytest.raises(sealed.Changed, match=r"Say `chmod -R o-w /.*entry`") as refused:
        sealed.check(folder, seal)
    assert "not what was packaged" not in str(refused.value)
    (folder / "model.onnx").chmod(0o644)
    sealed.check(folder, seal)
