from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lockgate.registry.cache import ModelCache, digest_of
from lockgate.registry.errors import Unusable


def put(into: Path) -> Path:
    (into / "deep").mkdir()
    (into / "deep" / "b").write_bytes(b"two")
    (into / "a").write_bytes(b"one")
    return into


def test_the_digest_is_sha256sum_of_sha256sums(tmp_path: Path) -> None:
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in (("a", b"one"), ("deep/b", b"two"))
    )

    assert digest_of(put(tmp_path)) == hashlib.sha256(lines.encode()).hexdigest()


def test_names_count_as_much_as_contents(tmp_path: Path) -> None:
    before = digest_of(put(tmp_path))
    (tmp_path / "a").rename(tmp_path / "c")

    assert digest_of(tmp_path) != before


def test_a_download_may_lie_deeper_than_its_folder(tmp_path: Path) -> None:
    def deeper(into: Path) -> Path:
        (into / "x" / "y").mkdir(parents=True)
        return put(into / "x" / "y")

    cached = ModelCache(tmp_path).get("m version 1", "there", deeper)

    assert sorted(p.name for p in cached.path.iterdir()) == ["a", "deep"]
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    def fails(into: Path) -> Path:
        put(into)
        raise OSError("the disk is full")

    cache = ModelCache(tmp_path)
    with pytest.raises(OSError, match="disk is full"):
        cache.get("m version 1", "there", fails)

    for folder in ("models", "versions", "incoming"):
        assert list((tmp_path / folder).iterdir()) == []
    assert cache.get("m version 1", "there", put).path.is_dir()


def test_the_same_name_at_another_origin_is_another_model(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    calls: list[Path] = []

    def counted(into: Path) -> Path:
        calls.append(into)
        return put(into)

    for origin in ("here", "there", "here", "there"):
        cache.get("m version 1", origin, counted)

    assert len(calls) == 2


def test_a_link_is_not_the_file_that_it_leads_to(tmp_path: Path) -> None:
    """What it leads to may change after it was compared."""
    cache = ModelCache(tmp_path / "cache")
    here = cache.get("m version 1", "there", put).path
    (here / "a").rename(tmp_path / "a")
    (here / "a").symlink_to(tmp_path / "a")

    again = cache.get("m version 1", "there", put).path
    assert not (again / "a").is_symlink()

    (again / "code").symlink_to(tmp_path)
    assert not (cache.get("m version 1", "there", put).path / "code").exists()


def test_a_download_with_a_link_in_it_is_refused(tmp_path: Path) -> None:
    def linked(into: Path) -> Path:
        (put(into) / "code").symlink_to(tmp_path)
        return into

    with pytest.raises(Unusable, match="m version 1 has a link among its files, code: log the model again"):
        ModelCache(tmp_path / "cache").get("m version 1", "there", linked)


def test_only_its_owner_gets_into_the_cache(tmp_path: Path) -> None:
    ModelCache(tmp_path / "cache").get("m version 1", "there", put)

    modes = {folder.name: folder.stat().st_mode & 0o777 for folder in (tmp_path / "cache").iterdir()}
    assert modes == dict.fromkeys(("models", "versions", "incoming", "locks"), 0o700)
