"""Files that changed after they were packaged: no replica starts, and a sentence names what changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.services.errors import NotReady, PackagingFailed
from lockgate.services.local import LocalPlatform
from lockgate.services.package import package


@pytest.fixture
def store(bento: Any, bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test's own, which it may harm; returns the bento's path in both of its halves."""
    path = bento.tag.replace(":", "/")
    for half in ("bentos", "models"):
        shutil.copytree(bentoml_home / half / path, tmp_path / "bentoml" / half / path, symlinks=True)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return tmp_path / "bentoml"


def other_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_replica_loads_no_model_with_another_byte_nor_starts_code_that_changed(
    store: Path, bento: Any, tmp_path: Path
) -> None:
    platform, path = LocalPlatform(tmp_path / "platform", 90), bento.tag.replace(":", "/")
    other_byte(store / "models" / path / "model.onnx")
    with pytest.raises(NotReady, match=r"this model cannot be served: Changed: model\.onnx has other bytes in"):
        platform.start(bento, 1)
    assert platform.replicas() == []

    other_byte(store / "models" / path / "model.onnx")  # as it was
    code = store / "bentos" / path / "src" / "lockgate_services" / "serving"
    planted = code / "__pycache__" / "service.cpython-311.pyc"
    planted.parent.mkdir(exist_ok=True)
    planted.write_bytes(b"planted")
    (one,) = platform.start(bento, 1)
    assert not planted.exists() or planted.read_bytes() != b"planted"
    platform.stop([one])

    (code / "core.py").write_text((code / "core.py").read_text() + "\n")
    for again in (bento, replace(bento, seal="")):  # also by a process that has nothing but the tag
        with pytest.raises(NotReady, match=r"is not what was packaged: its files in .* changed"):
            platform.start(again, 1)
    assert platform.replicas() == []


def test_nobody_else_may_write_to_what_was_packaged_whatever_the_umask_was(store: Path, bento: Any) -> None:
    for half in ("bentos", "models"):
        made = store / half / bento.tag.replace(":", "/")
        assert [path for path in (made, *made.rglob("*")) if path.lstat().st_mode & 0o002] == []


def test_an_artifact_that_changed_after_it_was_proven_is_not_packaged(
    make: Any, classifier: Any, cache: Path, store: Path, tmp_path: Path
) -> None:
    spec = make.spec_for("onnxruntime", max_body="64KiB")
    found = make.compiled(classifier, spec, cache)
    changed = Path(shutil.copytree(found.chosen.path, tmp_path / "changed"))
    other_byte(changed / "model.onnx")
    found = replace(found, chosen=replace(found.chosen, path=changed))
    with pytest.raises(PackagingFailed, match="changed after it was proven; delete it"):
        package(classifier, found, name="changed", spec=spec, spec_hash="h")
    assert not (store / "bentos" / "changed").exists()
