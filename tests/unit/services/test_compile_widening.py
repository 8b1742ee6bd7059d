"""The copy of an artifact that is served with more threads: of those bytes that were proven, and of no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockgate.services.compile import making
from lockgate.services.compile.cache import of_folder
from lockgate.services.compile.errors import Lost
from lockgate.services.compile.widening import settle


def artifact(folder: Path, weights: bytes) -> tuple[Path, str]:
    folder.mkdir()
    (folder / making.MANIFEST).write_text(json.dumps({"engine": "toy", "threads": 1}))
    (folder / "weights").write_bytes(weights)
    return folder, of_folder(folder)


def test_an_artifact_that_was_built_again_gets_a_copy_of_its_own(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for weights in (b"old", b"new", b"old"):
        base = artifact(tmp_path / "base", weights)
        place, digest = settle(base, 2, cache, "key")
        assert digest == of_folder(place) != base[1]
        assert (place / "weights").read_bytes() == weights
        assert making.manifest(place) == {"engine": "toy", "threads": 2}
        for file in base[0].iterdir():
            file.unlink()
        base[0].rmdir()
    assert len([made for made in cache.iterdir() if made.is_dir()]) == 2


def test_what_changed_after_it_was_proven_is_not_copied(tmp_path: Path) -> None:
    place, digest = artifact(tmp_path / "base", b"proven")
    (place / "weights").write_bytes(b"other")
    with pytest.raises(Lost, match="changed since they were proven"):
        settle((place, digest), 2, tmp_path / "cache", "key")
    assert not [made for made in (tmp_path / "cache").iterdir() if made.is_dir()]
