"""Real replicas of a bento whose artifact was proven on a machine that is not this one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lockgate.services.errors import NotReady
from lockgate.services.local import LocalPlatform
from lockgate.services.serving import sealed
from lockgate.services.words import Bento

Moved = Callable[..., Path]


@pytest.fixture
def moved(bento: Bento, bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Moved:
    """The entry of the bento as another machine made it; keywords change its manifest."""

    def move(**changed: Any) -> Path:
        home = tmp_path / "home"
        shutil.copytree(bentoml_home, home, ignore=shutil.ignore_patterns("prometheus*", "tmp"))
        monkeypatch.setenv("BENTOML_HOME", str(home))
        entry = home / "models" / bento.tag.replace(":", "/")
        manifest = json.loads((entry / "manifest.json").read_text())
        manifest["fingerprint"]["cpu"] = [*manifest["fingerprint"]["cpu"], "avx9000"]
        (entry / "manifest.json").write_text(json.dumps({**manifest, **changed}))
        seal(entry)
        return entry

    return move


def seal(entry: Path) -> None:
    """As packaging there would have done it: the seal on the model's files is among the bento's arguments."""
    home, tag = entry.parents[2], Path(entry.parent.name, entry.name)
    before = hashlib.sha256((entry / sealed.LIST).read_bytes()).hexdigest()
    document = home / "bentos" / tag / "bento.yaml"
    text = document.read_text()
    assert before in text
    document.write_text(text.replace(before, sealed.write(entry)))


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    found = LocalPlatform(tmp_path / "platform", 90)
    yield found
    found.stop(found.replicas())


def served(platform: LocalPlatform, bento: Bento) -> httpx.Client:
    (replica,) = platform.start(replace(bento, seal=""), 1)  # this machine has not seen it before
    return httpx.Client(base_url=f"http://127.0.0.1:{replica.port}", trust_env=False, timeout=20)


def test_a_portable_artifact_is_proven_again_and_info_says_so(
    moved: Moved, platform: LocalPlatform, bento: Bento, make: Any
) -> None:
    moved()
    with served(platform, bento) as client:
        info = client.get("/info").json()
        assert (info["target"], info["precision"]) == ("onnxruntime", "fp32")
        assert info["proof"] == "compiled and proven again on this machine (a processor without avx9000)"
        assert client.post("/predict", json={"inputs": make.torch_example()["x"].tolist()}).status_code == 200


def test_machine_code_gives_way_to_the_proven_fallback(
    moved: Moved, platform: LocalPlatform, bento: Bento, make: Any, classifier: Any
) -> None:
    entry = moved()
    shutil.copytree(entry, entry.parent / "fallback", ignore=shutil.ignore_patterns("reference"))
    (entry.parent / "fallback").rename(entry / "fallback")
    manifest = json.loads((entry / "manifest.json").read_text())
    (entry / "manifest.json").write_text(json.dumps({**manifest, "target": "aotinductor", "portable": False}))
    seal(entry)
    with served(platform, bento) as client:
        info = client.get("/info").json()
        assert info["target"] == "onnxruntime"
        assert info["proof"].endswith("aotinductor fp32 holds machine code of the hardware it was proven on")
        example = make.torch_example()
        answer = client.post("/predict", json={"inputs": example["x"].tolist()}).json()["outputs"]["output"]
    from lockgate.services.opened import opened

    np.testing.assert_allclose(answer, opened(classifier, make.TRUSTING).run(example)["output"], rtol=1e-4)


def test_machine_code_alone_is_never_run(moved: Moved, platform: LocalPlatform, bento: Bento) -> None:
    moved(portable=False)
    with pytest.raises(NotReady) as refused:
        platform.start(replace(bento, seal=""), 1)
    sentence = str(refused.value)
    assert "this model cannot be served: NotProven: this machine is not like the one where the artifact" in sentence
    assert "onnxruntime fp32 holds machine code of the hardware it was proven on" in sentence
    assert platform.replicas() == []
