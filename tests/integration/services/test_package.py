"""Bentos: what is in them, and that plain `bentoml serve` starts them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from lockgate.services.compile.fingerprint import differences, of
from lockgate.services.compile.words import Tolerance
from lockgate.services.errors import PackagingFailed
from lockgate.services.opened import opened
from lockgate.services.package import package, packaged
from lockgate.services.spec import Parity


@pytest.fixture
def home(bentoml_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(bentoml_home))
    return bentoml_home


def bento_yaml(home: Path, tag: str) -> Any:
    return yaml.safe_load((home / "bentos" / tag.replace(":", "/") / "bento.yaml").read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_labels_versions_and_full_tags(bento: Any, home: Path) -> None:
    made = bento_yaml(home, bento.tag)
    assert made["labels"] == {
        "model": "fraud-detector",
        "version": "1",
        "digest": bento.digest,
        "target": "onnxruntime",
        "precision": "fp32",
        "spec-hash": "abc123",
    }
    assert [m["tag"] for m in made["models"]] == [bento.tag]
    assert made["args"]["store"] == bento.tag
    folder = home / "bentos" / bento.tag.replace(":", "/")
    needs = (folder / "env" / "python" / "requirements.txt").read_text().split()
    assert all("==" in need for need in needs)
    assert {n.partition("=")[0] for n in needs} >= {"bentoml", "httptools", "numpy", "orjson", "uvloop"}
    assert ":latest" not in (folder / "bento.yaml").read_text()


@pytest.mark.usefixtures("home")
def test_packaged_again_it_is_found_again(make: Any, classifier: Any, cache: Path, monkeypatch: Any) -> None:
    spec = make.spec_for("eager")
    found = make.compiled(classifier, spec, cache)
    first = package(classifier, found, name="again", spec=spec, spec_hash="h")
    with monkeypatch.context() as patch:
        patch.setattr("lockgate.services.package._build_apart", None)
        assert package(classifier, found, name="again", spec=spec, spec_hash="h") == first
        assert package(classifier, found, name="again", spec=spec, spec_hash="another spec") == first
    assert packaged(first.tag) == replace(first, seal="")
    assert packaged("again:absent") is None
    stricter = spec.model_copy(update={"compile": spec.compile.model_copy(update={"parity": Parity(rtol=1e-4)})})
    assert package(classifier, found, name="again", spec=stricter, spec_hash="h").tag != first.tag


def test_what_proves_it_again_travels_with_it(bento: Any, home: Path) -> None:
    entry = home / "models" / bento.tag.replace(":", "/")
    assert (entry / "reference" / "cases.npz").is_file()
    manifest = json.loads((entry / "manifest.json").read_text())
    assert differences(manifest["fingerprint"], of(manifest)) == []
    assert Tolerance(**json.loads((entry / "service.json").read_text())["tolerance"]) == Tolerance()


def test_a_failing_build_leaves_no_bento(make: Any, classifier: Any, cache: Path, home: Path, tmp_path: Path) -> None:
    spec = make.spec_for("eager")
    found = make.compiled(classifier, spec, cache)
    broken = Path(shutil.copytree(found.chosen.path, tmp_path / "broken"))
    (broken / "manifest.json").write_text("{}")
    found = replace(found, chosen=replace(found.chosen, path=broken))
    with pytest.raises(PackagingFailed, match="could not package the eager artifact"):
        package(classifier, found, name="broken", spec=spec, spec_hash="h")
    assert not (home / "bentos" / "broken").exists()
    assert not list(home.glob(".lockgate-broken-building-*"))


def test_nothing_chosen_is_nothing_to_package(make: Any, classifier: Any, cache: Path) -> None:
    spec = make.spec_for("eager")
    nothing = replace(make.compiled(classifier, spec, cache), chosen=None)
    with pytest.raises(PackagingFailed, match="nothing was chosen for fraud-detector version 1"):
        package(classifier, nothing, name="nothing", spec=spec, spec_hash="h")


@contextlib.contextmanager
def plainly_served(tag: str, home: Path, cwd: Path) -> Iterator[httpx.Client]:
    """`bentoml serve <tag>` by hand: from an empty folder, with nothing of ours in the environment."""
    port = free_port()
    cwd.mkdir()
    bentoml = Path(sys.executable).with_name("bentoml")
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "BENTOML_HOME": str(home), "DO_NOT_TRACK": "1"}
    environment["BENTOML_DO_NOT_TRACK"] = "True"
    command = [str(bentoml), "serve", tag, "--port", str(port), "--host", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as served:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
                _until_ready(client, served)
                yield client
        finally:
            served.send_signal(signal.SIGTERM)
            served.wait(30)


def _until_ready(client: httpx.Client, served: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert served.poll() is None, "bentoml serve ended"
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("not ready")


def test_two_models_packaged_by_one_process_are_each_served(make: Any, home: Path, tmp_path: Path) -> None:
    """Guards two traps: the second build of a process held the first model, and `latest` was resolved when serving."""
    spec = make.spec_for("onnxruntime")
    bentos, answers = [], []
    for version in ("1", "2"):
        folder = tmp_path / version
        folder.mkdir()
        model = make.torch_pt2(folder, make.mlp(int(version)), version=version)
        found = make.compiled(model, spec, folder / "cache")
        bentos.append(package(model, found, name="twice", spec=spec, spec_hash="h"))
        answers.append(opened(model, make.TRUSTING).run(make.torch_example())["output"])
    for bento in bentos:
        made = bento_yaml(home, bento.tag)
        assert [m["tag"] for m in made["models"]] == [bento.tag]
        assert [m["tag"] for service in made["services"] for m in service["models"]] == [bento.tag]
    sent = {"inputs": make.torch_example()["x"].tolist()}
    for bento, want in zip(bentos, answers, strict=True):
        with plainly_served(bento.tag, home, tmp_path / f"empty-{bento.version}") as client:
            answer = client.post("/predict", json=sent)
            assert answer.status_code == 200
            assert answer.headers["x-lockgate-version"] == bento.version
            np.testing.assert_allclose(answer.json()["outputs"]["output"], want, rtol=1e-5)
            assert client.get("/info").json()["digest"] == bento.digest
